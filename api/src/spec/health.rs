//! Health as written: the limits that gray is judged by, and what follows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConditionGroup, IntOrString, schema};

/// What health means, and what follows when gray is not healthy.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthSpec {
    /// false: nothing is judged, the steps go by time only.
    pub enabled: bool,

    /// The highest share of gray's requests that may end in an error: an integer (percent) or a string such
    /// as "0.5%". Errors are the statuses below, connect failures, resets and time-outs.
    #[schemars(schema_with = "schema::ratio")]
    pub max_error_rate: IntOrString,

    /// Statuses that are errors: a code such as "503" or a class such as "5xx". Default: 5xx.
    #[schemars(schema_with = "schema::statuses")]
    pub error_statuses: Vec<String>,

    /// How long answers may take until their head. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency: Option<MaxLatencySpec>,

    /// Traffic judged beside that of the split: Rule (sent by a rule), Missing (without identity). Default: none.
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub include: Vec<IncludedTraffic>,

    /// Requests that are counted and not judged, such as exports, long polls and event streams.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub exclude: Vec<ConditionGroup>,

    /// Limits relative to what stable does at the same time.
    pub versus_stable: VersusStableSpec,

    /// Requests to gray that a step needs before it can pass.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub min_requests: i32,

    /// So long after every proxy has a step, latency limits and the figures for passing leave its requests
    /// out. A proxy that does not take up the step is waited for no longer than the fleet's
    /// stragglerTimeout. Error limits never wait.
    #[schemars(schema_with = "schema::duration")]
    pub warmup: String,

    /// The chance that a release within its limits is never rolled back, over its whole life: at least
    /// 50% and below 100%.
    #[schemars(schema_with = "schema::confidence")]
    pub confidence: IntOrString,

    /// What follows when gray breaks a limit: Rollback or Pause.
    pub on_failure: OnFailure,

    /// What follows when hold and patience are over and there is still no verdict: Wait, Pause or Rollback.
    pub on_inconclusive: OnInconclusive,

    /// How long a step may wait for a verdict after its hold.
    #[schemars(schema_with = "schema::duration")]
    pub patience: String,

    /// So long after the target is reached the release is still judged, and rolled back if it fails.
    #[schemars(schema_with = "schema::duration")]
    pub watch: String,
}

impl Default for HealthSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            max_error_rate: IntOrString::String("5%".into()),
            error_statuses: vec!["5xx".into()],
            max_latency: None,
            include: Vec::new(),
            exclude: Vec::new(),
            versus_stable: VersusStableSpec::default(),
            min_requests: 100,
            warmup: "10s".into(),
            confidence: IntOrString::String("99.9%".into()),
            on_failure: OnFailure::default(),
            on_inconclusive: OnInconclusive::default(),
            patience: "1h".into(),
            watch: "1h".into(),
        }
    }
}

/// How long answers may take, from the last byte of the request to the first byte of the answer's head.
/// Each is a duration such as 500ms.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct MaxLatencySpec {
    /// Half of the answers come within this.
    #[schemars(schema_with = "schema::positive_duration")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<String>,

    /// 90% of the answers come within this.
    #[schemars(schema_with = "schema::positive_duration")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90: Option<String>,

    /// 95% of the answers come within this.
    #[schemars(schema_with = "schema::positive_duration")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<String>,

    /// 99% of the answers come within this.
    #[schemars(schema_with = "schema::positive_duration")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<String>,

    /// 99.9% of the answers come within this.
    #[schemars(schema_with = "schema::positive_duration")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p999: Option<String>,
}

/// Limits relative to what stable does at the same time. Factors are decimal strings, at least "1".
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct VersusStableSpec {
    /// false switches all relative limits off.
    pub enabled: bool,

    /// Gray's error rate may be so many times that of stable.
    #[schemars(schema_with = "schema::factor")]
    pub error_rate: String,

    /// Gray's rate of 4xx answers (429 left out) may be so many times that of stable.
    #[schemars(schema_with = "schema::factor")]
    pub client_error_rate: String,

    /// Below this error rate gray never fails the relative limit.
    #[schemars(schema_with = "schema::ratio")]
    pub floor: IntOrString,

    /// Below this rate of 4xx answers gray never fails the relative limit.
    #[schemars(schema_with = "schema::ratio")]
    pub client_error_floor: IntOrString,

    /// Gray's 99th percentile of latency may be so many times that of stable. Default: no limit.
    #[schemars(schema_with = "schema::factor")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<String>,
}

impl Default for VersusStableSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            error_rate: "2".into(),
            client_error_rate: "2".into(),
            floor: IntOrString::String("0.1%".into()),
            client_error_floor: IntOrString::String("1%".into()),
            p99: None,
        }
    }
}

/// Traffic judged beside that of the split.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IncludedTraffic {
    /// Requests that a rule sent.
    Rule,
    /// Requests without identity.
    Missing,
}

/// What follows when gray breaks a limit.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Ratio 0, at once.
    #[default]
    Rollback,
    /// The ratio stays; a person decides.
    Pause,
}

/// What follows when hold and patience are over without a verdict.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnInconclusive {
    /// The step goes on waiting.
    #[default]
    Wait,
    /// The release pauses; a person decides.
    Pause,
    /// Ratio 0.
    Rollback,
}
