//! Pages that are read with GET: accepting, and the answers that all of them give alike.

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

/// How long a client may take for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Content type of a page of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// Content type of a page of metrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An answer whose body is at hand.
pub type Answer = Response<Full<Bytes>>;

/// Accepts until the task is dropped, at most `most` connections at once. `what` is their name in the log.
pub async fn serve<H, F>(listener: TcpListener, most: usize, what: &'static str, answer: H)
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let (slots, answer) = (Arc::new(Semaphore::new(most)), Arc::new(answer));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, mostly; trying again at once would only burn the processor.
                tracing::warn!(%error, "{what} cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(request);
                async { Ok::<_, Infallible>(answer.await) }
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

/// The answer to a request with another method than GET and HEAD; none if it has one of them.
#[must_use]
pub fn unless_read(method: &Method) -> Option<Answer> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let mut answer = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "these pages are read with GET\n");
    answer.headers_mut().insert(ALLOW, "GET, HEAD".parse().expect("visible ASCII"));
    Some(answer)
}

/// A page of this status and content type.
#[must_use]
pub fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type.parse().expect("visible ASCII"));
    answer
}
