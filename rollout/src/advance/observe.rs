//! What was seen becomes what is known: acknowledgements, counts, clocks, the judge's ruling.

use std::time::Duration;

use halftone_api::spec::{Force, Verdict};
use halftone_routing::document::units::Ratio;

use super::{acknowledgement::FleetAcknowledgement, context::AdvanceContext, steps};
use crate::{
    clock::{PausableTimer, since},
    events::EventReason,
    judge::{self, Batch},
    observation::Round,
    progress::{INHERITED, Progress, Rollback, RolloutState, StepProgress},
};

impl AdvanceContext<'_> {
    /// Takes in what was seen, in the order in which each part needs the one before.
    pub(crate) fn observe(&mut self, fleet: &FleetAcknowledgement) {
        self.keep_acknowledgement(fleet);
        self.count(fleet);
        self.tick(fleet);
        self.run_the_judge();
        self.judge(fleet);
        self.be_patient(fleet);
    }

    fn keep_acknowledgement(&mut self, fleet: &FleetAcknowledgement) {
        let memory = &mut self.progress.memory;
        self.acknowledged = fleet.has_acknowledged();
        if self.acknowledged {
            memory.acknowledged = true;
            memory.unacknowledged_since = None;
            self.progress
                .stage
                .acknowledged_at
                .get_or_insert(self.now.steady);
            if self.held.is_none() {
                self.progress.settled_generation = self.seen.generation;
            }
            self.emit_rollback_complete();
        } else {
            memory.acknowledged = false;
            memory.unacknowledged_since.get_or_insert(self.now.steady);
        }
    }

    /// Whoever went back has arrived: every proxy says so. Once for each rollback, whatever is edited afterwards, and not
    /// while everyone is sent to gray.
    fn emit_rollback_complete(&mut self) {
        let RolloutState::RolledBack(rollback) = &mut self.progress.state else {
            return;
        };
        if self.plan.force == Force::Gray || rollback.completed_at.is_some() {
            return;
        }
        rollback.completed_at = Some(self.now.wall);
        let Rollback {
            reason, message, ..
        } = rollback.clone();
        if reason != INHERITED {
            let message = format!(
                "everyone is back on {}, {reason}: {message}",
                self.stable_version()
            );
            self.tell(EventReason::RolledBack, message);
        }
    }

    /// The round, if it is about the present stage of the present release.
    fn round(&self) -> Option<&Round> {
        let release = self.progress.release.as_ref()?;
        let round = self.seen.round.as_ref()?;
        (round.release == release.id && round.stage == self.progress.stage.number).then_some(round)
    }

    fn count(&mut self, fleet: &FleetAcknowledgement) {
        if let Some((gray, stable)) = self
            .round()
            .map(|round| (round.gray.split.requests, round.stable.split.requests))
        {
            let split = &mut self.progress.stage.split;
            split.requests = split.requests.saturating_add(gray).saturating_add(stable);
            split.gray = split.gray.saturating_add(gray);
        }
        if let Some(round) = &self.seen.round
            && self
                .progress
                .release
                .as_ref()
                .is_some_and(|release| release.id == round.release)
        {
            self.progress.memory.failed_users.merge(&round.failed_users);
        }
        let idle_since = &mut self.progress.memory.stable_idle_since;
        if !matches!(self.progress.state, RolloutState::Promoted { .. }) {
            *idle_since = None;
        } else if let Some(round) = &self.seen.round {
            if round.reached_stable == 0 && fleet.is_reporting() {
                idle_since.get_or_insert(self.now.steady);
            } else {
                *idle_since = None;
            }
        }
    }

    /// Whether anything that is learnt now says something about gray.
    fn clock_runs(&self, fleet: &FleetAcknowledgement) -> bool {
        fleet.has_acknowledged()
            && fleet.is_reporting()
            && !self.is_forced()
            && self.progress.evidence.ruling().reason != judge::VerdictReason::BothArmsFailing
    }

    fn tick(&mut self, fleet: &FleetAcknowledgement) {
        let (now, runs) = (self.now.steady, self.clock_runs(fleet));
        let hold = steps::hold(self.steps(), self.progress.state.ratio());
        let watch = self.plan.health.watch;
        // What has failed is watched no more; whoever resumes it has the rest of the watch before him.
        let watching = runs && self.progress.evidence.ruling().verdict != Verdict::Fail;
        if let Some(timer) = self.progress.state.hold_mut() {
            *timer = timer.tick(runs, now, hold);
        }
        if let Some(timer) = self.progress.state.watch_mut() {
            *timer = timer.tick(watching, now, watch);
        }
    }

    /// Gives the round to the judge. Error limits count from the first request of the stage; only latency limits
    /// and what `Pass` needs wait for the acknowledgement and the warm-up after it.
    fn judge(&mut self, fleet: &FleetAcknowledgement) {
        let Some(round) = self.round().filter(|_| !self.health_changed) else {
            return;
        };
        let now = self.now.steady;
        let hold_over = match &self.progress.state {
            RolloutState::Moving(moving) => moving.hold.is_over(now),
            _ => true,
        };
        let batch = Batch {
            seconds: round.seconds,
            gray: round.gray.clone(),
            stable: round.stable.clone(),
            warm_up: self.is_warming_up(round),
            complete: fleet.has_acknowledged() && fleet.is_reporting(),
            hold_over,
        };
        if let Some(process) = &mut self.progress.evidence.process {
            process.add(&batch);
        }
    }

    /// Whether some of the round was counted before the warm-up was over. A proxy that never takes up the step cannot
    /// put its end off for ever: users of the others would be left on a slow version.
    fn is_warming_up(&self, round: &Round) -> bool {
        let (warmup, timeout) = (self.plan.health.warmup, self.seen.fleet.straggler_timeout);
        let began = Duration::try_from_secs_f64(round.seconds).unwrap_or_default();
        let lasts =
            |from, time: Duration| since(self.now.steady, from) < time.saturating_add(began);
        let Progress { stage, memory, .. } = &self.progress;
        match (stage.acknowledged_at, memory.unacknowledged_since) {
            (Some(acknowledged), _) => lasts(acknowledged, warmup),
            (None, Some(lacking)) => lasts(lacking, warmup.max(timeout)),
            (None, None) => true,
        }
    }

    /// Counts how long a verdict is waited for after the hold: while none is there, and nothing but traffic is
    /// missing.
    fn be_patient(&mut self, fleet: &FleetAcknowledgement) {
        let (now, runs, patience) = (
            self.now.steady,
            self.clock_runs(fleet),
            self.plan.health.patience,
        );
        let undecided = self.progress.evidence.ruling().verdict == Verdict::NeedMoreData
            && self.plan.health.limits.is_some()
            && !self.is_forced();
        let RolloutState::Moving(moving) = &mut self.progress.state else {
            return;
        };
        moving.patience = if undecided && moving.ratio > Ratio::ZERO && moving.hold.is_over(now) {
            Some(
                moving
                    .patience
                    .unwrap_or(PausableTimer::standing(patience))
                    .tick(runs, now, patience),
            )
        } else {
            None
        };
    }

    /// Hold and patience are over without a verdict.
    pub(crate) fn is_inconclusive(&self) -> bool {
        let RolloutState::Moving(StepProgress { patience, .. }) = &self.progress.state else {
            return false;
        };
        patience.is_some_and(|patience| patience.is_over(self.now.steady))
    }
}
