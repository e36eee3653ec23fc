//! Where others reach this proxy: a socket that listens everywhere has, for each family, the address that this machine
//! uses outward.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The addresses that a listening socket is reached at.
pub(super) fn reachable(listening: SocketAddr) -> Vec<SocketAddr> {
    if !listening.ip().is_unspecified() {
        return vec![listening];
    }
    let families = if listening.is_ipv4() {
        &FAMILIES[..1]
    } else {
        &FAMILIES[..]
    };
    let addresses = families
        .iter()
        .filter_map(|(any, elsewhere)| outward(*any, *elsewhere));
    addresses
        .map(|ip| SocketAddr::new(ip, listening.port()))
        .collect()
}

/// Any address of each family, and one of the documentation's networks, which stands for elsewhere.
const FAMILIES: [(IpAddr, IpAddr); 2] = [
    (
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    ),
    (
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    ),
];

/// Connecting a datagram socket sends nothing: the kernel only chooses the way, and with it our address.
fn outward(any: IpAddr, elsewhere: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((elsewhere, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
