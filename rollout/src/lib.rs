//! Pure rollout: `advance`, the judge, conditions and events. No I/O, no clock, no randomness.

pub mod advance;
pub mod clock;
mod conditions;
pub mod events;
pub mod judge;
pub mod observation;
pub mod progress;
pub mod request;
pub mod routing_for;
mod standing;
pub mod withdraw;
