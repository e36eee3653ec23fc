//! Fleets as the operator's configuration declares them: which proxies there are, and who may use them.

use std::collections::BTreeMap;

use halftone_routing::{config::names::HostPattern, fleet::Position as TrustPosition};
use serde::Deserialize;

use crate::{
    finding::{Finding, Position, Severity},
    plan::Plan,
    problem::Problem,
    spec::IntOrString,
};

/// All fleets; `fleets:` in the operator's configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetDeclarations {
    /// One declaration for each class.
    pub fleets: Vec<FleetDeclaration>,
}

/// One fleet: the proxies of one `proxyClass`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetDeclaration {
    /// Its class, as releases name it.
    pub class: String,
    /// Where its ConfigMaps and proxies are.
    #[serde(default)]
    pub namespace: String,
    /// Which pods of that namespace are its proxies.
    #[serde(default)]
    pub pod_selector: BTreeMap<String, String>,
    /// Who may claim which hosts.
    #[serde(default)]
    pub allowed: Vec<Allowed>,
    /// Every namespace may claim every host. Default: false.
    #[serde(default)]
    pub allow_all: bool,
    /// Arms may be given by address. Default: false.
    #[serde(default)]
    pub allow_addresses: bool,
    /// Whose forwarding headers are believed.
    #[serde(default)]
    pub position: Option<TrustPosition>,
    /// Networks of trusted proxies before the fleet.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// What serves hosts that no release claims. Default: 404.
    #[serde(default)]
    pub default_backend: Option<DefaultBackend>,
    /// A deleted release keeps its route so long. Default: 60s.
    #[serde(default = "minute")]
    pub withdraw_after: String,
    /// A proxy that takes longer than this is named. Default: 60s.
    #[serde(default = "minute")]
    pub straggler_timeout: String,
}

/// Hosts that some namespaces may claim.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// The namespaces.
    pub namespaces: Vec<String>,
    /// The hosts, exact or `*.name`; `*` for all.
    pub hosts: Vec<String>,
}

/// What serves hosts that no release claims.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultBackend {
    /// The Service.
    pub service: DefaultService,
}

/// A Service of some namespace.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its port, by number or name.
    pub port: IntOrString,
}

fn minute() -> String {
    "60s".to_owned()
}

impl FleetDeclarations {
    /// Reads the declarations of a file.
    ///
    /// # Errors
    /// What is wrong first, with its place.
    pub fn read(file: &str, text: &str) -> Result<Self, Box<Finding>> {
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(text, options).map_err(|error: serde_saphyr::Error| {
            let place = error.location().map(|location| (location.line(), location.column()));
            let (line, column) = place.unwrap_or((1, 1));
            let message = error.to_string();
            let what = message.split(" at line ").next().unwrap_or(&message);
            let problem = Problem::new("", what, "correct the declaration of the fleet here");
            Box::new(Finding::new(Severity::Error, "Malformed", file, Position { line, column }, problem))
        })
    }

    /// What in `plan` the fleets do not allow: the code, and the problem.
    pub(crate) fn refusals(&self, plan: &Plan) -> Vec<(&'static str, Problem)> {
        let Some(fleet) = self.fleets.iter().find(|fleet| fleet.class == plan.proxy_class) else {
            let known = self.fleets.iter().map(|fleet| fleet.class.as_str()).collect::<Vec<_>>().join(", ");
            let what = format!("there is no fleet of class {:?}", plan.proxy_class);
            let problem = Problem::new("spec.proxyClass", what, format!("write one of {known}"));
            return vec![("ClassNotAllowed", problem)];
        };
        let mut refusals = Vec::new();
        if !fleet.allow_all && !fleet.allowed.iter().any(|allowed| allowed.names(plan)) {
            let what = format!("namespace {} may not use fleet {:?}", plan.object.namespace, fleet.class);
            let advice = "have the namespace added to the fleet's allowed";
            refusals.push(("ClassNotAllowed", Problem::new("spec.proxyClass", what, advice)));
        } else {
            refusals.extend(plan.hosts.iter().filter(|host| !fleet.allows(plan, host)).map(|host| {
                let what = format!(
                    "namespace {} may not claim {host} in fleet {:?}",
                    plan.object.namespace, fleet.class
                );
                let advice = "claim another host, or have it added to the fleet's allowed";
                ("HostNotAllowed", Problem::new("spec.hosts", what, advice))
            }));
        }
        refusals.extend(fleet.refused_addresses(plan));
        refusals
    }
}

impl Allowed {
    fn names(&self, plan: &Plan) -> bool {
        self.namespaces
            .iter()
            .any(|namespace| namespace == "*" || namespace == plan.object.namespace.as_str())
    }
}

impl FleetDeclaration {
    fn allows(&self, plan: &Plan, host: &HostPattern) -> bool {
        let mut hosts =
            self.allowed.iter().filter(|allowed| allowed.names(plan)).flat_map(|allowed| &allowed.hosts);
        self.allow_all || hosts.any(|allowed| covers(allowed, host.as_str()))
    }

    fn refused_addresses(&self, plan: &Plan) -> Vec<(&'static str, Problem)> {
        use halftone_routing::config::arm::Backend;
        let gray = plan.gray.as_ref().map(|gray| ("gray", &gray.arm));
        let arms = std::iter::once(("stable", &plan.stable)).chain(gray);
        arms.filter(|(_, arm)| !self.allow_addresses && matches!(arm.backend, Backend::Addresses(_)))
            .map(|(name, _)| {
                let what = format!("fleet {:?} allows no arms by address", self.class);
                let advice = "name a Service, or have allowAddresses set for the fleet";
                ("AddressesNotAllowed", Problem::new(format!("spec.{name}.addresses"), what, advice))
            })
            .collect()
    }
}

/// Whether every host that `claimed` stands for is one that `allowed` stands for.
fn covers(allowed: &str, claimed: &str) -> bool {
    match allowed.strip_prefix("*.") {
        _ if allowed == "*" || allowed == claimed => true,
        Some(name) => claimed.strip_suffix(name).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
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
