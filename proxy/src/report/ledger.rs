//! What one GrayRelease's requests add up to: the present stage and those before it by charge, for the judge; all that are
//! over in one sum per arm as well, for `/metrics`, whose counters must not fall.

use std::sync::Arc;
use std::time::Duration;

use halftone_routing::document::arm::{Arm, PerArm};
use halftone_routing::document::names::Uid;
use halftone_routing::document::units::{ReleaseId, Stage};
use halftone_routing::histogram::Histogram;
use halftone_routing::report::{ChosenBy, Counts};

use super::stage_ledger::StageLedger;
use crate::counters::StageCounters;

/// Stages kept apart beside the present one. Those in which requests are still under way are kept in any case.
const EARLIER: usize = 8;
/// A client that leaves sooner than this never counts against an arm.
const LEAST_WAIT: Duration = Duration::from_secs(1);
/// Answers in a minute below which its p99 says nothing.
const LEAST_ANSWERS: u64 = 100;

/// The counts of one uid.
#[derive(Debug)]
pub(crate) struct Ledger {
    uid: Uid,
    workers: usize,
    /// In the order in which they were last entered.
    stages: Vec<StageLedger>,
    /// Sums of what nobody writes to any more, by arm.
    folded: PerArm<Counts>,
    /// Stable's latencies up to the last full minute.
    minute: Histogram,
    abandoned_after: Duration,
}

impl Ledger {
    pub(crate) fn new(uid: Uid, workers: usize) -> Self {
        Self {
            uid,
            workers,
            stages: Vec::new(),
            folded: PerArm::default(),
            minute: Histogram::default(),
            abandoned_after: LEAST_WAIT,
        }
    }

    /// The counters for requests that are decided in this stage from now on.
    pub(crate) fn enter(&mut self, release: ReleaseId, stage: Stage) -> Arc<StageCounters> {
        let known = self
            .stages
            .iter()
            .position(|known| known.is(release, stage));
        let mut entered = match known {
            Some(at) => self.stages.remove(at),
            None => StageLedger::new(self.uid.clone(), release, stage),
        };
        let counters = entered.open(self.workers, self.abandoned_after);
        self.stages.push(entered);
        counters
    }

    /// Reads what changed; true if anything did. `sequence` is the number that a report of it will have.
    pub(crate) fn refresh(&mut self, sequence: u64) -> bool {
        let (mut changed, last) = (false, self.stages.len().saturating_sub(1));
        for (at, stage) in self.stages.iter_mut().enumerate() {
            // To be asked first: what ends afterwards is read in the next round.
            let over = at < last && stage.is_abandoned();
            changed |= stage.refresh(sequence);
            if let Some(counters) = over.then(|| stage.close()).flatten() {
                for arm in Arm::ALL {
                    let counts = counters.read(|charge| charge.arm == arm);
                    self.folded.get_mut(arm).merge(&counts);
                }
            }
        }
        changed
    }

    /// Takes out the oldest stages beyond those that are kept.
    pub(crate) fn take_oldest(&mut self) -> Vec<StageLedger> {
        let mut beyond = self.stages.len().saturating_sub(EARLIER + 1);
        let is_oldest = |stage: &mut StageLedger| {
            let is_beyond = beyond > 0;
            beyond = beyond.saturating_sub(1);
            is_beyond && stage.is_closed()
        };
        self.stages.extract_if(.., is_oldest).collect()
    }

    /// Takes out a stage that is over.
    pub(crate) fn take(&mut self, release: ReleaseId, stage: Stage) -> Option<StageLedger> {
        let is_meant = |known: &StageLedger| known.is(release, stage) && known.is_closed();
        let at = self.stages.iter().position(is_meant)?;
        Some(self.stages.remove(at))
    }

    /// Takes out all stages, of a release that is gone.
    pub(crate) fn into_stages(mut self) -> Vec<StageLedger> {
        for stage in &mut self.stages {
            stage.close();
        }
        self.stages
    }

    /// The stages that are kept apart, the present one last.
    pub(crate) fn stages(&self) -> &[StageLedger] {
        &self.stages
    }

    /// Everything counted for an arm since this proxy serves the release, whatever the stage.
    pub(crate) fn total(&self, arm: Arm) -> Counts {
        let mut sum = self.folded.get(arm).clone();
        self.live()
            .for_each(|counters| sum.merge(&counters.read(|charge| charge.arm == arm)));
        sum
    }

    /// Gray's share of the requests that the split decided in the present stage; none without any.
    pub(crate) fn observed_ratio(&self) -> Option<f64> {
        let counters = self.stages.last()?.counters()?;
        let requests = |arm| {
            let split =
                counters.read(|charge| charge.arm == arm && charge.chosen_by == ChosenBy::Split);
            split.requests()
        };
        let (stable, gray) = (requests(Arm::Stable), requests(Arm::Gray));
        (stable + gray > 0).then(|| gray as f64 / (stable + gray) as f64)
    }

    /// Tunnels and answers of an arm that are older than 10 s and still open.
    pub(crate) fn open_long(&self, arm: Arm) -> u64 {
        self.live()
            .map(|counters| counters.open_long(arm))
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
        self.live()
            .for_each(|counters| counters.set_abandoned_after(self.abandoned_after));
    }

    /// Whether nobody can count here any more: neither a snapshot nor a request.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.stages.iter().all(StageLedger::is_abandoned)
    }

    fn live(&self) -> impl Iterator<Item = &Arc<StageCounters>> {
        self.stages.iter().filter_map(StageLedger::counters)
    }
}
