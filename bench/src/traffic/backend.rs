//! One connection of the backend: reads whole requests, answers each with the arm's answer. It does as little as
//! a server can, so that the load core is never what a proxy waits for.

use super::message::{Kind, MessageReader};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// A connection from the proxy to one arm.
pub(crate) struct BackendConnection {
    pub(crate) arm: usize,
    stream: TcpStream,
    reader: MessageReader,
    /// How much of the answer under way has been written; `None` while none is.
    written: Option<usize>,
}

impl BackendConnection {
    pub(crate) fn new(arm: usize, stream: TcpStream) -> Self {
        Self {
            arm,
            stream,
            reader: MessageReader::new(Kind::Request),
            written: None,
        }
    }

    /// Reads what is there and answers each whole request. `false`: the connection has ended.
    pub(crate) fn readable(&mut self, buffer: &mut [u8], answer: &[u8]) -> bool {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(read) => read,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            match self.reader.feed(&buffer[..read]) {
                Ok(None) => {}
                Ok(Some(_)) => {
                    self.written = Some(0);
                    if self.writable(answer).is_err() {
                        return false;
                    }
                }
                // The client counts the broken connection; this end cannot know which proxy is measured.
                Err(_) => return false,
            }
            // Edge-triggered: a read that did not fill the buffer drained the socket.
            if read < buffer.len() {
                return true;
            }
        }
    }

    /// Writes what is left of the answer under way, as far as the socket takes it.
    pub(crate) fn writable(&mut self, answer: &[u8]) -> io::Result<()> {
        while let Some(written) = self.written {
            match self.stream.write(&answer[written..]) {
                Ok(count) if written + count == answer.len() => self.written = None,
                Ok(count) => self.written = Some(written + count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
