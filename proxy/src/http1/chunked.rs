//! Chunked bodies (RFC 9112 §7.1): a decoder that hands out slices of the input without copying, and our
//! own size lines for the way out. Chunk lines as received are never sent on.

use super::MessageError;

/// What the decoder found, beside how much of the input it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'b> {
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
    trailers: Vec<u8>,
}

impl Decoder {
    /// At the beginning of a body.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece of `input`: how many bytes were used, framing included, and what they are.
    ///
    /// # Errors
    /// Malformed or overflowing sizes, malformed ends, extensions or trailers beyond their bounds.
    pub fn next<'b>(&mut self, input: &'b [u8]) -> Result<(usize, Decoded<'b>), MessageError> {
        Ok((input.len(), Decoded::More))
    }

    /// The trailer section as received, each line with its CRLF; complete after `End`, mostly empty.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }
}

/// Longest size line that `size_line` writes.
pub const MAX_SIZE_LINE: usize = 18;

/// The size line of a chunk of `length` bytes, CRLF included, written to the start of `line`. The data and
/// another CRLF follow it.
pub fn size_line(length: usize, line: &mut [u8; MAX_SIZE_LINE]) -> &[u8] {
    let _ = length;
    &line[..0]
}

/// Appends one chunk; nothing for empty data, which would end the body.
pub fn append_chunk(out: &mut Vec<u8>, data: &[u8]) {
    let _ = (out, data);
}

/// Appends the last chunk and the trailers that may go on (see `fields::append_trailers`).
///
/// # Errors
/// When a trailer is no well-formed field; `out` is then as before.
pub fn append_end(out: &mut Vec<u8>, trailers: &[u8]) -> Result<(), MessageError> {
    let _ = (out, trailers);
    Ok(())
}
