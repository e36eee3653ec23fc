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

use crate::{
    condition_input::{ConditionInput, SpecBlocker, WaitReason},
    condition_record::{
        ConditionKind as Kind, ConditionRecord,
        ConditionStatus::{self, False, True, Unknown},
    },
    events::{Event, EventReason},
    progress::{Progress, RolloutState},
};

use self::builder::ConditionBuilder;

/// A condition before it is dated.
struct NewCondition {
    kind: Kind,
    status: ConditionStatus,
    reason: String,
    message: String,
}

impl NewCondition {
    fn new(
        kind: Kind,
        status: ConditionStatus,
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
) -> Box<[ConditionRecord]> {
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

fn date(finding: NewCondition, progress: &Progress, now: Timestamp) -> ConditionRecord {
    let before = progress
        .conditions
        .iter()
        .find(|old| old.kind == finding.kind && old.status == finding.status);
    ConditionRecord {
        kind: finding.kind,
        status: finding.status,
        reason: finding.reason.into(),
        message: finding.message.into(),
        since: before.map_or_else(|| whole_seconds(now), |before| before.since),
        generation: Some(progress.standing.generation),
    }
}

/// Dates of conditions are written in whole seconds.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// What follows from a change of conditions for people to hear, each change once.
pub(crate) fn events(before: &[ConditionRecord], after: &[ConditionRecord]) -> Vec<Event> {
    let rolled_back = after
        .iter()
        .any(|condition| condition.kind == Kind::Stalled && &*condition.reason == "RolledBack");
    after
        .iter()
        .filter_map(|condition| event(before, condition, rolled_back))
        .collect()
}

fn event(before: &[ConditionRecord], after: &ConditionRecord, rolled_back: bool) -> Option<Event> {
    let old = before.iter().find(|old| old.kind == after.kind);
    if old.is_some_and(|old| old.status == after.status && old.reason == after.reason) {
        return None;
    }
    let reason = match (after.kind, after.status, &*after.reason) {
        (Kind::Accepted, False, _) => EventReason::Refused,
        (Kind::Accepted, True, "ServingKept") => EventReason::ServingKept,
        (Kind::ResolvedRefs, False, _) => EventReason::RefsUnresolved,
        (
            Kind::Programmed,
            False,
            "ProxyTooOld" | "NoReadyProxy" | "Rejected" | "ProxiesLagging",
        ) => EventReason::NotProgrammed,
        (Kind::Stalled | Kind::Reconciling, True, "StableUnavailable") => {
            EventReason::StableUnavailable
        }
        (Kind::Stalled | Kind::Reconciling, True, "GrayUnavailable") => {
            EventReason::GrayUnavailable
        }
        (Kind::Reconciling, True, "NotPersisted") => EventReason::NotPersisted,
        (Kind::Reconciling, True, "StatusUnreadable") => EventReason::StatusUnreadable,
        (Kind::ProtocolMismatch, True, _) => EventReason::ProtocolMismatch,
        (Kind::Progressing, False, "AwaitingApproval") => EventReason::AwaitingApproval,
        (Kind::Progressing, False, "AwaitingWindow") => EventReason::AwaitingWindow,
        (Kind::Progressing, False, "ReportsMissing") => EventReason::ReportsMissing,
        (Kind::Progressing, False, "TooLittleTraffic" | "OverLimit") => EventReason::NoVerdict,
        // A rollback tells of its verdict itself.
        (Kind::Healthy, False, _) if !rolled_back => EventReason::Unhealthy,
        (Kind::Healthy, Unknown, "BothArmsFailing") => EventReason::BothArmsFailing,
        (Kind::RatioDrift, True, _) => EventReason::RatioDrift,
        (Kind::StableIdle, True, _) => EventReason::StableIdle,
        _ => return None,
    };
    Some(Event::new(reason, after.message.to_string()))
}
