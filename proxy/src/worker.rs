//! The threads that carry requests: each with a runtime, a listener, upstream pools and counters of its own, so that
//! nothing is shared on the request path but what is only read. `run.rs` starts, drains and joins them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, RngExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::MissedTickBehavior;

use self::accept::Handed;
use self::arms::Arms;
use self::buffers::Buffers;
use self::load::Loads;
use self::room::{Owing, Room, Waiting};
use self::tick::{TICK, Ticker, Timer};
use crate::access_log::WorkerLog;
use crate::counters::WorkerCounters;
use crate::drain::{Phase, Schedule};
use crate::settings::ClientTimeouts;
use crate::snapshot::SnapshotReader;

pub mod accept;
pub(crate) mod arms;
pub(crate) mod buffers;
mod load;
pub(crate) mod room;
pub(crate) mod tick;
pub(crate) mod turn;

pub use accept::Listeners;

/// So many turns of tasks before the runtime looks at its sockets again (tokio's own default is 61): with dozens of busy
/// connections a request does not wait for all of them to have had theirs.
const TURNS: u32 = 31;
/// After the end of the drain's time-out: for tasks to count what was cut and for their last writes.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What the workers need to know beside documents; from the flags.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `--max-connections`: open client connections over all workers.
    pub max_connections: usize,
    /// What all clients that are waited for may make the proxy hold together over all workers (unfinished heads and
    /// short bodies, answers not taken), in bytes.
    pub max_held_bytes: usize,
    /// `--tunnel-grace`: over how long tunnels and long answers are closed after a rollback.
    pub tunnel_grace: Duration,
    /// How the drain goes.
    pub drain: Schedule,
    /// Against clients.
    pub client: ClientTimeouts,
}

/// What one worker gets for itself alone.
#[derive(Debug)]
pub struct Own {
    /// Its view of what requests are decided by.
    pub snapshot: SnapshotReader,
    /// Its right to count.
    pub counters: WorkerCounters,
    /// Its end of the access log.
    pub log: WorkerLog,
}

/// What all workers share; nothing of it is written by a request.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) limits: Limits,
    pub(crate) loads: Loads,
    inboxes: Box<[UnboundedSender<Handed>]>,
    drain_began: OnceLock<Instant>,
    stopped: AtomicBool,
    cut: AtomicU64,
}

impl Common {
    fn phase(&self, now: Instant) -> Phase {
        let since = self.drain_began.get().map(|began| now.saturating_duration_since(*began));
        Phase::at(since, self.limits.drain)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.loads.total() >= self.limits.max_connections
    }
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    common: Arc<Common>,
    threads: Vec<JoinHandle<()>>,
}

/// How the workers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Exchanges cut at the end of `--drain-timeout`.
    pub cut: u64,
}

impl Workers {
    /// Starts one thread per worker of `listeners`, each with its `own`.
    ///
    /// # Errors
    /// A thread or its runtime could not be made.
    pub fn start(listeners: Listeners, limits: Limits, own: Vec<Own>) -> io::Result<Self> {
        assert_eq!(listeners.by_worker.len(), own.len(), "listeners and workers are made for each other");
        let (inboxes, outlets): (Vec<_>, Vec<_>) = own.iter().map(|_| unbounded_channel()).unzip();
        let common = Arc::new(Common {
            limits,
            loads: Loads::new(own.len()),
            inboxes: inboxes.into(),
            drain_began: OnceLock::new(),
            stopped: AtomicBool::new(false),
            cut: AtomicU64::new(0),
        });
        let mut workers = Self { common, threads: Vec::new() };
        for (index, ((listeners, own), inbox)) in
            listeners.by_worker.into_iter().zip(own).zip(outlets).enumerate()
        {
            let thread = Thread { index, common: Arc::clone(&workers.common), own, inbox };
            // Those that run already end with the first that cannot.
            let thread = thread.start(listeners).inspect_err(|_| workers.stop())?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Begins the drain (first SIGTERM). A second call changes nothing.
    pub fn drain(&self) {
        self.common.drain_began.get_or_init(Instant::now);
    }

    /// Where the drain stands; `/readyz` fails unless it is [`Phase::Serving`].
    pub fn phase(&self) -> Phase {
        self.common.phase(Instant::now())
    }

    /// Ends everything now (second signal).
    pub fn stop(&self) {
        self.common.stopped.store(true, Relaxed);
    }

    /// Client connections open at present, by worker.
    pub fn connections(&self) -> Vec<usize> {
        self.common.loads.by_worker().collect()
    }

    /// Whether every worker has ended, so that `join` does not block.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Blocks until every worker has ended; they end only after `drain` or `stop`.
    pub fn join(self) -> Drained {
        for thread in self.threads {
            // A panic of a worker was printed by its hook; the others are to end in order all the same.
            let _ = thread.join();
        }
        Drained { cut: self.common.cut.load(Relaxed) }
    }
}

/// What a thread is started with.
struct Thread {
    index: usize,
    common: Arc<Common>,
    own: Own,
    inbox: UnboundedReceiver<Handed>,
}

impl Thread {
    /// Returns once the thread accepts connections, or could not be made to.
    fn start(self, listeners: Vec<std::net::TcpListener>) -> io::Result<JoinHandle<()>> {
        let (started, result) = std::sync::mpsc::sync_channel(1);
        let name = format!("worker-{}", self.index);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let runtime = match Builder::new_current_thread()
                .enable_all()
                .event_interval(TURNS)
                .build_local(LocalOptions::default())
            {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            runtime.block_on(self.run(listeners, &started));
            // Dropping the runtime drops what is left of its tasks, and with them their connections.
        })?;
        result.recv().map_err(|_| io::Error::other("the worker's thread ended before it began"))??;
        Ok(thread)
    }

    async fn run(
        self,
        listeners: Vec<std::net::TcpListener>,
        started: &std::sync::mpsc::SyncSender<io::Result<()>>,
    ) {
        let worker = Rc::new(Worker::new(self.index, self.common, self.own));
        let listeners: io::Result<Vec<_>> = listeners.into_iter().map(TcpListener::from_std).collect();
        let accepting: Vec<_> = match listeners {
            Ok(listeners) => listeners
                .into_iter()
                .map(|listener| tokio::task::spawn_local(accept::accept(Rc::clone(&worker), listener)))
                .collect(),
            Err(error) => return drop(started.send(Err(error))),
        };
        tokio::task::spawn_local(accept::receive(Rc::clone(&worker), self.inbox));
        let _ = started.send(Ok(()));
        worker.tick(&accepting).await;
        worker.log.borrow_mut().flush();
    }
}

/// One thread's everything; its connections' tasks share it by reference count, no other thread sees it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) common: Arc<Common>,
    /// Its share of what clients may make the proxy hold, in bytes.
    most_held: usize,
    pub(crate) buffers: Buffers,
    pub(crate) ticker: Rc<Ticker>,
    pub(crate) arms: Arms,
    pub(crate) counters: WorkerCounters,
    pub(crate) log: RefCell<WorkerLog>,
    phase: Cell<Phase>,
    random: RefCell<SmallRng>,
}

impl Worker {
    fn new(index: usize, common: Arc<Common>, own: Own) -> Self {
        let phase = common.phase(Instant::now());
        Self {
            index,
            most_held: common.limits.max_held_bytes / common.loads.workers(),
            common,
            buffers: Buffers::default(),
            ticker: Ticker::new(Instant::now()),
            arms: Arms::new(own.snapshot, index),
            counters: own.counters,
            log: RefCell::new(own.log),
            phase: Cell::new(phase),
            random: RefCell::new(rand::make_rng()),
        }
    }

    /// Where the drain stood at the last tick.
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.common.limits
    }

    /// A client is waited for. Beyond the worker's share of what clients may make it hold, the slowest leave.
    pub(crate) fn wait_for(&self, client: &Timer, owing: Owing) {
        client.wait(Waiting::Client(owing));
        self.ticker.bound_owed(self.most_held);
    }

    /// From half of that on, memory is worth more than copying.
    pub(crate) fn is_short_of_memory(&self) -> bool {
        self.ticker.held() > self.most_held / 2
    }

    /// Half of it is kept for clients that are not waited for, who cannot be asked to leave: from here on nothing is kept
    /// that can be done without.
    pub(crate) fn keeps_too_much(&self) -> bool {
        self.ticker.kept() > self.most_held / 2
    }

    /// Those who hold places without using them leave when places are scarce.
    fn make_room(&self) {
        let loads = &self.common.loads;
        let room = Room::of(loads.total(), self.limits().max_connections, loads.workers());
        self.counters.closed_for_room(self.ticker.make_room(room) as u64);
    }

    /// A slot for the task that awaits this.
    pub(crate) async fn timer(&self) -> Timer {
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

    /// Ten times a second: deadlines, news, idle connections. Returns when the worker has done its work.
    async fn tick(&self, accepting: &[tokio::task::JoinHandle<()>]) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ended = None;
        loop {
            interval.tick().await;
            let now = Instant::now();
            self.ticker.advance(now);
            self.follow_drain(now);
            self.make_room();
            self.ticker.bound_held(self.most_held);
            if self.arms.refresh(self.ticker.now()) {
                self.ticker.wake_all();
            }
            self.log.borrow_mut().flush();
            let closed = accepting.iter().all(tokio::task::JoinHandle::is_finished);
            let idle = closed && self.common.loads.of(self.index) == 0;
            if !self.phase().exchange_may_go_on() {
                ended.get_or_insert(now + LAST_WORDS);
            }
            if idle || ended.is_some_and(|end| now >= end) || self.common.stopped.load(Relaxed) {
                return;
            }
        }
    }

    /// Tells every connection when the drain goes on.
    fn follow_drain(&self, now: Instant) {
        let phase = self.common.phase(now);
        if phase != self.phase.replace(phase) {
            self.ticker.wake_all();
        }
    }
}
