//! One keep-alive connection of a browser: sends a request, awaits the whole answer, checks it.

use super::message::{BenchMessage, Kind, MessageReader};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// What became of a connection when it was read.
pub(crate) enum Received {
    /// No whole answer yet.
    Nothing,
    /// The answer to the request under way.
    Answer(BenchMessage),
    /// Why the connection cannot go on.
    Broken(&'static str),
}

/// A connection to the proxy and the request on it.
pub(crate) struct BenchClient {
    stream: TcpStream,
    reader: MessageReader,
    /// Request bytes that the socket did not take at once.
    unsent: Vec<u8>,
    /// The user asking and since when that counts; `None` while idle.
    pub(crate) asked: Option<(usize, Instant)>,
}

impl BenchClient {
    pub(crate) fn connect(proxy: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(proxy)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            reader: MessageReader::new(Kind::Answer),
            unsent: Vec::new(),
            asked: None,
        })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn ask(&mut self, request: &[u8], user: usize, since: Instant) -> io::Result<()> {
        self.asked = Some((user, since));
        self.write(request)
            .map(|written| self.unsent.extend_from_slice(&request[written..]))
    }

    pub(crate) fn writable(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut self.unsent);
        self.write(&unsent)
            .map(|written| self.unsent.extend_from_slice(&unsent[written..]))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.write(&bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    pub(crate) fn readable(&mut self, buffer: &mut [u8]) -> Received {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Received::Broken("connection closed by the proxy"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::Nothing,
                Err(_) => return Received::Broken("connection reset by the proxy"),
            };
            match self.reader.feed(&buffer[..read]) {
                Ok(Some(_)) if self.asked.is_none() => {
                    return Received::Broken("answer without a request");
                }
                Ok(Some(message)) => return Received::Answer(message),
                Ok(None) if read < buffer.len() => return Received::Nothing,
                Ok(None) => {}
                Err(reason) => return Received::Broken(reason),
            }
        }
    }
}
