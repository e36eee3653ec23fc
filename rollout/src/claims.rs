//! Which release of a fleet may have a host and path that several claim. One rule for everyone: a run and an operator
//! refuse by it, `lint` foretells it, and proxies come to the same by the order that the documents carry.
//!
//! The oldest by (creation, namespace, name) has what it claims, and the whole of a younger one that claims any of it
//! is refused. A release claims what its newest plan names, but only while nothing else refuses that plan: what
//! cannot take effect takes nothing from others. Otherwise it claims what it serves.

use std::collections::HashMap;

use halftone_routing::config::{
    RoutingConfig, State,
    names::{HostPattern, PathPrefix},
};
use jiff::Timestamp;

use crate::{observation::Obstacle, plan::Plan};

/// A host and a path below it.
pub type Place<'a> = (&'a HostPattern, &'a PathPrefix);

/// One release of the fleet.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// Its newest plan; none if there is none, or if anything but a conflict keeps it from taking effect.
    pub wanted: Option<&'a Plan>,
    /// The document that is live, its own or that of the object of the same name before it.
    pub live: Option<&'a RoutingConfig>,
}

/// A host and path that an older release has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict<'a> {
    /// Which of the claimants has it.
    pub older: usize,
    /// The namespace and the name of that one.
    pub owner: (&'a str, &'a str),
    /// The host.
    pub host: &'a HostPattern,
    /// The path.
    pub path: &'a PathPrefix,
}

impl Conflict<'_> {
    /// What forbids the younger one.
    #[must_use]
    pub fn obstacle(&self) -> Obstacle {
        let Self { owner: (namespace, name), host, path, .. } = self;
        let message = format!("{namespace}/{name} is older and has {host}{path}; claim other hosts or paths");
        Obstacle::new("HostConflict", message)
    }
}

/// Says of each of the claimants, which all are of one fleet, what keeps it from what it wants.
#[must_use]
pub fn settle<'a>(claimants: &[Claimant<'a>]) -> Vec<Option<Conflict<'a>>> {
    let mut by_age: Vec<_> = (0..claimants.len()).filter_map(|at| Some((claimants[at].age()?, at))).collect();
    by_age.sort_unstable();
    let mut owners = HashMap::new();
    let mut conflicts = vec![None; claimants.len()];
    for ((_, namespace, name), at) in by_age {
        let claimant = claimants[at];
        let taken = claimant.wants().find_map(|claim| Some((claim, *owners.get(&claim)?)));
        conflicts[at] = taken.map(|((host, path), (older, owner))| Conflict { older, owner, host, path });
        let wants = claimant.wants().filter(|_| taken.is_none());
        // What is refused or not known claims what it serves.
        let serves = claimant.serves().filter(|_| taken.is_some() || claimant.wanted.is_none());
        for claim in wants.chain(serves) {
            owners.entry(claim).or_insert((at, (namespace, name)));
        }
    }
    conflicts
}

impl<'a> Claimant<'a> {
    /// Every place that it may claim, whatever others do: what it wants and what it serves.
    pub fn places(self) -> impl Iterator<Item = Place<'a>> {
        self.wants().chain(self.serves())
    }

    /// Whether both claim the same, whatever else may differ between them.
    #[must_use]
    pub fn claims_as(self, other: Claimant<'_>) -> bool {
        self.age() == other.age()
            && self.wanted.is_some() == other.wanted.is_some()
            && self.wants().eq(other.wants())
            && self.serves().eq(other.serves())
    }

    fn wants(self) -> impl Iterator<Item = Place<'a>> {
        self.wanted.into_iter().flat_map(|plan| pairs(&plan.hosts, &plan.paths))
    }

    fn serves(self) -> impl Iterator<Item = Place<'a>> {
        let live = self.live.filter(|live| live.state != State::Withdrawn);
        live.into_iter().flat_map(|live| pairs(&live.hosts, &live.paths))
    }

    /// The oldest first; none where there is nothing to claim.
    fn age(&self) -> Option<(Timestamp, &'a str, &'a str)> {
        let plan = self.wanted.map(|plan| &plan.object);
        let plan = plan.map(|object| (object.created_at, object.namespace.as_str(), object.name.as_str()));
        plan.or_else(|| {
            let release = &self.live?.release;
            Some((release.created_at, release.namespace.as_str(), release.name.as_str()))
        })
    }
}

fn pairs<'a>(hosts: &'a [HostPattern], paths: &'a [PathPrefix]) -> impl Iterator<Item = Place<'a>> {
    hosts.iter().flat_map(|host| paths.iter().map(move |path| (host, path)))
}

#[cfg(test)]
mod tests {
    use halftone_routing::config::units::Revision;

    use super::*;
    use crate::{clock::Now, manifest, progress::Progress, routing_for::routing_for};

    /// `NAME@SECOND HOSTS PATHS`
    fn plan(text: &str) -> Plan {
        let parts: Vec<&str> = text.split(' ').collect();
        let (name, second) = parts[0].split_once('@').expect("a time");
        let text = format!(
            "{{apiVersion: halftone.dev/v1alpha1, kind: GrayRelease, metadata: {{name: {name}, namespace: shop}},\n\
             spec: {{hosts: [{}], paths: [{}], stable: {{addresses: ['127.0.0.1:1'], version: v1}}}}}}",
            parts[1], parts[2]
        );
        let reading = manifest::read("f.yaml", &text);
        assert!(reading.is_sound(), "{:?}", reading.findings);
        let mut plan = reading.manifests[0].plan.clone();
        plan.object.created_at = Timestamp::from_second(second.parse().expect("a number")).expect("a time");
        plan
    }

    fn live(text: &str) -> RoutingConfig {
        let progress = Progress::new(Now::at(Timestamp::UNIX_EPOCH));
        routing_for(&plan(text), &progress, Revision::FIRST, None)
    }

    /// Of each claimant, what is wanted and what is live: who has it instead, and what.
    fn settled(claimants: &[(Option<&str>, Option<&str>)]) -> Vec<Option<String>> {
        let owned: Vec<_> =
            claimants.iter().map(|(wanted, alive)| (wanted.map(plan), alive.map(live))).collect();
        let claimants =
            owned.iter().map(|(wanted, live)| Claimant { wanted: wanted.as_ref(), live: live.as_ref() });
        let claimants: Vec<_> = claimants.collect();
        let conflicts = settle(&claimants);
        conflicts
            .iter()
            .map(|conflict| conflict.map(|found| format!("{} {}{}", found.owner.1, found.host, found.path)))
            .collect()
    }

    #[test]
    fn the_whole_younger_one_is_refused_and_takes_nothing() {
        let young = (Some("young@2 x,w /"), None);
        let old = (Some("old@1 w /"), None);
        let third = (Some("third@3 x /"), None);
        assert_eq!(settled(&[young, old, third]), [Some("old w/".to_owned()), None, None]);
    }

    #[test]
    fn of_the_same_age_the_name_decides() {
        let two = [(Some("b@1 x /"), None), (Some("a@1 x /"), None)];
        assert_eq!(settled(&two), [Some("a x/".to_owned()), None]);
    }

    #[test]
    fn other_paths_of_a_host_are_no_conflict() {
        assert_eq!(settled(&[(Some("a@1 x /a"), None), (Some("b@2 x /,/b"), None)]), [None, None]);
    }

    #[test]
    fn what_is_refused_or_invalid_takes_nothing_and_keeps_what_it_serves() {
        let running = (Some("running@2 x /"), Some("running@2 x /"));
        assert_eq!(settled(&[(None, None), running]), [None, None]);
        assert_eq!(settled(&[(None, Some("held@1 w /")), running]), [None, None]);
        assert_eq!(settled(&[(None, Some("held@1 x /")), running]), [None, Some("held x/".to_owned())]);
    }

    #[test]
    fn who_is_refused_for_a_conflict_keeps_what_it_serves_from_younger_ones() {
        let first = (Some("first@1 x /"), None);
        let second = (Some("second@2 x,z /"), Some("second@2 w /"));
        let third = (Some("third@3 w /"), None);
        let expected = [None, Some("first x/".to_owned()), Some("second w/".to_owned())];
        assert_eq!(settled(&[first, second, third]), expected);
    }

    #[test]
    fn two_may_swap_their_hosts_at_once() {
        let one = (Some("one@1 w /"), Some("one@1 x /"));
        let other = (Some("other@2 x /"), Some("other@2 w /"));
        assert_eq!(settled(&[one, other]), [None, None]);
    }

    #[test]
    fn what_is_withdrawn_is_free() {
        let mut gone = live("gone@1 x /");
        gone.state = State::Withdrawn;
        let next = plan("next@2 x /");
        let claimants =
            [Claimant { wanted: None, live: Some(&gone) }, Claimant { wanted: Some(&next), live: None }];
        assert_eq!(settle(&claimants), [None, None]);
    }
}
