//! A sparse latency histogram with one writer, on the grid that reports share.
//!
//! Octaves are allocated when the first value falls into them, so a release that nobody uses costs pointers only, and
//! a usual one four or five octaves of half a KiB.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use halftone_routing::histogram::{self, OCTAVES, PER_OCTAVE};

type Octave = Box<[AtomicU64; PER_OCTAVE]>;

/// Counts of latencies by bucket. One thread writes, any may read.
#[derive(Debug, Default)]
pub struct AtomicHistogram {
    octaves: [OnceLock<Octave>; OCTAVES],
}

impl AtomicHistogram {
    /// Counts one latency. Only the owning worker calls this.
    pub(super) fn record(&self, latency: Duration) {
        let bucket = histogram::bucket(latency);
        let octave = self.octaves[bucket / PER_OCTAVE]
            .get_or_init(|| Box::new([const { AtomicU64::new(0) }; PER_OCTAVE]));
        let count = &octave[bucket % PER_OCTAVE];
        count.store(count.load(Relaxed) + 1, Relaxed);
    }

    /// The present counts.
    pub(super) fn read(&self) -> histogram::Histogram {
        let mut sum = histogram::Histogram::default();
        for (octave, buckets) in self.octaves.iter().enumerate() {
            for (place, count) in buckets
                .get()
                .into_iter()
                .flat_map(|buckets| buckets.iter().enumerate())
            {
                sum.add(octave * PER_OCTAVE + place, count.load(Relaxed));
            }
        }
        sum
    }
}
