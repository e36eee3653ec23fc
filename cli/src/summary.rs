//! What every view reads of a release: its name, a condition, its phase, and where it stands in a few words. Pure.

use halftone_api::GrayRelease;
use halftone_api::spec::{GrayReleaseStatus, StateName};
use halftone_rollout::clock::Now;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::output::span;

/// `NAMESPACE/NAME` of an object.
pub(crate) fn name_of(object: &GrayRelease) -> String {
    let metadata = &object.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    format!(
        "{namespace}/{}",
        metadata.name.as_deref().unwrap_or_default()
    )
}

/// One condition of a status.
pub(crate) fn condition<'a>(status: &'a GrayReleaseStatus, kind: &str) -> Option<&'a Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
}

/// The phase in one word.
pub(crate) fn phase(status: &GrayReleaseStatus) -> String {
    status
        .phase
        .as_ref()
        .map_or_else(|| "Pending".to_owned(), |phase| format!("{phase:?}"))
}

/// Phase, step, ratio, and how long it stays so.
pub(crate) fn standing(status: &GrayReleaseStatus, now: Now) -> String {
    let mut text = phase(status);
    if let Some(step) = &status.step {
        text.push_str(&format!(" step {}", step.display));
    }
    if let Some(ratio) = &status.ratio {
        text.push_str(&format!(" at {ratio}"));
    }
    if let Some(seen) = status
        .observed
        .as_ref()
        .and_then(|observed| observed.ratio.as_ref())
    {
        text.push_str(&format!(" (observed {seen})"));
    }
    if let Some(left) = left(status, now) {
        text.push_str(&format!(", {left}"));
    }
    text
}

fn left(status: &GrayReleaseStatus, now: Now) -> Option<String> {
    let rest = |ends: Option<Timestamp>, what: &str| {
        let rest = ends?.duration_since(now.steady);
        // What is left of a second counts as one.
        (!rest.is_negative()).then(|| {
            format!(
                "{what} {} more",
                span(rest + SignedDuration::from_millis(999))
            )
        })
    };
    // A reached target has a hold as well, should it be raised; until then nothing waits for it.
    let reached = status
        .state
        .as_ref()
        .is_some_and(|state| *state == StateName::TargetReached);
    let step = status.step.as_ref().filter(|_| !reached);
    let stands = || {
        Some(format!(
            "hold stands with {} left",
            step?.hold_left.as_ref()?
        ))
    };
    rest(status.watch_ends_at, "watched for")
        .or_else(|| rest(step.and_then(|step| step.hold_ends_at), "holds for"))
        .or_else(|| stands().filter(|text| !text.contains(" 0s ") && !text.contains(" 0ms ")))
        .or_else(|| rest(status.patience_ends_at, "waits for a verdict for"))
}
