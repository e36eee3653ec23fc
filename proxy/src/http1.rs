//! HTTP/1.1 messages (RFC 9110, RFC 9112) on byte slices: no sockets, no clock, no tokio.
//! `HeadSearch` finds the lines of a head, `parse_request` and `parse_response` turn them into borrowed
//! pieces that later code need not check again, `Decoder` walks through chunked bodies, and `write`
//! puts the rewritten heads into the output buffer. What to do with the bytes is `exchange`'s matter.

pub mod chunked;
mod error;
pub mod fields;
pub mod framing;
pub mod head;
pub mod reuse;
pub mod search;
pub mod target;
pub mod write;

pub use chunked::{ChunkRules, DecodedPart, Decoder};
pub use error::MessageError;
pub use fields::{Field, FieldKind, FieldSlots, Fields};
pub use framing::{BodyLength, Delivery, deliver};
pub use head::{RequestHead, ResponseContext, ResponseHead, parse_request, parse_response};
pub use search::HeadSearch;
pub use target::{RequestTarget, TargetForm};

/// Most bytes of a message head, request or status line included.
pub const MAX_HEAD: usize = 32 * 1024;
/// Most fields in one head.
pub const MAX_FIELDS: usize = 128;
/// Most fields that the Connection fields of one head may name.
pub const MAX_NAMED: usize = 32;
/// Most bytes of the names of these fields together.
pub const MAX_NAMED_BYTES: usize = 1024;
/// Most bytes of a request line without its line end.
pub const MAX_REQUEST_LINE: usize = 16 * 1024;
/// Most bytes of all interim answers (1xx) to one request.
pub const MAX_INTERIM: usize = 64 * 1024;
/// Most bytes of a trailer section.
pub const MAX_TRAILERS: usize = 8 * 1024;

/// The version in a message's first line. Later minor versions of HTTP/1 do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// The methods that forwarding treats differently; everything else is `Other` and goes through as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD: its answer has no body.
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// OPTIONS: the only method with the target `*`.
    Options,
    /// PATCH
    Patch,
    /// Any other token, methods in lower case included (methods are case-sensitive).
    Other,
}

impl Method {
    /// The method named by a request line's first token.
    pub fn of(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            "PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// Whether sending the request twice means the same as once (RFC 9110 §9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options
        )
    }
}

/// How strictly an answer is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Every rule holds.
    #[default]
    Strict,
    /// As nginx, where what is meant is beyond doubt: `chunked` twice, blanks and many zeros around a chunk's size, more
    /// than `MAX_FIELDS` fields within `MAX_HEAD`, statuses up to 999. Nothing about where a message ends is guessed.
    Lenient,
}
