//! What the reporter says of counts and documents, and to whom.

use std::collections::BTreeSet;
use std::time::Duration;

use halftone_routing::report::baseline::Baseline;
use halftone_routing::report::{Charge, ChosenBy, Outcome, ReportEntry};
use proptest::prelude::*;

use super::*;
use crate::counters::{CellWriter, WorkerCounters};

mod bounds;

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

impl Reporter {
    /// Takes note of all documents as they are now, those that are gone included.
    pub(super) fn set_documents(&mut self, documents: Documents) {
        let before = self.documents().applied.keys();
        let uids: BTreeSet<Uid> = before.chain(documents.applied.keys()).cloned().collect();
        let now = |uid: Uid| (uid.clone(), documents.applied.get(&uid).cloned());
        let applied = uids.into_iter().map(now).collect();
        self.change_documents(applied, documents);
    }
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
    worker.cell(counters, Charge::new(arm, ChosenBy::Split))
}

fn is_by(entry: &ReportEntry, chosen_by: ChosenBy) -> bool {
    let charge = entry.key.charge.known();
    charge.is_some_and(|charge| charge.chosen_by == chosen_by)
}

fn since(report: &TrafficReport) -> Option<ReportCursor> {
    Some((report.epoch, report.sequence))
}

/// The stages that reports tell of, in their order.
fn stages(reporter: &mut Reporter) -> Vec<u64> {
    let keys = reporter.report(None, ReportForm::One).keys.unwrap();
    keys.iter().map(|key| key.stage.get()).collect()
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
        let excluded = Charge {
            excluded: true,
            ..Charge::new(Arm::Gray, ChosenBy::Rule)
        };
        worker.cell(&counters, excluded).outcome(Outcome::Reset);
    }
    let report = reporter.report(None, ReportForm::Two);
    let split = report
        .entries
        .iter()
        .find(|entry| is_by(entry, ChosenBy::Split))
        .unwrap();
    let rule = report
        .entries
        .iter()
        .find(|entry| is_by(entry, ChosenBy::Rule))
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
        (
            rule.counts.errors(),
            rule.key.charge.known().unwrap().excluded,
            rule.key.stage
        ),
        (2, true, stage(3))
    );
    assert_eq!(report.entries.len(), 2);
}

#[test]
fn a_report_since_another_tells_what_changed_and_in_form_1_lists_every_key() {
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
            .map(|entry| entry.key.charge.arm())
            .collect::<Vec<_>>(),
        [Arm::Gray]
    );
    assert_eq!(second.keys, None);
    let old = reporter.report(since(&first), ReportForm::One);
    assert_eq!((old.keys.unwrap().len(), old.entries), (2, second.entries));
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
        (requests(&old), requests(&new), old.keys.as_deref()),
        (every, every, Some(&[new.entries[0].key.clone()][..]))
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
fn eight_stages_before_the_present_one_are_kept_apart_and_others_as_long_as_their_requests_last() {
    let mut reporter = reporter(1);
    let worker = WorkerCounters::new(0);
    let mut late = None;
    for number in 1..=11 {
        let counters = reporter.enter(&uid(), RELEASE, stage(number));
        let cell = cell(&worker, &counters, Arm::Stable);
        cell.outcome(Outcome::Status2xx);
        late.get_or_insert(cell);
    }
    assert_eq!(stages(&mut reporter), [1, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    late.take().unwrap().outcome(Outcome::Status2xx);
    assert_eq!(stages(&mut reporter), [3, 4, 5, 6, 7, 8, 9, 10, 11]);
    let total = reporter.ledgers()[&uid()].total(Arm::Stable).requests();
    assert_eq!(total, 12, "nothing is lost by folding");
}

#[test]
fn a_release_that_goes_back_to_a_stage_it_knows_counts_on_there() {
    let mut reporter = reporter(1);
    let worker = WorkerCounters::new(0);
    for (number, sum) in [(3, 1), (4, 1), (3, 2), (4, 2), (3, 3)] {
        let counters = reporter.enter(&uid(), RELEASE, stage(number));
        cell(&worker, &counters, Arm::Stable).outcome(Outcome::Status2xx);
        let report = reporter.report(None, ReportForm::Two);
        assert_eq!(report.entries.last().unwrap().counts.requests(), sum);
    }
    assert_eq!(stages(&mut reporter), [4, 3]);
    let total = reporter.ledgers()[&uid()].total(Arm::Stable).requests();
    assert_eq!(total, 5);
}

#[test]
fn what_went_is_told_with_its_last_counts_also_where_it_came_back() {
    let mut reporter = reporter(1);
    let worker = WorkerCounters::new(0);
    let one = |reporter: &mut Reporter, number| {
        let counters = reporter.enter(&uid(), RELEASE, stage(number));
        cell(&worker, &counters, Arm::Stable).outcome(Outcome::Status2xx);
    };
    one(&mut reporter, 1);
    let first = reporter.report(None, ReportForm::Two);
    one(&mut reporter, 1);
    (2..=10).for_each(|number| one(&mut reporter, number));
    let second = reporter.report(since(&first), ReportForm::Two);
    one(&mut reporter, 1);
    let third = reporter.report(since(&second), ReportForm::Two);
    let counted = |entries: &[ReportEntry]| {
        let counted = entries.iter();
        let counted = counted.map(|entry| (entry.key.stage.get(), entry.counts.requests()));
        counted.collect::<Vec<_>>()
    };
    assert_eq!(counted(&second.removed), [(1, 2)]);
    assert_eq!(
        (counted(&third.removed), counted(&third.entries)),
        (vec![(2, 0)], vec![(1, 1)])
    );
    // Whoever has read neither of them has to count both lives of stage 1.
    let late = reporter.report(since(&first), ReportForm::Two);
    assert_eq!(counted(&late.removed), [(1, 2), (2, 1)]);
    assert!(counted(&late.entries).contains(&(1, 1)));
}

#[test]
fn a_withdrawn_release_goes_once_its_last_request_has_ended() {
    let mut reporter = reporter(1);
    let counters = reporter.enter(&uid(), RELEASE, stage(1));
    let cell = cell(&WorkerCounters::new(0), &counters, Arm::Stable);
    drop(counters);
    reporter.set_documents(applied(false));
    let none = stages(&mut reporter);
    assert!(none.is_empty(), "no request has ended yet");
    cell.outcome(Outcome::Status2xx);
    assert_eq!(requests(&reporter.report(None, ReportForm::Two)), 1);
    drop(cell);
    let gone = reporter.report(None, ReportForm::Two);
    assert_eq!((stages(&mut reporter).len(), gone.entries.len()), (0, 0));
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
