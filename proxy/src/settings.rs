//! What a proxy is started with. [`ProxyFlags`] are what a person writes (flags or `HALFTONE_*` in the environment);
//! [`Settings`] are what they mean, checked once. `halftone run` builds [`Settings`] itself.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Parser, ValueEnum};
use halftone_daemon::listen::available;
use halftone_daemon::log::LogFlags;
use halftone_routing::document::names::ObjectName;
use halftone_routing::document::units::Ratio;

use crate::run::{descriptors, memory};

/// Share of the descriptor limit that client connections may take by default. Each may need a second descriptor for
/// its upstream; the rest is for idle upstream connections, listeners and files.
const CONNECTION_SHARE_PERCENT: usize = 40;
/// What each client connection is reckoned to take of the half of the memory limit that is theirs, in bytes: an idle
/// one takes 4 KiB, a request under way up to two buffers of 64 KiB for a moment.
const CONNECTION_MEMORY: u64 = 16 << 10;
/// What clients that are waited for may make the proxy hold where there is no memory limit, in bytes.
const HELD_MEMORY: u64 = 256 << 20;
/// More workers than this bring little, since one does some 80 000 requests a second, and cost pools and memory.
const MAX_DEFAULT_WORKERS: usize = 8;
/// More workers than the largest machines have cores: a slip of the finger.
const MAX_WORKERS: usize = 1024;

/// Halftone's proxy: splits the users of HTTP services between two versions by routing documents, and counts what
/// happened to each request.
#[derive(Clone, Debug, Parser)]
#[command(name = "halftone-proxy", version, max_term_width = 100)]
#[command(group = ArgGroup::new("source").required(true).args(["config", "kubernetes"]))]
pub struct ProxyFlags {
    /// Directory of routing documents: one release per *.json or *.yaml file, and fleet.yaml
    ///
    /// Changes are taken up as they are made. A file that is wrong changes nothing: the last good one keeps serving,
    /// and /config says what is wrong with it. One of --config and --kubernetes is needed.
    #[arg(long, value_name = "DIR", env = "HALFTONE_CONFIG")]
    pub config: Option<PathBuf>,

    /// Take routing documents from the Kubernetes API: the ConfigMaps labelled halftone.dev/class=CLASS in this
    /// proxy's namespace, and the EndpointSlices of the Services that they name
    ///
    /// The API is found as kubectl finds it: KUBECONFIG, ~/.kube/config, or the pod's service account, which may get,
    /// list and watch those two kinds. While the API is away, what is applied goes on.
    #[arg(long, env = "HALFTONE_KUBERNETES")]
    pub kubernetes: bool,

    /// Namespace of this proxy and its documents [default: the service account's, or the kubeconfig's]
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE")]
    pub namespace: Option<ObjectName>,

    /// UID of this proxy's pod: its name in reports, and how it finds itself behind a Service that would send requests
    /// back to it
    #[arg(long, value_name = "UID", env = "POD_UID", value_parser = NonEmptyStringValueParser::new())]
    pub pod_uid: Option<String>,

    /// Address to accept clients on; may be given several times, or as a list with commas. [::] is every address, of
    /// IPv4 as well
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "HALFTONE_LISTEN",
        default_value = "[::]:8080",
        value_delimiter = ',',
        value_parser = halftone_daemon::listen::address
    )]
    pub listen: Vec<SocketAddr>,

    /// Address of /livez, /readyz, /metrics, /report, /config and /explain; with --kubernetes [::]:8081
    ///
    /// An address other than loopback needs --token-file.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "HALFTONE_ADMIN",
        default_value = "127.0.0.1:8081",
        default_value_if("kubernetes", "true", "[::]:8081"),
        value_parser = halftone_daemon::listen::address
    )]
    pub admin: SocketAddr,

    /// Directory that keeps the last good documents over a restart, and the endpoints of their Services
    #[arg(long, value_name = "DIR", env = "HALFTONE_STATE")]
    pub state: Option<PathBuf>,

    /// Fleet whose documents this proxy serves; the settings of another class are refused
    #[arg(
        long,
        value_name = "NAME",
        env = "HALFTONE_CLASS",
        default_value = "default"
    )]
    pub class: ObjectName,

    /// Name of this proxy in reports [default: --pod-uid, or the host's name]
    #[arg(long, value_name = "NAME", env = "HALFTONE_INSTANCE", value_parser = NonEmptyStringValueParser::new())]
    pub instance: Option<String>,

    /// Worker threads, 1 to 1024 [default: the cores this process may use, at most 8]
    #[arg(long, value_name = "N", env = "HALFTONE_WORKERS", value_parser = workers)]
    pub workers: Option<NonZeroUsize>,

    /// Client connections held at once [default: 40 % of the descriptor limit, and at most what fits into half of the
    /// cgroup's memory limit at 16 KiB each]
    ///
    /// From 90 % on, connections that have sent nothing are closed after 10 s. When all places are taken, accepting
    /// waits and the connections idle for longest make room, then the slowest clients.
    #[arg(long, value_name = "N", env = "HALFTONE_MAX_CONNECTIONS")]
    pub max_connections: Option<NonZeroUsize>,

    /// After SIGTERM: how long accepting goes on while /readyz already fails; with --kubernetes 10s
    ///
    /// So long it may take until every node has stopped sending connections here.
    #[arg(
        long,
        value_name = "DURATION",
        env = "HALFTONE_DRAIN_DELAY",
        default_value = "0s",
        default_value_if("kubernetes", "true", "10s"),
        value_parser = duration
    )]
    pub drain_delay: Duration,

    /// After that: how long requests may take to finish
    #[arg(long, value_name = "DURATION", env = "HALFTONE_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,

    /// After a rollback: over how long gray's tunnels and long answers are closed
    #[arg(long, value_name = "DURATION", env = "HALFTONE_TUNNEL_GRACE", default_value = "10s", value_parser = duration)]
    pub tunnel_grace: Duration,

    /// How long a client may keep a connection open without a request
    #[arg(long, value_name = "DURATION", env = "HALFTONE_CLIENT_IDLE_TIMEOUT", default_value = "620s", value_parser = timeout)]
    pub client_idle_timeout: Duration,

    /// How long a client may take to send a request's head, from its first byte on; then 408
    #[arg(long, value_name = "DURATION", env = "HALFTONE_CLIENT_HEAD_TIMEOUT", default_value = "10s", value_parser = timeout)]
    pub client_head_timeout: Duration,

    /// How long a client may pause within a request's body; then 408
    #[arg(long, value_name = "DURATION", env = "HALFTONE_CLIENT_BODY_TIMEOUT", default_value = "60s", value_parser = timeout)]
    pub client_body_timeout: Duration,

    /// How long a client may take nothing of an answer; then the connection is closed
    #[arg(long, value_name = "DURATION", env = "HALFTONE_CLIENT_WRITE_TIMEOUT", default_value = "60s", value_parser = timeout)]
    pub client_write_timeout: Duration,

    /// File with one or two bearer tokens, one a line, that open /report, /config and /explain
    ///
    /// It is read again when it changes; two at a time let a token be replaced without a gap. With --kubernetes the
    /// operator needs no token, and the file may be missing.
    #[arg(long, value_name = "FILE", env = "HALFTONE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    /// Write an access log to standard output
    #[arg(long, value_name = "FORMAT", env = "HALFTONE_ACCESS_LOG")]
    pub access_log: Option<AccessLogFormat>,

    /// Share of requests in the access log, in percent
    #[arg(
        long,
        value_name = "PERCENT",
        env = "HALFTONE_ACCESS_LOG_SAMPLE",
        default_value = "100%",
        requires = "access_log"
    )]
    pub access_log_sample: Ratio,

    /// The log.
    #[command(flatten)]
    pub log: LogFlags,
}

/// Form of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccessLogFormat {
    /// One JSON object a line.
    Json,
}

/// Everything fixed for the life of a proxy.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses to accept clients on; every worker listens on each. Port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Address of the admin pages; none serves none.
    pub admin: Option<SocketAddr>,
    /// Directory of the last good documents; none keeps none.
    pub state: Option<PathBuf>,
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// Client connections held at most, over all workers; beyond it accepting pauses and the longest idle make room.
    pub max_connections: usize,
    /// What all clients that are waited for may make the proxy hold (unfinished heads and short bodies, answers not
    /// taken), in bytes; beyond it the slowest are ended.
    pub max_held_bytes: usize,
    /// The end.
    pub drain: DrainSettings,
    /// Time-outs against clients (those against upstreams are in the documents).
    pub client_timeouts: ClientTimeouts,
    /// File with one or two tokens that open `/report`, `/config` and `/explain`.
    pub token_file: Option<PathBuf>,
    /// Share of requests in the access log; none is off.
    pub access_log: Option<Ratio>,
    /// Name of the fleet whose documents this proxy serves.
    pub class: ObjectName,
    /// Name of this proxy in reports.
    pub instance: String,
}

impl Settings {
    /// The defaults of every flag, clients on `listen`, admin on `admin`, no state.
    pub fn new(listen: SocketAddr, admin: Option<SocketAddr>) -> Self {
        Self {
            listen: vec![listen],
            admin,
            state: None,
            workers: default_workers(),
            max_connections: default_max_connections(),
            max_held_bytes: max_held_bytes(memory::limit()),
            drain: DrainSettings::default(),
            client_timeouts: ClientTimeouts::default(),
            token_file: None,
            access_log: None,
            class: "default".parse().expect("a name by its letters"),
            instance: host_name(),
        }
    }
}

impl From<&ProxyFlags> for Settings {
    fn from(flags: &ProxyFlags) -> Self {
        Self {
            listen: flags.listen.iter().copied().map(available).collect(),
            admin: Some(available(flags.admin)),
            state: flags.state.clone(),
            workers: flags.workers.unwrap_or_else(default_workers),
            max_connections: flags
                .max_connections
                .map_or_else(default_max_connections, NonZeroUsize::get),
            max_held_bytes: max_held_bytes(memory::limit()),
            drain: DrainSettings {
                delay: flags.drain_delay,
                timeout: flags.drain_timeout,
                tunnel_grace: flags.tunnel_grace,
            },
            client_timeouts: ClientTimeouts {
                idle: flags.client_idle_timeout,
                head: flags.client_head_timeout,
                body: flags.client_body_timeout,
                write: flags.client_write_timeout,
            },
            token_file: flags.token_file.clone(),
            access_log: flags
                .access_log
                .map(|AccessLogFormat::Json| flags.access_log_sample),
            class: flags.class.clone(),
            instance: flags
                .instance
                .clone()
                .or_else(|| flags.pod_uid.clone())
                .unwrap_or_else(host_name),
        }
    }
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
    /// A keep-alive connection without a request: closed. Longer than the 600 s of common load balancers, so that
    /// it is they who close.
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

fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

fn default_workers() -> NonZeroUsize {
    let most = NonZeroUsize::new(MAX_DEFAULT_WORKERS).expect("8 is not zero");
    std::thread::available_parallelism().map_or(NonZeroUsize::MIN, |cores| cores.min(most))
}

fn default_max_connections() -> usize {
    max_connections(descriptors::limit(), memory::limit())
}

/// What descriptors and a memory limit allow.
fn max_connections(descriptors: usize, memory: Option<u64>) -> usize {
    let by_descriptors = (descriptors / 100).saturating_mul(CONNECTION_SHARE_PERCENT);
    let by_memory = memory.map_or(usize::MAX, |memory| bytes(memory / 2 / CONNECTION_MEMORY));
    by_descriptors.min(by_memory).max(1)
}

/// A quarter of the memory limit.
fn max_held_bytes(memory: Option<u64>) -> usize {
    bytes(memory.map_or(HELD_MEMORY, |memory| memory / 4))
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// `127.0.0.1:8080`, `[::]:8080`: no names, since what a name means may change while we run.
/// `10s`, `1m30s`, `500ms`: whole milliseconds from 0 on.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "\"{text}\" is no duration; write a number and a unit, as in 500ms, 30s, 1m30s or 1h"
        )
    };
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(parsed).map_err(|_| wrong())
}

/// Each worker takes a listener per address, a thread and pools of its own; many more than cores only cost.
fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let parsed = text.parse().ok().and_then(NonZeroUsize::new);
    parsed
        .filter(|workers| workers.get() <= MAX_WORKERS)
        .ok_or_else(|| format!("\"{text}\" is no number of workers; write 1 to {MAX_WORKERS}"))
}

/// A duration that is not zero, since a time-out of zero would end everything at once.
fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => {
            Err("a time-out of 0 would end every request at once; write at least 1ms".to_owned())
        }
        timeout => Ok(timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_descriptors_and_the_memory_limit() {
        for (descriptors, memory, connections) in [
            (1_000_000, None, 400_000),
            (1_000_000, Some(256 << 20), 8192),
            (1_000_000, Some(64 << 20), 2048),
            (1024, Some(256 << 20), 400),
            (10, Some(1), 1),
            (usize::MAX, None, usize::MAX / 100 * 40),
        ] {
            assert_eq!(
                max_connections(descriptors, memory),
                connections,
                "{descriptors}, {memory:?}"
            );
        }
    }

    #[test]
    fn what_slow_clients_hold_gets_a_quarter_of_the_memory_limit() {
        assert_eq!(
            (max_held_bytes(Some(256 << 20)), max_held_bytes(None)),
            (64 << 20, 256 << 20)
        );
    }
}
