//! What one GrayRelease's requests add up to: the present stage and the one before by key, for the judge; older ones
//! folded into one sum per arm, for `/metrics`, whose counters must not fall.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use halftone_routing::document::arm::{Arm, PerArm};
use halftone_routing::document::names::Uid;
use halftone_routing::document::units::{ReleaseId, Stage};
use halftone_routing::histogram::Histogram;
use halftone_routing::report::{ChosenBy, CounterKey, Counts, ReportEntry, ReportForm};

use crate::counters::{CellKey, StageCounters};

/// Stages kept apart: the present one and the one before, whose last requests may still be under way.
const KEPT: usize = 2;
/// A client that leaves sooner than this never counts against an arm.
const LEAST_WAIT: Duration = Duration::from_secs(1);
/// Answers in a minute below which its p99 says nothing.
const LEAST_ANSWERS: u64 = 100;

/// The counts of one uid.
#[derive(Debug)]
pub(crate) struct Ledger {
    uid: Uid,
    workers: usize,
    /// Newest last; at most [`KEPT`].
    stages: Vec<StageLedger>,
    /// Older ones that requests may still write to.
    retired: Vec<Arc<StageCounters>>,
    /// Sums of those that nobody writes to any more, by arm.
    folded: PerArm<Counts>,
    /// Stable's latencies up to the last full minute.
    minute: Histogram,
    abandoned_after: Duration,
}

/// One stage and what the last report said of it.
#[derive(Debug)]
struct StageLedger {
    release: ReleaseId,
    stage: Stage,
    counters: Arc<StageCounters>,
    reported: BTreeMap<CellKey, LastReported>,
}

#[derive(Debug)]
struct LastReported {
    activity: u64,
    /// The sequence of the report that first said `counts`.
    sequence: u64,
    counts: Counts,
}

impl Ledger {
    pub(crate) fn new(uid: Uid, workers: usize) -> Self {
        Self {
            uid,
            workers,
            stages: Vec::new(),
            retired: Vec::new(),
            folded: Default::default(),
            minute: Histogram::default(),
            abandoned_after: LEAST_WAIT,
        }
    }

    /// The counters for requests that are decided in this stage from now on.
    pub(crate) fn enter(&mut self, release: ReleaseId, stage: Stage) -> Arc<StageCounters> {
        if let Some(at) = self
            .stages
            .iter()
            .position(|known| (known.release, known.stage) == (release, stage))
        {
            let known = self.stages.remove(at);
            self.stages.push(known);
        } else {
            let counters = Arc::new(StageCounters::new(self.workers));
            counters.set_abandoned_after(self.abandoned_after);
            self.stages.push(StageLedger {
                release,
                stage,
                counters,
                reported: BTreeMap::new(),
            });
        }
        while self.stages.len() > KEPT {
            self.retired.push(self.stages.remove(0).counters);
        }
        Arc::clone(&self.stages[self.stages.len() - 1].counters)
    }

    /// Reads what changed; true if anything did. `sequence` is the number that a report of it will have.
    pub(crate) fn refresh(&mut self, sequence: u64) -> bool {
        let mut changed = false;
        for stage in &mut self.stages {
            for key in stage.counters.keys() {
                let activity = stage.counters.activity(key);
                if stage
                    .reported
                    .get(&key)
                    .is_none_or(|reported| reported.activity != activity)
                {
                    let counts = stage.counters.read(key);
                    stage.reported.insert(
                        key,
                        LastReported {
                            activity,
                            sequence,
                            counts,
                        },
                    );
                    changed = true;
                }
            }
        }
        self.fold();
        changed
    }

    /// Moves retired stages into the sums once no request writes to them.
    fn fold(&mut self) {
        let folded = &mut self.folded;
        self.retired.retain(|counters| {
            let done = StageCounters::is_abandoned(counters);
            if done {
                counters
                    .keys()
                    .for_each(|key| folded.get_mut(key.arm).merge(&counters.read(key)));
            }
            !done
        });
    }

    /// Every key counted at present, in words that the reader knows.
    pub(crate) fn keys(&self, reads: ReportForm) -> impl Iterator<Item = CounterKey> + '_ {
        self.stages.iter().flat_map(move |stage| {
            let keys: BTreeSet<CellKey> = stage
                .reported
                .keys()
                .map(|key| key.in_words_of(reads))
                .collect();
            keys.into_iter().map(|key| self.full(stage, key))
        })
    }

    /// The counts that changed after a report, or all, in words that the reader knows. Keys that are one in its words
    /// are added up.
    pub(crate) fn entries(
        &self,
        since: Option<u64>,
        reads: ReportForm,
    ) -> impl Iterator<Item = ReportEntry> + '_ {
        self.stages.iter().flat_map(move |stage| {
            let changed = stage
                .reported
                .iter()
                .filter(|(_, reported)| since.is_none_or(|s| reported.sequence > s));
            let changed: BTreeSet<CellKey> =
                changed.map(|(key, _)| key.in_words_of(reads)).collect();
            changed
                .into_iter()
                .map(move |key| self.entry(stage, key, reads))
        })
    }

    fn entry(&self, stage: &StageLedger, key: CellKey, reads: ReportForm) -> ReportEntry {
        let mut same = stage
            .reported
            .iter()
            .filter(|(other, _)| other.in_words_of(reads) == key);
        let mut counts = same
            .next()
            .map(|(_, reported)| reported.counts.clone())
            .unwrap_or_default();
        same.for_each(|(_, reported)| counts.merge(&reported.counts));
        let counts = match reads {
            ReportForm::One => counts.in_0_1(),
            ReportForm::Two => counts,
        };
        ReportEntry {
            key: self.full(stage, key),
            counts,
        }
    }

    fn full(&self, stage: &StageLedger, key: CellKey) -> CounterKey {
        CounterKey {
            uid: self.uid.clone(),
            release: stage.release,
            stage: stage.stage,
            arm: key.arm,
            chosen_by: key.chosen_by.into(),
            excluded: key.excluded,
        }
    }

    /// Everything counted for an arm since this proxy serves the release, whatever the stage.
    pub(crate) fn total(&self, arm: Arm) -> Counts {
        let mut sum = self.folded.get(arm).clone();
        let live = self
            .stages
            .iter()
            .map(|stage| &stage.counters)
            .chain(&self.retired);
        for counters in live {
            counters
                .keys()
                .filter(|key| key.arm == arm)
                .for_each(|key| sum.merge(&counters.read(key)));
        }
        sum
    }

    /// Gray's share of the requests that the split decided in the present stage; none without any.
    pub(crate) fn observed_ratio(&self) -> Option<f64> {
        let counters = &self.stages.last()?.counters;
        let requests = |arm| {
            let keys = counters
                .keys()
                .filter(|key| key.arm == arm && key.chosen_by == ChosenBy::Split);
            keys.map(|key| counters.read(key).requests()).sum::<u64>()
        };
        let (stable, gray) = (requests(Arm::Stable), requests(Arm::Gray));
        (stable + gray > 0).then(|| gray as f64 / (stable + gray) as f64)
    }

    /// Tunnels and answers of an arm that are older than 10 s and still open.
    pub(crate) fn open_long(&self, arm: Arm) -> u64 {
        let live = self
            .stages
            .iter()
            .map(|stage| &stage.counters)
            .chain(&self.retired);
        live.map(|counters| counters.open_long(arm))
            .fold(0, u64::wrapping_add)
    }

    /// Called once a minute: from now on, clients that leave after more than stable's p99 over that minute count as
    /// `Abandoned`.
    pub(crate) fn minute_passed(&mut self) {
        let now = self.total(Arm::Stable).latency;
        let last_minute = now.since(&self.minute);
        self.minute = now;
        self.abandoned_after = match last_minute.quantile(0.99) {
            Some(p99) if last_minute.count() >= LEAST_ANSWERS => p99.max(LEAST_WAIT),
            _ => LEAST_WAIT,
        };
        self.stages
            .iter()
            .for_each(|stage| stage.counters.set_abandoned_after(self.abandoned_after));
    }

    /// Whether nobody can count here any more: neither a snapshot nor a request.
    pub(crate) fn is_abandoned(&self) -> bool {
        let live = self
            .stages
            .iter()
            .map(|stage| &stage.counters)
            .chain(&self.retired);
        live.into_iter().all(StageCounters::is_abandoned)
    }
}
