//! One limit at work: which counts of a batch it looks at, and the test behind it.

use std::ops::RangeFrom;

use halftone_api::{health_limits::Limit, spec::LimitTotals};
use serde::{Deserialize, Serialize};

use super::{
    ArmBatch, Batch, RequestCounts,
    absolute::AbsoluteLimit,
    event_counts::{EventCounts, ObservedWindow},
    limit_state::{LimitState, Strength},
    relative::{RelativeLimit, RelativeP99},
    totals::LimitCounts,
};

/// A batch is taken to be no longer than this (thirty years), so that sums of seconds stay numbers.
const LONGEST_SECONDS: f64 = 1e9;

/// The test behind one limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum LimitMonitor {
    /// `maxErrorRate`.
    Errors(AbsoluteLimit),
    /// `maxLatency`, with its place among the latency limits.
    Latency(AbsoluteLimit, usize),
    /// `versusStable.errorRate`.
    RelativeErrors(RelativeLimit),
    /// `versusStable.clientErrorRate`.
    RelativeClientErrors(RelativeLimit),
    /// `versusStable.p99`.
    P99(RelativeP99),
}

impl LimitMonitor {
    /// The test for a limit that gray, keeping it, breaks with a chance of at most `alpha`. `latency_limits`
    /// gives out places among the latency limits.
    pub(super) fn new(limit: &Limit, latency_limits: &mut RangeFrom<usize>, alpha: f64) -> Self {
        match *limit {
            Limit::ErrorRate { max } => Self::Errors(AbsoluteLimit::new(max, alpha)),
            Limit::Latency { quantile, .. } => {
                let max = 1_000_000_u32.saturating_sub(quantile);
                Self::Latency(
                    AbsoluteLimit::new(max, alpha),
                    latency_limits.next().unwrap_or_default(),
                )
            }
            Limit::RelativeErrorRate { factor, floor } => {
                Self::RelativeErrors(RelativeLimit::new(factor, floor, alpha))
            }
            Limit::RelativeClientErrorRate { factor, floor } => {
                Self::RelativeClientErrors(RelativeLimit::new(factor, floor, alpha))
            }
            Limit::RelativeP99 { factor } => Self::P99(RelativeP99::new(factor, alpha)),
        }
    }

    /// Takes a batch, and adds it to what counts for `Pass`.
    pub(super) fn add(&mut self, batch: &Batch, counted: &mut LimitTotals) -> LimitState {
        let seen = self.observe(batch);
        if !batch.warm_up {
            counted.add(seen);
        }
        match self {
            Self::Errors(limit) => limit.add(seen),
            Self::Latency(..) | Self::P99(_) if batch.warm_up => LimitState::Kept,
            Self::Latency(limit, _) => limit.add(seen),
            Self::RelativeErrors(limit) | Self::RelativeClientErrors(limit) => limit.add(seen),
            Self::P99(limit) => limit.add(seen),
        }
    }

    /// What this limit sees of a batch.
    fn observe(&mut self, batch: &Batch) -> ObservedWindow {
        // NaN and what is below 0 become 0.
        let seconds = if batch.seconds > 0.0 {
            batch.seconds.min(LONGEST_SECONDS)
        } else {
            0.0
        };
        let both = |tally: &dyn Fn(&ArmBatch) -> EventCounts| ObservedWindow {
            seconds,
            gray: tally(&batch.gray),
            stable: tally(&batch.stable),
        };
        let errors = |counts: RequestCounts| EventCounts::new(counts.errors, counts.requests);
        match self {
            Self::Errors(_) => both(&|arm| errors(arm.judged)),
            Self::Latency(_, place) => both(&|arm| {
                let seen = arm.latency.get(*place).copied().unwrap_or_default();
                EventCounts::new(seen.over, seen.over.saturating_add(seen.within))
            }),
            Self::RelativeErrors(_) => both(&|arm| errors(arm.split)),
            Self::RelativeClientErrors(_) => {
                both(&|arm| EventCounts::new(arm.split.client_errors, arm.split.requests))
            }
            Self::P99(limit) => {
                limit.observe(&batch.gray.latencies, &batch.stable.latencies, seconds)
            }
        }
    }

    /// How strong the evidence is.
    pub(super) fn strength(&self) -> Strength {
        match self {
            Self::Errors(limit) | Self::Latency(limit, _) => limit.strength(),
            Self::RelativeErrors(limit) | Self::RelativeClientErrors(limit) => limit.strength(),
            Self::P99(limit) => limit.strength(),
        }
    }

    /// For [`Limit::RelativeP99`]: stable's p99 and from where on an answer of gray is slow, both in µs.
    pub(super) fn slow_micros(&self) -> Option<(u64, u64)> {
        match self {
            Self::P99(limit) => limit.stable_p99_micros().map(|q| (q, limit.gray_micros(q))),
            _ => None,
        }
    }
}
