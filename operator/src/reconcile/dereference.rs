//! First step: what bears this name now, and which documents are there in its name. From the watches, or, when something
//! was not as we thought, from fresh reads.

use std::sync::Arc;

use halftone_api::GrayRelease;
use halftone_routing::config::names::Uid;
use jiff::SignedDuration;
use kube::ResourceExt;

use super::{Context, Live};
use crate::desk::{Known, Tracked, is_older, newer};
use crate::error::Error;
use crate::names::{self, Key};
use crate::objects::{FleetRef, Kept};
use crate::packed::Packed;

/// So long another operator may take to see a release of its fleet: a Lease may have to run out first. Told sooner that
/// there is no such fleet, Git tools would call the release failed.
const OTHERS: SignedDuration = SignedDuration::from_secs(20);

/// What bears a name.
#[derive(Debug)]
pub(crate) enum Subject {
    /// Nothing of ours.
    Nothing,
    /// Documents that proxies go on serving, of a release that is not ours to look at: its namespace is not watched any
    /// more, or another installation looks after it.
    Served(Vec<Kept>),
    /// A release of which too little is known yet.
    Unknown,
    /// Documents of a release that another installation serves, in a fleet that we have no more.
    HandedOver(Vec<Kept>),
    /// Documents of an object that is no more.
    Gone(Vec<Kept>),
    /// A release.
    Live(Box<Live>),
}

pub(super) async fn dereference(context: &Context, key: &Key) -> Result<Subject, Error> {
    let known = context.desk().known(key);
    let kept = context.world.kept_of(&context.fleet.class, key);
    let Some(packed) = object(context, key, known.as_ref(), !kept.is_empty()).await? else {
        return Ok(match (kept.is_empty(), context.world.watches(&key.namespace)) {
            (true, _) => Subject::Nothing,
            (false, true) => Subject::Gone(kept),
            // What we cannot see is not gone.
            (false, false) => Subject::Served(kept),
        });
    };
    let object = packed.unpack();
    let Some(uid) = object.uid().and_then(|uid| uid.parse::<Uid>().ok()) else { return Ok(Subject::Nothing) };
    if context.is_anothers(&object) {
        return Ok(match (kept.is_empty(), context.has_let_go_of(&object)) {
            (true, _) => Subject::Unknown,
            (false, true) => Subject::HandedOver(kept),
            // Neither ours to write nor gone.
            (false, false) => Subject::Served(kept),
        });
    }
    if !context.is_ours(&object) {
        // It was deleted and made again for another fleet.
        return Ok(if kept.is_empty() { Subject::Nothing } else { Subject::Gone(kept) });
    }
    if !context.world.knows_services_of(&key.namespace) || is_young_stray(context, &object) {
        return Ok(Subject::Unknown);
    }
    let own = own(context, &uid, known.filter(|known| known.uid == uid)).await?;
    let now = context.clock.now();
    let present = own.as_ref().filter(|kept| context.ownership.may_go_on_from(&object, kept));
    let mut tracked = match context.desk().take(key).filter(|tracked| tracked.uid == uid) {
        Some(mut tracked) => {
            tracked.see((&object, packed), present, now);
            tracked
        }
        None => {
            let counted_until = context.roster().round_at();
            let seen = (&object, packed);
            Box::new(Tracked::restore(seen, uid.clone(), present, (now, counted_until)))
        }
    };
    tracked.kept.clone_from(&own);
    tracked.doubtful = false;
    let (predecessor, superseded) = earlier(kept, &uid, own.as_ref());
    let object = Arc::new(object);
    Ok(Subject::Live(Box::new(Live { tracked, object, kept: own, predecessor, superseded })))
}

/// Whether a release of a class that we do not know may still be found by an operator who does.
fn is_young_stray(context: &Context, object: &GrayRelease) -> bool {
    let created = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let age = created.map(|created| context.clock.now().wall.duration_since(created));
    context.fleets.find(&object.spec.proxy_class).is_none() && age.is_some_and(|age| age < OTHERS)
}

/// The newest reading of the object. None only if a live read says so, or if nothing of it is left anyway.
async fn object(
    context: &Context,
    key: &Key,
    known: Option<&Known>,
    has_documents: bool,
) -> Result<Option<Arc<Packed>>, Error> {
    let watched = context.world.release(key);
    match (watched, known) {
        // One of another uid is newer, too, whichever was seen last.
        (Some(watched), Some(known)) if !known.doubtful => {
            Ok(Some(newer(watched, Arc::clone(&known.object))))
        }
        (Some(watched), None) => Ok(Some(watched)),
        (None, _) if !has_documents || !context.world.watches(&key.namespace) => Ok(None),
        _ => Ok(context.cluster.release(key).await?.map(|object| Arc::new(Packed::of(object)))),
    }
}

/// The ConfigMap of the object itself: what the watch has, unless we have written a newer one.
async fn own(context: &Context, uid: &Uid, known: Option<Known>) -> Result<Option<Kept>, Error> {
    let FleetRef { class, namespace } = &context.fleet;
    if known.as_ref().is_some_and(|known| known.doubtful) {
        let name = names::release_config_map(uid);
        let object = context.cluster.config_map(namespace.as_str(), &name).await?;
        return Ok(object.and_then(|object| Kept::read(&object, class)));
    }
    let watched = context.world.kept(class, namespace, uid);
    Ok(match (watched, known.and_then(|known| known.kept)) {
        (Some(watched), Some(written)) if is_older(&watched.version, &written.version) => Some(written),
        (Some(watched), _) => Some(watched),
        // Either it was made a moment ago, or somebody has deleted it: only a fresh read can tell.
        (None, Some(_)) => {
            let name = names::release_config_map(uid);
            let object = context.cluster.config_map(namespace.as_str(), &name).await?;
            object.and_then(|object| Kept::read(&object, class))
        }
        (None, None) => None,
    })
}

/// Of the documents of earlier objects the one to go on from, and the rest.
fn earlier(kept: Vec<Kept>, uid: &Uid, own: Option<&Kept>) -> (Option<Kept>, Vec<Kept>) {
    let replaces = own.and_then(Kept::live).and_then(|document| document.replaces.clone());
    let mut earlier: Vec<Kept> = kept.into_iter().filter(|kept| kept.uid != *uid).collect();
    // The youngest last.
    earlier.sort_by_key(|kept| kept.live().map(|document| document.release.created_at));
    let at = match &replaces {
        Some(replaces) => earlier.iter().position(|kept| kept.uid == *replaces),
        None => earlier.iter().rposition(|kept| kept.live().is_some()),
    };
    let predecessor = at.map(|at| earlier.remove(at));
    (predecessor, earlier)
}
