//! What one worker's thread has for itself, and its tasks share: buffers, time, endpoints, counters, its end of the log. The
//! toolbox below `exchange` and `handle`; `worker.rs` makes one for each thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, RngExt};

use self::arms::WorkerArms;
use self::buffers::Buffers;
use self::capacity::{ConnectionCapacity, ConnectionWait, SlowClient};
use self::load::WorkerLoads;
use self::ticker::{ConnectionTimer, Ticker};
use crate::access_log::WorkerLog;
use crate::counters::WorkerCounters;
use crate::drain::{DrainPhase, DrainSchedule};
use crate::settings::ClientTimeouts;
use crate::snapshot::SnapshotReader;

pub(crate) mod arms;
pub(crate) mod buffers;
pub(crate) mod capacity;
pub(crate) mod load;
pub(crate) mod tick;
pub(crate) mod ticker;
pub(crate) mod yielding;

/// What the workers need to know beside documents; from the flags.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// `--max-connections`: open client connections over all workers.
    pub max_connections: usize,
    /// What all clients that are waited for may make the proxy hold together over all workers (unfinished heads and
    /// short bodies, answers not taken), in bytes.
    pub max_held_bytes: usize,
    /// `--tunnel-grace`: over how long tunnels and long answers are closed after a rollback.
    pub tunnel_grace: Duration,
    /// How the drain goes.
    pub drain: DrainSchedule,
    /// Against clients.
    pub client: ClientTimeouts,
}

/// What one worker gets for itself alone.
#[derive(Debug)]
pub struct WorkerResources {
    /// Its view of what requests are decided by.
    pub snapshot: SnapshotReader,
    /// Its right to count.
    pub counters: WorkerCounters,
    /// Its end of the access log.
    pub log: WorkerLog,
}

/// What all workers share; nothing of it is written by a request.
#[derive(Debug)]
pub(crate) struct SharedState {
    pub(crate) limits: WorkerSettings,
    pub(crate) loads: WorkerLoads,
    drain_began: OnceLock<Instant>,
    stopped: AtomicBool,
    cut: AtomicU64,
}

impl SharedState {
    pub(crate) fn new(limits: WorkerSettings, workers: usize) -> Self {
        Self {
            limits,
            loads: WorkerLoads::new(workers),
            drain_began: OnceLock::new(),
            stopped: AtomicBool::new(false),
            cut: AtomicU64::new(0),
        }
    }

    /// Begins the drain. A second call changes nothing.
    pub(crate) fn begin_drain(&self) {
        self.drain_began.get_or_init(Instant::now);
    }

    /// Ends everything now.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// Exchanges that were cut because the drain's time was over.
    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Relaxed)
    }

    pub(crate) fn phase(&self, now: Instant) -> DrainPhase {
        let since = self
            .drain_began
            .get()
            .map(|began| now.saturating_duration_since(*began));
        DrainPhase::at(since, self.limits.drain)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.loads.total() >= self.limits.max_connections
    }
}

/// One thread's everything; its connections' tasks share it by reference count, no other thread sees it.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) index: usize,
    pub(crate) common: Arc<SharedState>,
    /// Its share of what clients may make the proxy hold, in bytes.
    most_held: usize,
    pub(crate) buffers: Buffers,
    pub(crate) ticker: Rc<Ticker>,
    pub(crate) arms: WorkerArms,
    pub(crate) counters: WorkerCounters,
    pub(crate) log: RefCell<WorkerLog>,
    phase: Cell<DrainPhase>,
    random: RefCell<SmallRng>,
}

impl Local {
    pub(crate) fn new(index: usize, common: Arc<SharedState>, own: WorkerResources) -> Self {
        let phase = common.phase(Instant::now());
        Self {
            index,
            most_held: common.limits.max_held_bytes / common.loads.workers(),
            common,
            buffers: Buffers::default(),
            ticker: Ticker::new(Instant::now()),
            arms: WorkerArms::new(own.snapshot, index),
            counters: own.counters,
            log: RefCell::new(own.log),
            phase: Cell::new(phase),
            random: RefCell::new(rand::make_rng()),
        }
    }

    /// Where the drain stood at the last tick.
    pub(crate) fn phase(&self) -> DrainPhase {
        self.phase.get()
    }

    pub(crate) fn limits(&self) -> &WorkerSettings {
        &self.common.limits
    }

    /// A client is waited for. Beyond the worker's share of what clients may make it hold, the slowest leave.
    pub(crate) fn wait_for(&self, client: &ConnectionTimer, owing: SlowClient) {
        client.wait(ConnectionWait::Client(owing));
        self.ticker.bound_owed(self.most_held);
    }

    /// From half of that on, memory is worth more than copying.
    pub(crate) fn is_short_of_memory(&self) -> bool {
        self.ticker.held() > self.most_held / 2
    }

    /// Half of it is kept for clients that are not waited for, who cannot be asked to leave: from here on nothing is kept
    /// that can be done without.
    pub(crate) fn exceeds_half_of_memory(&self) -> bool {
        self.ticker.kept() > self.most_held / 2
    }

    /// Those who hold places without using them leave when places are scarce.
    fn make_room(&self) {
        let loads = &self.common.loads;
        let room = ConnectionCapacity::of(
            loads.total(),
            self.limits().max_connections,
            loads.workers(),
        );
        self.counters
            .closed_for_room(self.ticker.make_room(room) as u64);
    }

    /// A slot for the task that awaits this.
    pub(crate) async fn timer(&self) -> ConnectionTimer {
        poll_fn(|cx| Poll::Ready(self.ticker.timer(cx.waker().clone()))).await
    }

    /// An even number: for picking endpoints, not for secrets.
    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// An even share of `spread`.
    pub(crate) fn jitter(&self, spread: Duration) -> Duration {
        spread.mul_f64(self.random.borrow_mut().random())
    }

    /// An exchange was cut because the drain's time was over.
    pub(crate) fn count_cut(&self) {
        self.common.cut.fetch_add(1, Relaxed);
    }

    /// Ten times a second: deadlines, news, idle connections.
    pub(crate) fn pass(&self, now: Instant) {
        self.ticker.advance(now);
        self.follow_drain(now);
        self.make_room();
        self.ticker.bound_held(self.most_held);
        if self.arms.refresh(self.ticker.now()) {
            self.ticker.wake_all();
        }
        self.log.borrow_mut().flush();
    }

    /// Tells every connection when the drain goes on.
    fn follow_drain(&self, now: Instant) {
        let phase = self.common.phase(now);
        if phase != self.phase.replace(phase) {
            self.ticker.wake_all();
        }
    }
}
