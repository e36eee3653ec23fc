//! Heads: finding the end of one as its bytes arrive, then one httparse pass and our stricter checks into
//! `RequestHead` and `ResponseHead`, which borrow from the buffer and need no check afterwards.

use std::time::Duration;

use super::{Body, FieldSlots, Fields, MessageError, Method, Target, TargetForm, Version};

/// Finds the end of a head in a buffer that grows, each byte looked at once. Refuses bare LF and CR, and
/// heads beyond the limits, as soon as they can be seen.
#[derive(Clone, Debug)]
pub struct HeadSearch {
    /// Where the next look begins.
    resume: usize,
    /// Lines seen so far, the first line included.
    lines: usize,
    /// Most bytes of the first line.
    max_first_line: usize,
}

impl HeadSearch {
    /// For a request: empty lines before it are skipped, its first line has a limit of its own.
    pub fn request() -> Self {
        Self { resume: 0, lines: 0, max_first_line: super::MAX_REQUEST_LINE }
    }

    /// For a response.
    pub fn response() -> Self {
        Self { resume: 0, lines: 0, max_first_line: super::MAX_HEAD }
    }

    /// Looks at `buf`, which begins with the message's first byte and holds at least what it held at the
    /// last call. `Some(length)` is the head's length, its empty line included.
    ///
    /// # Errors
    /// Bare LF or CR, or a limit exceeded.
    pub fn advance(&mut self, buf: &[u8]) -> Result<Option<usize>, MessageError> {
        let _ = (buf, self.resume, self.lines, self.max_first_line);
        Ok(None)
    }
}

/// A request's head, checked. Pieces are borrowed from the buffer, fields from the slots.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'f, 'b> {
    /// The method, as far as forwarding cares.
    pub method: Method,
    /// The method as received.
    pub method_name: &'b str,
    /// The version the client speaks.
    pub version: Version,
    /// The target in pieces.
    pub target: Target<'b>,
    /// Host and port as received: from an absolute target, else from the Host field, empty where HTTP/1.0
    /// names none.
    pub host: &'b str,
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
    /// Whether TE names `trailers`.
    pub te_trailers: bool,
    /// Whether Connection names fields beyond `close`, `keep-alive`, `upgrade` and the hop-by-hop ones.
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
    /// Whether shared caches may keep the answer (`public` or `s-maxage`): it gets no cookie of ours.
    pub public: bool,
    /// Whether Connection names fields beyond the hop-by-hop ones.
    pub(super) connection_names_fields: bool,
}

impl ResponseHead<'_, '_> {
    /// 1xx but 101: another head follows.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

/// Parses a request head: exactly the bytes that `HeadSearch::request` found.
///
/// # Errors
/// Every rule that the head breaks, see `MessageError`.
pub fn parse_request<'f, 'b>(
    slots: &'f mut FieldSlots<'b>,
    head: &'b [u8],
) -> Result<RequestHead<'f, 'b>, MessageError> {
    let _ = head;
    let target = Target { form: TargetForm::Origin, authority: None, path: "/", query: None };
    Ok(RequestHead {
        method: Method::Get,
        method_name: "GET",
        version: Version::Http11,
        target,
        host: "",
        fields: Fields { fields: &slots.fields, kinds: &slots.kinds },
        body: Body::Empty,
        keep_alive: true,
        websocket: false,
        expect_continue: false,
        te_trailers: false,
        connection_names_fields: false,
    })
}

/// Parses a response head: exactly the bytes that `HeadSearch::response` found. `request` says what it
/// answers, since that decides whether there is a body and whether 101 is allowed.
///
/// # Errors
/// Every rule that the head breaks, see `MessageError`.
pub fn parse_response<'f, 'b>(
    slots: &'f mut FieldSlots<'b>,
    head: &'b [u8],
    request: Answering,
) -> Result<ResponseHead<'f, 'b>, MessageError> {
    let _ = (head, request);
    Ok(ResponseHead {
        status: 200,
        reason: "OK",
        version: Version::Http11,
        fields: Fields { fields: &slots.fields, kinds: &slots.kinds },
        body: Body::Empty,
        keep_alive: true,
        keep_alive_timeout: None,
        public: false,
        connection_names_fields: false,
    })
}

/// What a response answers: all that its parsing needs to know of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answering {
    /// The request's method.
    pub method: Method,
    /// Whether the request went upstream with Upgrade.
    pub websocket: bool,
}
