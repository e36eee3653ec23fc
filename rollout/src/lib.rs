//! Pure rollout: GrayRelease types, plan, `advance`, the judge. No I/O, no clock, no randomness.

pub mod crd;
pub mod duration;
pub mod plan;
mod problem;
mod release_id;
pub mod spec;
mod structural;

pub use crd::{crd, crd_yaml};
pub use plan::Plan;
pub use problem::{Problem, Problems};
pub use release_id::release_id;
pub use spec::{GrayRelease, GrayReleaseSpec, GrayReleaseStatus};
pub mod judge;
