//! The status that Halftone writes: where a release stands, and why.
//!
//! Progress is restored from it after a restart, so every field that `advance` needs is here; the rest is
//! for people. Times are RFC 3339, ratios strings such as "12.5%".

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Force, GrayRelease, OpenEnum, Totals, Verdict, schema};

/// Where the release stands, written by Halftone.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct GrayReleaseStatus {
    /// The metadata.generation of the GrayRelease that this status describes; -1 until an operator has read the
    /// object.
    pub observed_generation: i64,

    /// The installation of Halftone that looks after this release. Others leave it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<ControllerStatus>,

    /// The state of the release in one word, for display. Conditions say more; programs should read those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<OpenEnum<Phase>>,

    /// The state from which a restarted operator goes on: Plain (no gray version), Moving, TargetReached, Promoted
    /// or RolledBack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<OpenEnum<StateName>>,

    /// The gray release in progress, or the last one if it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseStatus>,

    /// Digests of the parts of spec that the current hold and evidence depend on. When one of them changes, the
    /// hold, the evidence or both restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<BasisStatus>,

    /// The version that last served all users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<ServingStatus>,

    /// A counter that rises whenever earlier request counts stop being evidence, for instance at a new step, a
    /// rollback or a retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<i64>,

    /// True while the release is paused by the command `pause`. `spec.paused` pauses it independently.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,

    /// The current step of the schedule and its clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepStatus>,

    /// When the current step stops waiting for a verdict (`spec.health.patience`). Set while that clock runs.
    #[schemars(schema_with = "schema::timestamp")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience_ends_at: Option<Timestamp>,

    /// How much longer the current step waits for a verdict (`spec.health.patience`) once its clock runs again. Set
    /// while that clock stands still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience_left: Option<String>,

    /// Until when a release that reached its target is still judged (`spec.health.watch`). Set while that clock
    /// runs.
    #[schemars(schema_with = "schema::timestamp")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_ends_at: Option<Timestamp>,

    /// How much longer a release that reached its target is judged (`spec.health.watch`) once its clock runs again.
    /// Set while that clock stands still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_left: Option<String>,

    /// Set while gray serves everyone because it did before it was written as gray, as after a revert: the
    /// `targetRatio` that was written then. A lower one, written later, takes effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving_kept: Option<String>,

    /// Why and when the release was rolled back. Set while it stays rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackStatus>,

    /// The share of users that the split sends to the gray version now, such as "10%".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<String>,

    /// How many requests the split sent to each version in the current stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedStatus>,

    /// The revision of the routing document that implements this status. Proxies report the revision that they run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,

    /// How many proxies of the fleet are ready and run the current revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxies: Option<ProxiesStatus>,

    /// The latest verdict on the gray version and the figures behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictStatus>,

    /// The token that the next command has to carry in the annotation `halftone.dev/request`. It changes with every
    /// answer, so no command runs twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_token: Option<String>,

    /// The last command given by the annotation `halftone.dev/request`, and the answer to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_request: Option<HandledRequest>,

    /// The last ten releases of this object, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,

    /// The conditions of the release, one for each type: Ready, Reconciling, Stalled and others.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Default for GrayReleaseStatus {
    fn default() -> Self {
        Self {
            observed_generation: -1,
            controller: None,
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
            serving_kept: None,
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

impl GrayReleaseStatus {
    /// The status without the figures, which may be written seldom. If two are equal in this form, the newer one
    /// need not be written before its document is applied: a restart would go on the same way from either.
    #[must_use]
    pub fn without_figures(&self) -> Self {
        let mut status = self.clone();
        status.observed = None;
        status.proxies = None;
        if let Some(verdict) = &mut status.verdict {
            if verdict.result != Verdict::Fail {
                verdict.result = Verdict::NeedMoreData.into();
                verdict.reason.clear();
            }
            verdict.message.clear();
            verdict.totals = Totals::default();
            verdict.limits.clear();
        }
        status
    }
}

impl GrayRelease {
    /// The installation that looks after it, by its status.
    #[must_use]
    pub fn controller(&self) -> Option<&ControllerStatus> {
        self.status.as_ref()?.controller.as_ref()
    }
}

/// The installation of Halftone that looks after a release.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ControllerStatus {
    /// Namespace and name of the Helm release that installed it, such as halftone/halftone.
    #[schemars(length(max = 127))]
    pub id: String,

    /// When it last wrote the status of a release. Of the releases of a fleet at least one is newer than five minutes
    /// while the installation is at work.
    #[schemars(schema_with = "schema::timestamp")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Timestamp>,

    /// The installation that the release is offered to, by a hand-over. It takes the release by its first write here;
    /// until then the present one looks after it.
    #[schemars(length(max = 127))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over_to: Option<String>,

    /// The revision that the release had when this installation took it over from another one. Documents of a lower
    /// revision in its own namespace are from before that. 0 where no other installation had the release.
    #[serde(skip_serializing_if = "is_zero")]
    pub since_revision: i64,

    /// Digest of the spec in effect. An installation that gets the release back goes on by the spec that it still has of it
    /// only if that is the same one.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_spec: Option<String>,
}

impl ControllerStatus {
    /// The namespace of the installation; None where its id names none.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        Self::namespace_of(&self.id)
    }

    /// The namespace in the id of an installation.
    #[must_use]
    pub fn namespace_of(id: &str) -> Option<&str> {
        id.split_once('/').map(|(namespace, _)| namespace)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The state in one word, for display.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It waits for something that it cannot do without, such as an endpoint; the condition Ready says for what.
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

/// Digests of the parts of spec that the current hold and evidence depend on.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BasisStatus {
    /// Digest of the stable version: its name, its Service or addresses, and its path prefix.
    pub stable: String,

    /// Digest of `spec.identity`: where a user's identity is read from.
    pub identity: String,

    /// Where requests without an identity went: `spec.identity.whenMissing`, or Generated where a cookie is minted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub missing: String,

    /// Digest of `spec.health`: the limits that the release is judged by.
    pub health: String,

    /// The value of `spec.force` that is in effect.
    #[serde(default = "unforced")]
    pub force: OpenEnum<Force>,
}

fn unforced() -> OpenEnum<Force> {
    OpenEnum::Known(Force::None)
}

/// Why and when a release was rolled back.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RollbackStatus {
    /// Why the release was rolled back, as one CamelCase word.
    pub reason: String,

    /// Why the release was rolled back, as a sentence with the figures.
    pub message: String,

    /// When the rollback was decided.
    #[schemars(schema_with = "schema::timestamp")]
    pub at: Timestamp,

    /// When every proxy had taken the rollback up, so that all users were back. Absent until then.
    #[schemars(schema_with = "schema::timestamp")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

/// The gray release in progress, or the last one if it is over.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// The release id: 16 hex digits that identify this gray version and its backend.
    pub id: String,

    /// The name of the gray version, as `spec.gray.version` gave it.
    pub version: String,

    /// The number of the attempt at this release, from 1. The command `retry` starts the next one.
    pub attempt: i64,

    /// When the current attempt at this release started.
    #[schemars(schema_with = "schema::timestamp")]
    pub started_at: Timestamp,

    /// Features of the proxies that this release has used since it began, and uses until it ends, so that an upgrade
    /// moves none of its users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 63)))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub features: Vec<String>,
}

/// The version that last served all users.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ServingStatus {
    /// The name of the version that last served all users.
    pub version: String,

    /// The Service of the version that last served all users, or its addresses joined by commas.
    pub service: String,

    /// Since when this version has served all users.
    #[schemars(schema_with = "schema::timestamp")]
    pub since: Timestamp,
}

/// The current step of the schedule and its clock. During the hold either `holdEndsAt` or `holdLeft` is set.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// The number of the current step, from 1.
    pub index: i64,

    /// The number of steps, including the target.
    pub count: i64,

    /// The current step and the number of steps, such as "2/6".
    pub display: String,

    /// When the current step started: its ratio was written for the proxies.
    #[schemars(schema_with = "schema::timestamp")]
    pub started_at: Timestamp,

    /// When every ready proxy had applied the current step. The hold counts from then.
    #[schemars(schema_with = "schema::timestamp")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Timestamp>,

    /// When the hold of the current step ends. Set while the clock of the hold runs.
    #[schemars(schema_with = "schema::timestamp")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ends_at: Option<Timestamp>,

    /// How much of the hold of the current step is left. Set while the clock of the hold stands still, for instance
    /// because the release is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_left: Option<String>,

    /// True once a person has approved the current step.
    #[serde(default)]
    pub approved: bool,
}

/// How many requests the split sent to each version in the current stage. Requests decided by rules, by `force` or
/// by a missing identity are left out.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ObservedStatus {
    /// The gray version's share of the requests that the split decided in the current stage, such as "9.97%".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<String>,

    /// Number of requests that the split decided in the current stage, to either version.
    pub requests: i64,

    /// Number of requests that the split sent to the gray version in the current stage.
    pub gray_requests: i64,
}

/// How many proxies of the fleet are ready and run the current revision.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProxiesStatus {
    /// Number of ready proxies in the fleet.
    pub ready: i64,

    /// Number of ready proxies that run the current revision.
    pub acknowledged: i64,

    /// Names of the proxies that have not applied the current revision within the fleet's stragglerTimeout.
    #[serde(default)]
    pub waiting_for: Vec<String>,
}

/// The latest verdict on the gray version and the figures behind it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VerdictStatus {
    /// The verdict: Pass (all limits kept), Fail (a limit is broken) or NeedMoreData.
    pub result: OpenEnum<Verdict>,

    /// Why the verdict is what it is, as one CamelCase word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,

    /// Why the verdict is what it is, as a sentence with the figures.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,

    /// The number of the statistical test within this release, from 1. Each restart of the evidence starts the next
    /// one, which needs more evidence for a Fail.
    pub process: i64,

    /// Request counts of the current step since every proxy applied it and its warm-up ended. A Pass is decided by
    /// them.
    pub totals: Totals,

    /// Each limit of `spec.health` with the figures measured against it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitStatus>,
}

/// One limit and the figures measured against it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LimitStatus {
    /// The name of the limit's field in `spec.health`, such as maxErrorRate or versusStable.p99.
    pub name: String,

    /// The value of the limit, such as "5%".
    pub limit: String,

    /// What the stable version measured for this limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,

    /// What the gray version measured for this limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gray: Option<String>,

    /// Number of requests that this limit has judged.
    pub requests: i64,

    /// Evidence that the gray version breaks this limit, in percent of what a Fail needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// A command given by the annotation `halftone.dev/request`, and the answer to it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HandledRequest {
    /// The command as the annotation `halftone.dev/request` gave it.
    pub request: String,

    /// What became of the command: Done, Stale (its token was not the current one) or Refused.
    pub result: OpenEnum<RequestResult>,

    /// What the command did, or why it did nothing.
    pub message: String,

    /// When the command was answered.
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

/// A past release. It may still be judged (`spec.health.watch`).
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The release id of the past release.
    pub id: String,

    /// The name of the gray version of the past release.
    pub version: String,

    /// How the past release ended: Promoted, TargetReached, RolledBack, Superseded or Withdrawn.
    pub outcome: OpenEnum<ReleaseOutcome>,

    /// Why the past release ended, as one CamelCase word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,

    /// When the past release started.
    #[schemars(schema_with = "schema::timestamp")]
    pub started_at: Timestamp,

    /// When the past release ended.
    #[schemars(schema_with = "schema::timestamp")]
    pub ended_at: Timestamp,
}

/// How a release ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReleaseOutcome {
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
