//! What a request is decided by: one immutable set, swapped by one pointer.
//!
//! The control thread builds a [`Snapshot`] and publishes it; each worker reads through a [`SnapshotReader`] of its
//! own, which costs one load while nothing has changed. Replaced sets are dropped by the control thread, never by a
//! worker in the middle of a request.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use halftone_routing::document::arm::{Arm, Destination, PerArm};
use halftone_routing::document::{ReleaseState, RoutingConfig};
use halftone_routing::overlay::Overlay;
use halftone_routing::routes::{
    CompiledRelease, DestinationId, DestinationKey, ReleaseIndex, Routes,
};

use crate::counters::StageCounters;
use crate::overlay::{OverlayFlips, OverlayWord, Overlays};
use crate::report::Reporter;
use crate::upstream::destinations::DestinationCounters;
use crate::upstream::endpoints::{Table, Tables};

/// One consistent set of everything a request needs to be decided and counted.
#[derive(Debug)]
pub struct Snapshot {
    /// Rises by one with every swap.
    pub generation: u64,
    /// Rises whenever an overlay is written, swap or not.
    pub flips: Arc<OverlayFlips>,
    /// Who claims which host and path, and how each release decides.
    pub routes: Arc<Routes>,
    releases: Box<[ReleaseResources]>,
    /// By [`DestinationId`].
    destinations: Box<[Option<SnapshotDestination>]>,
    /// Ids of all tables named, sorted.
    tables: Box<[u32]>,
}

/// A destination as a snapshot has it.
#[derive(Debug)]
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
#[derive(Debug)]
struct ReleaseResources {
    counters: Arc<StageCounters>,
    overlay: Arc<OverlayWord>,
    /// Gray's go on where the release has none at present: they are told by arm and must not fall.
    arms: PerArm<Arc<DestinationCounters>>,
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
        let releases = routes.releases().map(|(_, release)| {
            let of = &release.config().release;
            let counters = |arm| {
                let key = DestinationKey::Arm(of.uid.clone(), arm);
                tables.destinations().counters(key)
            };
            ReleaseResources {
                counters: reporter.enter(&of.uid, of.id, release.config().stage),
                overlay: overlays.enter(release.config()),
                arms: PerArm::from_fn(counters),
            }
        });
        let releases: Box<[_]> = releases.collect();
        let destinations = destinations(routes, &releases, tables);
        let mut ids: Vec<_> = destinations
            .iter()
            .flatten()
            .map(|destination| destination.table.id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        Self {
            generation,
            flips: Arc::clone(overlays.flips()),
            releases,
            destinations,
            tables: ids.into(),
            routes: Arc::clone(routes),
        }
    }

    /// The counters for requests that a release decides.
    pub fn stage(&self, release: ReleaseIndex) -> &StageCounters {
        &self.releases[release.get()].counters
    }

    /// How much of a release's gray is open. To be called once per request, which goes by the copy.
    pub fn overlay(&self, release: ReleaseIndex) -> Overlay {
        self.releases[release.get()].overlay.load()
    }

    /// Every release with its overlay's word.
    pub fn overlays(&self) -> impl Iterator<Item = (&RoutingConfig, &OverlayWord)> {
        let releases = self.routes.releases();
        releases.map(|(index, release)| (release.config(), &*self.releases[index.get()].overlay))
    }

    /// A destination of these routes.
    pub fn destination(&self, id: DestinationId) -> Option<&SnapshotDestination> {
        self.destinations.get(id.get())?.as_ref()
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
        self.releases[release.get()].arms.get(arm)
    }

    /// Whether an arm or the default backend uses the table with this id.
    pub fn names_table(&self, id: u32) -> bool {
        self.tables.binary_search(&id).is_ok()
    }
}

/// A check that every endpoint fails is not heeded for the arm that everyone depends on: stable, and gray once it is
/// promoted. Any other gray is as good as gone then.
pub(crate) fn is_depended_on(release: &CompiledRelease, arm: Arm) -> bool {
    arm == Arm::Stable || release.config().state == ReleaseState::Promoted
}

/// Every destination of the routes, each at its number.
fn destinations(
    routes: &Routes,
    releases: &[ReleaseResources],
    tables: &Tables,
) -> Box<[Option<SnapshotDestination>]> {
    let mut all: Vec<_> = (0..routes.destination_limit()).map(|_| None).collect();
    for (index, release) in routes.releases() {
        for (arm, id) in release.destinations() {
            let config = release.config().arms.get(arm);
            all[id.get()] = config.map(|config| SnapshotDestination {
                table: tables.get(&config.destination()),
                counters: Arc::clone(releases[index.get()].arms.get(arm)),
            });
        }
    }
    if let (Some(id), Some(backend)) = (
        routes.default_destination(),
        &routes.fleet().default_backend,
    ) {
        let destination = Destination {
            backend: backend.clone(),
            health_check: None,
        };
        all[id.get()] = Some(SnapshotDestination {
            table: tables.get(&destination),
            counters: tables
                .destinations()
                .counters(DestinationKey::DefaultBackend),
        });
    }
    all.into()
}

/// A worker's view. `load` once per request, before `decide`.
#[derive(Debug)]
pub struct SnapshotReader(Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>);

impl SnapshotReader {
    /// The newest set. Workers call it from their tick as well, so that an idle worker lets go of old sets.
    pub fn load(&mut self) -> &Arc<Snapshot> {
        self.0.load()
    }
}

/// The control thread's side: swaps, and keeps replaced sets until no worker reads them.
#[derive(Debug)]
pub struct Publisher {
    current: Arc<ArcSwap<Snapshot>>,
    retired: Vec<Arc<Snapshot>>,
}

impl Publisher {
    /// Starts with a first set.
    pub fn new(first: Snapshot) -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(first)),
            retired: Vec::new(),
        }
    }

    /// A reader for one worker.
    pub fn reader(&self) -> SnapshotReader {
        SnapshotReader(Cache::new(Arc::clone(&self.current)))
    }

    /// The present set, for pages that look at it once in a while.
    pub fn current(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.current)
    }

    /// Makes `next` the set for every request decided from now on.
    pub fn publish(&mut self, next: Snapshot) {
        let old = self.current.swap(Arc::new(next));
        self.retired.push(old);
        self.sweep();
    }

    /// Drops the replaced sets that no worker holds any more.
    pub fn sweep(&mut self) {
        self.retired.retain(|set| Arc::strong_count(set) > 1);
    }
}
