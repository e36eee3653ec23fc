//! Reading the GrayRelease manifests that a command is given. What is wrong is told with file, line and column.

use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use halftone_api::Plan;
use halftone_api::manifest::{self, Manifest, ManifestFile};

use crate::output::CommandError;

/// The text of a file, or of standard input for `-`.
pub(crate) fn text(path: &Path) -> Result<String, CommandError> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map_err(|error| unreadable(path, &error))
        .and_then(|bytes| decode(path, bytes))
        .map_err(CommandError::new)
}

/// Why a file cannot be read, and what to do.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound => format!("{path}: there is no such file"),
        ErrorKind::IsADirectory => format!("{path}: is a directory; name the files in it"),
        _ => format!("{path}: {error}"),
    }
}

/// The text of a file.
///
/// # Errors
/// From where on it is none.
pub(crate) fn decode(path: &Path, bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        format!(
            "{}:{line}: is no text in UTF-8 from here on; save it as UTF-8",
            path.display()
        )
    })
}

/// What each file holds, faults included.
pub(crate) fn readings(files: &[PathBuf]) -> Result<Vec<ManifestFile>, CommandError> {
    files
        .iter()
        .map(|file| Ok(manifest::read(&file.display().to_string(), &text(file)?)))
        .collect()
}

/// Every release in the files, in their order. One fault anywhere fails the whole.
pub(crate) fn all(files: &[PathBuf]) -> Result<Vec<Manifest>, CommandError> {
    let readings = readings(files)?;
    let faults: Vec<String> = readings
        .iter()
        .flat_map(|reading| &reading.findings)
        .map(ToString::to_string)
        .collect();
    if !faults.is_empty() {
        return Err(CommandError::new(faults.join("\n")));
    }
    let manifests: Vec<Manifest> = readings
        .into_iter()
        .flat_map(|reading| reading.manifests)
        .collect();
    if manifests.is_empty() {
        Err(none_in(files))
    } else {
        Ok(manifests)
    }
}

/// Files without any release.
pub(crate) fn none_in(files: &[PathBuf]) -> CommandError {
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    CommandError::new(format!("{}: no GrayRelease is there", names.join(", ")))
        .advise("write a document with apiVersion: halftone.dev/v1alpha1 and kind: GrayRelease")
}

/// The plan of the only release in the file, or of the one that is named.
pub(crate) fn one(file: &Path, name: Option<&str>) -> Result<Plan, CommandError> {
    let manifests = all(std::slice::from_ref(&file.to_owned()))?;
    let plans: Vec<Plan> = manifests
        .into_iter()
        .map(|manifest| manifest.plan)
        .collect();
    let full = |plan: &Plan| format!("{}/{}", plan.object.namespace, plan.object.name);
    let names = plans.iter().map(full).collect::<Vec<_>>().join(", ");
    let wanted = |plan: &Plan| {
        name.is_none_or(|name| name == plan.object.name.as_str() || name == full(plan))
    };
    let mut found = plans.into_iter().filter(wanted);
    let file = file.display();
    match (found.next(), found.next()) {
        (Some(plan), None) => Ok(plan),
        (Some(_), Some(_)) => Err(CommandError::new(format!(
            "{file} holds several such releases: {names}"
        ))
        .advise("name one with --release NAMESPACE/NAME")),
        (None, _) => {
            let name = name.unwrap_or_default();
            Err(CommandError::new(format!(
                "{file} holds no release {name}; it holds {names}"
            )))
        }
    }
}
