//! Again or give up: one table from what went wrong, what was sent and received, and how often it was tried.
//! No other place decides this.

use crate::http1::Method;

/// What went wrong with one try, before a final answer's head was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection could not be made: refused, unreachable, or not in time.
    Connect,
    /// The connection was lost, or closed, before the answer's head was complete.
    Lost,
    /// The first answer on a connection used before was a 408: it had been closing when we took it.
    StaleTimeout,
    /// No answer's head in time.
    HeadTimeout,
    /// The answer is malformed.
    Malformed,
}

/// Where the request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyAtHand {
    /// There is none, or every byte of it is still in the buffer.
    Whole,
    /// Some of it has left the buffer.
    Gone,
}

/// One try and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Try {
    /// What went wrong.
    pub failure: Failure,
    /// The request's method.
    pub method: Method,
    /// Where the body is.
    pub body: BodyAtHand,
    /// Request bytes have been handed to the connection.
    pub sent: bool,
    /// Answer bytes have been received; a `StaleTimeout`'s own are not counted.
    pub received: bool,
    /// The client has gone.
    pub client_gone: bool,
    /// How many further endpoints were already tried because a connection could not be made.
    pub reconnects: u8,
    /// The request was already sent a second time.
    pub resent: bool,
}

/// What to do after a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Try another endpoint of the same arm; give up if there is none.
    OtherEndpoint,
    /// Send it once more, on a fresh connection, to another endpoint of the arm if there is one.
    FreshConnection,
    /// Give up.
    No,
}

/// The table.
pub fn again(last: &Try) -> Again {
    let _ = last;
    Again::No
}

/// Whether a request may only take a pooled connection that was used within the last second and that a
/// peek finds open, since it must not be sent twice.
pub fn needs_fresh_pooled(method: Method, body: BodyAtHand) -> bool {
    !method.is_idempotent() || body == BodyAtHand::Gone
}
