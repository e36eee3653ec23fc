//! Endpoint tables: where an arm's requests can go. Not part of `Routes`: an arm names a table, and the table changes
//! by its own swap. The control side fills tables, the active checks mark them, every worker reads them.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Cache};
use halftone_routing::endpoints::{EndpointIssue, ResolvedEndpoints};

mod tables;

pub use self::tables::Tables;
pub use halftone_routing::endpoints::Endpoint;

/// An endpoint in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Dense within the process and never used twice, so that an address that left and came back is another slot.
    pub id: u32,
    /// Where to connect.
    pub address: SocketAddr,
}

/// Those endpoints of a table that requests go to at present.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EndpointSet {
    /// To pick from: the ready and healthy ones; else the ready ones, though all fail the check; else the serving and
    /// terminating ones. Empty only when there are none of these.
    pub slots: Vec<Slot>,
    /// Every ready endpoint fails the active check. Arms may share a table, so what that means is the arm's matter: it
    /// is ignored for stable, and a gray has no endpoint.
    pub all_fail: bool,
}

impl EndpointSet {
    /// See [`Table::any`].
    pub(crate) fn has_any(&self, whatever_the_check: impl FnOnce() -> bool) -> bool {
        !self.slots.is_empty() && (!self.all_fail || whatever_the_check())
    }
}

/// The endpoints of one backend.
#[derive(Debug)]
pub struct Table {
    /// Dense within the process and never used twice.
    pub id: u32,
    set: Arc<ArcSwap<EndpointSet>>,
    known: Mutex<TableState>,
    next_slot: Arc<AtomicU32>,
}

/// What the control side knows; the set follows from it.
#[derive(Debug, Default)]
struct TableState {
    endpoints: Vec<(Endpoint, Slot)>,
    failing: HashSet<SocketAddr>,
    trouble: Option<EndpointIssue>,
}

impl Table {
    fn new(id: u32, next_slot: Arc<AtomicU32>) -> Self {
        Self {
            id,
            set: Arc::default(),
            known: Mutex::default(),
            next_slot,
        }
    }

    /// The present set.
    pub fn load(&self) -> Arc<EndpointSet> {
        self.set.load_full()
    }

    /// A reader for one worker: one load while nothing has changed.
    pub fn reader(&self) -> Cache<Arc<ArcSwap<EndpointSet>>, Arc<EndpointSet>> {
        Cache::new(Arc::clone(&self.set))
    }

    /// Whether an arm has any endpoint here: the availability that `decide` asks for. `whatever_the_check` is asked only
    /// where every ready endpoint fails the active check.
    pub fn any(&self, whatever_the_check: impl FnOnce() -> bool) -> bool {
        self.set.load().has_any(whatever_the_check)
    }

    /// The ready endpoints, healthy or not: those that the active check asks.
    pub fn ready(&self) -> Vec<SocketAddr> {
        let known = self.lock();
        known
            .endpoints
            .iter()
            .filter(|(e, _)| e.is_ready())
            .map(|(e, _)| e.address)
            .collect()
    }

    /// How many endpoints are ready and do not fail the active check; without a check, how many are ready. Requests may
    /// go to more: to those that fail where all do.
    pub fn healthy(&self) -> usize {
        let known = self.lock();
        let healthy = |e: &Endpoint| e.is_ready() && !known.failing.contains(&e.address);
        known.endpoints.iter().filter(|(e, _)| healthy(e)).count()
    }

    /// Replaces all endpoints. Addresses that stay keep their slot, and what the check found of them; an address
    /// given twice counts once, as it was given first.
    pub fn replace(&self, endpoints: &[Endpoint]) {
        let mut known = self.lock();
        let slots: HashMap<SocketAddr, Slot> = known
            .endpoints
            .iter()
            .map(|(_, s)| (s.address, *s))
            .collect();
        let mut seen = HashSet::new();
        known.endpoints = endpoints
            .iter()
            .filter(|endpoint| seen.insert(endpoint.address))
            .map(|endpoint| {
                let slot = slots.get(&endpoint.address).copied();
                (
                    *endpoint,
                    slot.unwrap_or_else(|| self.new_slot(endpoint.address)),
                )
            })
            .collect();
        known.failing.retain(|address| seen.contains(address));
        self.publish(&known);
    }

    /// Why it has fewer endpoints than its source names, if it has.
    pub fn trouble(&self) -> Option<EndpointIssue> {
        self.lock().trouble
    }

    /// Takes what a Service's port comes down to; true: that is something else than before.
    fn resolve(&self, resolved: &ResolvedEndpoints) -> bool {
        let mut known = self.lock();
        known.trouble = resolved.trouble;
        let same = known
            .endpoints
            .iter()
            .map(|(endpoint, _)| endpoint)
            .eq(&resolved.endpoints);
        drop(known);
        if !same {
            self.replace(&resolved.endpoints);
        }
        !same
    }

    /// What the active check found of one endpoint.
    pub fn set_failing(&self, address: SocketAddr, failing: bool) {
        let mut known = self.lock();
        let changed = if failing {
            known.failing.insert(address)
        } else {
            known.failing.remove(&address)
        };
        if changed {
            self.publish(&known);
        }
    }

    fn publish(&self, known: &TableState) {
        let pick = |wanted: &dyn Fn(&Endpoint) -> bool| -> Vec<Slot> {
            known
                .endpoints
                .iter()
                .filter(|(e, _)| wanted(e))
                .map(|(_, slot)| *slot)
                .collect()
        };
        let mut set = EndpointSet {
            slots: pick(&|e| e.is_ready() && !known.failing.contains(&e.address)),
            all_fail: false,
        };
        if set.slots.is_empty() {
            set.slots = pick(&Endpoint::is_ready);
            set.all_fail = !set.slots.is_empty();
        }
        if set.slots.is_empty() {
            set.slots = pick(&|e| e.serving && e.terminating);
        }
        if **self.set.load() != set {
            self.set.store(Arc::new(set));
        }
    }

    fn new_slot(&self, address: SocketAddr) -> Slot {
        Slot {
            id: self.next_slot.fetch_add(1, Relaxed),
            address,
        }
    }

    fn lock(&self) -> MutexGuard<'_, TableState> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use halftone_routing::document::arm::{Addresses, Backend, Destination};

    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn destination(ports: &[u16]) -> Destination {
        let addresses: Vec<_> = ports.iter().copied().map(address).collect();
        Destination {
            backend: Backend::Addresses(Addresses::try_from(addresses).unwrap()),
            health_check: None,
        }
    }

    fn ports(table: &Table) -> Vec<u16> {
        table
            .load()
            .slots
            .iter()
            .map(|slot| slot.address.port())
            .collect()
    }

    #[test]
    fn arms_with_the_same_addresses_share_a_table() {
        let tables = Tables::new(1);
        let table = tables.get(&destination(&[1, 2]));
        assert_eq!(table.id, tables.get(&destination(&[1, 2])).id);
        assert_ne!(table.id, tables.get(&destination(&[1])).id);
        assert_eq!(ports(&table), [1, 2]);
    }

    #[test]
    fn healthy_ones_come_first_then_all_ready_ones_then_those_on_their_way_out() {
        let tables = Tables::new(1);
        let table = tables.get(&destination(&[9]));
        let leaving = Endpoint {
            ready: false,
            terminating: true,
            ..Endpoint::ready(address(3))
        };
        table.replace(&[
            Endpoint::ready(address(1)),
            Endpoint::ready(address(2)),
            leaving,
        ]);
        table.set_failing(address(1), true);
        assert_eq!((ports(&table), table.healthy()), (vec![2], 1));
        table.set_failing(address(2), true);
        assert_eq!((ports(&table), table.healthy()), (vec![1, 2], 0));
        assert!(table.load().all_fail && table.any(|| true) && !table.any(|| false));
        table.replace(&[leaving]);
        assert_eq!(ports(&table), [3]);
        assert!(!table.load().all_fail);
        table.replace(&[Endpoint {
            serving: false,
            ..leaving
        }]);
        assert!(!table.any(|| true));
    }

    #[test]
    fn an_address_that_left_and_came_back_is_another_slot() {
        let tables = Tables::new(1);
        let table = tables.get(&destination(&[1, 2]));
        let [one, two] = table.load().slots[..] else {
            panic!("two slots")
        };
        table.replace(&[Endpoint::ready(address(2))]);
        table.replace(&[Endpoint::ready(address(1)), Endpoint::ready(address(2))]);
        let set = table.load();
        assert_ne!(set.slots[0].id, one.id);
        assert_eq!(set.slots[1].id, two.id);
    }

    #[test]
    fn what_the_check_found_is_forgotten_with_the_endpoint() {
        let tables = Tables::new(1);
        let table = tables.get(&destination(&[1, 2]));
        table.set_failing(address(1), true);
        table.replace(&[Endpoint::ready(address(2))]);
        table.replace(&[Endpoint::ready(address(1)), Endpoint::ready(address(2))]);
        assert_eq!(ports(&table), [1, 2]);
    }
}
