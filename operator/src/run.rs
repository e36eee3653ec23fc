//! Starts everything in its order, and ends it in the opposite one: no new turns, the turns under way, the Leases.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halftone_api::fleet::{FleetDeclaration, FleetDeclarations};
use halftone_daemon::token::Signer;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::api_client::ApiClient;
use crate::clock::Clock;
use crate::cluster_cache::{ClusterCache, fleet_ref};
use crate::crd_check;
use crate::credentials::Credentials;
use crate::event_publisher::EventPublisher;
use crate::events::EventRecorder;
use crate::fleet_controller::FleetController;
use crate::jurisdiction::Jurisdiction;
use crate::leader_elector::LeaderElector;
use crate::leader_mandate::LeaderMandate;
use crate::metrics::Metrics;
use crate::objects::FleetRef;
use crate::ownership::{self, Ownership, OwnershipSinks};
use crate::pages::{self, ReadinessNotices};
use crate::proxy_roster::ProxyRoster;
use crate::reconcile_context::ReconcileContext;
use crate::report_collector::ReportCollector;
use crate::retired_fleets::{self, RetiredClasses};

/// Shutdown takes no longer: less than the 30 s that a pod has.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// What an operator is started with.
#[derive(Debug)]
pub struct OperatorOptions {
    /// The fleets and the namespaces.
    pub fleets: FleetDeclarations,
    /// One file for each class.
    pub token_dir: PathBuf,
    /// The name of this process.
    pub identity: String,
}

/// What the parts of all fleets have in common.
struct OperatorContext {
    client: Client,
    fleets: Arc<FleetDeclarations>,
    token_dir: PathBuf,
    identity: String,
    signer: Arc<Signer>,
    world: Arc<ClusterCache>,
    metrics: Arc<Metrics>,
    notices: Arc<ReadinessNotices>,
    events: EventRecorder,
    clock: Clock,
    left: Arc<RetiredClasses>,
}

/// Runs until `ended`.
pub async fn run(
    client: Client,
    options: OperatorOptions,
    listener: TcpListener,
    ended: impl Future<Output = ()>,
) {
    let OperatorOptions {
        fleets,
        token_dir,
        identity,
    } = options;
    let (fleets, metrics) = (Arc::new(fleets), Arc::new(Metrics::new()));
    let world = ClusterCache::new(client.clone(), &fleets, Arc::clone(&metrics));
    let (events, writing) =
        EventRecorder::start(client.clone(), identity.clone(), Arc::clone(&metrics));
    let signer =
        Signer::generate().expect("the system has random bytes, or TLS would not work either");
    let (signer, notices, clock) = (
        Arc::new(signer),
        Arc::<ReadinessNotices>::default(),
        Clock::start(),
    );
    let left = Arc::<RetiredClasses>::default();
    let shared = OperatorContext {
        client,
        fleets,
        token_dir,
        identity,
        signer,
        world,
        metrics,
        notices,
        events,
        clock,
        left,
    };
    let mut background = JoinSet::new();
    background.spawn(writing);
    shared.serve(&mut background, listener);
    let (stop, stopped) = watch::channel(false);
    let (release, released) = watch::channel(false);
    let (mut workers, mut candidates) = (JoinSet::new(), JoinSet::new());
    let mut mandates = Vec::new();
    for (at, declaration) in shared.fleets.fleets.iter().enumerate() {
        // The configuration was checked for it.
        let Some(fleet) = fleet_ref(declaration) else {
            continue;
        };
        let (candidate, mandate, worker) =
            shared.fleet(fleet, declaration, at == 0, &mut background);
        workers.spawn(worker.run(set(stopped.clone())));
        candidates.spawn(candidate.run(set(released.clone())));
        mandates.push(mandate);
    }
    shared.world.watch();
    let mut ended = std::pin::pin!(ended);
    tokio::select! {
        () = &mut ended => {}
        found = retired_fleets::find(&shared.client, &shared.fleets, &shared.left) => {
            for declaration in found {
                if let Some(worker) = shared.leaving(&declaration, mandates.first(), &mut background) {
                    workers.spawn(worker.run(set(stopped.clone())));
                }
            }
            shared.world.look_again();
            ended.await;
        }
    }
    let all = async {
        stop.send_replace(true);
        while workers.join_next().await.is_some() {}
        // Whoever takes over now finds nothing of ours under way.
        release.send_replace(true);
        while candidates.join_next().await.is_some() {}
    };
    if tokio::time::timeout(SHUTDOWN, all).await.is_err() {
        tracing::warn!("the end took longer than {SHUTDOWN:?}; the Leases run out by themselves");
    }
}

impl OperatorContext {
    /// The pages, and what has to do with no fleet.
    fn serve(&self, background: &mut JoinSet<()>, listener: TcpListener) {
        let (world, notices, metrics) = (&self.world, &self.notices, &self.metrics);
        let told = || (Arc::clone(notices), Arc::clone(metrics));
        let (pages_notices, pages_metrics) = told();
        background.spawn(pages::serve(
            listener,
            Arc::clone(world),
            pages_notices,
            pages_metrics,
        ));
        let (notices, metrics) = told();
        background.spawn(crd_check::follow(self.client.clone(), notices, metrics));
    }

    /// The parts of one fleet.
    fn fleet(
        &self,
        fleet: FleetRef,
        declaration: &FleetDeclaration,
        takes_strays: bool,
        background: &mut JoinSet<()>,
    ) -> (LeaderElector, LeaderMandate, FleetController) {
        let ownership = self.ownership(&fleet, background);
        let tools = (&*ownership, Arc::clone(&self.metrics));
        let (candidate, terms) = LeaderElector::new(
            self.client.clone(),
            fleet.clone(),
            &self.identity,
            self.clock,
            tools,
        );
        let mandate = LeaderMandate::new(terms);
        let worker = self.worker(
            (fleet, declaration),
            ownership,
            &mandate,
            (takes_strays, false),
        );
        (candidate, mandate, worker)
    }

    /// The worker of a fleet that has left, which acts under the mandate of one that is there.
    fn leaving(
        &self,
        declaration: &FleetDeclaration,
        mandate: Option<&LeaderMandate>,
        background: &mut JoinSet<()>,
    ) -> Option<FleetController> {
        let (fleet, mandate) = (fleet_ref(declaration)?, mandate?);
        tracing::warn!(fleet = %fleet.class, "the fleet has left the configuration; its documents stay while releases use it");
        self.world.add_left(&fleet);
        let ownership = self.ownership(&fleet, background);
        Some(self.worker((fleet, declaration), ownership, mandate, (false, true)))
    }

    fn worker(
        &self,
        (fleet, declaration): (FleetRef, &FleetDeclaration),
        ownership: Arc<Ownership>,
        mandate: &LeaderMandate,
        (takes_strays, leaving): (bool, bool),
    ) -> FleetController {
        self.metrics.begin(fleet.class.as_str());
        let roster = Arc::new(Mutex::new(ProxyRoster::new(Instant::now())));
        let cluster = ApiClient::new(self.client.clone(), mandate.clone());
        let collector = self.collector(&fleet, &roster, &cluster);
        let publisher = EventPublisher::new(
            fleet.class.clone(),
            Arc::clone(&self.metrics),
            self.events.clone(),
            self.clock,
        );
        let jurisdiction = Jurisdiction {
            fleet: fleet.clone(),
            fleets: Arc::clone(&self.fleets),
            takes_strays,
            leaving,
            left: Arc::clone(&self.left),
            ownership: Arc::clone(&ownership),
        };
        let context = ReconcileContext {
            fleet,
            declaration: declaration.clone(),
            cluster,
            world: Arc::clone(&self.world),
            roster,
            desk: Mutex::default(),
            clock: self.clock,
            metrics: Arc::clone(&self.metrics),
            publisher,
            ownership,
            jurisdiction,
        };
        FleetController::new(Arc::new(context), collector, mandate.clone())
    }

    fn ownership(&self, fleet: &FleetRef, background: &mut JoinSet<()>) -> Arc<Ownership> {
        let ownership = Arc::new(Ownership::new(self.fleets.installation.clone()));
        let told = OwnershipSinks {
            metrics: Arc::clone(&self.metrics),
            events: self.events.clone(),
            pod: self.identity.clone(),
            notices: Arc::clone(&self.notices),
        };
        let world = Arc::clone(&self.world);
        background.spawn(ownership::follow(
            Arc::clone(&ownership),
            fleet.clone(),
            world,
            told,
        ));
        ownership
    }

    fn collector(
        &self,
        fleet: &FleetRef,
        roster: &Arc<Mutex<ProxyRoster>>,
        cluster: &ApiClient,
    ) -> ReportCollector {
        let bearer = self.token_dir.join(fleet.class.as_str());
        let of_us = (Arc::clone(&self.signer), &*self.identity);
        let credentials = Credentials::new(fleet.clone(), of_us, bearer, cluster.clone());
        let tools = (self.clock, Arc::clone(&self.metrics), self.events.clone());
        ReportCollector::new(
            fleet.clone(),
            credentials,
            Arc::clone(&self.world),
            Arc::clone(roster),
            tools,
        )
    }
}

async fn set(mut flag: watch::Receiver<bool>) {
    // An end of the sender is an end, too.
    let _ = flag.wait_for(|set| *set).await;
}
