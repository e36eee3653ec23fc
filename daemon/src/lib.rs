//! What operator and proxy do alike, beside what either is for: listening, logs, pages for probes and
//! scrapers, files, and watches of the API server.

pub mod files;
pub mod listen;
pub mod log;
pub mod pages;
pub mod watch;
