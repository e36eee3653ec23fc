//! The reporter: alone sums what the workers counted, compares it with what it said before, and numbers what it says.
//! `GET /report`, `/metrics` and `halftone run` read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use halftone_routing::config::FEATURES;
use halftone_routing::config::arm::Arm;
use halftone_routing::config::names::Uid;
use halftone_routing::config::units::{ReleaseId, Stage};
use halftone_routing::report::{AppliedDocument, AppliedFleet, Epoch, RejectedDocument, TrafficReport};
use jiff::Timestamp;

use crate::counters::StageCounters;

pub(crate) mod ledger;

use ledger::Ledger;

/// What `?since=EPOCH/SEQ` names: a report that the asker has.
pub type Position = (Epoch, u64);

/// Which documents this proxy runs and which it refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    /// Those that decide requests, by uid.
    pub applied: BTreeMap<Uid, Applied>,
    /// The fleet's, if one was read.
    pub fleet: Option<AppliedFleet>,
    /// Refused ones.
    pub rejected: Vec<RejectedDocument>,
    /// Those that still route although their document vanished.
    pub orphaned: Vec<Uid>,
    /// They come from the saved state, and nobody has said yet what exists now.
    pub stale: bool,
}

/// One document that decides requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What the report says of it, `open_long` left at 0.
    pub document: AppliedDocument,
    /// Nobody is to be on gray: what is left there is worth a word.
    pub gray_ended: bool,
}

/// Sums, compares and numbers.
#[derive(Debug)]
pub struct Reporter {
    instance: String,
    epoch: Epoch,
    sequence: u64,
    workers: usize,
    ledgers: BTreeMap<Uid, Ledger>,
    documents: Documents,
    /// Something but counts changed since the last report.
    changed: bool,
    operator_last_heard: Option<Timestamp>,
}

impl Reporter {
    /// With nothing counted yet. `epoch` must differ at every start.
    pub fn new(instance: String, epoch: Epoch, workers: usize) -> Self {
        Self {
            instance,
            epoch,
            sequence: 0,
            workers,
            ledgers: BTreeMap::new(),
            documents: Documents::default(),
            changed: true,
            operator_last_heard: None,
        }
    }

    /// The counters for requests that are decided under this release and stage from the next snapshot on.
    pub fn enter(&mut self, uid: &Uid, release: ReleaseId, stage: Stage) -> Arc<StageCounters> {
        let ledger =
            self.ledgers.entry(uid.clone()).or_insert_with(|| Ledger::new(uid.clone(), self.workers));
        ledger.enter(release, stage)
    }

    /// Takes note of what is applied and refused now.
    pub fn set_documents(&mut self, documents: Documents) {
        self.changed |= self.documents != documents;
        self.documents = documents;
    }

    /// What is applied and refused.
    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// An operator (or the engine in this process) asked for a report: somebody decides about the releases.
    pub fn heard_operator(&mut self, now: Timestamp) {
        self.operator_last_heard = Some(now);
    }

    /// When one did last.
    pub fn operator_last_heard(&self) -> Option<Timestamp> {
        self.operator_last_heard
    }

    /// The report for somebody who has the one at `since`; a full one without, after a restart, or for a position
    /// that this proxy never had.
    pub fn report(&mut self, since: Option<Position>) -> TrafficReport {
        self.refresh();
        let since = since.filter(|(epoch, sequence)| *epoch == self.epoch && *sequence <= self.sequence);
        let since = since.map(|(_, sequence)| sequence);
        let ledgers = self.ledgers.values();
        TrafficReport {
            instance: self.instance.clone(),
            epoch: self.epoch,
            sequence: self.sequence,
            since,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features: FEATURES.iter().map(|&feature| feature.to_owned()).collect(),
            stale: self.documents.stale,
            operator_last_heard: self.operator_last_heard,
            applied: self
                .documents
                .applied
                .iter()
                .map(|(uid, applied)| self.with_open_long(uid, applied))
                .collect(),
            fleet: self.documents.fleet.clone(),
            rejected: self.documents.rejected.clone(),
            orphaned: self.documents.orphaned.clone(),
            keys: ledgers.clone().flat_map(Ledger::keys).collect(),
            entries: ledgers.flat_map(|ledger| ledger.entries(since)).collect(),
        }
    }

    fn with_open_long(&self, uid: &Uid, applied: &Applied) -> AppliedDocument {
        let ledger = self.ledgers.get(uid).filter(|_| applied.gray_ended);
        AppliedDocument {
            open_long: ledger.map_or(0, |ledger| ledger.open_long(Arm::Gray)),
            ..applied.document.clone()
        }
    }

    fn refresh(&mut self) {
        let next = self.sequence + 1;
        let applied = &self.documents.applied;
        let before = self.ledgers.len();
        // A withdrawn release goes once its last request has ended.
        self.ledgers.retain(|uid, ledger| applied.contains_key(uid) || !ledger.is_abandoned());
        let mut changed = std::mem::take(&mut self.changed) || self.ledgers.len() != before;
        for ledger in self.ledgers.values_mut() {
            changed |= ledger.refresh(next);
        }
        if changed {
            self.sequence = next;
        }
    }

    /// Called once a minute: sets from when on a client that leaves counts against the arm.
    pub fn minute_passed(&mut self) {
        self.ledgers.values_mut().for_each(Ledger::minute_passed);
    }

    /// What was counted for each release.
    pub(crate) fn ledgers(&self) -> &BTreeMap<Uid, Ledger> {
        &self.ledgers
    }
}
