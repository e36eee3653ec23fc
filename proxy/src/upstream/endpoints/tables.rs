//! All endpoint tables of the process, and in a cluster what is known of the Services that fill them. Tables come with
//! the documents (`snapshot.rs`), slices from the Kubernetes API (`source/kubernetes/slices.rs`), in any order.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use halftone_routing::dial_policy::DialPolicy;
use halftone_routing::document::arm::{Backend, Destination, HealthCheck, ServiceRef};
use halftone_routing::document::names::ObjectName;
use halftone_routing::endpoints::Slice;
use halftone_routing::sweep::SweepSchedule;

use super::{Endpoint, Table};
use crate::upstream::destinations::DestinationRegistry;
use crate::upstream::services::{SavedServices, Services};

/// All tables of the process. A table lives as long as a snapshot or a worker holds it; two arms with the same
/// destination share one.
#[derive(Debug)]
pub struct Tables {
    destinations: DestinationRegistry,
    next_table: AtomicU32,
    next_slot: Arc<AtomicU32>,
    inner: Mutex<TablesInner>,
}

/// A table and the Service's port that it is for.
type ServiceTable = (ServiceRef, Weak<Table>);

/// One lock over tables and slices: a table that is made while a slice comes has it, one way or the other.
#[derive(Debug)]
struct TablesInner {
    tables: HashMap<Destination, Weak<Table>>,
    /// Those of them with an active check.
    checked: Vec<(HealthCheck, Weak<Table>)>,
    /// The tables of each Service in use, by namespace and name.
    of_service: HashMap<ObjectName, HashMap<ObjectName, Vec<ServiceTable>>>,
    sweeps: SweepSchedule,
    services: Services,
    /// Else every address may be dialled, and there are no Services.
    in_cluster: bool,
    /// A Service's table has come or changed since [`Tables::changed_endpoints`].
    changed: bool,
}

impl Tables {
    /// No tables yet, for a process with this many workers, outside a cluster: every address may be dialled.
    pub fn new(workers: usize) -> Self {
        Self::make(workers, Services::default(), false)
    }

    /// The same in a cluster: what must not be dialled never is.
    pub fn in_cluster(workers: usize, reach: DialPolicy) -> Self {
        Self::make(workers, Services::new(reach), true)
    }

    fn make(workers: usize, services: Services, in_cluster: bool) -> Self {
        let inner = TablesInner {
            tables: HashMap::new(),
            checked: Vec::new(),
            of_service: HashMap::new(),
            sweeps: SweepSchedule::default(),
            services,
            in_cluster,
            changed: false,
        };
        Self {
            destinations: DestinationRegistry::new(workers),
            next_table: AtomicU32::new(0),
            next_slot: Arc::default(),
            inner: Mutex::new(inner),
        }
    }

    /// What each destination has for itself, beside the endpoints that it may share.
    pub fn destinations(&self) -> &DestinationRegistry {
        &self.destinations
    }

    /// A destination's table. A new one of a destination by `addresses` has each of them as a ready endpoint; a new one
    /// of a Service has what is known of it.
    pub fn get(&self, destination: &Destination) -> Arc<Table> {
        let mut inner = self.lock();
        if let Some(table) = inner.tables.get(destination).and_then(Weak::upgrade) {
            return table;
        }
        inner.sweep();
        let id = self.next_table.fetch_add(1, Relaxed);
        let table = Arc::new(Table::new(id, Arc::clone(&self.next_slot)));
        inner.fill(&destination.backend, &table);
        if let Some(check) = &destination.health_check {
            inner.checked.push((check.clone(), Arc::downgrade(&table)));
        }
        inner
            .tables
            .insert(destination.clone(), Arc::downgrade(&table));
        table
    }

    /// The table of a destination, if it is in use.
    pub fn find(&self, destination: &Destination) -> Option<Arc<Table>> {
        self.lock().tables.get(destination).and_then(Weak::upgrade)
    }

    /// The tables in use, each with what it is for.
    pub fn all(&self) -> Vec<(Destination, Arc<Table>)> {
        let inner = self.lock();
        let alive = inner.tables.iter();
        alive
            .filter_map(|(destination, table)| Some((destination.clone(), table.upgrade()?)))
            .collect()
    }

    /// The tables in use whose endpoints are looked at by an active check, each with that check.
    pub fn checked(&self) -> Vec<(HealthCheck, Arc<Table>)> {
        let mut inner = self.lock();
        inner.checked.retain(|(_, table)| table.strong_count() > 0);
        let checked = inner.checked.iter();
        checked
            .filter_map(|(check, table)| Some((check.clone(), table.upgrade()?)))
            .collect()
    }

    /// The namespaces of the Services in use.
    pub fn namespaces(&self) -> BTreeSet<ObjectName> {
        let inner = self.lock();
        let in_use = |tables: &Vec<(ServiceRef, Weak<Table>)>| {
            tables.iter().any(|(_, t)| t.strong_count() > 0)
        };
        let of_service = inner.of_service.iter();
        of_service
            .filter(|(_, services)| services.values().any(in_use))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Takes the complete list of a namespace's slices.
    pub fn list_slices(
        &self,
        namespace: &ObjectName,
        slices: impl IntoIterator<Item = (String, Slice)>,
    ) {
        let inner = &mut *self.lock();
        inner.services.list(namespace, slices);
        for tables in inner
            .of_service
            .get(namespace)
            .into_iter()
            .flat_map(HashMap::values)
        {
            inner.changed |= refill(&inner.services, tables);
        }
    }

    /// Takes one slice as it is now; none: it is gone.
    pub fn put_slice(&self, namespace: &ObjectName, name: String, slice: Option<Slice>) {
        let inner = &mut *self.lock();
        let services = inner.services.put(namespace, name, slice);
        let Some(in_use) = inner.of_service.get(namespace) else {
            return;
        };
        let changed = services.iter().filter_map(|name| in_use.get(name));
        for tables in changed {
            inner.changed |= refill(&inner.services, tables);
        }
    }

    /// The namespace's slices are followed no longer.
    pub fn forget_slices(&self, namespace: &ObjectName) {
        self.lock().services.forget(namespace);
    }

    /// The endpoints of all Services in use, as [`Tables::restore`] reads them, if they have changed since the last
    /// call.
    pub fn changed_endpoints(&self) -> Option<String> {
        let mut inner = self.lock();
        if !std::mem::take(&mut inner.changed) {
            return None;
        }
        let tables = inner
            .of_service
            .values()
            .flat_map(HashMap::values)
            .flatten();
        let kept = tables.filter_map(|(service, table)| {
            let table = table.upgrade()?;
            let endpoints: Vec<_> = table
                .lock()
                .endpoints
                .iter()
                .map(|(endpoint, _)| *endpoint)
                .collect();
            (!endpoints.is_empty()).then(|| SavedServices {
                service: service.clone(),
                endpoints,
            })
        });
        let kept: Vec<_> = kept.collect();
        Some(serde_json::to_string(&kept).expect("names and addresses are plain data"))
    }

    /// Takes what an earlier run kept: it holds for each namespace until that is listed.
    pub fn restore(&self, text: &str) {
        match serde_json::from_str(text) {
            Ok(kept) => self.lock().services.restore(kept),
            Err(error) => {
                tracing::warn!(%error, "the kept endpoints cannot be read and are left out")
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, TablesInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TablesInner {
    fn fill(&mut self, backend: &Backend, table: &Arc<Table>) {
        match backend {
            Backend::Addresses(addresses) if self.in_cluster => {
                let allowed = self.services.allowed(addresses.as_ref());
                if let Some(trouble) = allowed.trouble {
                    tracing::error!(?trouble, "an arm names addresses that are not dialled");
                }
                table.resolve(&allowed);
            }
            Backend::Addresses(addresses) => {
                table.replace(
                    &addresses
                        .as_ref()
                        .iter()
                        .copied()
                        .map(Endpoint::ready)
                        .collect::<Vec<_>>(),
                );
            }
            Backend::Service(service) => {
                let of_namespace = self
                    .of_service
                    .entry(service.namespace.clone())
                    .or_default();
                let tables = of_namespace.entry(service.name.clone()).or_default();
                tables.retain(|(_, table)| table.strong_count() > 0);
                tables.push((service.clone(), Arc::downgrade(table)));
                refill(&self.services, &tables[tables.len() - 1..]);
                self.changed = true;
            }
        }
    }

    /// Forgets tables that nobody holds.
    fn sweep(&mut self) {
        if !self.sweeps.is_due(self.tables.len()) {
            return;
        }
        self.tables.retain(|_, table| table.strong_count() > 0);
        self.of_service.retain(|_, services| {
            services.retain(|_, tables| {
                tables.retain(|(_, table)| table.strong_count() > 0);
                !tables.is_empty()
            });
            !services.is_empty()
        });
        self.sweeps.swept(self.tables.len());
    }
}

/// Fills the tables of one Service again; true: one of them changed.
fn refill(services: &Services, tables: &[ServiceTable]) -> bool {
    let mut changed = false;
    for (service, table) in tables {
        let (Some(table), Some(resolved)) = (table.upgrade(), services.resolve(service)) else {
            continue;
        };
        let before = table.trouble();
        changed |= table.resolve(&resolved);
        if let Some(trouble) = resolved.trouble
            && before != resolved.trouble
        {
            let ServiceRef {
                namespace,
                name,
                port,
                ..
            } = service;
            tracing::error!(%namespace, %name, ?port, ?trouble, "a Service's port is not served as its slices say");
        }
    }
    changed
}
