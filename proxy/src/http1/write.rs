//! Heads into the output buffer: the rewritten request for upstream, the rewritten answer for the client,
//! and answers of our own. Everything is appended slice by slice to a buffer that its thread reuses, fields
//! that go on as the lines they came in; nothing is parsed again.

use std::{
    borrow::Cow,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
};

use halftone_routing::path::has_dot_segments;

mod local_reply;
mod location;
mod retarget;

pub use self::{
    local_reply::{LocalReplyHead, write_local_reply},
    location::LocationContext,
    retarget::{ArmFields, change_arm},
};
use super::{
    BodyLength, Delivery, Field, FieldKind, HttpVersion, RequestHead, ResponseHead,
    fields::{append_line, is_disguised},
};
use crate::forwarded::{ForwardedFor, ForwardedOthers, Forwarding};

/// How a path goes upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRewrite<'a> {
    /// As it was received.
    AsReceived,
    /// As it was received, but in normal form where it has dot segments. The release has only part of the paths, and a
    /// backend that takes `//` for `/` would follow the dots to another place than we did.
    WithoutDots,
    /// Behind the arm's `pathPrefix`, which has no slash at its end. A path that normalising changed goes on in normal
    /// form, so that dots cannot climb out of the prefix.
    Under(&'a str),
}

/// What a request gets on its way upstream.
#[derive(Clone, Copy, Debug)]
pub struct RequestRewrite<'a> {
    /// What becomes of the path.
    pub path: PathRewrite<'a>,
    /// How forwarding fields are treated.
    pub forwarding: Forwarding,
    /// The client's address for X-Forwarded-For: the peer of this connection.
    pub peer: IpAddr,
    /// The address that the client connected to: host and port of a client that named none (HTTP/1.0).
    pub local: SocketAddr,
    /// Name and value of the version header, where the release has one.
    pub version_header: Option<(&'a str, &'a str)>,
    /// Names of the release's identity fields, which Connection may not remove.
    pub identity_fields: &'a [Box<str>],
    /// Names of all fields that the release sets or decides by. What reads like one of them with `_` for `-` does not
    /// go on, unless it is spelled like one.
    pub own_fields: &'a [Box<str>],
}

/// Appends the head of the request as it goes upstream: HTTP/1.1, hop-by-hop fields out, ours in, the body
/// framed as it was received (`head.body`; chunked goes on chunked).
pub fn request_head(out: &mut Vec<u8>, head: &RequestHead<'_, '_>, rewrite: &RequestRewrite<'_>) {
    out.extend_from_slice(head.method_name.as_bytes());
    out.push(b' ');
    append_target(out, head, rewrite.path);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut forwarded = Forwarded::default();
    let is_usual = rewrite.version_header.is_none() && !head.fields.has_named();
    head.fields.append(out, |kind, field| {
        // Most fields, of which there is nothing to ask then.
        (is_usual && kind == FieldKind::Other)
            || passes(kind, field, head, rewrite)
                && forwarded.passes(kind, field, rewrite.forwarding)
    });
    append_host(out, "Host", head, rewrite.local);
    forwarded.append(out, head, rewrite);
    append_request_framing(out, head);
    if let Some((name, value)) = rewrite.version_header {
        append_line(out, name.as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn append_target(out: &mut Vec<u8>, head: &RequestHead<'_, '_>, onward: PathRewrite<'_>) {
    let received = head.target.path;
    match onward {
        _ if received == b"*" => out.push(b'*'),
        PathRewrite::Under(prefix) => {
            out.extend_from_slice(prefix.as_bytes());
            out.extend_from_slice(&head.path);
        }
        // A path that is borrowed is in normal form.
        PathRewrite::WithoutDots
            if matches!(head.path, Cow::Owned(_)) && has_dot_segments(received) =>
        {
            out.extend_from_slice(&head.path);
        }
        PathRewrite::AsReceived | PathRewrite::WithoutDots => out.extend_from_slice(received),
    }
    if let Some(query) = head.target.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
}

/// Whether a field of a request goes on as it came; forwarding fields are `Forwarded`'s matter.
fn passes(
    kind: FieldKind,
    field: &Field<'_>,
    head: &RequestHead<'_, '_>,
    rewrite: &RequestRewrite<'_>,
) -> bool {
    let goes_on = match kind {
        FieldKind::Host | FieldKind::ContentLength => false,
        FieldKind::Disguised => passes_lookalike(field, rewrite),
        FieldKind::Underscored => {
            !is_disguised(field.name, rewrite.own_fields.iter().map(|name| &**name))
        }
        FieldKind::Trailer => head.body == BodyLength::Chunked,
        FieldKind::Expect => head.expect_continue,
        FieldKind::XHalftone => rewrite.forwarding.keep_halftone,
        _ => !kind.is_hop_by_hop(),
    };
    let is_named = || {
        head.fields.is_named(kind, field.name)
            // What it reads like is protected.
            && kind != FieldKind::Disguised
            && !rewrite.identity_fields.iter().any(|name| field.is(name))
    };
    goes_on && !is_replaced(field, rewrite.version_header) && !is_named()
}

/// Whether a field goes on that reads like one of the proxy's own: only if the release spells it so, since it decides by
/// it, and only where the field that it reads like would go on. A backend that takes `_` for `-` would believe whoever
/// sends it otherwise.
fn passes_lookalike(field: &Field<'_>, rewrite: &RequestRewrite<'_>) -> bool {
    if !rewrite.own_fields.iter().any(|name| field.is(name)) {
        return false;
    }
    match FieldKind::read_with_hyphens(field.name) {
        FieldKind::ContentLength => false,
        FieldKind::XHalftone => rewrite.forwarding.keep_halftone,
        kind => !kind.is_hop_by_hop() && rewrite.forwarding.others != ForwardedOthers::Replace,
    }
}

/// Whether ours takes the place of this field.
fn is_replaced(field: &Field<'_>, ours: Option<(&str, &str)>) -> bool {
    ours.is_some_and(|(name, _)| field.is(name))
}

/// The host that the request names, else the address that it came to. Inlined for the names, whose copies cost nothing where
/// their length is known.
#[inline(always)]
fn append_host(out: &mut Vec<u8>, name: &str, head: &RequestHead<'_, '_>, local: SocketAddr) {
    if head.authority.is_empty() {
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        write!(out, "{name}: {local}\r\n").expect("a Vec takes every write");
    } else {
        append_line(out, name.as_bytes(), head.authority);
    }
}

fn append_request_framing(out: &mut Vec<u8>, head: &RequestHead<'_, '_>) {
    match head.body {
        // A WebSocket has none; a length of 0 would only be in the way.
        BodyLength::Length(_) if head.websocket => {}
        BodyLength::Length(length) => append_length(out, length),
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyLength::Empty | BodyLength::UntilClose => {}
    }
    if head.websocket {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    } else if head.te_trailers {
        out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n");
    }
}

/// The forwarding fields met in a head.
#[derive(Default)]
struct Forwarded {
    has_for: bool,
    has_proto: bool,
    /// Whether the protocol that goes on is HTTPS.
    is_https: bool,
    has_host: bool,
    has_port: bool,
    has_real_ip: bool,
}

impl Forwarded {
    /// Whether a field goes on as it came, as far as forwarding decides; notes those that do.
    fn passes(&mut self, kind: FieldKind, field: &Field<'_>, forwarding: Forwarding) -> bool {
        let keep = forwarding.others != ForwardedOthers::Replace;
        match kind {
            FieldKind::XForwardedFor => {
                self.has_for = true;
                return false;
            }
            FieldKind::XForwardedProto => {
                self.has_proto = keep;
                self.is_https = keep && field.value.eq_ignore_ascii_case(b"https");
            }
            FieldKind::XForwardedHost => self.has_host = keep,
            FieldKind::XForwardedPort => self.has_port = keep,
            FieldKind::RealIp => self.has_real_ip = keep,
            FieldKind::XForwardedOther | FieldKind::Forwarded => {}
            _ => return true,
        }
        keep
    }

    /// Appends ours.
    fn append(&self, out: &mut Vec<u8>, head: &RequestHead<'_, '_>, rewrite: &RequestRewrite<'_>) {
        let peer = self.append_for(out, head, rewrite);
        if rewrite.forwarding.others == ForwardedOthers::Keep {
            return;
        }
        if !self.has_proto {
            out.extend_from_slice(b"X-Forwarded-Proto: http\r\n");
        }
        if !self.has_host {
            append_host(out, "X-Forwarded-Host", head, rewrite.local);
        }
        if !self.has_port {
            out.extend_from_slice(b"X-Forwarded-Port: ");
            append_number(out, self.port(head, rewrite.local).into());
            out.extend_from_slice(b"\r\n");
        }
        if !self.has_real_ip {
            out.extend_from_slice(b"X-Real-IP: ");
            out.extend_from_within(peer);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The port that the client names, or means by naming none. Ours is another where a Service or a load balancer leads
    /// to it, and backends build absolute redirects from this field.
    fn port(&self, head: &RequestHead<'_, '_>, local: SocketAddr) -> u16 {
        if head.authority.is_empty() {
            return local.port();
        }
        let usual = if self.is_https { 443 } else { 80 };
        if head.authority.len() == head.host.len() {
            return usual;
        }
        location::split(head.authority)
            .and_then(|(_, port)| port)
            .unwrap_or(usual)
    }

    /// Returns where the peer's address stands now.
    fn append_for(
        &self,
        out: &mut Vec<u8>,
        head: &RequestHead<'_, '_>,
        rewrite: &RequestRewrite<'_>,
    ) -> Range<usize> {
        out.extend_from_slice(b"X-Forwarded-For: ");
        if self.has_for && rewrite.forwarding.forwarded_for == ForwardedFor::Append {
            for (kind, field) in head.fields.iter() {
                if kind == FieldKind::XForwardedFor && !field.value.is_empty() {
                    out.extend_from_slice(field.value);
                    out.extend_from_slice(b", ");
                }
            }
        }
        let start = out.len();
        append_address(out, rewrite.peer);
        let peer = start..out.len();
        out.extend_from_slice(b"\r\n");
        peer
    }
}

/// What an answer gets on its way to the client.
#[derive(Clone, Copy, Debug)]
pub struct ResponseRewrite<'a> {
    /// The client's version.
    pub client: HttpVersion,
    /// Framing and keep-alive towards the client.
    pub delivery: Delivery,
    /// Name and value of the version header, where the release has one.
    pub version_header: Option<(&'a str, &'a str)>,
    /// Value of X-Halftone-Reason, for who sent the debug header.
    pub reason: Option<&'a str>,
    /// A whole Set-Cookie value for a cookie generated for this request; left out of public answers.
    pub set_cookie: Option<&'a str>,
    /// What is taken off where the backend says where things are.
    pub homeward: Option<LocationContext<'a>>,
}

/// Appends the head of a final answer, or of the 101 that grants a WebSocket.
pub fn response_head(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_, '_>,
    rewrite: &ResponseRewrite<'_>,
) {
    let trailers_follow =
        (head.body, rewrite.delivery.body) == (BodyLength::Chunked, BodyLength::Chunked);
    append_status_line(out, head.status, head.reason);
    append_response_fields(
        out,
        head,
        trailers_follow,
        rewrite.version_header,
        rewrite.homeward.as_ref(),
    );
    if head.status == 101 {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    } else {
        append_response_framing(out, head, rewrite.delivery.body);
        append_connection(out, rewrite.client, rewrite.delivery.keep_alive);
    }
    if let Some((name, value)) = rewrite.version_header {
        append_line(out, name.as_bytes(), value.as_bytes());
    }
    if let Some(reason) = rewrite.reason {
        append_line(out, b"X-Halftone-Reason", reason.as_bytes());
    }
    if let Some(cookie) = rewrite.set_cookie
        && !head.is_public()
    {
        append_line(out, b"Set-Cookie", cookie.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of an interim answer (1xx but 101), for 1.1 clients only.
pub fn interim_head(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>) {
    append_status_line(out, head.status, head.reason);
    append_response_fields(out, head, false, None, None);
    out.extend_from_slice(b"\r\n");
}

fn append_response_fields(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_, '_>,
    trailers_follow: bool,
    version_header: Option<(&str, &str)>,
    homeward: Option<&LocationContext<'_>>,
) {
    let mut rewritten = false;
    head.fields.append(out, |kind, field| {
        let goes_on = match kind {
            FieldKind::ContentLength | FieldKind::XHalftone | FieldKind::Disguised => false,
            FieldKind::Underscored => {
                !is_disguised(field.name, version_header.iter().map(|(name, _)| *name))
            }
            FieldKind::Trailer => trailers_follow,
            _ => !kind.is_hop_by_hop(),
        };
        let goes_on = goes_on
            && !is_replaced(field, version_header)
            && !head.fields.is_named(kind, field.name);
        let changes = goes_on
            && kind.is_reference()
            && homeward.is_some_and(|homeward| homeward.rewritten(kind, field.value).is_some());
        rewritten |= changes;
        goes_on && !changes
    });
    if let (true, Some(homeward)) = (rewritten, homeward) {
        append_rewritten(out, head, homeward);
    }
}

/// Appends the fields whose references do not go on as they came.
fn append_rewritten(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_, '_>,
    homeward: &LocationContext<'_>,
) {
    for (kind, field) in head.fields.iter().filter(|(kind, _)| kind.is_reference()) {
        let named = head.fields.is_named(kind, field.name);
        if let (false, Some(value)) = (named, homeward.rewritten(kind, field.value)) {
            append_line(out, field.name, &value);
        }
    }
}

fn append_response_framing(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>, body: BodyLength) {
    match body {
        BodyLength::Length(length) => append_length(out, length),
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        // Without a body the length is what a GET would have got; 1xx and 204 must not tell any.
        BodyLength::Empty if head.status >= 200 && head.status != 204 => {
            if let Some(length) = head.content_length {
                append_length(out, length);
            }
        }
        BodyLength::Empty | BodyLength::UntilClose => {}
    }
}

/// Says what becomes of the connection, where that is not what the client's version means by itself.
fn append_connection(out: &mut Vec<u8>, client: HttpVersion, keep_alive: bool) {
    match (client, keep_alive) {
        (_, false) => out.extend_from_slice(b"Connection: close\r\n"),
        (HttpVersion::Http10, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (HttpVersion::Http11, true) => {}
    }
}

fn append_status_line(out: &mut Vec<u8>, status: u16, reason: &str) {
    // Most answers have this one, in one piece.
    if status == 200 && reason == "OK" {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(100), digit(10), digit(1), b' ']);
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn append_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    append_number(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Decimal digits, without the formatting machinery, which costs more than the rest of a line.
fn append_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn append_address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => append_ipv4(out, address),
        IpAddr::V6(address) => write!(out, "{address}").expect("a Vec takes every write"),
    }
}

/// Gathered first: seven pieces cost more to append than fifteen bytes to write.
fn append_ipv4(out: &mut Vec<u8>, address: Ipv4Addr) {
    let (mut text, mut length) = ([b'.'; 15], 0);
    for octet in address.octets() {
        // The dot between two octets is there already.
        length += usize::from(length > 0);
        for (from, unit) in [(100, 100), (10, 10), (0, 1)] {
            if octet >= from {
                text[length] = b'0' + octet / unit % 10;
                length += 1;
            }
        }
    }
    out.extend_from_slice(&text[..length]);
}
