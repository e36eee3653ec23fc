//! The traffic path over real sockets: scripted clients on one side, scripted backends on the other, the workers in
//! this process between them. What is asserted is what a client, a backend or the reader of a report would see.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "pieces of documents are written where they are passed"
)]

mod accepting;
mod answers;
mod availability;
mod bodies;
mod chaos;
mod connections;
mod drain;
mod endings;
mod keeping;
mod malformed;
mod owing;
mod paths;
mod redirects;
mod smuggling;
#[path = "../support/kit.rs"]
mod support;
mod swaps;
mod tunnels;
mod unfinished;
