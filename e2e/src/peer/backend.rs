//! A backend: answers every request with its version, and misbehaves as its controls tell it to.

use std::{
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Method, Request, StatusCode,
    header::{self, HeaderValue},
};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::serve::{self, PeerResponse, listen, now_ms, refused, serve};
use crate::wire::BackendFault;

/// Field of an answer that names the version which gave it.
pub const VERSION_FIELD: &str = "x-peer-version";

struct PeerBackend {
    version: String,
    pod: String,
    fault: RwLock<BackendFault>,
    served: AtomicU64,
    ending: AtomicBool,
}

/// Serves until SIGTERM, and then for `drain` seconds more: whoever uses it needs that long to learn that it goes.
///
/// # Errors
/// An address that cannot be listened on.
pub async fn run(
    version: String,
    service: SocketAddr,
    control: SocketAddr,
    drain: u64,
) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let backend = Arc::new(PeerBackend {
        version,
        pod: std::env::var("HOSTNAME").unwrap_or_default(),
        fault: RwLock::default(),
        served: AtomicU64::new(0),
        ending: AtomicBool::new(false),
    });
    let (serving, controls) = (Arc::clone(&backend), Arc::clone(&backend));
    tokio::spawn(serve(listen(service).await?, move |request| {
        Arc::clone(&serving).answer(request)
    }));
    tokio::spawn(serve(listen(control).await?, move |request| {
        Arc::clone(&controls).control(request)
    }));
    terminate.recv().await;
    backend.ending.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(drain)).await;
    Ok(())
}

impl PeerBackend {
    async fn answer(self: Arc<Self>, request: Request<Bytes>) -> PeerResponse {
        let fault = self
            .fault
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        if fault.hang {
            std::future::pending::<()>().await;
        }
        if fault.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
        }
        let status = if fails(number, fault.percent) {
            fault.status
        } else {
            200
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let path = request.uri().path().to_owned();
        let host = request
            .headers()
            .get("host")
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let about = json!({"version": self.version, "pod": self.pod, "host": host, "path": path});
        let mut answer = serve::json(status, &about);
        if let Ok(version) = HeaderValue::from_str(&self.version) {
            answer.headers_mut().insert(VERSION_FIELD, version);
        }
        if self.ending.load(Ordering::Relaxed) {
            answer
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// Misbehaves like this, at once or later. Returns when it begins.
    fn begin(self: Arc<Self>, fault: BackendFault) -> u64 {
        let (after, at) = (fault.after_ms, now_ms() + fault.after_ms);
        let set = move || *self.fault.write().unwrap_or_else(PoisonError::into_inner) = fault;
        if after == 0 {
            set();
        } else {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                set();
            });
        }
        at
    }

    async fn control(self: Arc<Self>, request: Request<Bytes>) -> PeerResponse {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/readyz") if self.ending.load(Ordering::Relaxed) => {
                refused(StatusCode::SERVICE_UNAVAILABLE, "ending")
            }
            (&Method::GET, "/readyz") => {
                serve::json(StatusCode::OK, &json!({"version": self.version}))
            }
            (&Method::GET, "/served") => serve::json(
                StatusCode::OK,
                &json!({"served": self.served.load(Ordering::Relaxed)}),
            ),
            (&Method::POST, "/fault") => {
                match serde_json::from_slice::<BackendFault>(request.body()) {
                    Ok(fault) => serve::json(StatusCode::OK, &json!({"atMs": self.begin(fault)})),
                    Err(error) => refused(StatusCode::BAD_REQUEST, &error.to_string()),
                }
            }
            _ => refused(
                StatusCode::NOT_FOUND,
                "controls: GET /readyz, GET /served, POST /fault",
            ),
        }
    }
}

/// Whether this request is one of those that fail: as many of every hundred as the share says, spread evenly.
fn fails(number: u64, percent: u32) -> bool {
    (number * u64::from(percent)) % 100 < u64::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_every_hundred_requests_fails() {
        for percent in [0, 1, 5, 33, 50, 99, 100] {
            let failed = (700..800).filter(|number| fails(*number, percent)).count();
            assert_eq!(u32::try_from(failed), Ok(percent));
        }
    }
}
