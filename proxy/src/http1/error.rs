//! Why a message is refused: one table of the rules with their words, from which the documentation's is made, too.

macro_rules! message_errors {
    ($($(#[$doc:meta])* $name:ident $word:literal $status:literal $text:literal,)*) => {
        /// Why a message is refused. From a client it is answered with `status()` and the connection is closed; from a
        /// backend it is always a 502 and the backend's fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
        #[error("{}", self.text())]
        pub enum MessageError {
            $($(#[$doc])* $name,)*
        }

        impl MessageError {
            /// All, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// One stable word for it, for logs, metrics and pages.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The status that answers a client who sent this.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// What is wrong, for the answer's body and for logs.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

message_errors! {
    /// The first line is no request line or status line.
    FirstLine "firstLine" 400 "malformed first line",
    /// Neither HTTP/1.0 nor HTTP/1.1, and no version of another major number either.
    Version "version" 400 "the version is neither HTTP/1.0 nor HTTP/1.1",
    /// Another major version than 1.
    MajorVersion "majorVersion" 505 "only HTTP/1.1 and HTTP/1.0 are spoken here",
    /// A status outside 100 to 599, or outside 100 to 999 from a backend read leniently.
    Status "status" 400 "the status is out of range",
    /// The request line is longer than `MAX_REQUEST_LINE`.
    RequestLineTooLong "requestLineTooLong" 414 "the request line is longer than 16 KiB",
    /// The head is longer than `MAX_HEAD`.
    HeadTooLong "headTooLong" 431 "the head is longer than 32 KiB",
    /// The head has more than `MAX_FIELDS` fields.
    TooManyFields "tooManyFields" 431 "more than 128 fields in a head or its trailers",
    /// The Connection fields name more than `MAX_NAMED` fields, or in more than `MAX_NAMED_BYTES`.
    TooManyOptions "tooManyOptions" 400 "Connection names more than 32 fields, or in more than 1 KiB",
    /// Interim answers (1xx) of more than `MAX_INTERIM` bytes together.
    InterimTooLong "interimTooLong" 400 "the interim answers are longer than 64 KiB",
    /// An interim answer 101 that the request did not ask for.
    UnaskedUpgrade "unaskedUpgrade" 400 "101 to a request without Upgrade",
    /// A line feed without the carriage return before it.
    BareLf "bareLf" 400 "a line ends with LF alone",
    /// A carriage return without the line feed after it.
    BareCr "bareCr" 400 "a CR stands without LF",
    /// An empty field name, a character that no name may have, or a space before the colon.
    FieldName "fieldName" 400 "malformed field name",
    /// NUL or another control character in a field value.
    FieldValue "fieldValue" 400 "a control character in a field value",
    /// A field continued on a second line.
    ObsFold "obsFold" 400 "a field is folded over two lines",
    /// HTTP/1.1 without a Host field.
    NoHost "noHost" 400 "no Host field",
    /// More than one Host field.
    TwoHosts "twoHosts" 400 "more than one Host field",
    /// The Host field or the authority in the target is no host and port, or has user information.
    Host "host" 400 "malformed host",
    /// The target names another host than the Host field.
    HostsDiffer "hostsDiffer" 400 "the target and the Host field name different hosts",
    /// The target has none of the forms that its method allows.
    Target "target" 400 "malformed request target",
    /// The target's path cannot be normalised.
    Path "path" 400 "malformed path",
    /// The target's path has a `..` that only some backends see, for a release that has only part of the paths.
    HiddenDots "hiddenDots" 400 "the path hides a .. that some backends would follow",
    /// CONNECT or TRACE.
    Method "method" 405 "method not allowed",
    /// An expectation other than `100-continue`.
    Expectation "expectation" 417 "unknown expectation",
    /// Content-Length and Transfer-Encoding in one message.
    LengthAndCoding "lengthAndCoding" 400 "both Content-Length and Transfer-Encoding",
    /// A length that is empty, signed, no number, or does not fit 63 bits.
    Length "length" 400 "malformed Content-Length",
    /// Several lengths that are not the same.
    LengthsDiffer "lengthsDiffer" 400 "different lengths in Content-Length",
    /// Transfer codings other than exactly one `chunked`.
    Coding "coding" 400 "a transfer coding other than chunked",
    /// Transfer-Encoding in an HTTP/1.0 message.
    CodingIn10 "codingIn10" 400 "Transfer-Encoding in HTTP/1.0",
    /// A chunk size that is no hexadecimal number or does not fit 63 bits.
    ChunkSize "chunkSize" 400 "malformed chunk size",
    /// A body longer than the release allows (`maxBodyBytes`).
    BodyTooLong "bodyTooLong" 413 "the body is longer than this service takes",
    /// Data that does not end where its chunk's size says.
    ChunkEnd "chunkEnd" 400 "malformed end of a chunk",
    /// Chunk extensions beyond what a body of this size may carry, or with control characters.
    ChunkExtension "chunkExtension" 400 "malformed or too long chunk extensions",
    /// A trailer section longer than `MAX_TRAILERS` or with more than `MAX_FIELDS` fields.
    TrailersTooLong "trailersTooLong" 431 "the trailers are longer than 8 KiB",
}
