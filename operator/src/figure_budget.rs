//! Who of a fleet's releases may write figures now: 20 a second, first come, first served. Pure: the clock is passed in.
//!
//! A token bucket with a queue in front. Whoever is refused keeps its place until it is served or says that it has nothing
//! to write any more, so that nobody is starved; each token is good for whoever stands at the front.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Writes a second, and at most at once.
const RATE: u32 = 20;
/// Nobody is asked to come back sooner: for figures no release is given turns at the pace of polls.
const SOONEST: Duration = Duration::from_secs(1);

/// The writes that a fleet has left, and who waits for one.
#[derive(Debug)]
pub struct FigureBudget<K> {
    tokens: f64,
    /// When the tokens were counted last; None before the first question.
    counted_at: Option<Instant>,
    waiting: BTreeMap<u64, K>,
    places: HashMap<K, u64>,
    next_place: u64,
}

impl<K> Default for FigureBudget<K> {
    fn default() -> Self {
        Self {
            tokens: f64::from(RATE),
            counted_at: None,
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
        }
    }
}

impl<K: Hash + Eq + Clone> FigureBudget<K> {
    /// Takes a write for `key` at `now`.
    ///
    /// # Errors
    /// It is not its turn: after how long to ask again. It has a place in the queue now.
    pub fn take(&mut self, key: &K, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        let place = self.place(key);
        let whole = self.tokens as usize;
        let ahead = self.waiting.range(..place).take(whole).count();
        if ahead < whole {
            self.tokens -= 1.0;
            self.withdraw(key);
            return Ok(());
        }
        let first = self.waiting.keys().next().copied().unwrap_or(place);
        // Some in between may have gone, which nobody counts.
        let ahead = (place - first + 1) as f64 - self.tokens;
        Err(Duration::from_secs_f64((ahead / f64::from(RATE)).max(0.0)).max(SOONEST))
    }

    /// Nothing has to be written for `key` any more.
    pub fn withdraw(&mut self, key: &K) {
        if let Some(place) = self.places.remove(key) {
            self.waiting.remove(&place);
        }
    }

    fn place(&mut self, key: &K) -> u64 {
        if let Some(place) = self.places.get(key) {
            return *place;
        }
        let place = self.next_place;
        self.next_place += 1;
        self.places.insert(key.clone(), place);
        self.waiting.insert(place, key.clone());
        place
    }

    fn refill(&mut self, now: Instant) {
        let before = self.counted_at.replace(now).unwrap_or(now);
        let passed = now.saturating_duration_since(before).as_secs_f64();
        let rate = f64::from(RATE);
        self.tokens = (self.tokens + passed * rate).min(rate);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const POLL: Duration = Duration::from_millis(500);

    /// So many releases that want a write again and again ask at each poll, always in the same order. How often each was
    /// served, and how many all together.
    fn served(releases: usize, polls: usize) -> (BTreeMap<usize, usize>, usize) {
        let start = Instant::now();
        let mut budget = FigureBudget::default();
        let mut served = BTreeMap::new();
        for poll in 0..polls {
            let now = start + POLL * u32::try_from(poll).unwrap();
            for release in 0..releases {
                if budget.take(&release, now).is_ok() {
                    *served.entry(release).or_default() += 1;
                }
            }
        }
        let all = served.values().sum();
        (served, all)
    }

    #[test]
    fn a_fleet_writes_twenty_times_a_second_however_many_ask() {
        let (_, all) = served(500, 201);
        assert_eq!(all, 20 + 100 * 20, "the first at once, then 20 each second");
    }

    #[test]
    fn whoever_asks_first_each_time_is_served_no_more_often_than_the_last() {
        let (served, _) = served(500, 401);
        assert_eq!(served.len(), 500, "nobody is starved");
        let (least, most) = (served.values().min(), served.values().max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{least:?} to {most:?}");
    }

    #[test]
    fn whoever_comes_back_when_told_to_is_served_then() {
        let start = Instant::now();
        let mut budget = FigureBudget::default();
        let wait = |key| (key, budget.take(&key, start));
        let asked: Vec<(u32, Result<(), Duration>)> = (0..100).map(wait).collect();
        assert_eq!(asked.iter().filter(|(_, asked)| asked.is_ok()).count(), 20);
        for (key, wait) in asked
            .iter()
            .filter_map(|(key, asked)| Some((key, asked.err()?)))
        {
            assert_eq!(
                budget.take(key, start + wait),
                Ok(()),
                "{key} after {wait:?}"
            );
        }
    }

    #[test]
    fn whoever_has_nothing_to_write_any_more_holds_nobody_up() {
        let start = Instant::now();
        let mut budget = FigureBudget::default();
        for key in 0..40 {
            let _ = budget.take(&key, start);
        }
        (20..39).for_each(|key| budget.withdraw(&key));
        let next = start + Duration::from_millis(50);
        assert_eq!(budget.take(&39, next), Ok(()));
        assert_eq!(budget.take(&20, next), Err(SOONEST), "its place is lost");
    }
}
