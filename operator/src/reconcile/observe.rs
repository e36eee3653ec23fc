//! Third step: everything that the turn may look at.

use std::collections::BTreeSet;
use std::sync::Arc;

use halftone_api::Obstacle;
use halftone_api::duration;
use halftone_rollout::advance;
use halftone_rollout::command_request::REQUEST_ANNOTATION;
use halftone_rollout::observation::{
    Observation, PlaceHandOver, ProxyObservation, Round, is_acknowledged,
};
use halftone_routing::document::names::{HostPattern, PathPrefix};
use halftone_routing::document::{ReleaseState, RoutingConfig};
use halftone_routing::report::baseline::Delta;
use kube::ResourceExt;
use tokio::time::Instant;

use super::{LiveRelease, ReconcileContext};
use crate::claim_index::ReleaseClaim;
use crate::endpoints::{self, ArmObservation};
use crate::names::NamespacedName;
use crate::objects::ReleaseConfigMap;

/// What was seen, and what has to be given back if the turn comes to nothing.
#[derive(Debug)]
pub(crate) struct ObservedRelease {
    pub(crate) seen: Observation,
    /// What was counted since the last turn, and until when.
    pub(crate) counted: Option<(Delta, Instant)>,
    /// Releases that our claims concern.
    pub(crate) concerned: BTreeSet<NamespacedName>,
}

pub(super) fn observe(
    context: &ReconcileContext,
    key: &NamespacedName,
    live: &mut LiveRelease,
) -> ObservedRelease {
    let (proxies, highest_revision, counted) = proxies(context, live);
    let tracked = &live.tracked;
    let arms = arms(context, live);
    let round = counted
        .as_ref()
        .and_then(|(seconds, delta, _)| Round::of(&tracked.progress, *seconds, delta));
    let mut seen = Observation {
        generation: live.object.metadata.generation.unwrap_or_default(),
        refusal: tracked
            .newest()
            .and_then(|plan| context.fleets.forbids(plan)),
        unresolved: arms.unresolved,
        unspoken: arms.unspoken,
        proxies,
        endpoints: arms.endpoints,
        lacking: arms.lacking,
        document: document(live.kept.as_ref()),
        since: context.ownership.since(live.object.status.as_ref()),
        predecessor: document(live.predecessor.as_ref()),
        unreadable: unreadable(live),
        highest_revision,
        round,
        unwritable: None,
        handing_over: None,
        taking_over: None,
        taken_over: false,
        unprogrammed: tracked.unprogrammed.clone(),
        status_unreadable: tracked.unreadable.clone(),
        request: live.object.annotations().get(REQUEST_ANNOTATION).cloned(),
        fleet: context.declaration.times,
    };
    seen.refusal = seen.refusal.or_else(|| shadow(context, key, live));
    let (conflict, concerned) = conflict(context, key, live, &seen);
    seen.refusal = seen.refusal.or(conflict);
    seen.handing_over = handing_over(context, key, live);
    seen.taking_over = context.desk().claims.taken_from(key);
    ObservedRelease {
        seen,
        counted: counted.map(|(_, delta, until)| (delta, until)),
        concerned,
    }
}

type CountedRound = (f64, Delta, Instant);

fn proxies(
    context: &ReconcileContext,
    live: &LiveRelease,
) -> (Vec<ProxyObservation>, u64, Option<CountedRound>) {
    let uid = &live.tracked.uid;
    let mut roster = context.roster();
    let until = roster.round_at();
    let counted = roster.take(uid, live.tracked.counted_until);
    let counted = counted.map(|(took, delta)| (took.as_secs_f64(), delta, until));
    (roster.seen(uid), roster.highest_revision(uid), counted)
}

fn arms(context: &ReconcileContext, live: &LiveRelease) -> ArmObservation {
    let tracked = &live.tracked;
    let newest = tracked.newest().map(Arc::as_ref);
    let in_effect = tracked.progress.plan().map(Arc::as_ref);
    let identities = context.world.identities();
    endpoints::look(
        newest,
        in_effect,
        |reference| context.world.find(reference),
        &identities,
    )
}

fn document(kept: Option<&ReleaseConfigMap>) -> Option<Arc<RoutingConfig>> {
    kept.and_then(ReleaseConfigMap::live).cloned()
}

/// A document that somebody has broken, and without which nobody knows who serves.
fn unreadable(live: &LiveRelease) -> Option<String> {
    let kept = [live.kept.as_ref(), live.predecessor.as_ref()]
        .into_iter()
        .flatten();
    kept.chain(&live.superseded)
        .find_map(|kept| kept.document.as_ref().err().cloned())
}

/// A place inside another namespace's that the fleet does not name for this one.
fn shadow(
    context: &ReconcileContext,
    key: &NamespacedName,
    live: &LiveRelease,
) -> Option<Obstacle> {
    let plan = live.tracked.newest()?;
    let serves = serves(context, live).live;
    let named = |host: &HostPattern, path: &PathPrefix| context.declaration.names(plan, host, path);
    context
        .desk()
        .claims
        .shadow(key, plan, serves.as_deref(), named)
}

/// Notes what the release claims, and says who has it instead.
fn conflict(
    context: &ReconcileContext,
    key: &NamespacedName,
    live: &LiveRelease,
    seen: &Observation,
) -> (Option<Obstacle>, BTreeSet<NamespacedName>) {
    let tracked = &live.tracked;
    let takes_effect = |plan: &&Arc<halftone_api::Plan>| {
        seen.refusal.is_none() && !advance::is_held(plan, &tracked.progress, seen)
    };
    let wanted = tracked.newest().filter(takes_effect).cloned();
    let claim = ReleaseClaim {
        wanted,
        ..serves(context, live)
    };
    let mut desk = context.desk();
    let concerned = desk.claims.note(key, Some(claim));
    (desk.claims.conflict(key), concerned)
}

/// What the newest plan hands over to another release, and since when that is waited for.
fn handing_over(
    context: &ReconcileContext,
    key: &NamespacedName,
    live: &mut LiveRelease,
) -> Option<PlaceHandOver> {
    let waits_for = waits_for(context, key);
    let Some((place, next)) = waits_for else {
        live.tracked.handing_over = None;
        return None;
    };
    let since = *live.tracked.handing_over.get_or_insert_with(Instant::now);
    let timeout = context.declaration.times.straggler_timeout;
    let late = since.elapsed() >= timeout;
    let message = if late {
        let waited = duration::format(timeout);
        format!(
            "{place} is given up to {next}, though not every proxy has that one's document after {waited}"
        )
    } else {
        format!("{place} is handed over to {next}, whose document is on its way to the proxies")
    };
    Some(PlaceHandOver {
        message,
        late,
        awaited: context.desk().claims.is_awaited(key),
    })
}

/// A place that the newest plan gives up, and the release that takes it over, while not every proxy has a document of that
/// one with the place.
fn waits_for(context: &ReconcileContext, key: &NamespacedName) -> Option<(String, NamespacedName)> {
    let handed = context.desk().claims.hands_over(key);
    let lacks = |host: &HostPattern, path: &PathPrefix, document: Option<&RoutingConfig>| {
        let next =
            document.filter(|next| next.state != ReleaseState::Withdrawn && next.has((host, path)));
        next.is_none_or(|next| !is_acknowledged(&context.roster().seen(&next.release.uid), next))
    };
    let lacking = handed
        .into_iter()
        .find(|(_, (host, path), document)| lacks(host, path, document.as_deref()));
    lacking.map(|(next, (host, path), _)| (format!("{host}{path}"), next))
}

/// What the release has by the document that serves it now, its own or that of the object before it.
fn serves(context: &ReconcileContext, live: &LiveRelease) -> ReleaseClaim {
    let own = live.kept.as_ref().filter(|kept| kept.live().is_some());
    context.claim(own.or(live.predecessor.as_ref()).into_iter())
}

/// Notes what is live after the turn. Returns those whom that may concern.
pub(super) fn claim(
    context: &ReconcileContext,
    key: &NamespacedName,
    live: &LiveRelease,
) -> BTreeSet<NamespacedName> {
    let mut desk = context.desk();
    let wanted = desk.claims.wanted(key);
    desk.claims.note(
        key,
        Some(ReleaseClaim {
            wanted,
            ..serves(context, live)
        }),
    )
}
