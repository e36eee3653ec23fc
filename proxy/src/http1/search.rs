//! Where a head ends, found as its bytes arrive. What can be refused early is refused here, so that a client
//! that will never finish its head does not wait for the time-out; `head` takes apart what was found.

use memchr::memchr2;

use super::{MAX_FIELDS, MAX_HEAD, MAX_REQUEST_LINE, MessageError};

/// Finds the end of a head in a buffer that grows, each byte looked at once. Refuses bare LF and CR, and
/// heads beyond the limits, as soon as they can be seen.
#[derive(Clone, Debug)]
pub struct HeadSearch {
    /// Where the next look begins.
    resume: usize,
    /// Where the line begins that has not ended yet.
    line_start: usize,
    /// Lines that have ended, the first line included, empty lines before it not.
    lines: usize,
    /// Requests have a limit for their first line, and may have empty lines before it.
    request: bool,
}

impl HeadSearch {
    /// For a request.
    pub fn request() -> Self {
        Self { resume: 0, line_start: 0, lines: 0, request: true }
    }

    /// For a response.
    pub fn response() -> Self {
        Self { resume: 0, line_start: 0, lines: 0, request: false }
    }

    /// Looks at `buf`, which begins with the message's first byte and holds at least what it held at the
    /// last call. `Some(length)` is the head's length, its empty line and empty lines before it included.
    ///
    /// # Errors
    /// Bare LF or CR, a first byte that begins no message, or a limit exceeded.
    pub fn advance(&mut self, buf: &[u8]) -> Result<Option<usize>, MessageError> {
        let window = &buf[..buf.len().min(MAX_HEAD)];
        while let Some(found) = memchr2(b'\r', b'\n', &window[self.resume..]) {
            let at = self.resume + found;
            match (window[at], window.get(at + 1)) {
                (b'\r', Some(b'\n')) => {}
                (b'\r', None) => {
                    self.resume = at;
                    return self.not_yet(window);
                }
                (b'\r', Some(_)) => return Err(MessageError::BareCr),
                _ => return Err(MessageError::BareLf),
            }
            if self.end_line(window, at)? {
                return Ok(Some(self.line_start));
            }
        }
        self.resume = window.len();
        self.not_yet(window)
    }

    /// Takes note of a line that ends with the CR at `at`; true when the head ends with it.
    fn end_line(&mut self, window: &[u8], at: usize) -> Result<bool, MessageError> {
        let length = at - self.line_start;
        match self.lines {
            0 if length == 0 && !self.request => return Err(MessageError::FirstLine),
            0 if length > 0 => self.check_first_line(window, at)?,
            MAX_LINES.. if length > 0 => return Err(MessageError::TooManyFields),
            _ => {}
        }
        let ends = length == 0 && self.lines > 0;
        self.lines += usize::from(length > 0);
        self.resume = at + 2;
        self.line_start = at + 2;
        Ok(ends)
    }

    /// What can be refused although the head has not ended.
    fn not_yet(&self, window: &[u8]) -> Result<Option<usize>, MessageError> {
        if self.lines == 0 {
            self.check_first_line(window, self.resume)?;
        }
        if window.len() == MAX_HEAD { Err(MessageError::HeadTooLong) } else { Ok(None) }
    }

    /// Looks at the first line as far as it is there, which is up to `end`.
    fn check_first_line(&self, window: &[u8], end: usize) -> Result<(), MessageError> {
        // A TLS hello on the plain port would otherwise wait for the time-out.
        if end > self.line_start && !is_token(window[self.line_start]) {
            return Err(MessageError::FirstLine);
        }
        if self.request && end - self.line_start > MAX_REQUEST_LINE {
            return Err(MessageError::RequestLineTooLong);
        }
        Ok(())
    }
}

/// Most lines of a head without the empty one.
const MAX_LINES: usize = MAX_FIELDS + 1;

/// Whether a byte may stand in a method or a field name (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
