//! What people and tools are told: phase, conditions, and the events that follow from a condition's change.
//!
//! Conditions follow kstatus: `Ready` sums up, `Reconciling` and `Stalled` are there only while true. Messages carry
//! no figure that moves with every request, so that a status at rest is not written again.

mod findings;

use halftone_api::{
    Obstacle,
    plan::Plan,
    spec::{Force, Phase},
};
use halftone_routing::config::units::Ratio;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    advance::{Held, Unserved, Wait},
    events::{Event, Reason},
    judge::Ruling,
    progress::{Progress, State},
};

use self::findings::Teller;

/// All that conditions and phase are made of. Two turns with the same standing tell the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standing {
    pub phase: Phase,
    /// Number of the present step, 0 before the first, and how many there are.
    pub step: (u32, u32),
    pub generation: i64,
    /// Every proxy had the document of this generation.
    pub settled: bool,
    pub wait: Wait,
    pub held: Option<Held>,
    pub unresolved: Option<Obstacle>,
    pub unserved: Option<Unserved>,
    /// A port that says that it speaks what proxies do not.
    pub unspoken: Option<String>,
    /// What cannot be written, and why.
    pub unwritten: Option<String>,
    /// What is wrong with the status that was found.
    pub unreadable: Option<String>,
    pub fleet: FleetStanding,
    pub revision: u64,
    pub ruling: Ruling,
    pub judged: bool,
    /// Hold and patience are over without a verdict.
    pub inconclusive: bool,
    /// The observed ratio is far from the wanted one; none where nothing is split.
    pub drift: Option<bool>,
    /// Nothing has reached stable for long; none unless promoted.
    pub stable_idle: Option<bool>,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            phase: Phase::Pending,
            step: (0, 0),
            generation: -1,
            settled: false,
            wait: Wait::default(),
            held: None,
            unresolved: None,
            unserved: None,
            unspoken: None,
            unwritten: None,
            unreadable: None,
            fleet: FleetStanding::default(),
            revision: 0,
            ruling: Ruling::default(),
            judged: false,
            inconclusive: false,
            drift: None,
            stable_idle: None,
        }
    }
}

/// The proxies, as status tells of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FleetStanding {
    pub ready: usize,
    pub acknowledged: usize,
    /// Every proxy has the document.
    pub complete: bool,
    /// Who should have it by now.
    pub stragglers: Vec<String>,
    /// Who does not report.
    pub unreported: Vec<String>,
    pub rejected: Option<String>,
}

/// A condition before it is dated.
struct Finding {
    kind: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

impl Finding {
    fn new(
        kind: &'static str,
        status: &'static str,
        reason: &(impl ToString + ?Sized),
        message: impl Into<String>,
    ) -> Self {
        Self { kind, status, reason: reason.to_string(), message: message.into() }
    }
}

const TRUE: &str = "True";
const FALSE: &str = "False";
const UNKNOWN: &str = "Unknown";

impl Standing {
    /// Nothing of what keeps requests from being served as the spec asks is so, nor is unknown: for each of these `Ready`
    /// is False, see *Ready means that requests are served* in docs/operations.md.
    fn is_served(&self) -> bool {
        let waits = matches!(self.held, Some(Held::StableUnavailable(_) | Held::GrayUnavailable(_)));
        !waits && self.unserved.is_none() && self.unwritten.is_none() && self.unreadable.is_none()
    }
}

/// The state in one word. Where `force` sends everyone elsewhere, it is not where users are. It is held only where the
/// standing is served, whatever it waits for.
pub(crate) fn phase(state: &State, force: Force, standing: &Standing) -> Phase {
    if matches!(standing.held, Some(Held::Refused(_))) {
        return Phase::Refused;
    }
    let acknowledged = standing.fleet.complete;
    match (state, standing.wait) {
        (State::RolledBack(_), _) if force == Force::Gray => Phase::Paused,
        (State::RolledBack(_), _) if acknowledged => Phase::RolledBack,
        (State::RolledBack(_), _) | (_, Wait::Stranded) => Phase::RollingBack,
        (_, Wait::Paused) => Phase::Paused,
        (State::Promoted { .. }, _) if force != Force::Stable => Phase::Promoted,
        (State::TargetReached { .. }, _) if force == Force::None => Phase::TargetReached,
        (_, Wait::Forced) => Phase::Paused,
        _ if !acknowledged => Phase::Programming,
        (State::Plain, _) | (_, Wait::Idle) => Phase::Idle,
        (_, Wait::AwaitingApproval) => Phase::AwaitingApproval,
        (_, Wait::AwaitingWindow | Wait::AwaitingReports) => Phase::AwaitingWindow,
        (_, Wait::AwaitingVerdict) => Phase::AwaitingTraffic,
        (_, Wait::RefsUnresolved | Wait::StableUnavailable | Wait::GrayUnavailable | Wait::NotPersisted) => {
            Phase::Pending
        }
        (State::Moving(moving), Wait::ReportsMissing) if moving.ratio == Ratio::ZERO => Phase::Pending,
        _ if !standing.is_served() => Phase::Pending,
        _ => Phase::Holding,
    }
}

/// The conditions of a standing. One whose status stays keeps its date.
pub(crate) fn conditions(plan: Option<&Plan>, progress: &Progress, now: Timestamp) -> Vec<Condition> {
    let teller = Teller { plan, progress, standing: &progress.standing };
    teller.findings().into_iter().map(|finding| date(finding, progress, now)).collect()
}

fn date(finding: Finding, progress: &Progress, now: Timestamp) -> Condition {
    let before =
        progress.conditions.iter().find(|old| old.type_ == finding.kind && old.status == finding.status);
    Condition {
        type_: finding.kind.to_owned(),
        status: finding.status.to_owned(),
        reason: finding.reason,
        message: finding.message,
        last_transition_time: before
            .map_or(Time(whole_seconds(now)), |before| before.last_transition_time.clone()),
        observed_generation: Some(progress.standing.generation),
    }
}

/// Dates of conditions are written in whole seconds.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// What follows from a change of conditions for people to hear, each change once.
pub(crate) fn events(before: &[Condition], after: &[Condition]) -> Vec<Event> {
    let rolled_back =
        after.iter().any(|condition| condition.type_ == "Stalled" && condition.reason == "RolledBack");
    after.iter().filter_map(|condition| event(before, condition, rolled_back)).collect()
}

fn event(before: &[Condition], after: &Condition, rolled_back: bool) -> Option<Event> {
    let old = before.iter().find(|old| old.type_ == after.type_);
    if old.is_some_and(|old| old.status == after.status && old.reason == after.reason) {
        return None;
    }
    let reason = match (after.type_.as_str(), after.status.as_str(), after.reason.as_str()) {
        ("Accepted", FALSE, _) => Reason::Refused,
        ("Accepted", TRUE, "ServingKept") => Reason::ServingKept,
        ("ResolvedRefs", FALSE, _) => Reason::RefsUnresolved,
        ("Programmed", FALSE, "ProxyTooOld" | "NoReadyProxy" | "Rejected" | "ProxiesLagging") => {
            Reason::NotProgrammed
        }
        ("Stalled" | "Reconciling", TRUE, "StableUnavailable") => Reason::StableUnavailable,
        ("Stalled" | "Reconciling", TRUE, "GrayUnavailable") => Reason::GrayUnavailable,
        ("Reconciling", TRUE, "NotPersisted") => Reason::NotPersisted,
        ("Reconciling", TRUE, "StatusUnreadable") => Reason::StatusUnreadable,
        ("ProtocolMismatch", TRUE, _) => Reason::ProtocolMismatch,
        ("Progressing", FALSE, "AwaitingApproval") => Reason::AwaitingApproval,
        ("Progressing", FALSE, "AwaitingWindow") => Reason::AwaitingWindow,
        ("Progressing", FALSE, "ReportsMissing") => Reason::ReportsMissing,
        ("Progressing", FALSE, "TooLittleTraffic" | "OverLimit") => Reason::NoVerdict,
        // A rollback tells of its verdict itself.
        ("Healthy", FALSE, _) if !rolled_back => Reason::Unhealthy,
        ("Healthy", UNKNOWN, "BothArmsFailing") => Reason::BothArmsFailing,
        ("RatioDrift", TRUE, _) => Reason::RatioDrift,
        ("StableIdle", TRUE, _) => Reason::StableIdle,
        _ => return None,
    };
    Some(Event::new(reason, after.message.clone()))
}
