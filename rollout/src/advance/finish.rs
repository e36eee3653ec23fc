//! The end of a turn: where the release stands, told as phase, conditions and events, and when to look again.

use std::time::Duration;

use halftone_api::{
    plan::{Plan, WindowState},
    spec::Phase,
};
use halftone_routing::document::units::Ratio;

use super::{
    AdvanceResult, BUSY, IDLE, REST,
    acknowledgement::FleetAcknowledgement,
    command,
    context::AdvanceContext,
    steps,
    transition::{Transition, next},
};
use crate::{
    clock::{Now, after, since},
    condition_input::{ConditionInput, FleetSummary, SpecBlocker, WaitReason},
    conditions,
    events::Event,
    observation::Observation,
    progress::{Progress, RolloutState, SplitCounts},
};

/// Nothing has reached stable for so long: it counts as idle.
const STABLE_IDLE: Duration = Duration::from_secs(600);

impl AdvanceContext<'_> {
    /// Tells of the turn and ends it.
    pub(crate) fn finish(mut self) -> AdvanceResult {
        let document = self.progress.memory.document.clone();
        let fleet = FleetAcknowledgement::of(
            self.seen,
            document.as_deref(),
            self.progress.memory.acknowledged,
        );
        let facts = self.facts(&fleet);
        let wait = match next(&self.progress.state, &facts) {
            // The document is withheld, see `would_strand`.
            _ if document.is_none() => WaitReason::Stranded,
            Transition::Stay(wait) => wait,
            // The next turn moves on; until then the step is held.
            _ => WaitReason::Holding,
        };
        let standing = self.standing(fleet, wait);
        let wake_after = self.wake_after(wait);
        let rests_for = (wake_after == IDLE).then(|| self.rests_for(wait)).flatten();
        let Self {
            plan,
            now,
            mut progress,
            mut events,
            acknowledged,
            ..
        } = self;
        progress.tell(standing, Some(&plan), now, &mut events);
        AdvanceResult {
            progress,
            routing: document,
            events,
            wake_after,
            acknowledged,
            rests_for,
        }
    }

    fn standing(&self, fleet: FleetAcknowledgement, wait: WaitReason) -> ConditionInput {
        let Progress {
            state,
            memory,
            evidence,
            ..
        } = &self.progress;
        let (number, count) = (
            steps::number(self.steps(), state.ratio()),
            self.steps().len(),
        );
        let mut standing = ConditionInput {
            step: (small(number), small(count)),
            generation: self.seen.generation,
            settled: self.held.is_none()
                && self.progress.settled_generation == self.seen.generation,
            wait,
            held: self.held.clone(),
            unresolved: self.seen.unresolved.clone(),
            unserved: self.unserved(),
            unspoken: self.seen.unspoken.clone(),
            unwritten: unwritten(self.seen),
            unreadable: self.seen.status_unreadable.clone(),
            revision: self.progress.revision,
            ruling: evidence.ruling(),
            judged: evidence.process.is_some(),
            inconclusive: self.is_inconclusive(),
            drift: drift(state.ratio(), self.progress.stage.split),
            stable_idle: matches!(state, RolloutState::Promoted { .. }).then(|| {
                memory
                    .stable_idle_since
                    .is_some_and(|since| after(since, STABLE_IDLE) <= self.now.steady)
            }),
            fleet: self.fleet_standing(fleet),
            ..ConditionInput::default()
        };
        standing.phase = conditions::phase(state, self.plan.force, &standing);
        standing
    }

    fn fleet_standing(&self, fleet: FleetAcknowledgement) -> FleetSummary {
        let late = self
            .progress
            .memory
            .unacknowledged_since
            .is_some_and(|lacking| {
                since(self.now.steady, lacking) >= self.seen.fleet.straggler_timeout
            });
        FleetSummary {
            ready: fleet.ready,
            acknowledged: fleet.acknowledged,
            complete: fleet.has_acknowledged(),
            stragglers: if late { fleet.lacking } else { Vec::new() },
            unreported: fleet.unreported,
            rejected: fleet.rejected,
        }
    }

    /// At the pace of polls while anything is on its way, else at the next opening of the schedule, but never
    /// longer than `IDLE`: what no event tells of is found out by looking.
    fn wake_after(&self, wait: WaitReason) -> Duration {
        let judged = self.plan.health.limits.is_some() && self.progress.is_judged(self.now);
        if judged || !self.progress.memory.acknowledged || wait == WaitReason::AwaitingReports {
            return BUSY;
        }
        match (&self.progress.state, wait) {
            (RolloutState::Moving(moving), WaitReason::Holding) => {
                moving.hold.left(self.now.steady, IDLE)
            }
            (_, WaitReason::AwaitingWindow) => self.until_window(),
            _ => IDLE,
        }
    }

    /// See [`AdvanceResult::rests_for`]. What is on its way, judged or held has been sorted out.
    fn rests_for(&self, wait: WaitReason) -> Option<Duration> {
        match (&self.progress.state, wait) {
            (
                RolloutState::Plain
                | RolloutState::RolledBack(_)
                | RolloutState::TargetReached { .. },
                _,
            ) => Some(REST),
            (RolloutState::Moving(_), WaitReason::Idle | WaitReason::Forced) => Some(REST),
            (RolloutState::Promoted { .. }, _) => {
                let idle = since(self.now.steady, self.progress.memory.stable_idle_since?);
                Some(
                    STABLE_IDLE
                        .checked_sub(idle)
                        .filter(|left| !left.is_zero())
                        .unwrap_or(REST),
                )
            }
            _ => None,
        }
    }

    fn until_window(&self) -> Duration {
        match self
            .plan
            .schedule
            .as_ref()
            .map(|schedule| schedule.at(self.now.wall))
        {
            Some(WindowState::Closed { opens: Some(opens) }) => {
                since(opens, self.now.wall).min(IDLE)
            }
            _ => IDLE,
        }
    }
}

/// What cannot be written, and why.
fn unwritten(seen: &Observation) -> Option<String> {
    let document = seen
        .unprogrammed
        .as_ref()
        .map(|why| format!("{why}; proxies go on with the routing document before"));
    let status = || {
        let why = seen.unwritable.as_ref()?;
        Some(format!(
            "{why}; nothing rises until progress can be written, rollbacks go on"
        ))
    };
    document.or_else(status)
}

/// Whether the observed ratio is more than 20 % off the wanted one, and more than four standard deviations: few
/// requests say nothing. None where nothing is split.
fn drift(ratio: Ratio, split: SplitCounts) -> Option<bool> {
    let (share, all) = (ratio.fraction(), split.requests as f64);
    let splits = ratio > Ratio::ZERO && ratio < Ratio::FULL;
    splits.then(|| {
        let off = (split.gray as f64 - all * share).abs();
        off > 0.2 * all * share && off > 4.0 * (all * share * (1.0 - share)).sqrt()
    })
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Nothing is known that was ever accepted, and nothing can be now: traffic stays exactly as it is.
pub(super) fn finish_without_plan(
    held: Option<SpecBlocker>,
    mut progress: Progress,
    seen: &Observation,
    now: Now,
) -> AdvanceResult {
    let fleet = FleetAcknowledgement::of(seen, seen.document.as_deref(), false);
    let standing = ConditionInput {
        phase: if matches!(held, Some(SpecBlocker::Refused(_))) {
            Phase::Refused
        } else {
            progress.standing.phase
        },
        generation: seen.generation,
        settled: false,
        wait: WaitReason::SpecHeld,
        held,
        unresolved: seen.unresolved.clone(),
        fleet: FleetSummary {
            ready: fleet.ready,
            acknowledged: fleet.acknowledged,
            complete: fleet.has_acknowledged(),
            ..FleetSummary::default()
        },
        revision: progress.revision,
        ruling: progress.evidence.ruling(),
        judged: false,
        ..progress.standing.clone()
    };
    let acknowledged = fleet.has_acknowledged();
    let mut events = Vec::from_iter(command::refuse(&mut progress, seen, now));
    progress.tell(standing, None, now, &mut events);
    AdvanceResult {
        progress,
        routing: None,
        events,
        wake_after: IDLE,
        acknowledged,
        rests_for: Some(REST),
    }
}

impl Progress {
    /// Brings the conditions up to date, if there is anything new to tell.
    fn tell(
        &mut self,
        standing: ConditionInput,
        plan: Option<&Plan>,
        now: Now,
        events: &mut Vec<Event>,
    ) {
        self.generation = standing.generation;
        if self.standing != standing || self.conditions.is_empty() {
            self.standing = standing;
            let told = conditions::conditions(plan, self, now.wall);
            events.extend(conditions::events(&self.conditions, &told));
            self.conditions = told;
        }
    }
}
