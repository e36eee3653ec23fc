//! What `Pass` has counted: since the stage was acknowledged and its warm-up was over. The only part of a process
//! that outlives the operator.

use halftone_api::{
    health_limits::Limit,
    spec::{LimitTotals, Totals},
};

use super::{
    Batch,
    event_counts::{EventCounts, ObservedWindow},
};

/// Below so many bad events of gray a relative limit is not looked at: two errors against none say nothing.
const LEAST_BAD: u64 = 3;

/// Adds what a batch says beside the limits.
pub(super) fn add(totals: &mut Totals, batch: &Batch) {
    let (gray, stable) = (batch.gray.judged, batch.stable.judged);
    for (total, more) in [
        (&mut totals.gray_requests, gray.requests),
        (&mut totals.stable_requests, stable.requests),
        (&mut totals.gray_errors, gray.errors),
        (&mut totals.stable_errors, stable.errors),
    ] {
        *total = total.saturating_add(more);
    }
}

/// What the judge makes of the counts of one limit.
pub(super) trait LimitCounts {
    /// Adds what the limit saw of a batch.
    fn add(&mut self, seen: ObservedWindow);

    /// Gray's events.
    fn gray(&self) -> EventCounts;

    /// Stable's events.
    fn stable(&self) -> EventCounts;

    /// Whether the measured rate is above the limit. A relative limit is silent without requests to stable to
    /// compare with (at 100 % there are none), and below three bad events of gray. Stable is measured as if it
    /// had had one bad event more: its next request may bring it, and at a gray share of 99 % a stable with 30
    /// requests and no error yet would keep nine healthy grays in ten from passing.
    fn is_over(&self, limit: &Limit) -> bool;
}

impl LimitCounts for LimitTotals {
    fn add(&mut self, seen: ObservedWindow) {
        for (total, more) in [
            (&mut self.gray_bad, seen.gray.bad),
            (&mut self.gray, seen.gray.all),
            (&mut self.stable_bad, seen.stable.bad),
            (&mut self.stable, seen.stable.all),
        ] {
            *total = total.saturating_add(more);
        }
    }

    fn gray(&self) -> EventCounts {
        EventCounts::new(self.gray_bad, self.gray)
    }

    fn stable(&self) -> EventCounts {
        EventCounts::new(self.stable_bad, self.stable)
    }

    fn is_over(&self, limit: &Limit) -> bool {
        let (gray, stable) = (self.gray(), self.stable());
        let times_stable = |factor: f64| {
            let stable_rate = (stable.bad as f64 + 1.0) / stable.all as f64;
            gray.bad >= LEAST_BAD && stable.all > 0 && gray.rate() > factor * stable_rate
        };
        match *limit {
            Limit::ErrorRate { max } => gray.is_above(max),
            Limit::Latency { quantile, .. } => {
                gray.is_above(1_000_000_u32.saturating_sub(quantile))
            }
            Limit::RelativeErrorRate { factor, floor }
            | Limit::RelativeClientErrorRate { factor, floor } => {
                gray.is_above(floor) && times_stable(factor)
            }
            // Gray's events already lie beyond the factor.
            Limit::RelativeP99 { .. } => times_stable(1.0),
        }
    }
}
