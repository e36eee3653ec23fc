//! What each destination has for itself, beside endpoints that it may share with others: the load of one must not turn
//! away users of another. It outlives snapshots, as requests do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use halftone_routing::routes::DestinationKey;
use halftone_routing::sweep::SweepSchedule;

use super::in_flight::InFlight;
use super::violations::ProtocolViolations;

/// What is counted for one destination, by all workers.
#[derive(Debug)]
pub struct DestinationCounters {
    /// What is under way there.
    pub in_flight: InFlight,
    /// Its malformed answers.
    pub violations: ProtocolViolations,
}

/// The counters of all destinations in use. They live as long as a snapshot or a worker holds them.
#[derive(Debug)]
pub struct DestinationRegistry {
    workers: usize,
    counters: Mutex<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    by_key: HashMap<DestinationKey, Weak<DestinationCounters>>,
    sweeps: SweepSchedule,
}

impl DestinationRegistry {
    /// None yet, for a process with this many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            counters: Mutex::default(),
        }
    }

    /// Those of one destination.
    pub fn counters(&self, key: DestinationKey) -> Arc<DestinationCounters> {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = counters.by_key.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        counters.sweep();
        let made = Arc::new(DestinationCounters {
            in_flight: InFlight::new(self.workers),
            violations: ProtocolViolations::default(),
        });
        counters.by_key.insert(key, Arc::downgrade(&made));
        made
    }
}

impl Counters {
    /// Forgets those that nobody holds.
    fn sweep(&mut self) {
        if self.sweeps.is_due(self.by_key.len()) {
            self.by_key.retain(|_, known| known.strong_count() > 0);
            self.sweeps.swept(self.by_key.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use halftone_routing::document::arm::Arm;

    use super::*;
    use crate::http1::MessageError;

    fn key(arm: Arm) -> DestinationKey {
        DestinationKey::Arm("a".parse().unwrap(), arm)
    }

    #[test]
    fn each_arm_has_its_own_for_as_long_as_someone_holds_it() {
        let all = DestinationRegistry::new(1);
        let (stable, gray) = (all.counters(key(Arm::Stable)), all.counters(key(Arm::Gray)));
        let admit = |counters: &DestinationCounters| {
            let fits = counters.in_flight.room(0, 1).is_ok();
            if fits {
                counters.in_flight.enter(0);
            }
            fits
        };
        assert!(admit(&stable) && admit(&gray));
        let again = all.counters(key(Arm::Stable));
        assert!(!admit(&again), "another snapshot counts on");
        drop((stable, gray, again));
        assert!(admit(&all.counters(key(Arm::Stable))));
    }

    #[test]
    fn an_arms_violations_stay_while_someone_holds_them() {
        let all = DestinationRegistry::new(1);
        let last = |arm| all.counters(key(arm)).violations.last();
        let stable = all.counters(key(Arm::Stable));
        stable
            .violations
            .count(MessageError::Status, None, Instant::now());
        assert!(last(Arm::Stable).is_some() && last(Arm::Gray).is_none());
        drop(stable);
        assert!(last(Arm::Stable).is_none());
    }
}
