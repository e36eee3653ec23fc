//! What happened to each request, counted without a lock and without a shared cache line.
//!
//! The control thread makes one [`StageCounters`] per release and stage and hands it out in the snapshot. In it each
//! worker has cells of its own, made by that worker at first use; nobody else writes them, so counting is a plain
//! load and store. The reporter (`report.rs`) alone sums and compares.
//!
//! On the request path: `workers.cell(&stage, charge)` right after `decide`, keep the [`CellWriter`], forget the snapshot.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicU64, fence};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

mod cells;
mod failures;
pub mod histogram;

pub use halftone_routing::document::arm::Arm;
pub use halftone_routing::document::limits::Quantile;
pub use halftone_routing::report::{Charge, ChosenBy, Outcome};
pub use histogram::AtomicHistogram;

use halftone_routing::report::Counts;
use halftone_routing::sketch::UserHash;

use self::cells::{Cell, CellTable};

/// For what belongs to no release: nobody reads which charge it is.
const UNROUTED: Charge = Charge::new(Arm::Stable, ChosenBy::Missing);

/// A count that one thread writes and any may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Load and store instead of an atomic addition: there is one writer, and a locked instruction per count would
    /// be a tenth of what deciding costs.
    fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }
}

/// The counters of one release id in one stage, over all workers. Lives in the snapshot.
#[derive(Debug)]
pub struct StageCounters {
    /// By worker.
    workers: Box<[OnceLock<Box<CellTable>>]>,
    abandoned_after_micros: AtomicU64,
}

impl StageCounters {
    /// Empty counters for a process with this many workers.
    pub fn new(workers: usize) -> Self {
        let workers = (0..workers).map(|_| OnceLock::new()).collect();
        Self {
            workers,
            abandoned_after_micros: AtomicU64::new(1_000_000),
        }
    }

    /// How long a client must have waited for the head for its leaving to be `Abandoned` (charged to the arm) and
    /// not `ClientAbort`: the larger of 1 s and stable's p99 over this proxy's last full minute. The control thread
    /// sets it.
    pub fn abandoned_after(&self) -> Duration {
        Duration::from_micros(self.abandoned_after_micros.load(Relaxed))
    }

    pub(crate) fn set_abandoned_after(&self, wait: Duration) {
        self.abandoned_after_micros
            .store(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The charges that any worker has used so far, each with a number that rises if and only if something is counted
    /// there. Far cheaper than [`Self::read`].
    pub(crate) fn activity(&self) -> BTreeMap<Charge, u64> {
        let mut activity = BTreeMap::<Charge, u64>::new();
        for cell in self.cells() {
            let sum = activity.entry(cell.charge).or_default();
            *sum = sum.wrapping_add(cell.activity());
        }
        activity
    }

    /// What all workers counted under the charges that are meant.
    pub(crate) fn read(&self, is_meant: impl Fn(Charge) -> bool) -> Counts {
        let mut sum = Counts::default();
        let cells = self.cells().filter(|cell| is_meant(cell.charge));
        cells.for_each(|cell| cell.add_to(&mut sum));
        sum
    }

    /// Tunnels and answers of an arm that are older than 10 s and still open.
    pub(crate) fn open_long(&self, arm: Arm) -> u64 {
        let of_arm = self.cells().filter(|cell| cell.charge.arm == arm);
        of_arm
            .map(|cell| cell.open_long.get())
            .fold(0, u64::wrapping_add)
    }

    /// Whether nobody can count here any more: no snapshot but the caller's own handle, no request.
    pub(crate) fn is_abandoned(this: &Arc<Self>) -> bool {
        if Arc::strong_count(this) > 1 {
            return false;
        }
        // Without a snapshot no cell is added; those made through one are seen from now on.
        fence(Acquire);
        let abandoned = this.cells().all(|cell| Arc::strong_count(cell) == 1);
        // Whoever let go of its cell has written it before; the counts read from now on include that.
        fence(Acquire);
        abandoned
    }

    fn cells(&self) -> impl Iterator<Item = &Arc<Cell>> {
        let workers = self.workers.iter().filter_map(OnceLock::get);
        workers.flat_map(|table| table.iter())
    }
}

/// A worker's right to count. One per worker, made before the worker's thread starts and moved into it; its writers
/// cannot leave that thread.
#[derive(Debug)]
pub struct WorkerCounters {
    worker: usize,
    totals: Arc<WorkerTotals>,
    unrouted: Arc<Cell>,
    _one_thread_at_a_time: PhantomData<std::cell::Cell<()>>,
}

impl WorkerCounters {
    /// For the worker with this index, counting from 0.
    pub fn new(worker: usize) -> Self {
        Self {
            worker,
            totals: Arc::default(),
            unrouted: Arc::new(Cell::new(UNROUTED)),
            _one_thread_at_a_time: PhantomData,
        }
    }

    /// For reading what belongs to no release.
    pub(crate) fn observer(&self) -> Observer {
        Observer {
            totals: Arc::clone(&self.totals),
            unrouted: Arc::clone(&self.unrouted),
        }
    }

    /// The cell for a decision: two look-ups once the worker has used it before, and nothing that another worker writes.
    pub fn cell(&self, stage: &StageCounters, charge: Charge) -> CellWriter {
        let cells = stage.workers[self.worker].get_or_init(Box::default);
        CellWriter::new(cells.cell(charge))
    }

    /// Where requests are counted that no release claims: refused before `decide`, unknown host, default backend.
    pub fn unrouted(&self) -> CellWriter {
        CellWriter::new(&self.unrouted)
    }

    /// A client connection was accepted.
    pub fn connection_opened(&self) {
        self.totals.connections_accepted.add(1);
        self.totals.connections_open.add(1);
    }

    /// So many idle client connections were asked to leave because their places are needed.
    pub fn closed_for_room(&self, connections: u64) {
        self.totals.closed_for_room.add(connections);
    }

    /// A client connection was closed, or handed to another worker (which then calls `connection_opened`).
    pub fn connection_closed(&self) {
        self.totals.connections_open.sub(1);
    }
}

/// Reads one worker's counts that belong to no release.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    totals: Arc<WorkerTotals>,
    unrouted: Arc<Cell>,
}

impl Observer {
    /// Client connections accepted so far.
    pub(crate) fn connections_accepted(&self) -> u64 {
        self.totals.connections_accepted.get()
    }

    /// Client connections open now.
    pub(crate) fn connections_open(&self) -> u64 {
        self.totals.connections_open.get()
    }

    /// Idle client connections closed so far because their places were needed.
    pub(crate) fn closed_for_room(&self) -> u64 {
        self.totals.closed_for_room.get()
    }

    /// Adds the requests that no release claims.
    pub(crate) fn add_unrouted_to(&self, sum: &mut Counts) {
        self.unrouted.add_to(sum);
    }
}

/// Counts of one worker that belong to no release.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerTotals {
    connections_accepted: Counter,
    connections_open: Counter,
    closed_for_room: Counter,
}

/// Writes one cell. Cheap to clone; kept by a request until its outcome is known.
#[derive(Clone, Debug)]
pub struct CellWriter {
    cell: Arc<Cell>,
    _single_thread: PhantomData<*const ()>,
}

impl CellWriter {
    fn new(cell: &Arc<Cell>) -> Self {
        Self {
            cell: Arc::clone(cell),
            _single_thread: PhantomData,
        }
    }

    /// The request's one outcome.
    pub fn outcome(&self, outcome: Outcome) {
        self.cell.outcomes[outcome as usize].add(1);
    }

    /// More about a request that is charged to the arm; to be told before its outcome, by which the reporter sees that
    /// something was counted. The status is that of an answer, the user is kept for gray only.
    pub fn failed(&self, status: Option<u16>, user: Option<UserHash>) {
        let failures = &self.cell.failures;
        status
            .into_iter()
            .for_each(|status| failures.add_status(status));
        let user = user.filter(|_| self.cell.charge.arm == Arm::Gray);
        user.into_iter().for_each(|user| failures.add_user(user));
    }

    /// From the request's last byte received to the first byte of the final response head.
    pub fn latency(&self, latency: Duration) {
        let cell = &self.cell;
        cell.latency.record(latency);
        cell.answers.add(1);
    }

    /// The head arrived within this absolute latency limit.
    pub fn within_limit(&self, limit: Quantile) {
        self.cell.within[limit as usize].add(1);
    }

    /// The limit passed without a head; counted at that moment.
    pub fn over_limit(&self, limit: Quantile) {
        self.cell.over[limit as usize].add(1);
    }

    /// One further try of a request.
    pub fn retry(&self) {
        self.cell.retries.add(1);
    }

    /// The other arm answered, because the intended one had no endpoint.
    pub fn fallback(&self) {
        self.cell.fallbacks.add(1);
    }

    /// A tunnel or an answer of this arm became older than 10 s.
    pub fn long_opened(&self) {
        self.cell.open_long.add(1);
    }

    /// One of those ended.
    pub fn long_closed(&self) {
        self.cell.open_long.sub(1);
    }
}
