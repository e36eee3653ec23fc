//! First step: what bears this name now, and which documents are there in its name. From the watches, or, when something
//! was not as we thought, from fresh reads.

use std::sync::Arc;

use halftone_api::GrayRelease;
use halftone_routing::document::names::Uid;
use jiff::SignedDuration;
use kube::ResourceExt;

use super::{LiveRelease, ReconcileContext};
use crate::compressed_release::CompressedRelease;
use crate::error::Error;
use crate::names::{self, NamespacedName};
use crate::objects::{FleetRef, ReleaseConfigMap};
use crate::release_cache::{CachedRelease, ReleaseRecord, is_older, newer};

/// So long another operator may take to see a release of its fleet: a Lease may have to run out first. Told sooner that
/// there is no such fleet, Git tools would call the release failed.
const OTHERS: SignedDuration = SignedDuration::from_secs(20);

/// What bears a name.
#[derive(Debug)]
pub(crate) enum ResolvedObject {
    /// Nothing of ours.
    Nothing,
    /// Documents that proxies go on serving, of a release that is not ours to look at: its namespace is not watched any
    /// more, or another installation looks after it.
    Served(Vec<ReleaseConfigMap>),
    /// A release of which too little is known yet.
    Unknown,
    /// Documents of a release that another installation serves, in a fleet that we have no more.
    HandedOver(Vec<ReleaseConfigMap>),
    /// Documents of an object that is no more.
    Gone(Vec<ReleaseConfigMap>),
    /// A release.
    Live(Box<LiveRelease>),
}

pub(super) async fn dereference(
    context: &ReconcileContext,
    key: &NamespacedName,
) -> Result<ResolvedObject, Error> {
    let known = context.desk().known(key);
    let kept = context.world.release_config_maps(&context.fleet.class, key);
    let Some(packed) = object(context, key, known.as_ref(), !kept.is_empty()).await? else {
        return Ok(
            match (kept.is_empty(), context.world.watches(&key.namespace)) {
                (true, _) => ResolvedObject::Nothing,
                (false, true) => ResolvedObject::Gone(kept),
                // What we cannot see is not gone.
                (false, false) => ResolvedObject::Served(kept),
            },
        );
    };
    let object = packed.unpack();
    let Some(uid) = object.uid().and_then(|uid| uid.parse::<Uid>().ok()) else {
        return Ok(ResolvedObject::Nothing);
    };
    if context.is_anothers(&object) {
        return Ok(
            match (kept.is_empty(), context.is_served_elsewhere(&object)) {
                (true, _) => ResolvedObject::Unknown,
                (false, true) => ResolvedObject::HandedOver(kept),
                // Neither ours to write nor gone.
                (false, false) => ResolvedObject::Served(kept),
            },
        );
    }
    if !context.is_ours(&object) {
        // It was deleted and made again for another fleet.
        return Ok(if kept.is_empty() {
            ResolvedObject::Nothing
        } else {
            ResolvedObject::Gone(kept)
        });
    }
    if !context.world.has_listed_services(&key.namespace) || is_young_stray(context, &object) {
        return Ok(ResolvedObject::Unknown);
    }
    let own = own(context, &uid, known.filter(|known| known.uid == uid)).await?;
    let now = context.clock.now();
    let present = own
        .as_ref()
        .filter(|kept| context.ownership.may_go_on_from(&object, kept));
    let mut tracked = match context
        .desk()
        .take(key)
        .filter(|tracked| tracked.uid == uid)
    {
        Some(mut tracked) => {
            tracked.see((&object, packed), present, now);
            tracked
        }
        None => {
            let counted_until = context.roster().round_at();
            let seen = (&object, packed);
            Box::new(ReleaseRecord::restore(
                seen,
                uid.clone(),
                present,
                (now, counted_until),
            ))
        }
    };
    tracked.kept.clone_from(&own);
    tracked.doubtful = false;
    let (predecessor, superseded) = earlier(kept, &uid, own.as_ref());
    let object = Arc::new(object);
    Ok(ResolvedObject::Live(Box::new(LiveRelease {
        tracked,
        object,
        kept: own,
        predecessor,
        superseded,
    })))
}

/// Whether a release of a class that we do not know may still be found by an operator who does.
fn is_young_stray(context: &ReconcileContext, object: &GrayRelease) -> bool {
    let created = object
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0);
    let age = created.map(|created| context.clock.now().wall.duration_since(created));
    context.fleets.find(&object.spec.proxy_class).is_none() && age.is_some_and(|age| age < OTHERS)
}

/// The newest reading of the object. None only if a live read says so, or if nothing of it is left anyway.
async fn object(
    context: &ReconcileContext,
    key: &NamespacedName,
    known: Option<&CachedRelease>,
    has_documents: bool,
) -> Result<Option<Arc<CompressedRelease>>, Error> {
    let watched = context.world.release(key);
    match (watched, known) {
        // One of another uid is newer, too, whichever was seen last.
        (Some(watched), Some(known)) if !known.doubtful => {
            Ok(Some(newer(watched, Arc::clone(&known.object))))
        }
        (Some(watched), None) => Ok(Some(watched)),
        (None, _) if !has_documents || !context.world.watches(&key.namespace) => Ok(None),
        _ => Ok(context
            .cluster
            .release(key)
            .await?
            .map(|object| Arc::new(CompressedRelease::of(object)))),
    }
}

/// The ConfigMap of the object itself: what the watch has, unless we have written a newer one.
async fn own(
    context: &ReconcileContext,
    uid: &Uid,
    known: Option<CachedRelease>,
) -> Result<Option<ReleaseConfigMap>, Error> {
    let FleetRef { class, namespace } = &context.fleet;
    if known.as_ref().is_some_and(|known| known.doubtful) {
        let name = names::release_config_map(uid);
        let object = context
            .cluster
            .config_map(namespace.as_str(), &name)
            .await?;
        return Ok(object.and_then(|object| ReleaseConfigMap::read(&object, class)));
    }
    let watched = context.world.kept(class, namespace, uid);
    Ok(match (watched, known.and_then(|known| known.kept)) {
        (Some(watched), Some(written)) if is_older(&watched.version, &written.version) => {
            Some(written)
        }
        (Some(watched), _) => Some(watched),
        // Either it was made a moment ago, or somebody has deleted it: only a fresh read can tell.
        (None, Some(_)) => {
            let name = names::release_config_map(uid);
            let object = context
                .cluster
                .config_map(namespace.as_str(), &name)
                .await?;
            object.and_then(|object| ReleaseConfigMap::read(&object, class))
        }
        (None, None) => None,
    })
}

/// Of the documents of earlier objects the one to go on from, and the rest.
fn earlier(
    kept: Vec<ReleaseConfigMap>,
    uid: &Uid,
    own: Option<&ReleaseConfigMap>,
) -> (Option<ReleaseConfigMap>, Vec<ReleaseConfigMap>) {
    let replaces = own
        .and_then(ReleaseConfigMap::live)
        .and_then(|document| document.replaces.clone());
    let mut earlier: Vec<ReleaseConfigMap> =
        kept.into_iter().filter(|kept| kept.uid != *uid).collect();
    // The youngest last.
    earlier.sort_by_key(|kept| kept.live().map(|document| document.release.created_at));
    let at = match &replaces {
        Some(replaces) => earlier.iter().position(|kept| kept.uid == *replaces),
        None => earlier.iter().rposition(|kept| kept.live().is_some()),
    };
    let predecessor = at.map(|at| earlier.remove(at));
    (predecessor, earlier)
}
