//! How an exchange ended: whose fault it was, which status the client sees, under which word it is counted
//! and logged, and what an answer of our own says. One table; no other place decides this.

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
    /// The answer's body broke off or is malformed, after this status was relayed.
    BrokenOff(u16),
    /// The answer's body stood still too long, after this status was relayed.
    BodyIdle(u16),
    /// The arm has `maxInFlight` requests already.
    Overload,
    /// The arm has no endpoint.
    NoEndpoint,
    /// Descriptors, ports or memory ran out here.
    OwnResources,
    /// The proxy shut down before the exchange was complete.
    Shutdown,
}

/// Whose fault an ending is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
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
pub struct Outcome {
    /// Whose fault it was.
    pub fault: Fault,
    /// The status the client sees; `None` where it is gone before any. Where an answer broke off, the one
    /// already sent.
    pub status: Option<u16>,
    /// The word for access log and metrics.
    pub word: &'static str,
    /// What the body of an answer of our own says; empty where upstream's answer stands.
    pub text: &'static str,
}

/// The table.
pub fn outcome(ending: &Ending) -> Outcome {
    let (fault, status, word, text) = match *ending {
        Ending::Answered(status) => (Fault::None, Some(status), "answered", ""),
        Ending::Refused(error) => (Fault::Client, Some(error.status()), "refused", "the request was refused"),
        Ending::NoRoute => (Fault::Client, Some(404), "noRoute", "no release takes this host and path"),
        Ending::Rejected(status) => {
            (Fault::Client, Some(status), "rejected", "this service needs to know its user")
        }
        Ending::ClientTimeout => {
            (Fault::Client, Some(408), "clientTimeout", "the request did not arrive in time")
        }
        Ending::ClientStalled(status) => (Fault::Client, Some(status), "clientStalled", ""),
        Ending::ClientGone => (Fault::Client, None, "clientGone", ""),
        Ending::Abandoned => (Fault::Arm, None, "abandoned", ""),
        Ending::ClientGoneAfter(status) => (Fault::Client, Some(status), "clientGone", ""),
        Ending::Connect => (Fault::Arm, Some(502), "connect", "no connection to the service"),
        Ending::Reset => (Fault::Arm, Some(502), "reset", "the service closed the connection"),
        Ending::HeadTimeout => (Fault::Arm, Some(504), "headTimeout", "the service did not answer in time"),
        Ending::Malformed(_) => (Fault::Arm, Some(502), "malformed", "the service's answer was malformed"),
        Ending::BrokenOff(status) => (Fault::Arm, Some(status), "brokenOff", ""),
        Ending::BodyIdle(status) => (Fault::Arm, Some(status), "bodyIdle", ""),
        Ending::Overload => (Fault::Arm, Some(503), "overload", "the service has too many requests"),
        Ending::NoEndpoint => (Fault::Arm, Some(503), "noEndpoint", "the service has no endpoint"),
        Ending::OwnResources => {
            (Fault::Proxy, Some(503), "ownResources", "the proxy has run out of resources")
        }
        Ending::Shutdown => (Fault::Proxy, Some(503), "shutdown", "the proxy is shutting down"),
    };
    Outcome { fault, status, word, text }
}
