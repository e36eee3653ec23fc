//! Evidence that a limit is broken: an e-process, that is a wager against "the limit is kept" whose stake starts
//! at 1 and which nobody can expect to win while the limit is kept. Ville's inequality: the chance that it ever
//! reaches 1/α is at most α, however often it is looked at.
//!
//! It is a mixture twice over: over how bad the fault may be ([`ALTERNATIVES`]) and over the batch with which it
//! may have begun, batch t with weight 1/(t(t+1)); the weights add up to 1. Both kinds of mixture keep the
//! inequality (Shin, Ramdas, Rinaldo 2022, section 4).

use serde::{Deserialize, Serialize};

/// How many sizes of fault each process bets on.
pub(super) const ALTERNATIVES: usize = 8;

/// One number per size of fault.
pub(super) type PerAlternative = [f64; ALTERNATIVES];

/// Stakes are held below this, so that no sum overflows. Lowering a stake keeps the inequality.
const MOST: f64 = 1e300;

/// The evidence gathered so far.
///
/// Stakes are plain numbers, not logarithms: one that vanishes (below 1e-308) is dwarfed by the weight that the
/// next batch adds, and one that explodes is held at [`MOST`], so logarithms would change no figure and cost
/// twice the time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Evidence {
    /// ln 1/α: where the logarithm of the stake decides.
    needed: f64,
    /// Where the sum of the alternatives' worth decides: their number / α.
    decisive: f64,
    /// Logarithm of that: where an alternative decides alone.
    ln_decisive: f64,
    /// Batches so far.
    batches: u64,
    /// R: what each alternative's bets are worth, over all starts up to now.
    worth: PerAlternative,
    /// What they were worth as the last two batches began; very large before there were any.
    before: [PerAlternative; 2],
}

impl Evidence {
    /// No evidence yet; it decides with a chance of at most `alpha` while the limit is kept, never if that is 0.
    pub(super) fn new(alpha: f64) -> Self {
        let decisive = (ALTERNATIVES as f64 / alpha).min(f64::MAX);
        Self {
            needed: (1.0 / alpha).min(f64::MAX).ln(),
            decisive,
            ln_decisive: decisive.ln(),
            batches: 0,
            worth: [0.0; ALTERNATIVES],
            before: [[f64::MAX; ALTERNATIVES]; 2],
        }
    }

    /// Forgets everything.
    pub(super) fn restart(&mut self) {
        self.batches = 0;
        self.worth = [0.0; ALTERNATIVES];
        self.before = [[f64::MAX; ALTERNATIVES]; 2];
    }

    /// One batch that says nothing: later starts get their weight, nothing else changes.
    pub(super) fn idle(&mut self) {
        let weight = self.next_weight();
        self.batches += 1;
        for j in 0..ALTERNATIVES {
            self.before[1][j] = self.before[0][j];
            self.before[0][j] = self.worth[j] + weight;
            self.worth[j] += weight;
        }
    }

    /// One batch; `gains` are the logarithms of its likelihood ratio for each alternative, each raised to a
    /// power of at most 1.
    ///
    /// No single batch decides, three must agree: a batch moves an alternative at most a third of the way from
    /// where it stood two batches ago (or from 1, if it stood above) to where it would decide alone.
    pub(super) fn add(&mut self, gains: &PerAlternative) {
        let weight = self.next_weight();
        self.batches += 1;
        for (j, &gain) in gains.iter().enumerate() {
            let level = self.worth[j] + weight;
            let gain = if gain > self.ln_decisive / 3.0 {
                let rest = level.min(self.before[0][j]).min(self.before[1][j]).min(1.0);
                gain.min((self.ln_decisive - rest.ln()) / 3.0)
            } else {
                gain
            };
            self.before[1][j] = self.before[0][j];
            self.before[0][j] = level;
            self.worth[j] = (level * gain.exp()).min(MOST);
        }
    }

    /// Whether the stake has reached 1/α.
    pub(super) fn decides(&self) -> bool {
        self.worth.iter().sum::<f64>() >= self.decisive
    }

    /// Logarithm of the stake (the e-value): the mean over the alternatives. At least −745, which stands for
    /// nothing at all.
    pub(super) fn ln_e(&self) -> f64 {
        (self.worth.iter().sum::<f64>() / ALTERNATIVES as f64)
            .ln()
            .max(-745.0)
    }

    /// ln 1/α.
    pub(super) fn needed(&self) -> f64 {
        self.needed
    }

    /// For each alternative, whether the start that comes with the next batch outweighs all earlier starts,
    /// which makes it the likelier beginning of a fault.
    pub(super) fn starts_anew(&self) -> [bool; ALTERNATIVES] {
        let weight = self.next_weight();
        self.worth.map(|worth| worth < weight)
    }

    /// 1/(t(t+1)) for the next batch t.
    fn next_weight(&self) -> f64 {
        let t = (self.batches + 1) as f64;
        1.0 / (t * (t + 1.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::judge::{event_counts::EventCounts, likelihood::Absolute};

    /// The stake, with what the later starts will add, is worth at most 1 on average at every time: what Ville's
    /// inequality rests on.
    #[test]
    fn the_stake_is_worth_at_most_one_on_average() {
        let odds = Absolute::new(50_000);
        let mut chance = ChaCha8Rng::seed_from_u64(1);
        let (runs, batches) = (20_000, 40);
        let mut sums = vec![0.0; batches];
        for _ in 0..runs {
            let mut evidence = Evidence::new(1.25e-4);
            for sum in &mut sums {
                let bad = (0..10).filter(|_| chance.random_bool(0.05)).count() as u64;
                evidence.add(&odds.gains(EventCounts::new(bad, 10), 1.0));
                *sum += evidence.ln_e().exp() + 1.0 / (evidence.batches + 1) as f64;
            }
        }
        for (t, sum) in sums.iter().enumerate() {
            let mean = sum / f64::from(runs);
            assert!(mean <= 1.05, "batch {}: {mean}", t + 1);
        }
    }

    #[test]
    fn batches_that_say_nothing_add_their_weight() {
        let mut idle = Evidence::new(1e-4);
        (0..999).for_each(|_| idle.idle());
        assert!((idle.ln_e().exp() - 0.999).abs() < 1e-9);
        assert!(!idle.decides());
    }
}
