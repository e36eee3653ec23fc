//! A client of one connection, which says exactly what it is told to say.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::PATIENCE;
use crate::message::{ConnectionReader, Message};

/// One connection. Nothing on it waits longer than [`PATIENCE`].
#[derive(Debug)]
pub struct Client {
    reader: ConnectionReader,
    host: String,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    /// Nobody takes the connection.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// Connects, where it may be that nobody is there.
    ///
    /// # Errors
    /// Nobody takes the connection.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        TcpStream::connect_timeout(&address, PATIENCE).map(Self::over)
    }

    /// On a connection that was made in some special way.
    ///
    /// # Panics
    /// The socket takes no time-out.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            reader: BufReader::with_capacity(64 * 1024, stream),
            host: "localhost".to_owned(),
        }
    }

    /// Asks for this host from now on instead of `localhost`.
    #[must_use]
    pub fn with_host(self, host: &str) -> Self {
        Self {
            host: host.to_owned(),
            ..self
        }
    }

    /// Waits for each piece of an answer no longer than this.
    ///
    /// # Panics
    /// The socket takes no time-out.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        self.stream().set_read_timeout(Some(patience)).unwrap();
        self
    }

    /// The socket, to do something unusual with.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Sends these bytes.
    ///
    /// # Panics
    /// They cannot be sent.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).unwrap();
        self
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// They cannot be sent.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// Sends a GET and reads the answer.
    pub fn get(&mut self, target: &str) -> Message {
        self.get_with(target, &[])
    }

    /// Sends a GET with these fields and reads the answer.
    pub fn get_with(&mut self, target: &str, fields: &[(&str, &str)]) -> Message {
        self.ask("GET", target, fields)
    }

    /// Sends a request without body and reads the answer.
    ///
    /// # Panics
    /// There is no answer.
    pub fn ask(&mut self, method: &str, target: &str, fields: &[(&str, &str)]) -> Message {
        self.try_ask(method, target, fields)
            .unwrap()
            .unwrap_or_else(|| panic!("no answer to {method} {target}"))
    }

    /// Sends a request without body and reads the answer. `None`: the connection was closed without one.
    ///
    /// # Errors
    /// The connection fails, or ends within the answer.
    pub fn try_ask(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> io::Result<Option<Message>> {
        self.try_send(self.request(method, target, fields))?;
        if method == "HEAD" {
            self.head()
        } else {
            self.try_answer()
        }
    }

    fn request(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> String {
        let fields: String = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n",
            self.host
        )
    }

    /// The next answer, whole. An answer without length is read until the connection closes.
    ///
    /// # Panics
    /// There is no answer.
    pub fn answer(&mut self) -> Message {
        self.try_answer()
            .unwrap()
            .unwrap_or_else(|| panic!("the connection was closed without an answer"))
    }

    /// The next answer, whole. `None`: the connection was closed without an answer.
    ///
    /// # Errors
    /// The connection fails, or ends within the answer.
    pub fn try_answer(&mut self) -> io::Result<Option<Message>> {
        let Some(mut answer) = self.head()? else {
            return Ok(None);
        };
        let bodiless = answer.status() < 200 || matches!(answer.status(), 204 | 304);
        if !bodiless {
            answer.read_body(&mut self.reader, true)?;
        }
        Ok(Some(answer))
    }

    /// The next answer's head, when its body is another matter: to HEAD, or to be read by hand.
    ///
    /// # Errors
    /// The connection fails, or ends within the head.
    pub fn head(&mut self) -> io::Result<Option<Message>> {
        Message::read_head(&mut self.reader)
    }

    /// Reads the body that an answer's head announces.
    ///
    /// # Errors
    /// The connection fails, or ends within the body.
    pub fn body(&mut self, answer: &mut Message) -> io::Result<()> {
        answer.read_body(&mut self.reader, true)
    }

    /// Sends a GET and reads the answer's head.
    ///
    /// # Panics
    /// There is no answer.
    pub fn get_head(&mut self, target: &str) -> Message {
        self.send(self.request("GET", target, &[]))
            .head()
            .unwrap()
            .unwrap()
    }

    /// Reads exactly so many bytes.
    #[must_use]
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.read_exact(&mut bytes);
        bytes
    }

    /// Fills `bytes`.
    ///
    /// # Panics
    /// Fewer come.
    pub fn read_exact(&mut self, bytes: &mut [u8]) {
        self.reader.read_exact(bytes).unwrap();
    }

    /// Everything until the connection closes.
    ///
    /// # Errors
    /// It is reset.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).map(|_| rest)
    }

    /// Appends what comes until the connection ends, however it does.
    ///
    /// # Errors
    /// How it ended, unless in an orderly way.
    pub fn read_on(&mut self, received: &mut Vec<u8>) -> io::Result<()> {
        self.reader.read_to_end(received).map(drop)
    }

    /// Asserts that the connection closes in an orderly way with nothing more on it.
    ///
    /// # Panics
    /// It does not.
    pub fn assert_closed(&mut self) {
        assert_eq!(
            String::from_utf8_lossy(&self.rest().unwrap()),
            "",
            "something came before the close"
        );
    }

    /// Whether the other end has closed it, or has sent something that was not asked for.
    ///
    /// # Panics
    /// The socket cannot be looked at.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let stream = self.stream();
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        !matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Ends its own direction.
    ///
    /// # Panics
    /// The connection is gone.
    pub fn end_sending(&self) {
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with a reset.
    ///
    /// # Panics
    /// The connection is gone.
    pub fn abort(self) {
        socket2::SockRef::from(self.stream())
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}
