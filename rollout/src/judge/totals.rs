//! What `Pass` has counted: since the stage was acknowledged and its warm-up was over. The only part of a process
//! that outlives the operator.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Batch, Limit, odds::Tally, onset::Window};

/// Below so many bad events of gray a relative limit is not looked at: two errors against none say nothing.
const LEAST_BAD: u64 = 3;

/// Requests counted for `Pass`, as in `status.verdict.totals`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// Number of requests to the gray version.
    #[schemars(with = "i64")]
    pub gray_requests: u64,
    /// Number of requests to the stable version.
    #[schemars(with = "i64")]
    pub stable_requests: u64,
    /// Number of errors that the gray version is charged with.
    #[schemars(with = "i64")]
    pub gray_errors: u64,
    /// Number of errors that the stable version is charged with.
    #[schemars(with = "i64")]
    pub stable_errors: u64,
    /// Counts for each limit, in the order of `status.verdict.limits`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitTotals>,
}

impl Totals {
    /// Adds what a batch says beside the limits.
    pub(super) fn add(&mut self, batch: &Batch) {
        let (gray, stable) = (batch.gray.judged, batch.stable.judged);
        for (total, more) in [
            (&mut self.gray_requests, gray.requests),
            (&mut self.stable_requests, stable.requests),
            (&mut self.gray_errors, gray.errors),
            (&mut self.stable_errors, stable.errors),
        ] {
            *total = total.saturating_add(more);
        }
    }
}

/// What one limit has counted for `Pass`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitTotals {
    /// Number of gray requests that count against this limit: errors, 4xx answers or late answers.
    #[schemars(with = "i64")]
    pub gray_bad: u64,
    /// Number of gray requests that this limit judges.
    #[schemars(with = "i64")]
    pub gray: u64,
    /// Number of stable requests that count against this limit: errors, 4xx answers or late answers.
    #[schemars(with = "i64")]
    pub stable_bad: u64,
    /// Number of stable requests that this limit judges.
    #[schemars(with = "i64")]
    pub stable: u64,
}

impl LimitTotals {
    /// Adds what the limit saw of a batch.
    pub(super) fn add(&mut self, seen: Window) {
        for (total, more) in [
            (&mut self.gray_bad, seen.gray.bad),
            (&mut self.gray, seen.gray.all),
            (&mut self.stable_bad, seen.stable.bad),
            (&mut self.stable, seen.stable.all),
        ] {
            *total = total.saturating_add(more);
        }
    }

    /// Gray's events.
    pub(super) fn gray(&self) -> Tally {
        Tally::new(self.gray_bad, self.gray)
    }

    /// Stable's events.
    pub(super) fn stable(&self) -> Tally {
        Tally::new(self.stable_bad, self.stable)
    }

    /// Whether the measured rate is above the limit. A relative limit is silent without requests to stable to
    /// compare with (at 100 % there are none), and below three bad events of gray. Stable is measured as if it
    /// had had one bad event more: its next request may bring it, and at a gray share of 99 % a stable with 30
    /// requests and no error yet would keep nine healthy grays in ten from passing.
    pub(super) fn is_over(&self, limit: &Limit) -> bool {
        let (gray, stable) = (self.gray(), self.stable());
        let times_stable = |factor: f64| {
            let stable_rate = (stable.bad as f64 + 1.0) / stable.all as f64;
            gray.bad >= LEAST_BAD && stable.all > 0 && gray.rate() > factor * stable_rate
        };
        match *limit {
            Limit::ErrorRate { max } => gray.is_above(max),
            Limit::Latency { quantile, .. } => gray.is_above(1_000_000_u32.saturating_sub(quantile)),
            Limit::RelativeErrorRate { factor, floor } | Limit::RelativeClientErrorRate { factor, floor } => {
                gray.is_above(floor) && times_stable(factor)
            }
            // Gray's events already lie beyond the factor.
            Limit::RelativeP99 { .. } => times_stable(1.0),
        }
    }
}
