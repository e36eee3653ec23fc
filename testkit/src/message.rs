//! One HTTP/1.1 message as it came over a socket, read naively and strictly: a test should see what was sent, and fail
//! on what is not HTTP.

use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;

use serde_json::Value;

/// A connection to read messages from.
pub type ConnectionReader = BufReader<TcpStream>;

/// A message's head, and its body once read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    /// What was read of the body.
    pub body: Vec<u8>,
    /// Fields after a chunked body. Names in lower case.
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// Reads a head. `None`: the connection ended before its first byte.
    ///
    /// # Errors
    /// The connection fails or ends, or this is no head.
    pub fn read_head(reader: &mut ConnectionReader) -> io::Result<Option<Self>> {
        let Some(start) = line(reader)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            start,
            fields: fields(reader)?,
            ..Self::default()
        }))
    }

    /// The status of an answer.
    ///
    /// # Panics
    /// This is a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.start
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("{self:?}"))
    }

    /// The method of a request.
    #[must_use]
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    #[must_use]
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The values of a field, in order.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The first value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// The body as text.
    ///
    /// # Panics
    /// It is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as text, owned.
    ///
    /// # Panics
    /// It is not UTF-8.
    #[must_use]
    pub fn into_text(self) -> String {
        String::from_utf8(self.body).unwrap()
    }

    /// The body of an answer 200 as JSON.
    ///
    /// # Panics
    /// It has another status, or its body is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        assert_eq!(self.status(), 200, "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Reads the body that the head announces. Without length or chunks: `until_close` or none.
    ///
    /// # Errors
    /// The connection fails or ends.
    ///
    /// # Panics
    /// The head announces no length that there can be, or two.
    pub fn read_body(
        &mut self,
        reader: &mut ConnectionReader,
        until_close: bool,
    ) -> io::Result<()> {
        if self.get("transfer-encoding").is_some() {
            assert_eq!(self.get("transfer-encoding"), Some("chunked"));
            assert_eq!(self.get("content-length"), None);
            return self.read_chunks(reader);
        }
        match self.get("content-length") {
            Some(length) => {
                self.body = vec![0; length.parse().unwrap()];
                reader.read_exact(&mut self.body)
            }
            None if until_close => reader.read_to_end(&mut self.body).map(drop),
            None => Ok(()),
        }
    }

    fn read_chunks(&mut self, reader: &mut ConnectionReader) -> io::Result<()> {
        loop {
            let size = line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
            if size == 0 {
                self.trailers = fields(reader)?;
                return Ok(());
            }
            let at = self.body.len();
            self.body.resize(at + size, 0);
            reader.read_exact(&mut self.body[at..])?;
            assert_eq!(
                line(reader)?.as_deref(),
                Some(""),
                "a chunk ends with its line end"
            );
        }
    }
}

/// A line without its CRLF; `None` at the end.
fn line(reader: &mut ConnectionReader) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let line = line
        .strip_suffix(b"\r\n")
        .ok_or_else(|| io::Error::other("a line without CRLF"))?;
    // Bytes that are not UTF-8 are read as Latin-1, so that none is lost.
    let latin_1 = || line.iter().copied().map(char::from).collect();
    Ok(Some(
        str::from_utf8(line).map_or_else(|_| latin_1(), str::to_owned),
    ))
}

fn fields(reader: &mut ConnectionReader) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| io::Error::other("a field without colon"))?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}
