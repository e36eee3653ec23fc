//! Where to listen, and on what kind of socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// Unaccepted connections that the kernel keeps for pages.
const BACKLOG: i32 = 128;

/// `wanted`, or `0.0.0.0` where that is `[::]` and this machine has no IPv6. A socket on `[::]` takes IPv4 in as well, so
/// that it is the one default that serves clusters of either family, and of both.
#[must_use]
pub fn available(wanted: SocketAddr) -> SocketAddr {
    if is_everywhere(wanted) && UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_err() {
        return SocketAddr::from((Ipv4Addr::UNSPECIFIED, wanted.port()));
    }
    wanted
}

/// A TCP socket to listen on `address` with, not bound yet.
///
/// # Errors
/// The machine does not have the family, or no descriptor is left.
pub fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if is_everywhere(address) {
        // Some machines say otherwise (net.ipv6.bindv6only).
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// A listener that does not block.
///
/// # Errors
/// The address is taken, or not ours.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn is_everywhere(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}
