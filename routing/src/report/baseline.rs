//! What a proxy's answers add up to, seen from the reader: the difference of each answer to the one before. A proxy
//! that starts anew begins at zero, so nothing is counted twice, and no more is lost than what came after the last
//! answer of the run that ended.

use std::collections::{HashMap, HashSet};

use super::{CounterKey, Counts, Epoch, TrafficReport};

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

    /// What to ask the proxy for: `?since=EPOCH/SEQUENCE`; none before its first answer.
    pub fn since(&self) -> Option<(Epoch, u64)> {
        self.last.as_ref().map(|last| (last.epoch, last.sequence))
    }

    /// Takes an answer and says what it adds. An answer older than the last one, or one that leaves out what changed
    /// before an answer we never got, adds nothing and changes nothing.
    pub fn take(&mut self, report: &TrafficReport) -> Delta {
        let Some(last) = &mut self.last else {
            if report.since.is_none() {
                self.last = Some(LastReport::from(report));
            }
            return Vec::new();
        };
        if last.instance != report.instance || last.epoch != report.epoch {
            if report.since.is_some() || self.ended.contains(&report.epoch) {
                return Vec::new();
            }
            self.ended.insert(last.epoch);
            self.last = Some(LastReport::from(report));
            return report
                .entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.counts.clone()))
                .collect();
        }
        if report.sequence < last.sequence
            || report.since.is_some_and(|since| since > last.sequence)
        {
            return Vec::new();
        }
        last.go_on(report)
    }
}

impl LastReport {
    fn from(report: &TrafficReport) -> Self {
        let counts = report
            .entries
            .iter()
            .map(|entry| (entry.key.clone(), entry.counts.clone()));
        Self {
            instance: report.instance.clone(),
            epoch: report.epoch,
            sequence: report.sequence,
            counts: counts.collect(),
        }
    }

    fn go_on(&mut self, report: &TrafficReport) -> Delta {
        self.sequence = report.sequence;
        // A key that was removed and comes back counts from zero again.
        let live: HashSet<&CounterKey> = report
            .keys
            .iter()
            .chain(report.entries.iter().map(|entry| &entry.key))
            .collect();
        self.counts.retain(|key, _| live.contains(key));
        let mut delta = Delta::new();
        for entry in &report.entries {
            let earlier = self
                .counts
                .insert(entry.key.clone(), entry.counts.clone())
                .unwrap_or_default();
            let more = entry.counts.since(&earlier);
            if more != Counts::default() {
                delta.push((entry.key.clone(), more));
            }
        }
        delta
    }
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
            arm: Arm::Gray,
            chosen_by: ChosenBy::Split.into(),
            excluded: false,
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
            rejected: Vec::new(),
            orphaned: Vec::new(),
            keys: entries.iter().map(|entry| entry.key.clone()).collect(),
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
}
