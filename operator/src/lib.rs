//! The operator: a thin shell around `rollout`. It watches GrayReleases, writes one ConfigMap of routing rules for each,
//! pulls the proxies' reports, lets `rollout` judge and advance, and writes status. What decides is pure: `leader_election`,
//! `work_queue`, `endpoints`, `claim_index`, `proxy_roster`, `objects`; the rest asks and writes.
//!
//! The verbs that it needs are in [`rbac`]; the order of its writes in [`reconcile`].

pub mod api_client;
pub mod args;
pub mod claim_index;
pub mod clock;
pub mod cluster_cache;
pub mod compressed_release;
pub mod compressed_text;
pub mod crd_check;
pub mod credentials;
pub mod endpoints;
pub mod error;
pub mod event_publisher;
pub mod events;
pub mod figure_budget;
pub mod fleet_config_map;
pub mod fleet_controller;
pub mod fleet_file;
pub mod forward_compat;
pub mod jurisdiction;
pub mod last_written;
pub mod leader_election;
pub mod leader_elector;
pub mod leader_mandate;
mod lock;
pub mod metrics;
pub mod name_set;
pub mod names;
pub mod object_index;
pub mod objects;
pub mod ownership;
pub mod pages;
mod poll_error;
pub mod proxy_roster;
pub mod reconcile;
pub mod reconcile_context;
pub mod release_cache;
pub mod report_collector;
pub mod retired_fleets;
pub mod run;
pub mod work_queue;

pub use halftone_daemon::rbac;
