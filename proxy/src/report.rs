//! The reporter: alone sums what the workers counted, compares it with what it said before, and numbers what it says.
//! `GET /report`, `/metrics` and `halftone run` read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use halftone_routing::document::arm::Arm;
use halftone_routing::document::names::Uid;
use halftone_routing::document::units::{ReleaseId, Stage};
use halftone_routing::report::{
    AppliedDocument, AppliedFleet, Epoch, RejectedDocument, ReportForm, TrafficReport,
};
use jiff::Timestamp;

use crate::counters::StageCounters;

mod forms;
pub(crate) mod ledger;
mod listing;
#[cfg(test)]
mod properties;
mod removal_log;
mod stage_ledger;
#[cfg(test)]
mod tests;

use ledger::Ledger;
use listing::DocumentListing;
use removal_log::RemovalLog;
use stage_ledger::StageLedger;

/// So many stages that are over are kept apart, of all releases together; those in which nothing happened for longest go first. It bounds a
/// proxy whose thousands of releases have each come a long way, and those who read its reports.
const STAGES_OVER: usize = 4096;

/// What `?since=EPOCH/SEQ` names: a report that the asker has.
pub type ReportCursor = (Epoch, u64);

/// Which documents this proxy runs and which it refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    /// Those that decide requests, by uid.
    pub applied: BTreeMap<Uid, ServedDocument>,
    /// The fleet's, if one was read.
    pub fleet: Option<AppliedFleet>,
    /// Where the fleet's document was last found, good or not.
    pub fleet_source: Option<Arc<str>>,
    /// Refused ones.
    pub rejected: Vec<RejectedDocument>,
    /// Those that still route although their document vanished.
    pub orphaned: Vec<Uid>,
    /// They come from the saved state, and nobody has said yet what exists now.
    pub stale: bool,
}

/// One document that decides requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedDocument {
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
    removed: RemovalLog<StageLedger>,
    listing: DocumentListing,
    /// Something but counts changed since the last report.
    changed: bool,
    operator_last_heard: Option<Timestamp>,
    crowded: bool,
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
            removed: RemovalLog::new(),
            listing: DocumentListing::new(),
            changed: true,
            operator_last_heard: None,
            crowded: false,
        }
    }

    /// The counters for requests that are decided under this release and stage from the next snapshot on.
    pub fn enter(&mut self, uid: &Uid, release: ReleaseId, stage: Stage) -> Arc<StageCounters> {
        let ledger = self
            .ledgers
            .entry(uid.clone())
            .or_insert_with(|| Ledger::new(uid.clone(), self.workers));
        ledger.enter(release, stage)
    }

    /// Takes note of what is different: releases whose document is another now, or none, and everything but them as it
    /// is now.
    pub fn change_documents(
        &mut self,
        applied: Vec<(Uid, Option<ServedDocument>)>,
        others: Documents,
    ) {
        self.changed |= self.listing.change(applied, others, self.sequence + 1);
    }

    /// What is applied and refused.
    pub fn documents(&self) -> &Documents {
        self.listing.documents()
    }

    /// An operator (or the engine in this process) asked for a report: somebody decides about the releases.
    pub fn note_operator_contact(&mut self, now: Timestamp) {
        self.operator_last_heard = Some(now);
    }

    /// Takes note of whether most places for client connections are taken.
    pub fn set_crowded(&mut self, crowded: bool) {
        self.changed |= self.crowded != crowded;
        self.crowded = crowded;
    }

    /// When one did last.
    pub fn operator_last_heard(&self) -> Option<Timestamp> {
        self.operator_last_heard
    }

    /// The report for somebody who has the one at `since`, in the form that it reads; a full one without `since`, after
    /// a restart, for a position that this proxy never had, and in form 2 for one before which too much has gone.
    pub fn report(&mut self, since: Option<ReportCursor>, reads: ReportForm) -> TrafficReport {
        self.refresh();
        let since =
            since.filter(|(epoch, sequence)| *epoch == self.epoch && *sequence <= self.sequence);
        let since = since.map(|(_, sequence)| sequence);
        match reads {
            ReportForm::One => self.in_form_1(since),
            ReportForm::Two => self.in_form_2(since.filter(|since| self.reaches(*since))),
        }
    }

    fn stages(&self) -> impl Iterator<Item = &StageLedger> {
        self.ledgers.values().flat_map(Ledger::stages)
    }

    fn refresh(&mut self) {
        let next = self.sequence + 1;
        let mut changed = std::mem::take(&mut self.changed);
        changed |= self.drop_withdrawn(next);
        let (mut gone, mut open_long) = (Vec::new(), BTreeMap::new());
        for (uid, ledger) in &mut self.ledgers {
            changed |= ledger.refresh(next);
            gone.extend(ledger.take_oldest());
            let open = ledger.open_long(Arm::Gray);
            if open > 0 && self.listing.is_gray_ended(uid) {
                open_long.insert(uid.clone(), open);
            }
        }
        gone.extend(self.oldest_of_all());
        changed |= self.forget(gone, next);
        changed |= self.listing.set_open_long(open_long, next);
        if changed {
            self.sequence = next;
        }
    }

    /// A withdrawn release goes once its last request has ended.
    fn drop_withdrawn(&mut self, next: u64) -> bool {
        let applied = &self.listing.documents().applied;
        let is_over =
            |uid: &Uid, ledger: &mut Ledger| ledger.is_abandoned() && !applied.contains_key(uid);
        let over: Vec<_> = self.ledgers.extract_if(.., is_over).collect();
        let mut changed = false;
        for (_, mut ledger) in over {
            ledger.refresh(next);
            changed |= self.forget(ledger.into_stages(), next);
        }
        changed
    }

    /// Takes out stages that are over, if they are too many.
    fn oldest_of_all(&mut self) -> Vec<StageLedger> {
        let over = || self.stages().filter(|stage| stage.is_closed());
        let count = over().count();
        if count <= STAGES_OVER {
            return Vec::new();
        }
        // A quarter more than it must be, so that this is rare.
        let surplus = count - STAGES_OVER * 3 / 4;
        let mut oldest: Vec<_> = over()
            .map(|stage| (stage.last_sequence(), stage.id()))
            .collect();
        oldest.sort_unstable();
        let oldest = oldest.into_iter().take(surplus);
        let oldest: Vec<_> = oldest
            .map(|(_, (uid, release, stage))| (uid.clone(), release, stage))
            .collect();
        let ledgers = &mut self.ledgers;
        oldest
            .into_iter()
            .filter_map(|(uid, release, stage)| ledgers.get_mut(&uid)?.take(release, stage))
            .collect()
    }

    /// Takes note of stages that are reported no more; true if they were.
    fn forget(&mut self, stages: Vec<StageLedger>, next: u64) -> bool {
        let reported = stages.into_iter().filter(StageLedger::is_reported);
        let mut changed = false;
        for stage in reported {
            self.removed.push(next, stage);
            changed = true;
        }
        changed
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
