//! Chunked bodies (RFC 9112 §7.1): a decoder that hands out slices of the input without copying, and our
//! own size lines for the way out. Chunk lines as received are never sent on, since proxies and servers
//! that read them differently are what request smuggling lives on.

use std::rc::Rc;

use super::{MAX_TRAILERS, MessageError, Strictness, fields};

/// What the reader of a chunked body heeds beside the grammar.
#[derive(Clone, Debug, Default)]
pub struct ChunkRules {
    /// How strictly sizes are read.
    pub strictness: Strictness,
    /// Names of the fields that the release sets or decides by; no trailer of such a name goes on.
    pub own_fields: Rc<[Box<str>]>,
}

/// What the decoder found, beside how much of the input it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodedPart<'b> {
    /// Data, never empty; call again with the rest.
    Data(&'b [u8]),
    /// The body has ended; what is left of the input is not part of it.
    End,
    /// Everything was used; more input is needed.
    More,
}

/// Walks through a chunked body as its bytes arrive. All input is consumed at once, only the trailer
/// section is kept.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    state: DecoderState,
    /// Size of the present chunk as far as read, then what is left of its data.
    left: u64,
    /// Digits of the present chunk's size read so far.
    digits: u8,
    /// Bytes of extensions, less the bytes of data that came with them.
    extensions: u64,
    trailers: Vec<u8>,
    rules: ChunkRules,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum DecoderState {
    /// The first digit of a size.
    #[default]
    Size,
    /// Further digits, or what ends them.
    MoreSize,
    /// White space between the size and the semicolon of its extensions.
    BeforeExtension,
    /// Extensions, up to CR.
    Extension,
    /// The LF of a size line.
    SizeLineFeed,
    /// Data.
    Data,
    /// The CR after data.
    DataEnd,
    /// The LF after data.
    DataLineFeed,
    /// The first byte of a trailer line, or of the empty line that ends the body.
    TrailerStart,
    /// The rest of a trailer line.
    Trailer,
    /// The LF of a trailer line.
    TrailerLineFeed,
    /// The LF of the empty line.
    LastLineFeed,
    /// Nothing more belongs to the body.
    Ended,
}

/// How many bytes of extensions a body may have beyond its own size. Clients that sign their chunks need
/// some 90 bytes for each; more than that only costs us time and hides from who counts body bytes.
const MAX_EXTENSIONS: u64 = 16 * 1024;

/// Most digits of a size, leading zeros included; 63 bits are refused beyond.
const MAX_DIGITS: u8 = 16;

impl Decoder {
    /// At the beginning of a body.
    pub fn new() -> Self {
        Self::default()
    }

    /// At the beginning of a body that is read by these rules.
    pub fn by(rules: &ChunkRules) -> Self {
        Self {
            rules: rules.clone(),
            ..Self::default()
        }
    }

    /// Takes the next piece of `input`: how many bytes were used, framing included, and what they are.
    ///
    /// # Errors
    /// Malformed or overflowing sizes, malformed ends, extensions or trailers beyond their bounds.
    pub fn next<'b>(&mut self, input: &'b [u8]) -> Result<(usize, DecodedPart<'b>), MessageError> {
        let mut used = 0;
        loop {
            if self.state == DecoderState::Data {
                let rest = &input[used..];
                let length =
                    usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                if length == 0 {
                    return Ok((used, DecodedPart::More));
                }
                self.take_data(length);
                return Ok((used + length, DecodedPart::Data(&rest[..length])));
            }
            if self.state == DecoderState::Ended {
                return Ok((used, DecodedPart::End));
            }
            let Some(byte) = input.get(used) else {
                return Ok((used, DecodedPart::More));
            };
            used += 1;
            self.state = self.step(*byte)?;
        }
    }

    fn take_data(&mut self, length: usize) {
        self.left -= length as u64;
        self.extensions = self.extensions.saturating_sub(length as u64);
        if self.left == 0 {
            self.digits = 0;
            self.state = DecoderState::DataEnd;
        }
    }

    /// Takes one byte that is not data; the state after it.
    fn step(&mut self, byte: u8) -> Result<DecoderState, MessageError> {
        match (self.state, byte) {
            (
                DecoderState::Size | DecoderState::MoreSize,
                b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F',
            ) => self.digit(byte),
            (DecoderState::MoreSize, b'\r') => Ok(DecoderState::SizeLineFeed),
            (DecoderState::MoreSize, b' ' | b'\t') => self.extension(DecoderState::BeforeExtension),
            (DecoderState::MoreSize | DecoderState::BeforeExtension, b';') => {
                self.extension(DecoderState::Extension)
            }
            (DecoderState::Size | DecoderState::MoreSize, _) => Err(MessageError::ChunkSize),
            (DecoderState::BeforeExtension, b' ' | b'\t') => {
                self.extension(DecoderState::BeforeExtension)
            }
            // Old servers write sizes of one width, padded with blanks.
            (DecoderState::BeforeExtension, b'\r') if self.is_lenient() => {
                Ok(DecoderState::SizeLineFeed)
            }
            (DecoderState::Extension, b'\r') => Ok(DecoderState::SizeLineFeed),
            (DecoderState::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extension(DecoderState::Extension)
            }
            (DecoderState::BeforeExtension | DecoderState::Extension, _) => {
                Err(MessageError::ChunkExtension)
            }
            (DecoderState::SizeLineFeed, b'\n') if self.left == 0 => Ok(DecoderState::TrailerStart),
            (DecoderState::SizeLineFeed, b'\n') => Ok(DecoderState::Data),
            (DecoderState::SizeLineFeed, _) => Err(MessageError::BareCr),
            (DecoderState::DataEnd, b'\r') => Ok(DecoderState::DataLineFeed),
            (DecoderState::DataLineFeed, b'\n') => Ok(DecoderState::Size),
            (DecoderState::DataEnd | DecoderState::DataLineFeed, _) => Err(MessageError::ChunkEnd),
            (DecoderState::TrailerStart, b'\r') => Ok(DecoderState::LastLineFeed),
            (DecoderState::TrailerStart | DecoderState::Trailer, b'\n') => {
                Err(MessageError::BareLf)
            }
            (DecoderState::TrailerStart, _) => self.trailer(byte, DecoderState::Trailer),
            (DecoderState::Trailer, b'\r') => self.trailer(byte, DecoderState::TrailerLineFeed),
            (DecoderState::Trailer, _) => self.trailer(byte, DecoderState::Trailer),
            (DecoderState::TrailerLineFeed, b'\n') => {
                self.trailer(byte, DecoderState::TrailerStart)
            }
            (DecoderState::LastLineFeed, b'\n') => {
                self.trailers = fields::keep_trailers(&self.trailers, &self.rules)?;
                Ok(DecoderState::Ended)
            }
            (DecoderState::TrailerLineFeed | DecoderState::LastLineFeed, _) => {
                Err(MessageError::BareCr)
            }
            (DecoderState::Data | DecoderState::Ended, _) => Ok(self.state),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<DecoderState, MessageError> {
        let digit = char::from(byte)
            .to_digit(16)
            .ok_or(MessageError::ChunkSize)?;
        if self.is_lenient() && self.left == 0 {
            // Zeros before the size are padding, and beyond the usual number of digits they count as such.
            match digit {
                0 if self.digits == MAX_DIGITS => return self.extension(DecoderState::MoreSize),
                0 => {}
                _ => self.digits = 0,
            }
        }
        if self.digits == MAX_DIGITS || self.left >> 59 != 0 {
            return Err(MessageError::ChunkSize);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(DecoderState::MoreSize)
    }

    fn is_lenient(&self) -> bool {
        self.rules.strictness == Strictness::Lenient
    }

    fn extension(&mut self, next: DecoderState) -> Result<DecoderState, MessageError> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            Err(MessageError::ChunkExtension)
        } else {
            Ok(next)
        }
    }

    fn trailer(&mut self, byte: u8, next: DecoderState) -> Result<DecoderState, MessageError> {
        // The empty line counts too.
        if self.trailers.len() + 2 >= MAX_TRAILERS {
            return Err(MessageError::TrailersTooLong);
        }
        self.trailers.push(byte);
        Ok(next)
    }

    /// Once the body has ended: the trailers that may go on, each line with its CRLF; mostly empty.
    pub fn trailers(&self) -> &[u8] {
        if self.state == DecoderState::Ended {
            &self.trailers
        } else {
            &[]
        }
    }
}

/// Longest size line that `size_line` writes.
pub const MAX_SIZE_LINE: usize = 18;

/// The size line of a chunk of `length` bytes, CRLF included, written into `line`. The data and another
/// CRLF follow it.
pub fn size_line(length: usize, line: &mut [u8; MAX_SIZE_LINE]) -> &[u8] {
    let mut at = MAX_SIZE_LINE - 2;
    line[at..].copy_from_slice(b"\r\n");
    let mut left = length;
    loop {
        at -= 1;
        line[at] = b"0123456789abcdef"[left & 0xf];
        left >>= 4;
        if left == 0 {
            return &line[at..];
        }
    }
}

/// Appends the end of a chunked body, with `Decoder::trailers` or nothing for trailers.
pub fn append_end(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}
