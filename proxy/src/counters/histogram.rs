//! A sparse log-linear latency histogram with one writer.
//!
//! Octaves (powers of two of a microsecond) are allocated when the first value falls into them, so a release that
//! nobody uses costs pointers only, and a usual one four or five octaves of half a KiB. Merging is addition, which
//! is why fleet percentiles can come from merged buckets.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets per octave. A bucket is 1/64 of its octave wide, so its middle is off by less than 0.8 %.
pub const BUCKETS_PER_OCTAVE: usize = 64;
/// Octaves kept: from 1 µs up to 2^32 µs (72 minutes), far beyond every time-out.
pub const OCTAVES: usize = 27;

type Octave = Box<[AtomicU64; BUCKETS_PER_OCTAVE]>;

/// Counts of latencies by bucket. One thread writes, any may read.
#[derive(Debug, Default)]
pub struct Histogram {
    octaves: [OnceLock<Octave>; OCTAVES],
}

impl Histogram {
    /// Counts one latency. Only the owning worker calls this.
    pub(super) fn record(&self, latency: Duration) {
        let (octave, bucket) = place(latency);
        let buckets =
            self.octaves[octave].get_or_init(|| Box::new([const { AtomicU64::new(0) }; BUCKETS_PER_OCTAVE]));
        buckets[bucket].store(buckets[bucket].load(Relaxed) + 1, Relaxed);
    }

    /// Calls `each(bucket index, count)` for every bucket that is not zero, in rising order.
    pub fn for_each(&self, mut each: impl FnMut(usize, u64)) {
        for (octave, buckets) in self.octaves.iter().enumerate() {
            let Some(buckets) = buckets.get() else { continue };
            for (bucket, count) in buckets.iter().enumerate() {
                let count = count.load(Relaxed);
                if count > 0 {
                    each(octave * BUCKETS_PER_OCTAVE + bucket, count);
                }
            }
        }
    }
}

/// The octave and the bucket in it: below 64 µs one bucket per µs, above 64 buckets per power of two.
fn place(latency: Duration) -> (usize, usize) {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let exponent = (u64::BITS - micros.leading_zeros()).saturating_sub(7) as usize;
    let octave = if micros < 64 { 0 } else { exponent + 1 };
    if octave >= OCTAVES {
        return (OCTAVES - 1, BUCKETS_PER_OCTAVE - 1);
    }
    (octave, ((micros >> exponent) & 63) as usize)
}
