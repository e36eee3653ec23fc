//! Where a release stands: all that `advance` remembers from one turn to the next.
//!
//! What has to outlive the process is written to `status` before it is acted on, and [`Progress::restore`] goes on
//! from there (`progress/status.rs`). The rest, in [`EphemeralState`], is what a new process finds out again.

pub(crate) mod basis;
mod health_fingerprint;
mod status;

use std::{sync::Arc, time::Duration};

use halftone_api::{
    plan::Plan,
    spec::{Force, HandledRequest, HistoryEntry, Phase, ServingStatus, Verdict, VerdictStatus},
};
use halftone_routing::document::{
    RoutingConfig,
    identity::IdentityForm,
    units::{Ratio, ReleaseId, Stage},
};
use halftone_routing::sketch::UserSketch;
use jiff::Timestamp;

pub use self::status::RestoreError;
use crate::{
    clock::{Now, PausableTimer},
    condition_input::ConditionInput,
    condition_record::ConditionRecord,
    judge::{Judge, Ruling, VerdictReason},
};

/// The state of a release. Every state but `Plain` has a gray arm.
#[derive(Debug, Clone, PartialEq)]
pub enum RolloutState {
    /// There is no gray: a plain route to stable. Also where every object begins.
    Plain,
    /// On its way to the target, waiting at ratio 0 included.
    Moving(StepProgress),
    /// At a target below 100 %, whose own hold ended with `Pass`, or was skipped by request.
    TargetReached {
        /// That target.
        ratio: Ratio,
        /// What its hold has left, should the target be raised: all of it after `promote`, or when what serves there
        /// has changed, and never more than the steps then give it.
        hold: PausableTimer,
        /// For how long it is still judged.
        watch: PausableTimer,
    },
    /// Gray serves everyone.
    Promoted {
        /// For how long it is still judged.
        watch: PausableTimer,
        /// It serves everyone because it did before its edit, whatever target that edit asks for: that target. A lower
        /// one, written later, is meant.
        kept: Option<Ratio>,
    },
    /// Nobody reaches gray; ends only by `retry` or a new release.
    RolledBack(Rollback),
}

/// A step that is held, or waited at.
#[derive(Debug, Clone, PartialEq)]
pub struct StepProgress {
    /// The share of users that gray gets now.
    pub ratio: Ratio,
    /// How long it stays at least.
    pub hold: PausableTimer,
    /// For how long a verdict is waited for; set once the hold is over without one.
    pub patience: Option<PausableTimer>,
    /// A person has let this step go on.
    pub approved: bool,
}

impl StepProgress {
    /// At `ratio`, to be held for `hold` from its acknowledgement on.
    #[must_use]
    pub fn at(ratio: Ratio, hold: Duration) -> Self {
        Self {
            ratio,
            hold: PausableTimer::standing(hold),
            patience: None,
            approved: false,
        }
    }
}

/// The reason of a rollback that an earlier object of the same name has seen.
pub(crate) const INHERITED: &str = "Inherited";

/// Why and when a release went back to stable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    /// CamelCase, stable: a reason of the judge, or `Requested`.
    pub reason: String,
    /// The same in a sentence, with its figures.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// When everyone was back, every proxy having said so: told once.
    pub completed_at: Option<Timestamp>,
}

impl RolloutState {
    /// The share of users that gray gets.
    #[must_use]
    pub fn ratio(&self) -> Ratio {
        match self {
            Self::Plain | Self::RolledBack(_) => Ratio::ZERO,
            Self::Moving(moving) => moving.ratio,
            Self::TargetReached { ratio, .. } => *ratio,
            Self::Promoted { .. } => Ratio::FULL,
        }
    }

    /// The target above which gray serves everyone, because it did before the spec asked for that target.
    #[must_use]
    pub fn kept(&self) -> Option<Ratio> {
        match self {
            Self::Promoted { kept, .. } => *kept,
            _ => None,
        }
    }

    /// The ratio to reach where the spec asks for `target`.
    pub(crate) fn effective_target(&self, target: Ratio) -> Ratio {
        match self {
            Self::Promoted {
                kept: Some(kept), ..
            } if target >= *kept => Ratio::FULL,
            _ => target,
        }
    }

    /// How long a ratio below 100 % is held at least before a step up.
    pub(crate) fn hold(&self) -> Option<PausableTimer> {
        match self {
            Self::Moving(StepProgress { hold, .. }) | Self::TargetReached { hold, .. } => {
                Some(*hold)
            }
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn hold_mut(&mut self) -> Option<&mut PausableTimer> {
        match self {
            Self::Moving(StepProgress { hold, .. }) | Self::TargetReached { hold, .. } => {
                Some(hold)
            }
            _ => None,
        }
    }

    /// For how long it is still judged, once the target is reached.
    pub(crate) fn watch(&self) -> Option<PausableTimer> {
        match self {
            Self::TargetReached { watch, .. } | Self::Promoted { watch, .. } => Some(*watch),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn watch_mut(&mut self) -> Option<&mut PausableTimer> {
        match self {
            Self::TargetReached { watch, .. } | Self::Promoted { watch, .. } => Some(watch),
            _ => None,
        }
    }

    /// Whether the target is reached and the watch is not over at `now`.
    #[must_use]
    pub fn is_watched(&self, now: Timestamp) -> bool {
        self.watch().is_some_and(|watch| !watch.is_over(now))
    }
}

/// One release of the object: one gray version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentRelease {
    /// Which.
    pub id: ReleaseId,
    /// The gray version.
    pub version: String,
    /// 1, and one more with every `retry`.
    pub attempt: u32,
    /// When this attempt began.
    pub started_at: Timestamp,
    /// How its users' identities are spelled: as the fleet could when it began, and the same to its end.
    pub form: IdentityForm,
}

/// What the present stage and its evidence rest on. A difference from the plan makes something start anew;
/// canonical strings, so that an upgrade of this program makes no difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basis {
    /// The stable arm, as far as it decides who answers.
    pub stable: String,
    /// Where identities come from.
    pub identity: String,
    /// Where requests without an identity go; empty in a status that did not say so yet.
    pub missing: String,
    /// The whole of `spec.health`.
    pub health: String,
    /// `spec.force`.
    pub force: Force,
}

/// The present stage: what counts belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageProgress {
    /// Its number.
    pub number: Stage,
    /// When it began.
    pub began_at: Timestamp,
    /// When every proxy had it, by the steady clock.
    pub acknowledged_at: Option<Timestamp>,
    /// What the split did in it.
    pub split: SplitCounts,
}

/// Requests that the split has decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SplitCounts {
    /// All.
    pub requests: u64,
    /// Those to gray.
    pub gray: u64,
}

/// What the judge knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JudgeState {
    /// The running process, while the release is judged.
    pub(crate) process: Option<Box<Judge>>,
    /// Number of the latest process of this release; 0 before the first.
    pub(crate) number: u32,
    /// The last verdict of a process that no longer runs: of before a restart, or of before the watch ended.
    pub(crate) kept: Option<Box<VerdictStatus>>,
}

impl JudgeState {
    /// The present ruling.
    #[must_use]
    pub fn ruling(&self) -> Ruling {
        match (&self.process, &self.kept) {
            (Some(process), _) => process.ruling(),
            (None, Some(kept)) => ruling_from_status(kept),
            (None, None) => Ruling::default(),
        }
    }
}

fn ruling_from_status(kept: &VerdictStatus) -> Ruling {
    // A verdict of a later version says nothing here: it is looked for anew.
    let verdict = kept.result.known().unwrap_or_default();
    let reason = match verdict {
        Verdict::Pass => VerdictReason::WithinLimits,
        Verdict::Fail if kept.reason == VerdictReason::BothArmsFailed.to_string() => {
            VerdictReason::BothArmsFailed
        }
        Verdict::Fail => VerdictReason::LimitBroken,
        Verdict::NeedMoreData => VerdictReason::default(),
    };
    Ruling { verdict, reason }
}

/// Everything that `advance` remembers of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The generation that this speaks of.
    pub(crate) generation: i64,
    /// The latest generation whose document every proxy had.
    pub(crate) settled_generation: i64,
    /// The release on its way, if there is a gray.
    pub(crate) release: Option<CurrentRelease>,
    /// None before the first plan was taken.
    pub(crate) basis: Option<Basis>,
    pub(crate) state: RolloutState,
    pub(crate) stage: StageProgress,
    /// By a command, a failure or for want of a verdict; `spec.paused` is separate.
    pub(crate) paused: bool,
    /// The arm that last served everyone.
    pub(crate) serving: Option<ServingStatus>,
    pub(crate) evidence: JudgeState,
    /// Of the document that holds this state; 0 before the first.
    pub(crate) revision: u64,
    /// The token of the next request.
    pub(crate) token: String,
    pub(crate) last_request: Option<HandledRequest>,
    /// The newest first, at most ten.
    pub(crate) history: Vec<HistoryEntry>,
    pub(crate) conditions: Box<[ConditionRecord]>,
    /// What the conditions tell.
    pub(crate) standing: ConditionInput,
    pub(crate) memory: EphemeralState,
}

/// What a running process remembers and a new one finds out again.
#[derive(Debug, Clone, PartialEq)]
pub struct EphemeralState {
    /// The plan that was accepted last: it goes on while a newer one is refused. Its spec outlives the process beside
    /// the status, not in it.
    pub(crate) accepted: Option<Arc<Plan>>,
    /// The document that was written last.
    pub(crate) document: Option<Arc<RoutingConfig>>,
    /// The release began before every ready proxy had said what it knows: its form of identities is not settled yet.
    pub(crate) form_open: bool,
    /// Every proxy had that document once.
    pub(crate) acknowledged: bool,
    /// Since when a proxy lacks it.
    pub(crate) unacknowledged_since: Option<Timestamp>,
    /// A step up needs reports asked for after this: the start of the process, or the last opening of the window.
    pub(crate) fresh_after: Timestamp,
    /// The schedule was closed at the last turn.
    pub(crate) window_closed: bool,
    /// Since when nothing has reached stable.
    pub(crate) stable_idle_since: Option<Timestamp>,
    /// The users whom gray's failures have reached in this attempt, as far as this process has seen.
    pub(crate) failed_users: UserSketch,
}

impl EphemeralState {
    fn new(now: Now) -> Self {
        Self {
            accepted: None,
            document: None,
            form_open: false,
            acknowledged: false,
            unacknowledged_since: None,
            fresh_after: now.steady,
            window_closed: false,
            stable_idle_since: None,
            failed_users: UserSketch::default(),
        }
    }
}

impl Progress {
    /// Of an object that was never seen.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            generation: -1,
            settled_generation: -1,
            release: None,
            basis: None,
            state: RolloutState::Plain,
            stage: StageProgress {
                number: Stage::FIRST,
                began_at: now.wall,
                acknowledged_at: None,
                split: SplitCounts::default(),
            },
            paused: false,
            serving: None,
            evidence: JudgeState::default(),
            revision: 0,
            token: String::new(),
            last_request: None,
            history: Vec::new(),
            conditions: Box::default(),
            standing: ConditionInput::default(),
            memory: EphemeralState::new(now),
        }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &RolloutState {
        &self.state
    }

    /// The share of users that gray gets.
    #[must_use]
    pub fn ratio(&self) -> Ratio {
        self.state.ratio()
    }

    /// The stage that counts belong to.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage.number
    }

    /// The release on its way, if there is a gray.
    #[must_use]
    pub fn release(&self) -> Option<&CurrentRelease> {
        self.release.as_ref()
    }

    /// The revision of the document that holds this state; 0 before the first.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The state in one word.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.standing.phase
    }

    /// The token that the next request has to carry.
    #[must_use]
    pub fn request_token(&self) -> &str {
        &self.token
    }

    /// What the judge knows.
    #[must_use]
    pub fn evidence(&self) -> &JudgeState {
        &self.evidence
    }

    /// The plan in effect, if there is one: the newest, or an older one while that is refused.
    /// Its arms are the ones whose endpoints the next observation has to know, beside those of the newest.
    #[must_use]
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.memory.accepted.as_ref()
    }

    /// Whether `plan` is of the release that this speaks of, or both are of none.
    pub(crate) fn is_about(&self, plan: &Plan) -> bool {
        let gray = plan.gray.as_ref().map(|gray| gray.id);
        self.release.as_ref().map(|release| release.id) == gray
    }

    /// Whether any user may be on gray: by the ratio, or at ratio 0 by a rule or for want of an identity.
    pub(crate) fn may_be_on_gray(&self, plan: &Plan) -> bool {
        self.state.ratio() > Ratio::ZERO
            || matches!(self.state, RolloutState::Moving(_)) && plan.reaches_gray_beside_the_split()
    }

    /// Whether the release is judged at `now`: moving with a ratio above 0, or with users on gray whom
    /// `health.include` adds, or watched; not while forced.
    #[must_use]
    pub fn is_judged(&self, now: Now) -> bool {
        let forced = self
            .basis
            .as_ref()
            .is_some_and(|basis| basis.force != Force::None);
        let included = || {
            self.plan()
                .is_some_and(|plan| plan.is_judged_beside_the_split())
        };
        let moving = matches!(&self.state, RolloutState::Moving(moving) if moving.ratio > Ratio::ZERO || included());
        !forced && (moving || self.state.is_watched(now.steady))
    }
}
