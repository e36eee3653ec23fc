//! What an exchange needs of a connection, client's or backend's. Small, so that TLS can take its place without a
//! line of the exchange changing.

use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;

/// A connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Ready when a read may bring bytes, an end or an error. Asks the runtime, not the kernel: no system call.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether it would be ready. Nobody is woken when it becomes so.
    fn is_readable(&self) -> bool;

    /// Asks the kernel: the other side has neither sent a byte nor closed.
    fn is_silent(&self) -> bool;

    /// Makes the coming close a reset, so that the other side cannot take it for the end of a message.
    fn reset_on_close(&self);
}

impl Stream for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_read_ready(cx).map(|_| ())
    }

    fn is_readable(&self) -> bool {
        self.try_io(Interest::READABLE, || Ok(())).is_ok()
    }

    fn is_silent(&self) -> bool {
        let peek = || {
            let mut byte = [0u8; 1];
            rustix::net::recv(
                self.as_fd(),
                &mut byte,
                RecvFlags::PEEK | RecvFlags::DONTWAIT,
            )
            .map_err(io::Error::from)
        };
        // Through `try_io` first, so that a readiness left over from a read that filled its buffer is cleared.
        match self.try_io(Interest::READABLE, || peek().map(|_| ())) {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                matches!(peek(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Err(_) => false,
        }
    }

    fn reset_on_close(&self) {
        // Failing leaves an ordinary close, which is what happens on a socket that is already gone.
        let _ = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}
