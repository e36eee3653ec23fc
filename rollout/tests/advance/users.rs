//! Whom each user is served by, and that nobody changes version but by an edit that says so, by the steps, or by a
//! rollback. Checked at every turn of every test; the rules are read from docs/concepts.md and not from the code.

use halftone_api::spec::{Force, Initial};
use halftone_rollout::{events::EventReason, progress};
use halftone_routing::document::{
    ReleaseState, RoutingConfig, arm::ArmConfig, rule::Target, units::Ratio,
};

use crate::audit::AuditedTurn;

/// Some users by their buckets, in millionths.
const USERS: [u32; 8] = [
    0, 49_999, 99_999, 250_000, 499_999, 500_001, 750_000, 999_999,
];

fn is_on_gray(document: &RoutingConfig, user: u32) -> bool {
    match document.force {
        Some(forced) => forced == Target::Gray,
        None => document.state == ReleaseState::Promoted || user < document.ratio.millionths(),
    }
}

/// The arm that serves a user; none where no route is.
fn arm(document: &RoutingConfig, user: u32) -> Option<&ArmConfig> {
    let gray = document
        .arms
        .gray
        .as_deref()
        .filter(|_| is_on_gray(document, user));
    (document.state != ReleaseState::Withdrawn).then(|| gray.unwrap_or(&document.arms.stable))
}

/// The arm where most users are.
fn most(document: &RoutingConfig) -> Option<&ArmConfig> {
    arm(document, 500_000)
}

fn version(arm: &ArmConfig) -> &str {
    arm.version.as_str()
}

/// Whether all of them are on this arm.
pub(crate) fn are_on(document: &RoutingConfig, stable: &ArmConfig) -> bool {
    let is_on =
        |arm: &ArmConfig| (&arm.version, &arm.backend) == (&stable.version, &stable.backend);
    USERS
        .iter()
        .all(|user| arm(document, *user).is_some_and(is_on))
}

/// Nobody changes version unseen. Where an earlier turn has `written` something and was killed before it applied it, a turn
/// goes on from either: what was written was checked then.
pub(crate) fn keep_their_version(seen: &AuditedTurn<'_>, written: Option<&RoutingConfig>) {
    let Some(after) = &seen.turn.routing else {
        return;
    };
    // What the object before had is of no account where another installation has had this one.
    let predecessor = seen
        .seen
        .predecessor
        .as_deref()
        .filter(|_| seen.seen.since == 0);
    let live = seen
        .live
        .or(predecessor)
        .filter(|live| live.state != ReleaseState::Withdrawn);
    let Some(live) = live else {
        return begins(seen, after);
    };
    let kept = |before: &RoutingConfig| unseen(before, after, seen).is_none();
    if written.is_some_and(kept) {
        return;
    }
    if let Some(unseen) = unseen(live, after, seen) {
        panic!("{unseen}: {live:#?} {after:#?} {:#?}", seen.turn.events);
    }
}

/// Who changes version and nothing says so.
fn unseen(before: &RoutingConfig, after: &RoutingConfig, seen: &AuditedTurn<'_>) -> Option<String> {
    USERS.into_iter().find_map(|user| {
        let (was, is) = (arm(before, user)?, arm(after, user)?);
        let moved = MovedUsers {
            before,
            after,
            was,
            is,
            user,
        };
        let unseen = version(was) != version(is) && moved.is_meant(seen).is_none();
        unseen.then(|| format!("user {user} went from {} to {}", version(was), version(is)))
    })
}

/// Where nothing is known, `initial` says who serves.
fn begins(seen: &AuditedTurn<'_>, after: &RoutingConfig) {
    let Some(plan) = seen.turn.progress.plan() else {
        return;
    };
    if seen.before.release().is_none()
        && plan.force == Force::None
        && plan.initial == Initial::Stable
    {
        assert!(
            after.ratio == Ratio::ZERO || after.replaces.is_some(),
            "begun at {}",
            after.ratio
        );
    }
}

struct MovedUsers<'a> {
    before: &'a RoutingConfig,
    after: &'a RoutingConfig,
    was: &'a ArmConfig,
    is: &'a ArmConfig,
    user: u32,
}

impl MovedUsers<'_> {
    /// What says that this user moves.
    fn is_meant(&self, seen: &AuditedTurn<'_>) -> Option<&'static str> {
        let told = |reason| seen.turn.events.iter().any(|event| event.reason == reason);
        let same_arms = self.before.release.id == self.after.release.id;
        let promoted = seen
            .turn
            .events
            .iter()
            .any(|event| event.message.starts_with("promote@"));
        let up = same_arms && is_on_gray(self.after, self.user);
        let down = same_arms && !is_on_gray(self.after, self.user);
        let rolled_back = matches!(
            seen.turn.progress.state(),
            progress::RolloutState::RolledBack(_)
        );
        let meant = [
            ("force", self.before.force != self.after.force),
            (
                "a step",
                up && (told(EventReason::StepStarted) || self.catches_up(seen)),
            ),
            ("promote", up && promoted),
            (
                "a lower target or another identity",
                down && (told(EventReason::RatioLowered) || self.catches_up(seen)),
            ),
            ("a rollback", down && rolled_back),
            ("a stable arm of another version", self.follows_stable()),
            ("another release", !same_arms && self.joins_the_rest()),
        ];
        meant
            .into_iter()
            .find(|(_, meant)| *meant)
            .map(|(why, _)| why)
    }

    /// A turn before was persisted, and its document not written, since a stable arm was away.
    fn catches_up(&self, seen: &AuditedTurn<'_>) -> bool {
        seen.before.ratio() != self.before.ratio && seen.before.ratio() == self.after.ratio
    }

    /// Users of stable go where the edit says that stable is: a hotfix. After a rollback or a promotion stable is named by
    /// the same release only.
    fn follows_stable(&self) -> bool {
        let settled = matches!(
            self.before.state,
            ReleaseState::RolledBack | ReleaseState::Promoted
        );
        let same_arms = self.before.release.id == self.after.release.id;
        !is_on_gray(self.before, self.user)
            && version(self.is) == version(&self.after.arms.stable)
            && version(&self.before.arms.stable) != version(&self.after.arms.stable)
            && (same_arms || !settled)
    }

    /// Whoever was not with most users joins them, where they are now: an edit may name another stable at once.
    fn joins_the_rest(&self) -> bool {
        let (Some(before), Some(after)) = (most(self.before), most(self.after)) else {
            return true;
        };
        version(self.was) != version(before) && version(self.is) == version(after)
    }
}
