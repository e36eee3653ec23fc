//! A client that says exactly what it is told to say.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::PATIENCE;
use super::message::{Message, Reader};

/// One connection to the proxy.
#[derive(Debug)]
pub(crate) struct Client {
    reader: Reader,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { reader: BufReader::with_capacity(64 * 1024, stream) }
    }

    /// The socket, to do something unusual with.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).unwrap();
        self
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// Sends a GET of HTTP/1.1 and reads the answer.
    pub(crate) fn get(&mut self, path: &str) -> Message {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n")).answer()
    }

    /// The next answer, whole. An answer without length is read until the connection closes.
    pub(crate) fn answer(&mut self) -> Message {
        self.try_answer().unwrap().unwrap_or_else(|| panic!("the connection was closed without an answer"))
    }

    /// `None`: the connection was closed without an answer.
    pub(crate) fn try_answer(&mut self) -> io::Result<Option<Message>> {
        let Some(mut answer) = self.head()? else { return Ok(None) };
        let bodiless = answer.status() < 200 || matches!(answer.status(), 204 | 304);
        if !bodiless {
            answer.read_body(&mut self.reader, true)?;
        }
        Ok(Some(answer))
    }

    /// The next answer's head, when its body is another matter: to HEAD, or to be read by hand.
    pub(crate) fn head(&mut self) -> io::Result<Option<Message>> {
        Message::read_head(&mut self.reader)
    }

    /// Reads the body that an answer's head announces.
    pub(crate) fn body(&mut self, answer: &mut Message) -> io::Result<()> {
        answer.read_body(&mut self.reader, true)
    }

    /// Sends a GET of HTTP/1.1 and reads the answer's head.
    pub(crate) fn get_head(&mut self, path: &str) -> Message {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n")).head().unwrap().unwrap()
    }

    /// Reads exactly so many bytes.
    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.read_exact(&mut bytes);
        bytes
    }

    pub(crate) fn read_exact(&mut self, bytes: &mut [u8]) {
        self.reader.read_exact(bytes).unwrap();
    }

    /// Everything until the connection closes; an error if it is reset.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).map(|_| rest)
    }

    /// Appends what comes until the connection ends, however it does.
    pub(crate) fn read_on(&mut self, received: &mut Vec<u8>) -> io::Result<()> {
        self.reader.read_to_end(received).map(drop)
    }

    /// Asserts that the connection closes in an orderly way with nothing more on it.
    pub(crate) fn assert_closed(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.rest().unwrap()), "", "something came before the close");
    }

    pub(crate) fn end_sending(&self) {
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with a reset.
    pub(crate) fn abort(self) {
        socket2::SockRef::from(self.stream()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}
