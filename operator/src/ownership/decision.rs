//! Who looks after a class, by what the statuses of its releases say and what a person has ordered. Pure.
//!
//! **How a class is handed over.** The owner offers each release to the other installation (`status.controller.handOverTo`)
//! and goes on looking after it. The other one takes a release by its first status write, guarded by resourceVersion, so
//! that each release has one owner at any time: a name that nobody bears, or an installation that is down, takes nothing,
//! and nothing changes.

use std::collections::BTreeMap;

use halftone_api::spec::ControllerStatus;
use jiff::{SignedDuration, Timestamp};

/// An installation that has written no status for longer is gone.
pub(super) const ALIVE: SignedDuration = SignedDuration::from_mins(10);

/// What a person has ordered, by an annotation on the ConfigMap of our own fleet: `NAMESPACE/RELEASE`, or
/// `NAMESPACE/RELEASE@TIME` to the installation that is to take the class over from one that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOverOrder {
    /// The installation that is to look after the class.
    pub to: String,
    /// When it was given. Whoever has shown itself since is not gone.
    pub at: Option<Timestamp>,
}

impl HandOverOrder {
    /// Reads the annotation.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let (to, at) = text.split_once('@').unwrap_or((text, ""));
        Self {
            to: to.to_owned(),
            at: at.parse().ok(),
        }
    }
}

/// How many releases of a class each installation looks after. New ones that nobody has begun with do not count: however
/// many are applied at once, they change nothing of who looks after the class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnershipTally {
    releases: usize,
    by: BTreeMap<String, InstallationShare>,
    /// How many of its releases an installation offers to another one: by that one, then by whose they are.
    offers: BTreeMap<String, BTreeMap<String, usize>>,
}

/// What one installation holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct InstallationShare {
    releases: usize,
    pub(super) seen_at: Option<Timestamp>,
}

impl InstallationShare {
    pub(super) fn is_alive(&self, now: Timestamp) -> bool {
        self.seen_at
            .is_some_and(|seen| now.duration_since(seen) < ALIVE)
    }

    /// The same for whoever has it in writing that all who were there before `order` are gone.
    pub(super) fn is_alive_since(&self, order: Option<Timestamp>, now: Timestamp) -> bool {
        self.is_alive(now) && order.is_some_and(|order| self.seen_at > Some(order))
    }
}

impl OwnershipTally {
    /// Counts a release, and who looks after it. `begun`: somebody has written its status.
    pub fn add(&mut self, controller: Option<&ControllerStatus>, begun: bool) {
        self.releases += usize::from(begun || controller.is_some());
        let Some(ControllerStatus {
            id,
            seen_at,
            hand_over_to,
            ..
        }) = controller
        else {
            return;
        };
        let held = self.by.entry(id.clone()).or_default();
        held.releases += 1;
        held.seen_at = held.seen_at.max(*seen_at);
        if let Some(to) = hand_over_to.as_ref().filter(|to| *to != id) {
            *self
                .offers
                .entry(to.clone())
                .or_default()
                .entry(id.clone())
                .or_default() += 1;
        }
    }

    pub(super) fn held(&self, id: &str) -> InstallationShare {
        self.by.get(id).copied().unwrap_or_default()
    }

    /// How many of its releases `from` offers to `to`.
    pub(super) fn offered(&self, from: &str, to: &str) -> usize {
        self.offers
            .get(to)
            .and_then(|offers| offers.get(from))
            .copied()
            .unwrap_or_default()
    }

    /// What `us` looks after, and what it may take.
    fn within_reach(&self, us: &str) -> usize {
        self.held(us).releases
            + self
                .offers
                .get(us)
                .map_or(0, |offers| offers.values().sum())
    }

    /// Whether another one has more of the class than `us`. Of two that have the same exactly one has more: by name.
    pub(super) fn is_ahead(&self, other: &str, us: &str) -> bool {
        let theirs = self.held(other).releases - self.offered(other, us);
        let ours = self.within_reach(us);
        ours < theirs || (ours == theirs && other < us)
    }

    /// Whether another one has at least half of the class, and more of it than `us`.
    fn has_won(&self, other: &str, us: &str) -> bool {
        let theirs = self.held(other).releases - self.offered(other, us);
        theirs * 2 >= self.releases && self.is_ahead(other, us)
    }
}

/// Who looks after a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassOwner {
    /// It is not known yet.
    Unknown,
    /// We do.
    Us,
    /// We do, whoever has shown itself before this time: a person has said so. None: whoever has at all.
    UsByForce(Option<Timestamp>),
    /// We do, until this installation has taken each release.
    HandingOver(String),
    /// This installation does.
    Another(String),
}

impl ClassOwner {
    /// Whether we may stand for election.
    #[must_use]
    pub fn may_lead(&self) -> bool {
        matches!(self, Self::Us | Self::UsByForce(_) | Self::HandingOver(_))
    }
}

/// Who looks after a class, by what it is and what a person has ordered. An order that changes nothing any more is over.
#[must_use]
pub fn owner(
    us: &str,
    order: Option<&HandOverOrder>,
    tally: &OwnershipTally,
    now: Timestamp,
) -> ClassOwner {
    let plain = among(us, tally, |held| held.is_alive(now));
    let Some(HandOverOrder { to, at }) = order else {
        return plain;
    };
    if to == us {
        let forced = among(us, tally, |held| held.is_alive_since(*at, now)) == ClassOwner::Us;
        return if forced && plain != ClassOwner::Us {
            ClassOwner::UsByForce(*at)
        } else {
            plain
        };
    }
    let them = tally.held(to);
    let taken =
        matches!(plain, ClassOwner::Another(_)) || (them.releases > 0 && them.is_alive(now));
    if tally.held(us).releases == 0 && taken {
        plain
    } else {
        ClassOwner::HandingOver(to.clone())
    }
}

fn among(
    us: &str,
    tally: &OwnershipTally,
    is_alive: impl Fn(&InstallationShare) -> bool,
) -> ClassOwner {
    let others = tally
        .by
        .iter()
        .filter(|(id, held)| *id != us && is_alive(held));
    let won = others.map(|(id, _)| id).find(|id| tally.has_won(id, us));
    won.map_or(ClassOwner::Us, |id| ClassOwner::Another(id.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{now, offered, order, seen, tally};
    use super::*;

    #[test]
    fn whoever_has_most_releases_and_is_alive_looks_after_the_class() {
        let b = || ClassOwner::Another("b/b".to_owned());
        for (what, tally, expected) in [
            ("nothing is there", tally(0, (0, 0), 0), ClassOwner::Us),
            (
                "releases of version 0.1",
                tally(0, (0, 0), 5),
                ClassOwner::Us,
            ),
            ("all are the other's", tally(0, (5, 1), 0), b()),
            (
                "all are the other's, which is gone",
                tally(0, (5, 11), 0),
                ClassOwner::Us,
            ),
            ("most are the other's", tally(2, (3, 1), 0), b()),
            (
                "one stray, restored from elsewhere",
                tally(5, (1, 0), 0),
                ClassOwner::Us,
            ),
            (
                "a stray among releases of version 0.1",
                tally(0, (1, 0), 5),
                ClassOwner::Us,
            ),
            (
                "half each: the first by name",
                tally(3, (3, 0), 0),
                ClassOwner::Us,
            ),
        ] {
            assert_eq!(owner("a/a", None, &tally, now()), expected, "{what}");
        }
        assert_eq!(
            owner("b/b", None, &tally(3, (3, 0), 0), now()),
            ClassOwner::Another("a/a".into()),
            "the other one"
        );
    }

    #[test]
    fn however_many_new_releases_appear_the_owner_stays() {
        let mut all = tally(0, (1, 0), 0);
        (0..5).for_each(|_| all.add(None, false));
        assert_eq!(
            owner("a/a", None, &all, now()),
            ClassOwner::Another("b/b".into())
        );
        assert_eq!(owner("b/b", None, &all, now()), ClassOwner::Us);
    }

    #[test]
    fn of_two_that_are_alive_never_both_look_after_a_class_whose_releases_are_all_named() {
        for a in 0..6 {
            for b in 0..6 {
                let tally = tally(a, (b, 0), 0);
                let both =
                    ["a/a", "b/b"].map(|us| owner(us, None, &tally, now()) == ClassOwner::Us);
                assert!(
                    a + b == 0 || both.iter().filter(|us| **us).count() == 1,
                    "{a} {b}: {both:?}"
                );
            }
        }
    }

    #[test]
    fn the_owner_goes_on_until_the_other_one_has_taken_every_release() {
        let handing_over = || ClassOwner::HandingOver("b/b".to_owned());
        let to_b = order("b/b");
        for (what, (not_offered, offers, taken), a, b) in [
            (
                "nothing is offered yet",
                (4, 0, 0),
                handing_over(),
                ClassOwner::Another("a/a".into()),
            ),
            (
                "one is",
                (3, 1, 0),
                handing_over(),
                ClassOwner::Another("a/a".into()),
            ),
            (
                "all are, and the other one has not been heard of",
                (0, 4, 0),
                handing_over(),
                ClassOwner::Us,
            ),
            ("one is taken", (0, 3, 1), handing_over(), ClassOwner::Us),
            (
                "all are taken",
                (0, 0, 4),
                ClassOwner::Another("b/b".into()),
                ClassOwner::Us,
            ),
            (
                "there is no release that could be offered",
                (0, 0, 0),
                handing_over(),
                ClassOwner::Us,
            ),
        ] {
            let mut tally = tally(not_offered, (taken, 0), 0);
            (0..offers).for_each(|_| tally.add(Some(&offered("a/a", "b/b")), true));
            assert_eq!(owner("a/a", Some(&to_b), &tally, now()), a, "{what}");
            assert_eq!(owner("b/b", None, &tally, now()), b, "{what}");
        }
    }

    #[test]
    fn a_class_that_is_offered_to_a_name_that_nobody_bears_stays_where_it_is() {
        let mut all = OwnershipTally::default();
        (0..4).for_each(|_| all.add(Some(&offered("a/a", "typo/b")), true));
        assert_eq!(
            owner("a/a", Some(&order("typo/b")), &all, now()),
            ClassOwner::HandingOver("typo/b".into())
        );
        assert_eq!(
            owner("b/b", None, &all, now()),
            ClassOwner::Another("a/a".into()),
            "nobody else takes it"
        );
        assert_eq!(
            owner("a/a", None, &all, now()),
            ClassOwner::Us,
            "the order is taken back"
        );
    }

    #[test]
    fn a_class_is_handed_back_also_before_the_first_order_is_forgotten() {
        let mut all = OwnershipTally::default();
        (0..4).for_each(|_| all.add(Some(&offered("b/b", "a/a")), true));
        let stale = order("b/b");
        assert_eq!(owner("a/a", Some(&stale), &all, now()), ClassOwner::Us);
        assert_eq!(
            owner("b/b", Some(&order("a/a")), &all, now()),
            ClassOwner::HandingOver("a/a".into())
        );
    }

    #[test]
    fn an_order_that_changes_nothing_any_more_is_over() {
        let b = seen("b/b", 3).seen_at.unwrap();
        let at = |seconds: i64| {
            order(&format!(
                "a/a@{}",
                b.checked_add(SignedDuration::from_secs(seconds)).unwrap()
            ))
        };
        let theirs = tally(0, (4, 3), 0);
        let of =
            |order: &HandOverOrder, tally: &OwnershipTally| owner("a/a", Some(order), tally, now());
        assert_eq!(
            of(&at(60), &theirs),
            ClassOwner::UsByForce(at(60).at),
            "nothing was seen of the other one since"
        );
        assert_eq!(
            of(&order("a/a"), &theirs),
            ClassOwner::UsByForce(None),
            "without a time"
        );
        assert_eq!(
            of(&at(60), &tally(3, (1, 3), 0)),
            ClassOwner::Us,
            "most are ours: the rest are strays"
        );
        assert_eq!(
            of(&at(-60), &theirs),
            ClassOwner::Another("b/b".into()),
            "the other one is there after all"
        );
    }

    #[test]
    fn of_two_that_a_person_has_forced_the_first_one_yields_when_it_comes_back() {
        let (then, later) = (seen("a/a", 9), seen("b/b", 5));
        let forced =
            |to: &str, at: &ControllerStatus| order(&format!("{to}@{}", at.seen_at.unwrap()));
        let mut all = OwnershipTally::default();
        (0..2).for_each(|_| all.add(Some(&then), true));
        all.add(Some(&seen("b/b", 4)), true);
        let (a, b) = (forced("a/a", &then), forced("b/b", &later));
        assert_eq!(
            owner("b/b", Some(&b), &all, now()),
            ClassOwner::UsByForce(b.at)
        );
        (0..2).for_each(|_| all.add(Some(&seen("b/b", 4)), true));
        assert_eq!(owner("b/b", Some(&b), &all, now()), ClassOwner::Us);
        assert_eq!(
            owner("a/a", Some(&a), &all, now()),
            ClassOwner::Another("b/b".into())
        );
    }
}
