//! The grid of latency buckets that every part shares, and the sparse histogram of a traffic report.
//! Proxies count on this grid, reports carry the counts, readers add them up; percentiles of a fleet come from
//! added buckets, never from averaged percentiles.
//!
//! Log-linear as in HdrHistogram: below 64 µs one bucket per microsecond, above it 64 per power of two, so a
//! bucket's middle is off by at most 1/128 (0.8 %) of any latency in it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Buckets per octave (power of two).
pub const PER_OCTAVE: usize = 64;
/// Octaves: up to 2^32 µs (72 minutes), beyond every time-out of a response head.
pub const OCTAVES: usize = 27;
/// Buckets altogether.
pub const BUCKETS: usize = PER_OCTAVE * OCTAVES;

/// The bucket for a latency, 0..[`BUCKETS`]. What is longer than the grid goes into the last one.
#[inline]
pub fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    if micros < PER_OCTAVE as u64 {
        return micros as usize;
    }
    let exponent = (u64::BITS - 7 - micros.leading_zeros()) as usize;
    let index = (exponent + 1) * PER_OCTAVE + ((micros >> exponent) as usize - PER_OCTAVE);
    index.min(BUCKETS - 1)
}

/// A bucket's bounds in microseconds: at least the first, less than the second.
pub fn bounds(bucket: usize) -> (u64, u64) {
    let (octave, place) = (bucket / PER_OCTAVE, (bucket % PER_OCTAVE) as u64);
    let exponent = octave.saturating_sub(1);
    let from = if octave == 0 {
        place
    } else {
        (place + PER_OCTAVE as u64) << exponent
    };
    (from, from + (1 << exponent))
}

/// Counts of latencies on the shared grid; empty buckets take no room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u16, u64)>", into = "Vec<(u16, u64)>")]
pub struct Histogram(BTreeMap<u16, u64>);

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        self.add(bucket(latency), 1);
    }

    /// Adds `count` to a bucket. A bucket beyond the grid counts as the last.
    pub fn add(&mut self, bucket: usize, count: u64) {
        if count > 0 {
            let index = u16::try_from(bucket.min(BUCKETS - 1))
                .expect("the grid has fewer than 2^16 buckets");
            let sum = self.0.entry(index).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// Adds all of another histogram.
    pub fn merge(&mut self, other: &Self) {
        other
            .buckets()
            .for_each(|(bucket, count)| self.add(bucket, count));
    }

    /// What this one has more than an earlier reading of the same counters.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let more = |(&bucket, &count): (&u16, &u64)| {
            let rest = count.saturating_sub(earlier.0.get(&bucket).copied().unwrap_or(0));
            (rest > 0).then_some((bucket, rest))
        };
        Self(self.0.iter().filter_map(more).collect())
    }

    /// The buckets that are not empty, ascending, with their counts.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = (usize, u64)> {
        self.0
            .iter()
            .map(|(&bucket, &count)| (usize::from(bucket), count))
    }

    /// All latencies counted.
    pub fn count(&self) -> u64 {
        self.0
            .values()
            .fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latency that a share of all counted ones (0.0..=1.0) does not exceed, as the middle of its bucket;
    /// none without any.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = ((self.count() as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0_u64;
        let found = self.buckets().find(|(_, count)| {
            seen = seen.saturating_add(*count);
            seen >= rank
        });
        found.map(|(bucket, _)| {
            let (from, to) = bounds(bucket);
            Duration::from_nanos((from + to) * 500)
        })
    }
}

impl TryFrom<Vec<(u16, u64)>> for Histogram {
    type Error = String;

    fn try_from(pairs: Vec<(u16, u64)>) -> Result<Self, String> {
        let mut histogram = Self::default();
        for (bucket, count) in pairs {
            if usize::from(bucket) >= BUCKETS || histogram.0.insert(bucket, count).is_some() {
                return Err(format!(
                    "bucket {bucket} is listed twice or not below {BUCKETS}"
                ));
            }
        }
        histogram.0.retain(|_, count| *count > 0);
        Ok(histogram)
    }
}

impl From<Histogram> for Vec<(u16, u64)> {
    fn from(histogram: Histogram) -> Self {
        histogram.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_each_other_without_gap_or_overlap() {
        for index in 1..BUCKETS {
            assert_eq!(bounds(index - 1).1, bounds(index).0, "bucket {index}");
        }
    }

    #[test]
    fn a_latency_beyond_the_grid_is_counted_in_the_last_bucket() {
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        assert_eq!(bucket(Duration::from_secs(4294)), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_nothing_are_none() {
        assert_eq!(Histogram::default().quantile(0.99), None);
    }

    proptest! {
        #[test]
        fn a_latency_lies_in_its_bucket_whose_middle_is_off_by_less_than_one_percent(micros in 0_u64..4_294_000_000) {
            let index = bucket(Duration::from_micros(micros));
            let (from, to) = bounds(index);
            prop_assert!(from <= micros && micros < to);
            let middle = (from + to) as f64 / 2.0;
            prop_assert!((middle - micros as f64).abs() <= (micros as f64 * 0.01).max(0.5));
        }

        #[test]
        fn merging_in_any_order_and_taking_back_gives_the_same(a in latencies(), b in latencies()) {
            let mut ab = a.clone();
            ab.merge(&b);
            let mut ba = b.clone();
            ba.merge(&a);
            prop_assert_eq!(&ab, &ba);
            prop_assert_eq!(ab.since(&a), b);
        }

        #[test]
        fn a_quantile_is_within_a_bucket_of_the_sorted_list(mut micros in prop::collection::vec(0_u64..10_000_000, 1..200), share in 0.0_f64..1.0) {
            let mut histogram = Histogram::default();
            micros.iter().for_each(|&micros| histogram.record(Duration::from_micros(micros)));
            micros.sort_unstable();
            let rank = ((micros.len() as f64 * share).ceil() as usize).max(1);
            let exact = micros[rank - 1] as f64;
            let got = histogram.quantile(share).unwrap().as_secs_f64() * 1e6;
            prop_assert!((got - exact).abs() <= (exact * 0.01).max(1.0), "{} for {}", got, exact);
        }

        #[test]
        fn what_was_written_is_read_again(histogram in latencies()) {
            let text = serde_json::to_string(&histogram).unwrap();
            prop_assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), histogram);
        }
    }

    fn latencies() -> impl Strategy<Value = Histogram> {
        prop::collection::vec((0..BUCKETS, 1_u64..1000), 0..20).prop_map(|pairs| {
            let mut histogram = Histogram::default();
            pairs
                .into_iter()
                .for_each(|(bucket, count)| histogram.add(bucket, count));
            histogram
        })
    }
}
