//! Heads taken apart, line by line, into `RequestHead` and `ResponseHead`, which borrow from the buffer and need no
//! check afterwards. `search` has found where the lines end, and that they have no control characters.

use std::{borrow::Cow, time::Duration};

use halftone_routing::path;

use super::{
    BodyLength, FieldKind, FieldSlots, Fields, HeadSearch, HttpVersion, MessageError, Method,
    RequestTarget, Strictness,
    fields::list,
    framing::{ConnectionOptions, Framing},
    search::is_token,
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
    pub version: HttpVersion,
    /// The target in pieces, as received.
    pub target: RequestTarget<'b>,
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
    pub body: BodyLength,
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
}

/// A response's head, checked.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'f, 'b> {
    /// 100 to 599; to 999 where it was read leniently.
    pub status: u16,
    /// The reason phrase as received, empty where it has characters that are not ASCII.
    pub reason: &'b str,
    /// The version the backend speaks.
    pub version: HttpVersion,
    /// All fields as received.
    pub fields: Fields<'f, 'b>,
    /// How the body is delimited, `Empty` for answers to HEAD, 1xx, 204 and 304.
    pub body: BodyLength,
    /// Its fields declare a body that an answer of its kind does not have; some backends send it all the same.
    pub declares_body: bool,
    /// Whether the backend keeps the connection open, as far as its head says.
    pub keep_alive: bool,
    /// `timeout` of the Keep-Alive field: the backend closes an idle connection after this long.
    pub keep_alive_timeout: Option<Duration>,
    /// Content-Length as received; answers to HEAD and 304 tell it without a body.
    pub(super) content_length: Option<u64>,
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
            let name = directive
                .split(|byte| *byte == b'=')
                .next()
                .unwrap_or_default()
                .trim_ascii_end();
            name.eq_ignore_ascii_case(b"public") || name.eq_ignore_ascii_case(b"s-maxage")
        };
        let mut cache_control = self
            .fields
            .iter()
            .filter(|(kind, _)| *kind == FieldKind::CacheControl);
        cache_control.any(|(_, field)| list(field.value).any(allows))
    }
}

/// What a response answers: all that its parsing needs to know of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseContext {
    /// The request's method.
    pub method: Method,
    /// Whether the request went upstream with Upgrade.
    pub websocket: bool,
    /// How strictly the answer is read.
    pub strictness: Strictness,
}

/// Parses a request head: exactly the bytes that `search`, one for requests, found.
///
/// # Errors
/// The first rule that the head breaks, see `MessageError`.
pub fn parse_request<'f, 'b>(
    slots: &'f mut FieldSlots<'b>,
    search: &'f HeadSearch,
    head: &'b [u8],
) -> Result<RequestHead<'f, 'b>, MessageError> {
    let lines = search.lines(head);
    let RequestLine {
        method_name,
        target,
        version,
    } = RequestLine::parse(lines.first())?;
    if matches!(method_name, "CONNECT" | "TRACE") {
        return Err(MessageError::Method);
    }
    let method = Method::of(method_name);
    let target = RequestTarget::parse(method, target)?;
    let mut seen = RequestFields::default();
    slots.clear();
    for line in lines.fields() {
        let (kind, value) = slots.push(line)?;
        seen.add(version, kind, value, slots)?;
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
        fields: slots.fields(lines),
        body,
        keep_alive: seen.options.keeps_alive(version),
        websocket: seen.upgrade_websocket
            && seen.options.upgrade
            && (version, method) == (HttpVersion::Http11, Method::Get)
            && body.is_none(),
        expect_continue: seen.expect_continue,
        te_trailers: seen.te_trailers && version == HttpVersion::Http11,
    })
}

impl RequestHead<'_, '_> {
    /// A request for a WebSocket with a chunked body that is empty has no body, if all of that is in `rest`, what came
    /// behind the head. Returns how many bytes of it that was. Other requests keep theirs: some servers want to be told
    /// of a length.
    pub fn take_empty_chunks(&mut self, rest: &[u8]) -> usize {
        if !(self.body == BodyLength::Chunked
            && rest.starts_with(NO_CHUNKS)
            && self.upgrades_with_chunks())
        {
            return 0;
        }
        (self.body, self.websocket) = (BodyLength::Empty, true);
        NO_CHUNKS.len()
    }

    /// The length of the chunked body that a request for a WebSocket has to have for being granted, if a part of it is
    /// in `rest` or none of it has come yet, and nothing else has.
    pub fn awaited_chunks(&self, rest: &[u8]) -> Option<usize> {
        let may_come = self.body == BodyLength::Chunked && rest.len() < NO_CHUNKS.len();
        (may_come && NO_CHUNKS.starts_with(rest) && self.upgrades_with_chunks())
            .then_some(NO_CHUNKS.len())
    }

    /// Whether it asks for a WebSocket, and only its chunked body is in the way.
    fn upgrades_with_chunks(&self) -> bool {
        let asks = |kind: FieldKind, token: &[u8]| {
            let values = self
                .fields
                .iter()
                .filter(|(of, _)| *of == kind)
                .map(|(_, field)| field.value);
            values
                .flat_map(list)
                .any(|member| member.eq_ignore_ascii_case(token))
        };
        (self.version, self.method, self.body)
            == (HttpVersion::Http11, Method::Get, BodyLength::Chunked)
            && asks(FieldKind::Upgrade, b"websocket")
            && asks(FieldKind::Connection, b"upgrade")
    }
}

/// A chunked body without chunks and trailers; no other chunked body is as short.
const NO_CHUNKS: &[u8] = b"0\r\n\r\n";

/// Whether a request line that is there as a whole can begin a request.
pub(super) fn check_request_line(line: &[u8]) -> Result<(), MessageError> {
    RequestLine::parse(line).map(|_| ())
}

/// Whether a status line that is there as a whole can begin a response.
pub(super) fn check_status_line(line: &[u8]) -> Result<(), MessageError> {
    if line.first() == Some(&b'H') {
        version(line).map(|_| ())
    } else {
        Err(MessageError::FirstLine)
    }
}

/// A request line in pieces.
struct RequestLine<'b> {
    method_name: &'b str,
    target: &'b [u8],
    version: HttpVersion,
}

impl<'b> RequestLine<'b> {
    /// `method SP request-target SP HTTP-version`
    fn parse(line: &'b [u8]) -> Result<Self, MessageError> {
        let length = line
            .iter()
            .position(|byte| !is_token(*byte))
            .unwrap_or(line.len());
        let (method, [b' ', rest @ ..]) = line.split_at(length) else {
            return Err(MessageError::FirstLine);
        };
        let end = memchr::memchr2(b' ', b'\t', rest).ok_or(MessageError::FirstLine)?;
        let (target, [b' ', end @ ..]) = rest.split_at(end) else {
            return Err(MessageError::FirstLine);
        };
        if method.is_empty() || target.is_empty() {
            return Err(MessageError::FirstLine);
        }
        let (version, rest) = version(end)?;
        if !rest.is_empty() {
            return Err(MessageError::FirstLine);
        }
        let method_name = match method {
            // Most, of which nothing has to be checked.
            b"GET" => "GET",
            b"POST" => "POST",
            _ => str::from_utf8(method).map_err(|_| MessageError::FirstLine)?,
        };
        Ok(Self {
            method_name,
            target,
            version,
        })
    }
}

/// What the fields of a request say, gathered one by one.
#[derive(Default)]
struct RequestFields<'b> {
    host: HostFields<'b>,
    framing: Framing,
    options: ConnectionOptions,
    expect_continue: bool,
    upgrade_websocket: bool,
    te_trailers: bool,
}

impl<'b> RequestFields<'b> {
    #[inline]
    fn add(
        &mut self,
        version: HttpVersion,
        kind: FieldKind,
        value: &'b [u8],
        slots: &mut FieldSlots<'b>,
    ) -> Result<(), MessageError> {
        let names = |token: &[u8]| list(value).any(|member| member.eq_ignore_ascii_case(token));
        match kind {
            FieldKind::Host => self.host.add(value),
            FieldKind::ContentLength => self.framing.add_length(value)?,
            FieldKind::TransferEncoding => self.framing.add_coding(value, Strictness::Strict)?,
            FieldKind::Connection => self.options.add(value, slots)?,
            FieldKind::Upgrade => self.upgrade_websocket |= names(b"websocket"),
            FieldKind::Te => self.te_trailers |= names(b"trailers"),
            // HTTP/1.0 has no expectations; whoever sends one there does not wait (RFC 9110 §10.1.1).
            FieldKind::Expect if version == HttpVersion::Http11 => {
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

fn normal_path<'b>(target: &RequestTarget<'b>) -> Result<Cow<'b, [u8]>, MessageError> {
    if target.path == b"*" {
        return Ok(Cow::Borrowed(b"/"));
    }
    path::normalise(target.path).map_err(|_| MessageError::Path)
}

/// Parses a response head: exactly the bytes that `search`, one for responses, found. `request` says what it
/// answers, since that decides whether there is a body and whether 101 is allowed.
///
/// # Errors
/// The first rule that the head breaks, see `MessageError`.
pub fn parse_response<'f, 'b>(
    slots: &'f mut FieldSlots<'b>,
    search: &'f HeadSearch,
    head: &'b [u8],
    request: ResponseContext,
) -> Result<ResponseHead<'f, 'b>, MessageError> {
    let lines = search.lines(head);
    let StatusLine {
        version,
        status,
        reason,
    } = StatusLine::parse(lines.first(), request.strictness)?;
    let mut seen = ResponseFields::default();
    slots.clear();
    for line in lines.fields() {
        let (kind, value) = slots.push_spaced(line)?;
        seen.add(kind, value, request.strictness, slots)?;
    }
    let body = seen.framing.of_response(version, status, request)?;
    if status == 101 && !(request.websocket && seen.upgrade_websocket && seen.options.upgrade) {
        return Err(MessageError::UnaskedUpgrade);
    }
    Ok(ResponseHead {
        status,
        reason,
        version,
        fields: slots.fields(lines),
        body,
        declares_body: body == BodyLength::Empty && seen.framing.declares_body(),
        keep_alive: seen.options.keeps_alive(version),
        keep_alive_timeout: seen.keep_alive_timeout,
        content_length: seen.framing.length,
    })
}

/// A status line in pieces.
struct StatusLine<'b> {
    version: HttpVersion,
    status: u16,
    reason: &'b str,
}

impl<'b> StatusLine<'b> {
    /// `HTTP-version SP status-code SP [ reason-phrase ]`; the second space may be missing, as it is from many.
    fn parse(line: &'b [u8], strictness: Strictness) -> Result<Self, MessageError> {
        if line.first() != Some(&b'H') {
            return Err(MessageError::FirstLine);
        }
        let (version, rest) = version(line)?;
        let [b' ', hundreds, tens, ones, reason @ ..] = rest else {
            return Err(MessageError::Status);
        };
        let last = if strictness == Strictness::Lenient {
            999
        } else {
            599
        };
        let digit = |byte: &u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
        let status = || Some(digit(hundreds)? * 100 + digit(tens)? * 10 + digit(ones)?);
        let status = status()
            .filter(|status| (100..=last).contains(status))
            .ok_or(MessageError::Status)?;
        let reason = match reason {
            [] => reason,
            [b' ', reason @ ..] => reason,
            _ => return Err(MessageError::Status),
        };
        let reason = match reason {
            b"OK" => "OK",
            _ if reason.is_ascii() => str::from_utf8(reason).unwrap_or_default(),
            _ => "",
        };
        Ok(Self {
            version,
            status,
            reason,
        })
    }
}

/// What the fields of a response say, gathered one by one.
#[derive(Default)]
struct ResponseFields {
    framing: Framing,
    options: ConnectionOptions,
    upgrade_websocket: bool,
    keep_alive_timeout: Option<Duration>,
}

impl ResponseFields {
    #[inline]
    fn add<'b>(
        &mut self,
        kind: FieldKind,
        value: &'b [u8],
        strictness: Strictness,
        slots: &mut FieldSlots<'b>,
    ) -> Result<(), MessageError> {
        match kind {
            FieldKind::ContentLength => self.framing.add_length(value)?,
            FieldKind::TransferEncoding => self.framing.add_coding(value, strictness)?,
            FieldKind::Connection => self.options.add(value, slots)?,
            FieldKind::Upgrade => {
                self.upgrade_websocket |= value.eq_ignore_ascii_case(b"websocket")
            }
            FieldKind::KeepAlive => self.keep_alive_timeout = list(value).find_map(timeout),
            _ => {}
        }
        Ok(())
    }
}

/// The seconds of a `timeout=5` parameter.
fn timeout(parameter: &[u8]) -> Option<Duration> {
    let (name, seconds) = parameter.split_at_checked(8)?;
    let seconds = std::str::from_utf8(seconds)
        .ok()?
        .trim()
        .parse::<u32>()
        .ok()?;
    name.eq_ignore_ascii_case(b"timeout=")
        .then(|| Duration::from_secs(seconds.into()))
}

/// The version at the start of `bytes`, and what follows it.
fn version(bytes: &[u8]) -> Result<(HttpVersion, &[u8]), MessageError> {
    match bytes.split_first_chunk() {
        Some((b"HTTP/1.1", rest)) => Ok((HttpVersion::Http11, rest)),
        Some((b"HTTP/1.0", rest)) => Ok((HttpVersion::Http10, rest)),
        Some(([b'H', b'T', b'T', b'P', b'/', major, b'.', minor], []))
            if *major != b'1' && major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(MessageError::MajorVersion)
        }
        _ => Err(MessageError::Version),
    }
}
