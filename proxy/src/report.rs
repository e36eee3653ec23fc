//! The reporter: alone sums what the workers counted, compares it with what it said before, and numbers what it says.
//! `GET /report`, `/metrics` and `halftone run` read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use halftone_routing::document::FEATURES;
use halftone_routing::document::arm::Arm;
use halftone_routing::document::names::Uid;
use halftone_routing::document::units::{ReleaseId, Stage};
use halftone_routing::report::{
    AppliedDocument, AppliedFleet, Epoch, RejectedDocument, ReportForm, TrafficReport,
};
use jiff::Timestamp;

use crate::counters::StageCounters;

pub(crate) mod ledger;

use ledger::Ledger;

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
    documents: Documents,
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
            documents: Documents::default(),
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
    /// a restart, or for a position that this proxy never had.
    pub fn report(&mut self, since: Option<ReportCursor>, reads: ReportForm) -> TrafficReport {
        self.refresh();
        let since =
            since.filter(|(epoch, sequence)| *epoch == self.epoch && *sequence <= self.sequence);
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
            crowded: self.crowded,
            applied: self
                .documents
                .applied
                .iter()
                .map(|(uid, applied)| self.with_open_long(uid, applied))
                .collect(),
            fleet: self.documents.fleet.clone(),
            rejected: self.documents.rejected.clone(),
            orphaned: self.documents.orphaned.clone(),
            keys: ledgers
                .clone()
                .flat_map(|ledger| ledger.keys(reads))
                .collect(),
            entries: ledgers
                .flat_map(|ledger| ledger.entries(since, reads))
                .collect(),
        }
    }

    fn with_open_long(&self, uid: &Uid, applied: &ServedDocument) -> AppliedDocument {
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
        self.ledgers
            .retain(|uid, ledger| applied.contains_key(uid) || !ledger.is_abandoned());
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use halftone_routing::report::baseline::Baseline;
    use halftone_routing::report::{ChosenBy, Outcome};
    use proptest::prelude::*;

    use super::*;
    use crate::counters::{CellWriter, WorkerCounters};

    const RELEASE: ReleaseId = ReleaseId::from_bits(7);

    fn uid() -> Uid {
        "local/shop/checkout".parse().unwrap()
    }

    fn stage(number: u64) -> Stage {
        number.try_into().unwrap()
    }

    fn reporter(epoch: u64) -> Reporter {
        let mut reporter = Reporter::new("pod".into(), Epoch(epoch), 2);
        reporter.set_documents(applied(true));
        reporter
    }

    fn applied(applied: bool) -> Documents {
        let document = AppliedDocument {
            uid: uid(),
            revision: 1.try_into().unwrap(),
            checksum: format!("sha256:{}", "0".repeat(64)).try_into().unwrap(),
            ignored_fields: Vec::new(),
            open_long: 0,
        };
        let applied = applied.then(|| {
            (
                uid(),
                ServedDocument {
                    document,
                    gray_ended: true,
                },
            )
        });
        Documents {
            applied: applied.into_iter().collect(),
            ..Documents::default()
        }
    }

    fn cell(worker: &WorkerCounters, counters: &StageCounters, arm: Arm) -> CellWriter {
        worker.cell(counters, arm, ChosenBy::Split, false)
    }

    fn requests(report: &TrafficReport) -> u64 {
        report
            .entries
            .iter()
            .map(|entry| entry.counts.requests())
            .sum()
    }

    #[test]
    fn what_every_worker_counted_is_one_sum_by_key() {
        let mut reporter = reporter(1);
        let counters = reporter.enter(&uid(), RELEASE, stage(3));
        for worker in [WorkerCounters::new(0), WorkerCounters::new(1)] {
            let gray = cell(&worker, &counters, Arm::Gray);
            gray.outcome(Outcome::Status2xx);
            gray.latency(Duration::from_millis(5));
            worker
                .cell(&counters, Arm::Gray, ChosenBy::Rule, true)
                .outcome(Outcome::Reset);
        }
        let report = reporter.report(None, ReportForm::Two);
        let split = report
            .entries
            .iter()
            .find(|entry| entry.key.chosen_by.is(ChosenBy::Split))
            .unwrap();
        let rule = report
            .entries
            .iter()
            .find(|entry| entry.key.chosen_by.is(ChosenBy::Rule))
            .unwrap();
        assert_eq!(
            (
                split.counts.requests(),
                split.counts.latency.count(),
                split.counts.errors()
            ),
            (2, 2, 0)
        );
        assert_eq!(
            (rule.counts.errors(), rule.key.excluded, rule.key.stage),
            (2, true, stage(3))
        );
        assert_eq!(report.keys.len(), 2);
    }

    #[test]
    fn a_report_since_another_tells_what_changed_and_lists_every_key() {
        let mut reporter = reporter(1);
        let counters = reporter.enter(&uid(), RELEASE, stage(1));
        let worker = WorkerCounters::new(0);
        cell(&worker, &counters, Arm::Stable).outcome(Outcome::Status2xx);
        let first = reporter.report(None, ReportForm::Two);
        cell(&worker, &counters, Arm::Gray).outcome(Outcome::Status2xx);
        let second = reporter.report(Some((first.epoch, first.sequence)), ReportForm::Two);
        assert_eq!(second.since, Some(first.sequence));
        assert_eq!(
            second
                .entries
                .iter()
                .map(|entry| entry.key.arm)
                .collect::<Vec<_>>(),
            [Arm::Gray]
        );
        assert_eq!(second.keys.len(), 2);
        let third = reporter.report(Some((second.epoch, second.sequence)), ReportForm::Two);
        assert_eq!(
            (third.sequence, third.entries.len()),
            (second.sequence, 0),
            "nothing changed"
        );
    }

    #[test]
    fn who_does_not_say_what_it_reads_gets_the_same_counts_in_0_1s_words() {
        let mut reporter = reporter(1);
        let counters = reporter.enter(&uid(), RELEASE, stage(1));
        let (worker, every) = (WorkerCounters::new(0), Outcome::ALL.len() as u64);
        Outcome::ALL
            .iter()
            .for_each(|&outcome| cell(&worker, &counters, Arm::Gray).outcome(outcome));
        let (old, new) = (
            reporter.report(None, ReportForm::One),
            reporter.report(None, ReportForm::Two),
        );
        let words = |report: &TrafficReport| report.entries[0].counts.outcomes.clone();
        assert!(
            words(&old)
                .keys()
                .all(|outcome| outcome.in_0_1() == *outcome),
            "{:?}",
            words(&old)
        );
        assert_eq!(
            words(&new).keys().copied().collect::<Vec<_>>(),
            Outcome::ALL
        );
        assert_eq!(
            (requests(&old), requests(&new), &old.keys),
            (every, every, &new.keys)
        );
        cell(&worker, &counters, Arm::Gray).outcome(Outcome::Refused413);
        let next = reporter.report(Some((old.epoch, old.sequence)), ReportForm::One);
        let folded = Outcome::ALL
            .iter()
            .filter(|outcome| outcome.in_0_1() == Outcome::Refused400)
            .count();
        assert_eq!(words(&next)[&Outcome::Refused400], folded as u64 + 1);
    }

    #[test]
    fn another_epoch_or_a_sequence_ahead_gets_the_full_report() {
        let mut reporter = reporter(1);
        let counters = reporter.enter(&uid(), RELEASE, stage(1));
        cell(&WorkerCounters::new(0), &counters, Arm::Stable).outcome(Outcome::Status2xx);
        let first = reporter.report(None, ReportForm::Two);
        for since in [
            (Epoch(2), first.sequence),
            (first.epoch, first.sequence + 1),
        ] {
            let report = reporter.report(Some(since), ReportForm::Two);
            assert_eq!((report.since, requests(&report)), (None, 1));
        }
    }

    #[test]
    fn the_stage_before_is_kept_and_older_ones_are_folded_once_their_requests_have_ended() {
        let mut reporter = reporter(1);
        let worker = WorkerCounters::new(0);
        let mut late = None;
        for number in 1..=4 {
            let counters = reporter.enter(&uid(), RELEASE, stage(number));
            let cell = cell(&worker, &counters, Arm::Stable);
            cell.outcome(Outcome::Status2xx);
            late.get_or_insert(cell);
        }
        let stages = |report: &TrafficReport| {
            report
                .keys
                .iter()
                .map(|key| key.stage.get())
                .collect::<Vec<_>>()
        };
        assert_eq!(stages(&reporter.report(None, ReportForm::Two)), [3, 4]);
        late.take().unwrap().outcome(Outcome::Status2xx);
        reporter.report(None, ReportForm::Two);
        assert_eq!(
            reporter.ledgers()[&uid()].total(Arm::Stable).requests(),
            5,
            "nothing is lost by folding"
        );
        // A release that goes back to a stage it knows counts on there.
        reporter.enter(&uid(), RELEASE, stage(3));
        assert_eq!(stages(&reporter.report(None, ReportForm::Two)), [4, 3]);
    }

    #[test]
    fn a_withdrawn_release_goes_once_its_last_request_has_ended() {
        let mut reporter = reporter(1);
        let counters = reporter.enter(&uid(), RELEASE, stage(1));
        let cell = cell(&WorkerCounters::new(0), &counters, Arm::Stable);
        drop(counters);
        reporter.set_documents(applied(false));
        assert_eq!(
            reporter.report(None, ReportForm::Two).keys.len(),
            0,
            "no request has ended yet"
        );
        cell.outcome(Outcome::Status2xx);
        assert_eq!(requests(&reporter.report(None, ReportForm::Two)), 1);
        drop(cell);
        let gone = reporter.report(None, ReportForm::Two);
        assert_eq!((gone.keys.len(), gone.entries.len()), (0, 0));
    }

    #[test]
    fn tunnels_left_on_gray_after_its_end_are_told() {
        let mut reporter = reporter(1);
        let counters = reporter.enter(&uid(), RELEASE, stage(1));
        let worker = WorkerCounters::new(1);
        let (gray, stable) = (
            cell(&worker, &counters, Arm::Gray),
            cell(&worker, &counters, Arm::Stable),
        );
        gray.long_opened();
        gray.long_opened();
        stable.long_opened();
        gray.long_closed();
        assert_eq!(
            reporter.report(None, ReportForm::Two).applied[0].open_long,
            1
        );
        let mut going_on = applied(true);
        going_on
            .applied
            .values_mut()
            .for_each(|applied| applied.gray_ended = false);
        reporter.set_documents(going_on);
        assert_eq!(
            reporter.report(None, ReportForm::Two).applied[0].open_long,
            0
        );
    }

    #[test]
    fn a_client_counts_as_abandoning_after_stables_p99_of_the_last_full_minute() {
        let mut reporter = reporter(1);
        let counters = reporter.enter(&uid(), RELEASE, stage(1));
        let stable = cell(&WorkerCounters::new(0), &counters, Arm::Stable);
        let answer =
            |n: usize, seconds| (0..n).for_each(|_| stable.latency(Duration::from_secs(seconds)));
        assert_eq!(counters.abandoned_after(), Duration::from_secs(1));
        answer(99, 8);
        reporter.minute_passed();
        assert_eq!(
            counters.abandoned_after(),
            Duration::from_secs(1),
            "99 answers say nothing"
        );
        answer(100, 8);
        reporter.minute_passed();
        let wait = counters.abandoned_after().as_secs_f64();
        assert!((wait - 8.0).abs() < 0.08, "{wait}");
        // The next stage begins with what is known; a fast minute brings it down to the least.
        assert_eq!(
            reporter.enter(&uid(), RELEASE, stage(2)).abandoned_after(),
            counters.abandoned_after()
        );
        answer(200, 0);
        reporter.minute_passed();
        assert_eq!(counters.abandoned_after(), Duration::from_secs(1));
    }

    #[test]
    fn counts_read_while_workers_count_never_fall_and_end_exact() {
        const EACH: u64 = 20_000;
        let mut reporter = reporter(1);
        let counters = reporter.enter(&uid(), RELEASE, stage(1));
        std::thread::scope(|scope| {
            for worker in [WorkerCounters::new(0), WorkerCounters::new(1)] {
                let counters = &counters;
                scope.spawn(move || {
                    for _ in 0..EACH {
                        let cell = cell(&worker, counters, Arm::Gray);
                        cell.latency(Duration::from_micros(300));
                        cell.outcome(Outcome::Status2xx);
                    }
                });
            }
            let mut last = 0;
            while last < 2 * EACH {
                let now = requests(&reporter.report(None, ReportForm::Two));
                assert!(now >= last);
                last = now;
            }
        });
        assert_eq!(
            reporter.report(None, ReportForm::Two).entries[0]
                .counts
                .latency
                .count(),
            2 * EACH
        );
    }

    proptest! {
        /// Any mix of polls, lost answers, new stages and restarts: what the reader adds up is what was served, less
        /// what came between the last answer of a run and its end.
        #[test]
        fn a_restarted_proxy_never_doubles_a_count_and_loses_at_most_one_poll(
            script in prop::collection::vec((0_u64..50, 0_u8..10), 1..60)
        ) {
            let (mut epoch, mut reporter, mut at) = (1, reporter(1), 0);
            let (mut baseline, worker) = (Baseline::new(), WorkerCounters::new(0));
            baseline.take(&reporter.report(None, ReportForm::Two));
            let (mut served, mut counted, mut lost, mut unseen) = (0, 0, 0, 0);
            for (now, event) in script {
                let counters = reporter.enter(&uid(), RELEASE, stage(at));
                (0..now).for_each(|_| cell(&worker, &counters, Arm::Gray).outcome(Outcome::Status2xx));
                served += now;
                unseen += now;
                match event {
                    0 => {
                        epoch += 1;
                        reporter = self::reporter(epoch);
                        lost += std::mem::take(&mut unseen);
                    }
                    // The answer is lost on the way.
                    1 => drop(reporter.report(baseline.since(), ReportForm::Two)),
                    _ => {
                        let more = baseline.take(&reporter.report(baseline.since(), ReportForm::Two));
                        counted += more.iter().map(|(_, counts)| counts.requests()).sum::<u64>();
                        unseen = 0;
                        at += u64::from(event == 2);
                    }
                }
            }
            prop_assert_eq!(counted + lost + unseen, served);
        }
    }
}
