//! Pure: which addresses a proxy in a cluster dials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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

/// Whether a backend in a cluster can be at this address. What the cloud tells an instance about itself, credentials
/// included, is behind some that are not link-local.
fn is_dialled(ip: IpAddr) -> bool {
    const METADATA: [IpAddr; 2] = [
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    ];
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast() || ip.octets()[0] == 0,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || METADATA.contains(&ip))
}
