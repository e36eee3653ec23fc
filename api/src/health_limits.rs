//! What gray is judged by: `spec.health`, resolved by the plan into exact numbers.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// All that the judge needs to know of a release. Rates are in millionths: 10 000 is 1 %.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthLimits {
    /// Chance, in millionths, that a release within all its limits is never failed; 999 000 is 99.9 %.
    /// At 1 000 000 nothing ever fails.
    pub confidence: u32,
    /// Requests to gray that a stage needs before it can pass.
    pub min_requests: u64,
    /// The limits, in the order in which they are shown. Without any nothing fails and `Pass` needs
    /// `min_requests` only.
    pub limits: Vec<Limit>,
}

/// One limit. Its [`fmt::Display`] is its name, the path of its field below `spec.health`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Limit {
    /// `maxErrorRate`: the share of gray's requests that may be errors. At 0 every batch with an error counts as
    /// much as one batch may, so three of them fail; at 1 000 000 it never fails.
    ErrorRate {
        /// In millionths.
        max: u32,
    },
    /// `maxLatency.pNN`: the share 1 − `quantile` of gray's requests may take longer than `max`.
    Latency {
        /// In millionths; 990 000 for p99.
        quantile: u32,
        /// Time to the first byte of the answer's head.
        max: Duration,
    },
    /// `versusStable.errorRate`: gray's error rate may be `factor` times that of stable, or `floor`, whichever
    /// is more.
    RelativeErrorRate {
        /// At least 1.
        factor: f64,
        /// In millionths.
        floor: u32,
    },
    /// `versusStable.clientErrorRate`: the same for 4xx answers (429 left out).
    RelativeClientErrorRate {
        /// At least 1.
        factor: f64,
        /// In millionths.
        floor: u32,
    },
    /// `versusStable.p99`: gray's p99 may be `factor` times that of stable, or 5 ms above it, whichever is more.
    RelativeP99 {
        /// At least 1.
        factor: f64,
    },
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorRate { .. } => f.write_str("maxErrorRate"),
            Self::Latency { quantile, .. } => {
                // 500 000 → p50, 999 000 → p999: the digits after "0." as people write them.
                let digits = format!("{quantile:06}");
                let digits = digits.trim_end_matches('0');
                write!(f, "maxLatency.p{digits:0<2}")
            }
            Self::RelativeErrorRate { .. } => f.write_str("versusStable.errorRate"),
            Self::RelativeClientErrorRate { .. } => f.write_str("versusStable.clientErrorRate"),
            Self::RelativeP99 { .. } => f.write_str("versusStable.p99"),
        }
    }
}
