//! The operator against an API server in this process: the order of its writes, kills, conflicts, hands that meddle,
//! objects that go.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "in tests a failed assumption should end the test"
)]

mod crowds;
mod docs;
mod hosts;
mod installations;
mod keys;
mod left;
mod metrics;
mod rbac;
mod support;
mod versions;
mod writes;
