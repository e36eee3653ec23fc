//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use halftone_daemon::pages::{self, Answer, OPENMETRICS, Rendering, TEXT, page, unless_read};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::world::World;

/// Connections at once: probes and a few scrapers.
const CONNECTIONS: usize = 64;
/// Scrapes within this time get the same page.
const SCRAPES_SHARED: Duration = Duration::from_secs(1);

/// Accepts until the task is dropped.
pub async fn serve(listener: TcpListener, world: Arc<World>, metrics: Arc<Metrics>) {
    let scrape = Rendering::shared_for(SCRAPES_SHARED);
    let answer = move |request: Request<Incoming>| {
        let (world, metrics, scrape) = (Arc::clone(&world), Arc::clone(&metrics), scrape.clone());
        async move { answer(&request, &world, metrics, &scrape).await }
    };
    pages::serve(listener, CONNECTIONS, "the pages", answer).await;
}

async fn answer(
    request: &Request<Incoming>,
    world: &World,
    metrics: Arc<Metrics>,
    scrape: &Rendering,
) -> Answer {
    if let Some(refused) = unless_read(request.method()) {
        return refused;
    }
    match request.uri().path() {
        "/livez" => page(StatusCode::OK, TEXT, "ok\n"),
        // Whoever does not lead is as ready as who does: it is there to take over.
        "/readyz" if world.is_ready() => page(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the cluster is not in view yet\n"),
        "/metrics" => match scrape.get(move || async move { metrics.encode().into() }).await {
            Some(metrics) => page(StatusCode::OK, OPENMETRICS, metrics),
            None => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the page could not be made\n"),
        },
        _ => page(StatusCode::NOT_FOUND, TEXT, "pages: /livez /readyz /metrics\n"),
    }
}
