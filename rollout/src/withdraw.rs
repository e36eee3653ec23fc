//! An object that is gone: its routes are kept for a while, then withdrawn by one last document, then removed.
//! There is no status any more; the document and the time at which the object was found gone are all there is.

use std::{sync::Arc, time::Duration};

use halftone_api::duration;
use halftone_routing::document::{ReleaseState, RoutingConfig, units::Revision};
use jiff::Timestamp;

use crate::{
    advance::{BUSY, FleetAcknowledgement, IDLE},
    clock::{Now, after, since},
    events::{Event, EventReason},
    observation::Observation,
    routing_for::sealed,
};

/// The annotation on the document's ConfigMap that keeps the time at which the object was found gone.
pub const GONE_SINCE_ANNOTATION: &str = "halftone.dev/gone-since";

/// The annotation that keeps the time at which the routes were withdrawn.
pub const WITHDRAWN_SINCE_ANNOTATION: &str = "halftone.dev/withdrawn-since";

/// So long after its hosts are free a document is still there: whoever waits for them sees whose they were.
const FAREWELL: Duration = Duration::from_secs(10);

/// Since when an object is gone, by wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// It was found gone, by a live read after a full sync.
    pub gone_since: Timestamp,
    /// Its routes were withdrawn; none if that is not known.
    pub withdrawn_since: Option<Timestamp>,
}

impl Deletion {
    /// One whose hosts nobody keeps: it does not count when they were withdrawn.
    #[must_use]
    pub fn undated(gone_since: Timestamp) -> Self {
        Self {
            gone_since,
            withdrawn_since: Some(gone_since),
        }
    }
}

/// Until when the hosts of `live`, withdrawn at `since`, are kept for its namespace. None once they are free, and for a
/// document that is not withdrawn.
#[must_use]
pub fn reserved(
    live: &RoutingConfig,
    since: Option<Timestamp>,
    reserve: Duration,
    now: Timestamp,
) -> Option<Timestamp> {
    let until = after(since.unwrap_or(now), reserve);
    (live.state == ReleaseState::Withdrawn && until > now).then_some(until)
}

/// What people are told when an object is found gone.
#[must_use]
pub fn told(withdraw_after: Duration) -> Event {
    let left = duration::format(withdraw_after);
    let message = format!(
        "it is deleted: its routes stay for {left} and are then withdrawn; create it again to keep them"
    );
    Event::new(EventReason::ObjectGone, message)
}

/// What to do about the document of an object that is gone.
#[derive(Debug, Clone, PartialEq)]
pub enum Withdrawal {
    /// Nothing yet; look again after this time.
    Wait(Duration),
    /// Have this document live, and look again after this time.
    Write(Arc<RoutingConfig>, Duration),
    /// Every proxy has dropped the routes: remove the document.
    Remove,
}

/// Decides about `live`, the document of an object that is gone. Not to be asked while an object of the same namespace and name exists: that one takes the
/// document over.
///
/// A wall clock that jumped back only makes the wait longer, by no more than the whole of it again.
#[must_use]
pub fn withdraw(
    live: &Arc<RoutingConfig>,
    left: Deletion,
    seen: &Observation,
    now: Now,
) -> Withdrawal {
    if live.state == ReleaseState::Withdrawn {
        return keep(live, left.withdrawn_since, seen, now);
    }
    let gone_for = since(now.wall, left.gone_since);
    match seen.fleet.withdraw_after.checked_sub(gone_for) {
        Some(left) if !left.is_zero() && !seen.taken_over => Withdrawal::Wait(left.min(IDLE)),
        _ => Withdrawal::Write(Arc::new(withdrawn(live, seen)), BUSY),
    }
}

/// A document that is withdrawn stays until every proxy has dropped the routes and its hosts are free.
fn keep(
    live: &Arc<RoutingConfig>,
    withdrawn: Option<Timestamp>,
    seen: &Observation,
    now: Now,
) -> Withdrawal {
    let fleet = FleetAcknowledgement::of(seen, Some(live), false);
    let Some(withdrawn) = withdrawn.filter(|_| fleet.has_acknowledged()) else {
        return Withdrawal::Write(Arc::clone(live), BUSY);
    };
    let reserve = seen.fleet.host_reserve;
    if seen.taken_over || reserve.is_zero() {
        return Withdrawal::Remove;
    }
    let withdrawn_for = since(now.wall, withdrawn);
    let lasts = [reserve, reserve.saturating_add(FAREWELL)]
        .into_iter()
        .find(|lasts| *lasts > withdrawn_for);
    lasts.map_or(Withdrawal::Remove, |lasts| {
        Withdrawal::Wait((lasts - withdrawn_for).min(IDLE))
    })
}

/// Whether other documents have every place of `live`: a release was renamed. Nobody waits for it to come back, and what
/// it has is its successor's as soon as it is gone.
#[must_use]
pub fn is_taken_over(live: &RoutingConfig, others: &[&RoutingConfig]) -> bool {
    let theirs = |other: &&RoutingConfig| {
        other.release.namespace == live.release.namespace
            && other.release.name != live.release.name
            && other.state != ReleaseState::Withdrawn
    };
    live.places().all(|place| {
        let mut others = others.iter().copied().filter(theirs);
        others.any(|other| other.hosts.contains(place.0) && other.paths.contains(place.1))
    })
}

fn withdrawn(live: &RoutingConfig, seen: &Observation) -> RoutingConfig {
    let highest = live.revision.get().max(seen.highest_revision);
    sealed(RoutingConfig {
        state: ReleaseState::Withdrawn,
        moving: false,
        revision: Revision::try_from(highest.saturating_add(1)).unwrap_or(live.revision),
        ..live.clone()
    })
}
