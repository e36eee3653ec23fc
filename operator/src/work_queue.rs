//! Which release is due when: each key at most once at a time, early wishes before late ones, more patience after each
//! failure. Pure: the worker brings the clock and the chance.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// After the first failure; doubles up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(100);
/// What nobody sees to may wait, but a rollback must follow within two seconds of the API server's return.
const LONGEST: Duration = Duration::from_secs(1);

/// Keys that wait for their turn or have it.
#[derive(Debug)]
pub struct WorkQueue<K> {
    due: BTreeSet<(Instant, K)>,
    keys: HashMap<K, QueueEntry>,
}

#[derive(Debug, Clone, Copy, Default)]
struct QueueEntry {
    due: Option<Instant>,
    running: bool,
    failures: u32,
}

impl<K: Ord + Hash + Clone> Default for WorkQueue<K> {
    fn default() -> Self {
        Self {
            due: BTreeSet::new(),
            keys: HashMap::new(),
        }
    }
}

impl<K: Ord + Hash + Clone> WorkQueue<K> {
    /// Wants a turn for `key` no later than `at`. One that has its turn now gets another after it.
    pub fn want(&mut self, key: K, at: Instant) {
        let entry = self.keys.entry(key.clone()).or_default();
        match entry.due {
            Some(due) if due <= at => return,
            Some(due) => drop(self.due.remove(&(due, key.clone()))),
            None => {}
        }
        entry.due = Some(at);
        if !entry.running {
            self.due.insert((at, key));
        }
    }

    /// The next key whose turn is due at `now`; it has its turn until [`WorkQueue::done`].
    pub fn next(&mut self, now: Instant) -> Option<K> {
        let (due, _) = self.due.first()?;
        if *due > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        let entry = self.keys.entry(key.clone()).or_default();
        (entry.due, entry.running) = (None, true);
        Some(key)
    }

    /// When the next turn is due.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The turn of `key` is over; the next one is due after `wait`, or never unless it is wanted.
    pub fn done(&mut self, key: K, now: Instant, wait: Option<Duration>) {
        self.end(&key, |entry| entry.failures = 0);
        if let Some(wait) = wait {
            self.want(key, now + wait);
        }
    }

    /// The turn of `key` has failed: it gets another one after a pause that grows with each failure. `chance` is
    /// between 0 and 1 and spreads those that failed together.
    pub fn failed(&mut self, key: K, now: Instant, chance: f64) {
        let failures = self.end(&key, |entry| {
            entry.failures = entry.failures.saturating_add(1)
        });
        let pause = FIRST
            .saturating_mul(1 << failures.saturating_sub(1).min(10))
            .min(LONGEST);
        // Whatever else wants a turn at once would only fail as well.
        if let Some(entry) = self.keys.get_mut(&key)
            && let Some(due) = entry.due.take()
        {
            self.due.remove(&(due, key.clone()));
        }
        self.want(key, now + pause.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0));
    }

    fn end(&mut self, key: &K, count: impl FnOnce(&mut QueueEntry)) -> u32 {
        let Some(entry) = self.keys.get_mut(key) else {
            return 0;
        };
        entry.running = false;
        count(entry);
        let QueueEntry { due, failures, .. } = *entry;
        match due {
            Some(due) => drop(self.due.insert((due, key.clone()))),
            None if failures == 0 => drop(self.keys.remove(key)),
            None => {}
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_earliest_wish_counts() {
        let (mut queue, start) = (WorkQueue::default(), Instant::now());
        queue.want("a", start + 5 * SECOND);
        queue.want("b", start + 2 * SECOND);
        queue.want("a", start + SECOND);
        queue.want("a", start + 9 * SECOND);
        assert_eq!(queue.next(start), None);
        assert_eq!(queue.next_at(), Some(start + SECOND));
        assert_eq!(queue.next(start + 3 * SECOND), Some("a"));
        assert_eq!(queue.next(start + 3 * SECOND), Some("b"));
        assert_eq!(queue.next(start + 99 * SECOND), None);
    }

    #[test]
    fn a_key_never_has_two_turns_at_once() {
        let (mut queue, start) = (WorkQueue::default(), Instant::now());
        queue.want("a", start);
        assert_eq!(queue.next(start), Some("a"));
        queue.want("a", start);
        assert_eq!(queue.next(start + SECOND), None);
        queue.done("a", start + SECOND, Some(10 * SECOND));
        assert_eq!(
            queue.next(start + SECOND),
            Some("a"),
            "what was wanted meanwhile"
        );
    }

    #[test]
    fn what_fails_is_tried_again_more_and_more_seldom_but_within_a_second() {
        let (mut queue, mut now) = (WorkQueue::default(), Instant::now());
        queue.want("a", now);
        let mut pauses = Vec::new();
        for _ in 0..20 {
            assert_eq!(queue.next(now), Some("a"));
            queue.want("a", now);
            queue.failed("a", now, 1.0);
            let next = queue.next_at().unwrap();
            pauses.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(pauses[..5], [100, 200, 400, 800, 1000]);
        assert_eq!(pauses[19], 1000);
    }
}
