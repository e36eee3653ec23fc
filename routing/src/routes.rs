//! All releases of a fleet, ready for `decide`: who claims which host and path. A set that follows another shares
//! everything that did not change with it, so that a change of one release among ten thousand costs what that one does.

mod destinations;
mod host_table;
mod hosts;
mod path_claims;
mod release;

use std::{collections::BTreeMap, sync::Arc};

pub(crate) use self::release::Split;
use self::{destinations::DestinationIds, hosts::Hosts};
pub use self::{
    destinations::{DestinationId, DestinationKey},
    release::CompiledRelease,
};
use crate::{
    document::{
        RoutingConfig,
        names::{HostPattern, PathPrefix},
    },
    fleet::FleetConfig,
    pattern::Interner,
    shared_vec::SharedVec,
};

/// Index of a release in one [`Routes`], dense from 0. A release keeps its index in the sets that follow; once it is
/// gone another may get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseIndex(u32);

impl ReleaseIndex {
    /// The oldest release of a set that was made in one go.
    pub const FIRST: Self = Self(0);

    /// The index as a number.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// What compiled releases share: patterns, and the numbers of destinations.
#[derive(Debug, Default)]
pub struct Compiler {
    pub(crate) patterns: Interner,
    destinations: DestinationIds,
}

impl Compiler {
    /// Takes back the numbers of a release's destinations that what takes its place, if anything does, does not have.
    /// In the routes that follow they may be another's.
    pub(crate) fn give_back(&mut self, before: &CompiledRelease, now: Option<&CompiledRelease>) {
        let uid = &before.config().release.uid;
        for (arm, id) in before.destinations() {
            if now.and_then(|now| now.destination(arm)) != Some(id) {
                self.destinations
                    .give_back(&DestinationKey::Arm(uid.clone(), arm));
            }
        }
    }
}

/// Who claims which host and path. Of two releases that claim one host and path the one whose claim is earlier has it,
/// then the one created earlier, then the lesser namespace, name and uid, whichever of them came first.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    releases: SharedVec<Arc<CompiledRelease>>,
    len: usize,
    /// Indices below the highest that no release has.
    vacant: Vec<ReleaseIndex>,
    hosts: Hosts,
    /// Who claims what another has.
    shadowed: Arc<BTreeMap<HostAndPath, Vec<ReleaseIndex>>>,
    fleet: Arc<FleetConfig>,
    default_destination: Option<DestinationId>,
    destination_limit: usize,
}

type HostAndPath = (HostPattern, PathPrefix);

/// A host and path that an older release has taken already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowedRoute {
    /// The release that does not get it.
    pub release: ReleaseIndex,
    /// The release that has it.
    pub by: ReleaseIndex,
    /// The host.
    pub host: HostPattern,
    /// The path.
    pub path: PathPrefix,
}

/// What orders releases by age.
fn age(config: &RoutingConfig) -> impl Ord + '_ {
    let whose = &config.release;
    (whose.created_at, &whose.namespace, &whose.name, &whose.uid)
}

/// What orders those that claim one host and path: the least has it.
fn precedence<'a>(
    config: &'a RoutingConfig,
    (host, path): (&HostPattern, &PathPrefix),
) -> impl Ord + 'a {
    (config.since(host, path), age(config))
}

/// Whether a release claims the same as the one that it takes the place of.
fn same_claims(one: &RoutingConfig, other: &RoutingConfig) -> bool {
    one.hosts == other.hosts
        && one.paths == other.paths
        && one.claims == other.claims
        && age(one) == age(other)
}

impl Routes {
    /// A set of these releases, each of another uid and compiled by `compiler`, with indices by age.
    pub fn new(
        mut releases: Vec<Arc<CompiledRelease>>,
        fleet: Arc<FleetConfig>,
        compiler: &mut Compiler,
    ) -> Self {
        releases.sort_by(|one, other| age(one.config()).cmp(&age(other.config())));
        let mut routes = Self::default();
        routes.set_fleet(fleet, compiler);
        for release in &releases {
            routes.insert(release);
        }
        routes
    }

    /// Takes in a release of a uid that the set does not have yet.
    pub fn insert(&mut self, release: &Arc<CompiledRelease>) -> ReleaseIndex {
        let next = ReleaseIndex(self.len as u32);
        let index = self.vacant.pop().unwrap_or(next);
        self.len += 1;
        self.set(index, release);
        self.claim_all(index, release.config());
        index
    }

    /// Puts a release in the place of an earlier one of its uid.
    pub fn replace(&mut self, index: ReleaseIndex, release: &Arc<CompiledRelease>) {
        let before = Arc::clone(self.release(index));
        let moves = !same_claims(before.config(), release.config());
        if moves {
            self.give_up_all(index, before.config());
        }
        self.set(index, release);
        if moves {
            self.claim_all(index, release.config());
        }
    }

    /// Takes a release out; who claims the same has it from now on.
    pub fn remove(&mut self, index: ReleaseIndex) {
        let before = Arc::clone(self.release(index));
        self.give_up_all(index, before.config());
        self.releases.set(index.get(), None);
        self.len -= 1;
        self.vacant.push(index);
    }

    /// Sets the configuration of the fleet. `compiler` is that of the releases.
    pub fn set_fleet(&mut self, fleet: Arc<FleetConfig>, compiler: &mut Compiler) {
        let (ids, key) = (&mut compiler.destinations, DestinationKey::DefaultBackend);
        self.default_destination = match fleet.default_backend {
            Some(_) => Some(ids.id(key)),
            None => {
                ids.give_back(&key);
                None
            }
        };
        self.cover(self.default_destination);
        self.fleet = fleet;
    }

    fn set(&mut self, index: ReleaseIndex, release: &Arc<CompiledRelease>) {
        self.cover(release.destinations().map(|(_, id)| id));
        self.releases.set(index.get(), Some(Arc::clone(release)));
    }

    fn cover(&mut self, ids: impl IntoIterator<Item = DestinationId>) {
        for id in ids {
            self.destination_limit = self.destination_limit.max(id.get() + 1);
        }
    }

    fn claim_all(&mut self, index: ReleaseIndex, config: &RoutingConfig) {
        for place in config.places() {
            let Some(owner) = self.hosts.owner(place) else {
                self.hosts.assign(place, Some(index));
                continue;
            };
            if owner == index {
                continue;
            }
            let theirs = self.release(owner).config();
            let loser = if precedence(config, place) < precedence(theirs, place) {
                self.hosts.assign(place, Some(index));
                owner
            } else {
                index
            };
            let shadowed = Arc::make_mut(&mut self.shadowed);
            let losers = shadowed.entry((place.0.clone(), place.1.clone()));
            losers.or_default().push(loser);
        }
    }

    fn give_up_all(&mut self, index: ReleaseIndex, config: &RoutingConfig) {
        for place in config.places() {
            let key = (place.0.clone(), place.1.clone());
            let heir = self.heir(
                place,
                self.shadowed.get(&key).map_or(&[][..], Vec::as_slice),
            );
            let gone = if self.hosts.owner(place) == Some(index) {
                self.hosts.assign(place, heir);
                heir
            } else {
                Some(index)
            };
            let Some(gone) = gone else { continue };
            let shadowed = Arc::make_mut(&mut self.shadowed);
            if let Some(losers) = shadowed.get_mut(&key) {
                losers.retain(|loser| *loser != gone);
                if losers.is_empty() {
                    shadowed.remove(&key);
                }
            }
        }
    }

    /// Which of those that do not have a place gets it next.
    fn heir(
        &self,
        place: (&HostPattern, &PathPrefix),
        losers: &[ReleaseIndex],
    ) -> Option<ReleaseIndex> {
        let config = |index: &ReleaseIndex| self.release(*index).config();
        let earlier = |one: &&ReleaseIndex, other: &&ReleaseIndex| {
            precedence(config(one), place).cmp(&precedence(config(other), place))
        };
        losers.iter().min_by(earlier).copied()
    }

    /// The release that claims this host and path, both in normal form: exact host before wildcards from the
    /// longest before `*`, within each the longest path prefix.
    pub fn find(&self, host: &str, path: &[u8]) -> Option<ReleaseIndex> {
        self.hosts.find(host, path)
    }

    /// A release of this set.
    pub fn release(&self, index: ReleaseIndex) -> &Arc<CompiledRelease> {
        self.releases
            .get(index.get())
            .expect("an index is of the set that it is asked of")
    }

    /// A release of this set, or none if no release has the index.
    pub fn get(&self, index: ReleaseIndex) -> Option<&Arc<CompiledRelease>> {
        self.releases.get(index.get())
    }

    /// Every release with its index, by ascending index.
    pub fn releases(&self) -> impl Iterator<Item = (ReleaseIndex, &Arc<CompiledRelease>)> {
        self.releases
            .iter()
            .map(|(at, release)| (ReleaseIndex(at as u32), release))
    }

    /// Every release with its index, oldest first.
    pub fn by_age(&self) -> Vec<(ReleaseIndex, &Arc<CompiledRelease>)> {
        let mut releases: Vec<_> = self.releases().collect();
        releases.sort_by(|(_, one), (_, other)| age(one.config()).cmp(&age(other.config())));
        releases
    }

    /// How many releases there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The configuration of the fleet.
    pub fn fleet(&self) -> &Arc<FleetConfig> {
        &self.fleet
    }

    /// Where requests go that no release claims.
    pub fn default_destination(&self) -> Option<DestinationId> {
        self.default_destination
    }

    /// Above the number of every destination, in these routes and those that they followed: how long a table of them is.
    pub fn destination_limit(&self) -> usize {
        self.destination_limit
    }

    /// Claims that an older release has taken already, the earliest first.
    pub fn shadowed(&self) -> Vec<ShadowedRoute> {
        let mut shadowed: Vec<_> = self
            .shadowed
            .iter()
            .flat_map(|((host, path), losers)| {
                let by = self.hosts.owner((host, path));
                let route = move |release: &ReleaseIndex| {
                    Some(ShadowedRoute {
                        release: *release,
                        by: by?,
                        host: host.clone(),
                        path: path.clone(),
                    })
                };
                losers.iter().filter_map(route)
            })
            .collect();
        shadowed.sort_by(|one, other| {
            let key = |route: &ShadowedRoute| {
                let config = self.release(route.release).config();
                (
                    config.since(&route.host, &route.path),
                    config.release.created_at,
                )
            };
            key(one).cmp(&key(other))
        });
        shadowed
    }
}
