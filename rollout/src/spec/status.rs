//! The status that Halftone writes: where a release stands, and why.
//!
//! Progress is restored from it after a restart, so every field that `advance` needs is here; the rest is
//! for people. Times are RFC 3339, ratios strings such as "12.5%".

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Force, schema};
use crate::judge::{Totals, Verdict};

/// Where the release stands, written by Halftone.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct GrayReleaseStatus {
    /// The generation of the object that this status speaks of; -1 before Halftone has seen it.
    pub observed_generation: i64,

    /// The state in one word, for display.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// The state in which a restart goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateName>,

    /// The release that is on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseStatus>,

    /// What hold and evidence rest on; when the spec comes to differ from it, they start anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<BasisStatus>,

    /// The version that last served everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<ServingStatus>,

    /// A number that rises whenever earlier counts stop being evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<i64>,

    /// Paused by command; `spec.paused` is separate.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,

    /// The present step and its clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepStatus>,

    /// When the patience of the present step ends; set while its clock runs.
    #[schemars(schema_with = "schema::timestamp")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience_ends_at: Option<Timestamp>,

    /// How much of its patience is left; set while its clock stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience_left: Option<String>,

    /// Until when a release that reached its target is judged; set while that clock runs.
    #[schemars(schema_with = "schema::timestamp")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_ends_at: Option<Timestamp>,

    /// How much of that time is left; set while its clock stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_left: Option<String>,

    /// Why and when the release went back, while it is rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackStatus>,

    /// The share of users that gray gets now, such as "10%".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<String>,

    /// What the split did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedStatus>,

    /// The revision of the routing document that holds this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,

    /// The proxies of the fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxies: Option<ProxiesStatus>,

    /// What the judge says, with the figures behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictStatus>,

    /// The token that the next request (annotation `halftone.dev/request`) carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_token: Option<String>,

    /// The last request that was handled, and the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_request: Option<HandledRequest>,

    /// The last ten releases, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,

    /// Conditions by type.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Default for GrayReleaseStatus {
    fn default() -> Self {
        Self {
            observed_generation: -1,
            phase: None,
            state: None,
            release: None,
            basis: None,
            serving: None,
            stage: None,
            paused: false,
            step: None,
            patience_ends_at: None,
            patience_left: None,
            watch_ends_at: None,
            watch_left: None,
            rollback: None,
            ratio: None,
            observed: None,
            revision: None,
            proxies: None,
            verdict: None,
            request_token: None,
            last_handled_request: None,
            history: Vec::new(),
            conditions: Vec::new(),
        }
    }
}

/// The state in one word, for display.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nothing is decided yet.
    Pending,
    /// A routing document is on its way to the proxies.
    Programming,
    /// A step is held.
    Holding,
    /// A person must approve.
    AwaitingApproval,
    /// The schedule is closed.
    AwaitingWindow,
    /// The hold is over and the traffic cannot tell yet.
    AwaitingTraffic,
    /// Paused, by spec, by command or by a failure.
    Paused,
    /// There is no gray version, or its target is 0.
    Idle,
    /// The target, less than everyone, is reached.
    TargetReached,
    /// Gray serves everyone.
    Promoted,
    /// On the way back to stable.
    RollingBack,
    /// Nobody reaches gray any more.
    RolledBack,
    /// The object cannot be served as it is written.
    Refused,
}

/// The state of a release, whatever it waits for.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateName {
    /// There is no gray: a plain route to stable.
    Plain,
    /// On the way to the target, or waiting at ratio 0.
    Moving,
    /// At a target below 100%.
    TargetReached,
    /// Gray serves everyone.
    Promoted,
    /// Back on stable.
    RolledBack,
}

/// What hold and evidence rest on.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BasisStatus {
    /// Digest of the stable arm: version, where it is, path prefix.
    pub stable: String,

    /// Digest of where identities come from.
    pub identity: String,

    /// Digest of `spec.health`.
    pub health: String,

    /// `spec.force`.
    #[serde(default)]
    pub force: Force,
}

/// Why and when a release went back.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RollbackStatus {
    /// The reason in one word.
    pub reason: String,

    /// The reason in a sentence.
    pub message: String,

    /// When.
    #[schemars(schema_with = "schema::timestamp")]
    pub at: Timestamp,
}

/// The release that is on its way.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// The release id: 16 hex digits.
    pub id: String,

    /// The gray version.
    pub version: String,

    /// How often it was tried; rises with `retry`.
    pub attempt: i64,

    /// When this attempt began.
    #[schemars(schema_with = "schema::timestamp")]
    pub started_at: Timestamp,
}

/// The version that last served everyone.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ServingStatus {
    /// Its version.
    pub version: String,

    /// Its Service, or its addresses joined by commas.
    pub service: String,

    /// Since when.
    #[schemars(schema_with = "schema::timestamp")]
    pub since: Timestamp,
}

/// The present step and its clock. One of `holdEndsAt` and `holdLeft` is set while it is held.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// The number of the step, from 1.
    pub index: i64,

    /// How many steps there are, the target included.
    pub count: i64,

    /// Both, as in "2/6".
    pub display: String,

    /// When the step began.
    #[schemars(schema_with = "schema::timestamp")]
    pub started_at: Timestamp,

    /// When every proxy had it.
    #[schemars(schema_with = "schema::timestamp")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Timestamp>,

    /// When its hold ends; set while the clock runs.
    #[schemars(schema_with = "schema::timestamp")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ends_at: Option<Timestamp>,

    /// How much of its hold is left; set while the clock stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_left: Option<String>,

    /// A person has approved this step.
    #[serde(default)]
    pub approved: bool,
}

/// What the split did in this stage. Split requests only.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ObservedStatus {
    /// Gray's share of them, such as "9.97%".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<String>,

    /// All of them.
    pub requests: i64,

    /// Those to gray.
    pub gray_requests: i64,
}

/// The proxies of the fleet.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProxiesStatus {
    /// Proxies that are ready.
    pub ready: i64,

    /// Ready proxies that have this revision.
    pub acknowledged: i64,

    /// Proxies that should have it by now and do not.
    #[serde(default)]
    pub waiting_for: Vec<String>,
}

/// What the judge says, with the figures behind it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VerdictStatus {
    /// Pass, Fail or NeedMoreData.
    pub result: Verdict,

    /// The reason in one word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,

    /// The reason in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,

    /// The number of the judge's process within this release, from 1. It decides how strict the process is.
    pub process: i64,

    /// Counts of this stage since every proxy had the step.
    pub totals: Totals,

    /// Each limit with what was seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitStatus>,
}

/// One limit with what was seen.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LimitStatus {
    /// The limit, as its field is called, such as maxErrorRate or versusStable.p99.
    pub name: String,

    /// The limit's value.
    pub limit: String,

    /// What stable did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,

    /// What gray did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gray: Option<String>,

    /// Requests that the limit looked at.
    pub requests: i64,

    /// How far the evidence against gray has come, in percent of what a Fail needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// A request that was handled, and the answer.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HandledRequest {
    /// The request as it was written.
    pub request: String,

    /// Done, Stale (another token is the present one) or Refused.
    pub result: RequestResult,

    /// What was done, or why it was not.
    pub message: String,

    /// When.
    #[schemars(schema_with = "schema::timestamp")]
    pub time: Timestamp,
}

/// How a request ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestResult {
    /// It was done.
    Done,
    /// Its token was not the present one.
    Stale,
    /// It cannot be done now.
    Refused,
}

/// A release that is over, or over but for its watch.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The release id.
    pub id: String,

    /// The gray version.
    pub version: String,

    /// How it ended.
    pub outcome: Outcome,

    /// Why, in one word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,

    /// When it began.
    #[schemars(schema_with = "schema::timestamp")]
    pub started_at: Timestamp,

    /// When it ended.
    #[schemars(schema_with = "schema::timestamp")]
    pub ended_at: Timestamp,
}

/// How a release ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Gray served everyone.
    Promoted,
    /// A target below 100% was reached.
    TargetReached,
    /// It went back to stable.
    RolledBack,
    /// Another release took its place.
    Superseded,
    /// Its object was deleted.
    Withdrawn,
}
