//! How a release finds out who the user is: where it looks, in which order, and what happens when nobody is found.

use serde::{Deserialize, Serialize};

use super::{
    names::{QueryName, Token},
    units::InvalidValue,
};

mod cookie;

pub use crate::vocabulary::WhenMissing;
pub use cookie::{CookieDomain, GeneratedCookie, SameSite};

/// How the user is found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "IdentityDocument", into = "IdentityDocument")]
pub struct IdentityConfig {
    /// First one present and not empty wins; at most 16, and nothing after a generated one.
    pub from: Vec<IdentitySource>,
    /// What happens when none is.
    pub when_missing: MissingIdentity,
    /// Seeds the split, 1 to 253 bytes; by default the release id. A shared one gives several services the same
    /// users.
    pub salt: Option<String>,
}

/// How identities are spelled, and what the generated cookie is called. A release keeps the form it began with, so
/// that no upgrade moves its users; a document in the second form requires [`IDENTITY_2`](super::IDENTITY_2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IdentityForm {
    /// Query parameters are decoded; headers and cookies are taken as they come. The generated cookie has the name that
    /// is written, and decides only where no other source is present.
    #[default]
    One,
    /// Headers, query parameters and cookies have one normal form (see `crate::identity`). The generated cookie is named
    /// after its release and decides the bucket before every other source, so that users keep their version when they
    /// log in.
    Two,
}

/// One place to look for the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IdentitySource {
    /// The value of a header field, spelled as the [`Form`] says.
    Header(Token),
    /// The value of a query parameter, percent-decoded, `+` being a space.
    Query(QueryName),
    /// The value of a cookie, spelled as the [`Form`] says.
    Cookie(Token),
    /// A value byte by byte as it came, with its quotes, `%` and `+`.
    Raw(RawSource),
    /// A claim of a JWT, read and not verified.
    JwtClaim(JwtClaim),
    /// The client's address, cut to a prefix.
    ClientIp(ClientIpPrefix),
    /// A cookie that the proxy mints when nothing else is there.
    Generated(GeneratedCookie),
}

/// Where a value stands that is taken as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RawSource {
    /// A header field.
    Header(Token),
    /// A query parameter; only its name is decoded.
    Query(QueryName),
    /// A cookie.
    Cookie(Token),
}

/// Which claim of which token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtClaim {
    /// The field that carries the token, with or without `Bearer `.
    pub header: Token,
    /// A claim at the top of the token; strings and numbers count.
    pub claim: QueryName,
}

/// How many leading bits of the client's address make the identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "ClientIpDocument")]
pub struct ClientIpPrefix {
    /// 1..=32; default 32.
    pub v4_prefix: u8,
    /// 1..=128; default 64.
    pub v6_prefix: u8,
}

/// What happens to a request without an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingIdentity {
    /// It goes to stable (to gray once the release is promoted).
    Stable,
    /// It goes to gray.
    Gray,
    /// It is split by chance, each request anew.
    Split,
    /// It is answered with this status, 400..=499.
    Reject(u16),
}

/// `rejectStatus` when a document does not say.
const DEFAULT_REJECT_STATUS: u16 = 403;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityDocument {
    from: Vec<IdentitySource>,
    #[serde(default)]
    when_missing: WhenMissing,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reject_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
}

impl TryFrom<IdentityDocument> for IdentityConfig {
    type Error = InvalidValue;

    fn try_from(document: IdentityDocument) -> Result<Self, InvalidValue> {
        let IdentityDocument {
            from,
            when_missing,
            reject_status,
            salt,
        } = document;
        if from.is_empty() || from.len() > 16 {
            return Err(InvalidValue::new(format!(
                "from has {} sources; write 1 to 16",
                from.len()
            )));
        }
        let is_generated = |source: &IdentitySource| matches!(source, IdentitySource::Generated(_));
        if from
            .iter()
            .position(is_generated)
            .is_some_and(|at| at + 1 < from.len())
        {
            return Err(InvalidValue::new(
                "from has a source after generated, which is never reached; put generated last",
            ));
        }
        if let Some(repeated) = (1..from.len()).find(|&at| from[..at].contains(&from[at])) {
            return Err(InvalidValue::new(format!(
                "from[{repeated}] stands there twice; list each source once"
            )));
        }
        if salt
            .as_ref()
            .is_some_and(|salt| !(1..=253).contains(&salt.len()))
        {
            return Err(InvalidValue::new(
                "salt has to have 1 to 253 bytes; leave it out for the release id",
            ));
        }
        let when_missing = match (when_missing, reject_status) {
            (WhenMissing::Reject, status) => match status.unwrap_or(DEFAULT_REJECT_STATUS) {
                status @ 400..=499 => MissingIdentity::Reject(status),
                status => {
                    return Err(InvalidValue::new(format!(
                        "rejectStatus {status}; write 400 to 499"
                    )));
                }
            },
            (_, Some(_)) => {
                return Err(InvalidValue::new(
                    "rejectStatus without whenMissing: Reject; remove one or change the other",
                ));
            }
            (WhenMissing::Stable, None) => MissingIdentity::Stable,
            (WhenMissing::Gray, None) => MissingIdentity::Gray,
            (WhenMissing::Split, None) => MissingIdentity::Split,
        };
        Ok(Self {
            from,
            when_missing,
            salt,
        })
    }
}

impl From<IdentityConfig> for IdentityDocument {
    fn from(identity: IdentityConfig) -> Self {
        let (when_missing, reject_status) = match identity.when_missing {
            MissingIdentity::Stable => (WhenMissing::Stable, None),
            MissingIdentity::Gray => (WhenMissing::Gray, None),
            MissingIdentity::Split => (WhenMissing::Split, None),
            MissingIdentity::Reject(status) => (WhenMissing::Reject, Some(status)),
        };
        Self {
            from: identity.from,
            when_missing,
            reject_status,
            salt: identity.salt,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientIpDocument {
    #[serde(default = "v4_whole")]
    v4_prefix: u8,
    #[serde(default = "v6_subnet")]
    v6_prefix: u8,
}

fn v4_whole() -> u8 {
    32
}

fn v6_subnet() -> u8 {
    64
}

impl TryFrom<ClientIpDocument> for ClientIpPrefix {
    type Error = InvalidValue;

    fn try_from(document: ClientIpDocument) -> Result<Self, InvalidValue> {
        let ClientIpDocument {
            v4_prefix,
            v6_prefix,
        } = document;
        if !(1..=32).contains(&v4_prefix) {
            return Err(InvalidValue::new(format!(
                "v4Prefix {v4_prefix}; write 1 to 32"
            )));
        }
        if !(1..=128).contains(&v6_prefix) {
            return Err(InvalidValue::new(format!(
                "v6Prefix {v6_prefix}; write 1 to 128"
            )));
        }
        Ok(Self {
            v4_prefix,
            v6_prefix,
        })
    }
}
