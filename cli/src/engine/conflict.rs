//! Several releases that claim the same host and path, or one inside another's: whoever serves it keeps it, as in a
//! cluster.

use halftone_api::Obstacle;
use halftone_api::Plan;
use halftone_api::claims::shadow::{ClaimedPlaces, shadowed};
use halftone_api::claims::{self, Claimant};
use halftone_rollout::observation::Observation;

use super::release::LocalRelease;
use crate::fleet::LocalFleet;

/// Refuses in what was `seen` of each release those that claim what another one has, or a part of what one of another
/// namespace has.
pub(super) fn refuse<'a>(
    releases: impl Iterator<Item = &'a LocalRelease> + Clone,
    fleet: &LocalFleet,
    seen: &mut [Observation],
) {
    let shadows = shadows(&claimants(releases.clone(), seen), fleet);
    take(seen, shadows);
    let claimants = claimants(releases, seen);
    let settled = claims::settle(&claimants).into_iter().zip(&claimants);
    let conflicts = settled
        .map(|(conflict, claimant)| Some(conflict?.obstacle(claimant.wanted, claimant.live)));
    take(seen, conflicts.collect());
}

fn claimants<'a>(
    releases: impl Iterator<Item = &'a LocalRelease>,
    seen: &[Observation],
) -> Vec<Claimant<'a>> {
    releases
        .zip(seen)
        .map(|(release, seen)| release.claimant(seen))
        .collect()
}

fn take(seen: &mut [Observation], found: Vec<Option<Obstacle>>) {
    for (seen, found) in seen.iter_mut().zip(found) {
        seen.refusal = seen.refusal.take().or(found);
    }
}

/// What lies inside a place of another namespace. All files are known at once, so of several that begin together those
/// that nothing else refuses count as if they served already.
fn shadows(claimants: &[Claimant<'_>], fleet: &LocalFleet) -> Vec<Option<Obstacle>> {
    let settled = claims::settle(claimants);
    let wider: Vec<ClaimedPlaces<'_>> = claimants
        .iter()
        .zip(settled)
        .filter_map(|(claimant, conflict)| match claimant.live {
            Some(live) => ClaimedPlaces::serving(live),
            None => claimant
                .wanted
                .filter(|_| conflict.is_none())
                .map(ClaimedPlaces::wanted),
        })
        .collect();
    let obstacle = |claimant: &Claimant<'_>| {
        let plan: &Plan = claimant.wanted?;
        let named = |(host, path): claims::HostPath<'_>| fleet.names(plan, host, path);
        shadowed(plan, claimant.live, &wider, named).map(|shadow| shadow.obstacle())
    };
    claimants.iter().map(obstacle).collect()
}

#[cfg(test)]
mod tests {
    use halftone_api::fleet::FleetDeclarations;
    use halftone_api::manifest;
    use halftone_rollout::clock::Now;

    use super::*;

    /// `NAMESPACE/NAME HOST`
    fn release(text: &str) -> LocalRelease {
        let (name, host) = text.split_once(' ').unwrap();
        let (namespace, name) = name.split_once('/').unwrap();
        let text = format!(
            "{{apiVersion: halftone.dev/v1alpha1, kind: GrayRelease, metadata: {{name: {name}, namespace: {namespace}}},\n\
             spec: {{hosts: ['{host}'], stable: {{addresses: ['127.0.0.1:1'], version: v1}}}}}}"
        );
        LocalRelease::new(
            &manifest::read("f.yaml", &text).manifests[0].release,
            Now::at(jiff::Timestamp::UNIX_EPOCH),
        )
    }

    fn fleet(allowed: &str) -> LocalFleet {
        let text = format!("fleets: [{{class: default, allowAll: true, allowed: {allowed}}}]");
        LocalFleet::new(
            &"default".parse().unwrap(),
            FleetDeclarations::read("fleet.yaml", &text).ok(),
        )
        .unwrap()
    }

    fn refused(releases: &[LocalRelease], fleet: &LocalFleet) -> Vec<Option<String>> {
        let mut seen: Vec<Observation> = releases.iter().map(|_| Observation::default()).collect();
        refuse(releases.iter(), fleet, &mut seen);
        seen.into_iter()
            .map(|seen| seen.refusal.map(|refusal| refusal.reason))
            .collect()
    }

    #[test]
    fn a_place_inside_another_namespaces_is_refused_unless_the_fleet_names_it() {
        let releases = ["shop/wide *.x", "other/narrow a.x", "shop/kin b.x"].map(release);
        let shadowed = [None, Some("HostShadowed".to_owned()), None];
        assert_eq!(refused(&releases, &fleet("[]")), shadowed);
        assert_eq!(
            refused(&releases, &fleet("[{namespaces: [other], hosts: [b.x]}]")),
            shadowed
        );
        assert_eq!(
            refused(&releases, &fleet("[{namespaces: [other], hosts: [a.x]}]")),
            [None, None, None]
        );
    }

    #[test]
    fn what_is_refused_itself_shadows_nothing() {
        let releases = ["other/first *.x", "shop/second *.x", "other/narrow a.x"].map(release);
        assert_eq!(
            refused(&releases, &fleet("[]")),
            [None, Some("HostConflict".into()), None]
        );
    }
}
