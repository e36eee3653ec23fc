//! The plan is taken: a new release, an edit in place, or not at all. Whatever cannot be taken leaves live
//! traffic exactly as it was.

use std::{sync::Arc, time::Duration};

use halftone_api::{
    Obstacle,
    plan::{GrayPlan, Plan},
    spec::{Force, ReleaseOutcome},
};
use halftone_routing::document::{
    self, RoutingConfig,
    arm::{Arm, ArmConfig},
    units::{Ratio, Revision},
};

use super::{
    context::AdvanceContext,
    features,
    serving::{self, CurrentServing, EditRuling, ServingDocument, SpecEdit},
    status_serving::{self, StatusServing},
    steps,
};
use crate::{
    clock::PausableTimer,
    condition_input::SpecBlocker,
    events::EventReason,
    observation::Observation,
    progress::{
        Basis, CurrentRelease, INHERITED, Progress, Rollback, RolloutState, StepProgress,
        basis::moves_identity,
    },
    routing_for::{required_features, routing_for, state_word},
};

/// Why `plan` cannot be taken now, if it cannot, whatever other objects forbid.
pub(super) fn hold_back(
    plan: &Plan,
    progress: &Progress,
    seen: &Observation,
) -> Option<SpecBlocker> {
    let live = progress.memory.document.as_ref().or(seen.document.as_ref());
    if let Some(held) = features::lacking(
        &required_features(plan, progress),
        live.map(Arc::as_ref),
        seen,
    ) {
        return Some(held);
    }
    if let Some(obstacle) = too_large(plan, progress) {
        return Some(SpecBlocker::Refused(obstacle));
    }
    let edit = edit(plan, progress, seen);
    let ruling = self::ruling(plan, progress, seen);
    let refused = ruling.refusal(&edit).map(SpecBlocker::Refused);
    refused.or_else(|| waits(plan, &ruling))
}

/// What the table of `serving` says of `plan`.
pub(super) fn ruling(plan: &Plan, progress: &Progress, seen: &Observation) -> EditRuling {
    let recorded = StatusServing::of(progress, plan);
    let before = before(plan, progress, seen, recorded.as_ref());
    serving::rule(&before, &edit(plan, progress, seen))
}

fn waits(plan: &Plan, ruling: &EditRuling) -> Option<SpecBlocker> {
    let message = |version: &str| {
        format!("{version} has no ready endpoint to move users to; they stay where they are")
    };
    match ruling {
        EditRuling::Waits(Arm::Stable) => Some(SpecBlocker::StableUnavailable(message(
            plan.stable.version.as_str(),
        ))),
        EditRuling::Waits(Arm::Gray) => {
            let gray = plan
                .gray
                .as_ref()
                .map_or("gray", |gray| gray.arm.version.as_str());
            Some(SpecBlocker::GrayUnavailable(message(gray)))
        }
        _ => None,
    }
}

fn edit<'a>(plan: &'a Plan, progress: &Progress, seen: &Observation) -> SpecEdit<'a> {
    let gray = plan.gray.as_ref();
    let ready = |arm: &ArmConfig| seen.ready_endpoints(&arm.backend) > 0;
    SpecEdit {
        id: gray.map(|gray| gray.id),
        stable: &plan.stable,
        gray: gray.map(|gray| &gray.arm),
        force: plan.force,
        initial: plan.initial,
        moves_identity: match &progress.basis {
            Some(before) => before.moves_identity(&Basis::of(plan)),
            None => {
                inherited(seen).is_some_and(|live| moves_identity(&live.identity, &plan.identity))
            }
        },
        stable_ready: ready(&plan.stable),
        gray_ready: gray.is_some_and(|gray| ready(&gray.arm)),
    }
}

/// Who serves users now: by the plan in effect and what this process has made of it, else by the live document, else by
/// the status.
fn before<'a>(
    plan: &Plan,
    progress: &'a Progress,
    seen: &'a Observation,
    recorded: Option<&'a StatusServing>,
) -> CurrentServing<'a> {
    let accepted = progress
        .memory
        .accepted
        .as_deref()
        .filter(|_| progress.basis.is_some());
    let accepted = accepted.filter(|plan| progress.is_about(plan));
    let by_plan = |plan: &'a Plan| ServingDocument {
        id: plan.gray.as_ref().map(|gray| gray.id),
        stable: &plan.stable,
        gray: plan.gray.as_ref().map(|gray| &gray.arm),
        state: state_word(&progress.state),
        ratio: progress.state.ratio(),
        force: plan.force,
        is_own: true,
    };
    let written = accepted
        .filter(|_| progress.memory.document.is_some())
        .map(by_plan);
    let live = || {
        let live =
            inherited(seen).filter(|live| live.state != document::ReleaseState::Withdrawn)?;
        Some(ServingDocument {
            is_own: seen.present().is_some(),
            ..ServingDocument::of(live)
        })
    };
    // What the status speaks of was taken already, and the document does not have it yet.
    let taken = seen
        .present()
        .is_some_and(|live| status_serving::is_older(live, progress))
        && status_serving::knows(progress, plan);
    let told = || recorded.map(StatusServing::live);
    match written
        .or_else(|| if taken { told() } else { live() })
        .or_else(|| accepted.map(by_plan))
    {
        Some(live) => CurrentServing::Live(live),
        None if is_unserved(progress, seen) => CurrentServing::Nothing,
        None => told().map_or_else(|| unknown(progress), CurrentServing::Live),
    }
}

fn unknown(progress: &Progress) -> CurrentServing<'static> {
    CurrentServing::Unknown {
        force: progress
            .basis
            .as_ref()
            .map_or(Force::None, |basis| basis.force),
    }
}

/// Whether nobody serves for this object: there was no turn, or every one was killed before it wrote its first document,
/// and no proxy tells of one. A status that speaks of a later document, or of one that every proxy had, says that
/// somebody does, whoever has the document now.
fn is_unserved(progress: &Progress, seen: &Observation) -> bool {
    let mut counting = seen
        .proxies
        .iter()
        .filter(|proxy| proxy.counts())
        .peekable();
    let asked = counting.peek().is_some()
        && counting.all(|proxy| proxy.asked_at.is_some() && proxy.applied.is_none());
    let readable = seen.unreadable.is_none() && seen.status_unreadable.is_none();
    let begun = progress.revision > 1 || progress.stage.acknowledged_at.is_some();
    let told = seen.highest_revision > 0 && !is_withdrawn(seen);
    readable && !begun && !told && (progress.basis.is_none() || asked)
}

fn is_withdrawn(seen: &Observation) -> bool {
    inherited(seen).is_some_and(|live| live.state == document::ReleaseState::Withdrawn)
}

/// The document from which an object without a status goes on.
fn inherited(seen: &Observation) -> Option<&Arc<RoutingConfig>> {
    seen.present()
        .or_else(|| seen.predecessor.as_ref().filter(|_| seen.since == 0))
}

/// A document has to fit into a ConfigMap.
fn too_large(plan: &Plan, progress: &Progress) -> Option<Obstacle> {
    let error = routing_for(plan, progress, Revision::FIRST, None)
        .to_json()
        .err()?;
    let advice = "shorten the lists of values in rules and health.exclude";
    Some(Obstacle::new(
        "DocumentTooLarge",
        format!("{}; {advice}", error.message),
    ))
}

/// Whether the release of `gray` goes on from `live`.
fn has(live: Option<&RoutingConfig>, gray: &GrayPlan) -> bool {
    live.is_some_and(|live| {
        live.release.id == gray.id && live.state != document::ReleaseState::Withdrawn
    })
}

fn splits(ratio: Ratio) -> bool {
    ratio > Ratio::ZERO && ratio < Ratio::FULL
}

impl AdvanceContext<'_> {
    /// Takes the plan of this turn.
    pub(crate) fn adopt(&mut self) {
        let plan = Arc::clone(&self.plan);
        let basis = Basis::of(&plan);
        let before = self.progress.basis.replace(basis.clone());
        let release = self.progress.release.as_ref().map(|release| release.id);
        match before {
            None => self.begin(&plan),
            Some(_) if release != plan.gray.as_ref().map(|gray| gray.id) => self.supersede(&plan),
            Some(before) => self.edit(&before, &basis),
        }
        if let Some(message) = self
            .seen
            .taking_over
            .as_ref()
            .filter(|_| self.held.is_none())
        {
            self.tell(EventReason::HostTakenOver, message);
        }
        if let Some(handing) = self
            .seen
            .handing_over
            .as_ref()
            .filter(|_| self.held.is_none())
        {
            self.tell(EventReason::HandOverLate, handing.message.clone());
        }
        if let Some(EditRuling::Moved { version, from, to }) = &self.ruling {
            let message = format!("{from} → {to}, both said to be {version}");
            self.tell(EventReason::StableMoved, message);
        }
    }

    /// The first plan of an object: a new release, or where a live document of its own or of its predecessor
    /// stands, with hold and evidence anew.
    fn begin(&mut self, plan: &Plan) {
        let live = inherited(self.seen).cloned();
        let paused = std::mem::take(&mut self.progress.paused);
        let before = std::mem::replace(&mut self.progress.state, RolloutState::Plain);
        if let Some(live) = &live {
            self.stage_before = live.stage;
            self.progress.stage.number = live.stage;
        }
        let Some(gray) = &plan.gray else {
            self.renew_token(&self.now.wall.to_string());
            return;
        };
        self.set_out(gray, live.as_deref());
        if has(live.as_deref(), gray) {
            self.stay_stopped(paused, before);
        }
    }

    /// What a status that could not be gone on from tells all the same, and its document may not: that a person or a failure
    /// has stopped the release.
    fn stay_stopped(&mut self, paused: bool, before: RolloutState) {
        self.progress.paused = paused;
        if matches!(before, RolloutState::RolledBack(_)) {
            self.progress.state = before;
        }
    }

    /// A release from where users are: where a live document has it already, with the arm that serves most of them,
    /// or at ratio 0.
    fn set_out(&mut self, gray: &GrayPlan, live: Option<&RoutingConfig>) {
        self.start_release(gray);
        match live {
            Some(live) if has(Some(live), gray) => self.inherit(live, gray),
            _ if self.ruling == Some(EditRuling::Kept) => self.keep(gray),
            _ => self.emit_start(),
        }
    }

    /// Gray serves most users already: it serves everyone, and nothing is being released that could be judged.
    fn keep(&mut self, gray: &GrayPlan) {
        let watch = PausableTimer::standing(Duration::ZERO);
        self.progress.state = RolloutState::Promoted {
            watch,
            kept: Some(gray.target),
        };
    }

    fn inherit(&mut self, live: &RoutingConfig, gray: &GrayPlan) {
        if let Some(release) = &mut self.progress.release {
            release.form = live.identity_form();
        }
        self.progress.memory.form_open = false;
        let watch = PausableTimer::standing(self.plan.health.watch);
        let hold = steps::hold(&gray.steps, live.ratio);
        let moving = || RolloutState::Moving(StepProgress::at(live.ratio, hold));
        self.progress.state = match live.state {
            // Below 100 % it can only have been kept.
            document::ReleaseState::Promoted => RolloutState::Promoted {
                watch,
                kept: Some(gray.target).filter(|target| *target < Ratio::FULL),
            },
            document::ReleaseState::RolledBack => RolloutState::RolledBack(Rollback {
                reason: INHERITED.into(),
                message: "the object before this one was rolled back".into(),
                at: self.now.wall,
                completed_at: None,
            }),
            document::ReleaseState::Active if !live.moving && live.ratio > Ratio::ZERO => {
                RolloutState::TargetReached {
                    ratio: live.ratio,
                    hold: PausableTimer::standing(hold),
                    watch,
                }
            }
            document::ReleaseState::Active
            | document::ReleaseState::Withdrawn
            | document::ReleaseState::Plain => moving(),
        };
        self.tell(
            EventReason::ReleaseStarted,
            format!("{} goes on from the live document", gray.arm.version),
        );
        if moves_identity(&live.identity, &self.plan.identity) && splits(live.ratio) {
            self.edit_identity();
        }
    }

    fn emit_start(&mut self) {
        let (version, target) = (self.gray_version(), self.plan.target());
        self.tell(
            EventReason::ReleaseStarted,
            format!("{version} begins at 0%, its target is {target}"),
        );
    }

    /// Another release, or none, takes the place of the one on its way.
    fn supersede(&mut self, plan: &Plan) {
        if let Some(CurrentRelease { version, .. }) = self.progress.release.clone() {
            let underway = matches!(self.progress.state, RolloutState::Moving(_));
            let (outcome, reason, message) = match &plan.gray {
                Some(gray) => (
                    ReleaseOutcome::Superseded,
                    EventReason::Superseded,
                    format!("{} follows {version}", gray.arm.version),
                ),
                None => (
                    ReleaseOutcome::Withdrawn,
                    EventReason::GrayRemoved,
                    format!("{version} is taken out of the spec"),
                ),
            };
            if underway {
                self.remember(outcome, "");
            }
            self.tell(reason, message);
        }
        match &plan.gray {
            Some(gray) => {
                // A process that was killed between status and document left the document of the release before.
                let ours = self.progress.memory.document.is_some();
                let live = inherited(self.seen).filter(|_| !ours).cloned();
                self.set_out(gray, live.as_deref());
            }
            None => {
                self.new_stage();
                self.progress.evidence = Default::default();
                self.progress.release = None;
                self.progress.paused = false;
                self.progress.state = RolloutState::Plain;
            }
        }
    }

    /// An edit that takes effect in place. Steps, schedule, rules and all that is not named here change nothing
    /// of what the release has come to.
    fn edit(&mut self, before: &Basis, after: &Basis) {
        if before.health != after.health {
            self.edit_health();
        }
        if before.stable != after.stable {
            self.edit_stable();
        }
        if before.moves_identity(after) && splits(self.progress.state.ratio()) {
            self.edit_identity();
        }
        if before.force != after.force {
            self.edit_force();
        }
    }

    fn edit_health(&mut self) {
        self.health_changed = true;
        self.forget_evidence();
        if let RolloutState::Moving(moving) = &mut self.progress.state {
            moving.patience = None;
        }
        self.watch_anew();
        if self.progress.is_judged(self.now) {
            self.tell(
                EventReason::HealthChanged,
                "spec.health changed: the evidence starts anew",
            );
        }
    }

    fn edit_stable(&mut self) {
        let plan = Arc::clone(&self.plan);
        if self.progress.release.is_some() {
            self.new_stage();
            self.hold_anew();
        }
        let version = self.stable_version();
        self.tell(
            EventReason::StableChanged,
            format!("stable is {version} now: hold and evidence start anew"),
        );
        if !matches!(self.progress.state, RolloutState::Promoted { .. }) {
            self.serves(&plan.stable);
        }
    }

    fn edit_identity(&mut self) {
        self.tell(
            EventReason::IdentityChanged,
            "spec.identity changed, which moves users",
        );
        let first = self.steps().first().map_or(Ratio::ZERO, |step| step.ratio);
        self.begin_step(first.min(self.progress.state.ratio()));
        self.emit_step(EventReason::RatioLowered);
    }

    fn edit_force(&mut self) {
        self.new_stage();
        self.hold_anew();
        self.watch_anew();
        match self.plan.force {
            Force::None => {
                self.tell(
                    EventReason::ForceLifted,
                    "spec.force is unset: the ratio returns, its hold starts anew",
                );
            }
            Force::Stable => self.tell(EventReason::Forced, "everyone to stable by spec.force"),
            Force::Gray => self.tell(EventReason::Forced, "everyone to gray by spec.force"),
        }
    }
}
