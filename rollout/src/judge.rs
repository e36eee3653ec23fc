//! The judge: is gray healthy? It takes what one poll of the proxies added (a [`Batch`]) and answers `Pass`,
//! `Fail` or `NeedMoreData`, with the figures behind it. `advance` calls it once per poll of a judged release;
//! the shells build the batches from the traffic reports.
//!
//! Method: sequential testing by betting (e-processes, Ville's inequality) with a mixture over the moment at
//! which a fault began (e-detectors: Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for
//! sequential change detection", 2022). It may be looked at after every batch, for ever. `docs/judging.md`
//! explains it to users.

mod absolute;
mod assessment;
mod batch;
mod evidence;
mod faults;
mod limit_state;
mod odds;
mod onset;
mod relative;
mod tally;
mod totals;
mod watch;
mod words;

pub use assessment::{Assessment, Figure, Reason, Ruling};
pub use batch::{ArmBatch, Batch, Counts, LatencyCounts};
pub use faults::Faults;

use faults::Recent;
use halftone_api::{
    limits::Limits,
    spec::{LimitTotals, Totals, Verdict},
};
use limit_state::LimitState;
use serde::{Deserialize, Serialize};
use totals::Counted;
use watch::Watch;

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
    /// One per limit, in their order.
    watches: Vec<Watch>,
    totals: Totals,
    /// What kind of failures there were lately, for words.
    #[serde(default)]
    recent: Recent,
    ruling: Ruling,
    /// The limit that the ruling is about, if it is about one.
    about: Option<usize>,
}

impl Process {
    /// Starts process `number` of a release (1, 2, …; 0 counts as 1). While gray keeps a limit, its chance of
    /// ever failing it is at most (1 − confidence) / (limits · number · (number + 1)).
    ///
    /// `totals` are what `Pass` has counted so far: empty, except after a restart of the operator within a
    /// stage, where they go on from `status.verdict.totals`.
    #[must_use]
    pub fn start(limits: &Limits, number: u32, mut totals: Totals) -> Self {
        let number = number.max(1);
        let alpha = f64::from(1_000_000 - limits.confidence.min(1_000_000))
            / 1e6
            / (limits.limits.len() as f64 * f64::from(number) * (f64::from(number) + 1.0));
        let mut latency_limits = 0..;
        let watches = limits
            .limits
            .iter()
            .map(|limit| Watch::new(limit, &mut latency_limits, alpha))
            .collect::<Vec<_>>();
        if totals.limits.len() != watches.len() {
            totals.limits = vec![LimitTotals::default(); watches.len()];
        }
        Self {
            number,
            limits: limits.clone(),
            watches,
            totals,
            recent: Recent::default(),
            ruling: Ruling::default(),
            about: None,
        }
    }

    /// Takes what one poll added and rules. A process that has failed stays failed and takes nothing more.
    pub fn add(&mut self, batch: &Batch) -> Ruling {
        if self.ruling.verdict == Verdict::Fail {
            return self.ruling;
        }
        if !batch.warm_up {
            totals::add(&mut self.totals, batch);
        }
        self.recent.note(batch.seconds, &batch.gray.faults);
        let mut worst = LimitState::Kept;
        self.about = None;
        for (at, watch) in self.watches.iter_mut().enumerate() {
            let standing = watch.add(batch, &mut self.totals.limits[at]);
            if standing > worst {
                (worst, self.about) = (standing, Some(at));
            }
        }
        self.ruling = match worst {
            LimitState::Broken => Ruling { verdict: Verdict::Fail, reason: Reason::LimitBroken },
            LimitState::BothFailed => Ruling { verdict: Verdict::Fail, reason: Reason::BothArmsFailed },
            LimitState::BothFailing => {
                Ruling { verdict: Verdict::NeedMoreData, reason: Reason::BothArmsFailing }
            }
            LimitState::Kept => self.pass(batch),
        };
        self.ruling
    }

    /// Whether all is there that `Pass` needs, given that no limit is broken.
    fn pass(&mut self, batch: &Batch) -> Ruling {
        self.about = self.over_limit();
        let missing = if !batch.complete {
            Reason::ReportsMissing
        } else if batch.warm_up {
            Reason::WarmingUp
        } else if self.totals.gray_requests < self.limits.min_requests {
            Reason::TooLittleTraffic
        } else if self.about.is_some() {
            Reason::OverLimit
        } else if !batch.hold_over {
            Reason::Holding
        } else {
            return Ruling { verdict: Verdict::Pass, reason: Reason::WithinLimits };
        };
        Ruling { verdict: Verdict::NeedMoreData, reason: missing }
    }

    /// The first limit whose measured rate is above it.
    fn over_limit(&self) -> Option<usize> {
        self.limits.limits.iter().zip(&self.totals.limits).position(|(limit, counted)| counted.is_over(limit))
    }

    /// The present ruling; before the first batch `NeedMoreData`, reason `TooLittleTraffic`.
    #[must_use]
    pub fn ruling(&self) -> Ruling {
        self.ruling
    }

    /// The ruling in words, with the figures behind it. It allocates, which [`Process::add`] does not.
    #[must_use]
    pub fn assessment(&self) -> Assessment {
        Assessment {
            verdict: self.ruling.verdict,
            reason: self.ruling.reason,
            message: words::message(self),
            limits: words::figures(self),
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
