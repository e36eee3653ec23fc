//! Documents of objects that are no more: kept for a while, withdrawn by one last document, then removed; or taken over
//! by an object of the same name, then removed without a word to the proxies, which have the successor's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use halftone_api::GrayRelease;
use halftone_api::claims::ObjectPresence;
use halftone_api::fleet::FleetTimes;
use halftone_rollout::advance::BUSY;
use halftone_rollout::clock::Now;
use halftone_rollout::observation::{Observation, is_acknowledged};
use halftone_rollout::withdraw::{Deletion, Withdrawal, is_taken_over, told, withdraw};
use halftone_routing::document::RoutingConfig;
use halftone_routing::document::names::Uid;
use jiff::Timestamp;

use super::live_release::{LiveRelease, ReconcileResult};
use super::release_writer::ReleaseWriter;
use crate::claim_index::ReleaseClaim;
use crate::error::Error;
use crate::lock::lock;
use crate::names::NamespacedName;
use crate::objects::ReleaseConfigMap;
use crate::proxy_roster::ProxyRoster;
use crate::release_cache::ReleaseCache;

/// A proxy that watches has a document after this time.
const HEARD: Duration = Duration::from_secs(5);

/// What the end of a release looks at.
pub(super) struct DeletionInput<'a> {
    pub(super) roster: &'a Mutex<ProxyRoster>,
    pub(super) desk: &'a Mutex<ReleaseCache>,
    pub(super) times: FleetTimes,
    /// The fleet has left our configuration.
    pub(super) leaving: bool,
    pub(super) now: Now,
}

/// No object of this name is there any more.
pub(super) async fn leave(
    writer: ReleaseWriter<'_>,
    input: &DeletionInput<'_>,
    key: &NamespacedName,
    left: Vec<ReleaseConfigMap>,
) -> Result<ReconcileResult, Error> {
    let mut wake_after: Option<Duration> = None;
    for kept in &left {
        let wait = step(writer, input, kept, None).await?;
        wake_after = [wake_after, wait].into_iter().flatten().min();
    }
    let mut desk = lock(input.desk);
    drop(desk.take(key));
    desk.figures.withdraw(key);
    let concerned = match wake_after {
        Some(wait) => {
            if wait <= BUSY {
                desk.busy.insert(key.clone())
            } else {
                desk.busy.remove(key)
            };
            let claim = ReleaseClaim {
                standing: ObjectPresence::Gone,
                ..ReleaseClaim::of(left.iter(), input.times.host_reserve, input.now.wall)
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
    writer: ReleaseWriter<'_>,
    desk: &Mutex<ReleaseCache>,
    key: &NamespacedName,
    left: Vec<ReleaseConfigMap>,
) -> Result<ReconcileResult, Error> {
    for kept in &left {
        remove(writer, desk, kept).await?;
    }
    let concerned = lock(desk).forget(key).into_iter().collect();
    Ok(ReconcileResult {
        wake_after: None,
        concerned,
    })
}

/// A release is there: removes the document that it has `replaced`, and withdraws those before it.
pub(super) async fn clear(
    writer: ReleaseWriter<'_>,
    input: &DeletionInput<'_>,
    live: &LiveRelease,
    replaced: Option<&Uid>,
) -> Result<Option<Duration>, Error> {
    let mut wake_after = None;
    if let Some(predecessor) = live
        .predecessor
        .as_ref()
        .filter(|kept| Some(&kept.uid) == replaced)
    {
        remove(writer, input.desk, predecessor).await?;
    }
    for kept in &live.superseded {
        // Nobody waits for an object of this name to come back: it is back.
        let wait = step(writer, input, kept, Some(Timestamp::UNIX_EPOCH)).await?;
        wake_after = [wake_after, wait].into_iter().flatten().min();
    }
    Ok(wake_after)
}

/// One step on the way out. None once it is over.
async fn step(
    writer: ReleaseWriter<'_>,
    input: &DeletionInput<'_>,
    kept: &ReleaseConfigMap,
    since: Option<Timestamp>,
) -> Result<Option<Duration>, Error> {
    let now = input.now;
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
    let Some(gone_since) = since.or(kept.gone_since) else {
        writer
            .write_gone(kept, live, Some(now.wall), now.wall)
            .await?;
        let event = told(input.times.withdraw_after);
        tracing::info!(revision = live.revision.get(), reason = %event.reason, "{}", event.message);
        writer.publisher.publish(&former(live), event);
        return Ok(Some(BUSY));
    };
    let left = Deletion {
        gone_since,
        withdrawn_since: since.or(kept.withdrawn_since),
    };
    let withdrawal = withdraw(live, left, &seen(input, kept, live), now);
    carry_out(writer, input, kept, live, left, withdrawal).await
}

/// What the proxies have, of the release and of those that take its places over.
fn seen(input: &DeletionInput<'_>, kept: &ReleaseConfigMap, live: &RoutingConfig) -> Observation {
    let others = lock(input.desk).claims.beside(live);
    let roster = lock(input.roster);
    Observation {
        proxies: roster.seen(&kept.uid),
        highest_revision: roster.highest_revision(&kept.uid),
        taken_over: taken_over(live, &others, &roster),
        fleet: input.times,
        ..Observation::default()
    }
}

async fn carry_out(
    writer: ReleaseWriter<'_>,
    input: &DeletionInput<'_>,
    kept: &ReleaseConfigMap,
    live: &Arc<RoutingConfig>,
    left: Deletion,
    withdrawal: Withdrawal,
) -> Result<Option<Duration>, Error> {
    let now = input.now.wall;
    match withdrawal {
        // Nobody knows the proxies of a fleet that has left; those that watch have heard of it after a while.
        Withdrawal::Write(document, _) if input.leaving && document == *live => {
            match left
                .withdrawn_since
                .map(|at| now.duration_since(at).unsigned_abs())
            {
                Some(ago) if ago >= HEARD => remove(writer, input.desk, kept).await.map(|()| None),
                Some(ago) => Ok(Some(HEARD - ago)),
                None => writer
                    .write_gone(kept, &document, kept.gone_since, now)
                    .await
                    .map(|()| Some(BUSY)),
            }
        }
        Withdrawal::Wait(wait) => Ok(Some(wait)),
        Withdrawal::Write(document, wait) => {
            if document != *live || left.withdrawn_since.is_none() {
                writer
                    .write_gone(kept, &document, kept.gone_since, now)
                    .await?;
            }
            Ok(Some(wait))
        }
        Withdrawal::Remove => remove(writer, input.desk, kept).await.map(|()| None),
    }
}

/// Whether `others`, releases of its namespace, have all places of a release that is gone, and every proxy has their
/// documents.
fn taken_over(live: &RoutingConfig, others: &[Arc<RoutingConfig>], roster: &ProxyRoster) -> bool {
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

/// Removes the ConfigMap, and what is counted by it.
async fn remove(
    writer: ReleaseWriter<'_>,
    desk: &Mutex<ReleaseCache>,
    kept: &ReleaseConfigMap,
) -> Result<(), Error> {
    writer.remove(kept).await?;
    lock(desk).stop_counting(&kept.uid);
    Ok(())
}
