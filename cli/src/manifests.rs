//! Reading the GrayRelease manifests that a command is given. What is wrong is told with file, line and column.

use std::path::{Path, PathBuf};

use halftone_rollout::Plan;
use halftone_rollout::manifest::{self, Manifest, Reading};

use crate::output::Failure;

/// The text of a file, or of standard input for `-`.
pub(crate) fn text(path: &Path) -> Result<String, Failure> {
    let stdin = path == Path::new("-");
    let read = if stdin { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    read.map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

/// What each file holds, faults included.
pub(crate) fn readings(files: &[PathBuf]) -> Result<Vec<Reading>, Failure> {
    files.iter().map(|file| Ok(manifest::read(&file.display().to_string(), &text(file)?))).collect()
}

/// Every release in the files, in their order. One fault anywhere fails the whole.
pub(crate) fn all(files: &[PathBuf]) -> Result<Vec<Manifest>, Failure> {
    let readings = readings(files)?;
    let faults: Vec<String> =
        readings.iter().flat_map(|reading| &reading.findings).map(ToString::to_string).collect();
    if !faults.is_empty() {
        return Err(Failure::new(faults.join("\n")));
    }
    let manifests: Vec<Manifest> = readings.into_iter().flat_map(|reading| reading.manifests).collect();
    if manifests.is_empty() {
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        return Err(Failure::new(format!("{} holds no GrayRelease", names.join(", "))));
    }
    Ok(manifests)
}

/// The plan of the only release in the file, or of the one that is named.
pub(crate) fn one(file: &Path, name: Option<&str>) -> Result<Plan, Failure> {
    let manifests = all(std::slice::from_ref(&file.to_owned()))?;
    let plans: Vec<Plan> = manifests.into_iter().map(|manifest| manifest.plan).collect();
    let full = |plan: &Plan| format!("{}/{}", plan.object.namespace, plan.object.name);
    let names = plans.iter().map(full).collect::<Vec<_>>().join(", ");
    let wanted =
        |plan: &Plan| name.is_none_or(|name| name == plan.object.name.as_str() || name == full(plan));
    let mut found = plans.into_iter().filter(wanted);
    let file = file.display();
    match (found.next(), found.next()) {
        (Some(plan), None) => Ok(plan),
        (Some(_), Some(_)) => Err(Failure::new(format!("{file} holds several such releases: {names}"))
            .advise("name one with --release NAMESPACE/NAME")),
        (None, _) => {
            let name = name.unwrap_or_default();
            Err(Failure::new(format!("{file} holds no release {name}; it holds {names}")))
        }
    }
}
