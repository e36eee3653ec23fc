//! Answers of our own: refusals, and what the proxy says where no backend answered.

use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

use super::{append_connection, append_length, append_status_line};
use crate::http1::{HttpVersion, fields::append_line};

/// An answer of our own.
#[derive(Clone, Copy, Debug)]
pub struct LocalReplyHead<'a> {
    /// The status, 200 to 599 with a body; it goes with its usual reason phrase.
    pub status: u16,
    /// When it is made (RFC 9110 §6.6.1), in whole seconds.
    pub date: Timestamp,
    /// The client's version, 1.1 where its head was not understood.
    pub client: HttpVersion,
    /// Whether the connection stays open.
    pub keep_alive: bool,
    /// Further fields, such as X-Halftone-Reason.
    pub fields: &'a [(&'a str, &'a str)],
    /// The body: one line of plain text, its line end not included.
    pub body: &'a str,
    /// Whether it answers HEAD: the length is told and the body left out.
    pub head_only: bool,
}

/// Appends an answer of our own, head and body. It says whose it is, since to its reader a 502 of ours and
/// one of the backend's are different things. A 405 lists the methods that are allowed, as it must.
pub fn write_local_reply(out: &mut Vec<u8>, answer: &LocalReplyHead<'_>) {
    append_status_line(out, answer.status, reason_phrase(answer.status));
    out.extend_from_slice(b"Server: halftone\r\nContent-Type: text/plain; charset=utf-8\r\n");
    append_date(out, answer.date);
    append_length(out, answer.body.len() as u64 + 1);
    append_connection(out, answer.client, answer.keep_alive);
    if answer.status == 405 {
        out.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    }
    for (name, value) in answer.fields {
        append_line(out, name.as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    if !answer.head_only {
        out.extend_from_slice(answer.body.as_bytes());
        out.push(b'\n');
    }
}

/// Left out only where the year has more than four digits, for which there is no form.
fn append_date(out: &mut Vec<u8>, date: Timestamp) {
    if let Ok(date) = DateTimePrinter::new().timestamp_to_rfc9110_string(&date) {
        append_line(out, b"Date", date.as_bytes());
    }
}

/// The usual phrase of a status (RFC 9110 §15, RFC 6585), empty for others.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        423 => "Locked",
        425 => "Too Early",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
