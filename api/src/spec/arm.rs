//! An arm as written: where one version lives and how the proxies speak to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{IntOrString, pattern, rules, schema};

/// One version of the service: where it lives and how the proxies speak to it. Exactly one of `service`
/// and `addresses` is given.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::validations(&[rules::ONE_BACKEND])))]
pub struct ArmSpec {
    /// The Service whose EndpointSlices the proxies follow, in the namespace of the release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,

    /// Fixed addresses, IP:PORT ([IP]:PORT for IPv6). For local mode, or for versions outside the cluster
    /// where the fleet allows it.
    #[schemars(schema_with = "schema::addresses")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,

    /// The name of this version, as in a tag. The two arms have different ones.
    #[schemars(length(max = 128), regex(pattern = pattern::VISIBLE))]
    pub version: String,

    /// A path put before the path of each request on its way upstream, for front-end releases that live
    /// under one directory each. Default: nothing is put before it.
    #[schemars(schema_with = "schema::path")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,

    /// How long the proxies wait for this version.
    #[serde(default)]
    pub timeouts: TimeoutsSpec,

    /// How many requests this version may be busy with at once, per proxy. Above it a request is answered
    /// 503 at once and charged as overload. A request counts from its last byte, or while its body keeps
    /// coming. Requests whose clients keep them waiting are counted apart, with the same limit: beyond it the
    /// slowest client is ended.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: i32,

    /// How many WebSockets to this version may be open at once, per proxy. Above it a new one is answered
    /// 503, which is charged to nobody.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(default = "default_max_tunnels")]
    pub max_tunnels: i32,

    /// Active checks by the proxies. Default: the readiness of the endpoints only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheckSpec>,

    /// Takes answers of this version that break a rule of HTTP, where nginx takes them and what they mean is beyond
    /// doubt: `chunked` said twice, chunk sizes padded with blanks or zeros, more than 128 fields within 32 KiB,
    /// statuses from 600 to 999. Otherwise such an answer becomes a 502. Whatever may hide one message in another is
    /// refused in any case.
    #[serde(default)]
    pub lenient: bool,
}

/// A Service and one of its ports.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// The name of the Service.
    #[schemars(length(max = 63), regex(pattern = pattern::LABEL))]
    pub name: String,

    /// The port of the Service, by number (1 to 65535) or by name.
    #[schemars(schema_with = "schema::port")]
    pub port: IntOrString,
}

/// How long the proxies wait for a version. Durations such as 500ms, 30s, 5m, 1h30m.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TimeoutsSpec {
    /// Until a connection is made; then another endpoint is tried, at last 502.
    #[schemars(schema_with = "schema::positive_duration")]
    pub connect: String,

    /// From the last byte of the request to the head of the answer; then 504.
    #[schemars(schema_with = "schema::positive_duration")]
    pub response_head: String,

    /// Between two reads of the body of an answer; then the answer is broken off.
    #[schemars(schema_with = "schema::positive_duration")]
    pub idle: String,

    /// Without a byte in either direction of a WebSocket; then it is closed.
    #[schemars(schema_with = "schema::positive_duration")]
    pub tunnel: String,
}

impl Default for TimeoutsSpec {
    fn default() -> Self {
        Self {
            connect: "1s".into(),
            response_head: "60s".into(),
            idle: "60s".into(),
            tunnel: "1h".into(),
        }
    }
}

/// An active check: GET on a path, healthy when the answer is 2xx or 3xx.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheckSpec {
    /// The path that is asked, beginning with `/`; a query may follow.
    #[schemars(length(max = 1024), regex(pattern = pattern::CHECK_PATH))]
    pub path: String,

    /// From one check to the next, for each endpoint.
    #[schemars(schema_with = "schema::check_interval")]
    #[serde(default = "default_interval")]
    pub interval: String,

    /// How long one check may take.
    #[schemars(schema_with = "schema::positive_duration")]
    #[serde(default = "default_timeout")]
    pub timeout: String,

    /// So many failed checks in a row take an endpoint out.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default = "default_unhealthy_after")]
    pub unhealthy_after: i32,

    /// So many good checks in a row bring it back.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default = "default_healthy_after")]
    pub healthy_after: i32,
}

fn default_max_in_flight() -> i32 {
    2000
}

fn default_max_tunnels() -> i32 {
    10_000
}

fn default_interval() -> String {
    "2s".to_owned()
}

fn default_timeout() -> String {
    "1s".to_owned()
}

fn default_unhealthy_after() -> i32 {
    3
}

fn default_healthy_after() -> i32 {
    2
}
