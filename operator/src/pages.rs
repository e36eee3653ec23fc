//! `/livez`, `/readyz` and `/metrics`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::world::World;

/// Connections at once: probes and a few scrapers.
const CONNECTIONS: usize = 64;
/// How long a client may take for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const TEXT: &str = "text/plain; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Accepts until the task is dropped.
pub async fn serve(listener: TcpListener, world: Arc<World>, metrics: Arc<Metrics>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, mostly; trying again at once would only burn the processor.
                tracing::warn!(%error, "the pages cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (world, metrics) = (Arc::clone(&world), Arc::clone(&metrics));
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&request, &world, &metrics);
                async { Ok::<_, Infallible>(answer) }
            });
            // An error is the client's: it left, or sent what is not HTTP.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(slot);
        });
    }
}

fn answer(request: &Request<Incoming>, world: &World, metrics: &Metrics) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "these pages are read with GET\n");
        answer.headers_mut().insert(ALLOW, "GET, HEAD".parse().expect("visible ASCII"));
        return answer;
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

fn page(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, kind.parse().expect("visible ASCII"));
    answer
}
