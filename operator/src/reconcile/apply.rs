//! Fifth step, write ahead: the transition into the status, then the document into its ConfigMap, with the spec that is in
//! effect beside it. What can only raise users' risk does not count before the status is written.

use std::sync::Arc;

use halftone_api::spec::{ControllerStatus, Verdict};
use halftone_api::{GrayRelease, GrayReleaseStatus};
use halftone_rollout::advance::Turn;
use halftone_rollout::clock::Now;
use halftone_rollout::events::{Event, Reason};
use halftone_routing::config::RoutingConfig;
use tokio::time::Instant;

use super::observe::Observed;
use super::{Context, Live};
use crate::error::Error;
use crate::objects::{Kept, Wanted, spec_text};
use crate::packed::Packed;
use crate::written::Written;

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
    context: &Context,
    live: &mut Live,
    turn: &mut Turn,
    observed: Observed,
    now: Now,
) -> Result<(), Error> {
    let Observed { mut seen, counted, .. } = observed;
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
    context: &Context,
    live: &mut Live,
    turn: &Turn,
    accepted: Option<&str>,
) -> Result<(), Error> {
    let status = turn.progress.status();
    if live.tracked.written.stands_for(&status) && !context.ownership.wants(live.object.controller()) {
        return Ok(());
    }
    let status = stamped(context, live, accepted, status);
    live.tracked.sent = Some(Box::new((status.clone(), turn.progress.clone())));
    write_status(context, live, status).await
}

/// The status as we sign it.
pub(super) fn stamped(
    context: &Context,
    live: &Live,
    accepted: Option<&str>,
    status: GrayReleaseStatus,
) -> GrayReleaseStatus {
    let (now, before) = (context.clock.now().wall, live.object.status.as_ref());
    GrayReleaseStatus { controller: context.ownership.stamp(now, before, accepted), ..status }
}

/// Says who looked after the release before, if that was another installation which has not offered it to us.
fn tell_adopted(context: &Context, before: &GrayRelease) {
    let is_us = |id: &String| Some(id.as_str()) == context.ownership.us();
    let is_ours = |controller: &&ControllerStatus| {
        is_us(&controller.id) || controller.hand_over_to.as_ref().is_some_and(is_us)
    };
    let Some(other) = before.controller().filter(|controller| !is_ours(controller)) else { return };
    let what = format!("the installation {} looked after it before; now we do", other.id);
    tracing::info!(reason = %Reason::Adopted, "{what}");
    context.tell(before, Event::new(Reason::Adopted, what));
}

/// Writes a status over the version of the object that the turn was decided on.
pub(super) async fn write_status(
    context: &Context,
    live: &mut Live,
    status: GrayReleaseStatus,
) -> Result<(), Error> {
    let tracked = &mut live.tracked;
    let object = GrayRelease { status: Some(status), ..GrayRelease::clone(&live.object) };
    let written = Box::pin(context.cluster.write_status(&object)).await?;
    context.ownership.wrote(object.controller(), written.controller());
    tell_adopted(context, &live.object);
    tracked.written = Written::of(&object.status.unwrap_or_default(), Instant::now());
    tracked.unreadable = None;
    tracked.sent = None;
    tracked.object = Arc::new(Packed::of(written));
    // Its version is the one to write over next.
    live.object = Arc::new(tracked.object.unpack());
    Ok(())
}

/// From here on the turn has happened.
fn accept(context: &Context, live: &mut Live, turn: &Turn, counted_until: Option<Instant>) {
    let tracked = &mut live.tracked;
    if turn.acknowledged
        && let Some(since) = tracked.programmed.take()
    {
        context.metrics.acknowledged(context.fleet.class.as_str(), since.elapsed());
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

fn tell(context: &Context, object: &GrayRelease, event: &Event) {
    tracing::info!(reason = %event.reason, "{}", event.message);
    context.tell(object, event.clone());
}

/// Tells what has happened to users, now that the document by which it happens is written.
fn tell_the_rest(context: &Context, live: &mut Live) {
    for event in std::mem::take(&mut live.tracked.untold) {
        tell(context, &live.object, &event);
    }
}

/// Has the document live. What keeps it from that is remembered for the next turn, which says so in the status.
async fn program_or_say_why(
    context: &Context,
    live: &mut Live,
    document: Arc<RoutingConfig>,
) -> Result<(), Error> {
    match program(context, live, document).await {
        Ok(()) => {
            live.tracked.unprogrammed = None;
            tell_the_rest(context, live);
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
fn accepted(live: &Live, turn: &Turn) -> Option<Arc<str>> {
    let Live { tracked, object, kept, .. } = live;
    if !tracked.newest().is_some_and(|plan| turn.takes(plan)) {
        return tracked.accepted.clone();
    }
    let text = spec_text(&object.spec);
    // Remembered once.
    let kept = kept.as_ref().and_then(|kept| kept.accepted.clone()).filter(|kept| **kept == *text);
    kept.or_else(|| Some(text.into()))
}

/// Has the document live, over the version of the ConfigMap that the turn was decided on.
async fn program(context: &Context, live: &mut Live, document: Arc<RoutingConfig>) -> Result<(), Error> {
    let wanted = Wanted::live(document, live.tracked.accepted.clone());
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
    tracked.kept = Kept::read(&written, &context.fleet.class);
    tracked.programmed = Some(Instant::now());
    live.kept.clone_from(&tracked.kept);
    Ok(())
}
