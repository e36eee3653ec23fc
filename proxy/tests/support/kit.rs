//! What the tests are made of: a proxy in this process, a client, a backend. Everything that could wait for ever gives
//! up after [`PATIENCE`], so that a failure is a message and not a hang.

#![allow(dead_code, unused_imports, reason = "each test program uses a part")]

pub(crate) mod proxy;

pub(crate) use halftone_testkit::{Backend, Client, Incoming, Message, PATIENCE};
pub(crate) use proxy::{ProxyOptions, TestProxy, release};
