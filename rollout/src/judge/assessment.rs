//! What the judge says: a ruling for `advance`, and the same in words and figures for people.

use std::fmt;

use halftone_api::spec::Verdict;
use serde::{Deserialize, Serialize};

/// Why. The names are stable and appear in status and events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VerdictReason {
    /// `Pass`.
    WithinLimits,
    /// `Fail`: gray broke a limit.
    LimitBroken,
    /// `Fail`: both arms broke the same absolute limit for 60 s; gray may be what broke both.
    BothArmsFailed,
    /// Both arms break the same absolute limit; gray is not failed for it yet, and the clock stands.
    BothArmsFailing,
    /// A proxy has not acknowledged or does not report; the clock stands.
    ReportsMissing,
    /// The step is not acknowledged or its `warmup` is not over.
    WarmingUp,
    /// Fewer requests than `minRequests`.
    #[default]
    TooLittleTraffic,
    /// A measured rate is above its limit, though not surely enough to fail.
    OverLimit,
    /// Nothing is missing but the end of the hold.
    Holding,
}

impl fmt::Display for VerdictReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name is the text: what status shows and what events carry.
        fmt::Debug::fmt(self, f)
    }
}

/// What `advance` acts on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub reason: VerdictReason,
}

/// The ruling for people, as in `status.verdict`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub reason: VerdictReason,
    /// What happened, in one sentence with its figures.
    pub message: String,
    /// One per limit, in their order.
    pub limits: Vec<LimitFigures>,
}

/// One limit in figures. Rates and latencies are text as people write them: `1%`, `500ms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitFigures {
    /// Path of the field below `spec.health`.
    pub name: String,
    /// What is allowed.
    pub limit: String,
    /// What stable did, over the requests that count for `Pass`; none without requests.
    pub stable: Option<String>,
    /// What gray did, likewise.
    pub gray: Option<String>,
    /// Gray's requests that this limit looked at, over the same time.
    pub requests: u64,
    /// How far the evidence against gray has come, in percent of what a `Fail` needs: `46%`.
    pub evidence: String,
    /// Natural logarithm of the e-value behind it; while gray keeps its limit the chance that it ever reaches x
    /// is at most exp(−x). −745 stands for nothing at all.
    pub ln_e: f64,
}
