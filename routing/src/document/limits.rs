//! What a proxy has to know to count: which statuses are errors, and which latency limits give an event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{arm::Positive, rule::AllOf, units::InvalidValue};

/// How a release's requests are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsConfig {
    /// Statuses that count as errors. Default 5xx.
    pub error_statuses: ErrorStatuses,
    /// For each quantile the time within which the head of an answer has to arrive.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub latency: BTreeMap<Quantile, LatencyLimit>,
    /// Requests that are counted apart and not judged; any of these, at most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<AllOf>,
}

/// A quantile for which a latency limit can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Quantile {
    /// The median.
    P50,
    /// 90 %.
    P90,
    /// 95 %.
    P95,
    /// 99 %.
    P99,
    /// 99.9 %.
    P999,
}

impl Quantile {
    /// All, ascending.
    pub const ALL: [Self; 5] = [Self::P50, Self::P90, Self::P95, Self::P99, Self::P999];

    /// The share of requests at or below it, 0.0..1.0.
    pub const fn share(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.9,
            Self::P95 => 0.95,
            Self::P99 => 0.99,
            Self::P999 => 0.999,
        }
    }

    /// As documents spell it: `p99`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::P999 => "p999",
        }
    }
}

/// The longest time that is still within a limit, in milliseconds.
pub type LatencyLimit = Positive;

/// Which statuses count as errors: a bit for each of 100..=599. Written as a list of `5xx` and `503`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct ErrorStatuses {
    bits: [u64; 8],
    written: Vec<String>,
}

impl ErrorStatuses {
    /// Whether an answer with this status is an error.
    pub fn contains(&self, status: u16) -> bool {
        let at = usize::from(status.wrapping_sub(100));
        self.bits
            .get(at / 64)
            .is_some_and(|bits| bits >> (at % 64) & 1 == 1)
    }

    fn insert(&mut self, status: u16) {
        let at = usize::from(status - 100);
        self.bits[at / 64] |= 1 << (at % 64);
    }
}

impl Default for ErrorStatuses {
    fn default() -> Self {
        let mut statuses = Self {
            bits: [0; 8],
            written: vec!["5xx".into()],
        };
        (500..600).for_each(|status| statuses.insert(status));
        statuses
    }
}

impl TryFrom<Vec<String>> for ErrorStatuses {
    type Error = InvalidValue;

    fn try_from(written: Vec<String>) -> Result<Self, InvalidValue> {
        let mut statuses = Self {
            bits: [0; 8],
            written: Vec::new(),
        };
        for (at, text) in written.iter().enumerate() {
            let range = match text.as_bytes() {
                [digit @ b'1'..=b'5', b'x', b'x'] => {
                    let class = u16::from(digit - b'0') * 100;
                    class..=class + 99
                }
                [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] => {
                    let status = text.parse().map_err(|_| InvalidValue::new("no status"))?;
                    status..=status
                }
                _ => {
                    let shown = text.escape_debug();
                    return Err(InvalidValue::new(format!(
                        "\"{shown}\" is no status; write 503 or 5xx, 100 to 599"
                    )));
                }
            };
            if written[..at].contains(text) {
                return Err(InvalidValue::new(format!(
                    "\"{text}\" twice; list each status once"
                )));
            }
            range.for_each(|status| statuses.insert(status));
        }
        Ok(Self {
            written,
            ..statuses
        })
    }
}

impl From<ErrorStatuses> for Vec<String> {
    fn from(statuses: ErrorStatuses) -> Self {
        statuses.written
    }
}
