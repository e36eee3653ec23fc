//! The documents that one proxy has, put together from its reports: a full one lists them all, a report since another
//! lists those that changed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::document::{Checksum, names::Uid, units::Revision};

use super::{RejectedDocument, TrafficReport};

/// Which document of an object a proxy has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentVersion {
    /// Its revision.
    pub revision: Revision,
    /// Its checksum.
    pub checksum: Checksum,
}

/// What one proxy has applied and what it refuses.
#[derive(Debug, Clone, Default)]
pub struct ReportedDocuments {
    applied: HashMap<Uid, DocumentVersion>,
    /// Why, by the object, where that could be read, and the source.
    rejected: BTreeMap<(Option<Uid>, String), String>,
}

impl ReportedDocuments {
    /// The document of an object that decides its requests.
    pub fn applied(&self, uid: &Uid) -> Option<&DocumentVersion> {
        self.applied.get(uid)
    }

    /// Why a document of an object was refused: reason and message.
    pub fn rejected(&self, uid: &Uid) -> Option<&str> {
        let first = (Some(uid.clone()), String::new());
        let (key, why) = self.rejected.range(first..).next()?;
        (key.0.as_ref() == Some(uid)).then_some(why.as_str())
    }

    /// How many documents are kept from one report to the next.
    pub(super) fn len(&self) -> usize {
        self.applied.len() + self.rejected.len()
    }

    /// Takes what a report says; whose documents that changes.
    pub(super) fn take(&mut self, report: &TrafficReport) -> BTreeSet<Uid> {
        let mut changed = BTreeSet::new();
        self.take_applied(report, &mut changed);
        self.take_rejected(report, &mut changed);
        changed
    }

    fn take_applied(&mut self, report: &TrafficReport, changed: &mut BTreeSet<Uid>) {
        if report.lists_all_documents() {
            let listed: HashSet<&Uid> = report.applied.iter().map(|applied| &applied.uid).collect();
            let gone = self.applied.extract_if(|uid, _| !listed.contains(uid));
            changed.extend(gone.map(|(uid, _)| uid));
        }
        for uid in &report.dropped {
            changed.extend(self.applied.remove_entry(uid).map(|(uid, _)| uid));
        }
        for applied in &report.applied {
            let version = DocumentVersion {
                revision: applied.revision,
                checksum: applied.checksum.clone(),
            };
            if self.applied.get(&applied.uid) != Some(&version) {
                self.applied.insert(applied.uid.clone(), version);
                changed.insert(applied.uid.clone());
            }
        }
    }

    fn take_rejected(&mut self, report: &TrafficReport, changed: &mut BTreeSet<Uid>) {
        let listed = report.rejected.iter().map(|rejected| &rejected.source);
        let named: HashSet<&String> = listed.chain(&report.resolved).collect();
        let all = report.lists_all_documents();
        let mut before = BTreeMap::new();
        if all || !named.is_empty() {
            let is_named = |source: &String| all || named.contains(source);
            (before, self.rejected) = std::mem::take(&mut self.rejected)
                .into_iter()
                .partition(|((_, source), _)| is_named(source));
        }
        for rejected in &report.rejected {
            let key = (rejected.uid.clone(), rejected.source.clone());
            let why = reason(rejected);
            if before.remove(&key).as_ref() != Some(&why) {
                changed.extend(rejected.uid.clone());
            }
            self.rejected.insert(key, why);
        }
        changed.extend(before.into_keys().filter_map(|(uid, _)| uid));
    }
}

fn reason(rejected: &RejectedDocument) -> String {
    format!("{}: {}", rejected.reason, rejected.message)
}
