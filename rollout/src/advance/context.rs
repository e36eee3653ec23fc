//! A turn in the making: progress being changed, and the changes that more than one part of a turn makes.

use std::{sync::Arc, time::Duration};

use halftone_api::{
    plan::{GrayPlan, Plan, Step, backend_name},
    spec::{Force, HistoryEntry, ReleaseOutcome, ServingStatus, Totals, Verdict},
};
use halftone_routing::document::{
    arm::ArmConfig,
    units::{Ratio, Stage},
};
use halftone_routing::sketch::UserSketch;

use super::{
    features::form_of,
    serving::EditRuling,
    steps,
    transition::{FailureCause, Transition},
};
use crate::{
    clock::{Now, PausableTimer},
    command_request::next_token,
    condition_input::SpecBlocker,
    events::{Event, EventReason},
    judge::Judge,
    observation::Observation,
    progress::{
        CurrentRelease, Progress, Rollback, RolloutState, SplitCounts, StageProgress, StepProgress,
    },
};

/// The most releases that `status.history` keeps.
const HISTORY: usize = 10;

/// A turn in the making.
pub(crate) struct AdvanceContext<'a> {
    /// The plan in effect.
    pub plan: Arc<Plan>,
    /// The plan is not the one of the last turn.
    pub plan_changed: bool,
    /// Who may be moved by taking it; none if it is the plan of the last turn.
    pub ruling: Option<EditRuling>,
    /// `spec.health` changed in this turn: the round was counted and sorted by what was before.
    pub health_changed: bool,
    /// Every proxy had the document before anything moved.
    pub acknowledged: bool,
    /// The newest plan, taken or not; none if the newest spec makes none.
    pub wanted: Option<&'a Arc<Plan>>,
    /// Why the newest spec is not in effect, if it is not.
    pub held: Option<SpecBlocker>,
    /// What was seen.
    pub seen: &'a Observation,
    /// When.
    pub now: Now,
    /// What is remembered.
    pub progress: Progress,
    /// What happened.
    pub events: Vec<Event>,
    /// The stage at the beginning of the turn: however much happens in a turn, the stage rises by one.
    pub stage_before: Stage,
    /// The revision at the beginning of the turn.
    pub revision_before: u64,
}

impl AdvanceContext<'_> {
    /// Tells people.
    pub(crate) fn tell(&mut self, reason: EventReason, message: impl Into<String>) {
        self.events.push(Event::new(reason, message));
    }

    /// The way to the target; empty without gray.
    pub(crate) fn steps(&self) -> &[Step] {
        self.plan.steps()
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.plan.force != Force::None
    }

    pub(crate) fn stable_ready(&self) -> bool {
        self.seen.ready_endpoints(&self.plan.stable.backend) > 0
    }

    pub(crate) fn gray_ready(&self) -> bool {
        self.plan
            .gray
            .as_ref()
            .is_some_and(|gray| self.seen.ready_endpoints(&gray.arm.backend) > 0)
    }

    /// Does what the step function says.
    pub(crate) fn carry_out(&mut self, next: Transition) {
        match next {
            Transition::Stay(_) => {}
            Transition::Up(ratio) => {
                self.begin_step(ratio);
                self.emit_step(EventReason::StepStarted);
            }
            Transition::Lower(target) => {
                self.begin_step(target);
                self.emit_step(EventReason::RatioLowered);
            }
            Transition::Reach => {
                self.reach(
                    self.present_hold(),
                    "the last hold is over and every limit is kept",
                );
            }
            Transition::GoOn => self.go_on(),
            Transition::RollBack(cause) => {
                let ruling = self.progress.evidence.ruling();
                let message = self.verdict_message();
                let message = match cause {
                    FailureCause::Failed => message,
                    FailureCause::Inconclusive => {
                        format!("no verdict within hold and patience: {message}")
                    }
                };
                self.roll_back(&ruling.reason.to_string(), message);
            }
            Transition::Pause(cause) => {
                self.progress.paused = true;
                let message = self.verdict_message();
                let why = match cause {
                    FailureCause::Failed => "a limit is broken",
                    FailureCause::Inconclusive => "no verdict within hold and patience",
                };
                self.tell(EventReason::Paused, format!("paused, {why}: {message}"));
            }
        }
    }

    /// A new stage: earlier counts are evidence no more.
    pub(crate) fn new_stage(&mut self) {
        self.progress.stage = StageProgress {
            number: self.stage_before.next(),
            began_at: self.now.wall,
            acknowledged_at: None,
            split: SplitCounts::default(),
        };
        self.forget_evidence();
    }

    /// The evidence starts anew, with the next process of the judge.
    pub(crate) fn forget_evidence(&mut self) {
        self.progress.evidence.process = None;
        self.progress.evidence.kept = None;
    }

    /// A process of the judge runs exactly while the release is judged. Each start takes the next number, which
    /// is written together with all else before anything comes of it.
    pub(crate) fn run_the_judge(&mut self) {
        let limits = self.plan.health.limits.as_ref();
        let judged = self.progress.is_judged(self.now);
        let evidence = &mut self.progress.evidence;
        match limits {
            Some(limits) if judged => {
                if evidence.process.is_none() && evidence.ruling().verdict != Verdict::Fail {
                    evidence.number += 1;
                    let totals = evidence
                        .kept
                        .take()
                        .map_or_else(Totals::default, |kept| kept.totals);
                    evidence.process =
                        Some(Box::new(Judge::start(limits, evidence.number, totals)));
                }
            }
            _ => {
                evidence.kept = evidence.verdict_status().map(Box::new);
                evidence.process = None;
            }
        }
    }

    /// At `ratio`, held from its acknowledgement on.
    pub(crate) fn begin_step(&mut self, ratio: Ratio) {
        self.new_stage();
        let hold = steps::hold(self.steps(), ratio);
        self.progress.state = RolloutState::Moving(StepProgress::at(ratio, hold));
    }

    pub(crate) fn emit_step(&mut self, reason: EventReason) {
        let ratio = self.progress.state.ratio();
        let (number, count) = (steps::number(self.steps(), ratio), self.steps().len());
        self.tell(
            reason,
            format!(
                "step {number}/{count}: {ratio} of users to {}",
                self.gray_version()
            ),
        );
    }

    /// The hold anew, for a stage that goes on at the same ratio.
    pub(crate) fn hold_anew(&mut self) {
        let hold = steps::hold(self.steps(), self.progress.state.ratio());
        if let Some(timer) = self.progress.state.hold_mut() {
            *timer = PausableTimer::standing(hold);
        }
        if let RolloutState::Moving(moving) = &mut self.progress.state {
            moving.patience = None;
        }
    }

    /// The watch anew, if it is not over.
    pub(crate) fn watch_anew(&mut self) {
        let (now, watch) = (self.now.steady, self.plan.health.watch);
        if let Some(timer) = self.progress.state.watch_mut()
            && !timer.is_over(now)
        {
            *timer = PausableTimer::standing(watch);
        }
    }

    /// The target is reached: the release is done but for its watch. `hold` is what the target's own has left.
    pub(crate) fn reach(&mut self, hold: PausableTimer, why: &str) {
        let (target, watch) = (
            self.plan.target(),
            PausableTimer::standing(self.plan.health.watch),
        );
        let version = self.gray_version();
        if target == Ratio::FULL {
            self.progress.state = RolloutState::Promoted { watch, kept: None };
            self.remember(ReleaseOutcome::Promoted, "");
            self.tell(
                EventReason::Promoted,
                format!("{version} serves everyone: {why}"),
            );
        } else {
            self.progress.state = RolloutState::TargetReached {
                ratio: target,
                hold,
                watch,
            };
            self.remember(ReleaseOutcome::TargetReached, "");
            self.tell(
                EventReason::TargetReached,
                format!("{version} serves its target of {target}: {why}"),
            );
        }
    }

    /// On from a target that was raised, with what its hold has left; people let it go on when they raised it.
    fn go_on(&mut self) {
        let ratio = self.progress.state.ratio();
        let hold = self.present_hold();
        self.progress.state = RolloutState::Moving(StepProgress {
            ratio,
            hold,
            patience: None,
            approved: true,
        });
    }

    fn present_hold(&self) -> PausableTimer {
        self.progress
            .state
            .hold()
            .unwrap_or(PausableTimer::standing(Duration::ZERO))
    }

    /// Everyone back to stable, for good unless a person retries.
    pub(crate) fn roll_back(&mut self, reason: &str, message: String) {
        // The verdict that it comes from stays to be seen until a retry.
        let verdict = self.progress.evidence.verdict_status();
        self.new_stage();
        self.progress.evidence.kept = verdict.map(Box::new);
        self.progress.paused = false;
        self.remember(ReleaseOutcome::RolledBack, reason);
        self.tell(
            EventReason::RollingBack,
            format!(
                "everyone goes back to {}, {reason}: {message}",
                self.stable_version()
            ),
        );
        let (reason, at) = (reason.to_owned(), self.now.wall);
        self.progress.state = RolloutState::RolledBack(Rollback {
            reason,
            message,
            at,
            completed_at: None,
        });
    }

    /// A release begins at ratio 0.
    pub(crate) fn start_release(&mut self, gray: &GrayPlan) {
        self.progress.release = Some(CurrentRelease {
            id: gray.id,
            version: gray.arm.version.to_string(),
            attempt: 1,
            started_at: self.now.wall,
            form: form_of(self.seen),
        });
        self.progress.memory.form_open = true;
        self.progress.paused = false;
        self.progress.memory.failed_users = UserSketch::default();
        self.progress.evidence.number = 0;
        self.begin_step(Ratio::ZERO);
        self.renew_token(&self.now.wall.to_string());
    }

    /// The next request needs another token.
    pub(crate) fn renew_token(&mut self, salt: &str) {
        self.progress.token = next_token(self.plan.uid(), &self.progress.token, salt);
    }

    /// Writes the release into the history; what an attempt came to replaces what it came to before.
    pub(crate) fn remember(&mut self, outcome: ReleaseOutcome, reason: &str) {
        let Some(release) = &self.progress.release else {
            return;
        };
        let entry = HistoryEntry {
            id: release.id.to_string(),
            version: release.version.clone(),
            outcome: outcome.into(),
            reason: reason.to_owned(),
            started_at: release.started_at,
            ended_at: self.now.wall,
        };
        let history = &mut self.progress.history;
        history.retain(|old| old.id != entry.id || old.started_at != entry.started_at);
        history.insert(0, entry);
        history.truncate(HISTORY);
    }

    /// Keeps `status.serving`: the arm that last served everyone.
    pub(crate) fn keep_serving(&mut self) {
        let plan = Arc::clone(&self.plan);
        let everyone_on_stable =
            self.progress.state.ratio() == Ratio::ZERO || plan.force == Force::Stable;
        match (&self.progress.state, &plan.gray) {
            _ if everyone_on_stable => self.serves(&plan.stable),
            (RolloutState::Promoted { .. }, Some(gray)) => self.serves(&gray.arm),
            _ => {}
        }
    }

    /// `arm` serves everyone, or everyone that gray does not.
    pub(crate) fn serves(&mut self, arm: &ArmConfig) {
        let same = |now: &ServingStatus| {
            now.version == arm.version.as_str() && now.service == backend_name(&arm.backend)
        };
        if !self.progress.serving.as_ref().is_some_and(same) {
            self.progress.serving = Some(ServingStatus {
                version: arm.version.to_string(),
                service: backend_name(&arm.backend),
                since: self.now.wall,
            });
        }
    }

    pub(crate) fn gray_version(&self) -> String {
        self.plan
            .gray
            .as_ref()
            .map_or_else(String::new, |gray| gray.arm.version.to_string())
    }

    pub(crate) fn stable_version(&self) -> String {
        self.plan.stable.version.to_string()
    }

    /// What the verdict says, and how many users it has cost.
    fn verdict_message(&self) -> String {
        let message = self
            .progress
            .evidence
            .verdict_status()
            .map(|verdict| verdict.message);
        let mut message = message.unwrap_or_default();
        let users = self.progress.memory.failed_users.estimate();
        if users > 0 {
            let who = if users == 1 {
                "one user".to_owned()
            } else {
                format!("about {users} users")
            };
            message += &format!("; {who} met a failure of {}", self.gray_version());
        }
        message
    }
}
