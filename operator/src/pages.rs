//! `/livez`, `/readyz` and `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halftone_daemon::pages::{
    self, OPENMETRICS, PageCache, PageResponse, TEXT, page, shared_page, unless_read,
};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use tokio::net::TcpListener;

use crate::cluster_cache::ClusterCache;
use crate::lock::lock;
use crate::metrics::Metrics;

/// Connections at once: probes and a few scrapers.
const CONNECTIONS: usize = 64;
/// Scrapes within this time get the same page.
const SCRAPES_SHARED: Duration = Duration::from_secs(1);

/// Accepts until the task is dropped.
pub async fn serve(
    listener: TcpListener,
    world: Arc<ClusterCache>,
    notices: Arc<ReadinessNotices>,
    metrics: Arc<Metrics>,
) {
    let scrape = PageCache::shared_for(SCRAPES_SHARED);
    let answer = move |request: Request<Incoming>| {
        let (world, notices) = (Arc::clone(&world), Arc::clone(&notices));
        let (metrics, scrape) = (Arc::clone(&metrics), scrape.clone());
        async move { answer(&request, (&world, &notices), metrics, &scrape).await }
    };
    pages::serve(listener, CONNECTIONS, "the pages", answer).await;
}

/// What a person who looks at `/readyz` should know, by class. None of it makes the process less ready.
#[derive(Debug, Default)]
pub struct ReadinessNotices(Mutex<BTreeMap<String, String>>);

impl ReadinessNotices {
    /// This is to be known of a class from now on; none for nothing.
    pub fn put(&self, class: &str, notice: Option<String>) {
        let mut notices = lock(&self.0);
        match notice {
            Some(notice) => notices.insert(class.to_owned(), notice),
            None => notices.remove(class),
        };
    }

    fn lines(&self) -> String {
        lock(&self.0)
            .values()
            .map(|notice| format!("{notice}\n"))
            .collect()
    }
}

async fn answer(
    request: &Request<Incoming>,
    (world, notices): (&ClusterCache, &ReadinessNotices),
    metrics: Arc<Metrics>,
    scrape: &PageCache,
) -> PageResponse {
    if let Some(refused) = unless_read(request.method()) {
        return refused;
    }
    match request.uri().path() {
        "/livez" => page(StatusCode::OK, TEXT, "ok\n"),
        // Whoever does not lead is as ready as who does: it is there to take over.
        "/readyz" if world.is_ready() => {
            page(StatusCode::OK, TEXT, format!("ok\n{}", notices.lines()))
        }
        "/readyz" => page(
            StatusCode::SERVICE_UNAVAILABLE,
            TEXT,
            "the cluster is not in view yet\n",
        ),
        "/metrics" => shared_page(
            OPENMETRICS,
            scrape
                .get(move || async move { metrics.encode().into() })
                .await,
        ),
        _ => page(
            StatusCode::NOT_FOUND,
            TEXT,
            "pages: /livez /readyz /metrics\n",
        ),
    }
}
