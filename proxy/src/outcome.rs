//! How an exchange ended: whose fault it was, which status the client sees, as what it is counted and
//! logged, and what an answer of our own says. One table; no other place decides this.

use halftone_routing::report::Outcome;

use crate::http1::MessageError;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The answer was relayed to its last byte, or the tunnel was granted, with upstream's status.
    Answered(u16),
    /// The client's message was refused.
    Refused(MessageError),
    /// No release and no default backend takes this host and path.
    NoRoute,
    /// The release refuses requests without identity (`whenMissing: Reject`), with its `rejectStatus`.
    Rejected(u16),
    /// The client sent its head or body too slowly.
    ClientTimeout,
    /// The client took the answer too slowly, after this status was relayed.
    ClientStalled(u16),
    /// The client left before the answer's head, soon enough to be its own affair.
    ClientGone,
    /// The client left before the answer's head, after it had waited longer than a healthy arm lets anyone
    /// wait.
    Abandoned,
    /// The client left while the answer was relayed, after this status.
    ClientGoneAfter(u16),
    /// No connection after all tries.
    Connect,
    /// The connection was lost before the answer's head was complete.
    Reset,
    /// No answer's head in time.
    HeadTimeout,
    /// The answer is malformed before its head was relayed.
    Malformed(MessageError),
    /// The answer's body broke off, after this status was relayed.
    BrokenOff(u16),
    /// The answer's body is malformed, after this status was relayed.
    MalformedBody(u16, MessageError),
    /// The answer's body stood still too long, after this status was relayed.
    BodyIdle(u16),
    /// The arm is busy with `maxInFlight` complete requests already.
    Overload,
    /// The arm's places are taken by requests that their clients have not finished, or by tunnels.
    Crowded,
    /// The arm has no endpoint.
    NoEndpoint,
    /// Descriptors, ports or memory ran out here.
    OwnResources,
    /// The proxy shut down before the exchange was complete.
    Shutdown,
}

/// Whose fault an ending is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOrigin {
    /// Nobody's. Whether an answered status is an error is the release's word (`errorStatuses`).
    None,
    /// The client's; not charged.
    Client,
    /// The arm's; charged to it.
    Arm,
    /// Ours, or that of who configured us; not charged.
    Proxy,
}

/// What an ending means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndingEffect {
    /// Whose fault it was.
    pub fault: FaultOrigin,
    /// The status the client sees; `None` where it is gone before any. Where an answer broke off, the one
    /// already sent.
    pub status: Option<u16>,
    /// What it is counted as; its `name()` is the word for metrics and the access log.
    pub counted: Outcome,
    /// What the body of an answer of our own says; empty where upstream's answer stands or nobody reads it.
    pub text: &'static str,
    /// The rule of HTTP that a message broke: the client's where it was refused, else the backend's.
    pub rule: Option<MessageError>,
}

impl EndingEffect {
    /// The rule that the backend's answer broke.
    pub fn broken_by_backend(&self) -> Option<MessageError> {
        self.rule.filter(|_| self.fault == FaultOrigin::Arm)
    }
}

/// What a proxy says at the fleet's `healthPath`. It is no request of anybody's and counted nowhere.
pub const fn health(wants_requests: bool) -> EndingEffect {
    let (status, text) = if wants_requests {
        (200, "ok")
    } else {
        (503, "the proxy is draining")
    };
    EndingEffect {
        fault: FaultOrigin::None,
        status: Some(status),
        counted: Outcome::Status2xx,
        text,
        rule: None,
    }
}

/// The table. `is_error` knows the release's `errorStatuses`.
pub fn meaning(ending: &Ending, is_error: impl Fn(u16) -> bool) -> EndingEffect {
    let (fault, status, counted, text) = match *ending {
        Ending::Answered(status) => (
            FaultOrigin::None,
            Some(status),
            answered(status, is_error(status)),
            "",
        ),
        Ending::Refused(error) => (
            FaultOrigin::Client,
            Some(error.status()),
            refused(error.status()),
            error.text(),
        ),
        Ending::NoRoute => (
            FaultOrigin::Client,
            Some(404),
            Outcome::Refused404,
            "no release takes this host and path",
        ),
        Ending::Rejected(status) => (
            FaultOrigin::Client,
            Some(status),
            Outcome::Refused403,
            "this service needs to know its user",
        ),
        Ending::ClientTimeout => (
            FaultOrigin::Client,
            Some(408),
            Outcome::Refused408,
            "the request did not arrive in time",
        ),
        Ending::ClientStalled(status) => (
            FaultOrigin::Client,
            Some(status),
            Outcome::ClientTimeout,
            "",
        ),
        Ending::ClientGone => (FaultOrigin::Client, None, Outcome::ClientAbort, ""),
        Ending::Abandoned => (FaultOrigin::Arm, None, Outcome::Abandoned, ""),
        Ending::ClientGoneAfter(status) => {
            (FaultOrigin::Client, Some(status), Outcome::ClientAbort, "")
        }
        Ending::Connect => (
            FaultOrigin::Arm,
            Some(502),
            Outcome::ConnectFailure,
            "the service cannot be connected to",
        ),
        Ending::Reset => (
            FaultOrigin::Arm,
            Some(502),
            Outcome::Reset,
            "the service closed the connection",
        ),
        Ending::HeadTimeout => (
            FaultOrigin::Arm,
            Some(504),
            Outcome::ResponseTimeout,
            "the service did not answer in time",
        ),
        Ending::Malformed(_) => (
            FaultOrigin::Arm,
            Some(502),
            Outcome::MalformedResponse,
            "the service's answer is malformed",
        ),
        Ending::BrokenOff(status) | Ending::MalformedBody(status, _) => {
            (FaultOrigin::Arm, Some(status), Outcome::BodyBrokenOff, "")
        }
        Ending::BodyIdle(status) => (FaultOrigin::Arm, Some(status), Outcome::BodyIdle, ""),
        Ending::Overload => (
            FaultOrigin::Arm,
            Some(503),
            Outcome::Overload,
            "the service has too many requests",
        ),
        Ending::Crowded => (
            FaultOrigin::Client,
            Some(503),
            Outcome::Crowded,
            "too many unfinished requests or open tunnels",
        ),
        Ending::NoEndpoint => (
            FaultOrigin::Arm,
            Some(503),
            Outcome::NoEndpoint,
            "the service has no endpoint",
        ),
        Ending::OwnResources => (
            FaultOrigin::Proxy,
            Some(503),
            Outcome::OwnFault,
            "the proxy has run out of resources",
        ),
        Ending::Shutdown => (
            FaultOrigin::Proxy,
            Some(503),
            Outcome::Shutdown,
            "the proxy is shutting down",
        ),
    };
    let rule = match *ending {
        Ending::Refused(rule) | Ending::Malformed(rule) | Ending::MalformedBody(_, rule) => {
            Some(rule)
        }
        _ => None,
    };
    EndingEffect {
        fault,
        status,
        counted,
        text,
        rule,
    }
}

/// The class of a status that upstream answered.
fn answered(status: u16, is_error: bool) -> Outcome {
    match status {
        _ if is_error => Outcome::ErrorStatus,
        429 => Outcome::Status429,
        300..=399 => Outcome::Status3xx,
        400..=499 => Outcome::Status4xx,
        // Beyond 599 only what was read leniently.
        500.. => Outcome::Status5xx,
        // 101, the only 1xx that ends a request, is a success.
        _ => Outcome::Status2xx,
    }
}

/// The counter of a refusal with this status.
fn refused(status: u16) -> Outcome {
    match status {
        405 => Outcome::Refused405,
        413 => Outcome::Refused413,
        414 => Outcome::Refused414,
        417 => Outcome::Refused417,
        431 => Outcome::Refused431,
        505 => Outcome::Refused505,
        _ => Outcome::Refused400,
    }
}

#[cfg(test)]
mod tests {
    use halftone_routing::report::Fault;

    use super::*;

    #[test]
    fn every_ending_has_one_meaning() {
        use FaultOrigin::{Arm, Client, None as Nobody, Proxy};
        let malformed = MessageError::Status;
        for (ending, fault, status, counted) in [
            (Ending::Answered(101), Nobody, Some(101), "2xx"),
            (Ending::Answered(204), Nobody, Some(204), "2xx"),
            (Ending::Answered(304), Nobody, Some(304), "3xx"),
            (Ending::Answered(404), Nobody, Some(404), "4xx"),
            (Ending::Answered(429), Nobody, Some(429), "429"),
            (Ending::Answered(501), Nobody, Some(501), "5xx"),
            (Ending::Answered(999), Nobody, Some(999), "5xx"),
            (Ending::Answered(500), Nobody, Some(500), "errorStatus"),
            (Ending::Answered(418), Nobody, Some(418), "errorStatus"),
            (
                Ending::Refused(MessageError::BareLf),
                Client,
                Some(400),
                "refused400",
            ),
            (
                Ending::Refused(MessageError::Method),
                Client,
                Some(405),
                "refused405",
            ),
            (
                Ending::Refused(MessageError::BodyTooLong),
                Client,
                Some(413),
                "refused413",
            ),
            (
                Ending::Refused(MessageError::RequestLineTooLong),
                Client,
                Some(414),
                "refused414",
            ),
            (
                Ending::Refused(MessageError::Expectation),
                Client,
                Some(417),
                "refused417",
            ),
            (
                Ending::Refused(MessageError::HeadTooLong),
                Client,
                Some(431),
                "refused431",
            ),
            (
                Ending::Refused(MessageError::MajorVersion),
                Client,
                Some(505),
                "refused505",
            ),
            (Ending::NoRoute, Client, Some(404), "refused404"),
            (Ending::Rejected(403), Client, Some(403), "refused403"),
            (Ending::Rejected(401), Client, Some(401), "refused403"),
            (Ending::ClientTimeout, Client, Some(408), "refused408"),
            (
                Ending::ClientStalled(200),
                Client,
                Some(200),
                "clientTimeout",
            ),
            (Ending::ClientGone, Client, None, "clientAbort"),
            (Ending::Abandoned, Arm, None, "abandoned"),
            (
                Ending::ClientGoneAfter(200),
                Client,
                Some(200),
                "clientAbort",
            ),
            (Ending::Connect, Arm, Some(502), "connectFailure"),
            (Ending::Reset, Arm, Some(502), "reset"),
            (Ending::HeadTimeout, Arm, Some(504), "responseTimeout"),
            (
                Ending::Malformed(malformed),
                Arm,
                Some(502),
                "malformedResponse",
            ),
            (Ending::BrokenOff(200), Arm, Some(200), "bodyBrokenOff"),
            (
                Ending::MalformedBody(200, malformed),
                Arm,
                Some(200),
                "bodyBrokenOff",
            ),
            (Ending::BodyIdle(200), Arm, Some(200), "bodyIdle"),
            (Ending::Overload, Arm, Some(503), "overload"),
            (Ending::Crowded, Client, Some(503), "crowded"),
            (Ending::NoEndpoint, Arm, Some(503), "noEndpoint"),
            (Ending::OwnResources, Proxy, Some(503), "ownFault"),
            (Ending::Shutdown, Proxy, Some(503), "shutdown"),
        ] {
            let is_error = |status| matches!(status, 500 | 418);
            let meaning = meaning(&ending, is_error);
            assert_eq!(
                (meaning.fault, meaning.status, meaning.counted.name()),
                (fault, status, counted)
            );
            let charged = meaning.counted.fault() == Fault::Error;
            assert_eq!(
                charged,
                fault == Arm || counted == "errorStatus",
                "{ending:?}"
            );
        }
    }

    #[test]
    fn a_message_that_broke_a_rule_is_told_with_the_rule() {
        let rule = MessageError::ChunkSize;
        for (ending, broken, by_backend) in [
            (Ending::Refused(rule), true, false),
            (Ending::Malformed(rule), true, true),
            (Ending::MalformedBody(200, rule), true, true),
            (Ending::BrokenOff(200), false, false),
            (Ending::Answered(500), false, false),
        ] {
            let meaning = meaning(&ending, |_| true);
            assert_eq!(meaning.rule, broken.then_some(rule), "{ending:?}");
            assert_eq!(
                meaning.broken_by_backend(),
                by_backend.then_some(rule),
                "{ending:?}"
            );
        }
    }

    #[test]
    fn an_answer_of_our_own_says_why() {
        let answered = [
            Ending::NoRoute,
            Ending::Rejected(403),
            Ending::ClientTimeout,
            Ending::Connect,
        ]
        .into_iter()
        .chain([
            Ending::Reset,
            Ending::HeadTimeout,
            Ending::Overload,
            Ending::Crowded,
        ])
        .chain([Ending::NoEndpoint])
        .chain([
            Ending::OwnResources,
            Ending::Shutdown,
            Ending::Refused(MessageError::BareLf),
        ]);
        for ending in answered {
            assert!(!meaning(&ending, |_| false).text.is_empty(), "{ending:?}");
        }
    }
}
