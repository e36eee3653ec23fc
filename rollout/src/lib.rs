//! Pure rollout: GrayRelease types, plan, `advance`, the judge. No I/O, no clock, no randomness.

pub mod crd;
mod problem;
pub mod spec;
mod structural;

pub use crd::{crd, crd_yaml};
pub use problem::{Problem, Problems};
pub use spec::{GrayRelease, GrayReleaseSpec, GrayReleaseStatus};
pub mod judge;
