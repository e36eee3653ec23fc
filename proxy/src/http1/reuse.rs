//! May a connection be used again: one table for the upstream's side, one for the client's.
//! No other place decides this.

use super::{Body, Version};

/// How an exchange left its upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamEnd {
    /// The request was written to its last byte.
    pub request_written: bool,
    /// How the final answer was framed, as received; `None` when no final answer came.
    pub answer: Option<Body>,
    /// The answer was read to its last byte.
    pub answer_read: bool,
    /// Bytes had arrived beyond the answer's last one.
    pub surplus: bool,
    /// The backend's version and its word on keep-alive together (`ResponseHead::keep_alive`).
    pub keep_alive: bool,
    /// The connection became a tunnel.
    pub upgraded: bool,
    /// Either side broke off.
    pub aborted: bool,
    /// The endpoint is still listed.
    pub listed: bool,
}

/// How an exchange left its client connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientEnd {
    /// The client's version.
    pub version: Version,
    /// The client wants to send another request (`RequestHead::keep_alive`).
    pub wants_keep_alive: bool,
    /// The request was read to its last byte.
    pub request_read: bool,
    /// How the answer was framed towards the client; `None` when none was sent.
    pub answer: Option<Body>,
    /// The answer was written to its last byte.
    pub answer_written: bool,
    /// The answer carried `Connection: close`.
    pub said_close: bool,
    /// The proxy is draining.
    pub draining: bool,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It may carry the next request.
    Keep,
    /// It is closed.
    Close,
    /// It is closed, but first writing is shut down and what still arrives is discarded for a while, so
    /// that an answer is not lost to a reset.
    CloseLingering,
    /// It is closed with a reset: only the close ends the body, and the body is not whole.
    Reset,
}

/// Whether an upstream connection returns to its pool.
pub fn upstream(end: &UpstreamEnd) -> Reuse {
    let _ = end;
    Reuse::Close
}

/// Whether a client's connection takes another request.
pub fn client(end: &ClientEnd) -> Reuse {
    let _ = end;
    Reuse::Close
}
