//! The proxy: accept, decide, forward, count, report.
