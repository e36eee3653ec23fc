//! Fifth step, write ahead: the transition into the status, then the document into its ConfigMap, with the spec that is in
//! effect beside it. What can only raise users' risk does not count before the status is written.

use std::sync::Arc;

use halftone_api::spec::{ControllerStatus, Verdict};
use halftone_api::{GrayRelease, GrayReleaseStatus};
use halftone_rollout::advance::AdvanceResult;
use halftone_rollout::clock::Now;
use halftone_rollout::events::{Event, EventReason};
use halftone_routing::document::RoutingConfig;
use tokio::time::Instant;

use super::observe::ObservedRelease;
use super::{LiveRelease, ReconcileContext};
use crate::compressed_release::CompressedRelease;
use crate::error::Error;
use crate::last_written::LastWritten;
use crate::objects::{DesiredConfigMap, ReleaseConfigMap, spec_text};

/// So many events wait for a document that cannot be written; older ones are dropped.
const MOST_UNTOLD: usize = 32;

/// Has the turn happen: afterwards its progress tells where the release stands.
///
/// Where the status cannot be written, the turn is taken once more, knowing so: nothing rises on progress that a restart
/// would not know, but users on a bad version do not wait for the API server to take a status, and no evidence against it
/// is lost.
///
/// # Errors
/// The turn is void; with [`Error::Unwritten`] it counts in this process alone, and with [`Error::Unprogrammed`] it counts
/// and proxies do not know of it yet.
pub(super) async fn apply(
    context: &ReconcileContext,
    live: &mut LiveRelease,
    turn: &mut AdvanceResult,
    observed: ObservedRelease,
    now: Now,
) -> Result<(), Error> {
    let ObservedRelease {
        mut seen, counted, ..
    } = observed;
    let mut in_effect = accepted(live, turn);
    let unwritten = match persist(context, live, turn, in_effect.as_deref()).await {
        Ok(()) => None,
        Err(error @ (Error::NotLeading | Error::Conflict(_))) => {
            if let Some((delta, _)) = counted {
                context.roster().give_back(delta);
            }
            return Err(error);
        }
        Err(error) => {
            seen.unwritable = Some(error.to_string());
            *turn = super::decide(&live.tracked, &seen, now);
            in_effect = accepted(live, turn);
            Some(error)
        }
    };
    live.tracked.accepted = in_effect;
    accept(context, live, turn, counted.map(|(_, until)| until));
    // Without a document nobody is moved, and what tells of that waits for one.
    if let Some(document) = turn.routing.clone() {
        program_or_say_why(context, live, document).await?;
    }
    unwritten.map_or(Ok(()), |error| Err(Error::Unwritten(Box::new(error))))
}

/// Has what a restart would have to know in the status.
async fn persist(
    context: &ReconcileContext,
    live: &mut LiveRelease,
    turn: &AdvanceResult,
    accepted: Option<&str>,
) -> Result<(), Error> {
    let status = turn.progress.status();
    if live.tracked.written.restores_same_progress(&status)
        && !context.ownership.wants(live.object.controller())
    {
        return Ok(());
    }
    let status = stamped(context, live, accepted, status);
    live.tracked.sent = Some(Box::new((status.clone(), turn.progress.clone())));
    write_status(context, live, status).await
}

/// The status as we sign it.
pub(super) fn stamped(
    context: &ReconcileContext,
    live: &LiveRelease,
    accepted: Option<&str>,
    status: GrayReleaseStatus,
) -> GrayReleaseStatus {
    let (now, before) = (context.clock.now().wall, live.object.status.as_ref());
    GrayReleaseStatus {
        controller: context.ownership.stamp(now, before, accepted),
        ..status
    }
}

/// Says who looked after the release before, if that was another installation which has not offered it to us.
fn emit_adopted(context: &ReconcileContext, before: &GrayRelease) {
    let is_us = |id: &String| Some(id.as_str()) == context.ownership.us();
    let is_ours = |controller: &&ControllerStatus| {
        is_us(&controller.id) || controller.hand_over_to.as_ref().is_some_and(is_us)
    };
    let Some(other) = before
        .controller()
        .filter(|controller| !is_ours(controller))
    else {
        return;
    };
    let what = format!(
        "the installation {} looked after it before; now we do",
        other.id
    );
    tracing::info!(reason = %EventReason::Adopted, "{what}");
    context.tell(before, Event::new(EventReason::Adopted, what));
}

/// Writes a status over the version of the object that the turn was decided on.
pub(super) async fn write_status(
    context: &ReconcileContext,
    live: &mut LiveRelease,
    status: GrayReleaseStatus,
) -> Result<(), Error> {
    let tracked = &mut live.tracked;
    let object = GrayRelease {
        status: Some(status),
        ..GrayRelease::clone(&live.object)
    };
    let written = Box::pin(context.cluster.write_status(&object)).await?;
    context
        .ownership
        .wrote(object.controller(), written.controller());
    emit_adopted(context, &live.object);
    tracked.written = LastWritten::of(&object.status.unwrap_or_default(), Instant::now());
    tracked.unreadable = None;
    tracked.sent = None;
    tracked.object = Arc::new(CompressedRelease::of(written));
    // Its version is the one to write over next.
    live.object = Arc::new(tracked.object.unpack());
    Ok(())
}

/// From here on the turn has happened.
fn accept(
    context: &ReconcileContext,
    live: &mut LiveRelease,
    turn: &AdvanceResult,
    counted_until: Option<Instant>,
) {
    let tracked = &mut live.tracked;
    if turn.acknowledged
        && let Some(since) = tracked.programmed.take()
    {
        context
            .metrics
            .acknowledged(context.fleet.class.as_str(), since.elapsed());
    }
    let verdict = tracked.progress.evidence().ruling().verdict;
    tracked.progress = turn.progress.clone();
    tracked.counted_until = counted_until.unwrap_or(tracked.counted_until);
    let class = context.fleet.class.as_str();
    let ruling = tracked.progress.evidence().ruling().verdict;
    if ruling != verdict && ruling != Verdict::NeedMoreData {
        context.metrics.judged(class, format!("{ruling:?}"));
    }
    for event in &turn.events {
        if event.reason.needs_document() {
            tracked.untold.push(event.clone());
        } else {
            tell(context, &live.object, event);
        }
    }
    let surplus = tracked.untold.len().saturating_sub(MOST_UNTOLD);
    tracked.untold.drain(..surplus);
}

fn tell(context: &ReconcileContext, object: &GrayRelease, event: &Event) {
    tracing::info!(reason = %event.reason, "{}", event.message);
    context.tell(object, event.clone());
}

/// Tells what has happened to users, now that the document by which it happens is written.
fn emit_pending(context: &ReconcileContext, live: &mut LiveRelease) {
    for event in std::mem::take(&mut live.tracked.untold) {
        tell(context, &live.object, &event);
    }
}

/// Has the document live. What keeps it from that is remembered for the next turn, which says so in the status.
async fn program_or_say_why(
    context: &ReconcileContext,
    live: &mut LiveRelease,
    document: Arc<RoutingConfig>,
) -> Result<(), Error> {
    match program(context, live, document).await {
        Ok(()) => {
            live.tracked.unprogrammed = None;
            emit_pending(context, live);
            Ok(())
        }
        // Nobody said no: somebody else has written, or acts now.
        Err(error @ (Error::NotLeading | Error::Conflict(_))) => Err(error),
        Err(error) => {
            live.tracked.unprogrammed = Some(error.to_string());
            Err(Error::Unprogrammed(Box::new(error)))
        }
    }
}

/// The spec that is in effect after the turn, as it has to be beside the document.
fn accepted(live: &LiveRelease, turn: &AdvanceResult) -> Option<Arc<str>> {
    let LiveRelease {
        tracked,
        object,
        kept,
        ..
    } = live;
    if !tracked.newest().is_some_and(|plan| turn.takes(plan)) {
        return tracked.accepted.clone();
    }
    let text = spec_text(&object.spec);
    // Remembered once.
    let kept = kept
        .as_ref()
        .and_then(|kept| kept.accepted.clone())
        .filter(|kept| **kept == *text);
    kept.or_else(|| Some(text.into()))
}

/// Has the document live, over the version of the ConfigMap that the turn was decided on.
async fn program(
    context: &ReconcileContext,
    live: &mut LiveRelease,
    document: Arc<RoutingConfig>,
) -> Result<(), Error> {
    let wanted = DesiredConfigMap::live(document, live.tracked.accepted.clone());
    if live.kept.as_ref().is_some_and(|kept| kept.is(&wanted)) {
        return Ok(());
    }
    if let Some(Err(wrong)) = live.kept.as_ref().map(|kept| &kept.document) {
        tracing::warn!(uid = %live.tracked.uid, "the ConfigMap is put right: {wrong}");
    }
    let version = live.kept.as_ref().map(|kept| kept.version.as_str());
    let object = wanted.object(&context.fleet, version)?;
    let written = context.cluster.apply(&object).await?;
    let tracked = &mut live.tracked;
    tracked.kept = ReleaseConfigMap::read(&written, &context.fleet.class);
    tracked.programmed = Some(Instant::now());
    live.kept.clone_from(&tracked.kept);
    Ok(())
}
