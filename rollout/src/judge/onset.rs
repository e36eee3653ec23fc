//! Since when? The counts that belong to the present evidence: what both arms did since the moment at which the
//! fault most likely began. No verdict against gray rests on it: it tells people what happened, and whether stable
//! did the same.

use serde::{Deserialize, Serialize};

use super::{
    event_counts::ObservedWindow,
    evidence::{ALTERNATIVES, Evidence, PerAlternative},
};

/// Remembers, for each alternative, the counts at its likeliest beginning: the last batch whose own weight
/// outweighed all earlier starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Onset {
    total: ObservedWindow,
    begun: [ObservedWindow; ALTERNATIVES],
}

impl Onset {
    /// Takes a batch; to be called before the evidence takes it.
    pub(super) fn add(&mut self, evidence: &Evidence, batch: ObservedWindow) {
        for (begun, anew) in self.begun.iter_mut().zip(evidence.starts_anew()) {
            if anew {
                *begun = self.total;
            }
        }
        self.total += batch;
    }

    /// The counts since the likeliest beginning: of all that are remembered the one since which the counts speak
    /// most against gray. `gains` weighs counts, one logarithm of a likelihood ratio for each alternative.
    pub(super) fn window(
        &self,
        gains: impl Fn(ObservedWindow) -> Option<PerAlternative>,
    ) -> ObservedWindow {
        let since = |begun: ObservedWindow| self.total - begun;
        let weight = |j: usize| gains(since(self.begun[j])).map_or(0.0, |gains| gains[j]);
        let likeliest = (0..ALTERNATIVES).max_by(|&a, &b| weight(a).total_cmp(&weight(b)));
        since(likeliest.map_or_else(ObservedWindow::default, |j| self.begun[j]))
    }
}
