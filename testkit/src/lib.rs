//! What tests and measurements of all crates stand on: an API server, HTTP backends and HTTP clients, all in the test's
//! own process.
//!
//! It depends on no crate of Halftone, so each of them may use it as a dev-dependency. What needs their types (a proxy in
//! this process, an operator, a document) stays in their tests. Whatever goes wrong here ends the test with a panic.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

pub mod api_server;
pub mod backend;
pub mod client;
pub mod merge_patch;
pub mod message;
pub mod port;
pub mod service;

pub use api_server::{ApiEndpoint, ApiServer, InjectedFault};
pub use backend::{Backend, Incoming};
pub use client::Client;
pub use message::Message;
pub use port::free_port;

/// How long any one thing may take. Far longer than it does on a busy machine: only a failure waits so long.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
