//! Pure: whether `/readyz` says yes.

use std::time::Duration;

use halftone_routing::report::RejectedDocument;

use crate::report::Documents;

/// How long a proxy that kept documents from an earlier run waits for its source before it serves by them. Long
/// enough that in ordinary times no user meets an older split, short enough that a proxy restarted while the source
/// is away still serves.
pub(super) const SOURCE_GRACE: Duration = Duration::from_secs(5);
/// How long endpoints that cannot be listed keep a proxy from being ready. A namespace that is gone, or whose Role is,
/// must not keep new proxies from everyone else's users.
const ENDPOINTS_GRACE: Duration = Duration::from_secs(90);

/// Once ready, a proxy stays ready until it drains: losing the source later loses no traffic.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    settled: bool,
}

impl Readiness {
    /// Why `/readyz` says no; none if it says yes. `listed`: the source's first list was applied; `missing`: endpoints
    /// that it names and that are not known yet; `waited`: since the start.
    pub(super) fn objection(
        &mut self,
        documents: &Documents,
        listed: bool,
        missing: Option<&str>,
        waited: Duration,
    ) -> Option<String> {
        if self.settled {
            return None;
        }
        if !listed {
            self.settled =
                documents.stale && !documents.applied.is_empty() && waited >= SOURCE_GRACE;
            return (!self.settled)
                .then(|| "the first list of documents is not complete".to_owned());
        }
        let refused = documents
            .rejected
            .iter()
            .find(|rejected| !has_last_good(documents, rejected));
        let objection = refused.map(|rejected| {
            format!(
                "{} is refused ({}) and no earlier version is at hand",
                rejected.source, rejected.reason
            )
        });
        let missing = missing.filter(|_| waited < ENDPOINTS_GRACE);
        let objection = objection.or_else(|| missing.map(str::to_owned));
        self.settled = objection.is_none();
        objection
    }
}

fn has_last_good(documents: &Documents, rejected: &RejectedDocument) -> bool {
    if documents.fleet_source.as_deref() == Some(&rejected.source) {
        return documents.fleet.is_some();
    }
    // The successor of a superseded document serves in its place.
    rejected.reason == "Superseded"
        || rejected
            .uid
            .as_ref()
            .is_some_and(|uid| documents.applied.contains_key(uid))
}

#[cfg(test)]
mod tests {
    use halftone_routing::report::AppliedDocument;

    use super::*;
    use crate::report::ServedDocument;

    const LATE: Duration = Duration::from_secs(60);

    fn documents(applied: &[&str], rejected: &[(&str, Option<&str>, &str)]) -> Documents {
        let applied = applied.iter().map(|uid| {
            let document = AppliedDocument {
                uid: uid.parse().unwrap(),
                revision: 1.try_into().unwrap(),
                checksum: format!("sha256:{}", "0".repeat(64)).try_into().unwrap(),
                ignored_fields: Vec::new(),
                open_long: 0,
            };
            (
                document.uid.clone(),
                ServedDocument {
                    document,
                    gray_ended: false,
                },
            )
        });
        let rejected = rejected
            .iter()
            .map(|(source, uid, reason)| RejectedDocument {
                source: (*source).to_owned(),
                uid: uid.map(|uid| uid.parse().unwrap()),
                revision: None,
                checksum: None,
                reason: (*reason).to_owned(),
                message: String::new(),
            });
        let fleet_source = Some("fleet.yaml".into());
        Documents {
            applied: applied.collect(),
            rejected: rejected.collect(),
            fleet_source,
            ..Documents::default()
        }
    }

    #[test]
    fn ready_means_that_the_first_list_is_applied_or_has_a_last_good_one() {
        for (documents, ready) in [
            (documents(&[], &[]), true),
            (documents(&["a"], &[]), true),
            (documents(&["a"], &[("b.yaml", None, "Malformed")]), false),
            (
                documents(&["a"], &[("b.yaml", Some("b"), "Invalid")]),
                false,
            ),
            (
                documents(&["a", "b"], &[("b.yaml", Some("b"), "Invalid")]),
                true,
            ),
            (
                documents(&["a"], &[("old.yaml", Some("old"), "Superseded")]),
                true,
            ),
            (
                documents(&["a"], &[("fleet.yaml", None, "Malformed")]),
                false,
            ),
        ] {
            assert_eq!(
                Readiness::default()
                    .objection(&documents, true, None, LATE)
                    .is_none(),
                ready,
                "{documents:?}"
            );
        }
    }

    #[test]
    fn endpoints_that_are_not_known_yet_are_waited_for_once() {
        let mut readiness = Readiness::default();
        let missing = "the EndpointSlices of namespace shop are not listed";
        let objection = readiness.objection(&documents(&["a"], &[]), true, Some(missing), LATE);
        assert_eq!(objection.as_deref(), Some(missing));
        let at_last =
            Readiness::default().objection(&documents(&["a"], &[]), true, Some(missing), 2 * LATE);
        assert_eq!(at_last, None, "others are served");
        assert!(
            readiness
                .objection(&documents(&["a"], &[]), true, None, LATE)
                .is_none()
        );
        assert!(
            readiness
                .objection(&documents(&["a"], &[]), true, Some(missing), LATE)
                .is_none()
        );
    }

    #[test]
    fn a_proxy_that_was_ready_once_stays_so_whatever_comes() {
        let mut readiness = Readiness::default();
        assert!(
            readiness
                .objection(&documents(&[], &[]), false, None, LATE)
                .is_some()
        );
        assert!(
            readiness
                .objection(&documents(&["a"], &[]), true, None, LATE)
                .is_none()
        );
        assert!(
            readiness
                .objection(
                    &documents(&["a"], &[("b", None, "Malformed")]),
                    true,
                    None,
                    LATE
                )
                .is_none()
        );
    }

    #[test]
    fn a_proxy_with_kept_documents_waits_for_its_source_only_so_long() {
        let kept = Documents {
            stale: true,
            ..documents(&["a"], &[])
        };
        let mut readiness = Readiness::default();
        assert!(
            readiness
                .objection(&kept, false, None, Duration::ZERO)
                .is_some()
        );
        assert!(
            readiness
                .objection(&kept, false, None, SOURCE_GRACE)
                .is_none()
        );
        assert!(
            Readiness::default()
                .objection(&documents(&[], &[]), false, None, LATE)
                .is_some(),
            "nothing was kept"
        );
    }
}
