//! The present snapshot as one worker uses it: for each arm its settings read once, the pool of its connections, and
//! whether its release was taken back. Made at an arm's first request, kept until a snapshot changes the release.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use halftone_routing::document::RoutingConfig;
use halftone_routing::document::arm::{self, ArmConfig, Backend, ServiceRef};
use halftone_routing::document::identity::{IdentitySource, RawSource};
use halftone_routing::document::limits::{ErrorStatuses, Quantile};
use halftone_routing::document::names::Uid;
use halftone_routing::document::rule::Source;
use halftone_routing::document::units::ReleaseId;
use halftone_routing::routes::{CompiledRelease, DestinationId, ReleaseIndex};

use super::capacity::{ArmKey, WaitClass};
use super::tick::Tick;
use crate::http1::write::{ArmFields, LocationContext, PathRewrite};
use crate::http1::{ChunkRules, MessageError, Strictness};
use crate::snapshot::{Snapshot, SnapshotDestination, SnapshotReader};
use crate::upstream::BackendStream;
use crate::upstream::destinations::DestinationCounters;
use crate::upstream::endpoints::Table;
use crate::upstream::in_flight::{AdmissionError, InFlight};
use crate::upstream::pool::Pool;

/// One arm of one release, or the default backend.
#[derive(Debug)]
pub(crate) struct WorkerArm {
    pub(crate) pool: Rc<Pool<BackendStream>>,
    pub(crate) timeouts: ExchangeTimeouts,
    /// Shortest first.
    pub(crate) limits: Box<[LatencyThreshold]>,
    pub(crate) error_statuses: ErrorStatuses,
    /// Without a slash at its end; empty for none.
    path_prefix: Box<str>,
    /// The Service whose endpoints it has, unless it has addresses.
    service: Option<ServiceRef>,
    /// Its release has only part of the paths.
    has_part: bool,
    blame: ViolationContext,
    /// Names of the fields that the release finds its users by.
    pub(crate) identity_fields: Box<[Box<str>]>,
    /// How chunked bodies are read, both ways.
    pub(crate) chunks: Chunks,
    version: Option<VersionFields>,
    /// Most bytes of a request's body.
    pub(crate) max_body: u64,
    max_in_flight: u32,
    max_tunnels: u32,
    counters: Arc<DestinationCounters>,
    worker: usize,
    standing: Rc<ArmRecall>,
}

/// A request counted against `maxInFlight` until dropped. It holds the arm by the worker's own count: an atomic one
/// would share a cache line between workers.
#[derive(Debug)]
pub(crate) struct Admission {
    arm: Rc<WorkerArm>,
    kept_by_client: bool,
}

impl Admission {
    /// Whether the backend could be done with the request, were it not for the client.
    pub(crate) fn kept_by_client(&mut self, kept: bool) {
        let (in_flight, worker) = (self.arm.in_flight(), self.arm.worker);
        match (std::mem::replace(&mut self.kept_by_client, kept), kept) {
            (false, true) => in_flight.begin_keeping(worker),
            (true, false) => in_flight.end_keeping(worker),
            (true, true) | (false, false) => {}
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.kept_by_client(false);
        self.arm.in_flight().leave(self.arm.worker);
    }
}

/// An exchange whose client is waited for, counted until dropped.
#[derive(Debug)]
pub(crate) struct AwaitedExchange {
    arm: Rc<WorkerArm>,
    pub(crate) wait: WaitClass,
}

impl Drop for AwaitedExchange {
    fn drop(&mut self) {
        self.arm
            .in_flight()
            .leave_waiting(self.arm.worker, self.wait);
    }
}

/// A tunnel, open or asked for, counted against `maxTunnels` until dropped.
#[derive(Debug)]
pub(crate) struct TunnelSlot(Rc<WorkerArm>);

impl Drop for TunnelSlot {
    fn drop(&mut self) {
        self.0.in_flight().leave_tunnel(self.0.worker);
    }
}

/// Whose malformed answers are whose.
#[derive(Debug)]
struct ViolationContext {
    release: Box<str>,
    arm: &'static str,
}

/// How chunked bodies are read.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    pub(crate) request: ChunkRules,
    pub(crate) response: ChunkRules,
}

impl Chunks {
    fn new(config: &RoutingConfig, arm: &ArmConfig) -> Self {
        let version = config.version_header.response.as_str();
        let strictness = if arm.lenient {
            Strictness::Lenient
        } else {
            Strictness::Strict
        };
        // Each name once: rules often name a field in many conditions, and each request's fields are compared with them.
        let own_fields: BTreeSet<_> = own_fields(config).map(str::to_ascii_lowercase).collect();
        let own_fields = own_fields.into_iter().map(Into::into).collect();
        Self {
            request: ChunkRules {
                strictness: Strictness::Strict,
                own_fields,
            },
            response: ChunkRules {
                strictness,
                own_fields: [version.into()].into(),
            },
        }
    }
}

/// Names of the fields that a release sets on the way upstream or decides by.
fn own_fields(config: &RoutingConfig) -> impl Iterator<Item = &str> {
    let rules = config
        .rules
        .iter()
        .flat_map(|rule| &rule.when)
        .chain(&config.limits.exclude);
    let conditions = rules
        .flat_map(|all| all.conditions())
        .filter_map(|condition| match condition.source() {
            Source::Header(name) => Some(name.as_str()),
            _ => None,
        });
    let debug = config.debug.iter().map(|debug| debug.header.as_str());
    let identity = config.identity.from.iter().filter_map(identity_field);
    std::iter::once(config.version_header.request.as_str())
        .chain(identity)
        .chain(conditions)
        .chain(debug)
}

/// The fields that tell the version.
#[derive(Debug)]
struct VersionFields {
    request: Box<str>,
    response: Box<str>,
    version: Box<str>,
}

/// How long each part of an exchange may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExchangeTimeouts {
    pub(crate) connect: Duration,
    pub(crate) response_head: Duration,
    pub(crate) idle: Duration,
    pub(crate) tunnel: Duration,
}

impl ExchangeTimeouts {
    /// How long the backend may take no byte of what it is sent.
    pub(crate) fn unread(&self) -> Duration {
        self.response_head.max(self.idle)
    }
}

impl From<&arm::Timeouts> for ExchangeTimeouts {
    fn from(timeouts: &arm::Timeouts) -> Self {
        Self {
            connect: timeouts.connect_ms.duration(),
            response_head: timeouts.response_head_ms.duration(),
            idle: timeouts.idle_ms.duration(),
            tunnel: timeouts.tunnel_ms.duration(),
        }
    }
}

/// An absolute latency limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LatencyThreshold {
    pub(crate) after: Duration,
    pub(crate) quantile: Quantile,
}

/// Whether a gray arm still has its release's word; outlives snapshots, since its tunnels do.
#[derive(Debug, Default)]
struct ArmRecall(Cell<Option<Tick>>);

/// A gray arm in use, and which release it follows.
#[derive(Debug)]
struct GrayStanding {
    release: ReleaseId,
    /// Where the release was when it last changed.
    index: ReleaseIndex,
    recall: Rc<ArmRecall>,
}

impl WorkerArm {
    fn new(
        config: &RoutingConfig,
        arm: &ArmConfig,
        pool: Rc<Pool<BackendStream>>,
        (counters, worker): (&Arc<DestinationCounters>, usize),
        standing: Rc<ArmRecall>,
        blame: ViolationContext,
    ) -> Self {
        let mut limits: Vec<_> = config
            .limits
            .latency
            .iter()
            .map(|(quantile, limit)| LatencyThreshold {
                after: limit.duration(),
                quantile: *quantile,
            })
            .collect();
        limits.sort_by_key(|limit| limit.after);
        Self {
            pool,
            timeouts: (&arm.timeouts).into(),
            limits: limits.into(),
            error_statuses: config.limits.error_statuses.clone(),
            path_prefix: arm
                .path_prefix
                .as_ref()
                .map_or("", |prefix| prefix.as_str())
                .trim_end_matches('/')
                .into(),
            service: service(&arm.backend),
            blame,
            has_part: config.has_part_of_the_paths(),
            identity_fields: config
                .identity
                .from
                .iter()
                .filter_map(identity_field)
                .map(Into::into)
                .collect(),
            chunks: Chunks::new(config, arm),
            version: Some(VersionFields {
                request: config.version_header.request.as_str().into(),
                response: config.version_header.response.as_str().into(),
                version: arm.version.as_str().into(),
            }),
            max_body: config.max_body_bytes.map_or(u64::MAX, NonZeroU64::get),
            max_in_flight: arm.max_in_flight,
            max_tunnels: arm.max_tunnels,
            counters: Arc::clone(counters),
            worker,
            standing,
        }
    }

    /// The fleet's default backend: an arm with every default that no release speaks for.
    fn default_backend(
        backend: &Backend,
        pool: Rc<Pool<BackendStream>>,
        (counters, worker): (&Arc<DestinationCounters>, usize),
        blame: ViolationContext,
    ) -> Self {
        Self {
            blame,
            pool,
            timeouts: (&arm::Timeouts::default()).into(),
            limits: Box::default(),
            error_statuses: ErrorStatuses::default(),
            path_prefix: "".into(),
            service: service(backend),
            has_part: false,
            identity_fields: Box::default(),
            chunks: Chunks::default(),
            version: None,
            max_body: u64::MAX,
            max_in_flight: arm::DEFAULT_MAX_IN_FLIGHT,
            max_tunnels: arm::DEFAULT_MAX_TUNNELS,
            counters: Arc::clone(counters),
            worker,
            standing: Rc::default(),
        }
    }

    fn in_flight(&self) -> &InFlight {
        &self.counters.in_flight
    }

    /// Whether another request may go there.
    ///
    /// # Errors
    /// `maxInFlight` is reached.
    pub(crate) fn room(&self) -> Result<(), AdmissionError> {
        self.in_flight().room(self.worker, self.max_in_flight)
    }

    /// Counts a request in, whether there is room or not.
    pub(crate) fn enter(self: &Rc<Self>) -> Admission {
        self.in_flight().enter(self.worker);
        Admission {
            arm: Rc::clone(self),
            kept_by_client: false,
        }
    }

    /// Counts an exchange in whose client is waited for.
    pub(crate) fn await_client(self: &Rc<Self>, wait: WaitClass) -> AwaitedExchange {
        self.in_flight().enter_waiting(self.worker, wait);
        AwaitedExchange {
            arm: Rc::clone(self),
            wait,
        }
    }

    /// More exchanges have waited for their clients for as long than the arm may have requests: each holds a connection
    /// to a backend.
    pub(crate) fn is_crowded(&self, wait: WaitClass) -> bool {
        self.in_flight()
            .is_crowded(self.worker, wait, self.max_in_flight)
    }

    /// The arm as the same one from snapshot to snapshot.
    pub(crate) fn key(&self) -> ArmKey {
        ArmKey(Arc::as_ptr(&self.counters).addr())
    }

    /// Counts a tunnel in. `None`: `maxTunnels` is reached.
    pub(crate) fn enter_tunnel(self: &Rc<Self>) -> Option<TunnelSlot> {
        if !self.in_flight().tunnel_fits(self.max_tunnels) {
            return None;
        }
        self.in_flight().enter_tunnel(self.worker);
        Some(TunnelSlot(Rc::clone(self)))
    }

    /// What becomes of a path on its way upstream.
    pub(crate) fn onward(&self) -> PathRewrite<'_> {
        match &*self.path_prefix {
            "" if self.has_part => PathRewrite::WithoutDots,
            "" => PathRewrite::AsReceived,
            prefix => PathRewrite::Under(prefix),
        }
    }

    /// What is taken off where this backend says where things are; `asked`: what the client asked for.
    pub(crate) fn homeward<'a>(
        &'a self,
        asked: &'a [u8],
        backend: SocketAddr,
    ) -> LocationContext<'a> {
        LocationContext {
            prefix: &self.path_prefix,
            asked,
            backend,
            service: self.service.as_ref(),
        }
    }

    /// Takes note of an answer that broke a rule, and tells the log of it now and then.
    pub(crate) fn note_malformed(&self, rule: MessageError, upstream: Option<SocketAddr>) {
        let ViolationContext { release, arm } = &self.blame;
        let violations = &self.counters.violations;
        if let Some(answers) = violations.count(rule, upstream, Instant::now()) {
            let upstream = upstream.map(tracing::field::display);
            tracing::warn!(%release, arm, upstream, rule = rule.word(), answers, "a malformed answer: {rule}");
        }
    }

    /// How strictly its answers are read.
    pub(crate) fn strictness(&self) -> Strictness {
        self.chunks.response.strictness
    }

    /// Name and value of the version field on the way upstream.
    pub(crate) fn request_version(&self) -> Option<(&str, &str)> {
        self.version
            .as_ref()
            .map(|fields| (&*fields.request, &*fields.version))
    }

    /// Name and value of the version field on the way back.
    pub(crate) fn response_version(&self) -> Option<(&str, &str)> {
        self.version
            .as_ref()
            .map(|fields| (&*fields.response, &*fields.version))
    }

    /// What requests to it bear of it.
    pub(crate) fn stamp(&self) -> ArmFields<'_> {
        ArmFields {
            path_prefix: &self.path_prefix,
            version: self.request_version(),
        }
    }

    /// When its release was rolled back or forced away from it, if that was after `started`: who came later was sent
    /// here all the same.
    pub(crate) fn recalled(&self, started: Tick) -> Option<Tick> {
        self.standing
            .0
            .get()
            .filter(|recalled| *recalled >= started)
    }
}

fn service(backend: &Backend) -> Option<ServiceRef> {
    match backend {
        Backend::Service(service) => Some(service.clone()),
        Backend::Addresses(_) => None,
    }
}

/// The field that an identity source reads, if it reads one of its own.
fn identity_field(source: &IdentitySource) -> Option<&str> {
    match source {
        IdentitySource::Header(name) | IdentitySource::Raw(RawSource::Header(name)) => {
            Some(name.as_str())
        }
        IdentitySource::JwtClaim(claim) => Some(claim.header.as_str()),
        _ => None,
    }
}

/// One worker's view of the present snapshot.
#[derive(Debug)]
pub(crate) struct WorkerArms {
    reader: RefCell<SnapshotReader>,
    cache: ArmCache,
}

impl WorkerArms {
    pub(crate) fn new(reader: SnapshotReader, worker: usize) -> Self {
        let cache = ArmCache {
            worker,
            generation: Cell::new(u64::MAX),
            flips: Cell::new(0),
            arms: RefCell::default(),
            pools: RefCell::default(),
            standings: RefCell::default(),
            recalls: Cell::new(0),
        };
        Self {
            reader: RefCell::new(reader),
            cache,
        }
    }

    /// Calls `f` with the newest snapshot. To be called once per request.
    pub(crate) fn with<T>(&self, now: Tick, f: impl FnOnce(&Snapshot, &ArmCache) -> T) -> T {
        let mut reader = self.reader.borrow_mut();
        let snapshot = reader.load();
        if snapshot.generation != self.cache.generation.get() {
            self.cache.follow(snapshot, now);
        }
        f(snapshot, &self.cache)
    }

    /// Ten times a second: follows the snapshot and the overlays, so that an idle worker lets go of old ones, and closes idle
    /// connections. True: an arm was taken back since the last time.
    pub(crate) fn refresh(&self, now: Tick) -> bool {
        self.with(now, |snapshot, cache| {
            cache.follow_flips(snapshot, now);
            cache.sweep(snapshot, now);
        });
        self.cache.recalls.replace(0) > 0
    }
}

/// What was made for the present snapshot, and what goes on from one to the next.
#[derive(Debug)]
pub(crate) struct ArmCache {
    worker: usize,
    generation: Cell<u64>,
    /// Flips of overlays that the standings follow.
    flips: Cell<u64>,
    /// By [`DestinationId`]; kept until the destination is another.
    arms: RefCell<Vec<Option<Rc<WorkerArm>>>>,
    /// By table: connections survive new documents.
    pools: RefCell<HashMap<u32, Rc<Pool<BackendStream>>>>,
    /// Of the gray arms in use.
    standings: RefCell<HashMap<Uid, GrayStanding>>,
    recalls: Cell<usize>,
}

impl ArmCache {
    /// One arm of a release of this snapshot; `None` if the release has no such arm.
    pub(crate) fn arm(
        &self,
        snapshot: &Snapshot,
        (index, release): (ReleaseIndex, &CompiledRelease),
        arm: arm::Arm,
    ) -> Option<Rc<WorkerArm>> {
        self.known_or(snapshot, release.destination(arm)?, |destination| {
            let config = release.config();
            let blame = ViolationContext {
                release: format!("{}/{}", config.release.namespace, config.release.name).into(),
                arm: arm.name(),
            };
            Some(WorkerArm::new(
                config,
                config.arms.get(arm)?,
                self.pool(&destination.table),
                (&destination.counters, self.worker),
                self.standing(index, config, arm),
                blame,
            ))
        })
    }

    /// Where requests go that no release claims.
    pub(crate) fn default_backend(
        &self,
        snapshot: &Snapshot,
        id: DestinationId,
    ) -> Option<Rc<WorkerArm>> {
        self.known_or(snapshot, id, |destination| {
            let blame = ViolationContext {
                release: "none".into(),
                arm: "default backend",
            };
            Some(WorkerArm::default_backend(
                snapshot.routes.fleet().default_backend.as_ref()?,
                self.pool(&destination.table),
                (&destination.counters, self.worker),
                blame,
            ))
        })
    }

    /// The record of a destination, made at its first request.
    fn known_or(
        &self,
        snapshot: &Snapshot,
        id: DestinationId,
        make: impl FnOnce(&SnapshotDestination) -> Option<WorkerArm>,
    ) -> Option<Rc<WorkerArm>> {
        if let Some(known) = &self.arms.borrow()[id.get()] {
            return Some(Rc::clone(known));
        }
        let made = Rc::new(make(snapshot.destination(id)?)?);
        self.arms.borrow_mut()[id.get()] = Some(Rc::clone(&made));
        Some(made)
    }

    fn pool(&self, table: &Arc<Table>) -> Rc<Pool<BackendStream>> {
        let mut pools = self.pools.borrow_mut();
        let pool = pools
            .entry(table.id)
            .or_insert_with(|| Rc::new(Pool::new(table)));
        Rc::clone(pool)
    }

    /// Stable arms are never taken back, and need no memory of it.
    fn standing(
        &self,
        index: ReleaseIndex,
        config: &RoutingConfig,
        arm: arm::Arm,
    ) -> Rc<ArmRecall> {
        if arm == arm::Arm::Stable {
            return Rc::default();
        }
        let mut standings = self.standings.borrow_mut();
        let of = &config.release;
        match standings.get(&of.uid) {
            Some(standing) if standing.release == of.id => Rc::clone(&standing.recall),
            _ => {
                let recall = Rc::<ArmRecall>::default();
                let standing = GrayStanding {
                    release: of.id,
                    index,
                    recall: Rc::clone(&recall),
                };
                standings.insert(of.uid.clone(), standing);
                recall
            }
        }
    }

    /// Takes up what changed since the snapshot followed last: a worker pays for what changed, not for all there is.
    fn follow(&self, snapshot: &Snapshot, now: Tick) {
        let before = self.generation.replace(snapshot.generation);
        if let Some(changes) = snapshot.changes_since(before) {
            changes.for_each(|change| {
                self.forget(&change.destinations);
                self.find_again(snapshot, change.releases.iter().copied());
            });
        } else {
            self.arms.borrow_mut().clear();
            let all = snapshot.routes.releases();
            self.find_again(snapshot, all.map(|(index, _)| index));
        }
        let mut arms = self.arms.borrow_mut();
        let limit = snapshot.routes.destination_limit().max(arms.len());
        arms.resize_with(limit, Default::default);
        self.follow_standings(snapshot, now);
    }

    /// Lets go of what was made for destinations that are others now, or gone.
    fn forget(&self, destinations: &[DestinationId]) {
        let mut arms = self.arms.borrow_mut();
        for id in destinations {
            if let Some(arm) = arms.get_mut(id.get()) {
                *arm = None;
            }
        }
    }

    /// Takes note of where releases are now.
    fn find_again(&self, snapshot: &Snapshot, releases: impl Iterator<Item = ReleaseIndex>) {
        let mut standings = self.standings.borrow_mut();
        if standings.is_empty() {
            return;
        }
        for index in releases {
            let release = snapshot.routes.get(index);
            let uid = release.map(|release| &release.config().release.uid);
            if let Some(standing) = uid.and_then(|uid| standings.get_mut(uid)) {
                standing.index = index;
            }
        }
    }

    /// An overlay that was written takes arms back or returns them, without a new snapshot.
    fn follow_flips(&self, snapshot: &Snapshot, now: Tick) {
        if snapshot.flips.get() != self.flips.get() {
            self.follow_standings(snapshot, now);
        }
    }

    fn follow_standings(&self, snapshot: &Snapshot, now: Tick) {
        // Before the overlays themselves: what is written after that is followed the next time.
        self.flips.set(snapshot.flips.get());
        for (uid, standing) in &*self.standings.borrow() {
            let release = snapshot.routes.get(standing.index);
            let is_of = |config: &RoutingConfig| {
                config.release.uid == *uid && config.release.id == standing.release
            };
            let Some(release) = release.filter(|release| is_of(release.config())) else {
                continue;
            };
            let recall = &standing.recall.0;
            if !release.is_recalled(snapshot.overlay(standing.index)) {
                recall.set(None);
            } else if recall.get().is_none() {
                recall.set(Some(now));
                self.recalls.set(self.recalls.get() + 1);
            }
        }
    }

    /// Lets go of what belongs to no arm any more.
    fn sweep(&self, snapshot: &Snapshot, now: Tick) {
        self.pools.borrow_mut().retain(|table, pool| {
            let named = snapshot.names_table(*table);
            match named {
                true => pool.sweep(now),
                false => pool.retire(),
            }
            named
        });
        // What only this map holds belongs to no arm and no exchange.
        let mut standings = self.standings.borrow_mut();
        standings.retain(|_, standing| Rc::strong_count(&standing.recall) > 1);
    }
}
