//! What one poll of the proxies added: the differences between each proxy's last two answers, summed. The sum is
//! all the judge sees, so neither the order of the answers nor how requests fell on proxies can matter.

use halftone_routing::histogram::Histogram;
use serde::{Deserialize, Serialize};

use super::ErrorBreakdown;

/// What all answers of one poll added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Seconds since the last poll, by a steady clock. Evidence is limited to 100 gray requests a second, so a
    /// batch of zero seconds adds to the totals and nothing to the evidence. What is no positive number counts
    /// as 0.
    pub seconds: f64,
    /// What gray did.
    pub gray: ArmBatch,
    /// What stable did.
    pub stable: ArmBatch,
    /// The `warmup` of the step, which begins with its acknowledgement, is not over: latency limits and the figures for
    /// `Pass` leave this batch out; error limits never do.
    pub warm_up: bool,
    /// Every ready proxy has acknowledged the document and reports (none was silent for three polls). Without it
    /// no `Pass`; `Fail` does not need it.
    pub complete: bool,
    /// The step's hold is over. Without it no `Pass`.
    pub hold_over: bool,
}

impl Batch {
    /// Adds what another proxy answered in the same poll. The duration and the flags belong to the poll and stay.
    pub fn merge(&mut self, gray: &ArmBatch, stable: &ArmBatch) {
        self.gray.merge(gray);
        self.stable.merge(stable);
    }
}

/// What one arm did in a batch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ArmBatch {
    /// Traffic of the split and what `health.include` adds: for absolute limits and `minRequests`.
    pub judged: RequestCounts,
    /// Traffic of the split alone: for relative limits, since anonymous traffic on stable alone would dilute its
    /// errors.
    pub split: RequestCounts,
    /// Limit events of the traffic in `judged`, one entry per [`super::Limit::Latency`] in their order; missing
    /// ones count as zero.
    pub latency: Vec<LatencyCounts>,
    /// The errors in `judged` by kind, for words.
    #[serde(default)]
    pub faults: ErrorBreakdown,
    /// Latencies of the traffic in `split`; needed only with [`super::Limit::RelativeP99`].
    pub latencies: Histogram,
}

impl ArmBatch {
    /// Adds what another proxy saw of the same arm.
    pub fn merge(&mut self, other: &Self) {
        self.judged.merge(other.judged);
        self.split.merge(other.split);
        if self.latency.len() < other.latency.len() {
            self.latency
                .resize(other.latency.len(), LatencyCounts::default());
        }
        for (mine, theirs) in self.latency.iter_mut().zip(&other.latency) {
            mine.within = mine.within.saturating_add(theirs.within);
            mine.over = mine.over.saturating_add(theirs.over);
        }
        self.faults.merge(&other.faults);
        self.latencies.merge(&other.latencies);
    }
}

/// Outcomes of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// All that were charged to the arm or answered by it.
    pub requests: u64,
    /// Of these, errors charged to the arm.
    pub errors: u64,
    /// Of these, 4xx answers without 429 and without `errorStatuses`.
    pub client_errors: u64,
}

impl RequestCounts {
    /// Adds other counts.
    pub fn merge(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.client_errors = self.client_errors.saturating_add(other.client_errors);
    }
}

/// Events of one absolute latency limit: exactly one per request that lived until then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyCounts {
    /// The head came in time.
    pub within: u64,
    /// The limit passed first.
    pub over: u64,
}
