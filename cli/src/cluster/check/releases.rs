//! How the releases of a cluster stand, in one check: whether proxies report of them and have what they ask for.

use std::collections::BTreeSet;

use halftone_api::GrayRelease;
use jiff::{SignedDuration, Timestamp};

use super::CheckResult;
use crate::attention::AttentionLevel;
use crate::output::CommandError;
use crate::status::{ReleaseList, UnreadableRelease};
use crate::summary::name_of;

/// What proxies lack for longer than this is not on its way any more.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(60);

/// How releases stand at `now`.
pub(super) fn standing(listing: &ReleaseList, now: Timestamp) -> CheckResult {
    let mut told = ReleaseProblems::default();
    listing
        .releases
        .iter()
        .for_each(|release| told.add(release, now));
    told.check(listing)
}

/// What was found, each with the names of its releases.
#[derive(Default)]
struct ReleaseProblems {
    waiting: usize,
    without_reports: BTreeSet<String>,
    behind: BTreeSet<String>,
}

impl ReleaseProblems {
    fn add(&mut self, release: &GrayRelease, now: Timestamp) {
        let Some(status) = &release.status else {
            return;
        };
        self.waiting += usize::from(AttentionLevel::of(status) == AttentionLevel::WantsYou);
        for condition in &status.conditions {
            if condition.reason == "ReportsMissing" {
                self.without_reports.insert(name_of(release));
            }
            // For longer than that takes.
            let late = now.duration_since(condition.last_transition_time.0) > ON_ITS_WAY;
            if condition.type_ == "Programmed" && condition.status == "False" && late {
                self.behind.insert(name_of(release));
            }
        }
    }

    fn check(self, listing: &ReleaseList) -> CheckResult {
        let Self {
            waiting,
            without_reports,
            behind,
        } = self;
        let named = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
        if !without_reports.is_empty() {
            return CheckResult::failed(
                "reports",
                format!("proxies send no reports of {}", named(without_reports)),
                "proxies refuse the operator's signature, or a network policy keeps it out: see docs/operations.md, ReportsMissing",
            );
        }
        if !behind.is_empty() {
            return CheckResult::failed(
                "releases",
                format!("proxies do not have what these ask for: {}", named(behind)),
                "their condition Programmed says why: kubectl halftone status NAME",
            );
        }
        if !listing.unreadable.is_empty() {
            let newer: Vec<String> = listing
                .unreadable
                .iter()
                .map(UnreadableRelease::full_name)
                .collect();
            let failure =
                CommandError::new(format!("this halftone cannot read {}", newer.join(", ")));
            return CheckResult::unknown(
                "releases",
                &failure.advise("use the halftone of the operator's version"),
            );
        }
        CheckResult::passed(
            "releases",
            format!("{} in all, {waiting} want a person", listing.releases.len()),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::CheckStatus;
    use super::*;

    fn listing(conditions: &[Value]) -> ReleaseList {
        let text = include_str!("../../../../examples/minimal.yaml");
        let mut release = halftone_api::manifest::read("minimal.yaml", text).manifests[0]
            .release
            .clone();
        let status = json!({"observedGeneration": 1, "phase": "Paused", "conditions": conditions});
        release.status = Some(serde_json::from_value(status).unwrap());
        ReleaseList {
            releases: vec![release],
            ..ReleaseList::default()
        }
    }

    fn condition(kind: &str, reason: &str) -> Value {
        json!({"type": kind, "status": "False", "reason": reason, "message": "",
            "lastTransitionTime": "2026-11-21T10:00:00Z"})
    }

    #[test]
    fn releases_are_named_that_proxies_do_not_serve_or_report_of() {
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let (soon, late) = (at("2026-11-21T10:00:59Z"), at("2026-11-21T10:01:01Z"));
        let behind = listing(&[condition("Programmed", "ProxiesLagging")]);
        assert_eq!(standing(&behind, soon).found, "1 in all, 1 want a person");
        assert_eq!(
            standing(&behind, late).found,
            "proxies do not have what these ask for: shop/checkout"
        );
        let silent = listing(&[
            condition("Progressing", "ReportsMissing"),
            condition("Ready", "ReportsMissing"),
        ]);
        assert_eq!(
            standing(&silent, soon).found,
            "proxies send no reports of shop/checkout"
        );
    }

    #[test]
    fn a_release_that_cannot_be_read_is_not_called_well() {
        let other = UnreadableRelease {
            namespace: "shop".into(),
            name: "newer".into(),
            why: "unknown".into(),
        };
        let check = standing(
            &ReleaseList {
                unreadable: vec![other],
                ..ReleaseList::default()
            },
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(
            (check.result, &*check.found),
            (CheckStatus::Unknown, "this halftone cannot read shop/newer")
        );
    }
}
