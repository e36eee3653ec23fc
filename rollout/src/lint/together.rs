//! What several releases do to each other.

use std::collections::{BTreeMap, HashMap};

use crate::{
    claims::{self, Claimant, Right, Standing},
    finding::{Finding, Severity},
    fleet::FleetDeclarations,
    manifest::Manifest,
    problem::{Problem, item},
};

/// Releases that another file has already; of those the first one counts.
pub fn duplicates<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> Vec<Finding> {
    let mut first: HashMap<String, &Manifest> = HashMap::new();
    let mut findings = Vec::new();
    for manifest in manifests {
        let other = *first.entry(manifest.name()).or_insert(manifest);
        // Within a file, reading it has told already.
        if other.file != manifest.file {
            let what = format!("{} is in {} as well", manifest.name(), other.file);
            let problem = Problem::new("metadata.name", what, "keep one of the two");
            findings.push(manifest.finding(Severity::Error, "Duplicate", problem));
        }
    }
    findings
}

/// Releases of a class that claim the same host and path.
pub(super) fn conflicts(manifests: &[&Manifest], fleets: Option<&FleetDeclarations>) -> Vec<Finding> {
    let mut named = BTreeMap::new();
    for manifest in manifests {
        named.entry((manifest.plan.proxy_class.as_str(), manifest.name())).or_insert(*manifest);
    }
    let manifests: Vec<&Manifest> = named.into_values().collect();
    let classes = manifests.chunk_by(|one, other| one.plan.proxy_class == other.plan.proxy_class);
    classes.flat_map(|class| conflicts_of_class(class, fleets)).collect()
}

fn conflicts_of_class(manifests: &[&Manifest], fleets: Option<&FleetDeclarations>) -> Vec<Finding> {
    let refused = |manifest: &Manifest| fleets.is_some_and(|fleets| !fleets.refusals(manifest).is_empty());
    let claimants: Vec<Claimant<'_>> = manifests
        .iter()
        .map(|manifest| Claimant {
            wanted: Some(&manifest.plan).filter(|_| !refused(manifest)),
            live: None,
            standing: Standing::Here,
            reserved: None,
        })
        .collect();
    let settled = claims::settle(&claimants).into_iter().zip(manifests);
    settled
        .filter_map(|(conflict, younger)| {
            let conflict = conflict?;
            let other = manifests[conflict.owner];
            let at = younger.plan.hosts.iter().position(|host| host == conflict.host).unwrap_or_default();
            let claim = format!("{}{}", conflict.host, conflict.path);
            let claimed = format!("{claim} is claimed by {} ({}) as well", other.name(), other.file);
            let what = match conflict.right {
                // Objects that are not created yet: which of them serves already only a cluster knows.
                Right::First => {
                    format!("{claimed}; whichever serves it keeps it, and of two new ones the first by name")
                }
                _ => format!("{claimed}, which is older"),
            };
            let advice = "claim another host or path, or remove one of the two";
            let problem = Problem::new(item("spec.hosts", at), what, advice);
            Some(younger.finding(Severity::Error, "HostConflict", problem))
        })
        .collect()
}

pub(super) fn shared_salts(manifests: &[&Manifest]) -> Vec<Finding> {
    let mut seen: HashMap<&str, &Manifest> = HashMap::new();
    let mut findings = Vec::new();
    for manifest in manifests {
        let salt = manifest.release.spec.identity.salt.as_str();
        if salt.is_empty() {
            continue;
        }
        match seen.get(salt) {
            Some(other) => {
                let what = format!("{} has the same salt, so both try the same users first", other.name());
                let advice = "keep it if that is meant, or give each its own";
                let problem = Problem::new("spec.identity.salt", what, advice);
                findings.push(manifest.finding(Severity::Warning, "SharedSalt", problem));
            }
            None => {
                seen.insert(salt, manifest);
            }
        }
    }
    findings
}
