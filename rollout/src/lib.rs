//! Pure rollout: GrayRelease types, plan, `advance`, the judge. No I/O, no clock, no randomness.

pub mod advance;
pub mod claims;
pub mod clock;
mod conditions;
pub mod crd;
pub mod duration;
pub mod events;
pub mod finding;
pub mod fleet;
pub mod judge;
pub mod lint;
pub mod manifest;
pub mod observation;
pub mod plan;
mod problem;
pub mod progress;
mod release_id;
pub mod request;
pub mod routing_for;
pub mod short;
pub mod spec;
mod structural;
pub mod withdraw;

pub use crd::{crd, crd_yaml};
pub use plan::Plan;
pub use problem::{Problem, Problems};
pub use release_id::release_id;
pub use spec::{GrayRelease, GrayReleaseSpec, GrayReleaseStatus};
