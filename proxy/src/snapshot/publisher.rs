//! How snapshots are swapped: the control thread publishes, each worker reads.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use super::Snapshot;

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
