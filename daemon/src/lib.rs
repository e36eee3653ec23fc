//! What operator and proxy have in common: listening, logs, pages for probes and scrapers, files, watches of the API
//! server, the reading of EndpointSlices, the tokens by which a proxy knows its operator, and what that
//! operator may ask of the API server.

pub mod files;
pub mod listen;
pub mod log;
pub mod pages;
pub mod process;
pub mod rbac;
pub mod slices;
pub mod token;
pub mod watch;
