//! Third step: everything that the turn may look at.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use halftone_api::Obstacle;
use halftone_api::duration;
use halftone_api::fleet::FleetDeclaration;
use halftone_rollout::advance;
use halftone_rollout::command_request::REQUEST_ANNOTATION;
use halftone_rollout::observation::{
    Observation, PlaceHandOver, ProxyObservation, Round, is_acknowledged,
};
use halftone_routing::document::arm::ServiceRef;
use halftone_routing::document::names::{HostPattern, PathPrefix};
use halftone_routing::document::{ReleaseState, RoutingConfig};
use halftone_routing::report::baseline::Delta;
use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use super::live_release::LiveRelease;
use crate::claim_index::{ClaimIndex, HandedOverPlace, ReleaseClaim};
use crate::endpoints::{self, ArmObservation, ServiceSnapshot};
use crate::jurisdiction::Jurisdiction;
use crate::names::NamespacedName;
use crate::objects::ReleaseConfigMap;
use crate::proxy_roster::ProxyRoster;

/// What was seen, and what has to be given back if the turn comes to nothing.
#[derive(Debug)]
pub(crate) struct ObservedRelease {
    pub(crate) seen: Observation,
    /// What was counted since the last turn, and until when.
    pub(crate) counted: Option<(Delta, Instant)>,
    /// Releases that our claims concern.
    pub(crate) concerned: BTreeSet<NamespacedName>,
}

/// What the proxies say of a release.
pub(super) struct PolledProxies {
    proxies: Vec<ProxyObservation>,
    highest_revision: u64,
    counted: Option<CountedRound>,
}

/// What was counted since the last turn, and until when.
struct CountedRound {
    took: Duration,
    delta: Delta,
    until: Instant,
}

/// What holds for all releases of the fleet.
pub(super) struct FleetRules<'a> {
    pub(super) declaration: &'a FleetDeclaration,
    pub(super) jurisdiction: &'a Jurisdiction,
    pub(super) now: Timestamp,
}

/// What the proxies say of the release. What they have counted is taken from the roster.
pub(super) fn polled(roster: &mut ProxyRoster, live: &LiveRelease) -> PolledProxies {
    let uid = &live.tracked.uid;
    let until = roster.round_at();
    let counted = roster.take(uid, live.tracked.counted_until);
    PolledProxies {
        proxies: roster.seen(uid),
        highest_revision: roster.highest_revision(uid),
        counted: counted.map(|(took, delta)| CountedRound { took, delta, until }),
    }
}

/// What is seen of the arms. `find` looks a Service up, and `identities` are the uids and addresses of the proxies.
pub(super) fn arms(
    live: &LiveRelease,
    find: impl Fn(&ServiceRef) -> ServiceSnapshot,
    identities: &BTreeSet<String>,
) -> ArmObservation {
    let tracked = &live.tracked;
    let newest = tracked.newest().map(Arc::as_ref);
    let in_effect = tracked.progress.plan().map(Arc::as_ref);
    endpoints::look(newest, in_effect, find, identities)
}

/// All of it but for what is handed over between releases. Notes what the release claims.
pub(super) fn observe(
    live: &LiveRelease,
    key: &NamespacedName,
    polled: PolledProxies,
    arms: ArmObservation,
    rules: &FleetRules<'_>,
    claims: &mut ClaimIndex,
) -> ObservedRelease {
    let PolledProxies {
        proxies,
        highest_revision,
        counted,
    } = polled;
    let tracked = &live.tracked;
    let FleetRules {
        declaration,
        jurisdiction,
        ..
    } = rules;
    let round = counted
        .as_ref()
        .and_then(|round| Round::of(&tracked.progress, round.took.as_secs_f64(), &round.delta));
    let mut seen = Observation {
        generation: live.object.metadata.generation.unwrap_or_default(),
        refusal: tracked.newest().and_then(|plan| jurisdiction.forbids(plan)),
        unresolved: arms.unresolved,
        unspoken: arms.unspoken,
        proxies,
        endpoints: arms.endpoints,
        lacking: arms.lacking,
        document: document(live.kept.as_ref()),
        since: jurisdiction.ownership.since(live.object.status.as_ref()),
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
        fleet: declaration.times,
    };
    let serves = serves(live, declaration.times.host_reserve, rules.now);
    seen.refusal = seen
        .refusal
        .or_else(|| shadow(live, key, &serves, declaration, claims));
    let (conflict, concerned) = conflict(live, key, serves, &seen, claims);
    seen.refusal = seen.refusal.or(conflict);
    ObservedRelease {
        seen,
        counted: counted.map(|round| (round.delta, round.until)),
        concerned,
    }
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
    live: &LiveRelease,
    key: &NamespacedName,
    serves: &ReleaseClaim,
    declaration: &FleetDeclaration,
    claims: &mut ClaimIndex,
) -> Option<Obstacle> {
    let plan = live.tracked.newest()?;
    let named = |host: &HostPattern, path: &PathPrefix| declaration.names(plan, host, path);
    claims.shadow(key, plan, serves.live.as_deref(), named)
}

/// Notes what the release claims, and says who has it instead.
fn conflict(
    live: &LiveRelease,
    key: &NamespacedName,
    serves: ReleaseClaim,
    seen: &Observation,
    claims: &mut ClaimIndex,
) -> (Option<Obstacle>, BTreeSet<NamespacedName>) {
    let tracked = &live.tracked;
    let takes_effect = |plan: &&Arc<halftone_api::Plan>| {
        seen.refusal.is_none() && !advance::is_held(plan, &tracked.progress, seen)
    };
    let wanted = tracked.newest().filter(takes_effect).cloned();
    let concerned = claims.note(key, Some(ReleaseClaim { wanted, ..serves }));
    (claims.conflict(key), concerned)
}

/// Of the places that the newest plan gives up one that another release takes over, and that one, while not every proxy
/// has a document of it with the place.
pub(super) fn lacking(
    handed: Vec<HandedOverPlace>,
    roster: &ProxyRoster,
) -> Option<(String, NamespacedName)> {
    let lacks = |host: &HostPattern, path: &PathPrefix, document: Option<&RoutingConfig>| {
        let next =
            document.filter(|next| next.state != ReleaseState::Withdrawn && next.has((host, path)));
        next.is_none_or(|next| !is_acknowledged(&roster.seen(&next.release.uid), next))
    };
    let lacking = handed
        .into_iter()
        .find(|(_, (host, path), document)| lacks(host, path, document.as_deref()));
    lacking.map(|(next, (host, path), _)| (format!("{host}{path}"), next))
}

/// What the newest plan hands over to another release that `lacking` names, and since when that is waited for.
pub(super) fn handing_over(
    live: &mut LiveRelease,
    lacking: Option<(String, NamespacedName)>,
    timeout: Duration,
    awaited: bool,
) -> Option<PlaceHandOver> {
    let Some((place, next)) = lacking else {
        live.tracked.handing_over = None;
        return None;
    };
    let since = *live.tracked.handing_over.get_or_insert_with(Instant::now);
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
        awaited,
    })
}

/// What the release has by the document that serves it now.
fn serves(live: &LiveRelease, reserve: Duration, now: Timestamp) -> ReleaseClaim {
    ReleaseClaim::of(live.serving().into_iter(), reserve, now)
}

/// Notes what is live after the turn. Returns those whom that may concern.
pub(super) fn claim(
    live: &LiveRelease,
    key: &NamespacedName,
    claims: &mut ClaimIndex,
    reserve: Duration,
    now: Timestamp,
) -> BTreeSet<NamespacedName> {
    let wanted = claims.wanted(key);
    let claim = ReleaseClaim {
        wanted,
        ..serves(live, reserve, now)
    };
    claims.note(key, Some(claim))
}
