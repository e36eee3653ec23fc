//! When the requests of an open loop are due. PURE: times since the beginning, the same in every run.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// One for all contestants, so that each meets the same bursts.
const SEED: u64 = 1;

/// Requests of users who know nothing of each other: a Poisson process.
pub(crate) struct Arrivals {
    chance: SmallRng,
    per_second: f64,
    /// Seconds since the beginning. A sum of gaps that are rounded to nanoseconds would not keep the rate.
    next: f64,
}

impl Arrivals {
    /// `per_second` requests on average, above zero.
    pub(crate) fn new(per_second: f64) -> Self {
        let mut arrivals = Self {
            chance: SmallRng::seed_from_u64(SEED),
            per_second,
            next: 0.0,
        };
        arrivals.advance();
        arrivals
    }

    /// The next request, if it is due at `now` since the beginning.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<Duration> {
        let due = Duration::from_secs_f64(self.next);
        if due > now {
            return None;
        }
        self.advance();
        Some(due)
    }

    fn advance(&mut self) {
        // In (0, 1]: the logarithm is finite.
        let chance = 1.0 - self.chance.random::<f64>();
        self.next -= chance.ln() / self.per_second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_second(per_second: f64) -> Vec<Duration> {
        let mut arrivals = Arrivals::new(per_second);
        std::iter::from_fn(|| arrivals.take_due(Duration::from_secs(1))).collect()
    }

    #[test]
    fn requests_come_at_their_rate_and_in_order() {
        let due = first_second(40_000.0);
        assert!((39_000..=41_000).contains(&due.len()), "{}", due.len());
        assert!(due.is_sorted());
    }

    #[test]
    fn requests_come_in_bursts_as_those_of_strangers_do() {
        let due = first_second(10_000.0);
        let gaps = due
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64() * 10_000.0);
        // Of gaps of one length none would be shorter than half of it; of random ones 39 % are.
        let short = gaps.filter(|&gap| gap < 0.5).count() as f64 / due.len() as f64;
        assert!((0.36..0.43).contains(&short), "{short}");
    }

    #[test]
    fn every_contestant_meets_the_same_schedule() {
        assert_eq!(first_second(1_000.0), first_second(1_000.0));
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let mut arrivals = Arrivals::new(1.0);
        assert_eq!(arrivals.take_due(Duration::ZERO), None);
    }
}
