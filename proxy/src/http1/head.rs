//! Heads taken apart: one httparse pass and our stricter checks into `RequestHead` and `ResponseHead`, which
//! borrow from the buffer and need no check afterwards. `search` has found where they end.

use std::{borrow::Cow, mem::MaybeUninit, time::Duration};

use halftone_routing::path;

use super::{
    Body, FieldKind, FieldSlots, Fields, MAX_FIELDS, MessageError, Method, Target, Version,
    fields::list,
    framing::{Framing, Options},
    target::HostFields,
};

/// A request's head, checked. Pieces are borrowed from the buffer, fields from the slots.
#[derive(Clone, Debug)]
pub struct RequestHead<'f, 'b> {
    /// The method, as far as forwarding cares.
    pub method: Method,
    /// The method as received.
    pub method_name: &'b str,
    /// The version the client speaks.
    pub version: Version,
    /// The target in pieces, as received.
    pub target: Target<'b>,
    /// The path in normal form, for matching; `/` for the target `*`.
    pub path: Cow<'b, [u8]>,
    /// Host and port as received: from an absolute target, else from the Host field. Empty where HTTP/1.0
    /// names none.
    pub authority: &'b [u8],
    /// The host in normal form, without port, for matching; empty where HTTP/1.0 names none.
    pub host: Cow<'b, str>,
    /// All fields as received.
    pub fields: Fields<'f, 'b>,
    /// How the body is delimited: `Empty`, `Length` or `Chunked`.
    pub body: Body,
    /// Whether the client wants to send another request on this connection: 1.1 without `close`, or 1.0
    /// with `keep-alive`.
    pub keep_alive: bool,
    /// Whether it asks for a WebSocket in a form that may be granted: HTTP/1.1, GET, no body, Connection
    /// names Upgrade, Upgrade names `websocket`.
    pub websocket: bool,
    /// Whether it waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// Whether it can read trailers (TE names `trailers`).
    pub te_trailers: bool,
    /// Whether Connection names fields that are not hop-by-hop anyway.
    pub(super) connection_names_fields: bool,
}

/// A response's head, checked.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'f, 'b> {
    /// 100 to 599.
    pub status: u16,
    /// The reason phrase as received, empty where it has characters that are not ASCII.
    pub reason: &'b str,
    /// The version the backend speaks.
    pub version: Version,
    /// All fields as received.
    pub fields: Fields<'f, 'b>,
    /// How the body is delimited, `Empty` for answers to HEAD, 1xx, 204 and 304.
    pub body: Body,
    /// Whether the backend keeps the connection open, as far as its head says.
    pub keep_alive: bool,
    /// `timeout` of the Keep-Alive field: the backend closes an idle connection after this long.
    pub keep_alive_timeout: Option<Duration>,
    /// Content-Length as received; answers to HEAD and 304 tell it without a body.
    pub(super) content_length: Option<u64>,
    /// Whether Connection names fields that are not hop-by-hop anyway.
    pub(super) connection_names_fields: bool,
}

impl ResponseHead<'_, '_> {
    /// 1xx but 101: another head follows.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Whether shared caches may keep the answer (`public` or `s-maxage`): a cookie in it would become that
    /// of everyone.
    pub fn is_public(&self) -> bool {
        let allows = |directive: &[u8]| {
            let name = directive.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii_end();
            name.eq_ignore_ascii_case(b"public") || name.eq_ignore_ascii_case(b"s-maxage")
        };
        let mut cache_control = self.fields.iter().filter(|(kind, _)| *kind == FieldKind::CacheControl);
        cache_control.any(|(_, field)| list(field.value).any(allows))
    }
}

/// What a response answers: all that its parsing needs to know of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answering {
    /// The request's method.
    pub method: Method,
    /// Whether the request went upstream with Upgrade.
    pub websocket: bool,
}

type RawFields<'b> = [MaybeUninit<httparse::Header<'b>>; MAX_FIELDS];

/// Parses a request head: exactly the bytes that `HeadSearch::request` found.
///
/// # Errors
/// The first rule that the head breaks, see `MessageError`.
pub fn parse_request<'f, 'b>(
    slots: &'f mut FieldSlots<'b>,
    head: &'b [u8],
) -> Result<RequestHead<'f, 'b>, MessageError> {
    let mut raw: RawFields<'b> = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(head, &mut raw);
    whole(parsed, head)?;
    let method_name = request.method.ok_or(MessageError::FirstLine)?;
    if matches!(method_name, "CONNECT" | "TRACE") {
        return Err(MessageError::Method);
    }
    let method = Method::of(method_name);
    let version = version(request.version);
    let target = Target::parse(method, request.path.ok_or(MessageError::FirstLine)?)?;
    let mut seen = RequestFields::default();
    slots.clear();
    for field in request.headers.iter() {
        seen.add(version, slots.push(field), field.value)?;
    }
    let (authority, host) = target.host(version, seen.host)?;
    let body = seen.framing.of_request(version)?;
    Ok(RequestHead {
        method,
        method_name,
        version,
        target,
        path: normal_path(&target)?,
        authority,
        host,
        fields: slots.fields(),
        body,
        keep_alive: seen.options.keeps_alive(version),
        websocket: seen.upgrade_websocket
            && seen.options.upgrade
            && (version, method, body) == (Version::Http11, Method::Get, Body::Empty),
        expect_continue: seen.expect_continue,
        te_trailers: seen.te_trailers && version == Version::Http11,
        connection_names_fields: seen.options.names_fields,
    })
}

/// What the fields of a request say, gathered one by one.
#[derive(Default)]
struct RequestFields<'b> {
    host: HostFields<'b>,
    framing: Framing,
    options: Options,
    expect_continue: bool,
    upgrade_websocket: bool,
    te_trailers: bool,
}

impl<'b> RequestFields<'b> {
    #[inline]
    fn add(&mut self, version: Version, kind: FieldKind, value: &'b [u8]) -> Result<(), MessageError> {
        let names = |token: &[u8]| list(value).any(|member| member.eq_ignore_ascii_case(token));
        match kind {
            FieldKind::Host => self.host.add(value),
            FieldKind::ContentLength => self.framing.add_length(value)?,
            FieldKind::TransferEncoding => self.framing.add_coding(value)?,
            FieldKind::Connection => self.options.add(value),
            FieldKind::Upgrade => self.upgrade_websocket |= names(b"websocket"),
            FieldKind::Te => self.te_trailers |= names(b"trailers"),
            // HTTP/1.0 has no expectations; whoever sends one there does not wait (RFC 9110 §10.1.1).
            FieldKind::Expect if version == Version::Http11 => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(MessageError::Expectation);
                }
                self.expect_continue = true;
            }
            _ => {}
        }
        Ok(())
    }
}

fn normal_path<'b>(target: &Target<'b>) -> Result<Cow<'b, [u8]>, MessageError> {
    if target.path == "*" {
        return Ok(Cow::Borrowed(b"/"));
    }
    path::normalise(target.path.as_bytes()).map_err(|_| MessageError::Path)
}

/// Parses a response head: exactly the bytes that `HeadSearch::response` found. `request` says what it
/// answers, since that decides whether there is a body and whether 101 is allowed.
///
/// # Errors
/// The first rule that the head breaks, see `MessageError`.
pub fn parse_response<'f, 'b>(
    slots: &'f mut FieldSlots<'b>,
    head: &'b [u8],
    request: Answering,
) -> Result<ResponseHead<'f, 'b>, MessageError> {
    let mut raw: RawFields<'b> = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let mut config = httparse::ParserConfig::default();
    // A proxy must take this space out of answers, not refuse them (RFC 9112 §5.1).
    config.allow_spaces_after_header_name_in_responses(true);
    let parsed = config.parse_response_with_uninit_headers(&mut response, head, &mut raw);
    if head.first() != Some(&b'H') {
        return Err(MessageError::FirstLine);
    }
    whole(parsed, head)?;
    let status = response.code.filter(|status| (100..=599).contains(status)).ok_or(MessageError::Status)?;
    let version = version(response.version);
    let mut seen = ResponseFields::default();
    slots.clear();
    for field in response.headers.iter() {
        seen.add(slots.push(field), field.value)?;
    }
    let body = seen.framing.of_response(version, status, request)?;
    if status == 101 && !(request.websocket && seen.upgrade_websocket && seen.options.upgrade) {
        return Err(MessageError::UnaskedUpgrade);
    }
    Ok(ResponseHead {
        status,
        reason: response.reason.unwrap_or_default(),
        version,
        fields: slots.fields(),
        body,
        keep_alive: seen.options.keeps_alive(version),
        keep_alive_timeout: seen.keep_alive_timeout,
        content_length: seen.framing.length,
        connection_names_fields: seen.options.names_fields,
    })
}

/// What the fields of a response say, gathered one by one.
#[derive(Default)]
struct ResponseFields {
    framing: Framing,
    options: Options,
    upgrade_websocket: bool,
    keep_alive_timeout: Option<Duration>,
}

impl ResponseFields {
    #[inline]
    fn add(&mut self, kind: FieldKind, value: &[u8]) -> Result<(), MessageError> {
        match kind {
            FieldKind::ContentLength => self.framing.add_length(value)?,
            FieldKind::TransferEncoding => self.framing.add_coding(value)?,
            FieldKind::Connection => self.options.add(value),
            FieldKind::Upgrade => self.upgrade_websocket |= value.eq_ignore_ascii_case(b"websocket"),
            FieldKind::KeepAlive => self.keep_alive_timeout = list(value).find_map(timeout),
            _ => {}
        }
        Ok(())
    }
}

/// The seconds of a `timeout=5` parameter.
fn timeout(parameter: &[u8]) -> Option<Duration> {
    let (name, seconds) = parameter.split_at_checked(8)?;
    let seconds = std::str::from_utf8(seconds).ok()?.trim().parse::<u32>().ok()?;
    name.eq_ignore_ascii_case(b"timeout=").then(|| Duration::from_secs(seconds.into()))
}

/// Whether httparse took the whole head, no less.
fn whole(parsed: httparse::Result<usize>, head: &[u8]) -> Result<(), MessageError> {
    match parsed {
        Ok(httparse::Status::Complete(length)) if length == head.len() => Ok(()),
        Ok(_) => Err(MessageError::FirstLine),
        Err(error) => Err(MessageError::of_httparse(error, head)),
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(1) { Version::Http11 } else { Version::Http10 }
}
