//! What an installation still has of a release that another one has had since: a document and the spec beside it, which
//! tell of the time before. Pure.

use halftone_api::GrayReleaseStatus;
use halftone_api::spec::ControllerStatus;
use xxhash_rust::xxh3::xxh3_128;

use crate::objects::Kept;

/// The revision from which on `us` has a release, 0 if no other installation had it.
#[must_use]
pub fn since(us: &str, status: &GrayReleaseStatus) -> i64 {
    match &status.controller {
        Some(controller) if controller.id == us => controller.since_revision,
        Some(_) => status.revision.unwrap_or(0).max(0),
        None => 0,
    }
}

/// Whether `kept` is from before another installation had the release.
#[must_use]
pub fn is_past(us: &str, status: &GrayReleaseStatus, kept: &Kept) -> bool {
    kept.live().is_some_and(|live| i128::from(live.revision.get()) < i128::from(since(us, status)))
}

/// What `status.controller.acceptedSpec` says of a spec.
#[must_use]
pub fn digest(spec: &str) -> String {
    format!("{:032x}", xxh3_128(spec.as_bytes()))
}

/// Whether `spec` may be the one in effect, by the last that wrote the status.
#[must_use]
pub fn may_be_in_effect(spec: Option<&str>, controller: Option<&ControllerStatus>) -> bool {
    controller.is_none_or(|controller| controller.accepted_spec == spec.map(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(controller: Option<(&str, i64)>) -> GrayReleaseStatus {
        let controller = controller.map(|(id, since_revision)| ControllerStatus {
            id: id.to_owned(),
            since_revision,
            accepted_spec: Some(digest("{}")),
            ..ControllerStatus::default()
        });
        GrayReleaseStatus { controller, revision: Some(7), ..GrayReleaseStatus::default() }
    }

    #[test]
    fn what_another_installation_had_is_from_its_last_revision_on_our_own() {
        for (controller, expected) in [
            (None, 0),
            (Some(("a/a", 0)), 0),
            (Some(("a/a", 5)), 5),
            (Some(("b/b", 0)), 7),
            (Some(("b/b", 9)), 7),
        ] {
            assert_eq!(since("a/a", &status(controller)), expected, "{controller:?}");
        }
    }

    #[test]
    fn a_status_that_names_no_spec_in_effect_knows_of_none() {
        let anothers = status(Some(("b/b", 0))).controller.unwrap();
        assert!(may_be_in_effect(Some("{}"), Some(&anothers)));
        assert!(!may_be_in_effect(Some("{ }"), Some(&anothers)));
        let none = ControllerStatus { accepted_spec: None, ..anothers };
        assert!(!may_be_in_effect(Some("{}"), Some(&none)));
        assert!(may_be_in_effect(Some("{}"), None), "nobody says anything");
    }
}
