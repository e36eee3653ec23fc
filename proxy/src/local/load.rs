//! How many client connections each worker holds; looked at when one is accepted, never by a request.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Connections by worker.
#[derive(Debug)]
pub(crate) struct WorkerLoads(Box<[WorkerLoad]>);

/// A line of its own for each worker's count.
#[derive(Debug, Default)]
#[repr(align(128))]
struct WorkerLoad(AtomicUsize);

impl WorkerLoads {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| WorkerLoad::default()).collect())
    }

    pub(crate) fn add(&self, worker: usize) {
        self.0[worker].0.fetch_add(1, Relaxed);
    }

    pub(crate) fn remove(&self, worker: usize) {
        self.0[worker].0.fetch_sub(1, Relaxed);
    }

    pub(crate) fn of(&self, worker: usize) -> usize {
        self.0[worker].0.load(Relaxed)
    }

    pub(crate) fn by_worker(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().map(|load| load.0.load(Relaxed))
    }

    pub(crate) fn workers(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn total(&self) -> usize {
        self.by_worker().sum()
    }

    /// The least loaded worker, if `worker` already holds more than 1.25 × the mean + 1. The kernel spreads
    /// connections by hash, so a few long-lived ones may all meet on one worker.
    pub(crate) fn better_than(&self, worker: usize) -> Option<usize> {
        let own = self.of(worker);
        let workers = self.0.len();
        // own > 1.25 × total / workers + 1, in whole numbers.
        if 4 * workers * own <= 5 * self.total() + 4 * workers {
            return None;
        }
        (0..workers)
            .min_by_key(|&other| self.of(other))
            .filter(|&other| self.of(other) < own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(counts: &[usize]) -> WorkerLoads {
        let loads = WorkerLoads::new(counts.len());
        for (worker, &count) in counts.iter().enumerate() {
            loads.0[worker].0.store(count, Relaxed);
        }
        loads
    }

    #[test]
    fn a_connection_is_handed_over_only_by_a_worker_far_above_the_mean() {
        for (counts, worker, other) in [
            (&[0, 0][..], 0, None),
            (&[1, 0], 0, None),
            (&[3, 0], 0, Some(1)),
            (&[10, 10], 0, None),
            (&[13, 10, 8], 0, None),
            (&[20, 10, 8], 0, Some(2)),
            (&[20, 10, 8], 1, None),
            (&[500], 0, None),
        ] {
            assert_eq!(loads(counts).better_than(worker), other, "{counts:?}");
        }
    }

    #[test]
    fn connections_that_all_arrive_at_one_worker_end_up_spread() {
        let loads = WorkerLoads::new(4);
        for _ in 0..400 {
            loads.add(loads.better_than(0).unwrap_or(0));
        }
        assert!(
            (0..4).all(|worker| (90..=130).contains(&loads.of(worker))),
            "{loads:?}"
        );
    }
}
