//! Pure routing: documents, compiled routes, `decide`, traffic reports. No I/O, no clock, no randomness: time and
//! chance are arguments. `rollout` writes [`document::RoutingConfig`]; a proxy compiles it and asks `decide` where
//! each request goes; what happened comes back in a report.

pub mod bucket;
pub mod client_address;
mod condition;
pub mod decide;
pub mod dial_policy;
pub mod document;
mod effort;
pub mod endpoints;
pub mod expression;
mod facts;
pub mod field;
pub mod fleet;
pub mod hex;
pub mod histogram;
pub mod host;
pub mod identity;
mod networks;
pub mod overlay;
pub mod path;
mod pattern;
pub mod report;
pub mod request;
pub mod routes;
pub mod shared_vec;
pub mod sketch;
pub mod store;
pub mod sweep;
#[cfg(test)]
mod testing;
pub mod vocabulary;
