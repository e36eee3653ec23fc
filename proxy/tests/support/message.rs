//! One HTTP/1.1 message as it came over a socket: read naively, byte by byte where that is simplest.

use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;

/// A connection to read messages from.
pub(crate) type Reader = BufReader<TcpStream>;

/// A message's head, and its body once read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) start: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    /// Reads a head. `None`: the connection ended before its first byte.
    pub(crate) fn read_head(reader: &mut Reader) -> io::Result<Option<Self>> {
        let Some(start) = line(reader)? else { return Ok(None) };
        Ok(Some(Self { start, fields: fields(reader)?, ..Self::default() }))
    }

    /// The status of an answer.
    pub(crate) fn status(&self) -> u16 {
        self.start
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("{self:?}"))
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The first value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Reads the body that the head announces. Without length or chunks: `until_close` or none.
    pub(crate) fn read_body(&mut self, reader: &mut Reader, until_close: bool) -> io::Result<()> {
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

    fn read_chunks(&mut self, reader: &mut Reader) -> io::Result<()> {
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
            assert_eq!(line(reader)?.as_deref(), Some(""), "a chunk ends with its line end");
        }
    }
}

/// A line without its CRLF; `None` at the end.
pub(crate) fn line(reader: &mut Reader) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let line = line.strip_suffix(b"\r\n").ok_or_else(|| io::Error::other("a line without CRLF"))?;
    // Bytes that are not UTF-8 are read as Latin-1, so that none is lost.
    let latin_1 = || line.iter().copied().map(char::from).collect();
    Ok(Some(str::from_utf8(line).map_or_else(|_| latin_1(), str::to_owned)))
}

fn fields(reader: &mut Reader) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other("a field without colon"))?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}
