//! All releases of a fleet, ready for `decide`: who claims which host and path. A new set shares every release that
//! did not change with the one before, so that a change of one among ten thousand costs one compilation.

mod hosts;
mod release;

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;

use self::hosts::Hosts;
pub use self::release::CompiledRelease;
pub(crate) use self::release::Split;
use crate::{
    document::{
        arm::Upstream,
        names::{HostPattern, PathPrefix},
    },
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

/// Names an upstream in every [`Routes`] of one [`Compiler`]. Never given to another upstream again: a request
/// still on its way with an older set must not find somebody else's endpoints under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId(u32);

impl UpstreamId {
    /// The number, dense from 0 in order of first use.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// What compiled releases share: patterns, and the numbers of upstreams.
#[derive(Debug, Default)]
pub struct Compiler {
    pub(crate) patterns: Interner,
    upstreams: HashMap<Upstream, UpstreamId>,
    next_upstream: u32,
}

impl Compiler {
    fn upstream(&mut self, upstream: Upstream) -> UpstreamId {
        *self.upstreams.entry(upstream).or_insert_with(|| {
            let id = UpstreamId(self.next_upstream);
            self.next_upstream += 1;
            id
        })
    }
}

/// Who claims which host and path.
#[derive(Debug)]
pub struct Routes {
    releases: Box<[Arc<CompiledRelease>]>,
    hosts: Hosts,
    fleet: Arc<FleetConfig>,
    default_upstream: Option<UpstreamId>,
    upstreams: Box<[(UpstreamId, Upstream)]>,
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
        let default_upstream = fleet.default_backend.clone().map(|backend| {
            compiler.upstream(Upstream {
                backend,
                health_check: None,
            })
        });
        let mut used: Vec<UpstreamId> = releases
            .iter()
            .flat_map(|release| release.upstreams())
            .collect();
        used.extend(default_upstream);
        used.sort_unstable();
        compiler
            .upstreams
            .retain(|_, id| used.binary_search(id).is_ok());
        compiler.patterns.forget_unused();
        let mut upstreams: Vec<_> = compiler
            .upstreams
            .iter()
            .map(|(upstream, &id)| (id, upstream.clone()))
            .collect();
        upstreams.sort_unstable_by_key(|(id, _)| *id);
        Self {
            releases: releases.into(),
            hosts,
            fleet,
            default_upstream,
            upstreams: upstreams.into(),
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
    pub fn default_upstream(&self) -> Option<UpstreamId> {
        self.default_upstream
    }

    /// Every upstream that a release or the fleet names, by ascending id.
    pub fn upstreams(&self) -> &[(UpstreamId, Upstream)] {
        &self.upstreams
    }

    /// Claims that an older release has taken already.
    pub fn shadowed(&self) -> &[ShadowedRoute] {
        &self.shadowed
    }
}
