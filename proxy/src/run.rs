//! A proxy as a whole: from [`Settings`] to threads, and the order of start and drain. `halftone-proxy` and
//! `halftone run` both start here.
//!
//! [`Proxy::start`] checks everything that can be checked, opens state and sockets, and leaves the rest to the control
//! thread (`run/control.rs`), so that the caller may use any runtime, or none.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use halftone_daemon::listen;
use halftone_routing::dial_policy::DialPolicy;
use halftone_routing::document::arm::Destination;
use halftone_routing::report::{Epoch, ReportForm, TrafficReport};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::access_log::{AccessLog, HashKey};
use crate::admin::guard::{Guard, TrustedKeys};
use crate::admin::tokens::{self, TokenFileError, Tokens};
use crate::admin::{self, AdminState, ReadinessReport};
use crate::applier::{Applier, lock};
use crate::counters::WorkerCounters;
use crate::drain::DrainSchedule;
use crate::report::{Documents, ReportCursor, Reporter};
use crate::settings::Settings;
use crate::source::SourceListing;
use crate::source::kubernetes::KubernetesConfig;
use crate::source::state_store::{SavedState, StateStore};
use crate::upstream::endpoints::Tables;
use crate::worker::{DrainResult, Listeners, WorkerResources, WorkerSettings};

mod addresses;
mod connection_pressure;
mod control;
pub mod descriptors;
pub mod memory;
mod readiness;

use self::control::{ControlCommand, ControlInput};

/// Where a proxy's documents come from.
#[derive(Clone, Debug)]
pub enum DocumentSource {
    /// A directory, followed as it changes.
    Directory(PathBuf),
    /// The Kubernetes API, watched.
    Kubernetes(Box<KubernetesConfig>),
    /// The caller: these at first, then what [`Proxy::apply`] brings.
    Memory(SourceListing),
}

/// Why a proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing to accept clients on.
    #[error("no address to listen on; give at least one")]
    NothingToListenOn,
    /// The protected admin pages would be open to the network.
    #[error(
        "--admin {0} can be reached from the network and needs --token-file; give one, or use a loopback address"
    )]
    TokenNeeded(SocketAddr),
    /// The token file cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    /// The directory of documents cannot be used, and no earlier run left any.
    #[error("--config {}: {error}", dir.display())]
    Config {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        error: io::Error,
    },
    /// The state directory cannot be used.
    #[error("--state {}: {error}", dir.display())]
    State {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        error: io::Error,
    },
    /// A client address cannot be listened on.
    #[error("--listen {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What is wrong.
        error: io::Error,
    },
    /// The admin address cannot be listened on.
    #[error("--admin {address}: {error}")]
    Admin {
        /// The address asked for.
        address: SocketAddr,
        /// What is wrong.
        error: io::Error,
    },
    /// What was found of the Kubernetes API cannot be used.
    #[error("the Kubernetes API cannot be used: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A running proxy. Dropping it ends it at once; [`Proxy::drain`] ends it in order.
#[derive(Debug)]
pub struct Proxy {
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    reporter: Arc<Mutex<Reporter>>,
    tables: Arc<Tables>,
    commands: mpsc::UnboundedSender<ControlCommand>,
    ended: watch::Receiver<Option<DrainResult>>,
    control: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy: returns when its sockets are open. Clients are accepted as soon as the first documents are
    /// applied; those that connect before wait for it.
    ///
    /// # Errors
    /// Settings that contradict each other, files and addresses that cannot be used.
    pub fn start(settings: &Settings, source: DocumentSource) -> Result<Self, StartError> {
        if settings.listen.is_empty() {
            return Err(StartError::NothingToListenOn);
        }
        let guard = guard(settings, &source)?;
        let (state, restored) = state(settings)?;
        restore_keys(&guard, &restored);
        check_source(&source, &restored)?;
        let workers = settings.workers.get();
        let listeners = Listeners::bind(&settings.listen, workers)
            .map_err(|(address, error)| StartError::Listen { address, error })?;
        let admin_listener = settings.admin.map(listen_admin).transpose()?;
        let admin = admin_listener
            .as_ref()
            .and_then(|listener| listener.local_addr().ok());

        let reporter = Arc::new(Mutex::new(Reporter::new(
            settings.instance.clone(),
            Epoch(rand::random()),
            workers,
        )));
        let tables = Arc::new(tables(&source, workers, &listeners, admin));
        let applier = Applier::new(
            Arc::clone(&tables),
            Arc::clone(&reporter),
            &settings.class,
            state,
        );
        let log = access_log(settings)?;
        let own: Vec<_> = (0..workers)
            .map(|worker| own(worker, &applier, log.as_ref()))
            .collect();
        let pages = AdminState {
            reporter: Arc::clone(&reporter),
            snapshot: applier.publisher().current(),
            observers: own.iter().map(|own| own.counters.observer()).collect(),
            guard: Arc::new(guard),
            log_dropped: log.as_ref().map(AccessLog::dropped),
            max_connections: settings.max_connections,
            standing: Mutex::new(ReadinessReport::starting()),
        };
        let addresses = listeners.addresses().to_vec();
        let (commands, inbox) = mpsc::unbounded_channel();
        let (tell_end, ended) = watch::channel(None);
        let known_tables = Arc::clone(&tables);
        let control = ControlInput {
            limits: limits(settings),
            listeners,
            own,
            admin: admin_listener,
            class: settings.class.clone(),
            pages: Arc::new(pages),
            applier,
            restored,
            source,
            tables,
            log,
            inbox,
            ended: tell_end,
        };
        let control = control.start()?;
        Ok(Self {
            addresses,
            admin,
            reporter,
            tables: known_tables,
            commands,
            ended,
            control: Some(control),
        })
    }

    /// Where clients are accepted; port 0 has become the port taken.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the admin pages are.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Replaces the documents of a [`DocumentSource::Memory`] by these; returns when every new request is decided by them,
    /// with what is applied and what was refused. None: the proxy has ended.
    pub async fn apply(&self, documents: SourceListing) -> Option<Documents> {
        let (done, applied) = oneshot::channel();
        self.commands
            .send(ControlCommand::Apply(documents, done))
            .ok()?;
        applied.await.ok()
    }

    /// What happened to each request, as `GET /report` tells it. Counts as a word from the operator.
    pub fn report(&self, since: Option<ReportCursor>) -> TrafficReport {
        let mut reporter = lock(&self.reporter);
        reporter.note_operator_contact(Timestamp::now());
        reporter.report(since, ReportForm::Two)
    }

    /// How many endpoints of an arm are ready and pass its active check; those of an arm without a check are only
    /// ready. None: no document that is applied names the destination.
    pub fn healthy_endpoints(&self, destination: &Destination) -> Option<usize> {
        self.tables.find(destination).map(|table| table.healthy())
    }

    /// Begins the end: `/readyz` fails, clients are asked to go, exchanges finish. Returns at once.
    pub fn begin_drain(&self) {
        let _ = self.commands.send(ControlCommand::Drain);
    }

    /// Waits for the end, and says how it went. None: the control thread failed.
    pub async fn ended(&self) -> Option<DrainResult> {
        let mut ended = self.ended.clone();
        ended
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|drained| *drained)
    }

    /// Drains to the end.
    pub async fn drain(self) -> Option<DrainResult> {
        self.begin_drain();
        self.ended().await
    }
}

/// Ends at once what has not ended yet, and waits for it: no thread outlives its proxy.
impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.commands.send(ControlCommand::Stop);
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
    }
}

/// In a cluster the operator signs what it asks for, so that nobody has to make a token.
fn guard(settings: &Settings, source: &DocumentSource) -> Result<Guard, StartError> {
    let in_cluster = matches!(source, DocumentSource::Kubernetes(_));
    let reached = settings
        .admin
        .filter(|address| !admin::is_open_without_token(*address));
    let tokens = match (&settings.token_file, reached) {
        (Some(file), _) if in_cluster => Some(Tokens::open_if_there(file)?),
        (Some(file), _) => Some(Tokens::open(file)?),
        (None, Some(address)) if !in_cluster => return Err(StartError::TokenNeeded(address)),
        (None, _) => None,
    };
    let guarded = in_cluster && (tokens.is_some() || reached.is_some());
    let (class, instance) = (settings.class.clone(), settings.instance.clone());
    Ok(Guard::new(
        tokens,
        guarded.then(Arc::<TrustedKeys>::default),
        class,
        instance,
    ))
}

/// The operators that were known before: one of them may still be at work while the API server is away.
fn restore_keys(guard: &Guard, restored: &SavedState) {
    let (Some(keys), Some(saved)) = (&guard.keys, &restored.keys) else {
        return;
    };
    if let Err(why) = keys.take(&saved.text) {
        tracing::warn!(
            source = saved.source,
            "the operators' keys that were kept are left out: {why}"
        );
    }
}

fn state(settings: &Settings) -> Result<(Option<StateStore>, SavedState), StartError> {
    let Some(dir) = &settings.state else {
        return Ok((None, SavedState::default()));
    };
    let opened = StateStore::open(dir).map_err(|error| StartError::State {
        dir: dir.clone(),
        error,
    })?;
    Ok((Some(opened.0), opened.1))
}

/// A wrong path is told at once, unless an earlier run left documents: then the directory may be late, and serving
/// goes before complaining.
fn check_source(source: &DocumentSource, restored: &SavedState) -> Result<(), StartError> {
    let DocumentSource::Directory(dir) = source else {
        return Ok(());
    };
    match std::fs::read_dir(dir) {
        Err(error) if restored.releases.is_empty() => Err(StartError::Config {
            dir: dir.clone(),
            error,
        }),
        _ => Ok(()),
    }
}

/// In a cluster a proxy must know where it is itself, so that no document sends requests back to it.
fn tables(
    source: &DocumentSource,
    workers: usize,
    listeners: &Listeners,
    admin: Option<SocketAddr>,
) -> Tables {
    let DocumentSource::Kubernetes(cluster) = source else {
        return Tables::new(workers);
    };
    let listening = listeners.addresses().iter().copied().chain(admin);
    let reach = DialPolicy {
        pod: cluster.pod.clone(),
        sockets: listening.flat_map(addresses::reachable).collect(),
        loopback: cluster.loopback,
    };
    Tables::in_cluster(workers, reach)
}

fn listen_admin(address: SocketAddr) -> Result<TcpListener, StartError> {
    listen::bind(address).map_err(|error| StartError::Admin { address, error })
}

fn access_log(settings: &Settings) -> Result<Option<AccessLog>, StartError> {
    let Some(sample) = settings.access_log else {
        return Ok(None);
    };
    let key = match &settings.token_file {
        Some(file) => tokens::first(file)?
            .as_deref()
            .map_or_else(HashKey::random, HashKey::from_secret),
        None => HashKey::random(),
    };
    AccessLog::start(sample, key, io::stdout())
        .map(Some)
        .map_err(StartError::Thread)
}

fn own(worker: usize, applier: &Applier, log: Option<&AccessLog>) -> WorkerResources {
    WorkerResources {
        snapshot: applier.publisher().reader(),
        counters: WorkerCounters::new(worker),
        log: log.map_or_else(crate::access_log::WorkerLog::off, AccessLog::worker),
    }
}

fn limits(settings: &Settings) -> WorkerSettings {
    WorkerSettings {
        max_connections: settings.max_connections,
        max_held_bytes: settings.max_held_bytes,
        tunnel_grace: settings.drain.tunnel_grace,
        drain: DrainSchedule {
            delay: settings.drain.delay,
            timeout: settings.drain.timeout,
        },
        client: settings.client_timeouts,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::settings::{ClientTimeouts, ProxyFlags};

    #[test]
    fn clients_have_the_time_that_the_documentation_names_unless_a_flag_says_otherwise() {
        let seconds = Duration::from_secs;
        let flags =
            ProxyFlags::try_parse_from(["halftone-proxy", "--config", "documents"]).unwrap();
        let here = Settings::new("127.0.0.1:0".parse().unwrap(), None);
        for settings in [Settings::from(&flags), here] {
            let ClientTimeouts {
                idle,
                head,
                body,
                write,
            } = limits(&settings).client;
            let times = [idle, head, body, write];
            assert_eq!(times, [seconds(620), seconds(10), seconds(60), seconds(60)]);
        }
    }
}
