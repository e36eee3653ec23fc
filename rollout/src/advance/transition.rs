//! The one step function of a release: from its state and what is known to what happens next. A pure table, in
//! order of precedence: force, rollback, a lowered target, paused, the gates of a step up. `advance` gathers the
//! facts and carries the move out.

use std::fmt;

use halftone_routing::config::units::Ratio;

use crate::{
    progress::State,
    spec::{OnFailure, OnInconclusive},
};

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

/// Why a release stays where it is. The names are stable: they are the reasons of the condition `Progressing`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Wait {
    /// `spec.force` is set: ratio, clock and judge stand still.
    Forced,
    /// It ought to go back, and stable has no ready endpoint.
    StableUnavailable,
    /// The object is refused as it is written.
    Refused,
    /// Paused by spec, by command or by a failure.
    Paused,
    /// The target is 0, or there is no gray.
    Idle,
    /// Not every proxy has the document.
    #[default]
    Programming,
    /// A proxy does not report, or serves from its disk.
    ReportsMissing,
    /// The hold is not over.
    Holding,
    /// The hold is over and there is no verdict yet.
    AwaitingVerdict,
    /// A person must approve.
    AwaitingApproval,
    /// The schedule is closed.
    AwaitingWindow,
    /// The schedule has just opened, and not every proxy has reported since.
    AwaitingReports,
    /// A reference leads nowhere.
    RefsUnresolved,
    /// Gray has no ready endpoint.
    GrayUnavailable,
    /// The target is reached, below 100 %.
    TargetReached,
    /// Gray serves everyone.
    Promoted,
    /// It went back.
    RolledBack,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name is the text.
        fmt::Debug::fmt(self, f)
    }
}

/// What is known when a release decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// `spec.force` is set.
    pub forced: bool,
    /// The object is refused as it is written; this is about the plan accepted before.
    pub refused: bool,
    /// Paused, by spec, by command or by a failure.
    pub paused: bool,
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
    if facts.failed && facts.on_failure == OnFailure::Rollback {
        return back(Move::RollBack(Cause::Failed), facts);
    }
    if facts.target < ratio {
        return back(Move::Lower(facts.target), facts);
    }
    if facts.target > ratio && !facts.refused {
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
    match gate(facts) {
        Some(wait) => Move::Stay(wait),
        None if facts.target == ratio => Move::Reach,
        None => rise(facts),
    }
}

/// What moves users to stable waits for stable to have a ready endpoint.
fn back(go: Move, facts: &Facts) -> Move {
    if facts.stable_ready { go } else { Move::Stay(Wait::StableUnavailable) }
}

/// The first gate before the end of a step that is closed.
fn gate(facts: &Facts) -> Option<Wait> {
    let gates = [
        (facts.refused, Wait::Refused),
        (facts.paused, Wait::Paused),
        (!facts.acknowledged, Wait::Programming),
        (facts.target == Ratio::ZERO, Wait::Idle),
        (!facts.reporting, Wait::ReportsMissing),
        (!facts.hold_over, Wait::Holding),
        (!facts.passed, Wait::AwaitingVerdict),
        (!facts.approved, Wait::AwaitingApproval),
        (!facts.resolved, Wait::RefsUnresolved),
        (!facts.gray_ready, Wait::GrayUnavailable),
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
