//! The proxy: accept, decide, forward, count, report.

pub mod forwarded;
pub mod http1;
pub mod outcome;
pub mod retry;
