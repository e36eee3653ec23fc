//! What the turns of a fleet's releases have in common. The steps of a reconcile do not see it: `reconcile.rs` gives each
//! what it needs.

use std::sync::{Arc, Mutex, MutexGuard};

use halftone_api::fleet::FleetDeclaration;
use tokio::time::Instant;

use crate::api_client::ApiClient;
use crate::claim_index::ReleaseClaim;
use crate::clock::Clock;
use crate::cluster_cache::ClusterCache;
use crate::event_publisher::EventPublisher;
use crate::jurisdiction::Jurisdiction;
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::objects::{FleetRef, ReleaseConfigMap};
use crate::ownership::Ownership;
use crate::proxy_roster::ProxyRoster;
use crate::release_cache::ReleaseCache;

/// One fleet, as its controller works on it.
#[derive(Debug)]
pub struct ReconcileContext {
    /// The fleet.
    pub fleet: FleetRef,
    /// As it is declared.
    pub declaration: FleetDeclaration,
    /// The API server, written to under the fleet's mandate.
    pub cluster: ApiClient,
    /// What the watches have brought.
    pub world: Arc<ClusterCache>,
    /// What the proxies have said. Never locked while `desk` is.
    pub roster: Arc<Mutex<ProxyRoster>>,
    /// What is remembered.
    pub desk: Mutex<ReleaseCache>,
    /// The clocks.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What people are told.
    pub publisher: EventPublisher,
    /// Which installation looks after the class.
    pub ownership: Arc<Ownership>,
    /// Which releases are looked after here.
    pub jurisdiction: Jurisdiction,
}

impl ReconcileContext {
    pub(crate) fn desk(&self) -> MutexGuard<'_, ReleaseCache> {
        lock(&self.desk)
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, ProxyRoster> {
        lock(&self.roster)
    }

    /// What a release claims by its documents, see [`ReleaseClaim::of`].
    pub(crate) fn claim<'k>(
        &self,
        kept: impl Iterator<Item = &'k ReleaseConfigMap> + Clone,
    ) -> ReleaseClaim {
        let (reserve, now) = (self.declaration.times.host_reserve, self.clock.now().wall);
        ReleaseClaim::of(kept, reserve, now)
    }

    /// Measures one step.
    pub(crate) fn step<T>(&self, name: &'static str, step: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = step();
        self.metrics.step(name, began.elapsed());
        done
    }

    /// The same for a step that waits.
    pub(crate) async fn step_async<T>(
        &self,
        name: &'static str,
        step: impl Future<Output = T>,
    ) -> T {
        let began = Instant::now();
        let done = step.await;
        self.metrics.step(name, began.elapsed());
        done
    }
}
