//! Heads into the output buffer: the rewritten request for upstream, the rewritten answer for the client,
//! and answers of our own. Everything is appended slice by slice to a buffer that its thread reuses;
//! nothing is parsed again.

use std::net::IpAddr;

use super::{Delivery, RequestHead, ResponseHead, Version};
use crate::forwarded::Forwarding;

/// What a request gets on its way upstream.
#[derive(Clone, Copy, Debug)]
pub struct RequestRewrite<'a> {
    /// The arm's `pathPrefix`, empty for none.
    pub path_prefix: &'a str,
    /// The normalised path that goes on under a path prefix in place of the received one, where
    /// normalising changed it.
    pub path: Option<&'a str>,
    /// How forwarding fields are treated.
    pub forwarding: Forwarding,
    /// The client's address for X-Forwarded-For: the peer of this connection.
    pub peer: IpAddr,
    /// The port that the client connected to, for X-Forwarded-Port.
    pub port: u16,
    /// Host for a client that named none (HTTP/1.0): the address it connected to.
    pub local_host: &'a str,
    /// Name and value of the version header, where the release has one.
    pub version_header: Option<(&'a str, &'a str)>,
    /// Names of the release's identity fields, which Connection may not remove.
    pub identity_fields: &'a [&'a str],
}

/// Appends the head of the request as it goes upstream: HTTP/1.1, hop-by-hop fields out, ours in, the body
/// framed as it was received (`head.body`; chunked goes on chunked).
pub fn request_head(out: &mut Vec<u8>, head: &RequestHead<'_, '_>, rewrite: &RequestRewrite<'_>) {
    let _ = (out, head, rewrite);
}

/// What an answer gets on its way to the client.
#[derive(Clone, Copy, Debug)]
pub struct ResponseRewrite<'a> {
    /// The client's version.
    pub client: Version,
    /// Framing and keep-alive towards the client.
    pub delivery: Delivery,
    /// Name and value of the version header, where the release has one.
    pub version_header: Option<(&'a str, &'a str)>,
    /// Value of X-Halftone-Reason, for who sent the debug header.
    pub reason: Option<&'a str>,
    /// A whole Set-Cookie value for a cookie generated for this request; left out of public answers.
    pub set_cookie: Option<&'a str>,
}

/// Appends the head of a final answer, or of the 101 that grants a WebSocket.
pub fn response_head(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>, rewrite: &ResponseRewrite<'_>) {
    let _ = (out, head, rewrite);
}

/// Appends the head of an interim answer (1xx but 101), for 1.1 clients only.
pub fn interim_head(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>) {
    let _ = (out, head);
}

/// An answer of our own.
#[derive(Clone, Copy, Debug)]
pub struct OwnAnswer<'a> {
    /// The status, with its usual reason phrase.
    pub status: u16,
    /// The client's version, 1.1 where its head was not understood.
    pub client: Version,
    /// Whether the connection stays open.
    pub keep_alive: bool,
    /// Further fields, such as Date or X-Halftone-Reason.
    pub fields: &'a [(&'a str, &'a str)],
    /// The body, plain text.
    pub body: &'a str,
    /// Whether it answers HEAD: the length is told and the body left out.
    pub head_only: bool,
}

/// Appends an answer of our own, head and body.
pub fn own_answer(out: &mut Vec<u8>, answer: &OwnAnswer<'_>) {
    let _ = (out, answer);
}
