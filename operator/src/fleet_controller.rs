//! One fleet: while we hold its Lease, gives each release its turn when something about it changes, when a round of
//! reports is in, or when its time has come; many at once, each by itself. What it remembers survives a Lease that could
//! not be renewed, and is dropped when somebody else has had it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use halftone_api::GrayRelease;
use halftone_api::claims::ObjectPresence;
use halftone_rollout::advance::{BUSY, IDLE};
use halftone_rollout::events::{Event, EventReason};
use halftone_routing::document::Checksum;
use halftone_routing::document::units::Revision;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument;

use crate::claim_index::ReleaseClaim;
use crate::cluster_cache::CacheEvent;
use crate::error::Error;
use crate::fleet_config_map;
use crate::leader_mandate::{LeaderMandate, LeaderTerm};
use crate::names::NamespacedName;
use crate::proxy_roster::{ProxyRoster, RosterChanges};
use crate::reconcile::{ReconcileResult, reconcile};
use crate::reconcile_context::ReconcileContext;
use crate::release_cache::{ReleaseCache, ReleaseRecord};
use crate::report_collector::{PollPace, ReportCollector};
use crate::retired_fleets;
use crate::work_queue::WorkQueue;

/// Turns at once: most of a turn is waiting for the API server.
const AT_ONCE: usize = 16;
/// How often a fleet that is not in view yet is looked at again.
const UNSYNCED: Duration = Duration::from_millis(100);

type SettingsFuture = BoxFuture<'static, Result<SettingsOutcome, Error>>;
type ReconcileFuture = BoxFuture<'static, (NamespacedName, Result<ReconcileResult, Error>)>;

/// What has become of the settings of the fleet.
enum SettingsOutcome {
    /// They are written.
    Written(Revision, Checksum),
    /// The fleet has left, and its settings stay while releases use it.
    Kept,
    /// The fleet has left, and nothing is there of it any more.
    Gone,
}

/// The worker of a fleet.
pub struct FleetController {
    context: Arc<ReconcileContext>,
    collector: Arc<ReportCollector>,
    pace: Arc<PollPace>,
    mandate: LeaderMandate,
    changes: mpsc::UnboundedReceiver<CacheEvent>,
    queue: WorkQueue<NamespacedName>,
    turns: FuturesUnordered<ReconcileFuture>,
    /// Every release has been looked at once since we began to lead.
    begun: bool,
    /// The fleet has left and nothing is there of it any more.
    retired: bool,
    settings: SettingsProgress,
    settling: FuturesUnordered<SettingsFuture>,
    /// So many releases have been a sign of life.
    shown: usize,
}

/// The settings of the fleet on their way to the proxies.
#[derive(Debug, Default)]
struct SettingsProgress {
    /// Looked at again then; none for not before something changes.
    due: Option<Instant>,
    written: Option<(Revision, Checksum)>,
    acknowledged: bool,
}

impl std::fmt::Debug for FleetController {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetController")
            .field("fleet", &self.context.fleet)
            .finish_non_exhaustive()
    }
}

impl FleetController {
    /// The worker of the fleet of `context`, which acts under `mandate`.
    #[must_use]
    pub fn new(
        context: Arc<ReconcileContext>,
        collector: ReportCollector,
        mandate: LeaderMandate,
    ) -> Self {
        let changes = context.world.hear(&context.fleet.class);
        Self {
            pace: collector.pace(),
            collector: Arc::new(collector),
            mandate,
            changes,
            queue: WorkQueue::default(),
            turns: FuturesUnordered::new(),
            begun: false,
            retired: false,
            settings: SettingsProgress::default(),
            settling: FuturesUnordered::new(),
            shown: 0,
            context,
        }
    }

    /// Works until `ended`, then finishes the turns that are under way.
    pub async fn run(mut self, ended: impl Future<Output = ()>) {
        let mut ended = std::pin::pin!(ended);
        loop {
            tokio::select! {
                () = &mut ended => break,
                () = self.wait_to_lead() => {}
            }
            tokio::select! {
                () = &mut ended => break,
                () = self.lead() => {}
            }
            self.forget();
            if self.retired {
                break;
            }
        }
        // No new turn is begun; each of these ends in the time that its requests have.
        while self.turns.next().await.is_some() {}
    }

    async fn wait_to_lead(&mut self) {
        while !matches!(self.mandate.term(), LeaderTerm::Leading { .. }) {
            tokio::select! {
                () = self.mandate.changed() => {}
                // Nothing is remembered that a change could concern.
                Some(_) = self.changes.recv() => {}
            }
        }
    }

    /// Somebody else has had the Lease: all that was remembered may be wrong. Turns under way are dropped, too.
    fn forget(&mut self) {
        self.turns.clear();
        self.settling.clear();
        self.queue = WorkQueue::default();
        self.settings = SettingsProgress::default();
        self.begun = false;
        *self.context.desk() = ReleaseCache::default();
        self.context
            .metrics
            .per_release()
            .forget_class(self.context.fleet.class.as_str());
        // What proxies have counted since is in the status by whoever counted it: differences to readings of ours would
        // count it twice.
        *self.context.roster() = ProxyRoster::new(Instant::now());
    }

    /// Leads until somebody else does.
    async fn lead(&mut self) {
        let (heard, mut rounds) = mpsc::channel(1);
        let (collector, context) = (Arc::clone(&self.collector), Arc::clone(&self.context));
        let mut collecting = std::pin::pin!(async move {
            if !context.jurisdiction.leaving {
                collector
                    .run(heard, |uid| context.desk().is_looked_after(uid))
                    .await;
            }
            // Nobody knows the proxies of a fleet that has left.
            std::future::pending::<()>().await;
        });
        self.settings.due = Some(Instant::now());
        let mut ownership = self.context.ownership.hear();
        let mut owner = ownership.borrow_and_update().0.clone();
        loop {
            let leads = matches!(self.mandate.term(), LeaderTerm::Leading { .. });
            if leads && !self.begun {
                self.begin().await;
            }
            if self.retired {
                return;
            }
            if leads && self.begun {
                self.settle();
                self.start_reconciles();
            }
            self.pace.set(self.is_busy());
            let due = self.next_due(leads);
            tokio::select! {
                () = &mut collecting => {}
                Some(()) = rounds.recv() => self.round(),
                Some(change) = self.changes.recv() => self.take_all(change),
                Some(settled) = self.settling.next() => self.settled(settled),
                Some((key, ended)) = self.turns.next() => self.end(key, ended),
                () = tokio::time::sleep_until(due) => {}
                Ok(()) = ownership.changed() => {
                    let standing = ownership.borrow_and_update().0.clone();
                    if standing != owner {
                        owner = standing;
                        self.settings.due = Some(Instant::now());
                        self.reconsider();
                    }
                }
                () = self.mandate.changed() => if self.mandate.term() == LeaderTerm::Following { return },
            }
        }
    }

    fn next_due(&self, leads: bool) -> Instant {
        let now = Instant::now();
        if !leads {
            return now + IDLE;
        }
        if !self.begun {
            return now + UNSYNCED;
        }
        let turn = self.queue.next_at().filter(|_| self.turns.len() < AT_ONCE);
        [turn, self.settings.due]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + IDLE)
    }

    fn is_busy(&self) -> bool {
        let settings = self.settings.written.is_some() && !self.settings.acknowledged;
        settings || !self.context.desk().busy.is_empty()
    }

    /// The first look at everything, once it is in view: what each release claims is known before any has its turn, so
    /// that of two the older one wins whichever is looked at first.
    async fn begin(&mut self) {
        let context = Arc::clone(&self.context);
        let class = &context.fleet.class;
        // Who has asked nobody yet would say of every release that no proxy is ready.
        if !context.world.is_synced(class)
            || !context.roster().has_asked(&context.world.pods(class))
        {
            return;
        }
        let now = Instant::now();
        let mut keys: BTreeSet<NamespacedName> = context
            .world
            .keys_kept(&context.fleet.class)
            .into_iter()
            .collect();
        for (at, key) in context.world.releases().into_iter().enumerate() {
            if self.announce(&key) {
                keys.insert(key);
            }
            if at % 100 == 99 {
                tokio::task::yield_now().await;
            }
        }
        self.announce_left(&keys);
        keys.into_iter().for_each(|key| self.queue.want(key, now));
        self.begun = true;
    }

    /// Notes what the documents of releases that are gone still serve, before anybody else claims it.
    fn announce_left(&mut self, keys: &BTreeSet<NamespacedName>) {
        let ReconcileContext { world, fleet, .. } = self.context.as_ref();
        for key in keys.iter().filter(|key| world.release(key).is_none()) {
            // What we cannot see is not gone.
            let standing = if world.watches(&key.namespace) {
                ObjectPresence::Gone
            } else {
                ObjectPresence::Here
            };
            let claim = ReleaseClaim {
                standing,
                ..self
                    .context
                    .claim(world.release_config_maps(&fleet.class, key).iter())
            };
            self.context.desk().claims.note(key, Some(claim));
        }
    }

    /// Notes what a release would claim, before it has its turn. Says whether it is looked after here at all.
    fn announce(&mut self, key: &NamespacedName) -> bool {
        let context = &self.context;
        if context.desk().known(key).is_some() {
            return true;
        }
        let Some(packed) = context.world.release(key) else {
            return false;
        };
        let release = packed.unpack();
        let jurisdiction = &context.jurisdiction;
        let now = context.clock.now();
        if jurisdiction.is_anothers(&release, now.wall) || !jurisdiction.is_ours(&release) {
            return false;
        }
        let Some(uid) = release
            .metadata
            .uid
            .as_deref()
            .and_then(|uid| uid.parse().ok())
        else {
            return true;
        };
        let until = context.roster().round_at();
        let kept = context
            .world
            .kept(&context.fleet.class, &context.fleet.namespace, &uid);
        let present = kept
            .as_ref()
            .filter(|kept| context.ownership.may_go_on_from(&release, kept));
        let tracked = ReleaseRecord::restore((&release, packed), uid, present, (now, until));
        let wanted = tracked
            .newest()
            .filter(|plan| jurisdiction.forbids(plan).is_none())
            .cloned();
        let others = context.world.release_config_maps(&context.fleet.class, key);
        let claim = ReleaseClaim {
            wanted,
            ..context.claim(kept.iter().chain(&others))
        };
        let mut desk = context.desk();
        let concerned = desk.announce(key, claim);
        desk.put(key.clone(), Box::new(tracked));
        drop(desk);
        concerned.into_iter().for_each(|key| self.wake(key));
        true
    }

    /// Something about a release has changed.
    fn wake(&mut self, key: NamespacedName) {
        self.queue.want(key, Instant::now());
    }

    /// What came at once is known before anybody has a turn: a release that takes a host over before the one that gives it
    /// up, though that one's name comes first.
    fn take_all(&mut self, first: CacheEvent) {
        self.take(first);
        while let Ok(change) = self.changes.try_recv() {
            self.take(change);
        }
    }

    fn take(&mut self, change: CacheEvent) {
        match change {
            CacheEvent::Release(key) => {
                if self.context.jurisdiction.leaving {
                    self.settings.due = Some(Instant::now());
                }
                if self.begun {
                    self.announce(&key);
                    self.wake(key);
                }
            }
            CacheEvent::Proxies => {
                self.pace.poll_now();
                self.wake_busy();
            }
            CacheEvent::Settings => self.settings.due = Some(Instant::now()),
        }
    }

    /// A round of reports is in.
    fn round(&mut self) {
        self.wake_busy();
        self.wake_sleepers();
        self.show_life();
        if let Some((revision, checksum)) = self.settings.written.clone()
            && !self.settings.acknowledged
        {
            let lacking = self.context.roster().lacking_fleet(revision, &checksum);
            self.settings.acknowledged = lacking.is_empty();
        }
    }

    /// At rest no status is written, and another installation might take us for gone.
    fn show_life(&mut self) {
        if !self.context.ownership.is_beat_due() {
            return;
        }
        // Another one each time: one status that cannot be written is no sign of death.
        let shown = self.context.desk().keys().nth(self.shown).cloned();
        self.shown = if shown.is_some() { self.shown + 1 } else { 0 };
        shown.into_iter().for_each(|key| self.wake(key));
    }

    /// Who looks after the class has changed: releases may have become ours, or be handed over.
    fn reconsider(&mut self) {
        if self.begun {
            let keys = self.context.world.releases();
            keys.into_iter()
                .filter(|key| self.announce(key))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|key| self.wake(key));
        }
    }

    /// Those who rest, and about whom the proxies say something new.
    fn wake_sleepers(&mut self) {
        let RosterChanges {
            everyone,
            documents,
            counted,
        } = self.context.roster().news();
        let desk = self.context.desk();
        let concerned: Vec<NamespacedName> = if everyone {
            desk.keys().cloned().collect()
        } else {
            let told = documents.iter().filter_map(|uid| desk.key_of(uid));
            told.chain(counted.iter().filter_map(|uid| desk.minds_traffic(uid)))
                .cloned()
                .collect()
        };
        drop(desk);
        let now = Instant::now();
        concerned
            .into_iter()
            .for_each(|key| self.queue.want(key, now));
    }

    fn wake_busy(&mut self) {
        let busy: Vec<NamespacedName> = self.context.desk().busy.iter().cloned().collect();
        let now = Instant::now();
        busy.into_iter().for_each(|key| self.queue.want(key, now));
    }

    fn settle(&mut self) {
        if self.settling.is_empty() && self.settings.due.is_some_and(|due| due <= Instant::now()) {
            self.settings.due = None;
            let context = Arc::clone(&self.context);
            self.settling.push(Box::pin(async move {
                if context.jurisdiction.leaving {
                    let now = context.clock.now().wall;
                    let is_anothers =
                        |release: &GrayRelease| context.jurisdiction.is_anothers(release, now);
                    if retired_fleets::is_used(&context.world, &context.fleet.class, is_anothers) {
                        return Ok(SettingsOutcome::Kept);
                    }
                    let left = &context.jurisdiction.left;
                    retired_fleets::settle(&context.cluster, &context.fleet, left).await?;
                    return Ok(SettingsOutcome::Gone);
                }
                settle_settings(&context).await
            }));
        }
    }

    fn settled(&mut self, settled: Result<SettingsOutcome, Error>) {
        let pause = match settled {
            Ok(SettingsOutcome::Gone) => {
                self.retired = true;
                return;
            }
            Ok(SettingsOutcome::Kept) => IDLE,
            Ok(SettingsOutcome::Written(revision, checksum)) => {
                let written = (revision, checksum);
                if self.settings.written.as_ref() != Some(&written) {
                    self.settings.acknowledged = false;
                    self.settings.written = Some(written);
                }
                // A proxy that comes with a higher number from elsewhere is seen at the next look.
                IDLE
            }
            Err(error) => {
                self.context
                    .metrics
                    .failed(self.context.fleet.class.as_str(), error.kind());
                tracing::warn!(fleet = %self.context.fleet.class, "the fleet's settings: {error}");
                BUSY
            }
        };
        let due = Instant::now() + pause;
        self.settings.due = Some(self.settings.due.map_or(due, |sooner| sooner.min(due)));
    }

    fn start_reconciles(&mut self) {
        while self.turns.len() < AT_ONCE {
            let Some(key) = self.queue.next(Instant::now()) else {
                break;
            };
            let context = Arc::clone(&self.context);
            let span = tracing::info_span!(
                "turn", fleet = %context.fleet.class, namespace = &*key.namespace, release = &*key.name,
                revision = tracing::field::Empty
            );
            let turn = async move {
                let ended = Box::pin(reconcile(&context, &key)).await;
                (key, ended)
            };
            self.turns.push(Box::pin(turn.instrument(span)));
        }
    }

    fn end(&mut self, key: NamespacedName, ended: Result<ReconcileResult, Error>) {
        let now = Instant::now();
        let context = Arc::clone(&self.context);
        let class = context.fleet.class.as_str();
        match ended {
            Ok(ReconcileResult {
                wake_after,
                concerned,
            }) => {
                self.queue.done(key, now, wake_after);
                concerned.into_iter().for_each(|key| self.wake(key));
            }
            Err(error) => {
                self.context.metrics.failed(class, error.kind());
                self.tell(&key, &error);
                self.queue.failed(key, now, rand::random_range(0.0..1.0));
            }
        }
        self.context
            .metrics
            .set_release_count(class, self.context.desk().len());
    }

    /// A turn that failed is told of; people hear of it where they can do something about it.
    fn tell(&self, key: &NamespacedName, error: &Error) {
        let fleet = &self.context.fleet.class;
        let (namespace, release) = (&*key.namespace, &*key.name);
        let (what, cause) = match error {
            Error::Unwritten(cause) => ("the turn is not persisted", cause.as_ref()),
            Error::Unprogrammed(cause) => ("the routing document is not written", cause.as_ref()),
            cause => ("the turn is void", cause),
        };
        match cause {
            Error::Conflict(_) | Error::NotLeading => {
                tracing::debug!(%fleet, namespace, release, "{what}: {error}");
            }
            Error::Unreachable { .. }
            | Error::Late { .. }
            | Error::Unwritten(_)
            | Error::Unprogrammed(_) => {
                tracing::warn!(%fleet, namespace, release, "{what}: {error}");
            }
            Error::Refused { .. } | Error::Document(_) => {
                let text = error.to_string();
                if self
                    .context
                    .desk()
                    .told
                    .insert(key.clone(), text.clone())
                    .as_ref()
                    == Some(&text)
                {
                    return;
                }
                tracing::error!(%fleet, namespace, release, "{what}: {error}");
                // A turn that counts tells of it by itself.
                if let Some(object) = self.context.world.release(key).filter(|_| !error.counts()) {
                    self.context.publisher.publish(
                        &object.unpack(),
                        Event::new(EventReason::NotPersisted, text),
                    );
                }
            }
        }
    }
}

/// Has the settings of the fleet written as they are declared.
async fn settle_settings(context: &ReconcileContext) -> Result<SettingsOutcome, Error> {
    let highest = context.roster().highest_fleet_revision();
    let written = fleet_config_map::settle(
        &context.cluster,
        &context.fleet,
        context.world.settings(&context.fleet),
        &context.declaration.config,
        highest,
        context.ownership.us(),
    );
    let (revision, checksum) = written.await?;
    Ok(SettingsOutcome::Written(revision, checksum))
}
