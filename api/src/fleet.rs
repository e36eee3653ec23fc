//! Fleets as the operator's configuration declares them: which proxies there are, what their settings are, and who may
//! use them. `halftone run`, `explain` and `lint` read the same file; `fleet/file.rs` reads it.

mod file;
mod times;

use std::collections::BTreeMap;

pub use self::times::FleetTimes;

use halftone_routing::{
    document::{
        arm::Backend,
        names::{HostPattern, ObjectName, PathPrefix},
    },
    fleet::FleetConfig,
};

use crate::{
    Obstacle,
    finding::{Finding, Severity},
    manifest::{Manifest, SourceMap},
    plan::Plan,
    problem::{Problem, field, item},
};

/// Reason of the refusal of a release whose class no fleet has.
pub const CLASS_UNKNOWN: &str = "ClassUnknown";

/// All fleets; `fleets:` in the operator's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetDeclarations {
    /// One declaration for each class, at least one.
    pub fleets: Vec<FleetDeclaration>,
    /// The namespaces whose releases an operator looks after; none for all.
    pub watch_namespaces: Vec<ObjectName>,
    /// Which installation this is, as `NAMESPACE/NAME`; of several that declare one class, one acts. None: nobody else
    /// does, and nothing is recorded.
    pub installation: Option<String>,
    file: String,
    places: SourceMap,
}

/// One fleet: the proxies of one `proxyClass`.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetDeclaration {
    /// What its proxies are told: its class, whose forwarding headers are believed, the default backend.
    pub config: FleetConfig,
    /// Where its ConfigMaps and proxies are.
    pub namespace: Option<ObjectName>,
    /// Which pods of that namespace are its proxies.
    pub pod_selector: BTreeMap<String, String>,
    /// Who may claim which hosts.
    pub allowed: Vec<HostGrant>,
    /// Every namespace may claim every host.
    pub allow_all: bool,
    /// Arms may be given by address.
    pub allow_addresses: bool,
    /// How long the operator waits for its proxies.
    pub times: FleetTimes,
}

/// Hosts that some namespaces may claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostGrant {
    /// The namespaces; `*` for all.
    pub namespaces: Vec<String>,
    /// The hosts, with everything that a wildcard stands for.
    pub hosts: Vec<HostPattern>,
    /// The path prefixes on them; none for all paths.
    pub paths: Vec<PathPrefix>,
}

impl FleetDeclarations {
    /// The declaration of a fleet that nobody wrote down: at the edge, open to everyone, arms by address too.
    #[must_use]
    pub fn open(class: ObjectName) -> Self {
        let fleet = FleetDeclaration::open(FleetConfig {
            class,
            ..FleetConfig::default()
        });
        let fleets = vec![fleet];
        Self {
            fleets,
            watch_namespaces: Vec::new(),
            installation: None,
            file: String::new(),
            places: SourceMap::default(),
        }
    }

    /// Reads the declarations of a file, YAML or JSON; also the routing document of one fleet (`schema: 1`), which
    /// forbids nothing.
    ///
    /// # Errors
    /// All that is wrong, each with its place.
    pub fn read(file: &str, text: &str) -> Result<Self, Vec<Finding>> {
        file::read(file, text)
    }

    /// The fleet of a class.
    #[must_use]
    pub fn find(&self, class: &str) -> Option<&FleetDeclaration> {
        self.fleets
            .iter()
            .find(|fleet| fleet.config.class.as_str() == class)
    }

    /// The fleet of a class that releases name.
    ///
    /// # Errors
    /// There is none.
    pub fn of_class(&self, class: &str) -> Result<&FleetDeclaration, Box<Finding>> {
        self.find(class).ok_or_else(|| {
            let what = format!("there is no fleet of class {class:?}, which the releases name");
            let advice = format!(
                "declare it, or write proxyClass: {} in the releases",
                self.classes()
            );
            self.error(CLASS_UNKNOWN, Problem::new("fleets", what, advice))
        })
    }

    /// The same for a machine without a cluster.
    ///
    /// # Errors
    /// There is none, or its default backend is a Service.
    pub fn without_cluster(&self, class: &str) -> Result<&FleetDeclaration, Box<Finding>> {
        let fleet = self.of_class(class)?;
        let Some(Backend::Service(service)) = &fleet.config.default_backend else {
            return Ok(fleet);
        };
        let at = self
            .fleets
            .iter()
            .position(|other| std::ptr::eq(other, fleet))
            .unwrap_or_default();
        let path = field(&item("fleets", at), "defaultBackend");
        let what = format!(
            "there is no cluster here that knows Service {}",
            service.name
        );
        let advice =
            "write addresses instead, as in defaultBackend: {addresses: [\"127.0.0.1:9001\"]}";
        Err(self.error("NoCluster", Problem::new(path, what, advice)))
    }

    /// Checks that every fleet says where its proxies are, without which an operator cannot serve it.
    ///
    /// # Errors
    /// All that do not.
    pub fn in_cluster(&self) -> Result<(), Vec<Finding>> {
        let mut findings = Vec::new();
        let mut missing = |at: usize, name: &str, advice: &str| {
            let problem = Problem::new(field(&item("fleets", at), name), "is missing", advice);
            findings.push(*self.error("Invalid", problem));
        };
        for (at, fleet) in self.fleets.iter().enumerate() {
            if fleet.namespace.is_none() {
                missing(
                    at,
                    "namespace",
                    "write the namespace of the fleet's proxies",
                );
            }
            if fleet.pod_selector.is_empty() {
                missing(
                    at,
                    "podSelector",
                    "write the labels that the fleet's pods have and no others",
                );
            }
        }
        if findings.is_empty() {
            Ok(())
        } else {
            Err(findings)
        }
    }

    fn error(&self, code: &'static str, problem: Problem) -> Box<Finding> {
        let position = self.places.of(&problem.path, false);
        Box::new(Finding::new(
            Severity::Error,
            code,
            &self.file,
            position,
            problem,
        ))
    }

    /// What in a release the fleets do not allow.
    #[must_use]
    pub fn refusals(&self, manifest: &Manifest) -> Vec<Finding> {
        let refusals = self.refused(&manifest.plan).into_iter();
        refusals
            .map(|(code, problem)| manifest.finding(Severity::Error, code, problem))
            .collect()
    }

    /// What forbids `plan` in these fleets, if anything does.
    #[must_use]
    pub fn forbids(&self, plan: &Plan) -> Option<Obstacle> {
        let refused = self.refused(plan);
        let (code, _) = refused.first()?;
        let lines: Vec<String> = refused
            .iter()
            .map(|(_, problem)| problem.to_string())
            .collect();
        Some(Obstacle::new(*code, lines.join("\n")))
    }

    fn classes(&self) -> String {
        self.fleets
            .iter()
            .map(|fleet| fleet.config.class.as_str())
            .collect::<Vec<_>>()
            .join(" or ")
    }

    /// The code and the problem of each refusal.
    fn refused(&self, plan: &Plan) -> Vec<(&'static str, Problem)> {
        let Some(fleet) = self.find(&plan.proxy_class) else {
            let what = format!("there is no fleet of class {:?}", plan.proxy_class);
            let problem =
                Problem::new("spec.proxyClass", what, format!("write {}", self.classes()));
            return vec![(CLASS_UNKNOWN, problem)];
        };
        let mut refusals = Vec::new();
        if !fleet.allow_all && !fleet.allowed.iter().any(|allowed| allowed.names(plan)) {
            let what = format!(
                "namespace {} may not use fleet {:?}",
                plan.object.namespace,
                fleet.class()
            );
            let advice = "have the namespace added to the fleet's allowed";
            refusals.push((
                "ClassNotAllowed",
                Problem::new("spec.proxyClass", what, advice),
            ));
        } else {
            refusals.extend(
                plan.hosts
                    .iter()
                    .filter(|host| !fleet.allows(plan, host))
                    .map(|host| {
                        let what = format!(
                            "namespace {} may not claim {host} in fleet {:?}",
                            plan.object.namespace,
                            fleet.class()
                        );
                        let advice =
                            "claim another host or path, or have it added to the fleet's allowed";
                        ("HostNotAllowed", Problem::new("spec.hosts", what, advice))
                    }),
            );
        }
        refusals.extend(fleet.refused_addresses(plan));
        refusals
    }
}

impl HostGrant {
    fn names(&self, plan: &Plan) -> bool {
        self.namespaces
            .iter()
            .any(|namespace| namespace == "*" || namespace == plan.object.namespace.as_str())
    }
}

impl FleetDeclaration {
    /// A fleet with these settings that is open to everyone.
    fn open(config: FleetConfig) -> Self {
        Self {
            config,
            namespace: None,
            pod_selector: BTreeMap::new(),
            allowed: Vec::new(),
            allow_all: true,
            allow_addresses: true,
            times: FleetTimes::default(),
        }
    }

    /// Its class, as releases name it.
    #[must_use]
    pub fn class(&self) -> &str {
        self.config.class.as_str()
    }

    /// Whether a namespace may claim a host, on some path at least.
    fn allows(&self, plan: &Plan, host: &HostPattern) -> bool {
        let path = |path| self.names(plan, host, path);
        self.allow_all || plan.paths.iter().all(path)
    }

    /// Whether `allowed` gives a place to the plan's namespace by name.
    #[must_use]
    pub fn names(&self, plan: &Plan, host: &HostPattern, path: &PathPrefix) -> bool {
        let below = |prefix: &PathPrefix| {
            prefix.as_str() == "/" || is_below(path.as_str(), prefix.as_str())
        };
        self.allowed
            .iter()
            .filter(|allowed| allowed.names(plan))
            .any(|allowed| {
                allowed
                    .hosts
                    .iter()
                    .any(|named| covers(named.as_str(), host.as_str()))
                    && (allowed.paths.is_empty() || allowed.paths.iter().any(below))
            })
    }

    fn refused_addresses(&self, plan: &Plan) -> Vec<(&'static str, Problem)> {
        let gray = plan.gray.as_ref().map(|gray| ("gray", &gray.arm));
        let arms = std::iter::once(("stable", &plan.stable)).chain(gray);
        arms.filter(|(_, arm)| {
            !self.allow_addresses && matches!(arm.backend, Backend::Addresses(_))
        })
        .map(|(name, _)| {
            let what = format!("fleet {:?} allows no arms by address", self.class());
            let advice = "name a Service, or have allowAddresses set for the fleet";
            (
                "AddressesNotAllowed",
                Problem::new(format!("spec.{name}.addresses"), what, advice),
            )
        })
        .collect()
    }
}

/// Whether a path is a prefix or below it, by whole segments.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether every host that `claimed` stands for is one that `allowed` stands for.
fn covers(allowed: &str, claimed: &str) -> bool {
    match allowed.strip_prefix("*.") {
        _ if allowed == "*" || allowed == claimed => true,
        Some(name) => claimed
            .strip_suffix(name)
            .is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_wildcard_covers_names_and_wildcards_below_it() {
        for (allowed, claimed, covered) in [
            ("*", "a.b", true),
            ("a.b", "a.b", true),
            ("*.b", "a.b", true),
            ("*.b", "*.a.b", true),
            ("*.b", "*.b", true),
            ("*.b", "b", false),
            ("*.b", "ab", false),
            ("*.b", "*", false),
            ("a.b", "*.b", false),
        ] {
            assert_eq!(covers(allowed, claimed), covered, "{allowed} {claimed}");
        }
    }
}
