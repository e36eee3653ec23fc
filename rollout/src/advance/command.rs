//! A person's request is answered: done, refused with a reason, or stale. Whatever the answer, the same request
//! is never answered twice, and one that counted takes its token with it.

use std::num::NonZeroU32;

use halftone_api::spec::{HandledRequest, RequestResult, Verdict};
use halftone_routing::document::units::Ratio;
use halftone_routing::sketch::UserSketch;

use super::{
    acknowledgement::FleetAcknowledgement,
    adopt,
    context::AdvanceContext,
    steps,
    transition::{Transition, next},
};
use crate::{
    clock::{Now, PausableTimer},
    command_request::{CommandRequest, ReleaseCommand},
    condition_input::WaitReason,
    events::{Event, EventReason},
    observation::Observation,
    progress::{Progress, RolloutState},
};

/// What was done, or why nothing was.
type CommandResult = Result<String, String>;

/// The request, if it is a new one.
fn asked<'a>(progress: &Progress, seen: &'a Observation) -> Option<&'a str> {
    let text = seen
        .request
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty())?;
    let handled = progress
        .last_request
        .as_ref()
        .is_some_and(|last| last.request == text);
    (!handled).then_some(text)
}

/// Answers for an object of which nothing is in effect.
pub(super) fn refuse(progress: &mut Progress, seen: &Observation, now: Now) -> Option<Event> {
    let request = asked(progress, seen)?.to_owned();
    let message =
        "nothing of this release is in effect; see the conditions and put the spec right first";
    let event = Event::new(EventReason::RequestRefused, format!("{request}: {message}"));
    let (result, message) = (RequestResult::Refused.into(), message.to_owned());
    progress.last_request = Some(HandledRequest {
        request,
        result,
        message,
        time: now.wall,
    });
    Some(event)
}

/// What comes before the approval of a step that is not approved, if anything does.
fn approval_blocker(next: Transition, number: usize) -> Option<String> {
    Some(match next {
        Transition::Stay(WaitReason::AwaitingApproval) => return None,
        Transition::Stay(WaitReason::Forced) => "spec.force is set".to_owned(),
        Transition::Stay(WaitReason::SpecHeld) => "the newest spec is not in effect".to_owned(),
        Transition::Stay(WaitReason::Paused) => "the release is paused".to_owned(),
        Transition::Stay(WaitReason::Programming) => {
            format!("not every proxy has step {number} yet")
        }
        Transition::Stay(WaitReason::ReportsMissing) => "not every proxy reports".to_owned(),
        Transition::Stay(WaitReason::Holding) => {
            format!("the hold of step {number} is not over yet")
        }
        Transition::Stay(WaitReason::AwaitingVerdict) => {
            format!("step {number} still waits for its verdict")
        }
        _ => format!("step {number} does not wait for its approval now"),
    })
}

impl AdvanceContext<'_> {
    /// Answers the request, if it is a new one.
    pub(crate) fn answer(&mut self, fleet: &FleetAcknowledgement) {
        let Some(text) = asked(&self.progress, self.seen) else {
            return;
        };
        let (result, message) = match text.parse::<CommandRequest>() {
            Err(unreadable) => (RequestResult::Refused, unreadable.to_string()),
            Ok(request) if request.token != self.progress.token => (
                RequestResult::Stale,
                "its token is not the present one, which is in status.requestToken; look again and ask anew"
                    .into(),
            ),
            Ok(request) => {
                let answer = self.execute(request.command, fleet);
                self.renew_token(text);
                match answer {
                    Ok(done) => (RequestResult::Done, done),
                    Err(why) => (RequestResult::Refused, why),
                }
            }
        };
        let reason = match result {
            RequestResult::Done => EventReason::RequestDone,
            RequestResult::Stale => EventReason::RequestStale,
            RequestResult::Refused => EventReason::RequestRefused,
        };
        self.tell(reason, format!("{text}: {message}"));
        self.progress.last_request = Some(HandledRequest {
            request: text.to_owned(),
            result: result.into(),
            message,
            time: self.now.wall,
        });
    }

    fn execute(&mut self, command: ReleaseCommand, fleet: &FleetAcknowledgement) -> CommandResult {
        if self.plan.gray.is_none() {
            return Err("there is no gray version in the spec".into());
        }
        match command {
            ReleaseCommand::Pause => self.pause(),
            ReleaseCommand::Resume => self.resume(),
            ReleaseCommand::Approve(step) => self.approve(step, fleet),
            _ if self.is_forced() => {
                Err("spec.force is set, which comes before everything; unset it first".into())
            }
            ReleaseCommand::Rollback => self.request_rollback(),
            _ if self.held.is_some() => {
                Err("the spec as it is written is not in effect; see the conditions and put it right first"
                    .into())
            }
            ReleaseCommand::Promote | ReleaseCommand::Retry if self.seen.unwritable.is_some() => {
                let why = self.seen.unwritable.as_deref().unwrap_or_default();
                Err(format!("progress cannot be written ({why}), and nothing rises until it can"))
            }
            ReleaseCommand::Promote => self.promote(),
            ReleaseCommand::Retry => self.retry(),
        }
    }

    /// Without a number only a step that waits for its approval and for nothing before it has one, so that a second Enter
    /// never approves a gate that nobody has seen. By number the present step has it before its hold is over, too.
    fn approve(&mut self, step: Option<NonZeroU32>, fleet: &FleetAcknowledgement) -> CommandResult {
        let ratio = self.progress.state.ratio();
        let number = steps::number(self.steps(), ratio);
        let asks = steps::needs_approval(self.steps(), ratio);
        let facts = self.facts(fleet);
        let next = next(&self.progress.state, &facts);
        let RolloutState::Moving(moving) = &mut self.progress.state else {
            return Err("the release is not on its way, nothing waits for an approval".into());
        };
        if let Some(step) = step
            .map(|step| step.get() as usize)
            .filter(|step| *step != number)
        {
            let why = if step > number {
                "has not begun"
            } else {
                "is over"
            };
            return Err(format!(
                "step {step} {why}, the release is at step {number}"
            ));
        }
        if !asks {
            return Err(format!("step {number} asks for no approval"));
        }
        if step.is_none() {
            if moving.approved {
                return Err(format!(
                    "step {number} is approved already; nothing else waits for an approval"
                ));
            }
            if let Some(why) = approval_blocker(next, number) {
                return Err(format!(
                    "{why}; to approve it ahead, name it: --step {number}, or approve/{number}"
                ));
            }
        }
        moving.approved = true;
        let when = match (facts.hold_over, facts.passed) {
            (false, _) => " once its hold is over",
            (true, false) => " once it has its verdict",
            (true, true) => "",
        };
        Ok(format!("step {number} may go on{when}"))
    }

    fn promote(&mut self) -> CommandResult {
        let (target, ratio) = (self.plan.target(), self.progress.state.ratio());
        match &self.progress.state {
            RolloutState::RolledBack(_) => {
                return Err("the release is rolled back; retry it first".into());
            }
            RolloutState::Promoted { .. } | RolloutState::TargetReached { .. }
                if ratio >= target =>
            {
                return Err(format!("the target of {target} is reached already"));
            }
            _ => {}
        }
        if target == Ratio::ZERO {
            return Err("the target is 0; raise spec.targetRatio first".into());
        }
        if target < ratio {
            return Err(format!(
                "the target of {target} is below the present ratio of {ratio}"
            ));
        }
        self.may_go_on()?;
        if let Some(obstacle) = &self.seen.unresolved {
            return Err(obstacle.message.clone());
        }
        if !self.gray_ready() {
            return Err("gray has no ready endpoint".into());
        }
        self.new_stage();
        self.reach(
            PausableTimer::standing(steps::hold(self.steps(), target)),
            "by request",
        );
        Ok(format!("{target} of users to {}", self.gray_version()))
    }

    fn may_go_on(&self) -> Result<(), String> {
        if self.plan.paused {
            return Err("spec.paused is set; unset it first".into());
        }
        if self.progress.paused {
            return Err("the release is paused; resume it first".into());
        }
        Ok(())
    }

    fn request_rollback(&mut self) -> CommandResult {
        if !self.progress.may_be_on_gray(&self.plan) {
            return Err("nobody is on gray, there is nothing to roll back".into());
        }
        if !self.stable_ready() {
            return Err(format!(
                "{} has no ready endpoint to go back to",
                self.stable_version()
            ));
        }
        self.roll_back("Requested", "by request".into());
        Ok(format!(
            "everyone goes back to {}{}",
            self.stable_version(),
            self.follower()
        ))
    }

    /// What a rollback sets free: a newest spec that only waited for what is over now takes effect with the next turn.
    fn follower(&self) -> String {
        let follower = self.wanted.filter(|plan| {
            let waited =
                self.held.is_some() && self.seen.refusal.is_none() && !self.progress.is_about(plan);
            waited && adopt::hold_back(plan, &self.progress, self.seen).is_none()
        });
        follower.and_then(|plan| plan.gray.as_ref()).map_or_else(String::new, |gray| {
            format!(
                "; {} of the newest spec follows now, from its first step: pause it if it is not to",
                gray.arm.version
            )
        })
    }

    fn retry(&mut self) -> CommandResult {
        if !matches!(self.progress.state, RolloutState::RolledBack(_)) {
            return Err("the release is not rolled back, there is nothing to retry".into());
        }
        self.progress.paused = false;
        self.progress.memory.failed_users = UserSketch::default();
        self.begin_step(Ratio::ZERO);
        let started_at = self.now.wall;
        let attempt = self.progress.release.as_mut().map_or(1, |release| {
            release.attempt = release.attempt.saturating_add(1);
            release.started_at = started_at;
            release.attempt
        });
        let message = format!("attempt {attempt} of {} begins", self.gray_version());
        self.tell(EventReason::ReleaseStarted, message.clone());
        Ok(message)
    }

    fn pause(&mut self) -> CommandResult {
        if !matches!(self.progress.state, RolloutState::Moving(_)) {
            return Err("the release is not on its way, there is nothing to pause".into());
        }
        if self.progress.paused {
            return Ok("it was paused before".into());
        }
        self.progress.paused = true;
        self.tell(EventReason::Paused, "paused by request");
        Ok("advancing stops; the release is still judged and may roll back".into())
    }

    fn resume(&mut self) -> CommandResult {
        if !self.progress.paused {
            let why = "spec.paused is set, which a request cannot lift";
            return Err(if self.plan.paused {
                why
            } else {
                "the release is not paused"
            }
            .into());
        }
        self.progress.paused = false;
        if let RolloutState::Moving(moving) = &mut self.progress.state {
            moving.patience = None;
        }
        if self.progress.evidence.ruling().verdict == Verdict::Fail {
            self.forget_evidence();
        }
        self.tell(EventReason::Resumed, "resumed by request");
        let rest = if self.plan.paused {
            "; spec.paused still stops it"
        } else {
            ""
        };
        Ok(format!("advancing goes on{rest}"))
    }
}
