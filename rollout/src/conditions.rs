//! What people and tools are told: phase, conditions, and the events that follow from a condition's change.
//!
//! Conditions follow kstatus: `Ready` sums up, `Reconciling` and `Stalled` are there only while true. Messages carry
//! no figure that moves with every request, so that a status at rest is not written again.

mod builder;

use halftone_api::{
    plan::Plan,
    spec::{Force, Phase},
};
use halftone_routing::document::units::Ratio;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    condition_input::{ConditionInput, SpecBlocker, WaitReason},
    events::{Event, EventReason},
    progress::{Progress, RolloutState},
};

use self::builder::ConditionBuilder;

/// A condition before it is dated.
struct NewCondition {
    kind: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

impl NewCondition {
    fn new(
        kind: &'static str,
        status: &'static str,
        reason: &(impl ToString + ?Sized),
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            status,
            reason: reason.to_string(),
            message: message.into(),
        }
    }
}

const TRUE: &str = "True";
const FALSE: &str = "False";
const UNKNOWN: &str = "Unknown";

/// The state in one word. Where `force` sends everyone elsewhere, it is not where users are. It is held only where the
/// standing is served, whatever it waits for.
pub(crate) fn phase(state: &RolloutState, force: Force, standing: &ConditionInput) -> Phase {
    if matches!(standing.held, Some(SpecBlocker::Refused(_))) {
        return Phase::Refused;
    }
    let acknowledged = standing.fleet.complete;
    match (state, standing.wait) {
        (RolloutState::RolledBack(_), _) if force == Force::Gray => Phase::Paused,
        (RolloutState::RolledBack(_), _) if acknowledged => Phase::RolledBack,
        (RolloutState::RolledBack(_), _) | (_, WaitReason::Stranded) => Phase::RollingBack,
        (_, WaitReason::Paused) => Phase::Paused,
        (RolloutState::Promoted { .. }, _) if force != Force::Stable => Phase::Promoted,
        (RolloutState::TargetReached { .. }, _) if force == Force::None => Phase::TargetReached,
        (_, WaitReason::Forced) => Phase::Paused,
        _ if !acknowledged => Phase::Programming,
        (RolloutState::Plain, _) | (_, WaitReason::Idle) => Phase::Idle,
        (_, WaitReason::AwaitingApproval) => Phase::AwaitingApproval,
        (_, WaitReason::AwaitingWindow | WaitReason::AwaitingReports) => Phase::AwaitingWindow,
        (_, WaitReason::AwaitingVerdict) => Phase::AwaitingTraffic,
        (
            _,
            WaitReason::RefsUnresolved
            | WaitReason::StableUnavailable
            | WaitReason::GrayUnavailable
            | WaitReason::NotPersisted,
        ) => Phase::Pending,
        (RolloutState::Moving(moving), WaitReason::ReportsMissing)
            if moving.ratio == Ratio::ZERO =>
        {
            Phase::Pending
        }
        _ if !standing.is_served() => Phase::Pending,
        _ => Phase::Holding,
    }
}

/// The conditions of a standing. One whose status stays keeps its date.
pub(crate) fn conditions(
    plan: Option<&Plan>,
    progress: &Progress,
    now: Timestamp,
) -> Vec<Condition> {
    let teller = ConditionBuilder {
        plan,
        progress,
        standing: &progress.standing,
    };
    teller
        .findings()
        .into_iter()
        .map(|finding| date(finding, progress, now))
        .collect()
}

fn date(finding: NewCondition, progress: &Progress, now: Timestamp) -> Condition {
    let before = progress
        .conditions
        .iter()
        .find(|old| old.type_ == finding.kind && old.status == finding.status);
    Condition {
        type_: finding.kind.to_owned(),
        status: finding.status.to_owned(),
        reason: finding.reason,
        message: finding.message,
        last_transition_time: before.map_or(Time(whole_seconds(now)), |before| {
            before.last_transition_time.clone()
        }),
        observed_generation: Some(progress.standing.generation),
    }
}

/// Dates of conditions are written in whole seconds.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// What follows from a change of conditions for people to hear, each change once.
pub(crate) fn events(before: &[Condition], after: &[Condition]) -> Vec<Event> {
    let rolled_back = after
        .iter()
        .any(|condition| condition.type_ == "Stalled" && condition.reason == "RolledBack");
    after
        .iter()
        .filter_map(|condition| event(before, condition, rolled_back))
        .collect()
}

fn event(before: &[Condition], after: &Condition, rolled_back: bool) -> Option<Event> {
    let old = before.iter().find(|old| old.type_ == after.type_);
    if old.is_some_and(|old| old.status == after.status && old.reason == after.reason) {
        return None;
    }
    let reason = match (
        after.type_.as_str(),
        after.status.as_str(),
        after.reason.as_str(),
    ) {
        ("Accepted", FALSE, _) => EventReason::Refused,
        ("Accepted", TRUE, "ServingKept") => EventReason::ServingKept,
        ("ResolvedRefs", FALSE, _) => EventReason::RefsUnresolved,
        ("Programmed", FALSE, "ProxyTooOld" | "NoReadyProxy" | "Rejected" | "ProxiesLagging") => {
            EventReason::NotProgrammed
        }
        ("Stalled" | "Reconciling", TRUE, "StableUnavailable") => EventReason::StableUnavailable,
        ("Stalled" | "Reconciling", TRUE, "GrayUnavailable") => EventReason::GrayUnavailable,
        ("Reconciling", TRUE, "NotPersisted") => EventReason::NotPersisted,
        ("Reconciling", TRUE, "StatusUnreadable") => EventReason::StatusUnreadable,
        ("ProtocolMismatch", TRUE, _) => EventReason::ProtocolMismatch,
        ("Progressing", FALSE, "AwaitingApproval") => EventReason::AwaitingApproval,
        ("Progressing", FALSE, "AwaitingWindow") => EventReason::AwaitingWindow,
        ("Progressing", FALSE, "ReportsMissing") => EventReason::ReportsMissing,
        ("Progressing", FALSE, "TooLittleTraffic" | "OverLimit") => EventReason::NoVerdict,
        // A rollback tells of its verdict itself.
        ("Healthy", FALSE, _) if !rolled_back => EventReason::Unhealthy,
        ("Healthy", UNKNOWN, "BothArmsFailing") => EventReason::BothArmsFailing,
        ("RatioDrift", TRUE, _) => EventReason::RatioDrift,
        ("StableIdle", TRUE, _) => EventReason::StableIdle,
        _ => return None,
    };
    Some(Event::new(reason, after.message.clone()))
}
