//! The threads that carry requests: each with a runtime, a listener, upstream pools and counters of its own, so that
//! nothing is shared on the request path but what is only read. `run.rs` starts, drains and joins them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crate::drain;
use crate::upstream::endpoints::Tables;

/// What the workers need to know beside documents; from the flags.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `--max-connections`: open client connections over all workers.
    pub max_connections: usize,
    /// `--tunnel-grace`: over how long tunnels and long answers are closed after a rollback.
    pub tunnel_grace: Duration,
    /// How the drain goes.
    pub drain: drain::Schedule,
    /// Against clients.
    pub client: ClientTimeouts,
}

/// Time-outs against clients; those against backends are the arm's own.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// Between two requests: the connection is closed.
    pub idle: Duration,
    /// From a head's first byte to its last: 408.
    pub head: Duration,
    /// Between two reads of a request body: 408.
    pub body: Duration,
    /// Without any progress in writing: the connection is closed.
    pub write: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(620),
            head: Duration::from_secs(10),
            body: Duration::from_secs(60),
            write: Duration::from_secs(60),
        }
    }
}

/// What all workers share. Snapshot publisher, counters and access log join it as they land.
#[derive(Clone, Debug)]
pub struct Shared {
    /// From the flags.
    pub limits: Limits,
    /// Where the arms' requests can go.
    pub tables: Arc<Tables>,
}

/// One listener per worker on the same address (SO_REUSEPORT). With port 0 the first one's port is the others'.
///
/// # Errors
/// The address is taken or not ours.
pub fn listen(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    let _ = workers;
    TcpListener::bind(address).map(|listener| vec![listener])
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {}

/// How the workers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Exchanges cut at the end of `--drain-timeout`.
    pub cut: u64,
}

impl Workers {
    /// Starts one thread per listener.
    ///
    /// # Errors
    /// A thread or its runtime could not be made.
    pub fn start(listeners: Vec<TcpListener>, shared: Shared) -> io::Result<Self> {
        drop((listeners, shared));
        Ok(Self {})
    }

    /// Begins the drain (first SIGTERM). A second call changes nothing.
    pub fn drain(&self) {}

    /// Where the drain stands; `/readyz` fails unless it is [`drain::Phase::Serving`].
    pub fn phase(&self) -> drain::Phase {
        drain::Phase::Serving
    }

    /// Ends everything now (second signal).
    pub fn stop(&self) {}

    /// Client connections open at present, over all workers.
    pub fn connections(&self) -> u64 {
        0
    }

    /// Blocks until every worker has ended; they end only after `drain` or `stop`.
    pub fn join(self) -> Drained {
        Drained { cut: 0 }
    }
}
