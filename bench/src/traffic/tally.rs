//! What one measurement counts, and what it holds against the proxy: a wrong answer, a broken connection, a user
//! that met both arms.

use crate::latency::Latencies;
use std::collections::BTreeMap;

/// Users of every scenario.
pub(crate) const USERS: usize = 10_000;

const NOBODY: u8 = 0;

/// Counts of one measurement.
pub(crate) struct LoadTally {
    /// Requests answered rightly.
    pub(crate) requests: u64,
    /// What went wrong, how often.
    pub(crate) errors: BTreeMap<&'static str, u64>,
    pub(crate) latencies: Latencies,
    /// The arm each user has met, by the letter that arm's answers are filled with.
    arms: Vec<u8>,
}

impl LoadTally {
    pub(crate) fn new() -> Self {
        Self {
            requests: 0,
            errors: BTreeMap::new(),
            latencies: Latencies::new(),
            arms: vec![NOBODY; USERS],
        }
    }

    /// Starts counting anew, while errors and users' arms remain: an error in the warm-up is an error.
    pub(crate) fn restart(&mut self) {
        self.requests = 0;
        self.latencies.clear();
    }

    pub(crate) fn error(&mut self, reason: &'static str) {
        *self.errors.entry(reason).or_default() += 1;
    }

    /// Notes which arm answered a user, and counts a user that moved.
    pub(crate) fn met(&mut self, user: usize, arm: u8) {
        let before = std::mem::replace(&mut self.arms[user], arm);
        if before != NOBODY && before != arm {
            self.error("user moved between the arms");
        }
    }

    /// Share of the users seen so far that met the arm with this letter, in percent.
    pub(crate) fn share(&self, arm: u8) -> f64 {
        let seen = self.arms.iter().filter(|&&met| met != NOBODY).count();
        let there = self.arms.iter().filter(|&&met| met == arm).count();
        if seen == 0 {
            0.0
        } else {
            100.0 * there as f64 / seen as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_moves_is_an_error() {
        let mut tally = LoadTally::new();
        tally.met(1, b's');
        tally.met(2, b'g');
        tally.met(1, b's');
        assert!(tally.errors.is_empty());
        assert_eq!(tally.share(b'g'), 50.0);
        tally.met(1, b'g');
        assert_eq!(tally.errors.values().sum::<u64>(), 1);
    }
}
