//! Limits relative to what stable does at the same time: error rates, and the 99th percentile of latency, which
//! becomes a comparison of rates by asking how many are slow.

use halftone_routing::histogram::{self, Histogram};
use serde::{Deserialize, Serialize};

use super::{
    absolute::wager,
    event_counts::{EventCounts, ObservedWindow},
    evidence::Evidence,
    likelihood::{self, relative_gains},
    limit_state::{LimitState, Strength},
    onset::Onset,
};

/// One limit on the ratio of gray's rate to stable's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RelativeLimit {
    factor: f64,
    evidence: Evidence,
    onset: Onset,
    /// Whether gray is above the floor at all.
    floor: Option<(likelihood::Absolute, Evidence)>,
}

impl RelativeLimit {
    /// Gray's rate may be `factor` times stable's, or `floor` (millionths), whichever is more.
    pub(super) fn new(factor: f64, floor: u32, alpha: f64) -> Self {
        // Above a floor of 0 is everything that has a single bad event, which the comparison needs anyway.
        let floor = (floor > 0).then(|| (likelihood::Absolute::new(floor), Evidence::new(alpha)));
        Self {
            factor,
            evidence: Evidence::new(alpha),
            onset: Onset::default(),
            floor,
        }
    }

    /// Takes a batch.
    pub(super) fn add(&mut self, seen: ObservedWindow) -> LimitState {
        self.onset.add(&self.evidence, seen);
        let power = likelihood::power(seen.gray.all, seen.seconds);
        match relative_gains(seen.gray, seen.stable, self.factor, power) {
            Some(gains) => self.evidence.add(&gains),
            None => self.evidence.idle(),
        }
        if let Some((odds, evidence)) = &mut self.floor {
            wager(evidence, odds, seen.gray, seen.seconds);
        }
        let above_floor = self
            .floor
            .as_ref()
            .is_none_or(|(_, evidence)| evidence.decides());
        if above_floor && self.evidence.decides() {
            LimitState::Broken
        } else {
            LimitState::Kept
        }
    }

    /// How strong the evidence is: as strong as the weaker one of the comparison and the floor.
    pub(super) fn strength(&self) -> Strength {
        let floor = self
            .floor
            .as_ref()
            .map_or(f64::INFINITY, |(_, evidence)| evidence.ln_e());
        Strength {
            ln_e: self.evidence.ln_e().min(floor),
            needed: self.evidence.needed(),
            window: self
                .onset
                .window(|seen| relative_gains(seen.gray, seen.stable, self.factor, 1.0)),
        }
    }
}

/// A slow answer of gray is at least this much later than stable's p99, whatever the factor.
const LEAST_MICROS: u64 = 5_000;

/// The limit on gray's p99. With q stable's p99 so far in this stage, an answer of stable is slow above q, one of
/// gray above max(factor·q, q + 5 ms); while gray keeps the limit, a slow answer is at most as likely as stable's.
/// q comes from earlier batches only, so that it cannot depend on what it is used to judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RelativeP99 {
    factor: f64,
    stable: Histogram,
    comparison: RelativeLimit,
}

impl RelativeP99 {
    /// Gray's p99 may be `factor` times stable's.
    pub(super) fn new(factor: f64, alpha: f64) -> Self {
        Self {
            factor,
            stable: Histogram::default(),
            comparison: RelativeLimit::new(1.0, 0, alpha),
        }
    }

    /// How many answers of a batch were slow. Later batches are measured by this one's answers of stable too.
    pub(super) fn observe(
        &mut self,
        gray: &Histogram,
        stable: &Histogram,
        seconds: f64,
    ) -> ObservedWindow {
        let mut seen = ObservedWindow {
            seconds,
            ..ObservedWindow::default()
        };
        if let Some(q) = self.stable_p99_micros() {
            seen.gray = EventCounts::new(slower_than(gray, self.gray_micros(q)), gray.count());
            seen.stable = EventCounts::new(slower_than(stable, q), stable.count());
        }
        self.stable.merge(stable);
        seen
    }

    /// Takes a batch as [`Self::observe`] saw it.
    pub(super) fn add(&mut self, seen: ObservedWindow) -> LimitState {
        self.comparison.add(seen)
    }

    /// Stable's p99 over the batches before, as the upper bound of its bucket; none before the first answer.
    pub(super) fn stable_p99_micros(&self) -> Option<u64> {
        let mut above = self.stable.count() / 100;
        let found =
            self.stable
                .buckets()
                .rev()
                .find(|&(_, count)| match above.checked_sub(count) {
                    Some(rest) => {
                        above = rest;
                        false
                    }
                    None => true,
                });
        found.map(|(bucket, _)| histogram::bounds(bucket).1)
    }

    /// From where on an answer of gray is slow.
    pub(super) fn gray_micros(&self, q: u64) -> u64 {
        ((q as f64 * self.factor) as u64).max(q.saturating_add(LEAST_MICROS))
    }

    /// How strong the evidence is.
    pub(super) fn strength(&self) -> Strength {
        self.comparison.strength()
    }
}

/// How many answers took at least `micros`, leaving out those of the bucket that `micros` cuts in two.
fn slower_than(latencies: &Histogram, micros: u64) -> u64 {
    let slow = latencies
        .buckets()
        .rev()
        .take_while(|&(bucket, _)| histogram::bounds(bucket).0 >= micros);
    slow.fold(0, |sum, (_, count)| sum.saturating_add(count))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn histogram(micros: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        micros
            .iter()
            .for_each(|&micros| histogram.record(Duration::from_micros(micros)));
        histogram
    }

    proptest! {
        #[test]
        fn stables_p99_is_that_of_the_sorted_list(mut micros in prop::collection::vec(0_u64..10_000_000, 1..300)) {
            let mut limit = RelativeP99::new(1.5, 0.001);
            limit.observe(&Histogram::default(), &histogram(&micros), 0.5);
            micros.sort_unstable();
            let p99 = micros[(micros.len() * 99).div_ceil(100) - 1];
            let bucket = histogram::bucket(Duration::from_micros(p99));
            prop_assert_eq!(limit.stable_p99_micros(), Some(histogram::bounds(bucket).1));
        }
    }

    #[test]
    fn a_batch_is_measured_by_earlier_batches_only() {
        let mut limit = RelativeP99::new(1.5, 0.001);
        let fast = histogram(&[10_000; 100]);
        let slow = histogram(&[100_000; 100]);
        let nothing_to_compare_with = ObservedWindow {
            seconds: 0.5,
            ..ObservedWindow::default()
        };
        assert_eq!(limit.observe(&slow, &fast, 0.5), nothing_to_compare_with);
        let seen = limit.observe(&slow, &slow, 0.5);
        assert_eq!(
            (seen.gray, seen.stable),
            (EventCounts::new(100, 100), EventCounts::new(100, 100))
        );
    }

    #[test]
    fn gray_is_never_slow_within_five_milliseconds_of_stables_p99() {
        let mut limit = RelativeP99::new(1.5, 0.001);
        limit.observe(&Histogram::default(), &histogram(&[100; 100]), 0.5);
        let seen = limit.observe(&histogram(&[4_000; 100]), &histogram(&[100; 100]), 0.5);
        assert_eq!(seen.gray, EventCounts::new(0, 100));
    }
}
