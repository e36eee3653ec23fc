//! The control side over real sockets and files: whole proxies in this process and as a binary, between clients and
//! backends of the test's own. What is asserted is what a client, an operator or a person at the admin pages sees.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

mod admin;
mod binary;
mod checks;
mod crowd;
mod directory;
mod docs;
mod documents;
mod kubernetes;
mod restart;
mod scale;
mod support;
mod swaps;
