//! One new connection to an endpoint.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

/// A peer that does not acknowledge for this long is gone (`TCP_USER_TIMEOUT`): without it a vanished host would be
/// noticed after 15 minutes. A request that waits for it is sent once more then, if it may be.
pub(crate) const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// A silent peer is asked whether it is there after this long, and then as often.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects. Dropping the future gives up; the time-out is the caller's.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_nodelay(true)?;
    set_user_timeout(&socket, UNACKNOWLEDGED);
    SockRef::from(&socket).set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE),
    )?;
    socket.connect(address).await
}

/// Sets after how long without an acknowledgement the peer is given up. Linux (since 5.11) counts the time that the peer
/// keeps its window closed as well, however alive it is: where more is sent than it may take unread, it must have as
/// long as it may take to read.
pub(crate) fn set_user_timeout<'s, S>(stream: &'s S, unacknowledged: Duration)
where
    SockRef<'s>: From<&'s S>,
{
    // Failing leaves the time that was set before, on a socket that is as good as gone.
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(unacknowledged));
}

/// Whether the connection failed for want of something here (descriptors, ports, memory), not there.
pub(crate) fn is_own_fault(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let own = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ]
    .map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| own.contains(&code))
}
