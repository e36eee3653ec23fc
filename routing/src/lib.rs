//! Pure routing: documents, compiled routes, `decide`, traffic reports. No I/O, no clock, no randomness: time and
//! chance are arguments. `rollout` writes [`config::RoutingConfig`]; a proxy compiles it and asks `decide` where
//! each request goes; what happened comes back in a report.

pub mod bucket;
pub mod client_address;
pub mod config;
pub mod field;
pub mod fleet;
pub mod histogram;
pub mod host;
pub mod path;
pub mod report;
