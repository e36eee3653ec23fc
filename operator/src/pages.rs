//! `/livez`, `/readyz` and `/metrics`.

use std::future::ready;
use std::sync::Arc;

use halftone_daemon::pages::{self, Answer, OPENMETRICS, TEXT, page, unless_read};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::world::World;

/// Connections at once: probes and a few scrapers.
const CONNECTIONS: usize = 64;

/// Accepts until the task is dropped.
pub async fn serve(listener: TcpListener, world: Arc<World>, metrics: Arc<Metrics>) {
    let answer = move |request: Request<Incoming>| ready(answer(&request, &world, &metrics));
    pages::serve(listener, CONNECTIONS, "the pages", answer).await;
}

fn answer(request: &Request<Incoming>, world: &World, metrics: &Metrics) -> Answer {
    if let Some(refused) = unless_read(request.method()) {
        return refused;
    }
    match request.uri().path() {
        "/livez" => page(StatusCode::OK, TEXT, "ok\n"),
        // Whoever does not lead is as ready as who does: it is there to take over.
        "/readyz" if world.is_ready() => page(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the cluster is not in view yet\n"),
        "/metrics" => page(StatusCode::OK, OPENMETRICS, metrics.encode()),
        _ => page(StatusCode::NOT_FOUND, TEXT, "pages: /livez /readyz /metrics\n"),
    }
}
