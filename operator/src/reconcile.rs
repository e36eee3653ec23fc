//! One turn of one release: `dereference → plan → observe → advance → apply → report_status`, each a step with a name.
//!
//! Write ahead: a transition is in the status, guarded by resourceVersion, before its document is applied, guarded by
//! its own. A kill between the two is repaired by the next turn, which finds the document behind the status. Whatever is
//! not as we thought makes the turn void: the next one reads everything anew.

mod apply;
mod deletion;
mod dereference;
mod live_release;
mod observe;
mod plan;
mod release_writer;
mod report_status;

use std::time::Duration;

use halftone_rollout::advance::{AdvanceResult, BUSY, IDLE};
use halftone_rollout::clock::Now;

use self::deletion::DeletionInput;
use self::dereference::{ReleaseSources, ResolvedObject};
use self::live_release::LiveRelease;
use self::observe::{FleetRules, ObservedRelease};
use self::release_writer::ReleaseWriter;
use crate::error::Error;
use crate::names::NamespacedName;
use crate::reconcile_context::ReconcileContext;

pub use self::live_release::ReconcileResult;

/// Gives the release of this name its turn.
///
/// # Errors
/// The turn is void, and another one is due after a pause.
pub async fn reconcile(
    context: &ReconcileContext,
    key: &NamespacedName,
) -> Result<ReconcileResult, Error> {
    let now = context.clock.now();
    let sources = sources(context);
    let subject = context
        .step_async("dereference", dereference::dereference(&sources, key, now))
        .await?;
    let ended = match subject {
        ResolvedObject::Live(live) => Box::pin(turn(context, key, *live)).await,
        other => without_release(context, key, other, now).await,
    };
    context.metrics.reconciled(context.fleet.class.as_str());
    ended
}

/// No release of ours bears the name, or too little is known of it.
async fn without_release(
    context: &ReconcileContext,
    key: &NamespacedName,
    subject: ResolvedObject,
    now: Now,
) -> Result<ReconcileResult, Error> {
    let (wake_after, concerned) = match subject {
        ResolvedObject::Nothing => (None, context.desk().forget(key)),
        ResolvedObject::Served(kept) => {
            let claim = context.claim(kept.iter());
            // Whoever looks after it may be gone some day.
            (Some(IDLE), context.desk().keep_claim(key, claim))
        }
        // The watches that are under way wake it; its series stay.
        ResolvedObject::Unknown | ResolvedObject::Live(_) => {
            return Ok(ReconcileResult {
                wake_after: Some(IDLE),
                concerned: Vec::new(),
            });
        }
        ResolvedObject::HandedOver(left) => {
            let dropping = deletion::drop_handed_over(writer(context), &context.desk, key, left);
            let ended = context.step_async("leave", dropping).await?;
            context.metrics.per_release().forget(key);
            return Ok(ended);
        }
        ResolvedObject::Gone(left) => {
            let input = deletion_input(context, now);
            let leaving = deletion::leave(writer(context), &input, key, left);
            let ended = context.step_async("leave", leaving).await?;
            context.metrics.per_release().forget(key);
            return Ok(ended);
        }
    };
    context.metrics.per_release().forget(key);
    Ok(ReconcileResult {
        wake_after,
        concerned: concerned.into_iter().collect(),
    })
}

async fn turn(
    context: &ReconcileContext,
    key: &NamespacedName,
    mut live: LiveRelease,
) -> Result<ReconcileResult, Error> {
    let now = context.clock.now();
    context.step("plan", || {
        plan::plan(&mut live, |reference| context.world.find(reference).service);
    });
    let observed = context.step("observe", || observe(context, key, &mut live, now));
    let mut turn = context.step("advance", || live.tracked.decide(&observed.seen, now));
    // Once: a second recording would be written beside the first.
    tracing::Span::current().record("revision", turn.progress.revision());
    let hands_over = observed.seen.handing_over.is_some();
    let mut concerned: Vec<NamespacedName> = observed.concerned.iter().cloned().collect();
    let found_unreadable = live.tracked.unreadable.is_some();
    let done = Box::pin(carry_out(context, key, &mut live, &mut turn, observed, now)).await;
    if found_unreadable {
        // It is repaired now, and the next status says so.
        (turn.wake_after, turn.rests_for) = (BUSY, None);
    }
    let wake_after = wake_after(&turn, hands_over);
    let (left, figures) = match &done {
        Ok(waits) => *waits,
        Err(_) => (None, None),
    };
    let reserve = context.declaration.times.host_reserve;
    let mut desk = context.desk();
    concerned.extend(observe::claim(
        &live,
        key,
        &mut desk.claims,
        reserve,
        now.wall,
    ));
    live.tracked.doubtful = done.is_err();
    if wake_after <= BUSY {
        desk.busy.insert(key.clone())
    } else {
        desk.busy.remove(key)
    };
    desk.put(key.clone(), live.tracked);
    match &done {
        Ok(_) => concerned.append(&mut desk.concerned),
        Err(_) => desk.concerned.append(&mut concerned),
    }
    drop(desk);
    done?;
    // Nobody is busy for want of a write of figures.
    let waits = [Some(wake_after), left, figures];
    Ok(ReconcileResult {
        wake_after: waits.into_iter().flatten().min(),
        concerned,
    })
}

/// When the next turn is due, whatever is left of earlier objects and of figures.
fn wake_after(turn: &AdvanceResult, hands_over: bool) -> Duration {
    match turn.rests_for.filter(|_| !hands_over) {
        // Not all at once.
        Some(rest) if rest > IDLE => rest.mul_f64(rand::random_range(0.5..1.0)).max(IDLE),
        // The release that takes over says nothing to this one when it is acknowledged.
        _ if hands_over => BUSY,
        _ => turn.wake_after,
    }
}

/// The third step. Each lock in a statement of its own: `roster` is never locked while `desk` is.
fn observe(
    context: &ReconcileContext,
    key: &NamespacedName,
    live: &mut LiveRelease,
    now: Now,
) -> ObservedRelease {
    let rules = FleetRules {
        declaration: &context.declaration,
        jurisdiction: &context.jurisdiction,
        now: now.wall,
    };
    let timeout = context.declaration.times.straggler_timeout;
    let polled = observe::polled(&mut context.roster(), live);
    let identities = context.world.identities();
    let arms = observe::arms(live, |reference| context.world.find(reference), &identities);
    let mut desk = context.desk();
    let mut observed = observe::observe(live, key, polled, arms, &rules, &mut desk.claims);
    let handed = desk.claims.hands_over(key);
    let awaited = desk.claims.is_awaited(key);
    observed.seen.taking_over = desk.claims.taken_from(key);
    drop(desk);
    let lacking = observe::lacking(handed, &context.roster());
    observed.seen.handing_over = observe::handing_over(live, lacking, timeout, awaited);
    observed
}

/// After how long documents of earlier objects want another look, and how long figures have to wait.
type NextLooks = (Option<Duration>, Option<Duration>);

/// Writes what has to be written, in this order.
async fn carry_out(
    context: &ReconcileContext,
    key: &NamespacedName,
    live: &mut LiveRelease,
    turn: &mut AdvanceResult,
    mut observed: ObservedRelease,
    now: Now,
) -> Result<NextLooks, Error> {
    let (writer, metrics) = (writer(context), &*context.metrics);
    let applying = Box::pin(apply::apply(
        writer,
        metrics,
        live,
        turn,
        &mut observed,
        now,
    ));
    let applied = context.step_async("apply", applying).await;
    if let Some((delta, _)) = observed.counted {
        context.roster().give_back(delta);
    }
    if applied.as_ref().is_err_and(|error| !error.counts()) {
        context.desk().figures.withdraw(key);
        return applied.map(|()| NextLooks::default());
    }
    // What could not be written is a part of where the release stands.
    let (class, status) = (context.fleet.class.as_str(), turn.progress.status());
    metrics
        .per_release()
        .stands(key, class, &live.object, &status);
    let take = |at| context.desk().figures.take(key, at);
    let reported = match applied {
        Err(Error::Unwritten(_)) => Ok(None),
        _ => {
            let reporting = Box::pin(report_status::report_status(
                writer, live, turn, status, take, now,
            ));
            context.step_async("report_status", reporting).await
        }
    };
    if !matches!(reported, Ok(Some(_))) {
        context.desk().figures.withdraw(key);
    }
    let figures = applied.and(reported)?;
    let input = deletion_input(context, now);
    let left = deletion::clear(writer, &input, live, turn.replaced()).await?;
    Ok((left, figures))
}

fn sources(context: &ReconcileContext) -> ReleaseSources<'_> {
    ReleaseSources {
        fleet: &context.fleet,
        cluster: &context.cluster,
        world: &context.world,
        jurisdiction: &context.jurisdiction,
        desk: &context.desk,
        roster: &context.roster,
    }
}

fn writer(context: &ReconcileContext) -> ReleaseWriter<'_> {
    ReleaseWriter {
        fleet: &context.fleet,
        cluster: &context.cluster,
        ownership: &context.ownership,
        publisher: &context.publisher,
    }
}

fn deletion_input(context: &ReconcileContext, now: Now) -> DeletionInput<'_> {
    DeletionInput {
        roster: &context.roster,
        desk: &context.desk,
        times: context.declaration.times,
        leaving: context.jurisdiction.leaving,
        now,
    }
}
