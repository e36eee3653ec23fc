//! HTTP/1.1 serving, as little as both programs need: a handler from request to response, on one address.

use std::{
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;

/// An answer whose body is at hand.
pub(super) type PeerResponse = Response<Full<Bytes>>;

/// Serves until the process ends. A connection that breaks is its client's business. Handlers get requests with their
/// bodies: an answer that overtakes the body would close the connection on a client that is still writing it.
pub(super) async fn serve<H, F>(listener: TcpListener, handle: H)
where
    H: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    F: Future<Output = PeerResponse> + Send + 'static,
{
    let handle = Arc::new(handle);
    loop {
        // A failed accept (descriptors used up, a client gone already) must not end the service.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let handle = Arc::clone(&handle);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let handle = Arc::clone(&handle);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    Ok::<_, hyper::Error>(handle(Request::from_parts(head, body)).await)
                }
            });
            let mut connection = http1::Builder::new();
            connection.timer(TokioTimer::new());
            let _ = connection
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Listens on an address, which programs may do again at once after they ended.
///
/// # Errors
/// The address cannot be had; it is named.
pub(super) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

/// An answer of this status with a document.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> PeerResponse {
    let body =
        serde_json::to_vec_pretty(document).expect("documents of strings and numbers serialise");
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    answer
}

/// An answer that says what is wrong with a request to the controls.
pub(super) fn refused(status: StatusCode, message: &str) -> PeerResponse {
    json(status, &serde_json::json!({ "error": message }))
}

/// Milliseconds since 1970. All programs of a test run on one machine, so their times compare.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
