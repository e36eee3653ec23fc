//! Reading the GrayRelease manifests that a command is given. What is wrong is told with file, line and column.

use std::path::{Path, PathBuf};

use halftone_rollout::{GrayRelease, Plan};

use crate::output::Failure;

/// The text of a file, or of standard input for `-`.
pub(crate) fn text(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

/// The plans of every release in the files, in their order.
pub(crate) fn all(files: &[PathBuf]) -> Result<Vec<Plan>, Failure> {
    let mut plans = Vec::new();
    for file in files {
        let release: GrayRelease = serde_saphyr::from_str(&text(file)?)
            .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
        plans.push(
            Plan::try_from(&release)
                .map_err(|problems| Failure::new(format!("{}: {problems}", file.display())))?,
        );
    }
    Ok(plans)
}

/// The plan of the only release in the file, or of the one that is named.
pub(crate) fn one(file: &Path, name: Option<&str>) -> Result<Plan, Failure> {
    let plans = all(std::slice::from_ref(&file.to_owned()))?;
    let names: Vec<String> =
        plans.iter().map(|plan| format!("{}/{}", plan.object.namespace, plan.object.name)).collect();
    let wanted = |plan: &Plan| {
        name.is_none_or(|name| {
            name == plan.object.name.as_str()
                || name == format!("{}/{}", plan.object.namespace, plan.object.name)
        })
    };
    let mut found = plans.into_iter().filter(wanted);
    match (found.next(), found.next(), name) {
        (Some(plan), None, _) => Ok(plan),
        (Some(_), Some(_), _) => {
            Err(Failure::new(format!("{} holds several releases: {}", file.display(), names.join(", ")))
                .advise("name one with --release NAMESPACE/NAME"))
        }
        (None, _, Some(name)) => Err(Failure::new(format!(
            "{} holds no release {name}; it holds {}",
            file.display(),
            names.join(", ")
        ))),
        (None, _, None) => Err(Failure::new(format!("{} holds no GrayRelease", file.display()))),
    }
}
