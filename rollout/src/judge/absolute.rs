//! One absolute limit: the evidence that gray breaks it, and what follows when stable breaks it at the same time,
//! which is hardly gray's fault alone.

use serde::{Deserialize, Serialize};

use super::{
    event_counts::{EventCounts, ObservedWindow},
    evidence::Evidence,
    likelihood,
    limit_state::{LimitState, Strength},
    onset::Onset,
};

/// A limit that both arms break is held against gray after this long, since gray may be what broke both.
const PATIENCE_SECONDS: f64 = 60.0;
/// While both arms break a limit, they are looked at in blocks of at least this long.
const BLOCK_SECONDS: f64 = 10.0;

/// One absolute limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AbsoluteLimit {
    /// In millionths.
    max: u32,
    odds: likelihood::Absolute,
    evidence: Evidence,
    onset: Onset,
    both_failing: Option<BothFailing>,
}

/// Both arms are breaking the limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct BothFailing {
    seconds: f64,
    /// What they did in the present block.
    block: ObservedWindow,
}

impl AbsoluteLimit {
    /// A limit in millionths that gray, keeping it, breaks with a chance of at most `alpha`.
    pub(super) fn new(max: u32, alpha: f64) -> Self {
        Self {
            max,
            odds: likelihood::Absolute::new(max),
            evidence: Evidence::new(alpha),
            onset: Onset::default(),
            both_failing: None,
        }
    }

    /// Takes a batch.
    pub(super) fn add(&mut self, seen: ObservedWindow) -> LimitState {
        self.onset.add(&self.evidence, seen);
        wager(&mut self.evidence, &self.odds, seen.gray, seen.seconds);
        if let Some(both) = self.both_failing.take() {
            return self.both_arms_fail(both, seen);
        }
        if !self.evidence.decides() {
            return LimitState::Kept;
        }
        if likelihood::fails_too(self.window(), self.max) {
            self.both_failing = Some(BothFailing::default());
            return LimitState::BothFailing;
        }
        LimitState::Broken
    }

    /// Evidence says that the limit was broken, not that it still is. So both arms are looked at block by block
    /// until one of them recovers, whereupon the evidence starts anew, or patience ends. It spends nothing of
    /// what was promised: the evidence has decided already, and all that can follow is to spare gray.
    fn both_arms_fail(&mut self, mut both: BothFailing, seen: ObservedWindow) -> LimitState {
        both.seconds += seen.seconds;
        both.block += seen;
        if both.block.seconds >= BLOCK_SECONDS && both.block.gray.all > 0 {
            let block = std::mem::take(&mut both.block);
            if !likelihood::fails_too(block, self.max) {
                self.evidence.restart();
                return LimitState::Kept;
            }
            if both.seconds >= PATIENCE_SECONDS {
                return LimitState::BothFailed;
            }
        }
        self.both_failing = Some(both);
        LimitState::BothFailing
    }

    /// What both arms did since the fault most likely began.
    fn window(&self) -> ObservedWindow {
        self.onset
            .window(|seen| Some(self.odds.gains(seen.gray, 1.0)))
    }

    /// How strong the evidence is.
    pub(super) fn strength(&self) -> Strength {
        Strength {
            ln_e: self.evidence.ln_e(),
            needed: self.evidence.needed(),
            window: self.window(),
        }
    }
}

/// One batch of gray as evidence that its rate is above the limit.
pub(super) fn wager(
    evidence: &mut Evidence,
    odds: &likelihood::Absolute,
    gray: EventCounts,
    seconds: f64,
) {
    if gray.all == 0 {
        evidence.idle();
    } else {
        evidence.add(&odds.gains(gray, likelihood::power(gray.all, seconds)));
    }
}
