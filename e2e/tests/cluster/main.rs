//! Halftone on a real cluster; `make e2e` runs this. Each file tells one part of the story.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

mod acknowledgement;
mod alone;
mod chart;
mod claims;
mod cli;
mod definition;
mod faults;
mod gitops;
mod harness;
mod kills;
mod lifecycle;
mod release;
mod scale;
mod served;
