//! Pure rollout: `advance`, the judge, conditions and events. No I/O, no clock, no randomness.

pub mod advance;
pub mod clock;
pub mod command_request;
mod condition_input;
mod condition_record;
mod conditions;
pub mod events;
pub mod judge;
pub mod observation;
pub mod progress;
pub mod routing_for;
pub mod withdraw;
