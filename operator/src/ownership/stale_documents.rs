//! What an installation still has of a release that another one has had since: a document and the spec beside it, which
//! tell of the time before. Pure.

use halftone_api::GrayReleaseStatus;
use halftone_api::spec::ControllerStatus;
use xxhash_rust::xxh3::xxh3_128;

use crate::compressed_text::CompressedText;
use crate::objects::{ReleaseConfigMap, spec_text};

/// The revision from which on `us` has a release, 0 if no other installation had it. Two of one namespace have the same
/// ConfigMaps, so that nothing is past between them.
#[must_use]
pub fn since(us: &str, status: &GrayReleaseStatus) -> u64 {
    let Some(controller) = &status.controller else {
        return 0;
    };
    let revision = if controller.namespace() == ControllerStatus::namespace_of(us) {
        controller.since_revision
    } else {
        status.revision.unwrap_or(0)
    };
    u64::try_from(revision).unwrap_or(0)
}

/// Whether `kept` is, or may be, from before another installation had the release.
#[must_use]
pub fn is_past(since: u64, kept: &ReleaseConfigMap) -> bool {
    kept.live()
        .map_or(since > 0, |live| live.revision.get() < since)
}

/// What `status.controller.acceptedSpec` says of a spec, which an earlier version may have written.
#[must_use]
pub fn digest(spec: &str) -> String {
    let text = serde_json::from_str(spec).map_or_else(|_| spec.to_owned(), |spec| spec_text(&spec));
    format!("{:032x}", xxh3_128(text.as_bytes()))
}

/// Whether `spec` may be the one in effect, by the last that wrote the status.
#[must_use]
pub fn may_be_in_effect(
    spec: Option<&CompressedText>,
    controller: Option<&ControllerStatus>,
) -> bool {
    controller
        .is_none_or(|controller| controller.accepted_spec == spec.map(|spec| digest(&spec.text())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str =
        r#"{"hosts":["a.test"],"stable":{"service":{"name":"one","port":80},"version":"v1"}}"#;

    fn status(controller: Option<(&str, i64)>) -> GrayReleaseStatus {
        let controller = controller.map(|(id, since_revision)| ControllerStatus {
            id: id.to_owned(),
            since_revision,
            accepted_spec: Some(digest(SPEC)),
            ..ControllerStatus::default()
        });
        GrayReleaseStatus {
            controller,
            revision: Some(7),
            ..GrayReleaseStatus::default()
        }
    }

    #[test]
    fn what_an_installation_elsewhere_had_is_from_its_last_revision_on_our_own() {
        for (controller, expected) in [
            (None, 0),
            (Some(("a/a", 0)), 0),
            (Some(("a/a", 5)), 5),
            (Some(("a/renamed", 3)), 3),
            (Some(("b/b", 0)), 7),
            (Some(("b/b", 9)), 7),
        ] {
            assert_eq!(
                since("a/a", &status(controller)),
                expected,
                "{controller:?}"
            );
        }
    }

    #[test]
    fn a_document_that_cannot_be_read_may_be_from_before() {
        let kept = ReleaseConfigMap {
            uid: "7c1f".parse().unwrap(),
            key: None,
            document: Err("broken".to_owned()),
            accepted: None,
            gone_since: None,
            withdrawn_since: None,
            version: String::new(),
            intact: true,
        };
        assert!(is_past(1, &kept));
        assert!(!is_past(0, &kept), "nobody else had the release");
    }

    #[test]
    fn the_spec_in_effect_is_known_however_a_version_writes_it() {
        let anothers = status(Some(("b/b", 0))).controller.unwrap();
        let written = spec_text(&serde_json::from_str(SPEC).unwrap());
        assert_ne!(written, SPEC, "with its defaults");
        assert!(may_be_in_effect(
            Some(&CompressedText::of(&written)),
            Some(&anothers)
        ));
        assert!(!may_be_in_effect(
            Some(&CompressedText::of(&SPEC.replace("v1", "v2"))),
            Some(&anothers)
        ));
        let none = ControllerStatus {
            accepted_spec: None,
            ..anothers
        };
        assert!(
            !may_be_in_effect(Some(&CompressedText::of(SPEC)), Some(&none)),
            "that one knew of none"
        );
        assert!(
            may_be_in_effect(Some(&CompressedText::of(SPEC)), None),
            "nobody says anything"
        );
    }
}
