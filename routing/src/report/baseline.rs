//! What a proxy's answers add up to, seen from the reader: the difference of each answer to the one before. A proxy
//! that starts anew begins at zero, so nothing is counted twice, and no more is lost than what came after the last
//! answer of the run that ended.

use std::collections::{HashMap, HashSet};

use super::{CounterKey, Counts, Epoch, ReportEntry, ReportForm, TrafficReport};

/// The last answer of one proxy.
#[derive(Debug, Clone, Default)]
pub struct Baseline {
    last: Option<LastReport>,
    /// Runs that have ended: a late answer of one is no new start.
    ended: HashSet<Epoch>,
}

#[derive(Debug, Clone)]
struct LastReport {
    instance: String,
    epoch: Epoch,
    sequence: u64,
    counts: HashMap<CounterKey, Counts>,
}

/// What one answer added, by key; keys that added nothing are left out.
pub type Delta = Vec<(CounterKey, Counts)>;

impl Baseline {
    /// For a proxy that has not been heard yet. Its first answer is only a baseline and adds nothing: whoever counted
    /// before may have taken it already.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys are kept from one report to the next.
    pub(super) fn len(&self) -> usize {
        self.last.as_ref().map_or(0, |last| last.counts.len())
    }

    /// What to ask the proxy for: `?since=EPOCH/SEQUENCE`; none before its first answer.
    pub fn since(&self) -> Option<(Epoch, u64)> {
        self.last.as_ref().map(|last| (last.epoch, last.sequence))
    }

    /// Whether an answer can be taken: it is not older than the last one, and leaves out nothing that changed before an
    /// answer we never got. In form 2, where keys that went are only named once, it goes on from the last one exactly.
    pub fn accepts(&self, report: &TrafficReport) -> bool {
        let Some(last) = &self.last else {
            return report.since.is_none();
        };
        if !last.is_of_same_run(report) {
            return report.since.is_none() && !self.ended.contains(&report.epoch);
        }
        let follows = |since| match report.form() {
            ReportForm::One => since <= last.sequence,
            ReportForm::Two => since == last.sequence,
        };
        report.sequence >= last.sequence && report.since.is_none_or(follows)
    }

    /// Takes an answer and says what it adds. One that is not [accepted](Self::accepts) adds nothing and changes nothing.
    pub fn take(&mut self, report: &TrafficReport) -> Delta {
        if !self.accepts(report) {
            return Delta::new();
        }
        match &mut self.last {
            Some(last) if last.is_of_same_run(report) => last.go_on(report),
            Some(last) => {
                self.ended.insert(last.epoch);
                *last = LastReport::from(report);
                pairs(&report.entries).collect()
            }
            None => {
                self.last = Some(LastReport::from(report));
                Delta::new()
            }
        }
    }
}

impl LastReport {
    fn from(report: &TrafficReport) -> Self {
        Self {
            instance: report.instance.clone(),
            epoch: report.epoch,
            sequence: report.sequence,
            counts: pairs(&report.entries).collect(),
        }
    }

    fn is_of_same_run(&self, report: &TrafficReport) -> bool {
        self.instance == report.instance && self.epoch == report.epoch
    }

    fn go_on(&mut self, report: &TrafficReport) -> Delta {
        self.sequence = report.sequence;
        let mut delta = Delta::new();
        // A key that was removed and comes back counts from zero again.
        for gone in &report.removed {
            let earlier = self.counts.remove(&gone.key).unwrap_or_default();
            delta.extend(added(gone, &earlier));
        }
        self.keep_live(report);
        for entry in &report.entries {
            let earlier = self.counts.insert(entry.key.clone(), entry.counts.clone());
            delta.extend(added(entry, &earlier.unwrap_or_default()));
        }
        delta
    }

    /// Forgets the keys that a report with all of them leaves out.
    fn keep_live(&mut self, report: &TrafficReport) {
        if report.since.is_some() && report.keys.is_none() {
            return;
        }
        let counted = report.entries.iter().map(|entry| &entry.key);
        let live: HashSet<&CounterKey> = report.keys.iter().flatten().chain(counted).collect();
        self.counts.retain(|key, _| live.contains(key));
    }
}

fn pairs(entries: &[ReportEntry]) -> impl Iterator<Item = (CounterKey, Counts)> {
    entries
        .iter()
        .map(|entry| (entry.key.clone(), entry.counts.clone()))
}

/// By how much the counts of a key are higher than before, if they are. A key of which any count fell has been removed
/// and made again in between, unseen, and has counted from zero.
fn added(entry: &ReportEntry, earlier: &Counts) -> Option<(CounterKey, Counts)> {
    let more = if entry.counts.go_on_from(earlier) {
        entry.counts.since(earlier)
    } else {
        entry.counts.clone()
    };
    (more != Counts::default()).then(|| (entry.key.clone(), more))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::*;
    use super::*;
    use crate::document::arm::Arm;
    use crate::document::limits::Quantile;
    use crate::document::units::ReleaseId;
    use crate::histogram::Histogram;
    use crate::sketch::UserSketch;

    fn key(stage: u64) -> CounterKey {
        CounterKey {
            uid: "local/shop/checkout".parse().unwrap(),
            release: ReleaseId::from_bits(7),
            stage: stage.try_into().unwrap(),
            charge: Charge::new(Arm::Gray, ChosenBy::Split).into(),
        }
    }

    fn counts(answered: u64) -> Counts {
        Counts {
            outcomes: BTreeMap::from([(Outcome::Status2xx, answered)]),
            ..Counts::default()
        }
    }

    fn report(
        epoch: u64,
        sequence: u64,
        since: Option<u64>,
        entries: &[(u64, u64)],
    ) -> TrafficReport {
        let entries: Vec<ReportEntry> = entries
            .iter()
            .map(|&(stage, n)| ReportEntry {
                key: key(stage),
                counts: counts(n),
            })
            .collect();
        TrafficReport {
            instance: "pod".into(),
            epoch: Epoch(epoch),
            sequence,
            since,
            version: "0.1.0".into(),
            features: Vec::new(),
            stale: false,
            operator_last_heard: None,
            crowded: false,
            applied: Vec::new(),
            fleet: None,
            dropped: Vec::new(),
            rejected: Vec::new(),
            resolved: Vec::new(),
            orphaned: Vec::new(),
            keys: Some(entries.iter().map(|entry| entry.key.clone()).collect()),
            removed: Vec::new(),
            entries,
        }
    }

    fn requests(delta: &Delta) -> u64 {
        delta.iter().map(|(_, counts)| counts.requests()).sum()
    }

    #[test]
    fn the_first_answer_is_only_a_baseline() {
        let mut baseline = Baseline::new();
        assert_eq!(requests(&baseline.take(&report(1, 1, None, &[(0, 50)]))), 0);
        assert_eq!(baseline.since(), Some((Epoch(1), 1)));
        assert_eq!(
            requests(&baseline.take(&report(1, 2, Some(1), &[(0, 60)]))),
            10
        );
    }

    #[test]
    fn a_restarted_proxy_counts_from_zero_and_nothing_twice() {
        let mut baseline = Baseline::new();
        baseline.take(&report(1, 9, None, &[(0, 50)]));
        assert_eq!(requests(&baseline.take(&report(2, 1, None, &[(0, 5)]))), 5);
        assert_eq!(requests(&baseline.take(&report(2, 1, None, &[(0, 5)]))), 0);
        assert_eq!(
            requests(&baseline.take(&report(1, 10, None, &[(0, 60)]))),
            0,
            "a late answer of the run before"
        );
        assert_eq!(
            requests(&baseline.take(&report(2, 2, Some(1), &[(0, 7)]))),
            2
        );
    }

    #[test]
    fn an_answer_that_comes_late_or_builds_on_one_we_never_got_adds_nothing() {
        let mut baseline = Baseline::new();
        baseline.take(&report(1, 5, None, &[(0, 50)]));
        assert_eq!(requests(&baseline.take(&report(1, 4, None, &[(0, 40)]))), 0);
        assert_eq!(
            requests(&baseline.take(&report(1, 8, Some(7), &[(0, 90)]))),
            0
        );
        assert_eq!(
            requests(&baseline.take(&report(1, 9, Some(5), &[(0, 60)]))),
            10
        );
    }

    #[test]
    fn a_key_that_was_removed_and_comes_back_counts_from_zero() {
        let mut baseline = Baseline::new();
        baseline.take(&report(1, 1, None, &[(0, 50)]));
        baseline.take(&report(1, 2, Some(1), &[(1, 3)]));
        assert_eq!(
            requests(&baseline.take(&report(1, 3, Some(2), &[(0, 4)]))),
            4
        );
    }

    /// The same in form 2, in which keys have gone with these counts.
    fn short(
        sequence: u64,
        since: Option<u64>,
        removed: &[(u64, u64)],
        entries: &[(u64, u64)],
    ) -> TrafficReport {
        TrafficReport {
            keys: None,
            removed: report(1, sequence, since, removed).entries,
            ..report(1, sequence, since, entries)
        }
    }

    #[test]
    fn a_key_that_is_not_named_goes_on_and_one_that_went_is_counted_to_its_end() {
        let mut baseline = Baseline::new();
        baseline.take(&short(1, None, &[], &[(0, 50), (1, 3)]));
        assert_eq!(
            requests(&baseline.take(&short(2, Some(1), &[], &[(1, 4)]))),
            1
        );
        let went = short(3, Some(2), &[(0, 52)], &[]);
        assert_eq!(requests(&baseline.take(&went)), 2);
        assert_eq!(requests(&baseline.take(&went)), 0, "the same answer again");
        // Twice gone and there once more, each time from zero.
        let back = short(7, Some(3), &[(0, 5), (1, 6), (0, 2)], &[(0, 1)]);
        assert_eq!(requests(&baseline.take(&back)), 5 + 2 + 2 + 1);
        assert_eq!(
            requests(&baseline.take(&short(8, Some(7), &[], &[(0, 9)]))),
            8
        );
    }

    #[test]
    fn what_changed_since_another_answer_than_the_last_is_left_until_everything_is_told() {
        let mut baseline = Baseline::new();
        baseline.take(&short(5, None, &[], &[(0, 50)]));
        for since in [4, 6] {
            let other = short(7, Some(since), &[], &[(0, 60)]);
            assert_eq!(requests(&baseline.take(&other)), 0);
        }
        assert_eq!(
            requests(&baseline.take(&short(7, None, &[], &[(0, 60)]))),
            10
        );
        baseline.take(&short(8, None, &[], &[]));
        assert_eq!(
            requests(&baseline.take(&short(9, Some(8), &[], &[(0, 4)]))),
            4,
            "it had gone"
        );
    }

    #[test]
    fn a_report_that_counts_one_key_twice_is_refused() {
        let text = serde_json::to_vec(&report(1, 1, None, &[(0, 1), (0, 2)])).unwrap();
        assert!(matches!(
            TrafficReport::parse(&text),
            Err(ReportError::Duplicate(_))
        ));
    }

    proptest! {
        /// Any mix of polls answered, answers lost and restarts: the sum is what happened, less what came between the
        /// last answer of a run and its end.
        #[test]
        fn the_sum_of_the_differences_is_what_was_served(script in prop::collection::vec((0_u64..100, 0_u8..10), 1..60)) {
            let (mut baseline, mut epoch, mut sequence, mut total) = (Baseline::new(), 1, 1, 0);
            baseline.take(&report(epoch, sequence, None, &[]));
            let (mut counted, mut served, mut unseen, mut lost) = (0, 0, 0, 0);
            for (requests_now, event) in script {
                total += requests_now;
                served += requests_now;
                unseen += requests_now;
                sequence += 1;
                match event {
                    0 => {
                        (epoch, sequence, total) = (epoch + 1, 1, 0);
                        lost += unseen;
                        unseen = 0;
                    }
                    1 => {}
                    _ => {
                        let since = baseline.since().filter(|(known, _)| *known == Epoch(epoch)).map(|(_, sequence)| sequence);
                        let answer = serde_json::to_vec(&report(epoch, sequence, since, &[(0, total)])).unwrap();
                        counted += requests(&baseline.take(&TrafficReport::parse(&answer).unwrap()));
                        unseen = 0;
                    }
                }
            }
            prop_assert_eq!(counted + lost + unseen, served);
        }

        #[test]
        fn merging_does_not_care_for_order(a in any_counts(), b in any_counts(), c in any_counts()) {
            let sum = |order: [&Counts; 3]| order.into_iter().fold(Counts::default(), |mut sum, counts| { sum.merge(counts); sum });
            prop_assert_eq!(sum([&a, &b, &c]), sum([&c, &a, &b]));
            let mut later = a.clone();
            later.merge(&sum([&a, &b, &c]).since(&a));
            prop_assert_eq!(later, sum([&a, &b, &c]));
            prop_assert!(a.errors() <= a.charged() && a.charged() <= a.requests());
        }

        #[test]
        fn in_0_1s_words_the_same_requests_are_charged_to_the_same(counts in any_counts()) {
            let old = counts.in_0_1();
            let sums = |counts: &Counts| (counts.requests(), counts.charged(), counts.errors(), counts.client_errors());
            prop_assert_eq!(sums(&old), sums(&counts));
            prop_assert!(old.outcomes.keys().all(|outcome| outcome.in_0_1() == *outcome));
            prop_assert_eq!((old.retries, &old.latency, &old.limits), (counts.retries, &counts.latency, &counts.limits));
        }
    }

    fn any_counts() -> impl Strategy<Value = Counts> {
        let outcome = prop::sample::select(Outcome::ALL.to_vec());
        let latencies = prop::collection::vec((0_usize..crate::histogram::BUCKETS, 1_u64..9), 0..9);
        (
            prop::collection::btree_map(outcome, 1_u64..1000, 0..6),
            0_u64..9,
            latencies,
            1_u64..9,
        )
            .prop_map(|(outcomes, retries, latencies, over)| {
                let mut latency = Histogram::default();
                latencies
                    .into_iter()
                    .for_each(|(bucket, count)| latency.add(bucket, count));
                let error_statuses = BTreeMap::from([(500 + u16::try_from(over).unwrap(), over)]);
                let mut failed_users = UserSketch::default();
                failed_users.raise(u8::try_from(retries).unwrap(), u8::try_from(over).unwrap());
                let limits = BTreeMap::from([(
                    Quantile::P99,
                    LimitEvents {
                        within: retries,
                        over,
                    },
                )]);
                Counts {
                    outcomes,
                    error_statuses,
                    failed_users,
                    retries,
                    latency,
                    limits,
                    ..Counts::default()
                }
            })
    }

    #[test]
    fn a_key_that_counts_from_zero_again_unseen_is_not_measured_by_its_earlier_life() {
        let mut baseline = Baseline::new();
        baseline.take(&report(1, 1, None, &[(1, 50)]));
        let mut again = report(1, 2, None, &[(1, 10)]);
        again.entries[0]
            .counts
            .outcomes
            .insert(Outcome::ErrorStatus, 10);
        let delta = baseline.take(&again);
        assert_eq!(delta[0].1, again.entries[0].counts);
    }
}
