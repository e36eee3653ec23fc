//! Starts everything in its order, and ends it in the opposite one: no new turns, the turns under way, the Leases.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halftone_rollout::fleet::FleetDeclarations;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::collect::Collector;
use crate::events::Events;
use crate::lease::Candidate;
use crate::mandate::Mandate;
use crate::metrics::Metrics;
use crate::pages;
use crate::reconcile::Context;
use crate::roster::Roster;
use crate::worker::Worker;
use crate::world::{World, fleet_ref};

/// Shutdown takes no longer: less than the 30 s that a pod has.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// What an operator is started with.
#[derive(Debug)]
pub struct Options {
    /// The fleets and the namespaces.
    pub fleets: FleetDeclarations,
    /// One file for each class.
    pub token_dir: PathBuf,
    /// The name of this process.
    pub identity: String,
}

/// Runs until `ended`.
pub async fn run(client: Client, options: Options, listener: TcpListener, ended: impl Future<Output = ()>) {
    let Options { fleets, token_dir, identity } = options;
    let (fleets, metrics, clock) = (Arc::new(fleets), Arc::new(Metrics::new()), Clock::start());
    let world = World::new(client.clone(), &fleets, Arc::clone(&metrics));
    let (events, writing) = Events::start(client.clone(), identity.clone(), Arc::clone(&metrics));
    let mut background = JoinSet::new();
    background.spawn(pages::serve(listener, Arc::clone(&world), Arc::clone(&metrics)));
    background.spawn(writing);
    let (stop, stopped) = watch::channel(false);
    let (release, released) = watch::channel(false);
    let (mut workers, mut candidates) = (JoinSet::new(), JoinSet::new());
    for (at, declaration) in fleets.fleets.iter().enumerate() {
        // The configuration was checked for it.
        let Some(fleet) = fleet_ref(declaration) else { continue };
        let (candidate, terms) =
            Candidate::new(client.clone(), fleet.clone(), &identity, clock, Arc::clone(&metrics));
        let mandate = Mandate::new(terms);
        let roster = Arc::new(Mutex::new(Roster::new(Instant::now())));
        let token = token_dir.join(fleet.class.as_str());
        let tools = (clock, Arc::clone(&metrics), events.clone());
        let collector = Collector::new(fleet.clone(), token, Arc::clone(&world), Arc::clone(&roster), tools);
        let context = Context {
            fleet,
            declaration: declaration.clone(),
            fleets: Arc::clone(&fleets),
            takes_strays: at == 0,
            cluster: Cluster::new(client.clone(), mandate.clone()),
            world: Arc::clone(&world),
            roster,
            desk: Mutex::default(),
            clock,
            metrics: Arc::clone(&metrics),
            events: events.clone(),
        };
        let worker = Worker::new(Arc::new(context), collector, mandate);
        workers.spawn(worker.run(set(stopped.clone())));
        candidates.spawn(candidate.run(set(released.clone())));
    }
    world.watch();
    ended.await;
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

async fn set(mut flag: watch::Receiver<bool>) {
    // An end of the sender is an end, too.
    let _ = flag.wait_for(|set| *set).await;
}
