//! Where a head ends, found as its bytes arrive, and where each of its lines does. What can be refused early is
//! refused here, so that a client that will never finish its head does not wait for the time-out; `head` takes
//! apart what was found, without looking for line ends again.

use wide::{u8x16, u8x32};

use super::{MAX_FIELDS, MAX_HEAD, MAX_REQUEST_LINE, MessageError, Strictness, head};

/// Most lines of a head without the empty one.
const MAX_LINES: usize = MAX_FIELDS + 1;

/// Finds the lines of a head in a buffer that grows, each byte looked at once. Refuses bare LF and CR, other control
/// characters, folded fields, and heads beyond the limits, as soon as they can be seen.
#[derive(Clone, Debug)]
pub struct HeadSearch {
    /// Where the next look begins.
    resume: usize,
    /// Where the first line begins, after the empty ones before it.
    first: usize,
    /// Where the line begins that has not ended yet.
    line_start: usize,
    /// The place of each line's CR, empty lines before the first left out; heads are shorter than 64 KiB.
    ends: Vec<u16>,
    /// Most lines.
    most: usize,
    /// Requests have a limit for their first line, and may have empty lines before it.
    request: bool,
}

impl HeadSearch {
    /// For a request.
    pub fn request() -> Self {
        Self {
            resume: 0,
            first: 0,
            line_start: 0,
            ends: Vec::new(),
            most: MAX_LINES,
            request: true,
        }
    }

    /// For a response. A lenient one may have as many fields as `MAX_HEAD` bytes hold.
    pub fn response(strictness: Strictness) -> Self {
        let most = if strictness == Strictness::Lenient {
            MAX_HEAD
        } else {
            MAX_LINES
        };
        Self {
            request: false,
            most,
            ..Self::request()
        }
    }

    /// Looks for another head from here on, as `other` would. It keeps the memory for the places of lines, of which the
    /// heads on one connection mostly have about as many.
    pub(crate) fn begin(&mut self, other: &Self) {
        let mut ends = std::mem::take(&mut self.ends);
        ends.clear();
        ends.shrink_to(MAX_LINES);
        *self = Self { ends, ..*other };
    }

    /// Looks at `buf`, which begins with the message's first byte and holds at least what it held at the
    /// last call. `Some(length)` is the head's length, its empty line and empty lines before it included.
    ///
    /// # Errors
    /// A control character, a first byte that begins no message, a folded field, or a limit exceeded.
    pub fn advance(&mut self, buf: &[u8]) -> Result<Option<usize>, MessageError> {
        let window = &buf[..buf.len().min(MAX_HEAD)];
        let mut controls = ControlBytes::new(window, self.resume);
        while let Some(at) = controls.next() {
            if window[at..].starts_with(b"\r\n") {
                controls.pass_over_next();
                if self.end_line(window, at)? {
                    return Ok(Some(self.line_start));
                }
                continue;
            }
            match window[at] {
                // The second half of a line end.
                b'\n' if at < self.line_start => {}
                b'\t' => {}
                b'\r' if at + 1 == window.len() => {
                    self.resume = at;
                    return self.not_yet(window);
                }
                b'\r' => return Err(MessageError::BareCr),
                b'\n' => return Err(MessageError::BareLf),
                _ => return Err(self.misplaced(&window[self.line_start..at])),
            }
        }
        self.resume = window.len();
        self.not_yet(window)
    }

    /// The lines of the head that was found, the empty one left out, in `head`, which is that head.
    pub(super) fn lines<'s, 'b>(&'s self, head: &'b [u8]) -> HeadLines<'s, 'b> {
        HeadLines {
            head,
            first: self.first,
            ends: &self.ends,
        }
    }

    /// Takes note of a line that ends with the CR at `at`; true when the head ends with it.
    #[inline(always)]
    fn end_line(&mut self, window: &[u8], at: usize) -> Result<bool, MessageError> {
        let start = std::mem::replace(&mut self.line_start, at + 2);
        let lines = self.ends.len();
        // An empty line begins with its CR, a folded one with white space.
        if lines > 0 && lines < self.most && window[start] > b' ' {
            self.push_end(at);
            return Ok(false);
        }
        self.end_unusual_line(window, start, at)
    }

    /// The same for any line, the first and the last one among them.
    #[inline(never)]
    fn end_unusual_line(
        &mut self,
        window: &[u8],
        start: usize,
        at: usize,
    ) -> Result<bool, MessageError> {
        match self.ends.len() {
            0 => return self.end_first_line(window, start, at),
            _ if at == start => return Ok(true),
            lines if lines >= self.most => return Err(MessageError::TooManyFields),
            _ if matches!(window[start], b' ' | b'\t') => return Err(MessageError::ObsFold),
            _ => {}
        }
        self.push_end(at);
        Ok(false)
    }

    /// The same as long as there is no line but empty ones.
    fn end_first_line(
        &mut self,
        window: &[u8],
        start: usize,
        at: usize,
    ) -> Result<bool, MessageError> {
        if at > start {
            self.check_first_line(window, at)?;
            self.check_whole_first_line(&window[self.first..at])?;
            self.push_end(at);
        } else if self.request {
            self.first = at + 2;
        } else {
            return Err(MessageError::FirstLine);
        }
        Ok(false)
    }

    #[inline]
    fn push_end(&mut self, at: usize) {
        self.ends
            .push(u16::try_from(at).expect("MAX_HEAD is less than 64 KiB"));
    }

    /// What can be refused although the head has not ended.
    fn not_yet(&self, window: &[u8]) -> Result<Option<usize>, MessageError> {
        if self.ends.is_empty() {
            self.check_first_line(window, self.resume)?;
        }
        if window.len() == MAX_HEAD {
            Err(MessageError::HeadTooLong)
        } else {
            Ok(None)
        }
    }

    /// Looks at the first line as far as it is there, which is up to `end`.
    fn check_first_line(&self, window: &[u8], end: usize) -> Result<(), MessageError> {
        // A TLS hello on the plain port would otherwise wait for the time-out.
        if end > self.first && !is_token(window[self.first]) {
            return Err(MessageError::FirstLine);
        }
        if self.request && end - self.first > MAX_REQUEST_LINE {
            return Err(MessageError::RequestLineTooLong);
        }
        Ok(())
    }

    /// Looks at the first line now that it is whole. Who speaks SSH, SMTP or HTTP/0.9 may send no other, and would wait
    /// for the time-out.
    fn check_whole_first_line(&self, line: &[u8]) -> Result<(), MessageError> {
        let usual = match line.strip_suffix(b" HTTP/1.1") {
            // Behind the method there is a target. Of most it is this one, which needs no search.
            Some(before) if self.request => before.starts_with(b"GET ") || before.contains(&b' '),
            _ => !self.request && line.starts_with(b"HTTP/1.1 "),
        };
        match (usual, self.request) {
            (true, _) => Ok(()),
            (false, true) => head::check_request_line(line),
            (false, false) => head::check_status_line(line),
        }
    }

    /// What a control character breaks that comes after `before` in its line.
    fn misplaced(&self, before: &[u8]) -> MessageError {
        match before {
            _ if self.ends.is_empty() => MessageError::FirstLine,
            _ if before.contains(&b':') => MessageError::FieldValue,
            _ => MessageError::FieldName,
        }
    }
}

/// The lines of a head without its empty one. They have no control characters but tabs.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLines<'s, 'b> {
    head: &'b [u8],
    first: usize,
    ends: &'s [u16],
}

impl<'s, 'b> HeadLines<'s, 'b> {
    /// Request line or status line.
    pub(super) fn first(self) -> &'b [u8] {
        let end = self
            .ends
            .first()
            .map_or(self.first, |end| usize::from(*end));
        self.head.get(self.first..end).unwrap_or_default()
    }

    /// The lines of the fields, each without its line end.
    pub(super) fn fields(self) -> impl Iterator<Item = &'b [u8]> + use<'s, 'b> {
        let end_of = |end: &u16| usize::from(*end);
        let mut start = self.ends.first().map_or(0, end_of) + 2;
        self.ends
            .get(1..)
            .unwrap_or_default()
            .iter()
            .map(end_of)
            .map(move |end| {
                let line = &self.head[start..end];
                start = end + 2;
                line
            })
    }

    /// The lines of the fields from `from` up to `to`, counted from 0, with their line ends.
    pub(super) fn span(self, from: usize, to: usize) -> &'b [u8] {
        let start = |index: usize| self.ends.get(index).map_or(0, |end| usize::from(*end) + 2);
        self.head.get(start(from)..start(to)).unwrap_or_default()
    }
}

/// The places of control characters (below space, or DEL), 64 bytes looked at at a time.
struct ControlBytes<'b> {
    bytes: &'b [u8],
    /// Where the bytes begin that were not looked at.
    unseen: usize,
    /// Those of the block before that are not told yet, the first one in the lowest bit.
    found: u64,
}

impl<'b> ControlBytes<'b> {
    /// Those from `from` on.
    fn new(bytes: &'b [u8], from: usize) -> Self {
        Self {
            bytes,
            unseen: from,
            found: 0,
        }
    }

    /// Passes over the control character right behind the one that was told last. Where that was its block's last byte,
    /// nothing of the block is left to pass over.
    #[inline]
    fn pass_over_next(&mut self) {
        self.found &= self.found.wrapping_sub(1);
    }
}

impl Iterator for ControlBytes<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            self.found = controls(self.bytes.get(self.unseen..)?);
            self.unseen += BLOCK;
        }
        let at = self.unseen - BLOCK + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(at)
    }
}

const BLOCK: usize = 64;
/// Of which a block is two.
const HALF: usize = 32;

/// Which of the first bytes are control characters; the first in the lowest bit.
#[inline(always)]
fn controls(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(block) => controls_in_block(block),
        None => controls_at_end(bytes),
    }
}

/// The same where there are fewer than a block has.
#[inline(never)]
fn controls_at_end(bytes: &[u8]) -> u64 {
    let mut block = [b' '; BLOCK];
    block[..bytes.len()].copy_from_slice(bytes);
    controls_in_block(&block)
}

#[inline(always)]
fn controls_in_block(block: &[u8; BLOCK]) -> u64 {
    let halves = [block.first_chunk(), block.last_chunk()];
    let [first, second] = halves.map(|half| half.map_or(0, |half| controls_in(*half)));
    u64::from(second) << HALF | u64::from(first)
}

#[inline(always)]
fn controls_in(block: [u8; HALF]) -> u32 {
    let block = u8x32::new(block);
    let below = block.min(u8x32::splat(0x1f)).simd_eq(block);
    (below | block.simd_eq(u8x32::splat(0x7f))).to_bitmask()
}

/// How many letters, digits and `-` a line begins with, of which most names are made, 16 bytes looked at at a time.
#[inline(always)]
pub(super) fn plain_length(line: &[u8]) -> usize {
    let (blocks, rest) = line.as_chunks::<NAME_BLOCK>();
    let mut length = 0;
    for block in blocks {
        let others = others(*block);
        if others != 0 {
            return length + others.trailing_zeros() as usize;
        }
        length += NAME_BLOCK;
    }
    length
        + rest
            .iter()
            .position(|byte| !is_plain(*byte))
            .unwrap_or(rest.len())
}

const NAME_BLOCK: usize = 16;

/// Which of the bytes are neither letters nor digits nor `-`; the first in the lowest bit.
#[inline(always)]
fn others(block: [u8; NAME_BLOCK]) -> u32 {
    let block = u8x16::new(block);
    let within = |bytes: u8x16, first: u8, last: u8| {
        let from_first = bytes - u8x16::splat(first);
        from_first
            .min(u8x16::splat(last - first))
            .simd_eq(from_first)
    };
    let letters = within(block | u8x16::splat(0x20), b'a', b'z');
    let plain = letters | within(block, b'0', b'9') | block.simd_eq(u8x16::splat(b'-'));
    !plain.to_bitmask() & 0xffff
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// Whether a byte may stand in a method or a field name (RFC 9110 §5.6.2).
pub(super) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let letter = byte as u8;
        let special = matches!(
            letter,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        table[byte] = special || is_plain(letter);
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_letters_digits_and_hyphens_ends_at_the_first_other_byte() {
        for length in 0..40 {
            for (place, byte) in
                (0..length).flat_map(|place| (0..=u8::MAX).map(move |byte| (place, byte)))
            {
                let mut line = vec![b'-'; length];
                line[place] = byte;
                let expected = if is_plain(byte) { length } else { place };
                assert_eq!(plain_length(&line), expected, "{line:?}");
            }
        }
    }

    #[test]
    fn a_search_begun_anew_finds_what_a_fresh_one_finds_and_keeps_little_memory() {
        let mut search = HeadSearch::response(Strictness::Lenient);
        let long = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(2_000));
        assert_eq!(search.advance(long.as_bytes()), Ok(Some(long.len())));
        search.begin(&HeadSearch::request());
        assert!(search.ends.capacity() <= MAX_LINES);
        let head = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(search.advance(head), Ok(Some(head.len())));
        assert_eq!(search.lines(head).first(), b"GET / HTTP/1.1");
        assert_eq!(
            search.lines(head).fields().collect::<Vec<_>>(),
            [b"Host: a"]
        );
    }

    #[test]
    fn control_characters_are_found_wherever_they_stand() {
        // Ends in the first, the second and the third block.
        for length in (0..70).chain(120..132) {
            for (place, byte) in
                (0..length).flat_map(|place| (0..=u8::MAX).map(move |byte| (place, byte)))
            {
                let mut bytes = vec![b'a'; length];
                bytes[place] = byte;
                // What follows must not be taken for one.
                bytes[place + 1..].fill(0xff);
                let expected = byte.is_ascii_control().then_some(place);
                assert_eq!(
                    ControlBytes::new(&bytes, 0).collect::<Vec<_>>(),
                    Vec::from_iter(expected),
                    "{bytes:?}"
                );
                assert_eq!(
                    ControlBytes::new(&bytes, place.min(3)).next(),
                    expected,
                    "{bytes:?}"
                );
            }
        }
        let all = [b'\t'; 100];
        assert!(ControlBytes::new(&all, 7).eq(7..100));
        assert_eq!(ControlBytes::new(&all, 100).next(), None);
    }
}
