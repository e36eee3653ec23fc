//! The counts of one release in one stage by charge, as reports tell them: what changed when, in the words of who reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use halftone_routing::document::names::Uid;
use halftone_routing::document::units::{ReleaseId, Stage};
use halftone_routing::report::{Charge, CounterKey, Counts, ReportEntry, ReportForm};

use crate::counters::StageCounters;

/// One stage and what the last report said of it.
#[derive(Debug)]
pub(crate) struct StageLedger {
    uid: Uid,
    release: ReleaseId,
    stage: Stage,
    /// None once the stage was left and its last request has ended: only sums are kept of such a stage.
    counters: Option<Arc<StageCounters>>,
    /// What was counted until the stage was closed, if it was entered again.
    before: BTreeMap<Charge, Counts>,
    reported: BTreeMap<Charge, LastReported>,
}

#[derive(Debug)]
struct LastReported {
    activity: u64,
    /// The sequence of the report that first said `counts`.
    sequence: u64,
    counts: Counts,
}

impl StageLedger {
    pub(crate) fn new(uid: Uid, release: ReleaseId, stage: Stage) -> Self {
        Self {
            uid,
            release,
            stage,
            counters: None,
            before: BTreeMap::new(),
            reported: BTreeMap::new(),
        }
    }

    pub(crate) fn is(&self, release: ReleaseId, stage: Stage) -> bool {
        (self.release, self.stage) == (release, stage)
    }

    /// Which release and stage of which object it is.
    pub(crate) fn id(&self) -> (&Uid, ReleaseId, Stage) {
        (&self.uid, self.release, self.stage)
    }

    /// The counters for requests that are decided in it from now on.
    pub(crate) fn open(&mut self, workers: usize, abandoned_after: Duration) -> Arc<StageCounters> {
        let (before, reported) = (&mut self.before, &self.reported);
        let counters = self.counters.get_or_insert_with(|| {
            let counts = reported
                .iter()
                .map(|(key, last)| (*key, last.counts.clone()));
            *before = counts.collect();
            let counters = StageCounters::new(workers);
            counters.set_abandoned_after(abandoned_after);
            Arc::new(counters)
        });
        Arc::clone(counters)
    }

    /// Its counters, as long as they may count.
    pub(crate) fn counters(&self) -> Option<&Arc<StageCounters>> {
        self.counters.as_ref()
    }

    /// Whether nobody can count in it any more: neither a snapshot nor a request.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.counters
            .as_ref()
            .is_none_or(StageCounters::is_abandoned)
    }

    /// Whether only its sums are left.
    pub(crate) fn is_closed(&self) -> bool {
        self.counters.is_none()
    }

    /// The sequence of the last report that told of something new in it.
    pub(crate) fn last_sequence(&self) -> u64 {
        let sequences = self.reported.values().map(|last| last.sequence);
        sequences.max().unwrap_or(0)
    }

    /// Whether reports say anything of it.
    pub(crate) fn is_reported(&self) -> bool {
        !self.reported.is_empty()
    }

    /// Reads what changed; true if anything did. `sequence` is the number that a report of it will have.
    pub(crate) fn refresh(&mut self, sequence: u64) -> bool {
        let Some(counters) = &self.counters else {
            return false;
        };
        let mut changed = false;
        for (charge, activity) in counters.activity() {
            let reported = self.reported.get(&charge);
            if reported.map_or(0, |reported| reported.activity) == activity {
                continue;
            }
            let mut counts = counters.read(|other| other == charge);
            if let Some(before) = self.before.get(&charge) {
                counts.merge(before);
            }
            let now = LastReported {
                activity,
                sequence,
                counts,
            };
            self.reported.insert(charge, now);
            changed = true;
        }
        changed
    }

    /// Lets go of the counters of an abandoned stage that was read for the last time.
    pub(crate) fn close(&mut self) -> Option<Arc<StageCounters>> {
        self.before.clear();
        self.reported
            .values_mut()
            .for_each(|last| last.activity = 0);
        self.counters.take()
    }

    /// Every key counted, in words that the reader knows.
    pub(crate) fn keys(&self, reads: ReportForm) -> impl Iterator<Item = CounterKey> + '_ {
        let charges: BTreeSet<Charge> = self
            .reported
            .keys()
            .map(|charge| in_words_of(*charge, reads))
            .collect();
        charges.into_iter().map(|charge| self.key(charge))
    }

    /// The counts that changed after a report, or all, in words that the reader knows. Charges that are one in its words
    /// are added up.
    pub(crate) fn entries(
        &self,
        since: Option<u64>,
        reads: ReportForm,
    ) -> impl Iterator<Item = ReportEntry> + '_ {
        let changed = self
            .reported
            .iter()
            .filter(move |(_, last)| since.is_none_or(|since| last.sequence > since));
        let charges: BTreeSet<Charge> = changed
            .map(|(charge, _)| in_words_of(*charge, reads))
            .collect();
        charges
            .into_iter()
            .map(move |charge| self.entry(charge, reads))
    }

    /// For who is told that it went: each key, with the last counts that the reader has not seen.
    pub(crate) fn last_entries(&self, since: u64) -> impl Iterator<Item = ReportEntry> + '_ {
        self.reported.iter().map(move |(charge, last)| ReportEntry {
            key: self.key(*charge),
            counts: match last.sequence > since {
                true => last.counts.clone(),
                false => Counts::default(),
            },
        })
    }

    fn entry(&self, charge: Charge, reads: ReportForm) -> ReportEntry {
        let mut counts = Counts::default();
        for (other, last) in &self.reported {
            if in_words_of(*other, reads) == charge {
                counts.merge(&last.counts);
            }
        }
        let counts = match reads {
            ReportForm::One => counts.in_0_1(),
            ReportForm::Two => counts,
        };
        ReportEntry {
            key: self.key(charge),
            counts,
        }
    }

    fn key(&self, charge: Charge) -> CounterKey {
        CounterKey {
            uid: self.uid.clone(),
            release: self.release,
            stage: self.stage,
            charge: charge.into(),
        }
    }
}

/// What counts of a charge go under for a reader.
fn in_words_of(charge: Charge, reads: ReportForm) -> Charge {
    match reads {
        ReportForm::One => charge.in_0_1(),
        ReportForm::Two => charge,
    }
}
