//! A client that sends an endless body in chunks of one byte, as fast as the proxy takes them.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::JoinHandle;

const HEAD: &[u8] = b"POST /endless HTTP/1.1\r\nHost: shop.example.com\r\nX-User-Name: sender\r\n\
Transfer-Encoding: chunked\r\n\r\n";
const CHUNK: &[u8] = b"1\r\nx\r\n";

/// The sender, in a thread of its own.
pub(crate) struct FastSender {
    stream: TcpStream,
    thread: JoinHandle<io::Result<()>>,
}

impl FastSender {
    pub(crate) fn start(proxy: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(proxy)?;
        let mut sending = stream.try_clone()?;
        let thread = std::thread::spawn(move || {
            sending.write_all(HEAD)?;
            let chunks = CHUNK.repeat(64 * 1024 / CHUNK.len());
            loop {
                sending.write_all(&chunks)?;
            }
        });
        Ok(Self { stream, thread })
    }

    /// Ends it. `false`: the proxy had cut it off before.
    pub(crate) fn stop(self) -> io::Result<bool> {
        let was_sending = !self.thread.is_finished();
        // Its next write fails, which is the way to end it.
        self.stream.shutdown(Shutdown::Both)?;
        // Its result is that failure, whatever it was.
        let _ = self.thread.join();
        Ok(was_sending)
    }
}
