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
mod error_breakdown;
mod event_counts;
mod evidence;
mod likelihood;
mod limit_monitor;
mod limit_state;
mod message;
mod onset;
mod relative;
mod totals;

pub use assessment::{Assessment, LimitFigures, Ruling, VerdictReason};
pub use batch::{ArmBatch, Batch, LatencyCounts, RequestCounts};
pub use error_breakdown::ErrorBreakdown;

use error_breakdown::RecentErrors;
use halftone_api::{
    health_limits::HealthLimits,
    spec::{LimitTotals, Totals, Verdict},
};
use limit_monitor::LimitMonitor;
use limit_state::LimitState;
use serde::{Deserialize, Serialize};
use totals::LimitCounts;

/// One process of the judge: all evidence since it started. A new one starts with every stage, every change of
/// `health`, every resume after a failure and every start of the operator; each is numbered within its release
/// and gets its own share of the release's chance of a false alarm, so that the promise of `confidence` holds
/// for the whole release however often it starts anew.
///
/// A plain value: clone it, compare it, write it down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    number: u32,
    limits: HealthLimits,
    /// One per limit, in their order.
    watches: Vec<LimitMonitor>,
    totals: Totals,
    /// What kind of failures there were lately, for words.
    #[serde(default)]
    recent: RecentErrors,
    ruling: Ruling,
    /// The limit that the ruling is about, if it is about one.
    about: Option<usize>,
}

impl Judge {
    /// Starts process `number` of a release (1, 2, …; 0 counts as 1). While gray keeps a limit, its chance of
    /// ever failing it is at most (1 − confidence) / (limits · number · (number + 1)).
    ///
    /// `totals` are what `Pass` has counted so far: empty, except after a restart of the operator within a
    /// stage, where they go on from `status.verdict.totals`.
    #[must_use]
    pub fn start(limits: &HealthLimits, number: u32, mut totals: Totals) -> Self {
        let number = number.max(1);
        let alpha = f64::from(1_000_000 - limits.confidence.min(1_000_000))
            / 1e6
            / (limits.limits.len() as f64 * f64::from(number) * (f64::from(number) + 1.0));
        let mut latency_limits = 0..;
        let watches = limits
            .limits
            .iter()
            .map(|limit| LimitMonitor::new(limit, &mut latency_limits, alpha))
            .collect::<Vec<_>>();
        if totals.limits.len() != watches.len() {
            totals.limits = vec![LimitTotals::default(); watches.len()];
        }
        Self {
            number,
            limits: limits.clone(),
            watches,
            totals,
            recent: RecentErrors::default(),
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
            LimitState::Broken => Ruling {
                verdict: Verdict::Fail,
                reason: VerdictReason::LimitBroken,
            },
            LimitState::BothFailed => Ruling {
                verdict: Verdict::Fail,
                reason: VerdictReason::BothArmsFailed,
            },
            LimitState::BothFailing => Ruling {
                verdict: Verdict::NeedMoreData,
                reason: VerdictReason::BothArmsFailing,
            },
            LimitState::Kept => self.pass(batch),
        };
        self.ruling
    }

    /// Whether all is there that `Pass` needs, given that no limit is broken.
    fn pass(&mut self, batch: &Batch) -> Ruling {
        self.about = self.over_limit();
        let missing = if !batch.complete {
            VerdictReason::ReportsMissing
        } else if batch.warm_up {
            VerdictReason::WarmingUp
        } else if self.totals.gray_requests < self.limits.min_requests {
            VerdictReason::TooLittleTraffic
        } else if self.about.is_some() {
            VerdictReason::OverLimit
        } else if !batch.hold_over {
            VerdictReason::Holding
        } else {
            return Ruling {
                verdict: Verdict::Pass,
                reason: VerdictReason::WithinLimits,
            };
        };
        Ruling {
            verdict: Verdict::NeedMoreData,
            reason: missing,
        }
    }

    /// The first limit whose measured rate is above it.
    fn over_limit(&self) -> Option<usize> {
        self.limits
            .limits
            .iter()
            .zip(&self.totals.limits)
            .position(|(limit, counted)| counted.is_over(limit))
    }

    /// The present ruling; before the first batch `NeedMoreData`, reason `TooLittleTraffic`.
    #[must_use]
    pub fn ruling(&self) -> Ruling {
        self.ruling
    }

    /// The ruling in words, with the figures behind it. It allocates, which [`Judge::add`] does not.
    #[must_use]
    pub fn assessment(&self) -> Assessment {
        Assessment {
            verdict: self.ruling.verdict,
            reason: self.ruling.reason,
            message: message::message(self),
            limits: message::figures(self),
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
