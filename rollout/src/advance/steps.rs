//! The way to the target: where a ratio stands on it. A release keeps its ratio, not the number of its step, so
//! that an edit of the steps can never move it.

use std::time::Duration;

use halftone_api::plan::Step;
use halftone_routing::document::units::Ratio;

/// The step that holds at `ratio`: the last one at or below it. None below the first.
pub(crate) fn step_at(steps: &[Step], ratio: Ratio) -> Option<&Step> {
    steps.iter().take_while(|step| step.ratio <= ratio).last()
}

/// The number of that step, from 1; 0 below the first.
pub(crate) fn number(steps: &[Step], ratio: Ratio) -> usize {
    steps.iter().take_while(|step| step.ratio <= ratio).count()
}

/// How long `ratio` is held at least; not at all below the first step.
pub(crate) fn hold(steps: &[Step], ratio: Ratio) -> Duration {
    step_at(steps, ratio).map_or(Duration::ZERO, |step| step.hold)
}

/// Whether a person has to let `ratio` go on.
pub(crate) fn needs_approval(steps: &[Step], ratio: Ratio) -> bool {
    step_at(steps, ratio).is_some_and(|step| step.approval)
}

/// The first step above `ratio`.
pub(crate) fn above(steps: &[Step], ratio: Ratio) -> Option<Ratio> {
    steps
        .iter()
        .map(|step| step.ratio)
        .find(|&step| step > ratio)
}
