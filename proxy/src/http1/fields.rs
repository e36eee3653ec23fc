//! Header fields: what each one is to a proxy (`FieldKind`, found once while parsing), which go on and
//! which end here, and which a Connection field may not remove.
//! `head` fills the slots, `write` asks here about every field.

pub use halftone_routing::field::Field;
use smallvec::SmallVec;

use super::{MAX_FIELDS, MessageError};

/// What a field is to a proxy. Names are compared without regard to case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Goes on as it is.
    Other,
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
    /// Any other X-Forwarded-* field, and every X-Forwarded-* field written with `_`.
    XForwardedOther,
    /// X-Halftone-*, with `_` read as `-`.
    XHalftone,
}

/// Room for one head's fields; lives on the stack of whoever parses, is not initialised, allocates nothing.
#[derive(Debug, Default)]
pub struct FieldSlots<'b> {
    fields: SmallVec<[Field<'b>; MAX_FIELDS]>,
    kinds: SmallVec<[FieldKind; MAX_FIELDS]>,
}

impl<'b> FieldSlots<'b> {
    /// Empty slots.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn clear(&mut self) {
        self.fields.clear();
        self.kinds.clear();
    }

    /// Keeps a field; its kind.
    #[inline]
    pub(super) fn push(&mut self, field: &httparse::Header<'b>) -> FieldKind {
        let kind = FieldKind::of(field.name);
        self.fields.push(Field { name: field.name, value: field.value });
        self.kinds.push(kind);
        kind
    }

    pub(super) fn fields(&self) -> Fields<'_, 'b> {
        Fields { fields: &self.fields, kinds: &self.kinds }
    }
}

/// The fields of one head, in the order received, each with its kind.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'f, 'b> {
    fields: &'f [Field<'b>],
    kinds: &'f [FieldKind],
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

    /// The first value of a field, found by name without regard to case.
    pub fn get(self, name: &str) -> Option<&'b [u8]> {
        self.fields.iter().find(|field| field.is(name)).map(|field| field.value)
    }

    /// The first value of a field of one kind.
    pub fn of_kind(self, kind: FieldKind) -> Option<&'b [u8]> {
        self.kinds.iter().position(|each| *each == kind).map(|place| self.fields[place].value)
    }
}

impl FieldKind {
    /// The kind of the field with this name.
    pub fn of(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let kind = match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            6 if is("cookie") => Self::Cookie,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            7 if is("trailer") => Self::Trailer,
            9 if is("forwarded") => Self::Forwarded,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::KeepAlive,
            10 if is("set-cookie") => Self::SetCookie,
            13 if is("authorization") => Self::Authorization,
            13 if is("cache-control") => Self::CacheControl,
            14 if is("content-length") => Self::ContentLength,
            16 if is("proxy-connection") => Self::ProxyConnection,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            18 if is("proxy-authenticate") => Self::ProxyAuth,
            19 if is("proxy-authorization") => Self::ProxyAuth,
            _ => Self::Other,
        };
        match name.as_bytes() {
            [b'x' | b'X', b'-' | b'_', ..] if kind == Self::Other => Self::of_x(name),
            _ => kind,
        }
    }

    /// The kind of a field whose name begins with `X-`, or with `X_`, which many a backend takes for it.
    fn of_x(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if has_prefix(name, b"x-halftone-") {
            return Self::XHalftone;
        }
        if !has_prefix(name, b"x-forwarded-") {
            return if is("x-real-ip") || is("x_real_ip") { Self::RealIp } else { Self::Other };
        }
        match name.len() {
            15 if is("x-forwarded-for") => Self::XForwardedFor,
            16 if is("x-forwarded-host") => Self::XForwardedHost,
            16 if is("x-forwarded-port") => Self::XForwardedPort,
            17 if is("x-forwarded-proto") => Self::XForwardedProto,
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

    /// Whether the field stays although Connection names it: otherwise a client could take from a trusted
    /// proxy's request what the backend decides by.
    pub fn is_protected(self) -> bool {
        matches!(
            self,
            Self::Host
                | Self::ContentLength
                | Self::TransferEncoding
                | Self::Authorization
                | Self::Cookie
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

/// Whether `name` begins with `prefix` (in lower case, with `-`), without regard to case, `_` read as `-`.
fn has_prefix(name: &str, prefix: &[u8]) -> bool {
    let same = |(given, wanted): (&u8, &u8)| match given {
        b'_' => *wanted == b'-',
        _ => given.to_ascii_lowercase() == *wanted,
    };
    name.len() >= prefix.len() && name.as_bytes().iter().zip(prefix).all(same)
}

/// The members of a comma-separated list, white space around them removed, empty ones left out.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Fields that say what a body is or how to treat the message; in a trailer they would come too late
/// (RFC 9110 §6.5.1).
const NEVER_TRAILERS: [&str; 14] = [
    "age",
    "authentication-info",
    "content-encoding",
    "content-range",
    "content-type",
    "date",
    "expires",
    "location",
    "max-forwards",
    "proxy-authentication-info",
    "range",
    "retry-after",
    "vary",
    "www-authenticate",
];

/// Of a trailer section without its empty line, those fields that may go on, one `name: value` line each.
/// Framing, routing, authentication, cookie, X-Forwarded and X-Halftone fields may not.
///
/// # Errors
/// When a line is no well-formed field, or there are too many.
pub(super) fn keep_trailers(section: &[u8]) -> Result<Vec<u8>, MessageError> {
    let mut kept = Vec::new();
    if section.is_empty() {
        return Ok(kept);
    }
    let section = [section, b"\r\n"].concat();
    let mut parsed = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let httparse::Status::Complete((_, trailers)) = httparse::parse_headers(&section, &mut parsed)
        .map_err(|error| MessageError::of_httparse(error, &section))?
    else {
        return Err(MessageError::FieldName);
    };
    for trailer in trailers {
        let never = NEVER_TRAILERS.iter().any(|name| trailer.name.eq_ignore_ascii_case(name));
        if FieldKind::of(trailer.name) == FieldKind::Other && !never {
            append_line(&mut kept, trailer.name, trailer.value);
        }
    }
    Ok(kept)
}

/// Appends `name: value` and CRLF.
pub(super) fn append_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
