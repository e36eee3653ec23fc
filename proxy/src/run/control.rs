//! The control thread: documents in, admin pages, the clock, and the end. Applying documents may take long and runs on
//! a blocking thread of its own, one change after the other; everything else here is short.

use std::net::TcpListener;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use halftone_routing::document::names::ObjectName;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{LocalSet, spawn_blocking};

use super::connection_pressure::ConnectionPressure;
use super::readiness::{Readiness, SOURCE_GRACE};
use super::{DocumentSource, StartError};
use crate::access_log::AccessLog;
use crate::admin::{self, AdminState};
use crate::applier::{Applier, lock};
use crate::report::Documents;
use crate::source::files::{DirectorySource, DirectoryUpdate};
use crate::source::kubernetes::KubernetesSource;
use crate::source::state_store::{SavedDocument, SavedState};
use crate::source::{SourceListing, SourceReading};
use crate::upstream::endpoints::Tables;
use crate::upstream::health::HealthChecker;
use crate::worker::{DrainResult, Listeners, WorkerResources, WorkerSettings, Workers};

/// How often thresholds, silence of the operator, checks and replaced sets are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often all is looked at while the proxy starts or ends.
const SETTLING_TICK: Duration = Duration::from_millis(20);

/// What a [`super::Proxy`] asks of its control thread.
#[derive(Debug)]
pub(super) enum ControlCommand {
    /// Take these documents.
    Apply(SourceListing, oneshot::Sender<Documents>),
    /// End in order.
    Drain,
    /// End now.
    Stop,
}

/// Everything the control thread begins with.
#[derive(Debug)]
pub(super) struct ControlInput {
    pub(super) limits: WorkerSettings,
    pub(super) listeners: Listeners,
    pub(super) own: Vec<WorkerResources>,
    pub(super) admin: Option<TcpListener>,
    pub(super) class: ObjectName,
    pub(super) pages: Arc<AdminState>,
    pub(super) applier: Applier,
    pub(super) restored: SavedState,
    pub(super) source: DocumentSource,
    pub(super) tables: Arc<Tables>,
    pub(super) log: Option<AccessLog>,
    pub(super) inbox: mpsc::UnboundedReceiver<ControlCommand>,
    pub(super) ended: watch::Sender<Option<DrainResult>>,
}

/// One thing for the applier to do.
enum ApplierTask {
    Restore(SavedState),
    Reading(SourceReading, Option<oneshot::Sender<()>>),
    /// These are all documents; what is applied then is to be told.
    Listing(SourceListing, oneshot::Sender<Documents>),
    /// These are the operators' keys.
    Keys(SavedDocument),
    /// A second has passed; the operator has been silent for so long; true: a minute has passed, too.
    Tick(Duration, bool),
}

impl ControlInput {
    /// Starts the thread.
    pub(super) fn start(self) -> Result<JoinHandle<()>, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(StartError::Thread)?;
        // Here and not on the thread: certificates that cannot be used are told at the start.
        let api = {
            let _inside = runtime.enter();
            self.follow_api()
                .transpose()
                .map_err(|error| StartError::Kubernetes(Box::new(error)))?
        };
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                let local = LocalSet::new();
                runtime.block_on(local.run_until(self.run(api)));
                // A name that is being looked up would be waited for.
                runtime.shutdown_background();
            });
        thread.map_err(StartError::Thread)
    }

    fn follow_api(&self) -> Option<Result<KubernetesSource, kube::Error>> {
        let DocumentSource::Kubernetes(cluster) = &self.source else {
            return None;
        };
        Some(KubernetesSource::follow(
            cluster,
            &self.class,
            Arc::clone(&self.tables),
        ))
    }

    async fn run(self, api: Option<KubernetesSource>) {
        let Self {
            limits,
            listeners,
            own,
            admin,
            class: _,
            pages,
            applier,
            restored,
            source,
            tables,
            log,
            inbox,
            ended,
        } = self;
        let listed = Arc::new(AtomicBool::new(false));
        let (work, todo) = mpsc::unbounded_channel();
        let applying = tokio::spawn(apply_all(applier, todo, Arc::clone(&listed)));
        let _ = work.send(ApplierTask::Restore(restored));
        let following = match source {
            DocumentSource::Directory(dir) => Some(tokio::spawn(follow(
                DirectorySource::follow(dir),
                work.clone(),
                Arc::clone(&pages),
            ))),
            DocumentSource::Kubernetes(_) => {
                api.map(|api| tokio::spawn(follow_api(api, work.clone(), Arc::clone(&pages))))
            }
            DocumentSource::Memory(first) => {
                let _ = work.send(ApplierTask::Reading(SourceReading::All(first), None));
                None
            }
        };
        let serving = admin.and_then(|listener| tokio::net::TcpListener::from_std(listener).ok());
        let serving =
            serving.map(|listener| tokio::spawn(admin::serve(listener, Arc::clone(&pages))));
        let conductor = ControlLoop {
            pages,
            work,
            listed,
            readiness: Readiness::default(),
            started: Instant::now(),
            tables,
            checks: HealthChecker::default(),
            checked: None,
            waiting: Some((listeners, limits, own)),
            workers: None,
            ready: false,
            draining: false,
            ticks: 0,
            crowd: ConnectionPressure::default(),
        };
        let drained = conductor.conduct(inbox).await;
        if let Some(following) = following {
            following.abort();
            let _ = following.await;
        }
        // The applier ends once nobody can send it work; the state it owns writes what it still has.
        let _ = applying.await;
        if let Some(log) = log {
            let _ = spawn_blocking(|| log.close()).await;
        }
        serving.inspect(tokio::task::JoinHandle::abort);
        ended.send_replace(drained);
    }
}

/// Does one piece of work after the other, each off this runtime.
async fn apply_all(
    mut applier: Applier,
    mut todo: mpsc::UnboundedReceiver<ApplierTask>,
    listed: Arc<AtomicBool>,
) {
    while let Some(work) = todo.recv().await {
        let listed = Arc::clone(&listed);
        let done = spawn_blocking(move || {
            apply(&mut applier, work, &listed);
            applier
        });
        match done.await {
            Ok(back) => applier = back,
            Err(error) => {
                return tracing::error!(%error, "documents are no longer applied; what is applied goes on");
            }
        }
    }
    // Dropping it may wait for the disk.
    let _ = spawn_blocking(|| drop(applier)).await;
}

fn apply(applier: &mut Applier, work: ApplierTask, listed: &AtomicBool) {
    match work {
        ApplierTask::Restore(restored) => applier.restore(&restored),
        ApplierTask::Reading(reading, done) => {
            applier.apply(reading);
            listed.store(true, Release);
            if let Some(done) = done {
                let _ = done.send(());
            }
        }
        ApplierTask::Listing(listing, done) => {
            applier.apply(SourceReading::All(listing));
            listed.store(true, Release);
            let _ = done.send(applier.applied());
        }
        ApplierTask::Keys(saved) => applier.keep_keys(saved),
        ApplierTask::Tick(silence, minute) => {
            applier.operator_silent_for(silence);
            applier.sweep();
            if minute {
                applier.minute_passed();
            }
        }
    }
}

/// Hands over what the directory holds, each time it changes.
async fn follow(
    mut files: DirectorySource,
    work: mpsc::UnboundedSender<ApplierTask>,
    pages: Arc<AdminState>,
) {
    loop {
        let trouble = match files.next().await {
            DirectoryUpdate::Listing(listing) => {
                let reading = SourceReading::All(listing);
                if work.send(ApplierTask::Reading(reading, None)).is_err() {
                    return;
                }
                None
            }
            DirectoryUpdate::Trouble(why) => {
                tracing::error!("documents cannot be read, and those applied go on: {why}");
                Some(why)
            }
        };
        pages
            .standing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .source_trouble = trouble;
    }
}

/// Hands over what the API has, each time it changes. What changes while a listing is applied comes with the next.
async fn follow_api(
    mut api: KubernetesSource,
    work: mpsc::UnboundedSender<ApplierTask>,
    pages: Arc<AdminState>,
) {
    let mut known = None;
    loop {
        let told = api.next().await;
        if known != told.trouble {
            match &told.trouble {
                Some(why) => {
                    tracing::error!("documents cannot be read, and those applied go on: {why}")
                }
                None => tracing::info!("documents can be read again"),
            }
            known.clone_from(&told.trouble);
        }
        {
            // Before the documents are applied: readiness must not be told in between.
            let mut standing = pages
                .standing
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            standing.source_trouble = told.trouble;
            standing.endpoints_missing = told.missing;
        }
        if let Some(saved) = told.keys.and_then(|saved| take_keys(&pages, saved))
            && work.send(ApplierTask::Keys(saved)).is_err()
        {
            return;
        }
        let Some(reading) = told.reading else {
            continue;
        };
        let (done, applied) = oneshot::channel();
        if work
            .send(ApplierTask::Reading(reading, Some(done)))
            .is_err()
        {
            return;
        }
        let _ = applied.await;
    }
}

/// Operators with these keys are believed from now on. Returns the keys if they are to be kept.
fn take_keys(pages: &AdminState, saved: SavedDocument) -> Option<SavedDocument> {
    match pages.guard.keys.as_ref()?.take(&saved.text) {
        Ok(()) => Some(saved),
        Err(why) => {
            tracing::warn!(
                source = saved.source,
                "the operators' keys stay as they were: {why}"
            );
            None
        }
    }
}

/// The clock and the commands.
struct ControlLoop {
    pages: Arc<AdminState>,
    work: mpsc::UnboundedSender<ApplierTask>,
    listed: Arc<AtomicBool>,
    readiness: Readiness,
    started: Instant,
    tables: Arc<Tables>,
    checks: HealthChecker,
    /// The generation that the checks follow.
    checked: Option<u64>,
    /// Until the workers are started.
    waiting: Option<(Listeners, WorkerSettings, Vec<WorkerResources>)>,
    workers: Option<Workers>,
    ready: bool,
    draining: bool,
    ticks: u64,
    crowd: ConnectionPressure,
}

impl ControlLoop {
    /// Returns how the workers ended, once they have.
    async fn conduct(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<ControlCommand>,
    ) -> Option<DrainResult> {
        let mut next_tick = Instant::now();
        loop {
            tokio::select! {
                command = inbox.recv() => self.obey(command.unwrap_or(ControlCommand::Stop)),
                () = tokio::time::sleep(self.pause()) => {}
            }
            self.start_workers();
            if Instant::now() >= next_tick {
                next_tick += TICK;
                self.tick();
            }
            self.follow_checks();
            self.update_standing();
            if self
                .workers
                .as_ref()
                .map_or(self.draining, Workers::is_finished)
            {
                return Some(
                    self.workers
                        .take()
                        .map_or(DrainResult { cut: 0 }, Workers::join),
                );
            }
        }
    }

    /// Start and end are looked at closely; between them nothing happens that a second would spoil.
    fn pause(&self) -> Duration {
        if self.ready && !self.draining {
            TICK
        } else {
            SETTLING_TICK
        }
    }

    fn obey(&mut self, command: ControlCommand) {
        match command {
            ControlCommand::Apply(listing, done) => {
                let _ = self.work.send(ApplierTask::Listing(listing, done));
            }
            ControlCommand::Drain => {
                self.draining = true;
                self.workers.iter().for_each(Workers::drain);
            }
            ControlCommand::Stop => {
                self.draining = true;
                self.workers.iter().for_each(Workers::stop);
            }
        }
    }

    /// Clients are let in once the first list is applied, so that none is told 404 for want of it; or when it has
    /// taken so long that something is wrong with the source, and what is there must do.
    fn start_workers(&mut self) {
        let late = self.started.elapsed() >= SOURCE_GRACE;
        if self.draining || !(self.listed.load(Acquire) || late) {
            return;
        }
        let Some((listeners, limits, own)) = self.waiting.take() else {
            return;
        };
        match Workers::start(listeners, limits, own) {
            Ok(workers) => self.workers = Some(workers),
            Err(error) => {
                tracing::error!(%error, "the workers cannot be started");
                self.draining = true;
            }
        }
    }

    fn tick(&mut self) {
        self.ticks += 1;
        if let Some(workers) = &self.workers {
            self.crowd.log(
                workers.connections().iter().sum(),
                self.pages.max_connections,
            );
            lock(&self.pages.reporter).set_crowded(self.crowd.is_scarce());
        }
        let heard = lock(&self.pages.reporter).operator_last_heard();
        let silence = heard.map_or(self.started.elapsed(), |heard| {
            Duration::try_from(Timestamp::now().duration_since(heard)).unwrap_or_default()
        });
        let minute = self.ticks.is_multiple_of(60);
        let _ = self.work.send(ApplierTask::Tick(silence, minute));
    }

    /// A new snapshot may name other endpoints.
    fn follow_checks(&mut self) {
        let generation = self.pages.snapshot.load().generation;
        if self.checked.replace(generation) != Some(generation) {
            self.checks.follow(&self.tables);
        }
    }

    fn update_standing(&mut self) {
        // Read first: what is missing is told before its documents are listed.
        let listed = self.listed.load(Acquire);
        let missing = self
            .pages
            .standing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .endpoints_missing
            .clone();
        let objection = if self.draining {
            Some("draining".to_owned())
        } else {
            let reporter = lock(&self.pages.reporter);
            let (documents, waited) = (reporter.documents(), self.started.elapsed());
            self.readiness
                .objection(documents, listed, missing.as_deref(), waited)
        };
        self.ready = objection.is_none();
        self.pages
            .standing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .not_ready = objection;
    }
}
