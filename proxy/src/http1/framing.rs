//! How long a body is (RFC 9112 §6.3) and how it is sent on: from a head's lengths and codings to `BodyLength`,
//! and from what upstream sends and what the client can read to `Delivery`.

use super::{FieldSlots, HttpVersion, MessageError, Method, ResponseContext, Strictness, fields};

/// How a message's body is delimited, as received or as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// No body, whatever the fields say.
    Empty,
    /// Exactly this many bytes; may be 0.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection closes; responses only.
    UntilClose,
}

impl BodyLength {
    /// Whether there is nothing to read, in whatever words: no length, or a length of 0.
    pub fn is_none(self) -> bool {
        matches!(self, Self::Empty | Self::Length(0))
    }
}

/// How an answer goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// How the body is delimited towards the client.
    pub body: BodyLength,
    /// Whether the client's connection stays open after it.
    pub keep_alive: bool,
}

/// How an answer received as `received` goes to a client of `version`; `keep_alive`: the client wants the
/// connection kept (`RequestHead::keep_alive`) and so do we.
///
/// Without length it goes in chunks to a 1.1 client; a 1.0 client gets it plain, closed after.
pub fn deliver(received: BodyLength, version: HttpVersion, keep_alive: bool) -> Delivery {
    match (received, version) {
        (BodyLength::Empty | BodyLength::Length(_), _) => Delivery {
            body: received,
            keep_alive,
        },
        (BodyLength::Chunked | BodyLength::UntilClose, HttpVersion::Http11) => Delivery {
            body: BodyLength::Chunked,
            keep_alive,
        },
        (BodyLength::Chunked | BodyLength::UntilClose, HttpVersion::Http10) => Delivery {
            body: BodyLength::UntilClose,
            keep_alive: false,
        },
    }
}

/// What a head's Content-Length and Transfer-Encoding fields say, gathered one by one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Framing {
    pub(super) length: Option<u64>,
    chunked: bool,
}

impl Framing {
    /// Takes a Content-Length field. A list of equal lengths, in one field or several, counts as one.
    pub(super) fn add_length(&mut self, value: &[u8]) -> Result<(), MessageError> {
        for each in value.split(|byte| *byte == b',') {
            let length = parse_length(each.trim_ascii()).ok_or(MessageError::Length)?;
            if self.length.is_some_and(|before| before != length) {
                return Err(MessageError::LengthsDiffer);
            }
            self.length = Some(length);
        }
        Ok(())
    }

    /// Takes a Transfer-Encoding field: exactly one `chunked` in the whole head. Read leniently it may be said again;
    /// gateways that add it to what has it already do not chunk twice.
    pub(super) fn add_coding(
        &mut self,
        value: &[u8],
        strictness: Strictness,
    ) -> Result<(), MessageError> {
        let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        let stands = match strictness {
            Strictness::Strict => !self.chunked && is_chunked(value),
            Strictness::Lenient => {
                fields::list(value).next().is_some() && fields::list(value).all(is_chunked)
            }
        };
        self.chunked = true;
        if stands {
            Ok(())
        } else {
            Err(MessageError::Coding)
        }
    }

    /// The fields tell of a body that is not empty.
    pub(super) fn declares_body(self) -> bool {
        self.chunked || self.length.is_some_and(|length| length > 0)
    }

    /// What both sides refuse.
    fn check(self, version: HttpVersion) -> Result<(), MessageError> {
        match (self.chunked, self.length) {
            (true, _) if version == HttpVersion::Http10 => Err(MessageError::CodingIn10),
            (true, Some(_)) => Err(MessageError::LengthAndCoding),
            _ => Ok(()),
        }
    }

    pub(super) fn of_request(self, version: HttpVersion) -> Result<BodyLength, MessageError> {
        self.check(version)?;
        Ok(match self.length {
            _ if self.chunked => BodyLength::Chunked,
            Some(length) => BodyLength::Length(length),
            None => BodyLength::Empty,
        })
    }

    pub(super) fn of_response(
        self,
        version: HttpVersion,
        status: u16,
        request: ResponseContext,
    ) -> Result<BodyLength, MessageError> {
        self.check(version)?;
        let bodiless = request.method == Method::Head || matches!(status, 100..=199 | 204 | 304);
        Ok(match self.length {
            _ if bodiless => BodyLength::Empty,
            _ if self.chunked => BodyLength::Chunked,
            Some(length) => BodyLength::Length(length),
            None => BodyLength::UntilClose,
        })
    }
}

/// Digits alone, at least one, that fit 63 bits: what is longer overflows in somebody's signed number.
fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })?;
    (number <= i64::MAX.unsigned_abs()).then_some(number)
}

/// What a head's Connection fields say together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
    pub(super) upgrade: bool,
}

impl ConnectionOptions {
    /// Takes a Connection field; the names of fields that are not for one hop anyway are `slots`' matter.
    pub(super) fn add<'b>(
        &mut self,
        value: &'b [u8],
        slots: &mut FieldSlots<'b>,
    ) -> Result<(), MessageError> {
        // What most clients and backends say, and nothing else.
        if value == b"keep-alive" {
            self.keep_alive = true;
            return Ok(());
        }
        for option in fields::list(value) {
            match option.len() {
                5 if option.eq_ignore_ascii_case(b"close") => {
                    self.close = true;
                    // A field of this name is no more for the next hop than any other that is named (RFC 9110 §7.6.1).
                    slots.name(option)?;
                }
                10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                2 if option.eq_ignore_ascii_case(b"te") => {}
                _ => slots.name(option)?,
            }
        }
        Ok(())
    }

    pub(super) fn keeps_alive(self, version: HttpVersion) -> bool {
        !self.close && (version == HttpVersion::Http11 || self.keep_alive)
    }
}
