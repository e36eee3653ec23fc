//! What operator and proxy do alike, beside what either is for: listening, logs, pages for probes and
//! scrapers, files, watches of the API server, and the reading of EndpointSlices.

pub mod files;
pub mod listen;
pub mod log;
pub mod pages;
pub mod slices;
pub mod watch;
