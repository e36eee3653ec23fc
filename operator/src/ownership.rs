//! Which installation looks after a class, where two of one cluster declare the same: one acts, the other touches nothing.
//! `ownership/decision.rs` decides; [`follow`] has it decided again every second and tells whoever has to know.
//!
//! Each release's status names the installation that looks after it (`status.controller`), and each status write is
//! guarded by resourceVersion, so of two that begin at once each release gets one. An installation leaves a class alone
//! while most of its releases name another one that is alive. It sees no ConfigMaps of other namespaces, so statuses are
//! all that two installations have in common.

mod decision;
pub mod stale_documents;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halftone_api::spec::ControllerStatus;
use halftone_api::{GrayRelease, GrayReleaseStatus};
use halftone_rollout::events::{Event, EventReason};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::decision::{ClassOwner, HandOverOrder, OwnershipTally, owner};
use crate::cluster_cache::ClusterCache;
use crate::compressed_text::CompressedText;
use crate::events::EventRecorder;
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::objects::{FleetRef, ReleaseConfigMap};
use crate::pages::ReadinessNotices;

/// At rest, too, one status is written this often.
const BEAT: Duration = Duration::from_secs(240);
/// How often the decision is taken.
const LOOK: Duration = Duration::from_secs(1);

/// What the workers of a fleet go by.
#[derive(Debug)]
pub struct Ownership {
    us: Option<String>,
    standing: watch::Sender<(ClassOwner, OwnershipTally)>,
    beat: Mutex<Instant>,
    /// Whether the API server dropped `status.controller` from the last status: its definition is older than ours.
    is_dropped: AtomicBool,
}

impl Ownership {
    /// That of the installation `us`. Without a name nobody else is asked about.
    #[must_use]
    pub fn new(us: Option<String>) -> Self {
        let owner = if us.is_some() {
            ClassOwner::Unknown
        } else {
            ClassOwner::Us
        };
        let standing = watch::Sender::new((owner, OwnershipTally::default()));
        Self {
            us,
            standing,
            beat: Mutex::new(Instant::now()),
            is_dropped: AtomicBool::new(false),
        }
    }

    /// The installation that we are.
    #[must_use]
    pub fn us(&self) -> Option<&str> {
        self.us.as_deref()
    }

    /// Where changes are told.
    #[must_use]
    pub fn hear(&self) -> watch::Receiver<(ClassOwner, OwnershipTally)> {
        self.standing.subscribe()
    }

    /// Whether it is known who looks after the class.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.standing.borrow().0 != ClassOwner::Unknown
    }

    /// Whether a release is to be left to the installation that its status names. One that a cluster restored from
    /// elsewhere brings along, that an installation which is gone has left, or that is offered to us, is taken over.
    #[must_use]
    pub fn is_anothers(&self, controller: Option<&ControllerStatus>, now: Timestamp) -> bool {
        let Some((us, controller)) = self.other(controller) else {
            return false;
        };
        let (owner, tally) = &*self.standing.borrow();
        let is_offered = controller.hand_over_to.as_deref() == Some(us);
        // What an installation that hands over to us has not offered yet is its own.
        let keeps = || tally.is_ahead(&controller.id, us) || tally.offered(&controller.id, us) > 0;
        match owner {
            ClassOwner::Unknown | ClassOwner::Another(_) => true,
            ClassOwner::UsByForce(_) | ClassOwner::Us => {
                is_there(controller, owner, tally, now) && !is_offered && keeps()
            }
            // Two that hand over to each other would never end.
            ClassOwner::HandingOver(_) => is_there(controller, owner, tally, now),
        }
    }

    /// Whether another installation looks after a release, and is there.
    #[must_use]
    pub fn is_owned_by_live_other(
        &self,
        controller: Option<&ControllerStatus>,
        now: Timestamp,
    ) -> bool {
        let (owner, tally) = &*self.standing.borrow();
        self.other(controller)
            .is_some_and(|(_, controller)| is_there(controller, owner, tally, now))
    }

    /// We, and the other installation that a status names.
    fn other<'a>(
        &'a self,
        controller: Option<&'a ControllerStatus>,
    ) -> Option<(&'a str, &'a ControllerStatus)> {
        let us = self.us()?;
        Some((us, controller.filter(|controller| controller.id != us)?))
    }

    /// Whether the status has to be written only because it does not say who looks after the release, or whom it is
    /// offered to.
    #[must_use]
    pub fn wants(&self, controller: Option<&ControllerStatus>) -> bool {
        self.us.is_some()
            && !says(controller, self.named().as_ref())
            && !self.is_dropped.load(Ordering::Relaxed)
    }

    /// What the next status says of us, where `before` is the one that it replaces and `accepted` the spec in effect.
    #[must_use]
    pub fn stamp(
        &self,
        now: Timestamp,
        before: Option<&GrayReleaseStatus>,
        accepted: Option<&CompressedText>,
    ) -> Option<ControllerStatus> {
        let named = self.named()?;
        Some(ControllerStatus {
            seen_at: Some(now),
            since_revision: self.since(before).cast_signed(),
            accepted_spec: accepted.map(|spec| stale_documents::digest(&spec.text())),
            ..named
        })
    }

    /// The revision from which on we have a release with this status, 0 if no other installation had it.
    #[must_use]
    pub fn since(&self, status: Option<&GrayReleaseStatus>) -> u64 {
        self.us()
            .zip(status)
            .map_or(0, |(us, status)| stale_documents::since(us, status))
    }

    /// Whether the spec beside a document of ours may be in effect.
    #[must_use]
    pub fn may_go_on_from(&self, release: &GrayRelease, kept: &ReleaseConfigMap) -> bool {
        !stale_documents::is_past(self.since(release.status.as_ref()), kept)
            || stale_documents::may_be_in_effect(kept.accepted.as_ref(), release.controller())
    }

    /// We, and whom we hand over to.
    fn named(&self) -> Option<ControllerStatus> {
        let hand_over_to = match &self.standing.borrow().0 {
            ClassOwner::HandingOver(to) => Some(to.clone()),
            _ => None,
        };
        Some(ControllerStatus {
            id: self.us.clone()?,
            hand_over_to,
            ..ControllerStatus::default()
        })
    }

    /// A status was written that said `sent` of us, and the API server has kept this. Where it drops what we say, to
    /// write it at each turn would help nobody.
    pub fn wrote(&self, sent: Option<&ControllerStatus>, kept: Option<&ControllerStatus>) {
        *lock(&self.beat) = Instant::now();
        self.is_dropped
            .store(self.us.is_some() && !says(kept, sent), Ordering::Relaxed);
    }

    /// Whether others may begin to think that we are gone.
    #[must_use]
    pub fn is_beat_due(&self) -> bool {
        self.us.is_some() && lock(&self.beat).elapsed() >= BEAT
    }

    /// Takes the decision. Returns it if it is another one than before, and whether a person's order is over.
    fn look(
        &self,
        fleet: &FleetRef,
        world: &ClusterCache,
        now: Timestamp,
    ) -> Option<(Option<ClassOwner>, bool)> {
        let us = self.us.as_deref()?;
        if !world.is_synced(&fleet.class) {
            return None;
        }
        let order = world.settings(fleet).and_then(|settings| settings.order);
        let tally = world.tally(&fleet.class);
        let owner = owner(us, order.as_ref(), &tally, now);
        let over = order.is_some() && decision::owner(us, None, &tally, now) == owner;
        let mut changed = false;
        self.standing.send_if_modified(|standing| {
            changed = standing.0 != owner;
            let other = changed || standing.1 != tally;
            *standing = (owner.clone(), tally);
            other
        });
        Some((changed.then_some(owner), over))
    }
}

/// Whether the installation that a status names is there, for an owner like this.
fn is_there(
    controller: &ControllerStatus,
    owner: &ClassOwner,
    tally: &OwnershipTally,
    now: Timestamp,
) -> bool {
    let mut them = tally.held(&controller.id);
    // The tally is a moment old.
    them.seen_at = them.seen_at.max(controller.seen_at);
    match owner {
        ClassOwner::UsByForce(at) => them.is_alive_since(*at, now),
        _ => them.is_alive(now),
    }
}

/// Whether two say the same, but for the time.
fn says(controller: Option<&ControllerStatus>, other: Option<&ControllerStatus>) -> bool {
    let said =
        |controller: &ControllerStatus| (controller.id.clone(), controller.hand_over_to.clone());
    controller.map(said) == other.map(said)
}

/// Where what follows is told.
#[derive(Debug, Clone)]
pub struct OwnershipSinks {
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For people.
    pub events: EventRecorder,
    /// The pod of this process.
    pub pod: String,
    /// For `/readyz`.
    pub notices: Arc<ReadinessNotices>,
}

/// Takes the decision again and again.
pub async fn follow(
    ownership: Arc<Ownership>,
    fleet: FleetRef,
    world: Arc<ClusterCache>,
    told: OwnershipSinks,
) {
    let Some(us) = ownership.us.clone() else {
        return;
    };
    loop {
        let now = Timestamp::now();
        let (owner, is_over) = ownership.look(&fleet, &world, now).unwrap_or_default();
        if let Some(owner) = owner {
            tell(&us, &fleet, &owner, &told, now);
        }
        if is_over && let Err(error) = world.end_hand_over(&fleet).await {
            tracing::debug!(fleet = %fleet.class, "ending the hand-over: {error}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(us: &str, fleet: &FleetRef, owner: &ClassOwner, told: &OwnershipSinks, now: Timestamp) {
    let class = &fleet.class;
    told.metrics.owns(class.as_str(), owner.may_lead());
    told.notices.put(class.as_str(), None);
    match owner {
        ClassOwner::Unknown => {}
        ClassOwner::Us | ClassOwner::UsByForce(_) => {
            tracing::info!(fleet = %class, installation = us, "this installation looks after the class")
        }
        ClassOwner::HandingOver(to) => {
            let what = format!(
                "class {class} is offered to the installation {to}; {us} goes on looking after each release until {to} \
                 has taken it, which waits where the newest spec is refused. To keep the class: kubectl halftone hand-over --class {class} --to {us}"
            );
            tracing::info!(fleet = %class, "HandingOver: {what}");
            told.notices
                .put(class.as_str(), Some(format!("HandingOver: {what}")));
        }
        ClassOwner::Another(other) => {
            let what = format!(
                "class {class} belongs to the installation {other}, so {us} touches none of its releases; \
                 use another class here, or run: kubectl halftone hand-over --class {class} --to {us}"
            );
            tracing::warn!(fleet = %class, "ClassNotOurs: {what}");
            told.notices
                .put(class.as_str(), Some(format!("ClassNotOurs: {what}")));
            let event = Event::new(EventReason::ClassNotOurs, what);
            told.events
                .emit_for_pod(fleet.namespace.as_str(), &told.pod, event, now);
        }
    }
}

#[cfg(test)]
mod testing {
    use jiff::SignedDuration;

    use super::*;

    pub(super) fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    pub(super) fn order(text: &str) -> HandOverOrder {
        HandOverOrder::read(text)
    }

    pub(super) fn seen(id: &str, minutes_ago: i64) -> ControllerStatus {
        let seen_at = now()
            .checked_sub(SignedDuration::from_mins(minutes_ago))
            .unwrap();
        ControllerStatus {
            id: id.to_owned(),
            seen_at: Some(seen_at),
            ..ControllerStatus::default()
        }
    }

    pub(super) fn offered(id: &str, to: &str) -> ControllerStatus {
        ControllerStatus {
            hand_over_to: Some(to.to_owned()),
            ..seen(id, 0)
        }
    }

    /// So many releases of `a/a`, of `b/b` (seen so many minutes ago), and of nobody.
    pub(super) fn tally(a: usize, (b, minutes): (usize, i64), nobody: usize) -> OwnershipTally {
        let mut tally = OwnershipTally::default();
        (0..a).for_each(|_| tally.add(Some(&seen("a/a", 0)), true));
        (0..b).for_each(|_| tally.add(Some(&seen("b/b", minutes)), true));
        (0..nobody).for_each(|_| tally.add(None, true));
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{now, offered, order, seen, tally};
    use super::*;

    /// The installation `us`, which knows this.
    fn ownership(us: &str, order: Option<&HandOverOrder>, tally: &OwnershipTally) -> Ownership {
        let ownership = Ownership::new(Some(us.into()));
        ownership
            .standing
            .send_replace((owner(us, order, tally, now()), tally.clone()));
        ownership
    }

    fn acts(ownership: &Ownership, controller: &ControllerStatus) -> bool {
        ownership.standing.borrow().0.may_lead() && !ownership.is_anothers(Some(controller), now())
    }

    #[test]
    fn a_release_of_another_is_left_alone_unless_that_one_is_gone_or_has_fewer() {
        let ownership = Ownership::new(Some("a/a".into()));
        let is_anothers =
            |owner: ClassOwner, tally: OwnershipTally, controller: Option<&ControllerStatus>| {
                ownership.standing.send_replace((owner, tally));
                ownership.is_anothers(controller, now())
            };
        let b = seen("b/b", 0);
        assert!(
            is_anothers(ClassOwner::Unknown, OwnershipTally::default(), Some(&b)),
            "before anything is known"
        );
        assert!(is_anothers(
            ClassOwner::Another("b/b".into()),
            tally(0, (3, 0), 0),
            Some(&b)
        ));
        assert!(
            is_anothers(ClassOwner::Us, tally(2, (3, 0), 4), Some(&b)),
            "it has more than we"
        );
        assert!(
            !is_anothers(ClassOwner::Us, tally(3, (1, 0), 0), Some(&b)),
            "a stray is adopted"
        );
        assert!(
            !is_anothers(ClassOwner::Us, tally(0, (3, 11), 0), Some(&seen("b/b", 11))),
            "it is gone"
        );
        assert!(
            !is_anothers(ClassOwner::Us, tally(3, (1, 0), 1), None),
            "nobody's"
        );
        assert!(
            !Ownership::new(None).is_anothers(Some(&b), now()),
            "without a name nobody is asked about"
        );
    }

    #[test]
    fn each_release_of_two_that_are_alive_has_one_who_acts_also_where_they_have_as_many() {
        for (a, b) in (0..5)
            .flat_map(|a| (0..5).map(move |b| (a, b)))
            .filter(|both| *both != (0, 0))
        {
            let tally = tally(a, (b, 0), 0);
            let both = ["a/a", "b/b"].map(|us| ownership(us, None, &tally));
            for of in ["a/a", "b/b"] {
                let acting = both.each_ref().map(|us| acts(us, &seen(of, 0)));
                assert!(
                    acting[0] != acting[1],
                    "{a} and {b}, a release of {of}: {acting:?}"
                );
            }
        }
    }

    #[test]
    fn while_a_class_is_handed_over_each_release_has_one_who_may_keep_it() {
        let to_b = order("b/b");
        for offers in 0..4 {
            for taken in 0..4 {
                let mut tally = tally(1, (taken, 0), 0);
                (0..offers).for_each(|_| tally.add(Some(&offered("a/a", "b/b")), true));
                let (a, b) = (
                    ownership("a/a", Some(&to_b), &tally),
                    ownership("b/b", None, &tally),
                );
                let what = format!("{offers} offered, {taken} taken");
                assert!(
                    acts(&a, &seen("a/a", 0)) && acts(&a, &offered("a/a", "b/b")),
                    "{what}"
                );
                assert!(
                    !acts(&a, &seen("b/b", 0)),
                    "{what}: what is taken stays taken"
                );
                assert!(
                    !acts(&b, &seen("a/a", 0)) || offers == 0,
                    "{what}: what is not offered is not taken"
                );
                assert!(acts(&b, &offered("a/a", "b/b")) || offers < 2, "{what}");
            }
        }
    }

    #[test]
    fn the_owner_signs_what_it_offers() {
        let all = tally(3, (0, 0), 0);
        let ours = ownership("a/a", Some(&order("b/b")), &all);
        assert_eq!(ours.stamp(now(), None, None), Some(offered("a/a", "b/b")));
        assert!(ours.wants(Some(&seen("a/a", 0))) && !ours.wants(Some(&offered("a/a", "b/b"))));
        assert!(
            ours.wants(Some(&offered("a/a", "typo/b"))),
            "the name was put right"
        );
        let kept = ownership("a/a", None, &all);
        assert!(
            kept.wants(Some(&offered("a/a", "b/b"))),
            "the order was taken back"
        );
    }

    #[test]
    fn a_definition_that_drops_what_is_said_of_us_costs_no_status_write_at_each_turn() {
        let ours = ownership("a/a", None, &tally(0, (0, 0), 1));
        assert!(ours.wants(None));
        ours.wrote(ours.stamp(now(), None, None).as_ref(), None);
        assert!(!ours.wants(None));
        ours.wrote(
            ours.stamp(now(), None, None).as_ref(),
            Some(&seen("a/a", 0)),
        );
        assert!(ours.wants(None), "the definition was put right");
        let offers = ownership("a/a", Some(&order("b/b")), &tally(3, (0, 0), 0));
        offers.wrote(
            offers.stamp(now(), None, None).as_ref(),
            Some(&seen("a/a", 0)),
        );
        assert!(!offers.wants(Some(&seen("a/a", 0))), "it knows no offers");
    }
}
