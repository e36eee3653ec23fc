//! The operator's configuration: which fleets there are and which namespaces are watched, read once at the start.

use std::path::Path;

use halftone_api::finding::Finding;
use halftone_api::fleet::FleetDeclarations;
use halftone_daemon::files;

/// The largest configuration that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// Reads the configuration.
///
/// # Errors
/// All that is wrong with it, one a line, each with its place.
pub fn read(file: &Path) -> Result<FleetDeclarations, String> {
    let name = file.display().to_string();
    let text = files::read_text(file, LARGEST)
        .map_err(|error| format!("{name}: {error}; --config names the file"))?;
    let lines = |findings: Vec<Finding>| {
        findings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let declarations = FleetDeclarations::read(&name, &text).map_err(lines)?;
    declarations.in_cluster().map_err(lines)?;
    Ok(declarations)
}
