//! The operator: a thin shell around `rollout`. It watches GrayReleases, writes one ConfigMap of routing rules for each,
//! pulls the proxies' reports, lets `rollout` judge and advance, and writes status. What decides is pure: `leader`,
//! `queue`, `endpoints`, `conflicts`, `roster`, `objects`, `fleets`; the rest asks and writes.
//!
//! The verbs that it needs are in [`rbac`]; the order of its writes in [`reconcile`].

pub mod args;
pub mod clock;
pub mod cluster;
pub mod collect;
pub mod config;
pub mod conflicts;
pub mod credentials;
pub mod definition;
pub mod desk;
pub mod endpoints;
pub mod error;
pub mod events;
pub mod fleets;
pub mod leader;
pub mod lease;
pub mod left;
pub mod lenient;
mod lock;
pub mod mandate;
pub mod metrics;
mod missed;
pub mod names;
pub mod objects;
pub mod ownership;
pub mod packed;
pub mod pages;
pub mod queue;
pub mod reconcile;
pub mod roster;
pub mod run;
pub mod store;
pub mod worker;
pub mod world;
pub mod written;

pub use halftone_daemon::rbac;
