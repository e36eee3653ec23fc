//! Fifth step, write ahead: the transition into the status, then the document into its ConfigMap, with the spec that is in
//! effect beside it. What can only raise users' risk does not count before the status is written.

use std::sync::Arc;

use halftone_api::GrayRelease;
use halftone_api::spec::Verdict;
use halftone_rollout::advance::AdvanceResult;
use halftone_rollout::clock::Now;
use halftone_rollout::events::Event;
use halftone_routing::document::RoutingConfig;
use tokio::time::Instant;

use super::live_release::LiveRelease;
use super::observe::ObservedRelease;
use super::release_writer::ReleaseWriter;
use crate::compressed_text::CompressedText;
use crate::error::Error;
use crate::event_publisher::EventPublisher;
use crate::metrics::Metrics;
use crate::objects::spec_text;
use crate::release_cache::ReleaseRecord;

/// So many events wait for a document that cannot be written; older ones are dropped.
const MOST_UNTOLD: usize = 32;

/// Has the turn happen: afterwards its progress tells where the release stands.
///
/// Where the status cannot be written, the turn is taken once more, knowing so: nothing rises on progress that a restart
/// would not know, but users on a bad version do not wait for the API server to take a status, and no evidence against it
/// is lost.
///
/// Whatever was counted and could not be used is left in `observed`.
///
/// # Errors
/// The turn is void; with [`Error::Unwritten`] it counts in this process alone, and with [`Error::Unprogrammed`] it counts
/// and proxies do not know of it yet.
pub(super) async fn apply(
    writer: ReleaseWriter<'_>,
    metrics: &Metrics,
    live: &mut LiveRelease,
    turn: &mut AdvanceResult,
    observed: &mut ObservedRelease,
    now: Now,
) -> Result<(), Error> {
    let mut in_effect = accepted(live, turn);
    let unwritten = match persist(writer, live, turn, in_effect.as_ref(), now).await {
        Ok(()) => None,
        Err(error @ (Error::NotLeading | Error::Conflict(_))) => return Err(error),
        Err(error) => {
            observed.seen.unwritable = Some(error.to_string());
            *turn = live.tracked.decide(&observed.seen, now);
            in_effect = accepted(live, turn);
            Some(error)
        }
    };
    live.tracked.accepted = in_effect;
    count(writer, metrics, &live.tracked, turn);
    let counted_until = observed.counted.take().map(|(_, until)| until);
    accept(writer.publisher, live, turn, counted_until);
    // Without a document nobody is moved, and what tells of that waits for one.
    if let Some(document) = turn.routing.clone() {
        program_or_say_why(writer, live, document).await?;
    }
    unwritten.map_or(Ok(()), |error| Err(Error::Unwritten(Box::new(error))))
}

/// Has what a restart would have to know in the status.
async fn persist(
    writer: ReleaseWriter<'_>,
    live: &mut LiveRelease,
    turn: &AdvanceResult,
    accepted: Option<&CompressedText>,
    now: Now,
) -> Result<(), Error> {
    let status = turn.progress.status();
    if live.tracked.written.restores_same_progress(&status)
        && !writer.ownership.wants(live.object.controller())
    {
        return Ok(());
    }
    let status = writer.stamped(live, accepted, status, now.wall);
    live.tracked.sent = Some(Box::new((status.clone(), turn.progress.clone())));
    writer.write_status(live, status).await
}

/// Counts what the turn brings, before it has happened.
fn count(
    writer: ReleaseWriter<'_>,
    metrics: &Metrics,
    tracked: &ReleaseRecord,
    turn: &AdvanceResult,
) {
    let class = writer.fleet.class.as_str();
    if let Some(since) = tracked.programmed.filter(|_| turn.acknowledged) {
        metrics.acknowledged(class, since.elapsed());
    }
    let before = tracked.progress.evidence().ruling().verdict;
    let verdict = turn.progress.evidence().ruling().verdict;
    if verdict != before && verdict != Verdict::NeedMoreData {
        metrics.judged(class, format!("{verdict:?}"));
    }
}

/// From here on the turn has happened.
fn accept(
    publisher: &EventPublisher,
    live: &mut LiveRelease,
    turn: &AdvanceResult,
    counted_until: Option<Instant>,
) {
    let tracked = &mut live.tracked;
    if turn.acknowledged {
        tracked.programmed = None;
    }
    tracked.progress = turn.progress.clone();
    tracked.counted_until = counted_until.unwrap_or(tracked.counted_until);
    for event in &turn.events {
        if event.reason.needs_document() {
            tracked.untold.push(event.clone());
        } else {
            publish(publisher, &live.object, event);
        }
    }
    let surplus = tracked.untold.len().saturating_sub(MOST_UNTOLD);
    tracked.untold.drain(..surplus);
}

fn publish(publisher: &EventPublisher, object: &GrayRelease, event: &Event) {
    tracing::info!(reason = %event.reason, "{}", event.message);
    publisher.publish(object, event.clone());
}

/// Tells what has happened to users, now that the document by which it happens is written.
fn publish_pending(publisher: &EventPublisher, live: &mut LiveRelease) {
    for event in std::mem::take(&mut live.tracked.untold) {
        publish(publisher, &live.object, &event);
    }
}

/// Has the document live. What keeps it from that is remembered for the next turn, which says so in the status.
async fn program_or_say_why(
    writer: ReleaseWriter<'_>,
    live: &mut LiveRelease,
    document: Arc<RoutingConfig>,
) -> Result<(), Error> {
    match writer.program(live, document).await {
        Ok(()) => {
            live.tracked.unprogrammed = None;
            publish_pending(writer.publisher, live);
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
fn accepted(live: &LiveRelease, turn: &AdvanceResult) -> Option<CompressedText> {
    let LiveRelease {
        tracked,
        object,
        kept,
        ..
    } = live;
    if !tracked.newest().is_some_and(|plan| turn.takes(plan)) {
        return tracked.accepted.clone();
    }
    let text = CompressedText::of(&spec_text(&object.spec));
    // Remembered once.
    let kept = kept
        .as_ref()
        .and_then(|kept| kept.accepted.clone())
        .filter(|kept| *kept == text);
    kept.or(Some(text))
}
