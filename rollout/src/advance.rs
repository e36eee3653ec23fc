//! One turn of a release: from what is wanted, what is remembered and what was seen to what is to be remembered,
//! what the proxies are to serve, and what happened. Every shell runs the same loop around it.
//!
//! A turn never fails and never waits; every surprise is a value. Its parts, in order: the plan is taken
//! (`adopt`), clocks tick and counts are judged (`observe`), a person is answered (`answer`), the step function
//! decides (`transition`), the document is built (`publish`), and all of it is told (`standing`).

mod acknowledgement;
mod adopt;
mod availability;
mod command;
mod context;
mod features;
mod finish;
mod form;
mod observe;
mod publish;
mod serving;
mod status_serving;
mod steps;
mod transition;

use std::{sync::Arc, time::Duration};

use halftone_api::{Obstacle, plan::Plan, spec::Verdict};
use halftone_routing::document::{self, RoutingConfig, names::Uid, units::Ratio};

pub(crate) use self::acknowledgement::FleetAcknowledgement;
use self::{
    context::AdvanceContext,
    transition::{TransitionInput, next},
};
use crate::{
    clock::Now,
    condition_input::SpecBlocker,
    events::Event,
    observation::Observation,
    progress::{Progress, RolloutState, StepProgress},
};

/// How long a turn waits for the next one while a release is judged or a document is on its way.
pub const BUSY: Duration = Duration::from_millis(500);
/// How long it waits at most otherwise.
pub const IDLE: Duration = Duration::from_secs(10);
/// Figures alone are written this seldom, see [`without_figures`](crate::GrayReleaseStatus::without_figures).
pub const FIGURES: Duration = Duration::from_secs(30);
/// How long a release rests at most: for what nobody has thought of.
pub const REST: Duration = Duration::from_secs(900);

/// What a turn says.
///
/// The shell writes `progress` before it applies `routing`: whatever kills it in between, the next turn finds the
/// document behind the status and puts that right. A write that may wait is told by
/// [`without_figures`](crate::GrayReleaseStatus::without_figures).
#[derive(Debug, Clone, PartialEq)]
pub struct AdvanceResult {
    /// What to remember.
    pub progress: Progress,
    /// The document to have live; none leaves what is live as it is.
    pub routing: Option<Arc<RoutingConfig>>,
    /// What happened, each thing once.
    pub events: Vec<Event>,
    /// Poll the proxies and take the next turn after this time at the latest, at most [`IDLE`].
    pub wake_after: Duration,
    /// Every proxy has the document that was to be live before this turn moved anything.
    pub acknowledged: bool,
    /// For so long the release has no need of a turn as long as nothing changes in what is seen of it: the object, its
    /// Services and endpoints, what proxies say of its document, and, beyond ratio 0, what is counted for it. None if
    /// time moves it. For shells that hear of changes, and would else give ten thousand releases a turn for nothing.
    pub rests_for: Option<Duration>,
}

impl AdvanceResult {
    /// Whether `plan`, with which the turn was taken, is in effect now. Then its spec is what a restart has to get
    /// back from [`Progress::restore`]; else what it gets back stays as it is.
    #[must_use]
    pub fn takes(&self, plan: &Arc<Plan>) -> bool {
        is_in_effect(plan, &self.progress)
    }

    /// The uid of an earlier object of the same name whose document may be removed now: every proxy has the one
    /// that takes its routes over.
    #[must_use]
    pub fn replaced(&self) -> Option<&Uid> {
        let memory = &self.progress.memory;
        memory
            .document
            .as_ref()
            .filter(|_| memory.acknowledged)?
            .replaces
            .as_ref()
    }
}

/// Takes a turn with a plan.
#[must_use]
pub fn advance(
    plan: &Arc<Plan>,
    progress: &Progress,
    seen: &Observation,
    now: Now,
) -> AdvanceResult {
    turn(Ok(plan), progress.clone(), seen, now)
}

/// Takes a turn for an object that makes no plan. The plan that was accepted before stays in effect without rising.
#[must_use]
pub fn refuse(
    obstacle: &Obstacle,
    progress: &Progress,
    seen: &Observation,
    now: Now,
) -> AdvanceResult {
    turn(Err(obstacle), progress.clone(), seen, now)
}

/// The turn itself, for [`advance`] and [`refuse`] alike. It takes progress by value, for who has no use for the
/// old one.
#[must_use]
pub fn turn(
    wanted: Result<&Arc<Plan>, &Obstacle>,
    mut progress: Progress,
    seen: &Observation,
    now: Now,
) -> AdvanceResult {
    let held = match wanted {
        Ok(plan) => {
            let refused = seen.refusal.clone().map(SpecBlocker::Refused);
            refused
                .or_else(|| hold_back(plan, &progress, seen))
                .or_else(|| hand_over(plan, &progress, seen))
        }
        Err(obstacle) => Some(SpecBlocker::Refused(obstacle.clone())),
    };
    let plan = match wanted {
        Ok(plan) if held.is_none() => Arc::clone(plan),
        _ => match in_effect(&progress, seen) {
            Some(plan) => plan,
            None => return finish::finish_without_plan(held, progress, seen, now),
        },
    };
    let plan_changed =
        progress.basis.is_none() || held.is_none() && !is_in_effect(&plan, &progress);
    let ruling = plan_changed.then(|| adopt::ruling(&plan, &progress, seen));
    progress.memory.accepted = Some(Arc::clone(&plan));
    let (stage_before, revision_before) = (progress.stage.number, progress.revision);
    AdvanceContext {
        plan,
        plan_changed,
        ruling,
        health_changed: false,
        acknowledged: false,
        wanted: wanted.ok(),
        held,
        seen,
        now,
        progress,
        events: Vec::new(),
        stage_before,
        revision_before,
    }
    .run()
}

/// Whether anything but [`Observation::refusal`] keeps `plan` from taking effect now. Such a plan claims no hosts,
/// see [`claims`](halftone_api::claims).
#[must_use]
pub fn is_held(plan: &Arc<Plan>, progress: &Progress, seen: &Observation) -> bool {
    hold_back(plan, progress, seen).is_some()
}

/// What was taken once is not weighed again.
fn hold_back(plan: &Arc<Plan>, progress: &Progress, seen: &Observation) -> Option<SpecBlocker> {
    if is_in_effect(plan, progress) {
        None
    } else {
        adopt::hold_back(plan, progress, seen)
    }
}

/// An edit that gives up a place waits until its next release is there.
fn hand_over(plan: &Arc<Plan>, progress: &Progress, seen: &Observation) -> Option<SpecBlocker> {
    let handing = seen
        .handing_over
        .as_ref()
        .filter(|handing| !handing.late && !is_in_effect(plan, progress));
    handing.map(|handing| SpecBlocker::HandingOver(handing.message.clone()))
}

/// What goes on while nothing newer can be taken: the plan that was accepted last, or where that is lost, what the live
/// document tells of it.
fn in_effect(progress: &Progress, seen: &Observation) -> Option<Arc<Plan>> {
    let live = || {
        let live = seen
            .present()
            .filter(|live| live.state != document::ReleaseState::Withdrawn)?;
        let plan = Plan::of_live(live);
        // A status that is about another release was written by a process that was killed before it wrote the document.
        (progress.basis.is_none() || progress.is_about(&plan)).then(|| Arc::new(plan))
    };
    progress.memory.accepted.clone().or_else(live)
}

fn is_in_effect(plan: &Arc<Plan>, progress: &Progress) -> bool {
    let accepted = progress.memory.accepted.as_ref();
    accepted.is_some_and(|accepted| Arc::ptr_eq(accepted, plan) || accepted == plan)
}

impl AdvanceContext<'_> {
    fn run(mut self) -> AdvanceResult {
        if self.plan_changed {
            self.adopt();
        }
        self.settle_form();
        self.publish();
        let fleet = self.fleet();
        self.observe(&fleet);
        self.answer(&fleet);
        // A request may have changed what the proxies are to have, which then nobody has acknowledged.
        self.publish();
        let fleet = self.fleet();
        let facts = self.facts(&fleet);
        self.carry_out(next(&self.progress.state, &facts));
        self.keep_serving();
        self.run_the_judge();
        self.publish();
        self.finish()
    }

    fn fleet(&self) -> FleetAcknowledgement {
        let memory = &self.progress.memory;
        FleetAcknowledgement::of(self.seen, memory.document.as_deref(), memory.acknowledged)
    }

    /// What the step function has to know.
    fn facts(&mut self, fleet: &FleetAcknowledgement) -> TransitionInput {
        let ratio = self.progress.state.ratio();
        let window_open = self.window_open();
        let ruling = self.progress.evidence.ruling();
        let (hold_over, approved) = match &self.progress.state {
            RolloutState::Moving(StepProgress { hold, approved, .. }) => {
                (hold.is_over(self.now.steady), *approved)
            }
            _ => (true, true),
        };
        TransitionInput {
            forced: self.is_forced(),
            held: self.held.is_some(),
            paused: self.plan.paused || self.progress.paused,
            stopped: self.progress.paused,
            failed: ruling.verdict == Verdict::Fail,
            on_failure: self.plan.health.on_failure,
            inconclusive: self.is_inconclusive(),
            on_inconclusive: self.plan.health.on_inconclusive,
            target: self.progress.state.effective_target(self.plan.target()),
            next: steps::above(self.steps(), ratio).unwrap_or(ratio),
            stable_ready: self.stable_ready(),
            gray_ready: self.gray_ready(),
            resolved: self.seen.unresolved.is_none(),
            acknowledged: fleet.has_acknowledged(),
            reporting: fleet.is_reporting(),
            fresh: self.is_fresh(),
            hold_over,
            passed: self.has_passed(),
            approved: approved || !steps::needs_approval(self.steps(), ratio),
            writable: self.seen.unwritable.is_none() && self.seen.unprogrammed.is_none(),
            window_open,
        }
    }

    /// Whether the verdict is `Pass`, or nothing is judged here.
    fn has_passed(&self) -> bool {
        // Whoever a rule sends to gray cannot keep the first users of the split waiting.
        let judged = self.plan.health.limits.is_some()
            && self.progress.is_judged(self.now)
            && self.progress.state.ratio() > Ratio::ZERO;
        !judged || self.progress.evidence.ruling().verdict == Verdict::Pass
    }

    /// Whether the schedule is open. Each opening asks for fresh reports before the first step up.
    fn window_open(&mut self) -> bool {
        let open = self
            .plan
            .schedule
            .as_ref()
            .is_none_or(|schedule| schedule.is_open(self.now.wall));
        let memory = &mut self.progress.memory;
        if open && memory.window_closed {
            memory.fresh_after = self.now.steady;
        }
        memory.window_closed = !open;
        open
    }

    fn is_fresh(&self) -> bool {
        let fresh_after = self.progress.memory.fresh_after;
        let counting = self.seen.proxies.iter().filter(|proxy| proxy.counts());
        counting
            .clone()
            .all(|proxy| proxy.asked_at.is_some_and(|asked| asked >= fresh_after))
    }
}
