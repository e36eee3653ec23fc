//! Whether a release is on its way, is where it should be, or wants a person; and whether it has come to an end, with
//! which `halftone watch` ends. Pure: from what the API server shows.

use std::process::ExitCode;

use halftone_api::GrayRelease;
use halftone_api::spec::{GrayReleaseStatus, OpenEnum, Phase};

use crate::cluster::pending_request::waiting;

/// How much a release wants to be looked at, those first that want it most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AttentionLevel {
    /// It stands until a person does something.
    WantsYou,
    /// It goes on by itself.
    Moving,
    /// It is where it was to go.
    Settled,
}

impl AttentionLevel {
    /// Of a release with this status.
    pub(crate) fn of(status: &GrayReleaseStatus) -> Self {
        match status.phase.as_ref().and_then(OpenEnum::known) {
            _ if is(status, "Stalled", "True") => Self::WantsYou,
            Some(Phase::AwaitingApproval | Phase::Paused | Phase::Refused | Phase::RolledBack) => {
                Self::WantsYou
            }
            Some(Phase::Promoted | Phase::TargetReached | Phase::Idle)
                if !is(status, "Ready", "False") =>
            {
                Self::Settled
            }
            _ => Self::Moving,
        }
    }
}

fn is(status: &GrayReleaseStatus, condition: &str, value: &str) -> bool {
    status
        .conditions
        .iter()
        .any(|found| found.type_ == condition && found.status == value)
}

/// How a release came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchEnd {
    /// Where it was to go, or it has nowhere to go.
    Reached,
    /// Elsewhere: it was rolled back, is refused, or stands until a person mends what stalls it.
    Missed,
}

impl From<WatchEnd> for ExitCode {
    fn from(end: WatchEnd) -> Self {
        match end {
            WatchEnd::Reached => Self::SUCCESS,
            WatchEnd::Missed => Self::FAILURE,
        }
    }
}

impl WatchEnd {
    /// The end of a release as it stands, if its operator has seen the present spec and answered the present request. With
    /// `gray` only that version's release comes to an end.
    pub(crate) fn of(release: &GrayRelease, gray: Option<&str>) -> Option<Self> {
        let version = release.spec.gray.as_ref().map(|arm| arm.version.as_str());
        if gray.is_some() && gray != version {
            return None;
        }
        let status = release.status.as_ref()?;
        let generation = release.metadata.generation.unwrap_or_default();
        if status.observed_generation < generation || waiting(release).is_some() {
            return None;
        }
        match status.phase.as_ref()?.known()? {
            _ if AttentionLevel::of(status) == AttentionLevel::Settled => Some(Self::Reached),
            _ if is(status, "Stalled", "True") => Some(Self::Missed),
            Phase::RolledBack | Phase::Refused => Some(Self::Missed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use halftone_rollout::command_request::REQUEST_ANNOTATION;
    use kube::ResourceExt;
    use serde_json::json;

    use super::*;

    fn release(phase: &str) -> GrayRelease {
        let text = include_str!("../../examples/minimal.yaml");
        let mut release = halftone_api::manifest::read("minimal.yaml", text).manifests[0]
            .release
            .clone();
        release.metadata.generation = Some(2);
        release.status =
            Some(serde_json::from_value(json!({"observedGeneration": 2, "phase": phase})).unwrap());
        release
    }

    #[test]
    fn a_release_ends_at_its_target_or_back_at_stable() {
        for (phase, end) in [
            ("Holding", None),
            ("AwaitingApproval", None),
            ("RollingBack", None),
            ("Paused", None),
            ("Promoted", Some(WatchEnd::Reached)),
            ("TargetReached", Some(WatchEnd::Reached)),
            ("RolledBack", Some(WatchEnd::Missed)),
            ("Refused", Some(WatchEnd::Missed)),
        ] {
            assert_eq!(WatchEnd::of(&release(phase), None), end, "{phase}");
        }
    }

    #[test]
    fn the_end_of_the_version_before_is_not_the_one_that_is_waited_for() {
        let promoted = release("Promoted");
        assert_eq!(WatchEnd::of(&promoted, Some("v2")), Some(WatchEnd::Reached));
        assert_eq!(WatchEnd::of(&promoted, Some("v3")), None);
    }

    #[test]
    fn a_route_whose_service_is_missing_has_not_ended() {
        let mut missing = release("Idle");
        assert_eq!(WatchEnd::of(&missing, None), Some(WatchEnd::Reached));
        let ready = json!([{"type": "Ready", "status": "False", "reason": "ServiceNotFound", "message": "",
            "lastTransitionTime": "2026-11-21T10:00:00Z"}]);
        missing.status.as_mut().unwrap().conditions = serde_json::from_value(ready).unwrap();
        assert_eq!(WatchEnd::of(&missing, None), None);
    }

    #[test]
    fn a_release_that_stalls_has_ended_and_one_that_waits_for_a_person_has_not() {
        let mut stalled = release("RollingBack");
        let condition = json!([{"type": "Stalled", "status": "True", "reason": "StableUnavailable",
            "message": "", "lastTransitionTime": "2026-11-21T10:00:00Z"}]);
        stalled.status.as_mut().unwrap().conditions = serde_json::from_value(condition).unwrap();
        assert_eq!(WatchEnd::of(&stalled, None), Some(WatchEnd::Missed));
        assert_eq!(WatchEnd::of(&release("Paused"), None), None);
    }

    #[test]
    fn what_the_operator_has_not_seen_yet_is_no_end() {
        let mut edited = release("Promoted");
        edited.metadata.generation = Some(3);
        assert_eq!(WatchEnd::of(&edited, None), None);
        let mut asked = release("RolledBack");
        asked
            .annotations_mut()
            .insert(REQUEST_ANNOTATION.into(), "retry@t".into());
        assert_eq!(WatchEnd::of(&asked, None), None);
    }

    #[test]
    fn those_that_want_a_person_come_before_those_that_move() {
        let course = |phase| AttentionLevel::of(&release(phase).status.unwrap());
        assert!(course("RolledBack") < course("Holding") && course("Holding") < course("Promoted"));
        let mut stuck = release("Holding").status.unwrap();
        stuck.conditions = serde_json::from_value(
            json!([{"type": "Stalled", "status": "True", "reason": "HostConflict",
            "message": "", "lastTransitionTime": "2026-11-21T10:00:00Z"}]),
        )
        .unwrap();
        assert_eq!(AttentionLevel::of(&stuck), AttentionLevel::WantsYou);
    }
}
