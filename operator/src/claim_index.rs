//! Which releases of a fleet claim the same host and path: an index over `rollout::claims`, so that each release is
//! settled with those that it can have anything to do with, and not with ten thousand others.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use halftone_api::Obstacle;
use halftone_api::Plan;
use halftone_api::claims::shadow::{self, ClaimedPlaces};
use halftone_api::claims::{self, Claimant, ObjectPresence};
use halftone_routing::document::names::{HostPattern, PathPrefix};
use halftone_routing::document::{ReleaseState, RoutingConfig};
use jiff::Timestamp;

use crate::name_set::NameSet;
use crate::names::NamespacedName;
use crate::objects::ReleaseConfigMap;

/// What one release claims, see [`Claimant`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReleaseClaim {
    /// Its newest plan, if only a conflict can keep it from taking effect.
    pub wanted: Option<Arc<Plan>>,
    /// The document that is live.
    pub live: Option<Arc<RoutingConfig>>,
    /// Whether its object is still there.
    pub standing: ObjectPresence,
    /// Until when the places of a document that is withdrawn are kept for its namespace.
    pub reserved: Option<Timestamp>,
}

type OwnedHostPath = (HostPattern, PathPrefix);

/// A place that one release gives up, before it the release that takes it over, and that one's document if it serves
/// anything yet.
pub type HandedOverPlace = (NamespacedName, OwnedHostPath, Option<Arc<RoutingConfig>>);

impl ReleaseClaim {
    /// What a release claims by the first of these documents that is not withdrawn, else by the first of all. The places
    /// of one that is withdrawn are kept for `reserve`.
    #[must_use]
    pub fn of<'k>(
        kept: impl Iterator<Item = &'k ReleaseConfigMap> + Clone,
        reserve: Duration,
        now: Timestamp,
    ) -> Self {
        let mut read = kept.filter(|kept| kept.live().is_some());
        let withdrawn = |kept: &&ReleaseConfigMap| {
            kept.live()
                .is_some_and(|live| live.state == ReleaseState::Withdrawn)
        };
        let first = read
            .clone()
            .find(|kept| !withdrawn(kept))
            .or_else(|| read.next());
        Self {
            live: first.and_then(ReleaseConfigMap::live).cloned(),
            reserved: first.and_then(|kept| kept.reserved(reserve, now)),
            ..Self::default()
        }
    }

    fn claimant(&self) -> Claimant<'_> {
        let Self {
            wanted,
            live,
            standing,
            reserved,
        } = self;
        Claimant {
            wanted: wanted.as_deref(),
            live: live.as_deref(),
            standing: *standing,
            reserved: *reserved,
        }
    }

    /// All that it claims, or had until it was withdrawn.
    fn places(&self) -> BTreeSet<OwnedHostPath> {
        let had = self.live.iter().flat_map(|live| live.places());
        self.claimant()
            .places()
            .chain(had)
            .map(|(host, path)| (host.clone(), path.clone()))
            .collect()
    }
}

/// The claims of all releases of a fleet.
#[derive(Debug, Default)]
pub struct ClaimIndex {
    claims: HashMap<NamespacedName, ReleaseClaim>,
    places: HashMap<OwnedHostPath, NameSet>,
    /// Those that may not have a place inside another namespace's: any change may set them free.
    shadowed: BTreeSet<NamespacedName>,
}

impl ClaimIndex {
    /// Notes what a release claims; nothing for one that is gone. Returns the others whom that may concern.
    pub fn note(
        &mut self,
        key: &NamespacedName,
        claim: Option<ReleaseClaim>,
    ) -> BTreeSet<NamespacedName> {
        let unchanged = match (self.claims.get(key), &claim) {
            (Some(before), Some(now)) => before.claimant().claims_as(now.claimant()),
            (None, None) => true,
            _ => false,
        };
        if unchanged {
            // What others remember of it is the same again, and not an older copy.
            self.claims.extend(claim.map(|claim| (key.clone(), claim)));
            return BTreeSet::new();
        }
        let mut concerned = self.around(key);
        if let Some(before) = self.claims.remove(key) {
            for place in before.places() {
                if let Some(claimants) = self.places.get_mut(&place) {
                    claimants.remove(key);
                    if claimants.is_empty() {
                        self.places.remove(&place);
                    }
                }
            }
        }
        if let Some(claim) = claim {
            for place in claim.places() {
                self.places.entry(place).or_default().insert(key.clone());
            }
            self.claims.insert(key.clone(), claim);
        }
        concerned.extend(self.around(key));
        concerned.extend(self.shadowed.iter().cloned());
        concerned.remove(key);
        concerned
    }

    /// There is no such release any more.
    pub fn forget_shadow(&mut self, key: &NamespacedName) {
        self.shadowed.remove(key);
    }

    /// The plan that a release wants to take effect.
    #[must_use]
    pub fn wanted(&self, key: &NamespacedName) -> Option<Arc<Plan>> {
        self.claims.get(key)?.wanted.clone()
    }

    /// What keeps a release from what it wants, if another one has it.
    #[must_use]
    pub fn conflict(&self, key: &NamespacedName) -> Option<Obstacle> {
        let around = self.around(key);
        if around.len() < 2 {
            return None;
        }
        let claims: Vec<(&NamespacedName, &ReleaseClaim)> = around
            .iter()
            .filter_map(|key| Some((key, self.claims.get(key)?)))
            .collect();
        let claimants: Vec<Claimant<'_>> =
            claims.iter().map(|(_, claim)| claim.claimant()).collect();
        let at = claims.iter().position(|(other, _)| *other == key)?;
        let Claimant { wanted, live, .. } = claimants[at];
        claims::settle(&claimants)[at].map(|conflict| conflict.obstacle(wanted, live))
    }

    /// What keeps a release from places inside those of other namespaces, unless the fleet names them for it.
    pub fn shadow(
        &mut self,
        key: &NamespacedName,
        plan: &Plan,
        live: Option<&RoutingConfig>,
        named: impl Fn(&HostPattern, &PathPrefix) -> bool,
    ) -> Option<Obstacle> {
        let places = plan
            .hosts
            .iter()
            .flat_map(|host| plan.paths.iter().map(move |path| (host, path)));
        let wider = places.flat_map(|(host, path)| shadow::around(host, path));
        let keys: BTreeSet<&NamespacedName> = wider
            .filter_map(|place| self.places.get(&place))
            .flatten()
            .collect();
        let others: Vec<Arc<RoutingConfig>> = keys
            .into_iter()
            .filter_map(|key| self.claims.get(key)?.live.clone())
            .collect();
        let others: Vec<ClaimedPlaces<'_>> = others
            .iter()
            .filter_map(|other| ClaimedPlaces::serving(other))
            .collect();
        let found = shadow::shadowed(plan, live, &others, |(host, path)| named(host, path));
        let found = found.map(|found| found.obstacle());
        if found.is_some() {
            self.shadowed.insert(key.clone())
        } else {
            self.shadowed.remove(key)
        };
        found
    }

    /// The places that a release gives up, with the document of the release that takes each over: one that takes effect
    /// with it, and none yet where that one serves nothing.
    #[must_use]
    pub fn hands_over(&self, key: &NamespacedName) -> Vec<HandedOverPlace> {
        let Some(claim) = self.claims.get(key).filter(|claim| claim.wanted.is_some()) else {
            return Vec::new();
        };
        let mut handed = Vec::new();
        for other in self.around(key).into_iter().filter(|other| other != key) {
            let Some(takes) = self.claims.get(&other) else {
                continue;
            };
            let places: Vec<OwnedHostPath> = claim
                .claimant()
                .hands_over(takes.claimant())
                .map(|(host, path)| (host.clone(), path.clone()))
                .collect();
            if !places.is_empty() && self.conflict(&other).is_none() {
                handed.extend(
                    places
                        .into_iter()
                        .map(|place| (other.clone(), place, takes.live.clone())),
                );
            }
        }
        handed
    }

    /// Whether another release that gives up a place waits until this one has it.
    #[must_use]
    pub fn is_awaited(&self, key: &NamespacedName) -> bool {
        let Some(claim) = self.claims.get(key) else {
            return false;
        };
        let waits = |other: &NamespacedName| {
            let other = self.claims.get(other).map(ReleaseClaim::claimant);
            other.is_some_and(|other| other.hands_over(claim.claimant()).next().is_some())
        };
        self.around(key)
            .iter()
            .any(|other| other != key && waits(other) && self.conflict(other).is_none())
    }

    /// A place that a release would take which a deleted release of another namespace had, see [`claims::taken_from`].
    #[must_use]
    pub fn taken_from(&self, key: &NamespacedName) -> Option<String> {
        let claim = self.claims.get(key)?;
        let plan = claim.wanted.as_deref()?;
        let places = claim.places();
        let others: BTreeSet<&NamespacedName> = places
            .iter()
            .filter_map(|place| self.places.get(place))
            .flatten()
            .collect();
        let left = others
            .into_iter()
            .filter_map(|other| self.claims.get(other));
        let left = left
            .filter(|left| left.standing == ObjectPresence::Gone)
            .filter_map(|left| left.live.as_deref());
        claims::taken_from(plan, claim.live.as_deref(), &left.collect::<Vec<_>>())
    }

    /// The documents of other releases that have places of `live`.
    #[must_use]
    pub fn beside(&self, live: &RoutingConfig) -> Vec<Arc<RoutingConfig>> {
        let keys: BTreeSet<&NamespacedName> = live
            .places()
            .filter_map(|(host, path)| self.places.get(&(host.clone(), path.clone())))
            .flatten()
            .collect();
        let claims = keys
            .into_iter()
            .filter_map(|key| self.claims.get(key)?.live.clone());
        claims
            .filter(|other| other.release.uid != live.release.uid)
            .collect()
    }

    /// The release and all that share a place with it, or with one that does, and so on.
    fn around(&self, key: &NamespacedName) -> BTreeSet<NamespacedName> {
        let (mut around, mut open) = (BTreeSet::new(), vec![key.clone()]);
        while let Some(key) = open.pop() {
            if let Some(claim) = self.claims.get(&key).filter(|_| !around.contains(&key)) {
                let places = claim.places();
                open.extend(
                    places
                        .iter()
                        .filter_map(|place| self.places.get(place))
                        .flatten()
                        .cloned(),
                );
                around.insert(key);
            }
        }
        around
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A plan of `name`, created at `second`, that claims these hosts.
    fn plan(name: &str, second: i64, hosts: &[&str]) -> Arc<Plan> {
        let release = serde_json::json!({
            "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease",
            "metadata": {
                "name": name, "namespace": "shop", "uid": name,
                "creationTimestamp": jiff::Timestamp::from_second(second).unwrap().to_string(),
            },
            "spec": {"hosts": hosts, "stable": {"service": {"name": "one", "port": 80}, "version": "v1"}},
        });
        Arc::new(Plan::try_from(&serde_json::from_value(release).unwrap()).unwrap())
    }

    fn wanting(plan: Arc<Plan>) -> Option<ReleaseClaim> {
        Some(ReleaseClaim {
            wanted: Some(plan),
            ..ReleaseClaim::default()
        })
    }

    fn key(name: &str) -> NamespacedName {
        NamespacedName::new("shop", name)
    }

    #[test]
    fn the_younger_one_loses_and_takes_over_when_the_older_goes() {
        let mut claims = ClaimIndex::default();
        claims.note(
            &key("young"),
            wanting(plan("young", 2, &["x.example", "y.example"])),
        );
        assert_eq!(claims.conflict(&key("young")), None);
        let concerned = claims.note(&key("old"), wanting(plan("old", 1, &["y.example"])));
        assert_eq!(concerned, BTreeSet::from([key("young")]));
        let conflict = claims.conflict(&key("young")).unwrap();
        assert_eq!(conflict.reason, "HostConflict");
        assert_eq!(
            conflict.message,
            "shop/old claims y.example/, too, and is older; claim another host or path"
        );
        assert_eq!(claims.conflict(&key("old")), None);
        assert_eq!(
            claims.note(&key("old"), None),
            BTreeSet::from([key("young")])
        );
        assert_eq!(claims.conflict(&key("young")), None);
    }

    #[test]
    fn what_changes_no_claim_concerns_nobody() {
        let mut claims = ClaimIndex::default();
        claims.note(&key("a"), wanting(plan("a", 1, &["x.example"])));
        claims.note(&key("b"), wanting(plan("b", 2, &["x.example"])));
        assert!(
            claims
                .note(&key("a"), wanting(plan("a", 1, &["x.example"])))
                .is_empty()
        );
    }

    const HOSTS: [&str; 5] = [
        "a.example",
        "b.example",
        "c.example",
        "d.example",
        "e.example",
    ];

    proptest! {
        /// However claims come and go, the index says of each what settling all at once says.
        #[test]
        fn the_index_says_what_settling_all_at_once_says(
            script in prop::collection::vec((0_u8..6, prop::collection::btree_set(0_usize..5, 0..3)), 1..20),
        ) {
            let mut claims = ClaimIndex::default();
            for (at, hosts) in script {
                let second = i64::from(at % 3);
                let name = format!("r{at}");
                let hosts: Vec<&str> = hosts.into_iter().map(|host| HOSTS[host]).collect();
                let claim = (!hosts.is_empty()).then(|| plan(&name, second, &hosts)).and_then(wanting);
                claims.note(&key(&name), claim);
            }
            let all: Vec<(&NamespacedName, &ReleaseClaim)> = claims.claims.iter().collect();
            let claimants: Vec<Claimant<'_>> = all.iter().map(|(_, claim)| claim.claimant()).collect();
            for ((key, _), conflict) in all.iter().zip(claims::settle(&claimants)) {
                let at = all.iter().position(|(other, _)| other == key).unwrap();
                let told = conflict.map(|conflict| conflict.obstacle(claimants[at].wanted, None));
                prop_assert_eq!(claims.conflict(key), told);
            }
        }
    }
}
