//! What several releases do to each other.

use std::collections::{BTreeMap, HashMap};

use crate::{
    claims::{
        self, ClaimReason, Claimant, HostPath, ObjectPresence,
        shadow::{ClaimedPlaces, Shadow, shadowed},
    },
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
pub(super) fn conflicts(
    manifests: &[&Manifest],
    fleets: Option<&FleetDeclarations>,
) -> Vec<Finding> {
    by_class(manifests)
        .iter()
        .flat_map(|class| conflicts_of_class(class, fleets))
        .collect()
}

/// Releases of a class that claim a place inside that of another namespace.
pub(super) fn shadows(manifests: &[&Manifest], fleets: Option<&FleetDeclarations>) -> Vec<Finding> {
    by_class(manifests)
        .iter()
        .flat_map(|class| shadows_of_class(class, fleets))
        .collect()
}

/// Each release once.
fn by_class<'a>(manifests: &[&'a Manifest]) -> Vec<Vec<&'a Manifest>> {
    let mut named = BTreeMap::new();
    for manifest in manifests {
        named
            .entry((manifest.plan.proxy_class.as_str(), manifest.name()))
            .or_insert(*manifest);
    }
    let manifests: Vec<&Manifest> = named.into_values().collect();
    let classes = manifests.chunk_by(|one, other| one.plan.proxy_class == other.plan.proxy_class);
    classes.map(<[&Manifest]>::to_vec).collect()
}

fn is_refused(manifest: &Manifest, fleets: Option<&FleetDeclarations>) -> bool {
    fleets.is_some_and(|fleets| !fleets.refusals(manifest).is_empty())
}

fn shadows_of_class(manifests: &[&Manifest], fleets: Option<&FleetDeclarations>) -> Vec<Finding> {
    let wider: Vec<ClaimedPlaces<'_>> = manifests
        .iter()
        .filter(|manifest| !is_refused(manifest, fleets))
        .map(|manifest| ClaimedPlaces::wanted(&manifest.plan))
        .collect();
    let found = |manifest: &&Manifest| {
        let plan = &manifest.plan;
        let fleet = fleets.and_then(|fleets| fleets.find(&plan.proxy_class));
        let named =
            |(host, path): HostPath<'_>| fleet.is_some_and(|fleet| fleet.names(plan, host, path));
        let Shadow {
            place: (host, path),
            other,
        } = shadowed(plan, None, &wider, named)?;
        let at = plan
            .hosts
            .iter()
            .position(|claimed| claimed == host)
            .unwrap_or_default();
        let what = format!(
            "{host}{path} lies inside what {}/{} of another namespace claims, which is refused once that one serves",
            other.namespace, other.name
        );
        let advice = "claim another host or path, or have this one named in the fleet's allowed";
        // Without the fleets nobody knows whether they name it.
        let severity = if fleets.is_some() {
            Severity::Error
        } else {
            Severity::Warning
        };
        Some(manifest.finding(
            severity,
            "HostShadowed",
            Problem::new(item("spec.hosts", at), what, advice),
        ))
    };
    manifests.iter().filter_map(found).collect()
}

fn conflicts_of_class(manifests: &[&Manifest], fleets: Option<&FleetDeclarations>) -> Vec<Finding> {
    let claimants: Vec<Claimant<'_>> = manifests
        .iter()
        .map(|manifest| Claimant {
            wanted: Some(&manifest.plan).filter(|_| !is_refused(manifest, fleets)),
            live: None,
            standing: ObjectPresence::Here,
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
                ClaimReason::First => {
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
                let what = format!(
                    "{} has the same salt, so both try the same users first",
                    other.name()
                );
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
