//! Which installation looks after a class, where two of one cluster declare the same: one acts, the other touches nothing.
//! The decision is pure; [`follow`] takes it again every other second and tells whoever has to know.
//!
//! Each release's status names the installation that looks after it (`status.controller`), and each status write is
//! guarded by resourceVersion, so of two that begin at once each release gets one. An installation leaves a class alone
//! while most of its releases name another one that is alive. It sees no ConfigMaps of other namespaces, so statuses are
//! all that two installations have in common.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halftone_rollout::events::{Event, Reason};
use halftone_rollout::spec::ControllerStatus;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::events::Events;
use crate::metrics::Metrics;
use crate::objects::FleetRef;
use crate::pages::Notices;
use crate::world::{World, lock};

/// An installation that has written no status for longer is gone.
const ALIVE: SignedDuration = SignedDuration::from_mins(10);
/// At rest, too, one status is written this often.
const BEAT: Duration = Duration::from_secs(240);
/// How often the decision is taken.
const LOOK: Duration = Duration::from_secs(1);

/// How many releases of a class each installation looks after. New ones that nobody has begun with do not count: however
/// many are applied at once, they change nothing of who looks after the class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    releases: usize,
    by: BTreeMap<String, Held>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    releases: usize,
    seen_at: Option<Timestamp>,
}

impl Held {
    fn is_alive(&self, now: Timestamp) -> bool {
        self.seen_at.is_some_and(|seen| now.duration_since(seen) < ALIVE)
    }
}

impl Tally {
    /// Counts a release, and who looks after it. `begun`: somebody has written its status.
    pub fn add(&mut self, controller: Option<&ControllerStatus>, begun: bool) {
        self.releases += usize::from(begun || controller.is_some());
        let Some(controller) = controller else { return };
        let held = self.by.entry(controller.id.clone()).or_default();
        held.releases += 1;
        held.seen_at = held.seen_at.max(controller.seen_at);
    }

    fn held(&self, id: &str) -> Held {
        self.by.get(id).copied().unwrap_or_default()
    }
}

/// Who looks after a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// It is not known yet.
    Unknown,
    /// We do.
    Us,
    /// We do whatever statuses say: a person has said so.
    UsByForce,
    /// We do, until each release names this installation.
    HandingOver(String),
    /// This installation does.
    Another(String),
}

impl Owner {
    /// Whether we may stand for election.
    #[must_use]
    pub fn may_lead(&self) -> bool {
        matches!(self, Self::Us | Self::UsByForce | Self::HandingOver(_))
    }
}

/// Who looks after a class. `named` is the installation that a person has it handed over to, by the ConfigMap of our own
/// fleet.
#[must_use]
pub fn owner(us: &str, named: Option<&str>, tally: &Tally, now: Timestamp) -> Owner {
    let ours = tally.held(us).releases;
    match named {
        Some(named) if named == us => return Owner::UsByForce,
        Some(named) if ours > 0 => return Owner::HandingOver(named.to_owned()),
        Some(named) => return Owner::Another(named.to_owned()),
        None => {}
    }
    let others = tally.by.iter().filter(|(id, held)| *id != us && held.is_alive(now));
    let wins = |(id, held): &(&String, &Held)| {
        let half = held.releases * 2;
        // Half each: of two that count the same, exactly one goes on.
        half > tally.releases
            || (half == tally.releases
                && (ours < held.releases || (ours == held.releases && id.as_str() < us)))
    };
    others.filter(wins).map(|(id, _)| Owner::Another(id.clone())).next().unwrap_or(Owner::Us)
}

/// What the workers of a fleet go by.
#[derive(Debug)]
pub struct Ownership {
    us: Option<String>,
    standing: watch::Sender<(Owner, Tally)>,
    beat: Mutex<Instant>,
    /// Whether the API server dropped `status.controller` from the last status: its definition is older than ours.
    is_dropped: AtomicBool,
}

impl Ownership {
    /// That of the installation `us`. Without a name nobody else is asked about.
    #[must_use]
    pub fn new(us: Option<String>) -> Self {
        let owner = if us.is_some() { Owner::Unknown } else { Owner::Us };
        let standing = watch::Sender::new((owner, Tally::default()));
        Self { us, standing, beat: Mutex::new(Instant::now()), is_dropped: AtomicBool::new(false) }
    }

    /// The installation that we are.
    #[must_use]
    pub fn us(&self) -> Option<&str> {
        self.us.as_deref()
    }

    /// Where changes are told.
    #[must_use]
    pub fn hear(&self) -> watch::Receiver<(Owner, Tally)> {
        self.standing.subscribe()
    }

    /// Whether it is known who looks after the class.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.standing.borrow().0 != Owner::Unknown
    }

    /// Whether a release is to be left to the installation that its status names. One that a cluster restored from
    /// elsewhere brings along, or that an installation which is gone has left, is taken over.
    #[must_use]
    pub fn is_anothers(&self, controller: Option<&ControllerStatus>, now: Timestamp) -> bool {
        let (Some(us), Some(controller)) = (&self.us, controller) else { return false };
        if controller.id == *us {
            return false;
        }
        let (owner, tally) = &*self.standing.borrow();
        let mut them = tally.held(&controller.id);
        // The tally is a moment old.
        them.seen_at = them.seen_at.max(controller.seen_at);
        match owner {
            Owner::UsByForce => false,
            Owner::Us => them.is_alive(now) && tally.held(us).releases <= them.releases,
            Owner::Unknown | Owner::HandingOver(_) | Owner::Another(_) => true,
        }
    }

    /// The installation that releases are to name from now on.
    #[must_use]
    pub fn named(&self) -> Option<String> {
        match &self.standing.borrow().0 {
            Owner::HandingOver(to) => Some(to.clone()),
            _ => self.us.clone(),
        }
    }

    /// Whether the status has to be written only because it does not name who looks after the release.
    #[must_use]
    pub fn wants(&self, controller: Option<&ControllerStatus>) -> bool {
        let is_named = controller.map(|controller| &controller.id) == self.named().as_ref();
        self.us.is_some() && !is_named && !self.is_dropped.load(Ordering::Relaxed)
    }

    /// What the next status says of us.
    #[must_use]
    pub fn stamp(&self, now: Timestamp) -> Option<ControllerStatus> {
        Some(ControllerStatus { id: self.named()?, seen_at: Some(now) })
    }

    /// A status was written, and the API server says that this is its controller. Where it drops ours, to write it at each
    /// turn would help nobody.
    pub fn wrote(&self, controller: Option<&ControllerStatus>) {
        *lock(&self.beat) = Instant::now();
        self.is_dropped.store(self.us.is_some() && controller.is_none(), Ordering::Relaxed);
    }

    /// Whether others may begin to think that we are gone.
    #[must_use]
    pub fn is_beat_due(&self) -> bool {
        self.us.is_some() && lock(&self.beat).elapsed() >= BEAT
    }

    /// Whether the installation that the class was to be handed over to looks after it.
    fn is_handed_over(&self, fleet: &FleetRef, world: &World) -> bool {
        let named = world.settings(fleet).and_then(|settings| settings.hand_over_to);
        let (owner, tally) = &*self.standing.borrow();
        named.is_some_and(|to| tally.held(&to).releases > 0 && *owner == Owner::Another(to))
    }

    fn look(&self, fleet: &FleetRef, world: &World, now: Timestamp) -> Option<Owner> {
        let us = self.us.as_deref()?;
        if !world.is_synced(&fleet.class) {
            return None;
        }
        let named = world.settings(fleet).and_then(|settings| settings.hand_over_to);
        let tally = world.tally(&fleet.class);
        let owner = owner(us, named.as_deref(), &tally, now);
        let mut changed = false;
        self.standing.send_if_modified(|standing| {
            changed = standing.0 != owner;
            let other = changed || standing.1 != tally;
            *standing = (owner.clone(), tally);
            other
        });
        changed.then_some(owner)
    }
}

/// Where what follows is told.
#[derive(Debug, Clone)]
pub struct Told {
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For people.
    pub events: Events,
    /// The pod of this process.
    pub pod: String,
    /// For `/readyz`.
    pub notices: Arc<Notices>,
}

/// Takes the decision again and again.
pub async fn follow(ownership: Arc<Ownership>, fleet: FleetRef, world: Arc<World>, told: Told) {
    let Some(us) = ownership.us.clone() else { return };
    loop {
        let now = Timestamp::now();
        if let Some(owner) = ownership.look(&fleet, &world, now) {
            tell(&us, &fleet, &owner, &told, now);
        }
        if ownership.is_handed_over(&fleet, &world)
            && let Err(error) = world.end_hand_over(&fleet).await
        {
            tracing::debug!(fleet = %fleet.class, "ending the hand-over: {error}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(us: &str, fleet: &FleetRef, owner: &Owner, told: &Told, now: Timestamp) {
    let class = &fleet.class;
    told.metrics.owns(class.as_str(), owner.may_lead());
    told.notices.put(class.as_str(), None);
    match owner {
        Owner::Unknown => {}
        Owner::Us | Owner::UsByForce => {
            tracing::info!(fleet = %class, installation = us, "this installation looks after the class")
        }
        Owner::HandingOver(to) => tracing::info!(fleet = %class, to, "the class is handed over"),
        Owner::Another(other) => {
            let what = format!(
                "class {class} belongs to the installation {other}, so {us} touches none of its releases; \
                 use another class here, or run: kubectl halftone hand-over --class {class} --to {us}"
            );
            tracing::warn!(fleet = %class, "ClassNotOurs: {what}");
            told.notices.put(class.as_str(), Some(format!("ClassNotOurs: {what}")));
            let event = Event::new(Reason::ClassNotOurs, what);
            told.events.tell_of_pod(fleet.namespace.as_str(), &told.pod, event, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn seen(id: &str, minutes_ago: i64) -> ControllerStatus {
        let seen_at = now().checked_sub(SignedDuration::from_mins(minutes_ago)).unwrap();
        ControllerStatus { id: id.to_owned(), seen_at: Some(seen_at) }
    }

    /// So many releases of `a/a`, of `b/b` (seen so many minutes ago), and of nobody.
    fn tally(a: usize, (b, minutes): (usize, i64), nobody: usize) -> Tally {
        let mut tally = Tally::default();
        (0..a).for_each(|_| tally.add(Some(&seen("a/a", 0)), true));
        (0..b).for_each(|_| tally.add(Some(&seen("b/b", minutes)), true));
        (0..nobody).for_each(|_| tally.add(None, true));
        tally
    }

    #[test]
    fn whoever_has_most_releases_and_is_alive_looks_after_the_class() {
        let b = || Owner::Another("b/b".to_owned());
        for (what, tally, expected) in [
            ("nothing is there", tally(0, (0, 0), 0), Owner::Us),
            ("releases of version 0.1", tally(0, (0, 0), 5), Owner::Us),
            ("all are the other's", tally(0, (5, 1), 0), b()),
            ("all are the other's, which is gone", tally(0, (5, 11), 0), Owner::Us),
            ("most are the other's", tally(2, (3, 1), 0), b()),
            ("one stray, restored from elsewhere", tally(5, (1, 0), 0), Owner::Us),
            ("a stray among releases of version 0.1", tally(0, (1, 0), 5), Owner::Us),
            ("half each: the first by name", tally(3, (3, 0), 0), Owner::Us),
        ] {
            assert_eq!(owner("a/a", None, &tally, now()), expected, "{what}");
        }
        assert_eq!(
            owner("b/b", None, &tally(3, (3, 0), 0), now()),
            Owner::Another("a/a".into()),
            "the other one"
        );
    }

    #[test]
    fn however_many_new_releases_appear_the_owner_stays() {
        let mut all = tally(0, (1, 0), 0);
        (0..5).for_each(|_| all.add(None, false));
        assert_eq!(owner("a/a", None, &all, now()), Owner::Another("b/b".into()));
        assert_eq!(owner("b/b", None, &all, now()), Owner::Us);
    }

    #[test]
    fn of_two_that_are_alive_never_both_look_after_a_class_whose_releases_are_all_named() {
        for a in 0..6 {
            for b in 0..6 {
                let tally = tally(a, (b, 0), 0);
                let both = ["a/a", "b/b"].map(|us| owner(us, None, &tally, now()) == Owner::Us);
                assert!(a + b == 0 || both.iter().filter(|us| **us).count() == 1, "{a} {b}: {both:?}");
            }
        }
    }

    #[test]
    fn a_person_has_a_class_handed_over() {
        let all = tally(4, (0, 0), 0);
        assert_eq!(owner("a/a", Some("b/b"), &all, now()), Owner::HandingOver("b/b".into()));
        let none = tally(0, (4, 0), 0);
        assert_eq!(owner("a/a", Some("b/b"), &none, now()), Owner::Another("b/b".into()));
        assert_eq!(owner("a/a", Some("a/a"), &none, now()), Owner::UsByForce);
    }

    #[test]
    fn a_release_of_another_is_left_alone_unless_that_one_is_gone_or_has_fewer() {
        let ownership = Ownership::new(Some("a/a".into()));
        let is_anothers = |owner: Owner, tally: Tally, controller: Option<&ControllerStatus>| {
            ownership.standing.send_replace((owner, tally));
            ownership.is_anothers(controller, now())
        };
        let b = seen("b/b", 0);
        assert!(is_anothers(Owner::Unknown, Tally::default(), Some(&b)), "before anything is known");
        assert!(is_anothers(Owner::Another("b/b".into()), tally(0, (3, 0), 0), Some(&b)));
        assert!(is_anothers(Owner::Us, tally(3, (3, 0), 0), Some(&b)), "it has as many as we");
        assert!(!is_anothers(Owner::Us, tally(3, (1, 0), 0), Some(&b)), "a stray is adopted");
        assert!(!is_anothers(Owner::Us, tally(0, (3, 11), 0), Some(&seen("b/b", 11))), "it is gone");
        assert!(!is_anothers(Owner::Us, tally(3, (1, 0), 1), None), "nobody's");
        ownership.standing.send_replace((Owner::HandingOver("b/b".into()), tally(3, (0, 0), 0)));
        assert!(ownership.wants(Some(&seen("a/a", 0))) && !ownership.wants(Some(&b)));
        assert!(!Ownership::new(None).is_anothers(Some(&b), now()), "without a name nobody is asked about");
    }

    #[test]
    fn a_definition_that_drops_the_controller_costs_no_status_write_at_each_turn() {
        let ownership = Ownership::new(Some("a/a".into()));
        ownership.standing.send_replace((Owner::Us, tally(0, (0, 0), 1)));
        assert!(ownership.wants(None));
        ownership.wrote(None);
        assert!(!ownership.wants(None));
        ownership.wrote(Some(&seen("a/a", 0)));
        assert!(ownership.wants(None), "the definition was put right");
    }
}
