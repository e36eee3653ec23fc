//! What the judge says of a release, and what it has counted, as in `status.verdict`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Is gray healthy?
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// All that was asked for is there: the hold is over, there was traffic enough, every rate is within its limit.
    Pass,
    /// A limit is broken, as surely as `confidence` asks.
    Fail,
    /// Neither yet.
    #[default]
    NeedMoreData,
}

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
