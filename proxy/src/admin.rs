//! The admin pages: probes, metrics, reports, what is applied, and why a request goes where it goes.

pub mod tokens;
