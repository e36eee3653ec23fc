//! What a report says in each of its forms, once counts and documents are up to date.

use std::collections::BTreeMap;

use halftone_routing::document::FEATURES;
use halftone_routing::report::{ReportEntry, ReportForm, TrafficReport};

use super::Reporter;
use super::stage_ledger::StageLedger;

impl Reporter {
    /// Complete but for counts that have not changed.
    pub(super) fn in_form_1(&self, since: Option<u64>) -> TrafficReport {
        let reads = ReportForm::One;
        let stages: Vec<_> = self.stages().chain(self.gone_in_form_1(since)).collect();
        let stages = stages.iter();
        TrafficReport {
            since,
            applied: self.listing.applied(None),
            rejected: self.listing.rejected(None),
            keys: Some(stages.clone().flat_map(|stage| stage.keys(reads)).collect()),
            entries: stages
                .flat_map(|stage| stage.entries(since, reads))
                .collect(),
            ..self.outline()
        }
    }

    /// Form 1 cannot tell the last counts of what went, so its stages stay for one more report to each reader.
    fn gone_in_form_1(&self, since: Option<u64>) -> impl Iterator<Item = &StageLedger> {
        let gone = self.removed.since(since).map(|stage| (stage.id(), stage));
        let mut gone: BTreeMap<_, _> = gone.collect();
        if !gone.is_empty() {
            // What came back counts from zero.
            for stage in self.stages() {
                gone.remove(&stage.id());
            }
        }
        gone.into_values()
    }

    /// What has changed, or everything.
    pub(super) fn in_form_2(&self, since: Option<u64>) -> TrafficReport {
        let entries = |stage: &'_ StageLedger| -> Vec<ReportEntry> {
            stage.entries(since, ReportForm::Two).collect()
        };
        let gone = self.removed.since(since);
        TrafficReport {
            since,
            applied: self.listing.applied(since),
            dropped: self.listing.dropped(since),
            rejected: self.listing.rejected(since),
            resolved: self.listing.resolved(since),
            removed: gone
                .flat_map(|stage| stage.last_entries(since.unwrap_or(0)))
                .collect(),
            entries: self.stages().flat_map(entries).collect(),
            ..self.outline()
        }
    }

    /// What a report says in any case.
    fn outline(&self) -> TrafficReport {
        let documents = self.listing.documents();
        TrafficReport {
            instance: self.instance.clone(),
            epoch: self.epoch,
            sequence: self.sequence,
            since: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features: FEATURES.iter().map(|&feature| feature.to_owned()).collect(),
            stale: documents.stale,
            operator_last_heard: self.operator_last_heard,
            crowded: self.crowded,
            applied: Vec::new(),
            dropped: Vec::new(),
            fleet: documents.fleet.clone(),
            rejected: Vec::new(),
            resolved: Vec::new(),
            orphaned: documents.orphaned.clone(),
            keys: None,
            removed: Vec::new(),
            entries: Vec::new(),
        }
    }

    pub(super) fn reaches(&self, since: u64) -> bool {
        self.removed.reaches(since) && self.listing.reaches(since)
    }
}
