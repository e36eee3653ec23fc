//! What the test of one limit says of gray.

use super::event_counts::ObservedWindow;

/// Where gray stands with one limit, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LimitState {
    /// Not broken, as far as the evidence tells.
    Kept,
    /// Both arms break it.
    BothFailing,
    /// Both arms have broken it for too long.
    BothFailed,
    /// Broken.
    Broken,
}

/// How strong the evidence is that gray breaks a limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strength {
    /// Logarithm of the e-value.
    pub(super) ln_e: f64,
    /// Where that decides.
    pub(super) needed: f64,
    /// What both arms did since the fault most likely began.
    pub(super) window: ObservedWindow,
}
