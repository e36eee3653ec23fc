//! What all releases of a fleet share: whose forwarding headers are believed, and who answers for hosts that no
//! release claims. One document per fleet, applied and acknowledged like a release's.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::document::{
    Checksum, Schema,
    arm::Backend,
    names::{HealthPath, ObjectName},
    network,
    units::Revision,
};
use crate::request::Request;

/// The settings of one fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetConfig {
    /// Version of this format: 1.
    pub schema: Schema,
    /// The proxy class.
    #[serde(default = "default_class")]
    pub class: ObjectName,
    /// Number of this document, rising by one with every change of its meaning.
    #[serde(default = "first_revision")]
    pub revision: Revision,
    /// `sha256:` and hex over the RFC 8785 form of the document without this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// What stands before the proxies.
    #[serde(default)]
    pub position: EdgePosition,
    /// Whose forwarding headers are believed; at most 64 networks.
    #[serde(
        default,
        deserialize_with = "networks",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub trusted_proxies: Vec<IpNet>,
    /// Who answers for hosts and paths that no release claims; without it, 404.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_backend: Option<Backend>,
    /// Proxies answer a GET of this path themselves, on every host: 200 while they want requests, 503 once they drain.
    /// Default: no path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_path: Option<HealthPath>,
}

/// What becomes of a request for [`FleetConfig::health_path`], for people.
pub const HEALTH: &str = "it is the fleet's healthPath, which proxies answer themselves on every host: 200 while they want \
                          requests, 503 once they drain";

impl FleetConfig {
    /// Whether proxies answer this request themselves, before any release is asked: a GET or HEAD of the health path.
    pub fn answers_itself(&self, request: &Request<'_>) -> bool {
        let path = self.health_path.as_ref();
        path.is_some_and(|path| request.path == path.as_str().as_bytes())
            && matches!(request.method, "GET" | "HEAD")
    }
}

/// What stands before the proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum EdgePosition {
    /// Nothing: the users' own connections end here. Forwarding headers of peers that are not trusted are replaced.
    #[default]
    Edge,
    /// An ingress or load balancer. Without `trustedProxies`, `X-Forwarded-For` is appended to and the others are set
    /// where they are absent; the client's address is still the peer's.
    BehindProxy,
}

impl Default for FleetConfig {
    /// Without a document: at the edge, nobody trusted, no default backend.
    fn default() -> Self {
        Self {
            schema: Schema,
            class: default_class(),
            revision: first_revision(),
            checksum: None,
            position: EdgePosition::Edge,
            trusted_proxies: Vec::new(),
            default_backend: None,
            health_path: None,
        }
    }
}

fn default_class() -> ObjectName {
    "default".parse().expect("a Kubernetes name by its letters")
}

fn first_revision() -> Revision {
    Revision::FIRST
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    if texts.len() > 64 {
        return Err(de::Error::custom(format!(
            "{} networks; at most 64",
            texts.len()
        )));
    }
    texts
        .iter()
        .map(|text| network(text).map_err(de::Error::custom))
        .collect()
}
