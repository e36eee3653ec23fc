//! What a request is decided by: one immutable set, swapped by one pointer.
//!
//! The control thread builds a [`Snapshot`] and publishes it; each worker reads through a [`SnapshotReader`] of its
//! own, which costs one load while nothing has changed. Replaced sets are dropped by the control thread, never by a
//! worker in the middle of a request.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use halftone_routing::document::ReleaseState;
use halftone_routing::document::arm::Arm;
use halftone_routing::routes::{ReleaseIndex, Routes, UpstreamId};

use crate::counters::StageCounters;
use crate::report::Reporter;
use crate::upstream::endpoints::{Table, Tables};
use crate::upstream::in_flight::InFlight;
use crate::upstream::violations::ProtocolViolations;

/// One consistent set of everything a request needs to be decided and counted.
#[derive(Debug)]
pub struct Snapshot {
    /// Rises by one with every swap.
    pub generation: u64,
    /// Who claims which host and path, and how each release decides.
    pub routes: Arc<Routes>,
    releases: Box<[ReleaseResources]>,
    default_table: Option<Arc<Table>>,
    default_in_flight: Arc<InFlight>,
    default_faults: Arc<ProtocolViolations>,
    /// Ids of all tables named, sorted.
    tables: Box<[u32]>,
}

/// What an arm can use of its endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsableEndpoints {
    /// So many endpoints.
    pub endpoints: usize,
    /// They all fail the active check and are used all the same.
    pub check_ignored: bool,
}

/// What one release needs beside its rules.
#[derive(Debug)]
struct ReleaseResources {
    counters: Arc<StageCounters>,
    tables: [Option<Arc<Table>>; 2],
    in_flight: [Arc<InFlight>; 2],
    faults: [Arc<ProtocolViolations>; 2],
}

impl Snapshot {
    /// Joins the routes with their endpoint tables and their counters.
    pub fn new(
        generation: u64,
        routes: &Arc<Routes>,
        tables: &Tables,
        reporter: &mut Reporter,
    ) -> Self {
        let by_upstream: HashMap<UpstreamId, Arc<Table>> = routes
            .upstreams()
            .iter()
            .map(|(id, upstream)| (*id, tables.get(upstream)))
            .collect();
        let table = |id: Option<UpstreamId>| by_upstream.get(&id?).map(Arc::clone);
        let releases = routes.releases().map(|(_, release)| {
            let config = release.config();
            ReleaseResources {
                counters: reporter.enter(&config.release.uid, config.release.id, config.stage),
                tables: Arm::ALL.map(|arm| table(release.upstream(arm))),
                in_flight: tables.in_flight().of(&config.release.uid),
                faults: tables.faults().of(&config.release.uid),
            }
        });
        let mut ids: Vec<_> = by_upstream.values().map(|table| table.id).collect();
        ids.sort_unstable();
        Self {
            generation,
            releases: releases.collect(),
            default_table: table(routes.default_upstream()),
            default_in_flight: tables.in_flight().of_default(),
            default_faults: tables.faults().of_default(),
            tables: ids.into(),
            routes: Arc::clone(routes),
        }
    }

    /// The counters for requests that a release decides.
    pub fn stage(&self, release: ReleaseIndex) -> &StageCounters {
        &self.releases[release.get()].counters
    }

    /// The endpoints of an arm; none for gray in a plain route.
    pub fn table(&self, release: ReleaseIndex, arm: Arm) -> Option<&Arc<Table>> {
        self.releases[release.get()].tables[arm as usize].as_ref()
    }

    /// Whether requests that are meant for an arm can go there. A check that every endpoint fails is not heeded for the
    /// arm that everyone depends on: stable, and gray once it is promoted. Any other gray is as good as gone then.
    pub fn has_endpoint(&self, release: ReleaseIndex, arm: Arm) -> bool {
        self.table(release, arm)
            .is_some_and(|table| table.any(|| self.is_depended_on(release, arm)))
    }

    /// What an arm can use of its table at present.
    pub fn usable(&self, release: ReleaseIndex, arm: Arm) -> Option<UsableEndpoints> {
        let set = self.table(release, arm)?.load();
        let depended_on = self.is_depended_on(release, arm);
        Some(UsableEndpoints {
            endpoints: if set.all_fail && !depended_on {
                0
            } else {
                set.slots.len()
            },
            check_ignored: set.all_fail && depended_on,
        })
    }

    fn is_depended_on(&self, release: ReleaseIndex, arm: Arm) -> bool {
        arm == Arm::Stable || self.routes.release(release).config().state == ReleaseState::Promoted
    }

    /// What is under way for an arm.
    pub fn in_flight(&self, release: ReleaseIndex, arm: Arm) -> &Arc<InFlight> {
        &self.releases[release.get()].in_flight[arm as usize]
    }

    /// What is under way for the fleet's default backend.
    pub fn default_in_flight(&self) -> &Arc<InFlight> {
        &self.default_in_flight
    }

    /// The malformed answers of an arm.
    pub fn faults(&self, release: ReleaseIndex, arm: Arm) -> &Arc<ProtocolViolations> {
        &self.releases[release.get()].faults[arm as usize]
    }

    /// The malformed answers of the fleet's default backend.
    pub fn default_faults(&self) -> &Arc<ProtocolViolations> {
        &self.default_faults
    }

    /// The endpoints for requests that no release claims, if the fleet has a default backend.
    pub fn default_table(&self) -> Option<&Arc<Table>> {
        self.default_table.as_ref()
    }

    /// Whether an arm or the default backend uses the table with this id.
    pub fn names_table(&self, id: u32) -> bool {
        self.tables.binary_search(&id).is_ok()
    }
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
