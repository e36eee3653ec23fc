//! One arm of a release as the document carries it: where its servers are, how they are spoken to and checked.
//! The fleet's default backend is the same kind of thing without a version.

use std::{net::SocketAddr, num::NonZeroU16};

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{
    names::{ObjectName, PathPrefix, Version},
    units::{InvalidValue, Millis},
};

/// Which of the two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Arm {
    /// The version that serves everyone else.
    Stable,
    /// The version being released.
    Gray,
}

impl Arm {
    /// Both, stable first.
    pub const ALL: [Self; 2] = [Self::Stable, Self::Gray];

    /// `stable` or `gray`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Gray => "gray",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Stable => Self::Gray,
            Self::Gray => Self::Stable,
        }
    }
}

/// One value for each arm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerArm<T> {
    /// Stable's.
    pub stable: T,
    /// Gray's.
    pub gray: T,
}

impl<T> PerArm<T> {
    /// What `make` gives for each arm, stable first.
    pub fn from_fn(mut make: impl FnMut(Arm) -> T) -> Self {
        Self {
            stable: make(Arm::Stable),
            gray: make(Arm::Gray),
        }
    }

    /// The arm's.
    pub const fn get(&self, arm: Arm) -> &T {
        match arm {
            Arm::Stable => &self.stable,
            Arm::Gray => &self.gray,
        }
    }

    /// The arm's, to be changed.
    pub const fn get_mut(&mut self, arm: Arm) -> &mut T {
        match arm {
            Arm::Stable => &mut self.stable,
            Arm::Gray => &mut self.gray,
        }
    }

    /// Both, stable first.
    pub fn iter(&self) -> impl Iterator<Item = (Arm, &T)> {
        Arm::ALL.into_iter().map(|arm| (arm, self.get(arm)))
    }
}

/// The arms of a release. Without gray it is a plain route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arms {
    /// The version that serves everyone else.
    pub stable: ArmConfig,
    /// The version being released. Boxed: most releases at rest have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gray: Option<Box<ArmConfig>>,
}

impl Arms {
    /// The named arm; gray may be absent.
    pub fn get(&self, arm: Arm) -> Option<&ArmConfig> {
        match arm {
            Arm::Stable => Some(&self.stable),
            Arm::Gray => self.gray.as_deref(),
        }
    }
}

/// One arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ArmDocument", into = "ArmDocument")]
pub struct ArmConfig {
    /// Where its servers are.
    pub backend: Backend,
    /// What it is called.
    pub version: Version,
    /// Put before the path on the way upstream.
    pub path_prefix: Option<PathPrefix>,
    /// How long each part of an exchange may take.
    pub timeouts: Timeouts,
    /// Requests that the servers work on at once, per proxy, from 1; above it 503.
    pub max_in_flight: u32,
    /// Open tunnels (WebSockets) per proxy, from 1; above it 503.
    pub max_tunnels: u32,
    /// Active check of each endpoint; without it an endpoint's readiness decides.
    pub health_check: Option<HealthCheck>,
    /// Takes malformed answers where what they mean is beyond doubt.
    pub lenient: bool,
}

impl ArmConfig {
    /// An arm with every default.
    pub fn new(backend: Backend, version: Version) -> Self {
        Self {
            backend,
            version,
            path_prefix: None,
            timeouts: Timeouts::default(),
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            max_tunnels: DEFAULT_MAX_TUNNELS,
            health_check: None,
            lenient: false,
        }
    }

    /// Where its requests go: its servers and how they are checked.
    pub fn destination(&self) -> Destination {
        Destination {
            backend: self.backend.clone(),
            health_check: self.health_check.clone(),
        }
    }
}

/// `maxInFlight` when a document does not say.
pub const DEFAULT_MAX_IN_FLIGHT: u32 = 2000;

/// `maxTunnels` when a document does not say.
pub const DEFAULT_MAX_TUNNELS: u32 = 10_000;

/// Where requests go, which is what one endpoint table is for: two arms with equal destinations share endpoints,
/// connections and checks. What each of them has for itself goes by its [`DestinationId`].
///
/// [`DestinationId`]: crate::routes::DestinationId
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Where its servers are.
    pub backend: Backend,
    /// How each is checked.
    pub health_check: Option<HealthCheck>,
}

/// Where servers are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Backend {
    /// A Kubernetes Service, whose EndpointSlices are followed.
    Service(ServiceRef),
    /// These addresses, each one ready endpoint; at least one, no two equal.
    Addresses(Addresses),
}

/// One port of a Kubernetes Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// Namespace of the Service.
    pub namespace: ObjectName,
    /// Name of the Service.
    pub name: ObjectName,
    /// Which of its ports.
    pub port: ServicePort,
    /// What the Service calls the port that `port` gives by number, if it calls it anything: EndpointSlices know ports
    /// by name only, and proxies read no Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_name: Option<ObjectName>,
}

/// A port by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum ServicePort {
    /// 1..=65535.
    Number(NonZeroU16),
    /// The name in the Service.
    Name(ObjectName),
}

impl<'de> Deserialize<'de> for ServicePort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ServicePort;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a port: a number 1 to 65535 or a name")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<ServicePort, E> {
                let port = u16::try_from(number).ok().and_then(NonZeroU16::new);
                port.map(ServicePort::Number).ok_or_else(|| {
                    E::custom(format!("{number} is no port; write 1 to 65535 or a name"))
                })
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<ServicePort, E> {
                name.parse().map(ServicePort::Name).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Addresses in the order given; at least one, no two equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<SocketAddr>", into = "Vec<SocketAddr>")]
pub struct Addresses(Vec<SocketAddr>);

impl Addresses {
    /// The most that one arm may list.
    pub const MOST: usize = 1000;
}

impl AsRef<[SocketAddr]> for Addresses {
    fn as_ref(&self) -> &[SocketAddr] {
        &self.0
    }
}

impl TryFrom<Vec<SocketAddr>> for Addresses {
    type Error = InvalidValue;

    fn try_from(addresses: Vec<SocketAddr>) -> Result<Self, InvalidValue> {
        if addresses.is_empty() || addresses.len() > Self::MOST {
            return Err(InvalidValue::new(format!(
                "{} addresses; write 1 to {}",
                addresses.len(),
                Self::MOST
            )));
        }
        let mut seen = std::collections::HashSet::new();
        for address in &addresses {
            if address.port() == 0 {
                return Err(InvalidValue::new(format!(
                    "{address} has port 0; write 1 to 65535"
                )));
            }
            if !seen.insert(address) {
                return Err(InvalidValue::new(format!(
                    "{address} twice; list each address once"
                )));
            }
        }
        Ok(Self(addresses))
    }
}

impl From<Addresses> for Vec<SocketAddr> {
    fn from(addresses: Addresses) -> Self {
        addresses.0
    }
}

/// How long each part of an exchange with an arm may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// Until a connection stands. Default 1 s.
    pub connect_ms: Positive,
    /// From the last byte of the request to the last byte of the answer's head. Default 60 s.
    pub response_head_ms: Positive,
    /// Between two reads of an answer's body. Default 60 s.
    pub idle_ms: Positive,
    /// Without a byte either way in a tunnel. Default 1 h.
    pub tunnel_ms: Positive,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_ms: Positive(Millis::new(1_000)),
            response_head_ms: Positive(Millis::new(60_000)),
            idle_ms: Positive(Millis::new(60_000)),
            tunnel_ms: Positive(Millis::new(3_600_000)),
        }
    }
}

/// A duration of at least one millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Millis", into = "Millis")]
pub struct Positive(Millis);

impl Positive {
    /// In milliseconds, from 1.
    pub const fn millis(self) -> u64 {
        self.0.get()
    }

    /// As the standard library's duration.
    pub const fn duration(self) -> std::time::Duration {
        self.0.duration()
    }
}

impl TryFrom<Millis> for Positive {
    type Error = InvalidValue;

    fn try_from(millis: Millis) -> Result<Self, InvalidValue> {
        if millis.get() > 0 {
            Ok(Self(millis))
        } else {
            Err(InvalidValue::new("0 ms; write at least 1"))
        }
    }
}

impl From<Positive> for Millis {
    fn from(positive: Positive) -> Self {
        positive.0
    }
}

/// An active check: `GET path`, healthy on a 2xx or 3xx within the time-out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// What is asked for, with its query: an origin-form target of visible ASCII.
    pub path: CheckTarget,
    /// Between two checks of one endpoint. Default 2 s.
    #[serde(default = "HealthCheck::default_interval")]
    pub interval_ms: Positive,
    /// Until the head of the answer. Default 1 s.
    #[serde(default = "HealthCheck::default_timeout")]
    pub timeout_ms: Positive,
    /// Failures in a row that make an endpoint unhealthy, from 1. Default 3.
    #[serde(default = "HealthCheck::default_threshold")]
    pub unhealthy_after: CheckThreshold,
    /// Successes in a row that make it healthy again, from 1. Default 2.
    #[serde(default = "HealthCheck::default_healthy_after")]
    pub healthy_after: CheckThreshold,
}

impl HealthCheck {
    fn default_interval() -> Positive {
        Positive(Millis::new(2_000))
    }

    fn default_timeout() -> Positive {
        Positive(Millis::new(1_000))
    }

    fn default_threshold() -> CheckThreshold {
        CheckThreshold(3)
    }

    fn default_healthy_after() -> CheckThreshold {
        CheckThreshold(2)
    }
}

super::units::text!(
    /// Target of a health check: starts with `/`, visible ASCII, no `#`, at most 1024 bytes.
    CheckTarget,
    |text| {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if text.starts_with('/') && visible && text.len() <= 1024 {
            Ok(text.into())
        } else {
            Err("is no target of a check; it starts with / and has at most 1024 visible ASCII characters, no #".into())
        }
    }
);

/// How many times in a row, 1..=100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct CheckThreshold(u8);

impl CheckThreshold {
    /// The number, from 1.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u64> for CheckThreshold {
    type Error = InvalidValue;

    fn try_from(times: u64) -> Result<Self, InvalidValue> {
        match u8::try_from(times) {
            Ok(times @ 1..=100) => Ok(Self(times)),
            _ => Err(InvalidValue::new(format!(
                "{times} times in a row; write 1 to 100"
            ))),
        }
    }
}

impl From<CheckThreshold> for u64 {
    fn from(times: CheckThreshold) -> Self {
        Self::from(times.0)
    }
}

/// The arm as written, before "exactly one of service and addresses" is checked.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArmDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<ServiceRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    addresses: Option<Addresses>,
    version: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_prefix: Option<PathPrefix>,
    #[serde(default)]
    timeouts: Timeouts,
    #[serde(default = "default_max_in_flight")]
    max_in_flight: u32,
    /// Left out where it is the default: documents written before there was such a field stay the same.
    #[serde(
        default = "default_max_tunnels",
        skip_serializing_if = "is_default_max_tunnels"
    )]
    max_tunnels: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_check: Option<HealthCheck>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lenient: bool,
}

fn default_max_in_flight() -> u32 {
    DEFAULT_MAX_IN_FLIGHT
}

fn default_max_tunnels() -> u32 {
    DEFAULT_MAX_TUNNELS
}

fn is_default_max_tunnels(most: &u32) -> bool {
    *most == DEFAULT_MAX_TUNNELS
}

impl TryFrom<ArmDocument> for ArmConfig {
    type Error = InvalidValue;

    fn try_from(document: ArmDocument) -> Result<Self, InvalidValue> {
        let backend = match (document.service, document.addresses) {
            (Some(service), None) => Backend::Service(service),
            (None, Some(addresses)) => Backend::Addresses(addresses),
            (Some(_), Some(_)) => {
                return Err(InvalidValue::new(
                    "has both service and addresses; keep one of them",
                ));
            }
            (None, None) => {
                return Err(InvalidValue::new(
                    "has neither service nor addresses; add one of them",
                ));
            }
        };
        if document.max_in_flight == 0 {
            return Err(InvalidValue::new(
                "maxInFlight is 0, which refuses every request; write at least 1",
            ));
        }
        if document.max_tunnels == 0 {
            return Err(InvalidValue::new(
                "maxTunnels is 0, which refuses every WebSocket; write at least 1",
            ));
        }
        let ArmDocument {
            version,
            path_prefix,
            timeouts,
            max_in_flight,
            max_tunnels,
            health_check,
            lenient,
            ..
        } = document;
        Ok(Self {
            backend,
            version,
            path_prefix,
            timeouts,
            max_in_flight,
            max_tunnels,
            health_check,
            lenient,
        })
    }
}

impl From<ArmConfig> for ArmDocument {
    fn from(arm: ArmConfig) -> Self {
        let ArmConfig {
            backend,
            version,
            path_prefix,
            timeouts,
            max_in_flight,
            max_tunnels,
            health_check,
            lenient,
        } = arm;
        let (service, addresses) = match backend {
            Backend::Service(service) => (Some(service), None),
            Backend::Addresses(addresses) => (None, Some(addresses)),
        };
        Self {
            service,
            addresses,
            version,
            path_prefix,
            timeouts,
            max_in_flight,
            max_tunnels,
            health_check,
            lenient,
        }
    }
}
