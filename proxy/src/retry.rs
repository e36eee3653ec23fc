//! Again or give up: one table from what went wrong, what was sent and received, and how often it was tried.
//! No other place decides this.

use crate::http1::Method;

/// What went wrong with one try, before a final answer's head was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptFailure {
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
pub struct Attempt {
    /// What went wrong.
    pub failure: AttemptFailure,
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
pub enum RetryDecision {
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
pub fn again(last: &Attempt) -> RetryDecision {
    if last.client_gone || last.received || last.body == BodyAtHand::Gone {
        return RetryDecision::No;
    }
    match last.failure {
        AttemptFailure::Connect if last.reconnects < MAX_RECONNECTS => RetryDecision::OtherEndpoint,
        AttemptFailure::Lost | AttemptFailure::StaleTimeout if last.resent => RetryDecision::No,
        // Bytes that no connection took cannot have had an effect, whatever the method.
        AttemptFailure::Lost if !last.sent => RetryDecision::FreshConnection,
        AttemptFailure::Lost | AttemptFailure::StaleTimeout if last.method.is_idempotent() => {
            RetryDecision::FreshConnection
        }
        _ => RetryDecision::No,
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

    const FIRST: Attempt = Attempt {
        failure: AttemptFailure::Lost,
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
        let post = Attempt {
            method: Method::Post,
            ..lost
        };
        let connect = Attempt {
            failure: AttemptFailure::Connect,
            sent: false,
            ..lost
        };
        let stale = Attempt {
            failure: AttemptFailure::StaleTimeout,
            ..lost
        };
        for (why, last, then) in [
            ("no connection", connect, RetryDecision::OtherEndpoint),
            (
                "no connection, any method",
                Attempt {
                    method: Method::Post,
                    ..connect
                },
                RetryDecision::OtherEndpoint,
            ),
            (
                "no connection, second time",
                Attempt {
                    reconnects: 1,
                    ..connect
                },
                RetryDecision::OtherEndpoint,
            ),
            (
                "no connection, third time",
                Attempt {
                    reconnects: 2,
                    ..connect
                },
                RetryDecision::No,
            ),
            (
                "no connection after a loss",
                Attempt {
                    resent: true,
                    ..connect
                },
                RetryDecision::OtherEndpoint,
            ),
            (
                "no connection, body gone",
                Attempt {
                    body: BodyAtHand::Gone,
                    ..connect
                },
                RetryDecision::No,
            ),
            (
                "no connection, client gone",
                Attempt {
                    client_gone: true,
                    ..connect
                },
                RetryDecision::No,
            ),
            ("lost", lost, RetryDecision::FreshConnection),
            (
                "lost, PUT",
                Attempt {
                    method: Method::Put,
                    ..lost
                },
                RetryDecision::FreshConnection,
            ),
            ("lost, POST", post, RetryDecision::No),
            (
                "lost, unknown method",
                Attempt {
                    method: Method::Other,
                    ..lost
                },
                RetryDecision::No,
            ),
            (
                "lost before a byte was sent, POST",
                Attempt {
                    sent: false,
                    ..post
                },
                RetryDecision::FreshConnection,
            ),
            (
                "lost, body gone",
                Attempt {
                    body: BodyAtHand::Gone,
                    ..lost
                },
                RetryDecision::No,
            ),
            (
                "lost after answer bytes",
                Attempt {
                    received: true,
                    ..lost
                },
                RetryDecision::No,
            ),
            (
                "lost twice",
                Attempt {
                    resent: true,
                    ..lost
                },
                RetryDecision::No,
            ),
            (
                "lost twice before a byte was sent",
                Attempt {
                    resent: true,
                    sent: false,
                    ..lost
                },
                RetryDecision::No,
            ),
            (
                "lost, client gone",
                Attempt {
                    client_gone: true,
                    ..lost
                },
                RetryDecision::No,
            ),
            ("stale 408", stale, RetryDecision::FreshConnection),
            (
                "stale 408, POST",
                Attempt {
                    method: Method::Post,
                    ..stale
                },
                RetryDecision::No,
            ),
            (
                "stale 408, twice",
                Attempt {
                    resent: true,
                    ..stale
                },
                RetryDecision::No,
            ),
            (
                "time-out",
                Attempt {
                    failure: AttemptFailure::HeadTimeout,
                    ..lost
                },
                RetryDecision::No,
            ),
            (
                "malformed",
                Attempt {
                    failure: AttemptFailure::Malformed,
                    ..lost
                },
                RetryDecision::No,
            ),
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
