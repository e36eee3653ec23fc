//! Latencies of one measurement, in buckets of one microsecond: exact to the microsecond, and cheap enough to
//! sit beside the measured system.

use std::time::Duration;

/// One second; what takes longer counts in the last bucket.
const BUCKETS: usize = 1_000_000;

/// How many requests took how many microseconds.
pub(crate) struct Latencies {
    counts: Box<[u32]>,
    total: u64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS].into_boxed_slice(),
            total: 0,
        }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let bucket =
            usize::try_from(latency.as_micros()).map_or(BUCKETS - 1, |us| us.min(BUCKETS - 1));
        self.counts[bucket] += 1;
        self.total += 1;
    }

    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// The least latency in microseconds that `per_mille` ‰ of the requests did not exceed; 0 without requests.
    pub(crate) fn percentile_us(&self, per_mille: u64) -> u64 {
        let rank = (self.total * per_mille).div_ceil(1000);
        let mut seen = 0;
        let reaches_rank = |&count: &u32| {
            seen += u64::from(count);
            seen >= rank
        };
        self.counts
            .iter()
            .position(reaches_rank)
            .map_or(0, |us| us as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_value_at_their_rank() {
        let mut latencies = Latencies::new();
        for us in 1..=1000 {
            latencies.record(Duration::from_micros(us));
        }
        assert_eq!(latencies.percentile_us(500), 500);
        assert_eq!(latencies.percentile_us(990), 990);
        assert_eq!(latencies.percentile_us(1000), 1000);
    }

    #[test]
    fn what_exceeds_the_range_is_counted_in_the_last_bucket() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_secs(100));
        assert_eq!(latencies.percentile_us(500), 999_999);
    }
}
