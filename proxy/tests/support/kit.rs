//! What the tests are made of: a proxy in this process, a client, a backend. Everything that could wait for ever gives
//! up after [`PATIENCE`], so that a failure is a message and not a hang.

#![allow(dead_code, unused_imports, reason = "each test program uses a part")]

pub(crate) mod backend;
pub(crate) mod client;
pub(crate) mod message;
pub(crate) mod proxy;

pub(crate) use backend::{Backend, Incoming};
pub(crate) use client::Client;
pub(crate) use proxy::{Options, Proxy, release};

/// How long any one thing may take.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
