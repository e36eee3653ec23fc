//! What happened to each request, counted without a lock and without a shared cache line.
//!
//! The control thread makes one [`StageCounters`] per release and stage and hands it out in the snapshot. In it each
//! worker has cells of its own, made by that worker at first use; nobody else writes them, so counting is a plain
//! load and store. The reporter (`report.rs`) alone sums and compares.
//!
//! On the request path: `workers.cell(&stage, …)` right after `decide`, keep the [`CellWriter`], forget the snapshot.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub mod histogram;

pub use halftone_routing::config::arm::Arm;
pub use histogram::Histogram;

/// What decided the arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChosenBy {
    /// The identity's bucket.
    Split,
    /// A rule.
    Rule,
    /// `whenMissing` with `Stable` or `Gray`.
    Missing,
    /// `force`.
    Force,
}

/// How a request ended; exactly one per request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// 2xx and 101.
    Status2xx,
    /// 3xx.
    Status3xx,
    /// 4xx but 429.
    Status4xx,
    /// 429.
    Status429,
    /// 5xx that is not among the release's `errorStatuses`.
    Status5xx,
    /// A status among the release's `errorStatuses`. Charged to the arm, as the following are.
    ErrorStatus,
    /// No connection could be made, retries included.
    ConnectFailed,
    /// No response head in time.
    ResponseHeadTimeout,
    /// The connection was lost before the response head was complete.
    Reset,
    /// The response was not HTTP.
    MalformedResponse,
    /// The response body broke off.
    BodyBrokenOff,
    /// The response body stood still for too long.
    BodyIdle,
    /// `maxInFlight` was reached.
    Overload,
    /// The intended arm had no endpoint at all.
    NoEndpoint,
    /// The client left before the head after waiting longer than [`StageCounters::abandoned_after`].
    Abandoned,
    /// The client left otherwise. Not charged, as the following are not.
    ClientAbort,
    /// The client was too slow.
    ClientTimeout,
    /// Refused by the proxy with 400.
    Refused400,
    /// Refused by the proxy with 403.
    Refused403,
    /// Refused by the proxy with 404.
    Refused404,
    /// Refused by the proxy with 405.
    Refused405,
    /// Refused by the proxy with 408.
    Refused408,
    /// Refused by the proxy with 414.
    Refused414,
    /// Refused by the proxy with 417.
    Refused417,
    /// Refused by the proxy with 431.
    Refused431,
    /// Out of descriptors, ports or memory.
    OwnFault,
    /// Cut by the proxy's own shutdown.
    Shutdown,
}

impl ChosenBy {
    /// As reports spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Split => "Split",
            Self::Rule => "Rule",
            Self::Missing => "Missing",
            Self::Force => "Force",
        }
    }
}

impl Outcome {
    /// The word for metrics and the access log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status2xx => "2xx",
            Self::Status3xx => "3xx",
            Self::Status4xx => "4xx",
            Self::Status429 => "429",
            Self::Status5xx => "5xx",
            Self::ErrorStatus => "errorStatus",
            Self::ConnectFailed => "connectFailed",
            Self::ResponseHeadTimeout => "responseHeadTimeout",
            Self::Reset => "reset",
            Self::MalformedResponse => "malformedResponse",
            Self::BodyBrokenOff => "bodyBrokenOff",
            Self::BodyIdle => "bodyIdle",
            Self::Overload => "overload",
            Self::NoEndpoint => "noEndpoint",
            Self::Abandoned => "abandoned",
            Self::ClientAbort => "clientAbort",
            Self::ClientTimeout => "clientTimeout",
            Self::Refused400 => "refused400",
            Self::Refused403 => "refused403",
            Self::Refused404 => "refused404",
            Self::Refused405 => "refused405",
            Self::Refused408 => "refused408",
            Self::Refused414 => "refused414",
            Self::Refused417 => "refused417",
            Self::Refused431 => "refused431",
            Self::OwnFault => "ownFault",
            Self::Shutdown => "shutdown",
        }
    }
}

const ARMS: usize = 2;
const CHOSEN_BY: usize = 4;
const OUTCOMES: usize = Outcome::Shutdown as usize + 1;
/// Absolute latency limits a document may carry: p50 p90 p95 p99 p999.
pub const LIMITS: usize = 5;

/// A count that one thread writes and any may read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
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
        Self {
            workers: (0..workers).map(|_| OnceLock::new()).collect(),
            abandoned_after_micros: AtomicU64::new(1_000_000),
        }
    }

    /// How long a client must have waited for the head for its leaving to be `Abandoned` (charged to the arm) and not
    /// `ClientAbort`: the larger of 1 s and stable's p99 over this proxy's last full minute. The control thread sets it.
    pub fn abandoned_after(&self) -> Duration {
        Duration::from_micros(self.abandoned_after_micros.load(Relaxed))
    }
}

/// One worker's cells of one stage.
#[derive(Debug, Default)]
struct WorkerCells {
    cells: [OnceLock<Box<Cell>>; ARMS * CHOSEN_BY * 2],
}

/// The counts of one release × stage × arm × chosenBy × excluded of one worker. Two cache lines of alignment keep
/// neighbours (and the prefetcher's pair of lines) apart.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Cell {
    outcomes: [Count; OUTCOMES],
    within: [Count; LIMITS],
    over: [Count; LIMITS],
    retries: Count,
    fallbacks: Count,
    open_long: Count,
    latency: Histogram,
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
        Self { worker, totals: Arc::default(), unrouted: Arc::default(), _one_thread_at_a_time: PhantomData }
    }

    /// The cell for a decision. Two array look-ups once the worker has used it before.
    pub fn cell(&self, stage: &StageCounters, arm: Arm, chosen_by: ChosenBy, excluded: bool) -> CellWriter {
        let cells = stage.workers[self.worker].get_or_init(Arc::default);
        let index = (arm as usize * CHOSEN_BY + chosen_by as usize) * 2 + usize::from(excluded);
        CellWriter { cells: Arc::clone(cells), index, _single_thread: PhantomData }
    }

    /// Where requests are counted that no release claims: refused before `decide`, unknown host, default backend.
    pub fn unrouted(&self) -> CellWriter {
        CellWriter { cells: Arc::clone(&self.unrouted), index: 0, _single_thread: PhantomData }
    }

    /// A client connection was accepted.
    pub fn connection_opened(&self) {
        self.totals.connections_accepted.add(1);
        self.totals.connections_open.add(1);
    }

    /// A client connection was closed, or handed to another worker (which then calls `connection_opened`).
    pub fn connection_closed(&self) {
        self.totals.connections_open.sub(1);
    }
}

/// Counts of one worker that belong to no release.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerTotals {
    connections_accepted: Count,
    connections_open: Count,
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

    /// From the request's last byte received to the first byte of the final response head.
    pub fn latency(&self, latency: Duration) {
        self.cell().latency.record(latency);
    }

    /// The head arrived within the absolute latency limit with this index (its place among p50 p90 p95 p99 p999).
    pub fn within_limit(&self, limit: usize) {
        self.cell().within[limit].add(1);
    }

    /// The limit with this index passed without a head; counted at that moment.
    pub fn over_limit(&self, limit: usize) {
        self.cell().over[limit].add(1);
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
