//! Whose forwarding fields are believed: one table from the fleet's position and the peer to what happens
//! with X-Forwarded-*, Forwarded, X-Real-IP and X-Halftone-*. `write` carries it out.

pub use halftone_routing::fleet::EdgePosition;

/// What happens with X-Forwarded-For.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedFor {
    /// The peer is appended to what came.
    Append,
    /// What came is dropped, the peer alone is named.
    Replace,
}

/// What happens with X-Forwarded-Proto, -Host and -Port, and with X-Real-IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedOthers {
    /// They go on as they came; absent ones stay absent.
    Keep,
    /// They go on as they came; absent ones are set.
    SetAbsent,
    /// What came is dropped and all are set; Forwarded and other X-Forwarded-* are dropped, too.
    Replace,
}

/// What happens with a peer's forwarding fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// X-Forwarded-For.
    pub forwarded_for: ForwardedFor,
    /// X-Forwarded-Proto, -Host, -Port, and X-Real-IP.
    pub others: ForwardedOthers,
    /// Whether X-Halftone-* fields go on.
    pub keep_halftone: bool,
}

/// The table. `any_trusted`: the fleet's `trustedProxies` is not empty; `peer_trusted`: it holds this peer.
pub fn forwarding(position: EdgePosition, any_trusted: bool, peer_trusted: bool) -> Forwarding {
    let (forwarded_for, others) = match (position, any_trusted, peer_trusted) {
        (_, _, true) => (ForwardedFor::Append, ForwardedOthers::Keep),
        (EdgePosition::BehindProxy, false, false) => {
            (ForwardedFor::Append, ForwardedOthers::SetAbsent)
        }
        (EdgePosition::Edge, _, false) | (EdgePosition::BehindProxy, true, false) => {
            (ForwardedFor::Replace, ForwardedOthers::Replace)
        }
    };
    Forwarding {
        forwarded_for,
        others,
        keep_halftone: peer_trusted,
    }
}
