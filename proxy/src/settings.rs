//! What a proxy is started with. `main.rs` reads it from flags and environment, `halftone run` builds it itself.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Everything fixed for the life of a proxy.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses to accept clients on; every worker listens on each.
    pub listen: Vec<SocketAddr>,
    /// Address of the admin pages; none serves none.
    pub admin: Option<SocketAddr>,
    /// Directory of the last good documents; none keeps none.
    pub state: Option<PathBuf>,
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// Client connections held at most, over all workers; beyond it accepting pauses.
    pub max_connections: usize,
    /// The end.
    pub drain: DrainSettings,
    /// Time-outs against clients (those against upstreams are in the documents).
    pub client_timeouts: ClientTimeouts,
    /// File with one or two tokens that open `/report`, `/config` and `/explain`.
    pub token_file: Option<PathBuf>,
    /// Share of requests in the access log, in millionths; 0 is off.
    pub access_log_sample: u32,
    /// Name of the fleet whose documents this proxy serves.
    pub class: String,
}

/// How a proxy ends after the first SIGTERM or SIGINT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// How long accepting goes on, with `Connection: close` in every answer, before the listeners close.
    pub delay: Duration,
    /// How long exchanges may take to finish after that.
    pub timeout: Duration,
    /// Over how long tunnels and answers older than 10 s are closed after a rollback or `force: Stable`.
    pub tunnel_grace: Duration,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            timeout: Duration::from_secs(30),
            tunnel_grace: Duration::from_secs(10),
        }
    }
}

/// How long the proxy waits for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// A keep-alive connection without a request: closed.
    pub idle: Duration,
    /// A whole request head from its first byte on: 408.
    pub head: Duration,
    /// Between two reads of a request body: 408.
    pub body: Duration,
    /// Without progress in writing the answer: closed.
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
