//! How many requests are under way for each arm, which is what `maxInFlight` limits. An arm's own, also where two arms
//! have the same backend: the load of one must not turn users of the other away. It goes on from one snapshot to the
//! next, as requests do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use halftone_routing::config::arm::Arm;
use halftone_routing::config::names::Uid;

/// The requests under way for one arm.
#[derive(Debug)]
pub struct InFlight {
    workers: usize,
    /// Made at the first request: most arms of a proxy with thousands of releases are idle.
    by_worker: OnceLock<Box<[Count]>>,
}

/// Written by its worker alone; a line of its own, since every request writes it twice.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Count(AtomicU32);

impl InFlight {
    fn new(workers: usize) -> Self {
        Self { workers, by_worker: OnceLock::new() }
    }

    /// Counts a request of this worker in, unless `max` are under way already. Every worker writes its own count
    /// only. It looks at the others' only beyond a small share of `max`, so that in ordinary times no line is shared;
    /// the price is that all together may pass `max` by a sixteenth.
    pub(crate) fn admit(&self, worker: usize, max: u32) -> bool {
        let own = &self.by_worker()[worker].0;
        let count = own.load(Relaxed);
        let unlooked = max / 16 / u32::try_from(self.workers).unwrap_or(u32::MAX);
        if count >= unlooked {
            let all: u64 = self.by_worker().iter().map(|each| u64::from(each.0.load(Relaxed))).sum();
            if all >= u64::from(max) {
                return false;
            }
        }
        own.store(count + 1, Relaxed);
        true
    }

    /// An admitted request of this worker has ended.
    pub(crate) fn leave(&self, worker: usize) {
        let own = &self.by_worker()[worker].0;
        own.store(own.load(Relaxed) - 1, Relaxed);
    }

    fn by_worker(&self) -> &[Count] {
        self.by_worker.get_or_init(|| (0..self.workers).map(|_| Count::default()).collect())
    }
}

/// Those of all arms in use. They live as long as a snapshot or a worker holds them.
#[derive(Debug)]
pub struct InFlights {
    workers: usize,
    default: Arc<InFlight>,
    releases: Mutex<HashMap<Uid, [Weak<InFlight>; 2]>>,
}

impl InFlights {
    /// None yet, for a process with this many workers.
    pub fn new(workers: usize) -> Self {
        Self { workers, default: Arc::new(InFlight::new(workers)), releases: Mutex::default() }
    }

    /// Those of the fleet's default backend.
    pub fn of_default(&self) -> Arc<InFlight> {
        Arc::clone(&self.default)
    }

    /// Those of both arms of a release.
    pub fn of(&self, uid: &Uid) -> [Arc<InFlight>; 2] {
        let mut releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
        let known = releases.get(uid).map(|arms| Arm::ALL.map(|arm| arms[arm as usize].upgrade()));
        if let Some([Some(stable), Some(gray)]) = known {
            return [stable, gray];
        }
        releases.retain(|_, arms| arms.iter().any(|arm| arm.strong_count() > 0));
        let made = Arm::ALL.map(|_| Arc::new(InFlight::new(self.workers)));
        releases.insert(uid.clone(), Arm::ALL.map(|arm| Arc::downgrade(&made[arm as usize])));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let more: usize = (1..4).map(|worker| (0..).take_while(|_| arm.admit(worker, 2_000)).count()).sum();
        assert!(more <= 2_000 / 16, "{more}");
    }

    #[test]
    fn each_arm_has_its_own_for_as_long_as_someone_holds_it() {
        let all = InFlights::new(1);
        let uid: Uid = "a".parse().unwrap();
        let [stable, gray] = all.of(&uid);
        assert!(stable.admit(0, 1) && gray.admit(0, 1));
        let [again, _] = all.of(&uid);
        assert!(!again.admit(0, 1), "another snapshot counts on");
        drop((stable, gray, again));
        assert!(all.of(&uid)[0].admit(0, 1));
    }
}
