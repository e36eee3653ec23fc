//! `--fleet FILE`: whose forwarding headers are believed, and what releases may claim.

use std::path::Path;

use halftone_routing::config::parse::{self, Format};
use halftone_routing::fleet::FleetConfig;

use crate::manifests;
use crate::output::Failure;

/// The fleet's settings, or those of a fleet without a document.
pub(crate) fn config(file: Option<&Path>) -> Result<FleetConfig, Failure> {
    let Some(file) = file else { return Ok(FleetConfig::default()) };
    let text = manifests::text(file)?;
    let parsed = parse::fleet(text.as_bytes(), Format::Yaml);
    parsed.map(|parsed| parsed.config).map_err(|error| Failure::new(format!("{}: {error}", file.display())))
}
