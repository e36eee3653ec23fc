//! Limits relative to what stable does at the same time: error rates, and the 99th percentile of latency, which
//! becomes a comparison of rates by asking how many are slow.

use serde::{Deserialize, Serialize};

use super::{
    Latencies,
    absolute::wager,
    evidence::Evidence,
    odds::{self, Tally, relative_gains},
    onset::{Onset, Window},
    watch::{Standing, Strength},
};

/// One limit on the ratio of gray's rate to stable's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RelativeLimit {
    factor: f64,
    evidence: Evidence,
    onset: Onset,
    /// Whether gray is above the floor at all.
    floor: Option<(odds::Absolute, Evidence)>,
}

impl RelativeLimit {
    /// Gray's rate may be `factor` times stable's, or `floor` (millionths), whichever is more.
    pub(super) fn new(factor: f64, floor: u32, alpha: f64) -> Self {
        // Above a floor of 0 is everything that has a single bad event, which the comparison needs anyway.
        let floor = (floor > 0).then(|| (odds::Absolute::new(floor), Evidence::new(alpha)));
        Self { factor, evidence: Evidence::new(alpha), onset: Onset::default(), floor }
    }

    /// Takes a batch.
    pub(super) fn add(&mut self, seen: Window) -> Standing {
        self.onset.add(&self.evidence, seen);
        let power = odds::power(seen.gray.all, seen.seconds);
        match relative_gains(seen.gray, seen.stable, self.factor, power) {
            Some(gains) => self.evidence.add(&gains),
            None => self.evidence.idle(),
        }
        if let Some((odds, evidence)) = &mut self.floor {
            wager(evidence, odds, seen.gray, seen.seconds);
        }
        let above_floor = self.floor.as_ref().is_none_or(|(_, evidence)| evidence.decides());
        if above_floor && self.evidence.decides() { Standing::Broken } else { Standing::Kept }
    }

    /// How strong the evidence is: as strong as the weaker one of the comparison and the floor.
    pub(super) fn strength(&self) -> Strength {
        let floor = self.floor.as_ref().map_or(f64::INFINITY, |(_, evidence)| evidence.ln_e());
        Strength {
            ln_e: self.evidence.ln_e().min(floor),
            needed: self.evidence.needed(),
            window: self.onset.window(|seen| relative_gains(seen.gray, seen.stable, self.factor, 1.0)),
        }
    }
}

/// A slow answer of gray is at least this much later than stable's p99, whatever the factor.
const LEAST_MICROS: u64 = 5_000;

/// The limit on gray's p99. With q stable's p99 so far in this stage, an answer of stable is slow above q, one of
/// gray above max(factor·q, q + 5 ms); while gray keeps the limit, a slow answer is at most as likely as stable's.
/// q comes from earlier batches only, so that it cannot depend on what it is used to judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RelativeP99 {
    factor: f64,
    stable: Latencies,
    comparison: RelativeLimit,
}

impl RelativeP99 {
    /// Gray's p99 may be `factor` times stable's.
    pub(super) fn new(factor: f64, alpha: f64) -> Self {
        Self { factor, stable: Latencies::default(), comparison: RelativeLimit::new(1.0, 0, alpha) }
    }

    /// How many answers of a batch were slow. Later batches are measured by this one's answers of stable too.
    pub(super) fn observe(&mut self, gray: &Latencies, stable: &Latencies, seconds: f64) -> Window {
        let mut seen = Window { seconds, ..Window::default() };
        if let Some(q) = self.stable_p99_micros() {
            seen.gray = Tally::new(gray.slower_than(self.gray_micros(q)), gray.count());
            seen.stable = Tally::new(stable.slower_than(q), stable.count());
        }
        self.stable.merge(stable);
        seen
    }

    /// Takes a batch as [`Self::observe`] saw it.
    pub(super) fn add(&mut self, seen: Window) -> Standing {
        self.comparison.add(seen)
    }

    /// Stable's p99 over the batches before, as the upper bound of its bucket; none before the first answer.
    pub(super) fn stable_p99_micros(&self) -> Option<u64> {
        self.stable.quantile(990_000)
    }

    /// From where on an answer of gray is slow.
    pub(super) fn gray_micros(&self, q: u64) -> u64 {
        ((q as f64 * self.factor) as u64).max(q.saturating_add(LEAST_MICROS))
    }

    /// How strong the evidence is.
    pub(super) fn strength(&self) -> Strength {
        self.comparison.strength()
    }
}
