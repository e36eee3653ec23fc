//! How many requests and tunnels each destination has under way: what `maxInFlight` and `maxTunnels` limit; and how many
//! exchanges wait for their clients, which `maxInFlight` limits once more, for those that last and those that have just
//! begun. Who has a place, and when, is decided in `exchange/concurrency_slot.rs`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::local::capacity::WaitClass;

/// What one destination has under way.
#[derive(Debug)]
pub struct InFlight {
    workers: usize,
    /// Made at the first request: most destinations of a proxy with thousands of releases are idle.
    by_worker: OnceLock<Box<[WorkerInFlight]>>,
}

/// Written by its worker alone, on a cache line of its own, since every request writes it twice.
#[derive(Debug, Default)]
#[repr(align(128))]
struct WorkerInFlight {
    requests: AtomicU32,
    /// Those of them that their clients keep: by the rest of a body, or by not taking the answer.
    kept: AtomicU32,
    tunnels: AtomicU32,
    /// Exchanges that are no requests in this sense, since their clients are waited for: for a moment so far, or for
    /// longer.
    waiting: [AtomicU32; 2],
}

impl WorkerInFlight {
    fn waiting(&self, wait: WaitClass) -> &AtomicU32 {
        &self.waiting[wait as usize]
    }
}

/// Why an arm takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionError {
    /// The backend is busy with as many complete requests as it may have.
    Busy,
    /// Places are free but for requests that their clients keep.
    Crowded,
}

impl InFlight {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers,
            by_worker: OnceLock::new(),
        }
    }

    /// Whether a request of this worker finds fewer than `max` under way. A worker looks at the others' counts only
    /// beyond a small share of `max`, so that in ordinary times no cache line is shared; the price is that all together
    /// may pass `max` by a sixteenth.
    ///
    /// # Errors
    /// There is no room, and why.
    pub(crate) fn room(&self, worker: usize, max: u32) -> Result<(), AdmissionError> {
        if self.by_worker()[worker].requests.load(Relaxed) < self.unlooked(max) {
            return Ok(());
        }
        let all = self.sum(|count| &count.requests);
        if all < u64::from(max) {
            return Ok(());
        }
        let complete = all.saturating_sub(self.sum(|count| &count.kept));
        Err(if complete < u64::from(max) {
            AdmissionError::Crowded
        } else {
            AdmissionError::Busy
        })
    }

    /// Counts a request of this worker in.
    pub(crate) fn enter(&self, worker: usize) {
        add(&self.by_worker()[worker].requests);
    }

    /// A request that was counted in is counted no longer.
    pub(crate) fn leave(&self, worker: usize) {
        take(&self.by_worker()[worker].requests);
    }

    /// The client of a request that was counted in keeps it waiting.
    pub(crate) fn begin_keeping(&self, worker: usize) {
        add(&self.by_worker()[worker].kept);
    }

    /// It does so no longer, or has left.
    pub(crate) fn end_keeping(&self, worker: usize) {
        take(&self.by_worker()[worker].kept);
    }

    /// Whether fewer than `max` tunnels are open.
    pub(crate) fn tunnel_fits(&self, max: u32) -> bool {
        self.sum(|count| &count.tunnels) < u64::from(max)
    }

    /// Counts a tunnel of this worker in.
    pub(crate) fn enter_tunnel(&self, worker: usize) {
        add(&self.by_worker()[worker].tunnels);
    }

    /// A tunnel that was counted in has closed.
    pub(crate) fn leave_tunnel(&self, worker: usize) {
        take(&self.by_worker()[worker].tunnels);
    }

    /// Whether more than `max` exchanges have waited for their clients for as long as one of this worker, as exactly as
    /// [`InFlight::room`].
    pub(crate) fn is_crowded(&self, worker: usize, wait: WaitClass, max: u32) -> bool {
        self.by_worker()[worker].waiting(wait).load(Relaxed) > self.unlooked(max)
            && self.sum(|count| count.waiting(wait)) > u64::from(max)
    }

    /// Counts an exchange of this worker in whose client is waited for.
    pub(crate) fn enter_waiting(&self, worker: usize, wait: WaitClass) {
        add(self.by_worker()[worker].waiting(wait));
    }

    /// Its client has gone on, or it is over.
    pub(crate) fn leave_waiting(&self, worker: usize, wait: WaitClass) {
        take(self.by_worker()[worker].waiting(wait));
    }

    /// Up to so many of its own a worker does not look at the others' counts.
    fn unlooked(&self, max: u32) -> u32 {
        max / 16 / u32::try_from(self.workers).unwrap_or(u32::MAX)
    }

    fn sum(&self, of: impl Fn(&WorkerInFlight) -> &AtomicU32) -> u64 {
        self.by_worker()
            .iter()
            .map(|count| u64::from(of(count).load(Relaxed)))
            .sum()
    }

    fn by_worker(&self) -> &[WorkerInFlight] {
        self.by_worker.get_or_init(|| {
            (0..self.workers)
                .map(|_| WorkerInFlight::default())
                .collect()
        })
    }
}

/// A load and a store: only one thread writes the count.
fn add(count: &AtomicU32) {
    count.store(count.load(Relaxed) + 1, Relaxed);
}

fn take(count: &AtomicU32) {
    count.store(count.load(Relaxed) - 1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    impl InFlight {
        fn admit(&self, worker: usize, max: u32) -> bool {
            let fits = self.room(worker, max).is_ok();
            if fits {
                self.enter(worker);
            }
            fits
        }
    }

    #[test]
    fn places_that_only_clients_keep_are_told_apart() {
        let arm = InFlight::new(2);
        for worker in [0, 1] {
            arm.enter(worker);
        }
        assert_eq!(arm.room(0, 2), Err(AdmissionError::Busy));
        arm.begin_keeping(1);
        assert_eq!(arm.room(0, 2), Err(AdmissionError::Crowded));
        arm.end_keeping(1);
        assert_eq!(arm.room(0, 2), Err(AdmissionError::Busy));
        arm.leave(0);
        assert_eq!(arm.room(0, 2), Ok(()));
    }

    #[test]
    fn tunnels_have_a_limit_of_their_own() {
        let arm = InFlight::new(2);
        arm.enter_tunnel(0);
        assert!(arm.tunnel_fits(2) && arm.room(1, 1).is_ok());
        arm.enter_tunnel(1);
        assert!(!arm.tunnel_fits(2));
        arm.leave_tunnel(0);
        assert!(arm.tunnel_fits(2));
    }

    #[test]
    fn exchanges_that_wait_for_their_clients_have_a_count_of_their_own() {
        let arm = InFlight::new(2);
        for wait in [WaitClass::Brief, WaitClass::Lasting] {
            arm.enter_waiting(0, wait);
            arm.enter_waiting(1, wait);
            assert!(
                !arm.is_crowded(0, wait, 2) && arm.is_crowded(0, wait, 1) && arm.room(0, 1).is_ok()
            );
            arm.leave_waiting(1, wait);
            assert!(!arm.is_crowded(0, wait, 1));
        }
    }

    #[test]
    fn small_limits_hold_exactly_over_all_workers() {
        let arm = InFlight::new(4);
        assert!((0..3).all(|worker| arm.admit(worker, 3)));
        assert!(!arm.admit(3, 3) && !arm.admit(0, 3));
        arm.leave(1);
        assert!(arm.admit(3, 3) && !arm.admit(1, 3));
    }

    #[test]
    fn large_limits_are_passed_by_a_sixteenth_at_most() {
        let arm = InFlight::new(4);
        let admitted = (0..).take_while(|_| arm.admit(0, 2_000)).count();
        assert_eq!(admitted, 2_000);
        let more: usize = (1..4)
            .map(|worker| (0..).take_while(|_| arm.admit(worker, 2_000)).count())
            .sum();
        assert!(more <= 2_000 / 16, "{more}");
    }
}
