//! What an endpoint is: from the EndpointSlices of a Service to the addresses of one of its ports. Proxies fill their
//! tables with it and the operator counts with it, so that the two never disagree about who can be served.
//!
//! Whatever order slices come in, the answer is the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::document::names::ObjectName;

mod resolve;
#[cfg(test)]
mod tests;

pub use self::resolve::{members_of_port, resolve};

/// The protocol of a port that can be forwarded to. A port of a Service or a slice that names none has it.
pub const PROTOCOL: &str = "TCP";

/// One EndpointSlice in short form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Name of the Service that it belongs to.
    pub service: ObjectName,
    /// Its TCP ports by name; an unnamed port has the empty name. A UDP port is left out.
    pub ports: BTreeMap<String, u16>,
    /// Its endpoints.
    pub members: Vec<SliceEndpoint>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// The first of its addresses; the others mean nothing (as for kube-proxy).
    pub ip: IpAddr,
    /// Takes new requests.
    pub ready: bool,
    /// Still answers, ready or not.
    pub serving: bool,
    /// Is on its way out.
    pub terminating: bool,
    /// What is behind it: the uid of its pod. A slice that was made by hand may not say.
    pub pod: Option<Box<str>>,
}

/// One address that may answer for an arm, as its source describes it. An address of an arm by `addresses` is
/// [`Endpoint::ready`]; an EndpointSlice's says what its conditions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// Takes new requests.
    pub ready: bool,
    /// Still answers, ready or not.
    pub serving: bool,
    /// Is on its way out.
    pub terminating: bool,
}

impl Endpoint {
    /// An endpoint that is ready and nothing else.
    #[must_use]
    pub fn ready(address: SocketAddr) -> Self {
        Self {
            address,
            ready: true,
            serving: true,
            terminating: false,
        }
    }

    /// Whether new requests go to it before any that is on its way out.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready && !self.terminating
    }
}

/// Why a Service's port has fewer endpoints than its slices name, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum EndpointIssue {
    /// The Service selects this proxy: requests would come back.
    LoopsBack,
    /// No slice has the port.
    NoSuchPort,
    /// Addresses that no proxy dials were left out: loopback, link-local, unspecified, multicast, instance metadata.
    ForbiddenAddress,
}

/// What a Service's port comes down to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedEndpoints {
    /// Sorted by address, no two equal.
    pub endpoints: Vec<Endpoint>,
    /// What is wrong, if anything is.
    pub trouble: Option<EndpointIssue>,
}

impl ResolvedEndpoints {
    /// How many of them are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.is_ready())
            .count()
    }
}
