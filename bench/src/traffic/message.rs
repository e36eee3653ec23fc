//! Reads one HTTP/1.1 message at a time, as far as the two ends of a measurement need it: where the head ends,
//! how long the body is, and which arm the body names. PURE: bytes in, messages out.

use memchr::{memchr, memmem};

/// Which end of the connection is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request: without a Content-Length it has no body; in chunks, it has no end.
    Request,
    /// An answer: every answer of the backends has a Content-Length, so one without it is wrong.
    Answer,
}

/// One whole message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BenchMessage {
    /// Body length in bytes.
    pub(crate) body: usize,
    /// First byte of the body, 0 without a body. The backends fill their answers with their arm's letter.
    pub(crate) mark: u8,
}

/// What of a message has been read so far.
pub(crate) struct MessageReader {
    kind: Kind,
    head: Vec<u8>,
    body: Option<BodyState>,
}

struct BodyState {
    length: usize,
    left: usize,
    mark: u8,
}

impl MessageReader {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            head: Vec::new(),
            body: None,
        }
    }

    /// Takes the next bytes of the stream: `Some` once they end a message. Nobody here pipelines, so bytes
    /// beyond the end of a message are an error.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Option<BenchMessage>, &'static str> {
        if self.body.is_some() {
            return self.feed_body(bytes);
        }
        if self.head.is_empty()
            && let Some(end) = memmem::find(bytes, b"\r\n\r\n")
        {
            return self.enter_body(&bytes[..end + 4], &bytes[end + 4..]);
        }
        self.head.extend_from_slice(bytes);
        let Some(end) = memmem::find(&self.head, b"\r\n\r\n") else {
            return Ok(None);
        };
        let whole = std::mem::take(&mut self.head);
        self.enter_body(&whole[..end + 4], &whole[end + 4..])
    }

    fn enter_body(
        &mut self,
        head: &[u8],
        rest: &[u8],
    ) -> Result<Option<BenchMessage>, &'static str> {
        if self.kind == Kind::Answer && !head.starts_with(b"HTTP/1.1 200 ") {
            return Err("status other than 200");
        }
        let length = match (content_length(head), self.kind) {
            (Some(length), _) => length,
            (None, Kind::Request) if is_endless(head) => usize::MAX,
            (None, Kind::Request) => 0,
            (None, Kind::Answer) => return Err("answer without Content-Length"),
        };
        self.body = Some(BodyState {
            length,
            left: length,
            mark: 0,
        });
        self.feed_body(rest)
    }

    fn feed_body(&mut self, bytes: &[u8]) -> Result<Option<BenchMessage>, &'static str> {
        let Some(body) = &mut self.body else {
            return Ok(None);
        };
        if body.left == body.length {
            body.mark = bytes.first().copied().unwrap_or(0);
        }
        body.left = body
            .left
            .checked_sub(bytes.len())
            .ok_or("bytes beyond the end of a message")?;
        if body.left > 0 {
            return Ok(None);
        }
        let message = BenchMessage {
            body: body.length,
            mark: body.mark,
        };
        self.body = None;
        Ok(Some(message))
    }
}

/// The only requests in chunks here are those of the fast sender.
fn is_endless(head: &[u8]) -> bool {
    head.starts_with(b"POST /endless ")
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    // A GET has no body here, and walking a browser's fields for nothing would cost the load core.
    if head.starts_with(b"GET ") {
        return None;
    }
    let mut rest = head;
    while let Some(end) = memchr(b'\n', rest) {
        let line = &rest[..end];
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            return std::str::from_utf8(&line[NAME.len()..])
                .ok()?
                .trim()
                .parse()
                .ok();
        }
        rest = &rest[end + 1..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 4\r\n\r\ngggg";

    #[test]
    fn a_message_is_found_however_it_is_cut() {
        for cut in 0..ANSWER.len() {
            let mut reader = MessageReader::new(Kind::Answer);
            assert_eq!(reader.feed(&ANSWER[..cut]), Ok(None), "cut at {cut}");
            let message = reader.feed(&ANSWER[cut..]).unwrap().unwrap();
            assert_eq!(
                message,
                BenchMessage {
                    body: 4,
                    mark: b'g'
                },
                "cut at {cut}"
            );
            assert_eq!(
                reader.feed(ANSWER).unwrap().unwrap().body,
                4,
                "the next message after cut {cut}"
            );
        }
    }

    #[test]
    fn a_request_without_length_has_no_body() {
        let mut reader = MessageReader::new(Kind::Request);
        let message = reader
            .feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(message.body, 0);
    }

    #[test]
    fn wrong_answers_are_errors() {
        for wrong in [
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".as_slice(),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
        ] {
            assert!(MessageReader::new(Kind::Answer).feed(wrong).is_err());
        }
    }
}
