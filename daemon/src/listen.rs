//! Where to listen.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// `wanted`, or `0.0.0.0` where that is `[::]` and this machine has no IPv6. A socket on `[::]` takes IPv4 in as well, so
/// that it is the one default that serves clusters of either family, and of both.
#[must_use]
pub fn available(wanted: SocketAddr) -> SocketAddr {
    let everywhere = wanted.is_ipv6() && wanted.ip().is_unspecified();
    if everywhere && UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_err() {
        return SocketAddr::from((Ipv4Addr::UNSPECIFIED, wanted.port()));
    }
    wanted
}
