//! Pure rollout: GrayRelease types, plan, `advance`, the judge. No I/O, no clock, no randomness.

pub mod spec;

pub use spec::{GrayRelease, GrayReleaseSpec, GrayReleaseStatus};
pub mod judge;
