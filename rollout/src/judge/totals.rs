//! What `Pass` has counted: since the stage was acknowledged and its warm-up was over. The only part of a process
//! that outlives the operator.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Requests counted for `Pass`, as in `status.verdict.totals`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// Requests to gray.
    #[schemars(with = "i64")]
    pub gray_requests: u64,
    /// Requests to stable.
    #[schemars(with = "i64")]
    pub stable_requests: u64,
    /// Errors charged to gray.
    #[schemars(with = "i64")]
    pub gray_errors: u64,
    /// Errors charged to stable.
    #[schemars(with = "i64")]
    pub stable_errors: u64,
    /// What each limit looks at, in the order of the limits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitTotals>,
}

/// What one limit has counted for `Pass`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitTotals {
    /// Bad events of gray: errors, 4xx answers, or answers that came too late.
    #[schemars(with = "i64")]
    pub gray_bad: u64,
    /// All of gray's requests that the limit looks at.
    #[schemars(with = "i64")]
    pub gray: u64,
    /// Bad events of stable.
    #[schemars(with = "i64")]
    pub stable_bad: u64,
    /// All of stable's requests that the limit looks at.
    #[schemars(with = "i64")]
    pub stable: u64,
}
