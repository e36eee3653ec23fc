//! One turn of one release: `dereference → plan → observe → advance → apply → report_status`, each a step with a name.
//!
//! Write ahead: a transition is in the status, guarded by resourceVersion, before its document is applied, guarded by
//! its own. A kill between the two is repaired by the next turn, which finds the document behind the status. Whatever is
//! not as we thought makes the turn void: the next one reads everything anew.

mod apply;
mod deletion;
mod dereference;
mod observe;
mod plan;
mod report_status;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use halftone_api::fleet::{CLASS_UNKNOWN, FleetDeclaration, FleetDeclarations};
use halftone_api::spec::ControllerStatus;
use halftone_api::{GrayRelease, GrayReleaseStatus};
use halftone_rollout::advance::{self, AdvanceResult, BUSY, IDLE};
use halftone_rollout::clock::Now;
use halftone_rollout::events::Event;
use halftone_rollout::observation::Observation;
use halftone_routing::document::ReleaseState;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tokio::time::Instant;

use self::dereference::ResolvedObject;
use self::observe::ObservedRelease;
use crate::api_client::ApiClient;
use crate::claim_index::ReleaseClaim;
use crate::clock::Clock;
use crate::cluster_cache::ClusterCache;
use crate::error::Error;
use crate::events::EventRecorder;
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::names::NamespacedName;
use crate::objects::{FleetRef, ReleaseConfigMap};
use crate::ownership::Ownership;
use crate::proxy_roster::ProxyRoster;
use crate::release_cache::{ReleaseCache, ReleaseRecord};
use crate::retired_fleets::RetiredClasses;

/// What the turns of a fleet's releases have in common.
#[derive(Debug)]
pub struct ReconcileContext {
    /// The fleet.
    pub fleet: FleetRef,
    /// As it is declared.
    pub declaration: FleetDeclaration,
    /// All fleets: what forbids a release.
    pub fleets: Arc<FleetDeclarations>,
    /// Whether releases that name no fleet of ours are told so here.
    pub takes_strays: bool,
    /// The fleet has left our configuration: its documents stay as they are until they can go.
    pub leaving: bool,
    /// All fleets that have left.
    pub left: Arc<RetiredClasses>,
    /// The API server, written to under the fleet's mandate.
    pub cluster: ApiClient,
    /// What the watches have brought.
    pub world: Arc<ClusterCache>,
    /// What the proxies have said.
    pub roster: Arc<Mutex<ProxyRoster>>,
    /// What is remembered.
    pub desk: Mutex<ReleaseCache>,
    /// The clocks.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What people are told.
    pub events: EventRecorder,
    /// Which installation looks after the class.
    pub ownership: Arc<Ownership>,
}

/// What a turn has led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReconcileResult {
    /// When the next turn is due; none if nothing is left to do until something changes.
    pub wake_after: Option<Duration>,
    /// Other releases that may see something new now.
    pub concerned: Vec<NamespacedName>,
}

/// A release that exists, with all its documents.
#[derive(Debug)]
pub(crate) struct LiveRelease {
    pub(crate) tracked: Box<ReleaseRecord>,
    /// The object.
    pub(crate) object: Arc<GrayRelease>,
    /// Its own ConfigMap.
    pub(crate) kept: Option<ReleaseConfigMap>,
    /// That of the object of the same name before it.
    pub(crate) predecessor: Option<ReleaseConfigMap>,
    /// Those of objects before that one, which nobody goes on from.
    pub(crate) superseded: Vec<ReleaseConfigMap>,
}

impl ReconcileContext {
    /// Tells people what has happened to a release, and counts it.
    pub(crate) fn tell(&self, object: &GrayRelease, event: Event) {
        self.metrics
            .happened(self.fleet.class.as_str(), event.reason.to_string());
        self.metrics
            .per_release()
            .happened(&NamespacedName::of(object), event.reason);
        self.events.tell(object, event, self.clock.now().wall);
    }

    pub(crate) fn desk(&self) -> MutexGuard<'_, ReleaseCache> {
        lock(&self.desk)
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, ProxyRoster> {
        lock(&self.roster)
    }

    /// What a release claims by the first of these documents that is not withdrawn, else by the first of all.
    pub(crate) fn claim<'k>(
        &self,
        kept: impl Iterator<Item = &'k ReleaseConfigMap> + Clone,
    ) -> ReleaseClaim {
        let mut read = kept.filter(|kept| kept.live().is_some());
        let withdrawn = |kept: &&ReleaseConfigMap| {
            kept.live()
                .is_some_and(|live| live.state == ReleaseState::Withdrawn)
        };
        let first = read
            .clone()
            .find(|kept| !withdrawn(kept))
            .or_else(|| read.next());
        let (reserve, now) = (self.declaration.times.host_reserve, self.clock.now().wall);
        ReleaseClaim {
            live: first.and_then(ReleaseConfigMap::live).cloned(),
            reserved: first.and_then(|kept| kept.reserved(reserve, now)),
            ..ReleaseClaim::default()
        }
    }

    /// Whether a release is looked after here.
    #[must_use]
    pub fn is_ours(&self, release: &GrayRelease) -> bool {
        let class = release.spec.proxy_class.as_str();
        self.fleet.class.as_str() == class
            || (self.takes_strays
                && self.fleets.find(class).is_none()
                && self.left.is_unowned(class)
                && self.may_tell(release))
    }

    /// Whether another installation looks after a release of our class.
    pub(crate) fn is_anothers(&self, release: &GrayRelease) -> bool {
        if release.spec.proxy_class != self.fleet.class.as_str() {
            return false;
        }
        let (status, now) = (release.status.as_ref(), self.clock.now().wall);
        let controller = release.controller();
        self.ownership.is_anothers(controller, now)
            || (status.is_some_and(is_held_back)
                && self.ownership.is_owned_by_live_other(controller, now))
    }

    /// Whether a release of a fleet that has left is served by an installation elsewhere now, whose proxies have its
    /// document. One in our own namespace would have the same ConfigMaps.
    pub(crate) fn is_served_elsewhere(&self, release: &GrayRelease) -> bool {
        let Some(status) = release
            .status
            .as_ref()
            .filter(|_| self.leaving && self.ownership.is_known())
        else {
            return false;
        };
        let namespace = release.controller().and_then(ControllerStatus::namespace);
        let elsewhere = namespace.is_some_and(|there| there != self.fleet.namespace.as_str());
        let is_programmed =
            |condition: &Condition| condition.type_ == "Programmed" && condition.status == "True";
        elsewhere
            && status.conditions.iter().any(is_programmed)
            && !status
                .conditions
                .iter()
                .any(|condition| condition.reason == CLASS_UNKNOWN)
    }

    /// Whether to tell a release of a class that we do not know about it: nobody has told it anything, or we have looked
    /// after it until its fleet was taken out of our configuration.
    fn may_tell(&self, release: &GrayRelease) -> bool {
        is_untold(release)
            || release
                .controller()
                .is_some_and(|controller| Some(&*controller.id) == self.ownership.us())
    }

    /// Measures one step.
    fn step<T>(&self, name: &'static str, step: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = step();
        self.metrics.step(name, began.elapsed());
        done
    }

    async fn step_async<T>(&self, name: &'static str, step: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = step.await;
        self.metrics.step(name, began.elapsed());
        done
    }
}

/// Whether an earlier spec is in effect, since the newest one is refused. Only whoever has taken the earlier one can judge
/// by it. A fleet that left refuses every spec, good ones as well.
fn is_held_back(status: &GrayReleaseStatus) -> bool {
    let refuses = |condition: &Condition| {
        condition.type_ == "Accepted"
            && condition.status == "False"
            && condition.reason != CLASS_UNKNOWN
    };
    status.revision.is_some_and(|revision| revision > 0) && status.conditions.iter().any(refuses)
}

/// Whether nobody has said anything yet about a release whose fleet we do not know. Another operator of this cluster may
/// know it, and two that corrected each other's status would never end.
fn is_untold(release: &GrayRelease) -> bool {
    let Some(status) = &release.status else {
        return true;
    };
    let by_a_stranger = status
        .conditions
        .iter()
        .any(|condition| condition.reason == CLASS_UNKNOWN);
    status.conditions.is_empty()
        || (by_a_stranger && release.metadata.generation > Some(status.observed_generation))
}

/// Gives the release of this name its turn.
///
/// # Errors
/// The turn is void, and another one is due after a pause.
pub async fn reconcile(
    context: &ReconcileContext,
    key: &NamespacedName,
) -> Result<ReconcileResult, Error> {
    let subject = context
        .step_async("dereference", dereference::dereference(context, key))
        .await?;
    let ended = match subject {
        ResolvedObject::Nothing => {
            let concerned = context.desk().forget(key).into_iter().collect();
            context.metrics.per_release().forget(key);
            Ok(ReconcileResult {
                wake_after: None,
                concerned,
            })
        }
        ResolvedObject::Served(kept) => {
            context.metrics.per_release().forget(key);
            let claim = context.claim(kept.iter());
            let concerned = context.desk().keep_claim(key, claim).into_iter().collect();
            // Whoever looks after it may be gone some day.
            Ok(ReconcileResult {
                wake_after: Some(IDLE),
                concerned,
            })
        }
        // The watches that are under way wake it.
        ResolvedObject::Unknown => Ok(ReconcileResult {
            wake_after: Some(IDLE),
            concerned: Vec::new(),
        }),
        ResolvedObject::HandedOver(left) => {
            context
                .step_async("leave", deletion::drop_handed_over(context, key, left))
                .await
        }
        ResolvedObject::Gone(left) => {
            context
                .step_async("leave", deletion::leave(context, key, left))
                .await
        }
        ResolvedObject::Live(live) => Box::pin(turn(context, key, *live)).await,
    };
    context.metrics.reconciled(context.fleet.class.as_str());
    ended
}

async fn turn(
    context: &ReconcileContext,
    key: &NamespacedName,
    mut live: LiveRelease,
) -> Result<ReconcileResult, Error> {
    let now = context.clock.now();
    context.step("plan", || plan::plan(context, &mut live));
    let observed = context.step("observe", || observe::observe(context, key, &mut live));
    let mut turn = context.step("advance", || decide(&live.tracked, &observed.seen, now));
    // Once: a second recording would be written beside the first.
    tracing::Span::current().record("revision", turn.progress.revision());
    let hands_over = observed.seen.handing_over.is_some();
    let mut concerned: Vec<NamespacedName> = observed.concerned.iter().cloned().collect();
    let found_unreadable = live.tracked.unreadable.is_some();
    let done = Box::pin(carry_out(context, &mut live, &mut turn, observed, now)).await;
    if found_unreadable {
        // It is repaired now, and the next status says so.
        (turn.wake_after, turn.rests_for) = (BUSY, None);
    }
    let rests = turn
        .rests_for
        .filter(|_| !hands_over && live.tracked.written.is(&turn.progress.status()));
    let wake_after = match rests {
        // Not all at once.
        Some(rest) if rest > IDLE => rest.mul_f64(rand::random_range(0.5..1.0)).max(IDLE),
        // The release that takes over says nothing to this one when it is acknowledged.
        _ if hands_over => BUSY,
        _ => turn.wake_after,
    };
    let claims = observe::claim(context, key, &live);
    concerned.extend(claims);
    let mut desk = context.desk();
    live.tracked.doubtful = done.is_err();
    if wake_after <= BUSY {
        desk.busy.insert(key.clone())
    } else {
        desk.busy.remove(key)
    };
    desk.put(key.clone(), live.tracked);
    match &done {
        Ok(_) => concerned.append(&mut desk.concerned),
        Err(_) => desk.concerned.append(&mut concerned),
    }
    drop(desk);
    let soonest = done?.map_or(wake_after, |wait| wait.min(wake_after));
    Ok(ReconcileResult {
        wake_after: Some(soonest),
        concerned,
    })
}

fn decide(tracked: &ReleaseRecord, seen: &Observation, now: Now) -> AdvanceResult {
    match &tracked.plan {
        Ok(plan) => advance::advance(plan, &tracked.progress, seen, now),
        Err(obstacle) => advance::refuse(obstacle, &tracked.progress, seen, now),
    }
}

/// Writes what has to be written, in this order. Says when documents of earlier objects want another look.
async fn carry_out(
    context: &ReconcileContext,
    live: &mut LiveRelease,
    turn: &mut AdvanceResult,
    observed: ObservedRelease,
    now: Now,
) -> Result<Option<Duration>, Error> {
    let applying = Box::pin(apply::apply(context, live, turn, observed, now));
    let applied = context.step_async("apply", applying).await;
    if applied.as_ref().is_err_and(|error| !error.counts()) {
        return applied.map(|()| None);
    }
    // What could not be written is a part of where the release stands.
    let (key, class, status) = (
        NamespacedName::of(&*live.object),
        context.fleet.class.as_str(),
        turn.progress.status(),
    );
    context
        .metrics
        .per_release()
        .stands(&key, class, &live.object, &status);
    let reported = match applied {
        Err(Error::Unwritten(_)) => Ok(()),
        _ => {
            let reporting = Box::pin(report_status::report_status(context, live, status));
            context.step_async("report_status", reporting).await
        }
    };
    applied.and(reported)?;
    deletion::clear(context, live, turn.replaced()).await
}
