//! How long a body is (RFC 9112 §6.3) and how it is sent on: from a head's lengths and codings to `Body`,
//! and from what upstream sends and what the client can read to `Delivery`.

use super::Version;

/// How a message's body is delimited, as received or as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// No body, whatever the fields say.
    Empty,
    /// Exactly this many bytes; may be 0.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection closes; responses only.
    UntilClose,
}

/// How an answer goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// How the body is delimited towards the client.
    pub body: Body,
    /// Whether the client's connection stays open after it.
    pub keep_alive: bool,
}

/// How an answer received as `received` goes to a client of `version` that asked for keep-alive or not.
///
/// Without length it goes in chunks to a 1.1 client; a 1.0 client gets it plain, closed after.
pub fn deliver(received: Body, version: Version, wants_keep_alive: bool) -> Delivery {
    match (received, version) {
        (Body::Empty | Body::Length(_), _) => Delivery { body: received, keep_alive: wants_keep_alive },
        (Body::Chunked | Body::UntilClose, Version::Http11) => {
            Delivery { body: Body::Chunked, keep_alive: wants_keep_alive }
        }
        (Body::Chunked | Body::UntilClose, Version::Http10) => {
            Delivery { body: Body::UntilClose, keep_alive: false }
        }
    }
}
