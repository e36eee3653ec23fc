//! The routing document, the contract between whoever decides a release and the proxies: what a release claims,
//! how its requests are divided, spoken for and counted. `rollout` writes it, [`parse::routing`] reads it strictly,
//! `CompiledRelease::compile` makes it ready for requests.

pub mod arm;
mod bounds;
pub mod checksum;
pub mod claim;
pub mod identity;
pub mod limits;
pub mod names;
pub mod parse;
pub mod rule;
pub mod units;

pub use crate::vocabulary::{OnUnavailable, OperatorLostAction};

use std::num::NonZeroU64;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::{
    arm::Arms,
    claim::Claim,
    identity::IdentityConfig,
    limits::LimitsConfig,
    names::{FieldText, HostPattern, ObjectName, OwnField, PathPrefix, Token, Uid},
    rule::{Rule, Target},
    units::{InvalidValue, Millis, Ratio, ReleaseId, Revision, Stage},
};
use crate::hex;

/// The features that this build knows and a document may require. A proxy reports them, and an operator writes a
/// document that requires one only when every proxy of the fleet knows it.
pub const FEATURES: &[&str] = &[IDENTITY_2, COOKIE_ATTRIBUTES];

/// Identities in the second form; see [`Form`](identity::Form).
pub const IDENTITY_2: &str = "identity-2";

/// A generated cookie with a domain, or with attributes other than those it has always had.
pub const COOKIE_ATTRIBUTES: &str = "cookie-attributes";

/// One release, as the proxies are to serve it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutingConfig {
    /// Version of this format: 1.
    pub schema: Schema,
    /// Features a reader has to know, or else refuse the document; see [`FEATURES`].
    #[serde(default)]
    pub requires: Vec<String>,
    /// How an identity becomes a bucket.
    pub bucketing: Bucketing,
    /// Whose release this is.
    pub release: ReleaseRef,
    /// Number of this document, rising by one with every change of its meaning.
    pub revision: Revision,
    /// `sha256:` and hex over the RFC 8785 form of the document without this field. Filled in by
    /// [`RoutingConfig::to_json`]; a document written by hand may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// The uid whose routes this document takes over: an object of the same name that was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Uid>,
    /// Under which counters go.
    pub stage: Stage,
    /// Where the release stands.
    pub state: ReleaseState,
    /// Whether it is on its way to a higher ratio, waiting and paused included.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moving: bool,
    /// Sends everyone to one arm, over every rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<Target>,
    /// The share of identities that goes to gray.
    pub ratio: Ratio,
    /// The hosts it claims; 1 to 64, no two equal.
    pub hosts: Vec<HostPattern>,
    /// The path prefixes it claims on each of them; 1 to 64, no two equal. Default `/`.
    #[serde(default = "root_path")]
    pub paths: Vec<PathPrefix>,
    /// Since when it has places that it did not have from its creation on; at most one for each host and path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// Its versions.
    pub arms: Arms,
    /// How a user is found out.
    pub identity: IdentityConfig,
    /// Before the split, first match wins; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// How its requests are counted.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Most bytes of a request's body, from 1; above it 413. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<NonZeroU64>,
    /// What happens when the chosen arm has no endpoint at all.
    #[serde(default)]
    pub on_unavailable: OnUnavailable,
    /// Who is told why a request went where it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug: Option<DebugHeader>,
    /// Fields that carry the version, upstream and back.
    #[serde(default)]
    pub version_header: VersionHeader,
    /// What a proxy does when no operator has spoken to it for some time.
    #[serde(default)]
    pub on_operator_lost: OnOperatorLost,
}

fn root_path() -> Vec<PathPrefix> {
    vec![PathPrefix::root()]
}

/// Whose release a document is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRef {
    /// Uid of the GrayRelease.
    pub uid: Uid,
    /// Its namespace.
    pub namespace: ObjectName,
    /// Its name.
    pub name: ObjectName,
    /// Which release of it; in a plain route, whatever the writer computes for "no gray".
    pub id: ReleaseId,
    /// When the object was created. Of two that claim one host and path the earlier claim wins; one without a time counts
    /// from here.
    pub created_at: Timestamp,
}

/// The format's version. Only 1 exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Schema;

impl TryFrom<u64> for Schema {
    type Error = InvalidValue;

    fn try_from(schema: u64) -> Result<Self, InvalidValue> {
        if schema == 1 {
            Ok(Self)
        } else {
            Err(InvalidValue::new(format!(
                "schema {schema} is unknown here; this build reads schema 1"
            )))
        }
    }
}

impl From<Schema> for u64 {
    fn from(_: Schema) -> Self {
        1
    }
}

/// How an identity becomes a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Bucketing {
    /// XXH3-64 of the identity, seeded with XXH3-64 of the salt, scaled to 0..1 000 000; see `bucket`.
    #[default]
    #[serde(rename = "xxh3-1")]
    Xxh3V1,
}

/// `sha256:` and 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Checksum([u8; 32]);

impl Checksum {
    /// From a SHA-256 digest.
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl TryFrom<String> for Checksum {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        let digits = text
            .strip_prefix("sha256:")
            .filter(|digits| !digits.bytes().any(|byte| byte.is_ascii_uppercase()));
        match digits.and_then(hex::decode) {
            Some(digest) => Ok(Self(digest)),
            None => Err(InvalidValue::new(format!(
                "\"{}\" is no checksum; it is sha256: and 64 lower-case hex digits, or left out",
                text.escape_debug()
            ))),
        }
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> Self {
        checksum.to_string()
    }
}

/// Where a release stands, as far as a proxy has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReleaseState {
    /// There is no gray.
    Plain,
    /// The split applies.
    Active,
    /// Everyone is on gray, requests without an identity and rules to stable included.
    Promoted,
    /// Nobody reaches gray, except by rules that are kept on rollback, and by force.
    RolledBack,
    /// The object is gone; its routes are dropped.
    Withdrawn,
}

/// Who sends this field with this value gets `X-Halftone-Reason` back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugHeader {
    /// The field.
    pub header: Token,
    /// Its value, compared exactly.
    pub value: FieldText,
}

/// The fields that carry the version of the chosen arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionHeader {
    /// Set on the way upstream.
    pub request: OwnField,
    /// Set on the way back.
    pub response: OwnField,
}

impl Default for VersionHeader {
    fn default() -> Self {
        let name: OwnField = "X-Halftone-Version"
            .parse()
            .expect("a token by its characters");
        Self {
            request: name.clone(),
            response: name,
        }
    }
}

impl RoutingConfig {
    /// Whether proxies send everyone to stable once no operator has spoken to them for so long.
    pub fn is_operator_lost_after(&self, silence: Duration) -> bool {
        let OnOperatorLost { action, after_ms } = self.on_operator_lost;
        self.moving && action == OperatorLostAction::Stable && silence >= after_ms.duration()
    }
}

/// What a proxy does when no operator has spoken to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OnOperatorLost {
    /// What it does. `Stable` only ever applies to a release that is moving.
    pub action: OperatorLostAction,
    /// After how long. Default 10 min.
    pub after_ms: Millis,
}

impl Default for OnOperatorLost {
    fn default() -> Self {
        Self {
            action: OperatorLostAction::Hold,
            after_ms: Millis::new(600_000),
        }
    }
}

/// A network in CIDR notation; a bare address stands for itself alone. IPv4-mapped networks become IPv4.
///
/// # Errors
/// What makes it none, and how to write it.
pub fn network(text: &str) -> Result<IpNet, InvalidValue> {
    let wrong = || {
        InvalidValue::new(format!(
            "\"{}\" is no network; write 10.1.0.0/16, fd00::/8 or an address",
            text.escape_debug()
        ))
    };
    let network: IpNet = match text.parse() {
        Ok(network) => network,
        Err(_) => IpNet::from(text.parse::<std::net::IpAddr>().map_err(|_| wrong())?),
    };
    let canonical = match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => ipnet::Ipv4Net::new(v4, v6.prefix_len() - 96)
                .map_err(|_| wrong())?
                .into(),
            None => network,
        },
        _ => network,
    };
    if canonical.trunc() == canonical {
        Ok(canonical)
    } else {
        Err(InvalidValue::new(format!(
            "{text} has bits beyond its prefix; write {}",
            canonical.trunc()
        )))
    }
}
