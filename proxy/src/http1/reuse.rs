//! May a connection be used again: one table for the upstream's side, one for the client's.
//! No other place decides this; the exchange only reports how it left the connection.

use super::BodyLength;

/// How an exchange left its upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamEnd {
    /// The request was written to its last byte.
    pub request_written: bool,
    /// How the final answer was framed, as received; `None` when no final answer came.
    pub answer: Option<BodyLength>,
    /// It has no body by its kind (to HEAD, 204, 304), though its fields declare one: if the backend sends that body
    /// all the same, it comes behind the answer and would be taken for the next one.
    pub declares_body: bool,
    /// The answer was read to its last byte.
    pub answer_read: bool,
    /// Bytes had arrived beyond the answer's last one.
    pub surplus: bool,
    /// The backend keeps the connection open (`ResponseHead::keep_alive`).
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
    /// How the answer was framed towards the client; `None` when none was begun.
    pub answer: Option<BodyLength>,
    /// The answer was written to its last byte.
    pub answer_written: bool,
    /// The answer's head did not say close (`Delivery::keep_alive`).
    pub keep_alive: bool,
    /// The request was read to its last byte.
    pub request_read: bool,
    /// Bytes of a further request have arrived.
    pub pipelined: bool,
    /// The connection became a tunnel.
    pub upgraded: bool,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It may carry the next request.
    Keep,
    /// It may carry another request once it has been silent for a while.
    KeepIfSilent,
    /// It is closed.
    Close,
    /// It is closed, but first writing is shut down and what still arrives is discarded for a while: a
    /// plain close with bytes unread sends a reset, which can overtake the answer.
    CloseLingering,
    /// It is closed with a reset: only the close ends the body, and the body is not whole.
    Reset,
}

/// Whether an upstream connection returns to its pool (`Keep`, `KeepIfSilent`) or not (`Close`).
pub fn upstream(end: &UpstreamEnd) -> Reuse {
    let framed = matches!(
        end.answer,
        Some(BodyLength::Empty | BodyLength::Length(_) | BodyLength::Chunked)
    );
    let whole = end.request_written && end.answer_read && !end.surplus && !end.aborted;
    if !(framed && whole && end.keep_alive && !end.upgraded && end.listed) {
        Reuse::Close
    } else if end.declares_body {
        Reuse::KeepIfSilent
    } else {
        Reuse::Keep
    }
}

/// Whether a client's connection takes another request, and if not, how it is closed.
pub fn client(end: &ClientEnd) -> Reuse {
    match end {
        ClientEnd { upgraded: true, .. } | ClientEnd { answer: None, .. } => Reuse::Close,
        ClientEnd {
            answer_written: false,
            answer: Some(BodyLength::UntilClose),
            ..
        } => Reuse::Reset,
        // The answers to the requests before may still be on their way.
        ClientEnd {
            answer_written: false,
            pipelined: true,
            ..
        }
        | ClientEnd {
            answer_written: false,
            request_read: false,
            ..
        } => Reuse::CloseLingering,
        ClientEnd {
            answer_written: false,
            ..
        } => Reuse::Close,
        ClientEnd {
            request_read: false,
            ..
        } => Reuse::CloseLingering,
        ClientEnd {
            keep_alive: true,
            answer: Some(body),
            ..
        } if *body != BodyLength::UntilClose => Reuse::Keep,
        ClientEnd {
            pipelined: true, ..
        } => Reuse::CloseLingering,
        ClientEnd { .. } => Reuse::Close,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE_UPSTREAM: UpstreamEnd = UpstreamEnd {
        request_written: true,
        answer: Some(BodyLength::Length(5)),
        declares_body: false,
        answer_read: true,
        surplus: false,
        keep_alive: true,
        upgraded: false,
        aborted: false,
        listed: true,
    };

    const DONE_CLIENT: ClientEnd = ClientEnd {
        answer: Some(BodyLength::Length(5)),
        answer_written: true,
        keep_alive: true,
        request_read: true,
        pipelined: false,
        upgraded: false,
    };

    #[test]
    fn an_upstream_connection_returns_only_after_a_whole_exchange() {
        let done = DONE_UPSTREAM;
        let empty = UpstreamEnd {
            answer: Some(BodyLength::Empty),
            ..done
        };
        let declared = UpstreamEnd {
            declares_body: true,
            ..empty
        };
        for (why, end, reuse) in [
            ("framed by length", done, Reuse::Keep),
            (
                "chunked",
                UpstreamEnd {
                    answer: Some(BodyLength::Chunked),
                    ..done
                },
                Reuse::Keep,
            ),
            ("no body", empty, Reuse::Keep),
            (
                "no body, but its fields declare one",
                declared,
                Reuse::KeepIfSilent,
            ),
            (
                "the declared body has come",
                UpstreamEnd {
                    surplus: true,
                    ..declared
                },
                Reuse::Close,
            ),
            (
                "until close",
                UpstreamEnd {
                    answer: Some(BodyLength::UntilClose),
                    ..done
                },
                Reuse::Close,
            ),
            (
                "no answer",
                UpstreamEnd {
                    answer: None,
                    ..done
                },
                Reuse::Close,
            ),
            (
                "request cut short",
                UpstreamEnd {
                    request_written: false,
                    ..done
                },
                Reuse::Close,
            ),
            (
                "answer cut short",
                UpstreamEnd {
                    answer_read: false,
                    ..done
                },
                Reuse::Close,
            ),
            (
                "a surplus byte",
                UpstreamEnd {
                    surplus: true,
                    ..done
                },
                Reuse::Close,
            ),
            (
                "backend closes",
                UpstreamEnd {
                    keep_alive: false,
                    ..done
                },
                Reuse::Close,
            ),
            (
                "a tunnel",
                UpstreamEnd {
                    upgraded: true,
                    ..done
                },
                Reuse::Close,
            ),
            (
                "a side broke off",
                UpstreamEnd {
                    aborted: true,
                    ..done
                },
                Reuse::Close,
            ),
            (
                "endpoint gone",
                UpstreamEnd {
                    listed: false,
                    ..done
                },
                Reuse::Close,
            ),
        ] {
            assert_eq!(upstream(&end), reuse, "{why}");
        }
    }

    #[test]
    fn a_client_connection_closes_so_that_the_answer_arrives() {
        let done = DONE_CLIENT;
        let closing = ClientEnd {
            keep_alive: false,
            ..done
        };
        let cut = ClientEnd {
            answer_written: false,
            ..done
        };
        for (why, end, reuse) in [
            ("all done", done, Reuse::Keep),
            (
                "the next request waits",
                ClientEnd {
                    pipelined: true,
                    ..done
                },
                Reuse::Keep,
            ),
            ("we said close", closing, Reuse::Close),
            (
                "we said close, more came",
                ClientEnd {
                    pipelined: true,
                    ..closing
                },
                Reuse::CloseLingering,
            ),
            (
                "until close",
                ClientEnd {
                    answer: Some(BodyLength::UntilClose),
                    ..closing
                },
                Reuse::Close,
            ),
            (
                "until close never keeps",
                ClientEnd {
                    answer: Some(BodyLength::UntilClose),
                    ..done
                },
                Reuse::Close,
            ),
            (
                "request not read",
                ClientEnd {
                    request_read: false,
                    ..closing
                },
                Reuse::CloseLingering,
            ),
            (
                "request not read, keep-alive or not",
                ClientEnd {
                    request_read: false,
                    ..done
                },
                Reuse::CloseLingering,
            ),
            (
                "nothing answered",
                ClientEnd {
                    answer: None,
                    answer_written: false,
                    ..done
                },
                Reuse::Close,
            ),
            ("answer broke off", cut, Reuse::Close),
            (
                "answer broke off, the next request waits",
                ClientEnd {
                    pipelined: true,
                    ..cut
                },
                Reuse::CloseLingering,
            ),
            (
                "answer and request broke off",
                ClientEnd {
                    request_read: false,
                    ..cut
                },
                Reuse::CloseLingering,
            ),
            (
                "chunked answer broke off",
                ClientEnd {
                    answer: Some(BodyLength::Chunked),
                    ..cut
                },
                Reuse::Close,
            ),
            (
                "plain answer broke off",
                ClientEnd {
                    answer: Some(BodyLength::UntilClose),
                    ..cut
                },
                Reuse::Reset,
            ),
            (
                "a tunnel",
                ClientEnd {
                    upgraded: true,
                    ..done
                },
                Reuse::Close,
            ),
        ] {
            assert_eq!(client(&end), reuse, "{why}");
        }
    }
}
