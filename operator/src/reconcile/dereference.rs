//! First step: what bears this name now, and which documents are there in its name. From the watches, or, when something
//! was not as we thought, from fresh reads.

use std::sync::{Arc, Mutex};

use halftone_api::GrayRelease;
use halftone_rollout::clock::Now;
use halftone_routing::document::names::Uid;
use kube::ResourceExt;

use super::live_release::LiveRelease;
use crate::api_client::ApiClient;
use crate::cluster_cache::ClusterCache;
use crate::compressed_release::CompressedRelease;
use crate::error::Error;
use crate::jurisdiction::Jurisdiction;
use crate::lock::lock;
use crate::names::{self, NamespacedName};
use crate::objects::{FleetRef, ReleaseConfigMap};
use crate::proxy_roster::ProxyRoster;
use crate::release_cache::{CachedRelease, ReleaseCache, ReleaseRecord, is_older, newer};

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

/// Where releases and their documents are found.
pub(super) struct ReleaseSources<'a> {
    pub(super) fleet: &'a FleetRef,
    pub(super) cluster: &'a ApiClient,
    pub(super) world: &'a ClusterCache,
    pub(super) jurisdiction: &'a Jurisdiction,
    pub(super) desk: &'a Mutex<ReleaseCache>,
    pub(super) roster: &'a Mutex<ProxyRoster>,
}

pub(super) async fn dereference(
    sources: &ReleaseSources<'_>,
    key: &NamespacedName,
    now: Now,
) -> Result<ResolvedObject, Error> {
    let ReleaseSources {
        fleet,
        cluster,
        world,
        jurisdiction,
        desk,
        roster,
    } = *sources;
    let known = lock(desk).known(key);
    let kept = world.release_config_maps(&fleet.class, key);
    let found = object(cluster, world, key, known.as_ref(), !kept.is_empty()).await?;
    let Some(packed) = found else {
        return Ok(without_object(kept, world.watches(&key.namespace)));
    };
    let object = packed.unpack();
    let Some(uid) = object.uid().and_then(|uid| uid.parse::<Uid>().ok()) else {
        return Ok(ResolvedObject::Nothing);
    };
    if let Some(kept) = others(jurisdiction, &object, &kept, now) {
        return Ok(kept);
    }
    if !world.has_listed_services(&key.namespace) || jurisdiction.is_young_stray(&object, now.wall)
    {
        return Ok(ResolvedObject::Unknown);
    }
    let known = known.filter(|known| known.uid == uid);
    let own = own(fleet, cluster, world, &uid, known).await?;
    let present = own
        .as_ref()
        .filter(|kept| jurisdiction.ownership.may_go_on_from(&object, kept));
    let remembered = lock(desk).take(key).filter(|tracked| tracked.uid == uid);
    let seen = (&object, packed);
    let mut tracked = match remembered {
        Some(mut tracked) => {
            tracked.see(seen, present, now);
            tracked
        }
        None => {
            let counted_until = lock(roster).round_at();
            let times = (now, counted_until);
            Box::new(ReleaseRecord::restore(seen, uid.clone(), present, times))
        }
    };
    tracked.kept.clone_from(&own);
    tracked.doubtful = false;
    let (predecessor, superseded) = earlier(kept, &uid, own.as_ref());
    Ok(ResolvedObject::Live(Box::new(LiveRelease {
        tracked,
        object: Arc::new(object),
        kept: own,
        predecessor,
        superseded,
    })))
}

/// What documents without an object are.
fn without_object(kept: Vec<ReleaseConfigMap>, is_watched: bool) -> ResolvedObject {
    match (kept.is_empty(), is_watched) {
        (true, _) => ResolvedObject::Nothing,
        (false, true) => ResolvedObject::Gone(kept),
        // What we cannot see is not gone.
        (false, false) => ResolvedObject::Served(kept),
    }
}

/// What the documents of an object are that is not looked after here; none if it is.
fn others(
    jurisdiction: &Jurisdiction,
    object: &GrayRelease,
    kept: &[ReleaseConfigMap],
    now: Now,
) -> Option<ResolvedObject> {
    if jurisdiction.is_anothers(object, now.wall) {
        return Some(
            match (kept.is_empty(), jurisdiction.is_served_elsewhere(object)) {
                (true, _) => ResolvedObject::Unknown,
                (false, true) => ResolvedObject::HandedOver(kept.to_vec()),
                // Neither ours to write nor gone.
                (false, false) => ResolvedObject::Served(kept.to_vec()),
            },
        );
    }
    // It was deleted and made again for another fleet.
    (!jurisdiction.is_ours(object)).then(|| match kept.is_empty() {
        true => ResolvedObject::Nothing,
        false => ResolvedObject::Gone(kept.to_vec()),
    })
}

/// The newest reading of the object. None only if a live read says so, or if nothing of it is left anyway.
async fn object(
    cluster: &ApiClient,
    world: &ClusterCache,
    key: &NamespacedName,
    known: Option<&CachedRelease>,
    has_documents: bool,
) -> Result<Option<Arc<CompressedRelease>>, Error> {
    let watched = world.release(key);
    match (watched, known) {
        // One of another uid is newer, too, whichever was seen last.
        (Some(watched), Some(known)) if !known.doubtful => {
            Ok(Some(newer(watched, Arc::clone(&known.object))))
        }
        (Some(watched), None) => Ok(Some(watched)),
        (None, _) if !has_documents || !world.watches(&key.namespace) => Ok(None),
        _ => Ok(cluster
            .release(key)
            .await?
            .map(|object| Arc::new(CompressedRelease::of(object)))),
    }
}

/// The ConfigMap of the object itself: what the watch has, unless we have written a newer one.
async fn own(
    fleet: &FleetRef,
    cluster: &ApiClient,
    world: &ClusterCache,
    uid: &Uid,
    known: Option<CachedRelease>,
) -> Result<Option<ReleaseConfigMap>, Error> {
    let FleetRef { class, namespace } = fleet;
    if known.as_ref().is_some_and(|known| known.doubtful) {
        let name = names::release_config_map(uid);
        let object = cluster.config_map(namespace.as_str(), &name).await?;
        return Ok(object.and_then(|object| ReleaseConfigMap::read(&object, class)));
    }
    let watched = world.kept(class, namespace, uid);
    Ok(match (watched, known.and_then(|known| known.kept)) {
        (Some(watched), Some(written)) if is_older(&watched.version, &written.version) => {
            Some(written)
        }
        (Some(watched), _) => Some(watched),
        // Either it was made a moment ago, or somebody has deleted it: only a fresh read can tell.
        (None, Some(_)) => {
            let name = names::release_config_map(uid);
            let object = cluster.config_map(namespace.as_str(), &name).await?;
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
