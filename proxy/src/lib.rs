//! The proxy: accept, decide, forward, count, report.
//!
//! Workers carry requests; one control thread does everything else (documents, admin, reports). What joins
//! them is small: a [`snapshot`] that the control thread swaps, [`counters`] that each worker writes alone, and
//! buffers of [`access_log`] lines.

pub mod access_log;
pub mod admin;
pub mod applier;
pub mod counters;
pub mod drain;
mod exchange;
pub mod forwarded;
mod handle;
pub mod http1;
mod local;
pub mod outcome;
pub mod overlay;
pub mod report;
mod respond;
pub mod retry;
pub mod run;
pub mod settings;
pub mod snapshot;
pub mod source;
mod stream;
pub mod upstream;
pub mod worker;
