//! The one step function of a release: from its state and what is known to what happens next. A pure table, in
//! order of precedence: force, rollback, a lowered target, paused, the gates of a step up. `advance` gathers the
//! facts and carries the move out.

use halftone_api::spec::{OnFailure, OnInconclusive};
use halftone_routing::document::units::Ratio;

use crate::{condition_input::WaitReason, progress::RolloutState};

/// What a release does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    /// Nothing, and why.
    Stay(WaitReason),
    /// To the next step.
    Up(Ratio),
    /// To a target that was lowered below the present ratio.
    Lower(Ratio),
    /// The target's own hold is over with `Pass`.
    Reach,
    /// From a reached target on to one that was raised.
    GoOn,
    /// Back to ratio 0.
    RollBack(FailureCause),
    /// Stop advancing until a person resumes.
    Pause(FailureCause),
}

/// What ends or pauses a release without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureCause {
    /// The judge's `Fail`.
    Failed,
    /// Hold and patience are over without a verdict.
    Inconclusive,
}

/// What is known when a release decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TransitionInput {
    /// `spec.force` is set.
    pub forced: bool,
    /// The newest spec is not in effect; this is about the one before.
    pub held: bool,
    /// Paused, by spec, by command or by a failure.
    pub paused: bool,
    /// Of these by command or by a failure.
    pub stopped: bool,
    /// The verdict is `Fail`.
    pub failed: bool,
    /// What follows then.
    pub on_failure: OnFailure,
    /// Hold and patience are over without a verdict.
    pub inconclusive: bool,
    /// What follows then.
    pub on_inconclusive: OnInconclusive,
    /// The ratio to reach.
    pub target: Ratio,
    /// The first step above the present ratio.
    pub next: Ratio,
    /// Stable has a ready endpoint.
    pub stable_ready: bool,
    /// Gray has a ready endpoint.
    pub gray_ready: bool,
    /// Every reference leads somewhere.
    pub resolved: bool,
    /// Every proxy has the document.
    pub acknowledged: bool,
    /// Every proxy reports, from the present documents.
    pub reporting: bool,
    /// Every proxy has reported since the schedule opened.
    pub fresh: bool,
    /// The hold is over.
    pub hold_over: bool,
    /// The verdict is `Pass`, or nothing is judged here.
    pub passed: bool,
    /// The step asks for no approval, or has it.
    pub approved: bool,
    /// Progress can be written.
    pub writable: bool,
    /// The schedule is open.
    pub window_open: bool,
}

/// What happens next. Pure, and total: every state has an answer to every combination of facts.
pub(crate) fn next(state: &RolloutState, facts: &TransitionInput) -> Transition {
    if facts.forced && !matches!(state, RolloutState::Plain) {
        return Transition::Stay(WaitReason::Forced);
    }
    match state {
        RolloutState::Plain => Transition::Stay(WaitReason::Idle),
        RolloutState::RolledBack(_) => Transition::Stay(WaitReason::RolledBack),
        RolloutState::Moving(moving) => next_of_moving(moving.ratio, facts),
        RolloutState::TargetReached { ratio, .. } => {
            next_of_reached(*ratio, WaitReason::TargetReached, facts)
        }
        RolloutState::Promoted { .. } => next_of_reached(Ratio::FULL, WaitReason::Promoted, facts),
    }
}

fn next_of_reached(ratio: Ratio, rest: WaitReason, facts: &TransitionInput) -> Transition {
    if facts.failed {
        match facts.on_failure {
            OnFailure::Rollback => return back(Transition::RollBack(FailureCause::Failed), facts),
            OnFailure::Pause if !facts.stopped => return Transition::Pause(FailureCause::Failed),
            OnFailure::Pause => {}
        }
    }
    if facts.target < ratio {
        return back(Transition::Lower(facts.target), facts);
    }
    if facts.stopped {
        return Transition::Stay(WaitReason::Paused);
    }
    if facts.target > ratio && !facts.held && facts.writable {
        return Transition::GoOn;
    }
    Transition::Stay(rest)
}

fn next_of_moving(ratio: Ratio, facts: &TransitionInput) -> Transition {
    if facts.failed {
        match facts.on_failure {
            OnFailure::Rollback => return back(Transition::RollBack(FailureCause::Failed), facts),
            OnFailure::Pause if !facts.paused => return Transition::Pause(FailureCause::Failed),
            OnFailure::Pause => {}
        }
    }
    if facts.inconclusive {
        match facts.on_inconclusive {
            OnInconclusive::Rollback => {
                return back(Transition::RollBack(FailureCause::Inconclusive), facts);
            }
            OnInconclusive::Pause if !facts.paused => {
                return Transition::Pause(FailureCause::Inconclusive);
            }
            OnInconclusive::Pause | OnInconclusive::Wait => {}
        }
    }
    if facts.target < ratio {
        return back(Transition::Lower(facts.target), facts);
    }
    match gate(ratio, facts) {
        Some(wait) => Transition::Stay(wait),
        None if facts.target == ratio => Transition::Reach,
        None => rise(facts),
    }
}

/// What moves users to stable waits for stable to have a ready endpoint.
fn back(go: Transition, facts: &TransitionInput) -> Transition {
    if facts.stable_ready {
        go
    } else {
        Transition::Stay(WaitReason::Stranded)
    }
}

/// The first gate before the end of a step that is closed. Where gray serves everyone already, reaching the target needs no
/// stable.
fn gate(ratio: Ratio, facts: &TransitionInput) -> Option<WaitReason> {
    let gates = [
        (facts.held, WaitReason::SpecHeld),
        (facts.paused, WaitReason::Paused),
        (!facts.acknowledged, WaitReason::Programming),
        (facts.target == Ratio::ZERO, WaitReason::Idle),
        (!facts.reporting, WaitReason::ReportsMissing),
        (!facts.hold_over, WaitReason::Holding),
        (!facts.passed, WaitReason::AwaitingVerdict),
        (!facts.approved, WaitReason::AwaitingApproval),
        (!facts.resolved, WaitReason::RefsUnresolved),
        (
            !facts.stable_ready && ratio < Ratio::FULL,
            WaitReason::StableUnavailable,
        ),
        (!facts.gray_ready, WaitReason::GrayUnavailable),
        (!facts.writable, WaitReason::NotPersisted),
    ];
    gates
        .into_iter()
        .find_map(|(closed, wait)| closed.then_some(wait))
}

/// A step up, if the schedule lets it; reaching the target at its own ratio needs no window.
fn rise(facts: &TransitionInput) -> Transition {
    if !facts.window_open {
        Transition::Stay(WaitReason::AwaitingWindow)
    } else if !facts.fresh {
        Transition::Stay(WaitReason::AwaitingReports)
    } else {
        Transition::Up(facts.next)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{clock::PausableTimer, progress::StepProgress};

    fn ratio(percent: u32) -> Ratio {
        Ratio::from_millionths(percent * 10_000).unwrap()
    }

    fn moving(percent: u32) -> RolloutState {
        RolloutState::Moving(StepProgress::at(ratio(percent), Duration::ZERO))
    }

    fn reached(percent: u32) -> RolloutState {
        let over = PausableTimer::standing(Duration::ZERO);
        RolloutState::TargetReached {
            ratio: ratio(percent),
            hold: over,
            watch: over,
        }
    }

    /// A step that has all that it needs to go on from 10 % to 50 %, on its way to 100 %.
    fn ready() -> TransitionInput {
        TransitionInput {
            forced: false,
            held: false,
            paused: false,
            stopped: false,
            failed: false,
            on_failure: OnFailure::Rollback,
            inconclusive: false,
            on_inconclusive: OnInconclusive::Wait,
            target: Ratio::FULL,
            next: ratio(50),
            stable_ready: true,
            gray_ready: true,
            resolved: true,
            acknowledged: true,
            reporting: true,
            fresh: true,
            hold_over: true,
            passed: true,
            approved: true,
            writable: true,
            window_open: true,
        }
    }

    type Close = fn(&mut TransitionInput);

    /// Everything that can stand in the way, from what counts most; each hides all that come after it.
    const IN_THE_WAY: [(WaitReason, Close); 14] = [
        (WaitReason::Forced, |facts| facts.forced = true),
        (WaitReason::SpecHeld, |facts| facts.held = true),
        (WaitReason::Paused, |facts| facts.paused = true),
        (WaitReason::Programming, |facts| facts.acknowledged = false),
        (WaitReason::ReportsMissing, |facts| facts.reporting = false),
        (WaitReason::Holding, |facts| facts.hold_over = false),
        (WaitReason::AwaitingVerdict, |facts| facts.passed = false),
        (WaitReason::AwaitingApproval, |facts| facts.approved = false),
        (WaitReason::RefsUnresolved, |facts| facts.resolved = false),
        (WaitReason::StableUnavailable, |facts| {
            facts.stable_ready = false
        }),
        (WaitReason::GrayUnavailable, |facts| {
            facts.gray_ready = false
        }),
        (WaitReason::NotPersisted, |facts| facts.writable = false),
        (WaitReason::AwaitingWindow, |facts| {
            facts.window_open = false
        }),
        (WaitReason::AwaitingReports, |facts| facts.fresh = false),
    ];

    #[test]
    fn each_gate_stops_a_step_and_hides_the_gates_after_it() {
        assert_eq!(next(&moving(10), &ready()), Transition::Up(ratio(50)));
        let mut facts = ready();
        for (wait, close) in IN_THE_WAY.iter().rev() {
            let mut alone = ready();
            close(&mut alone);
            assert_eq!(next(&moving(10), &alone), Transition::Stay(*wait));
            close(&mut facts);
            assert_eq!(next(&moving(10), &facts), Transition::Stay(*wait));
        }
    }

    #[test]
    fn a_failure_goes_over_everything_but_force_and_a_stable_that_is_not_there() {
        let mut facts = TransitionInput {
            failed: true,
            target: ratio(1),
            ..ready()
        };
        for (_, close) in &IN_THE_WAY[1..] {
            close(&mut facts);
        }
        facts.stable_ready = true;
        let states = [
            moving(10),
            RolloutState::Promoted {
                watch: PausableTimer::standing(Duration::ZERO),
                kept: None,
            },
        ];
        for state in states {
            assert_eq!(
                next(&state, &facts),
                Transition::RollBack(FailureCause::Failed)
            );
            let stranded = TransitionInput {
                stable_ready: false,
                ..facts
            };
            assert_eq!(
                next(&state, &stranded),
                Transition::Stay(WaitReason::Stranded)
            );
            let forced = TransitionInput {
                forced: true,
                ..facts
            };
            assert_eq!(next(&state, &forced), Transition::Stay(WaitReason::Forced));
        }
    }

    #[test]
    fn a_lowered_target_goes_over_every_gate_of_a_step_up() {
        let mut facts = TransitionInput {
            target: ratio(5),
            ..ready()
        };
        for (_, close) in &IN_THE_WAY[1..] {
            close(&mut facts);
        }
        facts.stable_ready = true;
        let watch = PausableTimer::standing(Duration::ZERO);
        for state in [
            moving(10),
            reached(10),
            RolloutState::Promoted { watch, kept: None },
        ] {
            assert_eq!(next(&state, &facts), Transition::Lower(ratio(5)));
            let stranded = TransitionInput {
                stable_ready: false,
                ..facts
            };
            assert_eq!(
                next(&state, &stranded),
                Transition::Stay(WaitReason::Stranded)
            );
        }
    }

    #[test]
    fn what_follows_a_failure_or_no_verdict_is_as_written() {
        let pause = TransitionInput {
            failed: true,
            on_failure: OnFailure::Pause,
            ..ready()
        };
        let undecided = TransitionInput {
            inconclusive: true,
            passed: false,
            ..ready()
        };
        let after = |on_inconclusive| TransitionInput {
            on_inconclusive,
            ..undecided
        };
        for (facts, expected) in [
            (pause, Transition::Pause(FailureCause::Failed)),
            (
                TransitionInput {
                    paused: true,
                    ..pause
                },
                Transition::Stay(WaitReason::Paused),
            ),
            (
                after(OnInconclusive::Wait),
                Transition::Stay(WaitReason::AwaitingVerdict),
            ),
            (
                after(OnInconclusive::Pause),
                Transition::Pause(FailureCause::Inconclusive),
            ),
            (
                TransitionInput {
                    paused: true,
                    ..after(OnInconclusive::Pause)
                },
                Transition::Stay(WaitReason::Paused),
            ),
            (
                after(OnInconclusive::Rollback),
                Transition::RollBack(FailureCause::Inconclusive),
            ),
        ] {
            assert_eq!(next(&moving(10), &facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_watch_that_fails_pauses_if_the_spec_says_so_and_still_goes_back_to_a_lowered_target() {
        let failed = TransitionInput {
            failed: true,
            on_failure: OnFailure::Pause,
            ..ready()
        };
        let stopped = TransitionInput {
            paused: true,
            stopped: true,
            ..failed
        };
        let watch = PausableTimer::standing(Duration::ZERO);
        for state in [RolloutState::Promoted { watch, kept: None }, reached(50)] {
            assert_eq!(
                next(&state, &failed),
                Transition::Pause(FailureCause::Failed)
            );
            assert_eq!(next(&state, &stopped), Transition::Stay(WaitReason::Paused));
            assert_eq!(
                next(
                    &state,
                    &TransitionInput {
                        target: ratio(5),
                        ..stopped
                    }
                ),
                Transition::Lower(ratio(5))
            );
        }
    }

    #[test]
    fn the_end_of_the_last_step_is_the_target_and_a_raised_one_goes_on() {
        let watch = PausableTimer::standing(Duration::ZERO);
        let closed = TransitionInput {
            window_open: false,
            fresh: false,
            stable_ready: false,
            ..ready()
        };
        assert_eq!(
            next(&moving(100), &closed),
            Transition::Reach,
            "no users move, neither a window nor stable is needed"
        );
        assert_eq!(next(&reached(50), &ready()), Transition::GoOn);
        for close in [
            |facts: &mut TransitionInput| facts.held = true,
            |facts: &mut TransitionInput| facts.writable = false,
        ] {
            let mut facts = ready();
            close(&mut facts);
            assert_eq!(
                next(&reached(50), &facts),
                Transition::Stay(WaitReason::TargetReached)
            );
        }
        assert_eq!(
            next(&RolloutState::Promoted { watch, kept: None }, &ready()),
            Transition::Stay(WaitReason::Promoted)
        );
        assert_eq!(
            next(
                &moving(0),
                &TransitionInput {
                    target: Ratio::ZERO,
                    ..ready()
                }
            ),
            Transition::Stay(WaitReason::Idle)
        );
        assert_eq!(
            next(
                &RolloutState::Plain,
                &TransitionInput {
                    forced: true,
                    ..ready()
                }
            ),
            Transition::Stay(WaitReason::Idle)
        );
    }
}
