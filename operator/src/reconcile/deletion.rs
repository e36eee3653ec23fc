//! Documents of objects that are no more: kept for a while, withdrawn by one last document, then removed; or taken over
//! by an object of the same name, then removed without a word to the proxies, which have the successor's.

use std::sync::Arc;
use std::time::Duration;

use halftone_api::GrayRelease;
use halftone_api::claims::ObjectPresence;
use halftone_rollout::advance::BUSY;
use halftone_rollout::observation::{Observation, is_acknowledged};
use halftone_rollout::withdraw::{Deletion, Withdrawal, is_taken_over, told, withdraw};
use halftone_routing::document::names::Uid;
use halftone_routing::document::{ReleaseState, RoutingConfig};
use jiff::Timestamp;

use super::{LiveRelease, ReconcileContext, ReconcileResult};
use crate::claim_index::ReleaseClaim;
use crate::error::Error;
use crate::names::{self, NamespacedName};
use crate::objects::{DesiredConfigMap, ReleaseConfigMap};
use crate::proxy_roster::ProxyRoster;

/// A proxy that watches has a document after this time.
const HEARD: Duration = Duration::from_secs(5);

/// No object of this name is there any more.
pub(super) async fn leave(
    context: &ReconcileContext,
    key: &NamespacedName,
    left: Vec<ReleaseConfigMap>,
) -> Result<ReconcileResult, Error> {
    let mut wake_after: Option<Duration> = None;
    for kept in &left {
        let wait = step(context, kept, None).await?;
        wake_after = [wake_after, wait].into_iter().flatten().min();
    }
    context.metrics.per_release().forget(key);
    let mut desk = context.desk();
    drop(desk.take(key));
    let concerned = match wake_after {
        Some(wait) => {
            if wait <= BUSY {
                desk.busy.insert(key.clone())
            } else {
                desk.busy.remove(key)
            };
            let claim = ReleaseClaim {
                standing: ObjectPresence::Gone,
                ..context.claim(left.iter())
            };
            desk.claims.note(key, Some(claim))
        }
        None => desk.forget(key),
    };
    drop(desk);
    Ok(ReconcileResult {
        wake_after,
        concerned: concerned.into_iter().collect(),
    })
}

/// Another installation serves the release: its documents go without a word to proxies of ours that may still run, which
/// keep what they have.
pub(super) async fn drop_handed_over(
    context: &ReconcileContext,
    key: &NamespacedName,
    left: Vec<ReleaseConfigMap>,
) -> Result<ReconcileResult, Error> {
    for kept in &left {
        remove(context, kept).await?;
    }
    context.metrics.per_release().forget(key);
    let concerned = context.desk().forget(key).into_iter().collect();
    Ok(ReconcileResult {
        wake_after: None,
        concerned,
    })
}

/// A release is there: removes the document that it has `replaced`, and withdraws those before it.
pub(super) async fn clear(
    context: &ReconcileContext,
    live: &LiveRelease,
    replaced: Option<&Uid>,
) -> Result<Option<Duration>, Error> {
    let mut wake_after = None;
    if let Some(predecessor) = live
        .predecessor
        .as_ref()
        .filter(|kept| Some(&kept.uid) == replaced)
    {
        remove(context, predecessor).await?;
    }
    for kept in &live.superseded {
        // Nobody waits for an object of this name to come back: it is back.
        let wait = step(context, kept, Some(Timestamp::UNIX_EPOCH)).await?;
        wake_after = [wake_after, wait].into_iter().flatten().min();
    }
    Ok(wake_after)
}

/// One step on the way out. None once it is over.
async fn step(
    context: &ReconcileContext,
    kept: &ReleaseConfigMap,
    since: Option<Timestamp>,
) -> Result<Option<Duration>, Error> {
    let Ok(live) = &kept.document else {
        // What it said is lost, and without it the routes cannot be withdrawn; proxies go on with the last good one. Only
        // a person can mend it, and the watch brings that.
        tracing::error!(
            uid = %kept.uid,
            "the routing document of a deleted release cannot be read, so its routes cannot be withdrawn; \
             restore the ConfigMap, or delete it to end its routes"
        );
        return Ok(None);
    };
    if since.is_none() {
        tracing::Span::current().record("revision", live.revision.get());
    }
    let now = context.clock.now();
    let Some(gone_since) = since.or(kept.gone_since) else {
        write(context, kept, live, Some(now.wall)).await?;
        let event = told(context.declaration.times.withdraw_after);
        tracing::info!(revision = live.revision.get(), reason = %event.reason, "{}", event.message);
        context.tell(&former(live), event);
        return Ok(Some(BUSY));
    };
    let seen = {
        let roster = context.roster();
        Observation {
            proxies: roster.seen(&kept.uid),
            highest_revision: roster.highest_revision(&kept.uid),
            taken_over: taken_over(context, live, &roster),
            fleet: context.declaration.times,
            ..Observation::default()
        }
    };
    let left = Deletion {
        gone_since,
        withdrawn_since: since.or(kept.withdrawn_since),
    };
    match withdraw(live, left, &seen, now) {
        // Nobody knows the proxies of a fleet that has left; those that watch have heard of it after a while.
        Withdrawal::Write(document, _) if context.leaving && document == *live => {
            match left
                .withdrawn_since
                .map(|at| now.wall.duration_since(at).unsigned_abs())
            {
                Some(ago) if ago >= HEARD => remove(context, kept).await.map(|()| None),
                Some(ago) => Ok(Some(HEARD - ago)),
                None => write(context, kept, &document, kept.gone_since)
                    .await
                    .map(|()| Some(BUSY)),
            }
        }
        Withdrawal::Wait(wait) => Ok(Some(wait)),
        Withdrawal::Write(document, wait) => {
            if document != *live || left.withdrawn_since.is_none() {
                write(context, kept, &document, kept.gone_since).await?;
            }
            Ok(Some(wait))
        }
        Withdrawal::Remove => remove(context, kept).await.map(|()| None),
    }
}

/// Whether releases of its namespace have all places of a release that is gone, and every proxy has their documents.
fn taken_over(context: &ReconcileContext, live: &RoutingConfig, roster: &ProxyRoster) -> bool {
    let others = context.desk().claims.beside(live);
    let there = others
        .iter()
        .map(Arc::as_ref)
        .filter(|other| is_acknowledged(&roster.seen(&other.release.uid), other));
    is_taken_over(live, &there.collect::<Vec<_>>())
}

/// The object as far as an event has to name it.
fn former(live: &RoutingConfig) -> GrayRelease {
    let spec = serde_json::json!({
        "hosts": [], "stable": {"version": live.arms.stable.version.to_string()},
    });
    let spec = serde_json::from_value(spec).expect("a spec needs no more");
    let mut release = GrayRelease::new(live.release.name.as_str(), spec);
    release.metadata.namespace = Some(live.release.namespace.to_string());
    release.metadata.uid = Some(live.release.uid.to_string());
    release
}

async fn write(
    context: &ReconcileContext,
    kept: &ReleaseConfigMap,
    document: &Arc<RoutingConfig>,
    gone_since: Option<Timestamp>,
) -> Result<(), Error> {
    let now = context.clock.now().wall;
    let withdrawn =
        (document.state == ReleaseState::Withdrawn).then(|| kept.withdrawn_since.unwrap_or(now));
    let wanted = DesiredConfigMap::gone(Arc::clone(document), gone_since, withdrawn);
    let object = wanted.object(&context.fleet, Some(&kept.version))?;
    context.cluster.apply(&object).await.map(drop)
}

async fn remove(context: &ReconcileContext, kept: &ReleaseConfigMap) -> Result<(), Error> {
    let name = names::release_config_map(&kept.uid);
    context
        .cluster
        .delete(context.fleet.namespace.as_str(), &name, &kept.version)
        .await?;
    context.desk().stop_counting(&kept.uid);
    tracing::info!(uid = %kept.uid, "the routing document is removed");
    Ok(())
}
