//! Open loop: a request is due when its schedule says so, whatever became of those before. One that finds every
//! connection taken waits, and its latency counts from when it was due: a proxy that stalls is charged for all who
//! would have come meanwhile, which a client that waits for its answer before it asks again never notices (coordinated
//! omission). PURE but for the times that are passed in.

use super::arrivals::Arrivals;
use std::collections::VecDeque;
use std::time::Instant;

/// The schedule, who waits, and which connections are free.
pub(crate) struct OpenLoop {
    begun: Instant,
    arrivals: Arrivals,
    /// When those were due for which no connection was free, longest ago first.
    waiting: VecDeque<Instant>,
    /// Longest unused first.
    idle: VecDeque<usize>,
}

impl OpenLoop {
    /// `per_second` requests on average over the connections `idle`.
    pub(crate) fn new(per_second: f64, idle: impl Iterator<Item = usize>, now: Instant) -> Self {
        Self {
            begun: now,
            arrivals: Arrivals::new(per_second),
            waiting: VecDeque::new(),
            idle: idle.collect(),
        }
    }

    /// A connection has its answer, or was made anew.
    pub(crate) fn release(&mut self, connection: usize) {
        self.idle.push_back(connection);
    }

    /// The next request that can be sent: on which connection, and when it was due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(usize, Instant)> {
        let since = now.saturating_duration_since(self.begun);
        while let Some(due) = self.arrivals.take_due(since) {
            self.waiting.push_back(self.begun + due);
        }
        if self.waiting.is_empty() {
            return None;
        }
        Some((self.idle.pop_front()?, self.waiting.pop_front()?))
    }

    /// When those were due that still wait for a connection.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Instant> {
        self.waiting.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_request_that_waits_for_a_connection_counts_from_when_it_was_due() {
        let begun = Instant::now();
        let mut load = OpenLoop::new(100.0, std::iter::once(7), begun);
        let (connection, first) = load.take_due(begun + SECOND).unwrap();
        assert_eq!(connection, 7);
        // Its only connection is taken for ten seconds, in which the schedule goes on.
        assert_eq!(load.take_due(begun + 11 * SECOND), None);
        assert!(load.waiting().count() > 900);
        load.release(7);
        let (_, second) = load.take_due(begun + 11 * SECOND).unwrap();
        assert!(
            first < second && second < begun + SECOND,
            "the one due next, long ago"
        );
    }

    #[test]
    fn the_connection_that_was_unused_for_longest_is_used_next() {
        let begun = Instant::now();
        let mut load = OpenLoop::new(1_000.0, 0..3, begun);
        let mut used = || {
            load.take_due(begun + SECOND)
                .map(|(connection, _)| connection)
        };
        assert_eq!(
            [used(), used(), used(), used()],
            [Some(0), Some(1), Some(2), None]
        );
        load.release(2);
        load.release(0);
        let mut used = || {
            load.take_due(begun + SECOND)
                .map(|(connection, _)| connection)
        };
        assert_eq!([used(), used(), used()], [Some(2), Some(0), None]);
    }

    #[test]
    fn nobody_is_asked_before_it_is_due() {
        let begun = Instant::now();
        assert_eq!(OpenLoop::new(1.0, 0..1, begun).take_due(begun), None);
    }
}
