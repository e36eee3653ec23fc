//! Which addresses a backend in a cluster can be at. Proxies dial no others, whatever a document or an EndpointSlice says,
//! and who decides about releases counts no others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a proxy in a cluster may dial: every backend, but not itself. The default is what all of them may dial.
#[derive(Clone, Debug, Default)]
pub struct DialPolicy {
    /// This proxy's pod.
    pub pod: Option<String>,
    /// Where this proxy itself listens, for clients and for admin.
    pub sockets: Vec<SocketAddr>,
    /// Whether loopback addresses may be dialled. Only for a proxy that shares a machine with its backends: in a pod,
    /// loopback is the proxy itself and its sidecars.
    pub loopback: bool,
}

impl DialPolicy {
    /// Whether it may be dialled.
    #[must_use]
    pub fn allows(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let loopback = self.loopback && ip.is_loopback();
        (loopback || is_dialled(ip)) && !self.is(address)
    }

    /// Whether this proxy listens there.
    #[must_use]
    pub fn is(&self, address: SocketAddr) -> bool {
        let canonical = |address: &SocketAddr| (address.ip().to_canonical(), address.port());
        self.sockets
            .iter()
            .any(|socket| canonical(socket) == canonical(&address))
    }
}

/// Whether a backend in a cluster can be at this address: not on the node itself, where a proxy's own admin port is, and
/// not where a cloud tells an instance about itself, credentials included. Some of those are not link-local.
#[must_use]
pub fn is_dialled(ip: IpAddr) -> bool {
    const METADATA: [IpAddr; 2] = [
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    ];
    let ip = ip.to_canonical();
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast() || ip.octets()[0] == 0,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(local
        || ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || METADATA.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_backend_is_on_the_node_itself_or_where_clouds_keep_credentials() {
        let never = "127.0.0.1 ::1 ::ffff:127.0.0.1 169.254.169.254 ::ffff:169.254.169.254 fe80::1 0.0.0.0 0.1.2.3 :: \
                     224.0.0.1 ff02::1 255.255.255.255 fd00:ec2::254 100.100.100.200";
        for address in never.split(' ') {
            assert!(
                !is_dialled(address.parse().expect("an address")),
                "{address}"
            );
        }
        for address in [
            "10.0.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "203.0.113.9",
            "fd00::1",
            "2001:db8::1",
        ] {
            assert!(
                is_dialled(address.parse().expect("an address")),
                "{address}"
            );
        }
    }
}
