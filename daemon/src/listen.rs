//! Where to listen, and on what kind of socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// Unaccepted connections that the kernel keeps for pages.
const BACKLOG: i32 = 128;

/// Reads `IP:PORT`, or `localhost:PORT` for this machine alone.
///
/// # Errors
/// Anything else. Of a port alone nobody knows whether it is to be open to the network, so both forms are named.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = |text: &str| text.parse::<u16>().ok();
    if let Some(port) = text.strip_prefix("localhost:").and_then(port) {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    Err(match port(text.trim_start_matches([':', '*'])) {
        Some(port) => {
            format!(
                "write 127.0.0.1:{port} for this machine only, or [::]:{port} for every address of it"
            )
        }
        None => format!(
            "\"{text}\" is not an address; write an IP address and a port, as in 127.0.0.1:8080 or [::]:8080"
        ),
    })
}

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
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_or_its_form_is_told() {
        for (text, read) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::]:8080", "[::]:8080"),
            ("localhost:0", "127.0.0.1:0"),
        ] {
            assert_eq!(
                address(text).map(|address| address.to_string()).as_deref(),
                Ok(read)
            );
        }
        for text in ["8080", ":8080", "*:8080"] {
            let why = address(text).unwrap_err();
            assert!(
                why.contains("127.0.0.1:8080") && why.contains("[::]:8080"),
                "{text}: {why}"
            );
        }
        for text in ["", "shop:80", "127.0.0.1", ":99999", "[::1]"] {
            assert!(
                address(text).unwrap_err().contains("is not an address"),
                "{text}"
            );
        }
    }
}
