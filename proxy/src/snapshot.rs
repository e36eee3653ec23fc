//! What a request is decided by: one immutable set, swapped by one pointer.
//!
//! The control thread builds a [`Snapshot`] and publishes it; each worker reads through a [`SnapshotReader`] of its
//! own, which costs one load while nothing has changed. A snapshot shares everything that did not change with the one
//! before. Replaced sets are dropped by the control thread, never by a worker in the middle of a request.

use std::sync::Arc;

use halftone_routing::document::arm::{Arm, Destination, PerArm};
use halftone_routing::document::{ReleaseState, RoutingConfig};
use halftone_routing::overlay::Overlay;
use halftone_routing::routes::{
    CompiledRelease, DestinationId, DestinationKey, ReleaseIndex, Routes,
};
use halftone_routing::shared_vec::SharedVec;

use crate::counters::StageCounters;
use crate::overlay::{OverlayFlips, OverlayWord, Overlays};
use crate::report::Reporter;
use crate::upstream::destinations::DestinationCounters;
use crate::upstream::endpoints::{Table, Tables};

mod publisher;
#[cfg(test)]
mod tests;

pub use self::publisher::{Publisher, SnapshotReader};

/// One consistent set of everything a request needs to be decided and counted.
#[derive(Debug)]
pub struct Snapshot {
    /// Rises by one with every swap.
    pub generation: u64,
    /// Rises whenever an overlay is written, swap or not.
    pub flips: Arc<OverlayFlips>,
    /// Who claims which host and path, and how each release decides.
    pub routes: Arc<Routes>,
    releases: SharedVec<ReleaseResources>,
    /// By [`DestinationId`].
    destinations: SharedVec<SnapshotDestination>,
    /// How many destinations name a table, by its id.
    names: SharedVec<u32>,
    /// What the last swaps changed, the newest last.
    recent: Vec<Arc<SnapshotChange>>,
}

/// Swaps whose changes are remembered: more than come between two ticks of a worker.
const REMEMBERED: usize = 64;

/// What one swap changed.
#[derive(Debug)]
pub struct SnapshotChange {
    generation: u64,
    /// Releases that are others since, or gone.
    pub releases: Box<[ReleaseIndex]>,
    /// Numbers of their destinations, of those that they had and of those that they have.
    pub destinations: Box<[DestinationId]>,
}

/// A destination as a snapshot has it.
#[derive(Clone, Debug)]
pub struct SnapshotDestination {
    /// Its endpoints.
    pub table: Arc<Table>,
    /// What it has for itself.
    pub counters: Arc<DestinationCounters>,
}

/// What an arm can use of its endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsableEndpoints {
    /// So many endpoints.
    pub endpoints: usize,
    /// They all fail the active check and are used all the same.
    pub check_ignored: bool,
}

/// What one release needs beside its rules and destinations.
#[derive(Clone, Debug)]
struct ReleaseResources {
    counters: Arc<StageCounters>,
    overlay: Arc<OverlayWord>,
    /// Gray's go on where the release has none at present: they are told by arm and must not fall.
    arms: PerArm<Arc<DestinationCounters>>,
}

impl ReleaseResources {
    fn new(
        config: &RoutingConfig,
        tables: &Tables,
        overlays: &mut Overlays,
        reporter: &mut Reporter,
    ) -> Self {
        let of = &config.release;
        let counters = |arm| {
            let key = DestinationKey::Arm(of.uid.clone(), arm);
            tables.destinations().counters(key)
        };
        Self {
            counters: reporter.enter(&of.uid, of.id, config.stage),
            overlay: overlays.enter(config),
            arms: PerArm::from_fn(counters),
        }
    }
}

impl Snapshot {
    /// Joins the routes with their endpoint tables, their overlays and their counters.
    pub fn new(
        generation: u64,
        routes: &Arc<Routes>,
        tables: &Tables,
        overlays: &mut Overlays,
        reporter: &mut Reporter,
    ) -> Self {
        let mut snapshot = Self {
            generation,
            flips: Arc::clone(overlays.flips()),
            routes: Arc::default(),
            releases: SharedVec::default(),
            destinations: SharedVec::default(),
            names: SharedVec::default(),
            recent: Vec::new(),
        };
        let all: Vec<_> = routes.releases().map(|(index, _)| index).collect();
        snapshot.follow(routes, &all, tables, overlays, reporter);
        snapshot
    }

    /// The snapshot that follows this one, with these routes, of which the releases at `changed` are others or gone.
    pub fn next(
        &self,
        routes: &Arc<Routes>,
        changed: &[ReleaseIndex],
        tables: &Tables,
        overlays: &mut Overlays,
        reporter: &mut Reporter,
    ) -> Self {
        let remembered = self.recent.len().saturating_sub(REMEMBERED - 1);
        let mut next = Self {
            generation: self.generation + 1,
            flips: Arc::clone(&self.flips),
            routes: Arc::clone(&self.routes),
            releases: self.releases.clone(),
            destinations: self.destinations.clone(),
            names: self.names.clone(),
            recent: self.recent[remembered..].to_vec(),
        };
        let destinations = next.follow(routes, changed, tables, overlays, reporter);
        next.recent.push(Arc::new(SnapshotChange {
            generation: next.generation,
            releases: changed.into(),
            destinations,
        }));
        next
    }

    /// Takes up these routes. Returns the numbers of the destinations that are others, or gone.
    fn follow(
        &mut self,
        routes: &Arc<Routes>,
        changed: &[ReleaseIndex],
        tables: &Tables,
        overlays: &mut Overlays,
        reporter: &mut Reporter,
    ) -> Box<[DestinationId]> {
        let before = std::mem::replace(&mut self.routes, Arc::clone(routes));
        let mut touched = destinations_of(&before, changed);
        // All of them first: a number that is free again may be another destination's now.
        for id in &touched {
            self.set_destination(*id, None);
        }
        for index in changed {
            let release = routes.get(*index);
            let resources = release
                .map(|release| ReleaseResources::new(release.config(), tables, overlays, reporter));
            if let (Some(release), Some(resources)) = (release, &resources) {
                for (id, destination) in arm_destinations(release, resources, tables) {
                    self.set_destination(id, Some(destination));
                }
            }
            self.releases.set(index.get(), resources);
        }
        if let Some((id, destination)) = default_destination(routes, tables) {
            self.set_destination(id, Some(destination));
        }
        touched.extend(destinations_of(routes, changed));
        touched.sort_unstable();
        touched.dedup();
        touched.into()
    }

    fn set_destination(&mut self, id: DestinationId, destination: Option<SnapshotDestination>) {
        let named = destination.as_ref().map(|now| now.table.id);
        let before = self.destinations.set(id.get(), destination);
        let changes = named.map(|id| (id, 1)).into_iter();
        let changes = changes.chain(before.map(|before| (before.table.id, -1)));
        for (table, by) in changes {
            let count = self.names.get(table as usize).copied().unwrap_or(0);
            let count = count.saturating_add_signed(by);
            self.names.set(table as usize, (count > 0).then_some(count));
        }
    }

    /// What has changed since the snapshot of this generation, swap by swap; none if that is longer ago than is known.
    pub fn changes_since(&self, generation: u64) -> Option<impl Iterator<Item = &SnapshotChange>> {
        let oldest = self.recent.first();
        let known_from = oldest.map_or(self.generation, |oldest| oldest.generation - 1);
        let later = move |change: &&SnapshotChange| change.generation > generation;
        (known_from..=self.generation)
            .contains(&generation)
            .then(|| self.recent.iter().map(|change| &**change).filter(later))
    }

    fn resources(&self, release: ReleaseIndex) -> &ReleaseResources {
        self.releases
            .get(release.get())
            .expect("every release of the routes has resources")
    }

    /// The counters for requests that a release decides.
    pub fn stage(&self, release: ReleaseIndex) -> &StageCounters {
        &self.resources(release).counters
    }

    /// How much of a release's gray is open. To be called once per request, which goes by the copy.
    pub fn overlay(&self, release: ReleaseIndex) -> Overlay {
        self.resources(release).overlay.load()
    }

    /// A release with its overlay's word, if there is one at the index.
    pub fn overlay_word(&self, release: ReleaseIndex) -> Option<(&RoutingConfig, &OverlayWord)> {
        let config = self.routes.get(release)?.config();
        Some((config, &self.releases.get(release.get())?.overlay))
    }

    /// A destination of these routes.
    pub fn destination(&self, id: DestinationId) -> Option<&SnapshotDestination> {
        self.destinations.get(id.get())
    }

    /// Whether requests that are meant for an arm can go there. Workers ask their own pools, which cost them less.
    pub fn has_endpoint(&self, release: &CompiledRelease, arm: Arm) -> bool {
        let destination = release.destination(arm).and_then(|id| self.destination(id));
        destination
            .is_some_and(|destination| destination.table.any(|| is_depended_on(release, arm)))
    }

    /// What an arm can use of its table at present.
    pub fn usable(&self, release: &CompiledRelease, arm: Arm) -> Option<UsableEndpoints> {
        let set = self.destination(release.destination(arm)?)?.table.load();
        let depended_on = is_depended_on(release, arm);
        Some(UsableEndpoints {
            endpoints: if set.all_fail && !depended_on {
                0
            } else {
                set.slots.len()
            },
            check_ignored: set.all_fail && depended_on,
        })
    }

    /// What was counted for an arm at its destination, whether it has one at present or not.
    pub fn arm_counters(&self, release: ReleaseIndex, arm: Arm) -> &DestinationCounters {
        self.resources(release).arms.get(arm)
    }

    /// Whether an arm or the default backend uses the table with this id.
    pub fn names_table(&self, id: u32) -> bool {
        self.names.get(id as usize).is_some()
    }
}

/// A check that every endpoint fails is not heeded for the arm that everyone depends on: stable, and gray once it is
/// promoted. Any other gray is as good as gone then.
pub(crate) fn is_depended_on(release: &CompiledRelease, arm: Arm) -> bool {
    arm == Arm::Stable || release.config().state == ReleaseState::Promoted
}

/// The numbers of the destinations of these releases, and of the default backend, whose settings may have changed.
fn destinations_of(routes: &Routes, releases: &[ReleaseIndex]) -> Vec<DestinationId> {
    let releases = releases.iter().filter_map(|index| routes.get(*index));
    let arms = releases.flat_map(|release| release.destinations().map(|(_, id)| id));
    arms.chain(routes.default_destination()).collect()
}

/// The destinations of a release, each with its number.
fn arm_destinations<'a>(
    release: &'a CompiledRelease,
    resources: &'a ReleaseResources,
    tables: &'a Tables,
) -> impl Iterator<Item = (DestinationId, SnapshotDestination)> + 'a {
    release.destinations().filter_map(|(arm, id)| {
        let config = release.config().arms.get(arm)?;
        let destination = SnapshotDestination {
            table: tables.get(&config.destination()),
            counters: Arc::clone(resources.arms.get(arm)),
        };
        Some((id, destination))
    })
}

/// Where requests go that no release claims, with its number.
fn default_destination(
    routes: &Routes,
    tables: &Tables,
) -> Option<(DestinationId, SnapshotDestination)> {
    let destination = Destination {
        backend: routes.fleet().default_backend.clone()?,
        health_check: None,
    };
    let destination = SnapshotDestination {
        table: tables.get(&destination),
        counters: tables
            .destinations()
            .counters(DestinationKey::DefaultBackend),
    };
    Some((routes.default_destination()?, destination))
}
