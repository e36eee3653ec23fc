//! HTTP/1.1 messages (RFC 9110, RFC 9112) on byte slices: no sockets, no clock, no tokio.
//! `HeadSearch` finds the lines of a head, `parse_request` and `parse_response` turn them into borrowed
//! pieces that later code need not check again, `Decoder` walks through chunked bodies, and `write`
//! puts the rewritten heads into the output buffer. What to do with the bytes is `exchange`'s matter.

pub mod chunked;
pub mod fields;
pub mod framing;
pub mod head;
pub mod reuse;
pub mod search;
pub mod target;
pub mod write;

pub use chunked::{Decoded, Decoder};
pub use fields::{Field, FieldKind, FieldSlots, Fields};
pub use framing::{Body, Delivery, deliver};
pub use head::{Answering, RequestHead, ResponseHead, parse_request, parse_response};
pub use search::HeadSearch;
pub use target::{Target, TargetForm};

/// Most bytes of a message head, request or status line included.
pub const MAX_HEAD: usize = 32 * 1024;
/// Most fields in one head.
pub const MAX_FIELDS: usize = 128;
/// Most bytes of a request line without its line end.
pub const MAX_REQUEST_LINE: usize = 16 * 1024;
/// Most bytes of a trailer section.
pub const MAX_TRAILERS: usize = 8 * 1024;

/// The version in a message's first line. Later minor versions of HTTP/1 do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
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
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options)
    }
}

/// Why a message is refused. From a client it is answered with `status()` and the connection is closed;
/// from a backend it is always a 502 and the backend's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub enum MessageError {
    /// A line feed without the carriage return before it.
    BareLf,
    /// A carriage return without the line feed after it.
    BareCr,
    /// The request line is longer than `MAX_REQUEST_LINE`.
    RequestLineTooLong,
    /// The head is longer than `MAX_HEAD`.
    HeadTooLong,
    /// The head has more than `MAX_FIELDS` fields.
    TooManyFields,
    /// The first line is no request line or status line.
    FirstLine,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// A status outside 100 to 599.
    Status,
    /// An interim answer 101 that the request did not ask for.
    UnaskedUpgrade,
    /// An empty field name, a character that no name may have, or a space before the colon.
    FieldName,
    /// NUL or another control character in a field value.
    FieldValue,
    /// A field continued on a second line.
    ObsFold,
    /// HTTP/1.1 without a Host field.
    NoHost,
    /// More than one Host field.
    TwoHosts,
    /// The Host field or the authority in the target is no host and port, or has user information.
    Host,
    /// The target names another host than the Host field.
    HostsDiffer,
    /// The target has none of the forms that its method allows.
    Target,
    /// The target's path cannot be normalised.
    Path,
    /// The target's path has a `..` that only some backends see, for a release that has only part of the paths.
    HiddenDots,
    /// CONNECT or TRACE.
    Method,
    /// An expectation other than `100-continue`.
    Expectation,
    /// Content-Length and Transfer-Encoding in one message.
    LengthAndCoding,
    /// A length that is empty, signed, no number, or does not fit 63 bits.
    Length,
    /// Several lengths that are not the same.
    LengthsDiffer,
    /// Transfer codings other than exactly one `chunked`.
    Coding,
    /// Transfer-Encoding in an HTTP/1.0 message.
    CodingIn10,
    /// A chunk size that is no hexadecimal number or does not fit 63 bits.
    ChunkSize,
    /// Data that does not end where its chunk's size says.
    ChunkEnd,
    /// Chunk extensions beyond what a body of this size may carry, or with control characters.
    ChunkExtension,
    /// A trailer section longer than `MAX_TRAILERS` or with more than `MAX_FIELDS` fields.
    TrailersTooLong,
}

impl MessageError {
    /// The status that answers a client who sent this: 400, 405, 414, 417 or 431.
    pub fn status(self) -> u16 {
        match self {
            Self::RequestLineTooLong => 414,
            Self::HeadTooLong | Self::TooManyFields | Self::TrailersTooLong => 431,
            Self::Method => 405,
            Self::Expectation => 417,
            _ => 400,
        }
    }

    /// What is wrong, for the answer's body and for logs.
    pub fn text(self) -> &'static str {
        match self {
            Self::BareLf => "a line ends with LF alone",
            Self::BareCr => "a CR stands without LF",
            Self::RequestLineTooLong => "the request line is longer than 16 KiB",
            Self::HeadTooLong => "the head is longer than 32 KiB",
            Self::TooManyFields => "the head has more than 128 fields",
            Self::FirstLine => "malformed first line",
            Self::Version => "the version is neither HTTP/1.0 nor HTTP/1.1",
            Self::Status => "the status is not between 100 and 599",
            Self::UnaskedUpgrade => "101 to a request without Upgrade",
            Self::FieldName => "malformed field name",
            Self::FieldValue => "a control character in a field value",
            Self::ObsFold => "a field is folded over two lines",
            Self::NoHost => "no Host field",
            Self::TwoHosts => "more than one Host field",
            Self::Host => "malformed host",
            Self::HostsDiffer => "the target and the Host field name different hosts",
            Self::Target => "malformed request target",
            Self::Path => "malformed path",
            Self::HiddenDots => "the path hides a .. that some backends would follow",
            Self::Method => "method not allowed",
            Self::Expectation => "unknown expectation",
            Self::LengthAndCoding => "both Content-Length and Transfer-Encoding",
            Self::Length => "malformed Content-Length",
            Self::LengthsDiffer => "different lengths in Content-Length",
            Self::Coding => "a transfer coding other than chunked",
            Self::CodingIn10 => "Transfer-Encoding in HTTP/1.0",
            Self::ChunkSize => "malformed chunk size",
            Self::ChunkEnd => "malformed end of a chunk",
            Self::ChunkExtension => "malformed or too long chunk extensions",
            Self::TrailersTooLong => "the trailers are longer than 8 KiB",
        }
    }
}
