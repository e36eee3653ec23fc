//! Since when? The counts that belong to the present evidence: what both arms did since the moment at which the
//! fault most likely began. For people only; no decision rests on it.

use serde::{Deserialize, Serialize};

use super::{
    evidence::{ALTERNATIVES, Evidence},
    odds::Tally,
};

/// What one limit saw of both arms in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    /// How long.
    pub(super) seconds: f64,
    /// Gray's events.
    pub(super) gray: Tally,
    /// Stable's events.
    pub(super) stable: Tally,
}

impl std::ops::AddAssign for Window {
    fn add_assign(&mut self, more: Self) {
        self.seconds += more.seconds;
        self.gray += more.gray;
        self.stable += more.stable;
    }
}

impl std::ops::Sub for Window {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            seconds: self.seconds - earlier.seconds,
            gray: self.gray - earlier.gray,
            stable: self.stable - earlier.stable,
        }
    }
}

/// Remembers, for each alternative, the counts at its likeliest beginning: the last batch whose own weight
/// outweighed all earlier starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Onset {
    total: Window,
    begun: [Window; ALTERNATIVES],
}

impl Onset {
    /// Takes a batch; to be called before the evidence takes it.
    pub(super) fn add(&mut self, evidence: &Evidence, batch: Window) {
        for (j, begun) in self.begun.iter_mut().enumerate() {
            if evidence.starts_anew(j) {
                *begun = self.total;
            }
        }
        self.total += batch;
    }

    /// The counts since the likeliest beginning.
    pub(super) fn window(&self, evidence: &Evidence) -> Window {
        self.total - self.begun[evidence.leader()]
    }
}
