//! The threads that carry requests: each with a runtime, a listener, upstream pools and counters of its own, so that
//! nothing is shared on the request path but what is only read. `run.rs` starts, drains and joins them.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::MissedTickBehavior;

use self::accept::TransferredConnection;
use crate::drain::DrainPhase;
use crate::local::tick::TICK;
use crate::local::{Local, SharedState};

pub mod accept;

pub use crate::local::{WorkerResources, WorkerSettings};
pub use accept::Listeners;

/// So many turns of tasks before the runtime looks at its sockets again (tokio's own default is 61): with dozens of busy
/// connections a request does not wait for all of them to have had theirs.
const TURNS: u32 = 31;
/// After the end of the drain's time-out: for tasks to count what was cut and for their last writes.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    common: Arc<SharedState>,
    threads: Vec<JoinHandle<()>>,
}

/// How the workers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainResult {
    /// Exchanges cut at the end of `--drain-timeout`.
    pub cut: u64,
}

impl Workers {
    /// Starts one thread per worker of `listeners`, each with its `own`.
    ///
    /// # Errors
    /// A thread or its runtime could not be made.
    pub fn start(
        listeners: Listeners,
        limits: WorkerSettings,
        own: Vec<WorkerResources>,
    ) -> io::Result<Self> {
        assert_eq!(
            listeners.by_worker.len(),
            own.len(),
            "listeners and workers are made for each other"
        );
        let (inboxes, outlets): (Vec<_>, Vec<_>) = own.iter().map(|_| unbounded_channel()).unzip();
        let common = Arc::new(SharedState::new(limits, own.len()));
        let inboxes: Arc<[_]> = inboxes.into();
        let mut workers = Self {
            common,
            threads: Vec::new(),
        };
        for (index, ((listeners, own), inbox)) in listeners
            .by_worker
            .into_iter()
            .zip(own)
            .zip(outlets)
            .enumerate()
        {
            let (common, inboxes) = (Arc::clone(&workers.common), Arc::clone(&inboxes));
            let thread = Thread {
                index,
                common,
                own,
                inboxes,
                inbox,
            };
            // Those that run already end with the first that cannot.
            let thread = thread.start(listeners).inspect_err(|_| workers.stop())?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Begins the drain (first SIGTERM). A second call changes nothing.
    pub fn drain(&self) {
        self.common.begin_drain();
    }

    /// Where the drain stands; `/readyz` fails unless it is [`DrainPhase::Serving`].
    pub fn phase(&self) -> DrainPhase {
        self.common.phase(Instant::now())
    }

    /// Ends everything now (second signal).
    pub fn stop(&self) {
        self.common.stop();
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
    pub fn join(self) -> DrainResult {
        for thread in self.threads {
            // A panic of a worker was printed by its hook; the others are to end in order all the same.
            let _ = thread.join();
        }
        DrainResult {
            cut: self.common.cut(),
        }
    }
}

/// What a thread is started with.
struct Thread {
    index: usize,
    common: Arc<SharedState>,
    own: WorkerResources,
    /// Those of all workers.
    inboxes: Arc<[UnboundedSender<TransferredConnection>]>,
    inbox: UnboundedReceiver<TransferredConnection>,
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
        result
            .recv()
            .map_err(|_| io::Error::other("the worker's thread ended before it began"))??;
        Ok(thread)
    }

    async fn run(
        self,
        listeners: Vec<std::net::TcpListener>,
        started: &std::sync::mpsc::SyncSender<io::Result<()>>,
    ) {
        let worker = Rc::new(Local::new(self.index, self.common, self.own));
        let listeners: io::Result<Vec<_>> =
            listeners.into_iter().map(TcpListener::from_std).collect();
        let accepting: Vec<_> = match listeners {
            Ok(listeners) => listeners
                .into_iter()
                .map(|listener| {
                    let (worker, inboxes) = (Rc::clone(&worker), Arc::clone(&self.inboxes));
                    tokio::task::spawn_local(accept::accept(worker, inboxes, listener))
                })
                .collect(),
            Err(error) => return drop(started.send(Err(error))),
        };
        tokio::task::spawn_local(accept::receive(Rc::clone(&worker), self.inbox));
        let _ = started.send(Ok(()));
        tick(&worker, &accepting).await;
        worker.log.borrow_mut().flush();
    }
}

/// Ten times a second. Returns when the worker has done its work.
async fn tick(worker: &Local, accepting: &[tokio::task::JoinHandle<()>]) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ended = None;
    loop {
        interval.tick().await;
        let now = Instant::now();
        worker.pass(now);
        let closed = accepting.iter().all(tokio::task::JoinHandle::is_finished);
        let idle = closed && worker.common.loads.of(worker.index) == 0;
        if !worker.phase().exchange_may_go_on() {
            ended.get_or_insert(now + LAST_WORDS);
        }
        if idle || ended.is_some_and(|end| now >= end) || worker.common.is_stopped() {
            return;
        }
    }
}
