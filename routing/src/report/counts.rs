//! What was counted under one key, how counts add up, and what one reading has more than an earlier one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::document::limits::Quantile;
use crate::histogram::Histogram;
use crate::sketch::UserSketch;

use super::{Fault, Outcome};

/// What was counted under one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "ReadCounts")]
pub struct Counts {
    /// Requests by how they ended. Their sum is the number of requests; it is never stored beside them, so no part
    /// can exceed the whole.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Of the requests that ended as [`Outcome::ErrorStatus`], how many had which status.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub error_statuses: BTreeMap<u16, u64>,
    /// The users whom gray's failures reached, as far as the split knew them. Stable's are not counted.
    #[serde(skip_serializing_if = "UserSketch::is_empty")]
    pub failed_users: UserSketch,
    /// Requests that ended in a way for which a newer proxy has a word and this build does not. They count as
    /// requests, and are charged to nobody. Only read, never written.
    #[serde(skip_serializing)]
    pub unknown: BTreeMap<Box<str>, u64>,
    /// Further tries of requests on the same arm.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u64,
    /// Requests that the other arm answered, since this one had no endpoint.
    #[serde(skip_serializing_if = "is_zero")]
    pub fallbacks: u64,
    /// From a request's last byte to the first byte of the final response head.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub latency: Histogram,
    /// Of each absolute latency limit: one event per request that lived until then.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<Quantile, LimitEvents>,
}

/// Counts as they are read: words that this build does not know are no error.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReadCounts {
    outcomes: BTreeMap<Box<str>, u64>,
    error_statuses: BTreeMap<Box<str>, u64>,
    failed_users: UserSketch,
    retries: u64,
    fallbacks: u64,
    latency: Histogram,
    limits: BTreeMap<Box<str>, LimitEvents>,
}

impl From<ReadCounts> for Counts {
    fn from(read: ReadCounts) -> Self {
        let ReadCounts {
            outcomes,
            error_statuses,
            failed_users,
            retries,
            fallbacks,
            latency,
            limits,
        } = read;
        let mut counts = Self {
            failed_users,
            retries,
            fallbacks,
            latency,
            ..Self::default()
        };
        let statuses = error_statuses
            .into_iter()
            .filter_map(|(status, count)| Some((status.parse().ok()?, count)));
        counts.error_statuses = statuses.collect();
        for (word, count) in outcomes {
            match Outcome::from_name(&word) {
                Some(outcome) => drop(counts.outcomes.insert(outcome, count)),
                None => drop(counts.unknown.insert(word, count)),
            }
        }
        let named = |word: &str| {
            Quantile::ALL
                .into_iter()
                .find(|quantile| quantile.name() == word)
        };
        let limits = limits
            .into_iter()
            .filter_map(|(word, events)| Some((named(&word)?, events)));
        counts.limits = limits.collect();
        counts
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The events of one latency limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitEvents {
    /// The head arrived in time.
    pub within: u64,
    /// The limit passed first.
    pub over: u64,
}

impl Counts {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.unknown
            .values()
            .fold(self.sum(|_| true), |sum, count| sum.saturating_add(*count))
    }

    /// Requests that the arm answered or is charged with: what error rates are shares of.
    pub fn charged(&self) -> u64 {
        self.sum(|outcome| outcome.fault() != Fault::Nobody)
    }

    /// Errors charged to the arm.
    pub fn errors(&self) -> u64 {
        self.sum(|outcome| outcome.fault() == Fault::Error)
    }

    /// Client errors: 4xx without 429 and without `errorStatuses`.
    pub fn client_errors(&self) -> u64 {
        self.sum(|outcome| outcome == Outcome::Status4xx)
    }

    fn sum(&self, which: impl Fn(Outcome) -> bool) -> u64 {
        let counts = self.outcomes.iter().filter(|(outcome, _)| which(**outcome));
        counts.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Adds what another proxy or key counted.
    pub fn merge(&mut self, other: &Self) {
        for (&outcome, &count) in &other.outcomes {
            add(self.outcomes.entry(outcome).or_default(), count);
        }
        for (&status, &count) in &other.error_statuses {
            add(self.error_statuses.entry(status).or_default(), count);
        }
        self.failed_users.merge(&other.failed_users);
        for (word, &count) in &other.unknown {
            add(self.unknown.entry(word.clone()).or_default(), count);
        }
        for (&limit, events) in &other.limits {
            let mine = self.limits.entry(limit).or_default();
            add(&mut mine.within, events.within);
            add(&mut mine.over, events.over);
        }
        add(&mut self.retries, other.retries);
        add(&mut self.fallbacks, other.fallbacks);
        self.latency.merge(&other.latency);
    }

    /// Whether these are counters that went on from `earlier`: within one life counters never fall.
    pub(super) fn go_on_from(&self, earlier: &Self) -> bool {
        let limits = earlier.limits.iter().all(|(limit, before)| {
            let now = self.limits.get(limit).copied().unwrap_or_default();
            now.within >= before.within && now.over >= before.over
        });
        limits
            && are_all_in(&earlier.outcomes, &self.outcomes)
            && are_all_in(&earlier.error_statuses, &self.error_statuses)
            && are_all_in(&earlier.unknown, &self.unknown)
            && self.retries >= earlier.retries
            && self.fallbacks >= earlier.fallbacks
    }

    /// What these have more than an earlier reading of the same counters.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let limits = self.limits.iter().filter_map(|(&limit, events)| {
            let before = earlier.limits.get(&limit).copied().unwrap_or_default();
            let more = LimitEvents {
                within: events.within.saturating_sub(before.within),
                over: events.over.saturating_sub(before.over),
            };
            (more != LimitEvents::default()).then_some((limit, more))
        });
        Self {
            outcomes: more(&self.outcomes, &earlier.outcomes),
            error_statuses: more(&self.error_statuses, &earlier.error_statuses),
            failed_users: self.failed_users.since(&earlier.failed_users),
            unknown: more(&self.unknown, &earlier.unknown),
            retries: self.retries.saturating_sub(earlier.retries),
            fallbacks: self.fallbacks.saturating_sub(earlier.fallbacks),
            latency: self.latency.since(&earlier.latency),
            limits: limits.collect(),
        }
    }

    /// The same for a reader that knows 0.1's words only.
    #[must_use]
    pub fn in_0_1(&self) -> Self {
        let mut folded = Self {
            outcomes: BTreeMap::new(),
            error_statuses: BTreeMap::new(),
            failed_users: UserSketch::default(),
            ..self.clone()
        };
        for (outcome, &count) in &self.outcomes {
            add(folded.outcomes.entry(outcome.in_0_1()).or_default(), count);
        }
        folded
    }

    /// The same requests, none of which says anything about an arm.
    pub(super) fn charged_to_nobody(mut self) -> Self {
        for (outcome, count) in std::mem::take(&mut self.outcomes) {
            add(
                self.unknown.entry(outcome.name().into()).or_default(),
                count,
            );
        }
        Self {
            unknown: self.unknown,
            retries: self.retries,
            fallbacks: self.fallbacks,
            ..Self::default()
        }
    }
}

/// By how much each count is higher than in an earlier reading, where it is.
/// Whether no count is lower than it was.
fn are_all_in<K: Ord>(earlier: &BTreeMap<K, u64>, counts: &BTreeMap<K, u64>) -> bool {
    let now = |key| counts.get(key).copied().unwrap_or_default();
    earlier.iter().all(|(key, before)| now(key) >= *before)
}

fn more<K: Ord + Clone>(now: &BTreeMap<K, u64>, earlier: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    let higher = |(key, &count): (&K, &u64)| {
        let more = count.saturating_sub(earlier.get(key).copied().unwrap_or(0));
        (more > 0).then(|| (key.clone(), more))
    };
    now.iter().filter_map(higher).collect()
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}
