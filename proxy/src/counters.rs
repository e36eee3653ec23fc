//! What happened to each request, counted without a lock and without a shared cache line.
//!
//! The control thread makes one [`StageCounters`] per release and stage and hands it out in the snapshot. In it each
//! worker has cells of its own, made by that worker at first use; nobody else writes them, so counting is a plain
//! load and store. The reporter (`report.rs`) alone sums and compares.
//!
//! On the request path: `workers.cell(&stage, …)` right after `decide`, keep the [`CellWriter`], forget the snapshot.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicU64, fence};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

mod failures;
pub mod histogram;

pub use halftone_routing::document::arm::Arm;
pub use halftone_routing::document::limits::Quantile;
pub use halftone_routing::report::{ChosenBy, Outcome};
pub use histogram::AtomicHistogram;

use halftone_routing::report::{Counts, LimitEvents, ReportForm};
use halftone_routing::sketch::UserHash;

use self::failures::Failures;

/// Absolute latency limits a document may carry: p50 p90 p95 p99 p999.
const LIMITS: usize = Quantile::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();
/// Cells of a stage: arm × chosenBy × excluded.
const CELLS: usize = Arm::ALL.len() * ChosenBy::ALL.len() * 2;

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
    /// By worker; an `Arc` each, because a request keeps its cells longer than the snapshot and must not touch a
    /// reference count that other workers touch.
    workers: Box<[OnceLock<Arc<WorkerCells>>]>,
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

    /// The keys that any worker has used so far.
    pub(crate) fn keys(&self) -> impl Iterator<Item = CellKey> + '_ {
        (0..CELLS)
            .filter(|&index| self.cells(index).next().is_some())
            .map(CellKey::at)
    }

    /// A number that has risen if and only if something was counted under the key. Far cheaper than [`Self::read`].
    pub(crate) fn activity(&self, key: CellKey) -> u64 {
        self.cells(key.index())
            .map(Cell::activity)
            .fold(0, u64::wrapping_add)
    }

    /// What all workers counted under the key.
    pub(crate) fn read(&self, key: CellKey) -> Counts {
        let mut sum = Counts::default();
        self.cells(key.index())
            .for_each(|cell| cell.add_to(&mut sum));
        sum
    }

    /// Tunnels and answers of an arm that are older than 10 s and still open.
    pub(crate) fn open_long(&self, arm: Arm) -> u64 {
        let of_arm = (0..CELLS).filter(|&index| CellKey::at(index).arm == arm);
        of_arm
            .flat_map(|index| self.cells(index))
            .map(|cell| cell.open_long.get())
            .fold(0, u64::wrapping_add)
    }

    /// Whether nobody can count here any more: no snapshot but the caller's own handle, no request.
    pub(crate) fn is_abandoned(this: &Arc<Self>) -> bool {
        let mut cells = this.workers.iter().filter_map(OnceLock::get);
        let abandoned =
            Arc::strong_count(this) == 1 && cells.all(|cells| Arc::strong_count(cells) == 1);
        // Whoever let go of its cells has written them before; the counts read from now on include that.
        fence(Acquire);
        abandoned
    }

    fn cells(&self, index: usize) -> impl Iterator<Item = &Cell> {
        let workers = self.workers.iter().filter_map(OnceLock::get);
        workers
            .filter_map(move |worker| worker.cells[index].get())
            .map(|cell| &**cell)
    }
}

/// Which of a stage's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CellKey {
    pub(crate) arm: Arm,
    pub(crate) chosen_by: ChosenBy,
    pub(crate) excluded: bool,
}

impl CellKey {
    fn index(self) -> usize {
        (self.arm as usize * ChosenBy::ALL.len() + self.chosen_by as usize) * 2
            + usize::from(self.excluded)
    }

    /// The key that counts of this one go under for a reader.
    pub(crate) fn in_words_of(self, reads: ReportForm) -> Self {
        match reads {
            ReportForm::One => Self {
                chosen_by: self.chosen_by.in_0_1(),
                ..self
            },
            ReportForm::Two => self,
        }
    }

    fn at(index: usize) -> Self {
        let arm = Arm::ALL[index / 2 / ChosenBy::ALL.len()];
        Self {
            arm,
            chosen_by: ChosenBy::ALL[index / 2 % ChosenBy::ALL.len()],
            excluded: index % 2 == 1,
        }
    }
}

/// One worker's cells of one stage.
#[derive(Debug, Default)]
struct WorkerCells {
    cells: [OnceLock<Box<Cell>>; CELLS],
}

/// The counts of one release × stage × arm × chosenBy × excluded of one worker. Two cache lines of alignment keep
/// neighbours (and the prefetcher's pair of lines) apart.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell {
    outcomes: [Counter; OUTCOMES],
    within: [Counter; LIMITS],
    over: [Counter; LIMITS],
    retries: Counter,
    fallbacks: Counter,
    open_long: Counter,
    answers: Counter,
    latency: AtomicHistogram,
    failures: Failures,
}

impl Cell {
    /// Each of these only rises, so their sum stays the same only if each does.
    fn activity(&self) -> u64 {
        let counts = self.outcomes.iter().chain(&self.within).chain(&self.over);
        let counts = counts.chain([&self.retries, &self.fallbacks, &self.answers]);
        counts.map(Counter::get).fold(0, u64::wrapping_add)
    }

    fn add_to(&self, sum: &mut Counts) {
        let outcomes = Outcome::ALL
            .iter()
            .zip(&self.outcomes)
            .map(|(&outcome, count)| (outcome, count.get()));
        let outcomes: BTreeMap<_, _> = outcomes.filter(|(_, count)| *count > 0).collect();
        let events = |limit: usize| LimitEvents {
            within: self.within[limit].get(),
            over: self.over[limit].get(),
        };
        let limits = Quantile::ALL
            .iter()
            .enumerate()
            .map(|(index, &limit)| (limit, events(index)));
        let limits = limits
            .filter(|(_, events)| *events != LimitEvents::default())
            .collect();
        let (retries, fallbacks) = (self.retries.get(), self.fallbacks.get());
        let latency = self.latency.read();
        let (error_statuses, failed_users) = (self.failures.statuses(), self.failures.users());
        let more = Counts {
            outcomes,
            error_statuses,
            failed_users,
            retries,
            fallbacks,
            ..Counts::default()
        };
        sum.merge(&Counts {
            limits,
            latency,
            ..more
        });
    }
}

/// A worker's right to count. One per worker, made before the worker's thread starts and moved into it; its writers
/// cannot leave that thread.
#[derive(Debug)]
pub struct WorkerCounters {
    worker: usize,
    totals: Arc<WorkerTotals>,
    unrouted: Arc<WorkerCells>,
    _one_thread_at_a_time: PhantomData<std::cell::Cell<()>>,
}

impl WorkerCounters {
    /// For the worker with this index, counting from 0.
    pub fn new(worker: usize) -> Self {
        Self {
            worker,
            totals: Arc::default(),
            unrouted: Arc::default(),
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

    /// The cell for a decision. Two array look-ups once the worker has used it before.
    pub fn cell(
        &self,
        stage: &StageCounters,
        arm: Arm,
        chosen_by: ChosenBy,
        excluded: bool,
    ) -> CellWriter {
        let cells = stage.workers[self.worker].get_or_init(Arc::default);
        let index = CellKey {
            arm,
            chosen_by,
            excluded,
        }
        .index();
        CellWriter {
            cells: Arc::clone(cells),
            index,
            _single_thread: PhantomData,
        }
    }

    /// Where requests are counted that no release claims: refused before `decide`, unknown host, default backend.
    pub fn unrouted(&self) -> CellWriter {
        CellWriter {
            cells: Arc::clone(&self.unrouted),
            index: 0,
            _single_thread: PhantomData,
        }
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
    unrouted: Arc<WorkerCells>,
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
        self.unrouted
            .cells
            .iter()
            .filter_map(OnceLock::get)
            .for_each(|cell| cell.add_to(sum));
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
    cells: Arc<WorkerCells>,
    index: usize,
    _single_thread: PhantomData<*const ()>,
}

impl CellWriter {
    fn cell(&self) -> &Cell {
        self.cells.cells[self.index].get_or_init(Box::default)
    }

    /// The request's one outcome.
    pub fn outcome(&self, outcome: Outcome) {
        self.cell().outcomes[outcome as usize].add(1);
    }

    /// More about a request that is charged to the arm; to be told before its outcome, by which the reporter sees that
    /// something was counted. The status is that of an answer, the user is kept for gray only.
    pub fn failed(&self, status: Option<u16>, user: Option<UserHash>) {
        let failures = &self.cell().failures;
        status
            .into_iter()
            .for_each(|status| failures.add_status(status));
        let user = user.filter(|_| CellKey::at(self.index).arm == Arm::Gray);
        user.into_iter().for_each(|user| failures.add_user(user));
    }

    /// From the request's last byte received to the first byte of the final response head.
    pub fn latency(&self, latency: Duration) {
        let cell = self.cell();
        cell.latency.record(latency);
        cell.answers.add(1);
    }

    /// The head arrived within this absolute latency limit.
    pub fn within_limit(&self, limit: Quantile) {
        self.cell().within[limit as usize].add(1);
    }

    /// The limit passed without a head; counted at that moment.
    pub fn over_limit(&self, limit: Quantile) {
        self.cell().over[limit as usize].add(1);
    }

    /// One further try of a request.
    pub fn retry(&self) {
        self.cell().retries.add(1);
    }

    /// The other arm answered, because the intended one had no endpoint.
    pub fn fallback(&self) {
        self.cell().fallbacks.add(1);
    }

    /// A tunnel or an answer of this arm became older than 10 s.
    pub fn long_opened(&self) {
        self.cell().open_long.add(1);
    }

    /// One of those ended.
    pub fn long_closed(&self) {
        self.cell().open_long.sub(1);
    }
}
