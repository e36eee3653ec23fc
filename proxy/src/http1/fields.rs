//! Header fields: a line taken to name and value, what each field is to a proxy (`FieldKind`, found once while
//! parsing), which go on and which end here, and which a Connection field may not remove.
//! `head` fills the slots, `write` asks here about every field.

pub use halftone_routing::field::Field;
use smallvec::SmallVec;

use super::{
    ChunkRules, MAX_FIELDS, MAX_NAMED, MAX_NAMED_BYTES, MessageError, Strictness,
    search::{HeadLines, is_token, plain_length},
};

/// What a field is to a proxy. Names are compared without regard to case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Goes on as it is.
    Other,
    /// Has `_` in its name. Goes on unless it reads like a field that the release sets or decides by.
    Underscored,
    /// Has `_` in its name and, read with `-`, is a field that the proxy sets or reads itself. CGI, WSGI, PHP and many
    /// frameworks do not tell the two apart, so nobody's goes on.
    Disguised,
    /// Connection
    Connection,
    /// Content-Length
    ContentLength,
    /// Transfer-Encoding
    TransferEncoding,
    /// Host
    Host,
    /// Expect
    Expect,
    /// Upgrade
    Upgrade,
    /// Keep-Alive
    KeepAlive,
    /// Proxy-Connection, never standardised, still sent.
    ProxyConnection,
    /// Proxy-Authenticate and Proxy-Authorization: for the next proxy alone, which we are.
    ProxyAuth,
    /// TE
    Te,
    /// Trailer
    Trailer,
    /// Authorization
    Authorization,
    /// Cookie
    Cookie,
    /// Set-Cookie
    SetCookie,
    /// Location
    Location,
    /// Content-Location
    ContentLocation,
    /// Refresh, never standardised, still sent.
    Refresh,
    /// Cache-Control
    CacheControl,
    /// Forwarded (RFC 7239)
    Forwarded,
    /// X-Real-IP
    RealIp,
    /// X-Forwarded-For
    XForwardedFor,
    /// X-Forwarded-Proto
    XForwardedProto,
    /// X-Forwarded-Host
    XForwardedHost,
    /// X-Forwarded-Port
    XForwardedPort,
    /// Any other X-Forwarded-* field.
    XForwardedOther,
    /// X-Halftone-*
    XHalftone,
}

/// Room for one head's fields; lives on the stack of whoever parses, is not initialised, allocates nothing.
#[derive(Debug, Default)]
pub struct FieldSlots<'b> {
    fields: SmallVec<[Field<'b>; MAX_FIELDS]>,
    kinds: SmallVec<[FieldKind; MAX_FIELDS]>,
    /// What the Connection fields name beside what is for one hop anyway.
    named: SmallVec<[&'b [u8]; USUALLY_NAMED]>,
    /// Bytes of all these names.
    named_bytes: usize,
    /// A line has white space before its colon, and cannot go on as it is.
    spaced: bool,
}

impl<'b> FieldSlots<'b> {
    /// Empty slots.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn clear(&mut self) {
        self.fields.clear();
        self.kinds.clear();
        self.named.clear();
        self.named_bytes = 0;
        self.spaced = false;
    }

    /// Keeps a field of a request; its kind and value.
    ///
    /// # Errors
    /// The line is no well-formed field.
    #[inline]
    pub(super) fn push(&mut self, line: &'b [u8]) -> Result<(FieldKind, &'b [u8]), MessageError> {
        Ok(self.keep(field(line)?))
    }

    /// Keeps a field of a response, where white space before the colon is to be taken out and not refused
    /// (RFC 9112 §5.1).
    ///
    /// # Errors
    /// The line is no well-formed field.
    #[inline]
    pub(super) fn push_spaced(
        &mut self,
        line: &'b [u8],
    ) -> Result<(FieldKind, &'b [u8]), MessageError> {
        let kept = field(line).or_else(|error| {
            self.spaced = true;
            spaced_field(line).ok_or(error)
        });
        Ok(self.keep(kept?))
    }

    #[inline(always)]
    fn keep(&mut self, (field, underscored): (Field<'b>, bool)) -> (FieldKind, &'b [u8]) {
        let kind = if underscored {
            FieldKind::of_underscored(field.name)
        } else {
            FieldKind::of_plain(field.name)
        };
        self.fields.push(field);
        self.kinds.push(kind);
        (kind, field.value)
    }

    /// Keeps the name of a field that a Connection field takes out.
    ///
    /// # Errors
    /// There are more than `MAX_NAMED`, or they are longer than `MAX_NAMED_BYTES` together: each field of the head is
    /// compared with each of them.
    pub(super) fn name(&mut self, option: &'b [u8]) -> Result<(), MessageError> {
        self.named_bytes += option.len();
        if self.named.len() == MAX_NAMED || self.named_bytes > MAX_NAMED_BYTES {
            return Err(MessageError::TooManyOptions);
        }
        self.named.push(option);
        Ok(())
    }

    pub(super) fn fields<'f>(&'f self, lines: HeadLines<'f, 'b>) -> Fields<'f, 'b> {
        Fields {
            fields: &self.fields,
            kinds: &self.kinds,
            named: &self.named,
            lines,
            spaced: self.spaced,
        }
    }
}

/// So many fields may Connection name before their list is allocated.
const USUALLY_NAMED: usize = 4;

/// Takes a line to name and value, and whether the name has `_`; it has no control characters but tabs.
#[inline(always)]
fn field(line: &[u8]) -> Result<(Field<'_>, bool), MessageError> {
    let length = plain_length(line);
    if length > 0
        && let (name, [b':', value @ ..]) = line.split_at(length)
    {
        return Ok((
            Field {
                name,
                value: trim(value),
            },
            false,
        ));
    }
    unusual_field(line, length)
}

/// The same for a name with other characters than letters, digits and `-`, of which it has none before `from`.
#[cold]
fn unusual_field(line: &[u8], from: usize) -> Result<(Field<'_>, bool), MessageError> {
    let length = line[from..]
        .iter()
        .position(|byte| !is_token(*byte))
        .map_or(line.len(), |at| from + at);
    match line.split_at(length) {
        (name @ [_, ..], [b':', value @ ..]) => Ok((
            Field {
                name,
                value: trim(value),
            },
            name.contains(&b'_'),
        )),
        ([], [b' ' | b'\t', ..]) => Err(MessageError::ObsFold),
        _ => Err(MessageError::FieldName),
    }
}

/// The same with white space before the colon.
fn spaced_field(line: &[u8]) -> Option<(Field<'_>, bool)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = trim_end(&line[..colon]);
    let stands = !name.is_empty() && name.iter().all(|byte| is_token(*byte));
    stands.then(|| {
        (
            Field {
                name,
                value: trim(&line[colon + 1..]),
            },
            name.contains(&b'_'),
        )
    })
}

/// Without the white space around it; a line has no other than space and tab.
#[inline]
fn trim(value: &[u8]) -> &[u8] {
    match value {
        [b' ', first, .., last] if *first > b' ' && *last > b' ' => &value[1..],
        _ => trim_end(
            &value[value
                .iter()
                .position(|byte| !is_space(*byte))
                .unwrap_or(value.len())..],
        ),
    }
}

fn trim_end(value: &[u8]) -> &[u8] {
    &value[..value
        .iter()
        .rposition(|byte| !is_space(*byte))
        .map_or(0, |last| last + 1)]
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The fields of one head, in the order received, each with its kind.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'f, 'b> {
    fields: &'f [Field<'b>],
    kinds: &'f [FieldKind],
    named: &'f [&'b [u8]],
    lines: HeadLines<'f, 'b>,
    spaced: bool,
}

impl<'f, 'b> Fields<'f, 'b> {
    /// The fields alone, as `decide` takes them.
    pub fn as_slice(self) -> &'f [Field<'b>] {
        self.fields
    }

    /// Every field with its kind.
    pub fn iter(self) -> impl Iterator<Item = (FieldKind, &'f Field<'b>)> {
        self.kinds.iter().copied().zip(self.fields)
    }

    /// Whether a Connection field takes out any field.
    pub(super) fn has_named(self) -> bool {
        !self.named.is_empty()
    }

    /// Whether a Connection field takes out the fields of this name.
    #[inline]
    pub(super) fn is_named(self, kind: FieldKind, name: &[u8]) -> bool {
        !self.named.is_empty()
            && !kind.is_protected()
            && self
                .named
                .iter()
                .any(|named| named.eq_ignore_ascii_case(name))
    }

    /// The first value of a field, found by name without regard to case.
    pub fn get(self, name: &str) -> Option<&'b [u8]> {
        self.fields
            .iter()
            .find(|field| field.is(name))
            .map(|field| field.value)
    }

    /// Appends the lines of those fields that `passes` lets through, as they came; neighbours in one piece, which
    /// costs a fraction of copying names and values.
    pub(super) fn append(
        self,
        out: &mut Vec<u8>,
        mut passes: impl FnMut(FieldKind, &Field<'b>) -> bool,
    ) {
        let mut from = 0;
        for (index, (kind, field)) in self.iter().enumerate() {
            let passes = passes(kind, field);
            if passes && self.spaced {
                append_line(out, field.name, field.value);
            }
            if !passes || self.spaced {
                out.extend_from_slice(self.lines.span(from, index));
                from = index + 1;
            }
        }
        out.extend_from_slice(self.lines.span(from, self.fields.len()));
    }
}

impl FieldKind {
    /// The kind of the field with this name.
    pub fn of(name: &[u8]) -> Self {
        if name.contains(&b'_') {
            Self::of_underscored(name)
        } else {
            Self::of_plain(name)
        }
    }

    /// The kind of a field with `_` in its name.
    #[cold]
    fn of_underscored(name: &[u8]) -> Self {
        let kind = Self::read_with_hyphens(name);
        if kind.is_hop_by_hop() || kind.is_protected() {
            Self::Disguised
        } else {
            Self::Underscored
        }
    }

    /// What a field with `_` in its name is to whoever takes that for `-`.
    pub(super) fn read_with_hyphens(name: &[u8]) -> Self {
        // Of longer names only a prefix is known, and the prefixes are shorter than this.
        let mut read = [0; LONGEST_KNOWN + 1];
        let length = name.len().min(read.len());
        for (read, given) in read.iter_mut().zip(name) {
            *read = if *given == b'_' { b'-' } else { *given };
        }
        Self::of_plain(&read[..length])
    }

    /// The kind of a field without `_` in its name.
    #[inline(always)]
    fn of_plain(name: &[u8]) -> Self {
        let first = name.first().map_or(0, lower);
        match (name.len(), first) {
            (2, b't') if is_lower(name, b"te") => Self::Te,
            (4, b'h') if is_lower(name, b"host") => Self::Host,
            (6, b'c') if is_lower(name, b"cookie") => Self::Cookie,
            (6, b'e') if is_lower(name, b"expect") => Self::Expect,
            (7, b'u') if is_lower(name, b"upgrade") => Self::Upgrade,
            (7, b't') if is_lower(name, b"trailer") => Self::Trailer,
            (7, b'r') if is_lower(name, b"refresh") => Self::Refresh,
            (8, b'l') if is_lower(name, b"location") => Self::Location,
            (9, b'f') if is_lower(name, b"forwarded") => Self::Forwarded,
            (10, b'c') if is_lower(name, b"connection") => Self::Connection,
            (10, b'k') if is_lower(name, b"keep-alive") => Self::KeepAlive,
            (10, b's') if is_lower(name, b"set-cookie") => Self::SetCookie,
            (13, b'a') if is_lower(name, b"authorization") => Self::Authorization,
            (13, b'c') if is_lower(name, b"cache-control") => Self::CacheControl,
            (14, b'c') if is_lower(name, b"content-length") => Self::ContentLength,
            (16, b'c') if is_lower(name, b"content-location") => Self::ContentLocation,
            (16, b'p') if is_lower(name, b"proxy-connection") => Self::ProxyConnection,
            (17, b't') if is_lower(name, b"transfer-encoding") => Self::TransferEncoding,
            (18, b'p') if is_lower(name, b"proxy-authenticate") => Self::ProxyAuth,
            (19, b'p') if is_lower(name, b"proxy-authorization") => Self::ProxyAuth,
            (_, b'x') => Self::of_x(name),
            _ => Self::Other,
        }
    }

    /// The kind of a field whose name begins with `X`.
    fn of_x(name: &[u8]) -> Self {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let begins = |known: &[u8]| {
            name.get(..known.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(known))
        };
        if begins(b"x-halftone-") {
            return Self::XHalftone;
        }
        if !begins(b"x-forwarded-") {
            return if is(b"x-real-ip") {
                Self::RealIp
            } else {
                Self::Other
            };
        }
        match name.len() {
            15 if is(b"x-forwarded-for") => Self::XForwardedFor,
            16 if is(b"x-forwarded-host") => Self::XForwardedHost,
            16 if is(b"x-forwarded-port") => Self::XForwardedPort,
            17 if is(b"x-forwarded-proto") => Self::XForwardedProto,
            _ => Self::XForwardedOther,
        }
    }

    /// Whether the field is meant for the next hop alone and ends here, whatever Connection says.
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::ProxyAuth
                | Self::Te
                | Self::Trailer
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Whether the field may say where things are, on the server that answers.
    pub(super) fn is_reference(self) -> bool {
        matches!(
            self,
            Self::Location | Self::ContentLocation | Self::Refresh | Self::SetCookie
        )
    }

    /// Whether the field stays although Connection names it: otherwise a client could take from a trusted
    /// proxy's request what the backend decides by, or wait for a word that the backend was not asked for.
    pub fn is_protected(self) -> bool {
        matches!(
            self,
            Self::Host
                | Self::ContentLength
                | Self::TransferEncoding
                | Self::Authorization
                | Self::Cookie
                | Self::Expect
                | Self::Forwarded
                | Self::RealIp
                | Self::XForwardedFor
                | Self::XForwardedProto
                | Self::XForwardedHost
                | Self::XForwardedPort
                | Self::XForwardedOther
                | Self::XHalftone
        )
    }
}

/// A byte of a name in lower case. Of all that names are made of, only letters become letters with the bit that tells the
/// cases apart, and only `-` becomes `-`.
#[inline]
fn lower(byte: &u8) -> u8 {
    byte | 0x20
}

/// Whether `name` is `known` (in lower case, letters and `-` alone) without regard to case.
#[inline]
fn is_lower<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    let differing = |name: &[u8; N]| {
        name.iter()
            .zip(known)
            .fold(0, |sum, (given, known)| sum | (lower(given) ^ known))
    };
    // Of a length known beforehand, all bytes are compared at once.
    name.as_array().is_some_and(|name| differing(name) == 0)
}

/// The longest name that has a kind of its own: proxy-authorization.
const LONGEST_KNOWN: usize = 19;

/// Whether two names are one without regard to case, `_` read as `-`.
fn reads_as(name: &[u8], known: &[u8]) -> bool {
    let read = |byte: &u8| {
        if *byte == b'_' {
            b'-'
        } else {
            byte.to_ascii_lowercase()
        }
    };
    name.len() == known.len() && name.iter().map(read).eq(known.iter().map(read))
}

/// Whether a name with `_` reads like one of `own` and is spelled like none of them: a backend that takes `_` for `-`
/// would find it beside the field that the release sets or decides by.
pub(super) fn is_disguised<'a>(name: &[u8], own: impl Iterator<Item = &'a str> + Clone) -> bool {
    own.clone().any(|own| reads_as(name, own.as_bytes()))
        && !own
            .into_iter()
            .any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
}

/// The members of a comma-separated list, white space around them removed, empty ones left out.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Fields that say what a body is or how to treat the message, conditions on the request among them; in a trailer they
/// would come too late (RFC 9110 §6.5.1).
const NEVER_TRAILERS: [&str; 21] = [
    "age",
    "authentication-info",
    "content-encoding",
    "content-range",
    "content-type",
    "date",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authentication-info",
    "range",
    "retry-after",
    "vary",
    "warning",
    "www-authenticate",
];

/// Of a trailer section without its empty line, those fields that may go on, one `name: value` line each.
/// Framing, routing, authentication, cookie, conditional, X-Forwarded and X-Halftone fields may not, nor may
/// those that the release sets or decides by; all of them with `_` read as `-`.
///
/// # Errors
/// When a line is no well-formed field, or there are too many.
pub(super) fn keep_trailers(section: &[u8], rules: &ChunkRules) -> Result<Vec<u8>, MessageError> {
    let mut kept = Vec::new();
    let mut rest = section;
    let mut count = 0;
    while !rest.is_empty() {
        count += 1;
        if count > MAX_FIELDS && rules.strictness == Strictness::Strict {
            return Err(MessageError::TooManyFields);
        }
        let end = memchr::memmem::find(rest, b"\r\n").unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = after.get(2..).unwrap_or_default();
        if line
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            return Err(MessageError::FieldValue);
        }
        let (trailer, _) = field(line)?;
        let mut never = NEVER_TRAILERS
            .into_iter()
            .chain(rules.own_fields.iter().map(|name| &**name));
        let may = matches!(
            FieldKind::of(trailer.name),
            FieldKind::Other | FieldKind::Underscored
        );
        if may && !never.any(|name| reads_as(trailer.name, name.as_bytes())) {
            append_line(&mut kept, trailer.name, trailer.value);
        }
    }
    Ok(kept)
}

/// Appends `name: value` and CRLF.
#[inline]
pub(super) fn append_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
