//! `--fleet FILE`: whose forwarding headers are believed, and what releases may claim. `run`, `explain` and `lint` read
//! the same declaration here; a machine is the one fleet that its releases name.

use std::path::Path;
use std::time::Duration;

use halftone_api::Plan;
use halftone_api::finding::Finding;
use halftone_api::fleet::FleetDeclarations;
use halftone_api::manifest::Manifest;
use halftone_api::{Obstacle, fleet::FleetTimes};
use halftone_routing::document::names::{HostPattern, ObjectName, PathPrefix};
use halftone_routing::fleet::FleetConfig;

use crate::manifests;
use crate::output::CommandError;

/// The declarations of a file, or all that is wrong with them.
pub(crate) fn read(file: &Path) -> Result<Result<FleetDeclarations, Vec<Finding>>, CommandError> {
    Ok(FleetDeclarations::read(
        &file.display().to_string(),
        &manifests::text(file)?,
    ))
}

/// The one class that all releases name.
///
/// # Errors
/// They name several: each is a fleet of its own, with settings of its own.
pub(crate) fn class<'a>(
    manifests: impl IntoIterator<Item = &'a Manifest>,
) -> Result<Option<ObjectName>, CommandError> {
    let mut first: Option<&Manifest> = None;
    for manifest in manifests {
        let known = first.get_or_insert(manifest);
        if known.plan.proxy_class != manifest.plan.proxy_class {
            let what = format!(
                "{} is of fleet {:?}, and {} of {:?}",
                manifest.name(),
                manifest.plan.proxy_class,
                known.name(),
                known.plan.proxy_class
            );
            return Err(
                CommandError::new(placed(manifest, "spec.proxyClass", &what))
                    .advise("give the releases of one fleet at a time"),
            );
        }
    }
    let name = |class: &str| class.parse().expect("the class of a plan is a label");
    Ok(first.map(|manifest| name(&manifest.plan.proxy_class)))
}

/// The settings of the fleet of this class, or those of a fleet without a declaration.
pub(crate) fn settings(
    class: Option<ObjectName>,
    file: Option<&Path>,
) -> Result<FleetConfig, CommandError> {
    let class = class.unwrap_or_else(|| FleetConfig::default().class);
    let Some(file) = file else {
        return Ok(FleetConfig {
            class,
            ..FleetConfig::default()
        });
    };
    let fleets = read(file)?.map_err(|findings| failure(&findings))?;
    let fleet = fleets
        .of_class(class.as_str())
        .map_err(|finding| failure(&[*finding]))?;
    Ok(fleet.config.clone())
}

/// Findings as the end of a command.
pub(crate) fn failure(findings: &[Finding]) -> CommandError {
    CommandError::new(lines(findings))
}

/// Findings, one a line.
pub(crate) fn lines(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Something to say of a release, with its place.
pub(crate) fn placed(manifest: &Manifest, path: &str, what: &str) -> String {
    let place = manifest.locate(path);
    format!(
        "{}:{}:{}: error: {path}: {what}",
        manifest.file, place.line, place.column
    )
}

/// The fleet that this process is.
#[derive(Debug)]
pub(crate) struct LocalFleet {
    /// What its proxy is told. The revision rises with every edit that changes it.
    pub(crate) config: FleetConfig,
    /// How long its proxy is waited for.
    pub(crate) times: FleetTimes,
    declarations: FleetDeclarations,
}

impl LocalFleet {
    /// The fleet of a class. Without declarations it is open to everyone.
    ///
    /// # Errors
    /// What is declared leaves out the class, or needs a cluster.
    pub(crate) fn new(
        class: &ObjectName,
        declarations: Option<FleetDeclarations>,
    ) -> Result<Self, String> {
        let declarations = declarations.unwrap_or_else(|| FleetDeclarations::open(class.clone()));
        let fleet = declarations
            .without_cluster(class.as_str())
            .map_err(|finding| finding.to_string())?;
        // All files are one person's: nothing is kept for a namespace.
        let times = FleetTimes {
            host_reserve: Duration::ZERO,
            ..fleet.times
        };
        let config = fleet.config.clone();
        Ok(Self {
            config,
            times,
            declarations,
        })
    }

    /// Takes declarations that were edited, and says whether its proxy has to be told.
    ///
    /// # Errors
    /// As for [`LocalFleet::new`]; the earlier ones stay in effect.
    pub(crate) fn edit(&mut self, declarations: &FleetDeclarations) -> Result<bool, String> {
        let revision = self.config.revision;
        let new = Self::new(&self.config.class, Some(declarations.clone()))?;
        let same = FleetConfig {
            revision,
            ..new.config.clone()
        } == self.config;
        let revision = if same { revision } else { revision.next() };
        *self = Self {
            config: FleetConfig {
                revision,
                checksum: None,
                ..new.config
            },
            ..new
        };
        Ok(!same)
    }

    /// Whether the declaration gives a place to the plan's namespace by name.
    pub(crate) fn names(&self, plan: &Plan, host: &HostPattern, path: &PathPrefix) -> bool {
        let fleet = self.declarations.find(self.config.class.as_str());
        fleet.is_some_and(|fleet| fleet.names(plan, host, path))
    }

    /// Why a release may not be served as it is written.
    pub(crate) fn refusal(&self, manifest: &Manifest) -> Option<Obstacle> {
        let class = &self.config.class;
        if manifest.plan.proxy_class != class.as_str() {
            let what = format!(
                "this run is the fleet {:?}; give it to a run of its own, or write {class}",
                class.as_str()
            );
            return Some(Obstacle::new(
                "ClassNotAllowed",
                placed(manifest, "spec.proxyClass", &what),
            ));
        }
        let findings = self.declarations.refusals(manifest);
        findings
            .first()
            .map(|first| Obstacle::new(first.code, lines(&findings)))
    }
}
