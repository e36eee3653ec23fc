//! Pages that are read with GET: accepting, and the answers that all of them give alike.
//!
//! Anybody who reaches the port may connect, so nobody may keep others out: places are bounded, in all and by address,
//! and a newcomer to a full house takes the place of whoever has done nothing for longest (`seats`). So a probe is
//! answered whatever others do. A page that costs something is made once for all who ask within a second, and only a
//! few copies of it exist however slowly they are read: whoever is slowest is cut off (`rendering`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

mod activity;
mod body;
mod connection_slots;
mod page_cache;

use self::activity::ActivityStream;
pub use self::body::{PageBody, PageEvicted};
use self::connection_slots::{ConnectionSlot, ConnectionSlots};
pub use self::page_cache::{PageCache, RenderError};

/// How long a client may take for a request's head, the pause before it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may stand without a byte either way while an answer is made or written.
const STILL: Duration = Duration::from_secs(15);
/// How long a client may take to read one answer.
const WHOLE: Duration = Duration::from_secs(30);
/// The largest request head that is read, in bytes.
const LARGEST_HEAD: usize = 32 << 10;
/// Content type of a page of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// Content type of a page of metrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An answer whose body is at hand.
pub type PageResponse = Response<PageBody>;

/// Accepts until the task is dropped, at most `most` connections at once and a quarter of them from one address.
/// `what` is their name in the log.
pub async fn serve<H, F>(listener: TcpListener, most: usize, what: &'static str, answer: H)
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = PageResponse> + Send + 'static,
{
    let (seats, answer) = (
        Arc::new(ConnectionSlots::new(most, (most / 4).max(1))),
        Arc::new(answer),
    );
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly; trying again at once would only burn the processor.
                tracing::warn!(%error, "{what} cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let seat = ConnectionSlots::take(&seats, peer.ip());
        tokio::spawn(serve_one(stream, seat, Arc::clone(&answer)));
    }
}

/// One connection, until it ends, does nothing for too long, or has to make room.
async fn serve_one<H, F>(stream: TcpStream, seat: ConnectionSlot, answer: Arc<H>)
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = PageResponse> + Send + 'static,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let activity = Arc::clone(seat.activity());
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(
            TokioIo::new(ActivityStream::new(stream, Arc::clone(&activity))),
            service,
        );
    tokio::select! {
        // An error is the client's: it left, or sent what is not HTTP.
        _ = connection => {}
        () = activity.ends(STILL, WHOLE) => {}
        () = seat.is_needed() => {}
    }
}

/// The answer to a request with another method than GET and HEAD; none if it has one of them.
#[must_use]
pub fn unless_read(method: &Method) -> Option<PageResponse> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let mut answer = page(
        StatusCode::METHOD_NOT_ALLOWED,
        TEXT,
        "these pages are read with GET\n",
    );
    answer
        .headers_mut()
        .insert(ALLOW, "GET, HEAD".parse().expect("visible ASCII"));
    Some(answer)
}

/// A page of this status and content type.
#[must_use]
pub fn page(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<PageBody>,
) -> PageResponse {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, content_type.parse().expect("visible ASCII"));
    answer
}

/// A page that all share, as an answer: 503 while too many copies of it are read, 500 if it cannot be made.
#[must_use]
pub fn shared_page(
    content_type: &'static str,
    rendered: Result<PageBody, RenderError>,
) -> PageResponse {
    match rendered {
        Ok(body) => page(StatusCode::OK, content_type, body),
        Err(RenderError::Busy(wait)) => {
            let text = "too many copies of this page are being read; ask again in a few seconds\n";
            let mut answer = page(StatusCode::SERVICE_UNAVAILABLE, TEXT, text);
            answer
                .headers_mut()
                .insert(RETRY_AFTER, wait.as_secs().max(1).into());
            answer
        }
        Err(RenderError::Failed) => page(
            StatusCode::INTERNAL_SERVER_ERROR,
            TEXT,
            "the page could not be made; the log says why\n",
        ),
    }
}
