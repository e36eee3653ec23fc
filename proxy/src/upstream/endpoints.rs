//! Endpoint tables: where an arm's requests can go. Not part of `Routes`: an arm names a table, and the table changes
//! by its own swap. The control side fills tables, the active checks mark them, every worker reads them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;

/// One address that may answer for an arm, as its source describes it. An address of an arm by `addresses` is
/// [`Endpoint::ready`]; an EndpointSlice's says what its conditions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// Takes new requests.
    pub ready: bool,
    /// Still answers, ready or not.
    pub serving: bool,
    /// Is on its way out.
    pub terminating: bool,
}

impl Endpoint {
    /// An endpoint that is ready and nothing else.
    pub fn ready(address: SocketAddr) -> Self {
        Self { address, ready: true, serving: true, terminating: false }
    }
}

/// One place of an [`EndpointSet`]. The slot outlives the sets it appears in for as long as its address is listed, so
/// what the checks found is not lost when a neighbour comes or goes.
#[derive(Debug)]
pub struct Slot {
    /// Dense within the process and never used twice, so that a worker can tell an address that left and came back.
    pub id: u32,
    /// Where to connect.
    pub address: SocketAddr,
    failing: AtomicBool,
}

impl Slot {
    /// Whether the active check calls it unhealthy. Without checks never.
    pub fn failing(&self) -> bool {
        self.failing.load(Relaxed)
    }

    /// The active check's finding.
    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Relaxed);
    }
}

/// An immutable list of endpoints.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Rises with every change of its table.
    pub generation: u64,
    /// Takes new requests.
    pub ready: Vec<Arc<Slot>>,
    /// Serving and terminating: used only while nothing is ready.
    pub terminating: Vec<Arc<Slot>>,
}

impl EndpointSet {
    /// Whether an arm with this set has any endpoint. A set whose ready endpoints all fail the check still has.
    pub fn any(&self) -> bool {
        !self.ready.is_empty() || !self.terminating.is_empty()
    }

    /// All slots, ready ones first.
    pub fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.ready.iter().chain(&self.terminating)
    }
}

/// The endpoints of one backend, and how many requests are under way to it.
#[derive(Debug)]
pub struct Table {
    /// Dense within the process and never used twice.
    pub id: u32,
    set: ArcSwap<EndpointSet>,
    next_slot: Arc<AtomicU32>,
    in_flight: Box<[InFlight]>,
}

/// Written by its worker alone; a line of its own, since every request writes it twice.
#[derive(Debug, Default)]
#[repr(align(128))]
struct InFlight(AtomicU64);

impl Table {
    fn new(id: u32, workers: usize, next_slot: Arc<AtomicU32>) -> Self {
        let in_flight = (0..workers).map(|_| InFlight::default()).collect();
        Self { id, set: ArcSwap::default(), next_slot, in_flight }
    }

    /// The present set.
    pub fn load(&self) -> Arc<EndpointSet> {
        self.set.load_full()
    }

    /// Whether the arm has any endpoint: the availability that `decide` asks for.
    pub fn any(&self) -> bool {
        self.set.load().any()
    }

    /// Replaces the set. Addresses that stay keep their slot; an address given twice counts once, as it was given
    /// first. Only the control thread calls this.
    pub fn replace(&self, endpoints: &[Endpoint]) {
        let old = self.set.load();
        let mut slots: HashMap<SocketAddr, Arc<Slot>> =
            old.slots().map(|slot| (slot.address, Arc::clone(slot))).collect();
        let mut next = EndpointSet { generation: old.generation + 1, ..EndpointSet::default() };
        let mut seen = std::collections::HashSet::new();
        for endpoint in endpoints.iter().filter(|endpoint| seen.insert(endpoint.address)) {
            let slot = slots.remove(&endpoint.address).unwrap_or_else(|| self.new_slot(endpoint.address));
            if endpoint.ready && !endpoint.terminating {
                next.ready.push(slot);
            } else if endpoint.serving && endpoint.terminating {
                next.terminating.push(slot);
            }
        }
        self.set.store(Arc::new(next));
    }

    fn new_slot(&self, address: SocketAddr) -> Arc<Slot> {
        let id = self.next_slot.fetch_add(1, Relaxed);
        Arc::new(Slot { id, address, failing: AtomicBool::new(false) })
    }
}

/// What makes two arms share a table: the same backend looked at by the same check. A string of the caller's making,
/// for instance `shop/checkout-v1:80` or `127.0.0.1:9001,127.0.0.1:9002`, with the check's settings behind it.
pub type TableKey = String;

/// All tables of the process. A table lives as long as a snapshot or a worker holds it.
#[derive(Debug)]
pub struct Tables {
    workers: usize,
    next_table: AtomicU32,
    next_slot: Arc<AtomicU32>,
    tables: Mutex<HashMap<TableKey, Weak<Table>>>,
}

impl Tables {
    /// No tables yet, for a process with this many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            next_table: AtomicU32::new(0),
            next_slot: Arc::new(AtomicU32::new(0)),
            tables: Mutex::default(),
        }
    }

    /// The table under this key, made empty if there is none.
    pub fn get(&self, key: &str) -> Arc<Table> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.get(key).and_then(Weak::upgrade) {
            return table;
        }
        tables.retain(|_, table| table.strong_count() > 0);
        let id = self.next_table.fetch_add(1, Relaxed);
        let table = Arc::new(Table::new(id, self.workers, Arc::clone(&self.next_slot)));
        tables.insert(key.to_owned(), Arc::downgrade(&table));
        table
    }

    /// The table of an arm by `addresses`: each address is one ready endpoint.
    pub fn by_addresses(&self, key: &str, addresses: &[SocketAddr]) -> Arc<Table> {
        let table = self.get(key);
        if !table.any() {
            table.replace(&addresses.iter().copied().map(Endpoint::ready).collect::<Vec<_>>());
        }
        table
    }
}
