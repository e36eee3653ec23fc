//! One absolute limit: gray's evidence, stable's evidence against the same limit, and what follows when both arms
//! break it, which is hardly gray's fault alone.

use serde::{Deserialize, Serialize};

use super::{
    evidence::Evidence,
    odds::{self, Tally},
    onset::{Onset, Window},
    watch::{Standing, Strength},
};

/// A limit that both arms break is held against gray after this long, since gray may be what broke both.
const PATIENCE_SECONDS: f64 = 60.0;
/// Whether an arm is over a limit just now is measured in blocks of at least this long.
const BLOCK_SECONDS: f64 = 10.0;
/// Chance that stable is ever taken to break a limit that it keeps. Not part of the promise to users: it only
/// delays a verdict on gray, by one block, and the greater it is the less often an outage of both arms is blamed
/// on gray because gray's evidence was there first.
const STABLE_ALPHA: f64 = 0.01;

/// One absolute limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AbsoluteLimit {
    /// In millionths.
    max: u32,
    odds: odds::Absolute,
    gray: Evidence,
    stable: Evidence,
    onset: Onset,
    /// Both arms in the present block.
    block: Window,
    /// How long both arms have been breaking the limit.
    both_failing: Option<f64>,
}

impl AbsoluteLimit {
    /// A limit in millionths that gray, keeping it, breaks with a chance of at most `alpha`.
    pub(super) fn new(max: u32, alpha: f64) -> Self {
        Self {
            max,
            odds: odds::Absolute::new(max),
            gray: Evidence::new(alpha),
            stable: Evidence::new(STABLE_ALPHA),
            onset: Onset::default(),
            block: Window::default(),
            both_failing: None,
        }
    }

    /// Takes a batch.
    pub(super) fn add(&mut self, seen: Window) -> Standing {
        self.onset.add(&self.gray, seen);
        wager(&mut self.gray, &self.odds, seen.gray, seen.seconds);
        wager(&mut self.stable, &self.odds, seen.stable, seen.seconds);
        self.block += seen;
        match self.both_failing {
            None if !self.gray.decides() => {
                self.close_block();
                Standing::Kept
            }
            None if self.stable.decides() => {
                self.both_failing = Some(0.0);
                self.block = Window::default();
                Standing::BothFailing
            }
            None => Standing::Broken,
            Some(seconds) => self.both_arms_fail(seconds + seen.seconds),
        }
    }

    /// Evidence says that the limit was broken, not that it still is. So both arms are looked at block by block
    /// until one of them, or the time, is over. No promise is spent on this: gray's evidence has decided.
    fn both_arms_fail(&mut self, seconds: f64) -> Standing {
        self.both_failing = Some(seconds);
        if self.block.seconds < BLOCK_SECONDS || self.block.gray.all == 0 {
            return Standing::BothFailing;
        }
        let block = std::mem::take(&mut self.block);
        if !block.gray.is_above(self.max) {
            self.both_failing = None;
            self.gray.restart();
            self.stable.restart();
            Standing::Kept
        } else if !block.stable.is_above(self.max) {
            Standing::Broken
        } else if seconds >= PATIENCE_SECONDS {
            Standing::BothFailed
        } else {
            Standing::BothFailing
        }
    }

    /// An outage of stable that is over must not excuse gray later.
    fn close_block(&mut self) {
        if self.block.seconds < BLOCK_SECONDS {
            return;
        }
        if self.stable.decides() && !self.block.stable.is_above(self.max) {
            self.stable.restart();
        }
        self.block = Window::default();
    }

    /// How strong gray's evidence is.
    pub(super) fn strength(&self) -> Strength {
        Strength { ln_e: self.gray.ln_e(), needed: self.gray.needed(), window: self.onset.window(&self.gray) }
    }
}

/// One batch of one arm as evidence that its rate is above the limit.
pub(super) fn wager(evidence: &mut Evidence, odds: &odds::Absolute, seen: Tally, seconds: f64) {
    if seen.all == 0 {
        evidence.idle();
    } else {
        evidence.add(&odds.gains(seen, odds::power(seen.all, seconds)));
    }
}
