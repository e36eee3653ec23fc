//! The GrayRelease API: its types and CRD, how manifests and fleet declarations are read, checked and linted, and the plan
//! that a spec becomes. Pure: no I/O, no clock, no randomness. First link of the flow; `halftone-rollout` acts on it.

pub mod claims;
pub mod crd;
pub mod duration;
pub mod finding;
pub mod fleet;
pub mod health_limits;
pub mod lint;
pub mod manifest;
mod obstacle;
pub mod plan;
mod problem;
mod release_id;
pub mod spec;
mod structural;
pub mod truncated_name;

pub use crd::{crd, crd_yaml};
pub use obstacle::Obstacle;
pub use plan::Plan;
pub use problem::{Problem, Problems};
pub use release_id::release_id;
pub use spec::{GrayRelease, GrayReleaseSpec, GrayReleaseStatus};
