//! Pure: which addresses a proxy in a cluster dials.

use std::net::SocketAddr;

use halftone_routing::reach::is_dialled;

/// What a proxy in a cluster may dial: every backend, but not itself.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// This proxy's pod.
    pub pod: Option<String>,
    /// Where this proxy itself listens, for clients and for admin.
    pub sockets: Vec<SocketAddr>,
    /// Whether loopback addresses may be dialled. Only for a proxy that shares a machine with its backends: in a pod,
    /// loopback is the proxy itself and its sidecars.
    pub loopback: bool,
}

impl Reach {
    pub(super) fn allows(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let loopback = self.loopback && ip.is_loopback();
        (loopback || is_dialled(ip)) && !self.is(address)
    }

    /// Whether this proxy listens there.
    pub(super) fn is(&self, address: SocketAddr) -> bool {
        let canonical = |address: &SocketAddr| (address.ip().to_canonical(), address.port());
        self.sockets.iter().any(|socket| canonical(socket) == canonical(&address))
    }
}
