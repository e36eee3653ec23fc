//! All releases of a fleet, ready for `decide`: who claims which host and path. A new set shares every release that
//! did not change with the one before, so that a change of one among ten thousand costs one compilation.

mod destinations;
mod hosts;
mod release;

use std::sync::Arc;

use jiff::Timestamp;

pub(crate) use self::release::Split;
use self::{destinations::DestinationIds, hosts::Hosts};
pub use self::{
    destinations::{DestinationId, DestinationKey},
    release::CompiledRelease,
};
use crate::{
    document::names::{HostPattern, PathPrefix},
    fleet::FleetConfig,
    pattern::Interner,
};

/// Index of a release in one [`Routes`]; means nothing in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseIndex(u32);

impl ReleaseIndex {
    /// The oldest release.
    pub const FIRST: Self = Self(0);

    /// The index, below [`Routes::len`].
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

/// Who claims which host and path.
#[derive(Debug)]
pub struct Routes {
    releases: Box<[Arc<CompiledRelease>]>,
    hosts: Hosts,
    fleet: Arc<FleetConfig>,
    default_destination: Option<DestinationId>,
    destination_limit: usize,
    shadowed: Vec<ShadowedRoute>,
}

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

type RouteClaim<'a> = (Timestamp, ReleaseIndex, (&'a HostPattern, &'a PathPrefix));

/// Every claim of these releases, which are in the order of their age, the earliest first.
fn claims(releases: &[Arc<CompiledRelease>]) -> Vec<RouteClaim<'_>> {
    let mut claims = Vec::new();
    for (index, release) in (0_u32..).map(ReleaseIndex).zip(releases) {
        let config = release.config();
        claims.extend(
            config
                .places()
                .map(|place| (config.since(place.0, place.1), index, place)),
        );
    }
    // Stable: places of one release stay in its order.
    claims.sort_by_key(|(since, index, _)| (*since, *index));
    claims
}

impl Routes {
    /// A set of these releases, each of another uid and compiled by `compiler`. Of two that claim one host and path
    /// the one whose claim is earlier has it, then the one created earlier, then the lesser namespace and name.
    pub fn new(
        mut releases: Vec<Arc<CompiledRelease>>,
        fleet: Arc<FleetConfig>,
        compiler: &mut Compiler,
    ) -> Self {
        let age = |release: &CompiledRelease| {
            let whose = &release.config().release;
            (
                whose.created_at,
                whose.namespace.clone(),
                whose.name.clone(),
                whose.uid.clone(),
            )
        };
        releases.sort_by_cached_key(|release| age(release));
        let mut shadowed = Vec::new();
        let mut hosts = Hosts::default();
        for (_, index, (host, path)) in claims(&releases) {
            if let Err(by) = hosts.claim(host, path, index) {
                shadowed.push(ShadowedRoute {
                    release: index,
                    by,
                    host: host.clone(),
                    path: path.clone(),
                });
            }
        }
        let default_destination = fleet
            .default_backend
            .is_some()
            .then(|| compiler.destinations.id(DestinationKey::DefaultBackend));
        let mut used: Vec<DestinationId> = releases
            .iter()
            .flat_map(|release| release.destinations())
            .map(|(_, id)| id)
            .collect();
        used.extend(default_destination);
        used.sort_unstable();
        compiler.destinations.keep(&used);
        compiler.patterns.forget_unused();
        Self {
            releases: releases.into(),
            hosts,
            fleet,
            default_destination,
            destination_limit: compiler.destinations.limit(),
            shadowed,
        }
    }

    /// The release that claims this host and path, both in normal form: exact host before wildcards from the
    /// longest before `*`, within each the longest path prefix. With it, the claim that won.
    pub fn find(&self, host: &str, path: &[u8]) -> Option<ReleaseIndex> {
        self.hosts.find(host, path)
    }

    /// A release of this set.
    pub fn release(&self, index: ReleaseIndex) -> &Arc<CompiledRelease> {
        &self.releases[index.get()]
    }

    /// Every release with its index, oldest first.
    pub fn releases(&self) -> impl ExactSizeIterator<Item = (ReleaseIndex, &Arc<CompiledRelease>)> {
        self.releases
            .iter()
            .enumerate()
            .map(|(at, release)| (ReleaseIndex(at as u32), release))
    }

    /// How many releases there are.
    pub fn len(&self) -> usize {
        self.releases.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.releases.is_empty()
    }

    /// The configuration of the fleet.
    pub fn fleet(&self) -> &Arc<FleetConfig> {
        &self.fleet
    }

    /// Where requests go that no release claims.
    pub fn default_destination(&self) -> Option<DestinationId> {
        self.default_destination
    }

    /// Above the number of every destination: how long a table of them is.
    pub fn destination_limit(&self) -> usize {
        self.destination_limit
    }

    /// Claims that an older release has taken already.
    pub fn shadowed(&self) -> &[ShadowedRoute] {
        &self.shadowed
    }
}
