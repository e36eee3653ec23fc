//! The one step function of a release: from its state and what is known to what happens next. A pure table, in
//! order of precedence: force, rollback, a lowered target, paused, the gates of a step up. `advance` gathers the
//! facts and carries the move out.

use halftone_api::spec::{OnFailure, OnInconclusive};
use halftone_routing::config::units::Ratio;

use crate::{progress::State, standing::Wait};

/// What a release does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// Nothing, and why.
    Stay(Wait),
    /// To the next step.
    Up(Ratio),
    /// To a target that was lowered below the present ratio.
    Lower(Ratio),
    /// The target's own hold is over with `Pass`.
    Reach,
    /// From a reached target on to one that was raised.
    GoOn,
    /// Back to ratio 0.
    RollBack(Cause),
    /// Stop advancing until a person resumes.
    Pause(Cause),
}

/// What ends or pauses a release without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The judge's `Fail`.
    Failed,
    /// Hold and patience are over without a verdict.
    Inconclusive,
}

/// What is known when a release decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
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
pub(crate) fn next(state: &State, facts: &Facts) -> Move {
    if facts.forced && !matches!(state, State::Plain) {
        return Move::Stay(Wait::Forced);
    }
    match state {
        State::Plain => Move::Stay(Wait::Idle),
        State::RolledBack(_) => Move::Stay(Wait::RolledBack),
        State::Moving(moving) => next_of_moving(moving.ratio, facts),
        State::TargetReached { ratio, .. } => next_of_reached(*ratio, Wait::TargetReached, facts),
        State::Promoted { .. } => next_of_reached(Ratio::FULL, Wait::Promoted, facts),
    }
}

fn next_of_reached(ratio: Ratio, rest: Wait, facts: &Facts) -> Move {
    if facts.failed {
        match facts.on_failure {
            OnFailure::Rollback => return back(Move::RollBack(Cause::Failed), facts),
            OnFailure::Pause if !facts.stopped => return Move::Pause(Cause::Failed),
            OnFailure::Pause => {}
        }
    }
    if facts.target < ratio {
        return back(Move::Lower(facts.target), facts);
    }
    if facts.stopped {
        return Move::Stay(Wait::Paused);
    }
    if facts.target > ratio && !facts.held && facts.writable {
        return Move::GoOn;
    }
    Move::Stay(rest)
}

fn next_of_moving(ratio: Ratio, facts: &Facts) -> Move {
    if facts.failed {
        match facts.on_failure {
            OnFailure::Rollback => return back(Move::RollBack(Cause::Failed), facts),
            OnFailure::Pause if !facts.paused => return Move::Pause(Cause::Failed),
            OnFailure::Pause => {}
        }
    }
    if facts.inconclusive {
        match facts.on_inconclusive {
            OnInconclusive::Rollback => return back(Move::RollBack(Cause::Inconclusive), facts),
            OnInconclusive::Pause if !facts.paused => return Move::Pause(Cause::Inconclusive),
            OnInconclusive::Pause | OnInconclusive::Wait => {}
        }
    }
    if facts.target < ratio {
        return back(Move::Lower(facts.target), facts);
    }
    match gate(ratio, facts) {
        Some(wait) => Move::Stay(wait),
        None if facts.target == ratio => Move::Reach,
        None => rise(facts),
    }
}

/// What moves users to stable waits for stable to have a ready endpoint.
fn back(go: Move, facts: &Facts) -> Move {
    if facts.stable_ready { go } else { Move::Stay(Wait::Stranded) }
}

/// The first gate before the end of a step that is closed. Where gray serves everyone already, reaching the target needs no
/// stable.
fn gate(ratio: Ratio, facts: &Facts) -> Option<Wait> {
    let gates = [
        (facts.held, Wait::SpecHeld),
        (facts.paused, Wait::Paused),
        (!facts.acknowledged, Wait::Programming),
        (facts.target == Ratio::ZERO, Wait::Idle),
        (!facts.reporting, Wait::ReportsMissing),
        (!facts.hold_over, Wait::Holding),
        (!facts.passed, Wait::AwaitingVerdict),
        (!facts.approved, Wait::AwaitingApproval),
        (!facts.resolved, Wait::RefsUnresolved),
        (!facts.stable_ready && ratio < Ratio::FULL, Wait::StableUnavailable),
        (!facts.gray_ready, Wait::GrayUnavailable),
        (!facts.writable, Wait::NotPersisted),
    ];
    gates.into_iter().find_map(|(closed, wait)| closed.then_some(wait))
}

/// A step up, if the schedule lets it; reaching the target at its own ratio needs no window.
fn rise(facts: &Facts) -> Move {
    if !facts.window_open {
        Move::Stay(Wait::AwaitingWindow)
    } else if !facts.fresh {
        Move::Stay(Wait::AwaitingReports)
    } else {
        Move::Up(facts.next)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{clock::Timer, progress::Moving};

    fn ratio(percent: u32) -> Ratio {
        Ratio::from_millionths(percent * 10_000).unwrap()
    }

    fn moving(percent: u32) -> State {
        State::Moving(Moving::at(ratio(percent), Duration::ZERO))
    }

    fn reached(percent: u32) -> State {
        let over = Timer::standing(Duration::ZERO);
        State::TargetReached { ratio: ratio(percent), hold: over, watch: over }
    }

    /// A step that has all that it needs to go on from 10 % to 50 %, on its way to 100 %.
    fn ready() -> Facts {
        Facts {
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

    type Close = fn(&mut Facts);

    /// Everything that can stand in the way, from what counts most; each hides all that come after it.
    const IN_THE_WAY: [(Wait, Close); 14] = [
        (Wait::Forced, |facts| facts.forced = true),
        (Wait::SpecHeld, |facts| facts.held = true),
        (Wait::Paused, |facts| facts.paused = true),
        (Wait::Programming, |facts| facts.acknowledged = false),
        (Wait::ReportsMissing, |facts| facts.reporting = false),
        (Wait::Holding, |facts| facts.hold_over = false),
        (Wait::AwaitingVerdict, |facts| facts.passed = false),
        (Wait::AwaitingApproval, |facts| facts.approved = false),
        (Wait::RefsUnresolved, |facts| facts.resolved = false),
        (Wait::StableUnavailable, |facts| facts.stable_ready = false),
        (Wait::GrayUnavailable, |facts| facts.gray_ready = false),
        (Wait::NotPersisted, |facts| facts.writable = false),
        (Wait::AwaitingWindow, |facts| facts.window_open = false),
        (Wait::AwaitingReports, |facts| facts.fresh = false),
    ];

    #[test]
    fn each_gate_stops_a_step_and_hides_the_gates_after_it() {
        assert_eq!(next(&moving(10), &ready()), Move::Up(ratio(50)));
        let mut facts = ready();
        for (wait, close) in IN_THE_WAY.iter().rev() {
            let mut alone = ready();
            close(&mut alone);
            assert_eq!(next(&moving(10), &alone), Move::Stay(*wait));
            close(&mut facts);
            assert_eq!(next(&moving(10), &facts), Move::Stay(*wait));
        }
    }

    #[test]
    fn a_failure_goes_over_everything_but_force_and_a_stable_that_is_not_there() {
        let mut facts = Facts { failed: true, target: ratio(1), ..ready() };
        for (_, close) in &IN_THE_WAY[1..] {
            close(&mut facts);
        }
        facts.stable_ready = true;
        let states = [moving(10), State::Promoted { watch: Timer::standing(Duration::ZERO), kept: None }];
        for state in states {
            assert_eq!(next(&state, &facts), Move::RollBack(Cause::Failed));
            let stranded = Facts { stable_ready: false, ..facts };
            assert_eq!(next(&state, &stranded), Move::Stay(Wait::Stranded));
            let forced = Facts { forced: true, ..facts };
            assert_eq!(next(&state, &forced), Move::Stay(Wait::Forced));
        }
    }

    #[test]
    fn a_lowered_target_goes_over_every_gate_of_a_step_up() {
        let mut facts = Facts { target: ratio(5), ..ready() };
        for (_, close) in &IN_THE_WAY[1..] {
            close(&mut facts);
        }
        facts.stable_ready = true;
        let watch = Timer::standing(Duration::ZERO);
        for state in [moving(10), reached(10), State::Promoted { watch, kept: None }] {
            assert_eq!(next(&state, &facts), Move::Lower(ratio(5)));
            let stranded = Facts { stable_ready: false, ..facts };
            assert_eq!(next(&state, &stranded), Move::Stay(Wait::Stranded));
        }
    }

    #[test]
    fn what_follows_a_failure_or_no_verdict_is_as_written() {
        let pause = Facts { failed: true, on_failure: OnFailure::Pause, ..ready() };
        let undecided = Facts { inconclusive: true, passed: false, ..ready() };
        let after = |on_inconclusive| Facts { on_inconclusive, ..undecided };
        for (facts, expected) in [
            (pause, Move::Pause(Cause::Failed)),
            (Facts { paused: true, ..pause }, Move::Stay(Wait::Paused)),
            (after(OnInconclusive::Wait), Move::Stay(Wait::AwaitingVerdict)),
            (after(OnInconclusive::Pause), Move::Pause(Cause::Inconclusive)),
            (Facts { paused: true, ..after(OnInconclusive::Pause) }, Move::Stay(Wait::Paused)),
            (after(OnInconclusive::Rollback), Move::RollBack(Cause::Inconclusive)),
        ] {
            assert_eq!(next(&moving(10), &facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_watch_that_fails_pauses_if_the_spec_says_so_and_still_goes_back_to_a_lowered_target() {
        let failed = Facts { failed: true, on_failure: OnFailure::Pause, ..ready() };
        let stopped = Facts { paused: true, stopped: true, ..failed };
        let watch = Timer::standing(Duration::ZERO);
        for state in [State::Promoted { watch, kept: None }, reached(50)] {
            assert_eq!(next(&state, &failed), Move::Pause(Cause::Failed));
            assert_eq!(next(&state, &stopped), Move::Stay(Wait::Paused));
            assert_eq!(next(&state, &Facts { target: ratio(5), ..stopped }), Move::Lower(ratio(5)));
        }
    }

    #[test]
    fn the_end_of_the_last_step_is_the_target_and_a_raised_one_goes_on() {
        let watch = Timer::standing(Duration::ZERO);
        let closed = Facts { window_open: false, fresh: false, stable_ready: false, ..ready() };
        assert_eq!(
            next(&moving(100), &closed),
            Move::Reach,
            "no users move, neither a window nor stable is needed"
        );
        assert_eq!(next(&reached(50), &ready()), Move::GoOn);
        for close in [|facts: &mut Facts| facts.held = true, |facts: &mut Facts| facts.writable = false] {
            let mut facts = ready();
            close(&mut facts);
            assert_eq!(next(&reached(50), &facts), Move::Stay(Wait::TargetReached));
        }
        assert_eq!(next(&State::Promoted { watch, kept: None }, &ready()), Move::Stay(Wait::Promoted));
        assert_eq!(next(&moving(0), &Facts { target: Ratio::ZERO, ..ready() }), Move::Stay(Wait::Idle));
        assert_eq!(next(&State::Plain, &Facts { forced: true, ..ready() }), Move::Stay(Wait::Idle));
    }
}
