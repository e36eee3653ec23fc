//! The request target (RFC 9112 §3.2): its form and its pieces, borrowed from the head, and the one host
//! that a request has. The normal forms of host and path that routing matches by are `routing`'s own.

use std::borrow::Cow;

use halftone_routing::host;

use super::{HttpVersion, MessageError, Method};

/// The forms a target may have here; the authority form belongs to CONNECT, which is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `*`, OPTIONS only.
    Asterisk,
}

/// A request target in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTarget<'b> {
    /// Which form the client used.
    pub form: TargetForm,
    /// Host and port of an absolute target, as received.
    pub authority: Option<&'b [u8]>,
    /// The port that an absolute target without one means: 80, or 443 for https.
    default_port: u16,
    /// The path as received, of any bytes that a target may have, UTF-8 or not: begins with `/`, or is `*`. `/` where
    /// an absolute target has none.
    pub path: &'b [u8],
    /// What stands after the first `?`, as received.
    pub query: Option<&'b [u8]>,
}

impl<'b> RequestTarget<'b> {
    /// Takes a target to pieces. It has no control characters and no space; the head's parser saw to that.
    ///
    /// # Errors
    /// `Target` when it has no form that the method allows, or a fragment.
    pub fn parse(method: Method, target: &'b [u8]) -> Result<Self, MessageError> {
        let query = memchr::memchr2(b'#', b'?', target);
        if query.is_some_and(|at| memchr::memchr(b'#', &target[at..]).is_some()) {
            return Err(MessageError::Target);
        }
        if target.starts_with(b"/") {
            return Ok(Self::in_form(TargetForm::Origin, target, query));
        }
        if target == b"*" && method == Method::Options {
            return Ok(Self::in_form(TargetForm::Asterisk, target, query));
        }
        let (default_port, rest) = after_scheme(target).ok_or(MessageError::Target)?;
        let (authority, rest) =
            rest.split_at(memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len()));
        let query = memchr::memchr(b'?', rest);
        let mut parts = Self::in_form(TargetForm::Absolute, rest, query);
        if parts.path.is_empty() {
            // Without path and query, OPTIONS means the server as a whole (RFC 9112 §3.2.4).
            let whole = method == Method::Options && parts.query.is_none();
            parts.path = if whole { b"*" } else { b"/" };
        }
        Ok(Self {
            authority: Some(authority),
            default_port,
            ..parts
        })
    }

    /// `query` is the place of the first `?`.
    fn in_form(form: TargetForm, path_and_query: &'b [u8], query: Option<usize>) -> Self {
        let (path, query) = match query {
            Some(at) => (&path_and_query[..at], Some(&path_and_query[at + 1..])),
            None => (path_and_query, None),
        };
        Self {
            form,
            authority: None,
            default_port: 80,
            path,
            query,
        }
    }

    /// The request's one host, as received and in normal form; both are empty where HTTP/1.0 names none.
    /// `fields` are the values of all Host fields.
    ///
    /// # Errors
    /// No or several Host fields, a malformed host, or two that differ.
    pub(super) fn host(
        &self,
        version: HttpVersion,
        fields: HostFields<'b>,
    ) -> Result<(&'b [u8], Cow<'b, str>), MessageError> {
        let field = match fields {
            HostFields::None if version == HttpVersion::Http11 => return Err(MessageError::NoHost),
            HostFields::None => None,
            HostFields::One(value) => Some((value, normalise(value)?)),
            HostFields::Several => return Err(MessageError::TwoHosts),
        };
        let Some(authority) = self.authority else {
            return Ok(field.unwrap_or_default());
        };
        let named = (authority, normalise(authority)?);
        match field {
            Some((value, normal))
                if normal != named.1 || self.port(value) != self.port(named.0) =>
            {
                Err(MessageError::HostsDiffer)
            }
            _ => Ok(named),
        }
    }

    /// The port of a well-formed authority.
    fn port(&self, authority: &[u8]) -> u16 {
        let digits =
            memchr::memrchr(b':', authority).map_or(&[][..], |colon| &authority[colon + 1..]);
        std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(self.default_port)
    }
}

/// The Host fields of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum HostFields<'b> {
    #[default]
    None,
    One(&'b [u8]),
    Several,
}

impl<'b> HostFields<'b> {
    pub(super) fn add(&mut self, value: &'b [u8]) {
        *self = if matches!(self, Self::None) {
            Self::One(value)
        } else {
            Self::Several
        };
    }
}

fn normalise(authority: &[u8]) -> Result<Cow<'_, str>, MessageError> {
    host::normalise(authority).map_err(|_| MessageError::Host)
}

/// The default port of the scheme, and what follows `scheme://`.
fn after_scheme(target: &[u8]) -> Option<(u16, &[u8])> {
    [(80, &b"http://"[..]), (443, b"https://")]
        .into_iter()
        .find_map(|(port, scheme)| {
            let (given, rest) = target.split_at_checked(scheme.len())?;
            given.eq_ignore_ascii_case(scheme).then_some((port, rest))
        })
}
