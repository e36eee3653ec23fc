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

/// Further endpoints tried when a connection cannot be made.
const MAX_RECONNECTS: u8 = 2;

/// The table.
///
/// A `StaleTimeout` that is given up is no failure: its 408 goes to the client as the answer it is.
pub fn again(last: &Try) -> Again {
    if last.client_gone || last.received || last.body == BodyAtHand::Gone {
        return Again::No;
    }
    match last.failure {
        Failure::Connect if last.reconnects < MAX_RECONNECTS => Again::OtherEndpoint,
        Failure::Lost | Failure::StaleTimeout if last.resent => Again::No,
        // Bytes that no connection took cannot have had an effect, whatever the method.
        Failure::Lost if !last.sent => Again::FreshConnection,
        Failure::Lost | Failure::StaleTimeout if last.method.is_idempotent() => Again::FreshConnection,
        _ => Again::No,
    }
}

/// Whether a request may only take a pooled connection that was used within the last second and that a
/// peek finds open, since it must not be sent twice.
pub fn needs_fresh_pooled(method: Method, body: BodyAtHand) -> bool {
    !method.is_idempotent() || body == BodyAtHand::Gone
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Try = Try {
        failure: Failure::Lost,
        method: Method::Get,
        body: BodyAtHand::Whole,
        sent: true,
        received: false,
        client_gone: false,
        reconnects: 0,
        resent: false,
    };

    #[test]
    fn a_request_is_sent_again_only_when_that_can_do_no_harm() {
        let lost = FIRST;
        let post = Try { method: Method::Post, ..lost };
        let connect = Try { failure: Failure::Connect, sent: false, ..lost };
        let stale = Try { failure: Failure::StaleTimeout, ..lost };
        for (why, last, then) in [
            ("no connection", connect, Again::OtherEndpoint),
            ("no connection, any method", Try { method: Method::Post, ..connect }, Again::OtherEndpoint),
            ("no connection, second time", Try { reconnects: 1, ..connect }, Again::OtherEndpoint),
            ("no connection, third time", Try { reconnects: 2, ..connect }, Again::No),
            ("no connection after a loss", Try { resent: true, ..connect }, Again::OtherEndpoint),
            ("no connection, body gone", Try { body: BodyAtHand::Gone, ..connect }, Again::No),
            ("no connection, client gone", Try { client_gone: true, ..connect }, Again::No),
            ("lost", lost, Again::FreshConnection),
            ("lost, PUT", Try { method: Method::Put, ..lost }, Again::FreshConnection),
            ("lost, POST", post, Again::No),
            ("lost, unknown method", Try { method: Method::Other, ..lost }, Again::No),
            ("lost before a byte was sent, POST", Try { sent: false, ..post }, Again::FreshConnection),
            ("lost, body gone", Try { body: BodyAtHand::Gone, ..lost }, Again::No),
            ("lost after answer bytes", Try { received: true, ..lost }, Again::No),
            ("lost twice", Try { resent: true, ..lost }, Again::No),
            ("lost twice before a byte was sent", Try { resent: true, sent: false, ..lost }, Again::No),
            ("lost, client gone", Try { client_gone: true, ..lost }, Again::No),
            ("stale 408", stale, Again::FreshConnection),
            ("stale 408, POST", Try { method: Method::Post, ..stale }, Again::No),
            ("stale 408, twice", Try { resent: true, ..stale }, Again::No),
            ("time-out", Try { failure: Failure::HeadTimeout, ..lost }, Again::No),
            ("malformed", Try { failure: Failure::Malformed, ..lost }, Again::No),
        ] {
            assert_eq!(again(&last), then, "{why}");
        }
    }

    #[test]
    fn a_request_that_must_not_be_sent_twice_wants_a_connection_known_to_be_open() {
        assert!(needs_fresh_pooled(Method::Post, BodyAtHand::Whole));
        assert!(needs_fresh_pooled(Method::Put, BodyAtHand::Gone));
        assert!(!needs_fresh_pooled(Method::Get, BodyAtHand::Whole));
    }
}
