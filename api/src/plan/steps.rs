//! From the steps as written to the way that the release goes, the target included.

use std::time::Duration;

use halftone_routing::document::units::Ratio;

use super::reader::{SpecReader, ratio};
use crate::{
    problem::field,
    spec::{StepSpec, rules},
};

/// One ratio and how long it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The share of users that gray gets.
    pub ratio: Ratio,
    /// How long it is held before the next step.
    pub hold: Duration,
    /// Whether a person must approve after the hold.
    pub approval: bool,
}

/// The ramp of whoever writes no steps, in percent.
const RAMP: [u32; 5] = [1, 5, 10, 20, 50];
/// The hold of a step that says nothing else.
const HOLD: Duration = Duration::from_secs(300);

/// The steps as written; without any the usual ramp.
pub(super) fn read(
    reader: &mut SpecReader,
    path: &str,
    steps: Option<&[StepSpec]>,
) -> Option<Vec<Step>> {
    let Some(steps) = steps else {
        let ramp = RAMP
            .iter()
            .filter_map(|percent| Ratio::from_millionths(percent * 10_000));
        return Some(
            ramp.map(|ratio| Step {
                ratio,
                hold: HOLD,
                approval: false,
            })
            .collect(),
        );
    };
    let read = reader.each(path, steps, |reader, path, step| {
        let ratio = reader.ratio(&field(path, "ratio"), &step.ratio);
        let hold = reader.duration(&field(path, "hold"), &step.hold);
        Some(Step {
            ratio: ratio?,
            hold: hold?,
            approval: step.approval,
        })
    });
    // Asked of the ratios alone, so that a hold that cannot be read hides nothing.
    let ratios: Option<Vec<Ratio>> = steps.iter().map(|step| ratio(&step.ratio)).collect();
    if let Some(ratios) = ratios {
        reader.require(
            ratios.is_sorted_by(|one, next| one < next),
            path,
            rules::STEPS_RISE,
        )?;
    }
    read
}

/// The way to `target`: what is above it is left out, and it comes last, with a step of its own ratio or one of
/// five minutes without approval.
pub(super) fn toward(target: Ratio, mut steps: Vec<Step>) -> Vec<Step> {
    steps.retain(|step| step.ratio <= target);
    if steps.last().is_none_or(|last| last.ratio < target) {
        steps.push(Step {
            ratio: target,
            hold: HOLD,
            approval: false,
        });
    }
    steps
}
