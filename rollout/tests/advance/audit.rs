//! What holds at every turn of every test, whatever happens.

use std::{collections::HashSet, sync::Arc, time::Duration};

use halftone_api::{
    GrayReleaseStatus, Plan,
    spec::{Force, OpenEnum, Phase, RequestResult, StateName},
};
use halftone_rollout::{
    advance::{AdvanceResult, IDLE, advance},
    clock::Now,
    observation::Observation,
    progress::{self, Progress},
};
use halftone_routing::document::{ReleaseState, RoutingConfig, units::Ratio};
use jiff::{SignedDuration, Timestamp};

use crate::users;

/// What an auditor remembers between turns.
#[derive(Default)]
pub(crate) struct Audit {
    /// Since when the present ratio is live.
    live_since: Option<Timestamp>,
    /// The shortest hold that any plan since then gave it.
    least_hold: Option<Duration>,
    /// The shortest hold of turns that were written, and killed before they were applied.
    written_hold: Option<Duration>,
    /// What the last of them would have applied.
    written: Option<Arc<RoutingConfig>>,
    /// Gray's requests since then.
    gray_requests: u64,
    turns: u64,
    /// Tokens that were used up.
    used: HashSet<String>,
}

/// One turn with what was there before it.
pub(crate) struct AuditedTurn<'a> {
    pub(crate) plan: &'a Arc<Plan>,
    pub(crate) before: &'a Progress,
    pub(crate) live: Option<&'a RoutingConfig>,
    pub(crate) seen: &'a Observation,
    pub(crate) now: Now,
    pub(crate) turn: &'a AdvanceResult,
    pub(crate) broken: bool,
}

impl Audit {
    /// Forgets times, after a test has turned the steady clock back.
    pub(crate) fn forget(&mut self) {
        self.live_since = None;
    }

    pub(crate) fn check(&mut self, seen: &AuditedTurn<'_>) {
        let after = &seen.turn.progress;
        assert!(seen.turn.wake_after <= IDLE, "{:?}", seen.turn.wake_after);
        self.keeps_its_numbers(seen);
        self.moves_only_when_it_may(seen);
        users::keep_their_version(seen, self.written.as_deref());
        stays_rolled_back(seen.before, after);
        self.answers_once(seen);
        rises_on_no_progress_that_is_not_written(seen);
        restores(&after.status(), after, seen.now);
        says_what_is_so(after);
        self.turns += 1;
        // Every turn would be four turns more.
        if !seen.turn.events.is_empty() || self.turns.is_multiple_of(16) {
            comes_to_rest(seen);
        }
    }

    fn keeps_its_numbers(&self, seen: &AuditedTurn<'_>) {
        let (before, after) = (seen.before, &seen.turn.progress);
        assert!(after.stage() >= before.stage(), "a stage fell");
        let first = seen.before.plan().is_none();
        assert!(
            first || after.stage().get() <= before.stage().get() + 1,
            "a stage rose by more than one"
        );
        let Some(routing) = &seen.turn.routing else {
            return;
        };
        routing.check().expect("a document that proxies take");
        assert_eq!(routing.checksum, Some(routing.content_checksum()));
        let Some(live) = seen
            .live
            .filter(|live| live.release.uid == routing.release.uid)
        else {
            return;
        };
        assert!(routing.revision >= live.revision, "a revision fell");
        assert!(
            routing.revision > live.revision || **routing == *live,
            "two documents of one revision"
        );
    }

    fn moves_only_when_it_may(&self, seen: &AuditedTurn<'_>) {
        let (Some(routing), Some(live)) = (&seen.turn.routing, seen.live) else {
            return;
        };
        let plan = seen.turn.progress.plan().expect("who writes has a plan");
        let stable_ready = seen.seen.ready_endpoints(&plan.stable.backend) > 0;
        let forced = plan.force != Force::None;
        if routing.ratio < live.ratio {
            let stays = users::are_on(live, &routing.arms.stable);
            assert!(
                stable_ready || forced || stays,
                "users moved to a stable arm without a ready endpoint"
            );
        }
        let (before, after) = (seen.before, &seen.turn.progress);
        if after.state().kept().is_some() {
            return keeps_serving(live, routing);
        }
        if routing.ratio > plan.target() {
            assert!(!stable_ready || forced, "above the target");
        }
        let promoted = seen
            .turn
            .events
            .iter()
            .any(|event| event.message.starts_with("promote@"));
        if before.release().is_some() && after.ratio() > before.ratio() && !promoted {
            self.rose_rightly(seen, live);
        }
    }

    fn rose_rightly(&self, seen: &AuditedTurn<'_>, live: &RoutingConfig) {
        let plan = seen.turn.progress.plan().expect("who rises has a plan");
        let counting = seen
            .seen
            .proxies
            .iter()
            .filter(|proxy| proxy.ready && !proxy.terminating);
        let has = |proxy: &halftone_rollout::observation::ProxyObservation| {
            let applied = proxy.applied.as_ref();
            applied.is_some_and(|applied| {
                applied.revision == live.revision
                    && Some(&applied.checksum) == live.checksum.as_ref()
            })
        };
        assert!(counting.clone().count() > 0, "up without a proxy");
        assert!(
            counting.clone().all(|proxy| has(proxy) || proxy.polls < 3),
            "up without an acknowledgement"
        );
        assert!(
            counting
                .clone()
                .all(|proxy| proxy.missed < 3 && !proxy.stale),
            "up without reports"
        );
        assert!(
            !plan.paused && !seen.broken && seen.seen.refusal.is_none(),
            "up while it may not"
        );
        assert!(
            plan.schedule
                .as_ref()
                .is_none_or(|schedule| schedule.is_open(seen.now.wall)),
            "up outside the window"
        );
        if let (Some(since), Some(hold)) = (self.live_since, self.least_hold) {
            // An edit of this very turn may have made it shorter.
            let hold = hold.min(hold_at(plan, live.ratio));
            let held =
                Duration::try_from(seen.now.steady.duration_since(since)).unwrap_or_default();
            assert!(held >= hold, "up after {held:?} of {hold:?}");
        }
        let judged = plan
            .health
            .limits
            .as_ref()
            .filter(|_| live.ratio > Ratio::ZERO);
        if let Some(limits) = judged {
            let now = seen
                .seen
                .round
                .as_ref()
                .map_or(0, |round| round.gray.split.requests);
            let requests = self.gray_requests + now;
            assert!(
                requests >= limits.min_requests,
                "up after {requests} requests"
            );
        }
    }

    fn answers_once(&mut self, seen: &AuditedTurn<'_>) {
        let (before, after) = (seen.before.status(), seen.turn.progress.status());
        // What was not written is done once more after a restart.
        if before.last_handled_request == after.last_handled_request
            || seen.seen.unwritable.is_some()
        {
            return;
        }
        let answer = after.last_handled_request.expect("an answer");
        if answer.result == RequestResult::Done {
            let token = answer
                .request
                .split_once('@')
                .expect("a token")
                .1
                .to_owned();
            assert!(self.used.insert(token), "{} fired twice", answer.request);
            assert_ne!(before.request_token, after.request_token);
        }
    }

    /// What the turn says was applied.
    pub(crate) fn applied(&mut self, seen: &AuditedTurn<'_>) {
        let Some(routing) = &seen.turn.routing else {
            return;
        };
        let moved = seen
            .live
            .is_none_or(|live| live.ratio != routing.ratio || live.release != routing.release);
        if moved || self.live_since.is_none() {
            (self.live_since, self.least_hold, self.gray_requests) =
                (Some(seen.now.steady), None, 0);
        }
        if let Some(round) = &seen.seen.round {
            self.gray_requests += round.gray.split.requests;
        }
        let holds = [self.least_hold, self.written_hold.take(), hold_of(seen)];
        self.least_hold = holds.into_iter().flatten().min();
        self.written = None;
    }

    /// What the turn says was written, and the process killed before it was applied.
    pub(crate) fn killed(&mut self, seen: &AuditedTurn<'_>) {
        self.written_hold = self.written_hold.into_iter().chain(hold_of(seen)).min();
        self.written = seen.turn.routing.clone();
    }
}

/// What is kept serving was the version of most users, and stays that.
fn keeps_serving(live: &RoutingConfig, routing: &RoutingConfig) {
    if live.force.is_some() {
        return;
    }
    let gray = live
        .arms
        .gray
        .as_deref()
        .filter(|_| live.ratio > Ratio::from_millionths(500_000).unwrap());
    let most = gray.unwrap_or(&live.arms.stable);
    let served = routing.arms.gray.as_ref().expect("gray serves");
    assert_eq!(
        (&most.version, &most.backend),
        (&served.version, &served.backend),
        "another version serves"
    );
    assert_eq!(routing.state, ReleaseState::Promoted);
}

/// How long the present ratio is held.
fn hold_of(seen: &AuditedTurn<'_>) -> Option<Duration> {
    let progress = &seen.turn.progress;
    progress.plan().map(|plan| hold_at(plan, progress.ratio()))
}

/// How long a plan holds a ratio.
fn hold_at(plan: &Plan, ratio: Ratio) -> Duration {
    plan.steps()
        .iter()
        .take_while(|step| step.ratio <= ratio)
        .last()
        .map_or(Duration::ZERO, |step| step.hold)
}

/// Where progress cannot be written nothing rises that a restart would not raise again by itself.
fn rises_on_no_progress_that_is_not_written(seen: &AuditedTurn<'_>) {
    let (before, after) = (seen.before, &seen.turn.progress);
    // What is kept serving does not rise: its users were there.
    if seen.seen.unwritable.is_none()
        || before.release().is_none()
        || after.state().kept().is_some()
    {
        return;
    }
    assert!(
        after.ratio() <= before.ratio(),
        "up while nothing can be written"
    );
    let reached = |progress: &Progress| {
        matches!(
            progress.state(),
            progress::RolloutState::TargetReached { .. } | progress::RolloutState::Promoted { .. }
        )
    };
    assert!(
        !reached(after) || reached(before),
        "a target reached while nothing can be written"
    );
}

/// A rolled-back release never moves, except by retry, by another release, or by its end.
fn stays_rolled_back(before: &Progress, after: &Progress) {
    let (progress::RolloutState::RolledBack(_), Some(was)) = (before.state(), before.release())
    else {
        return;
    };
    let same = after
        .release()
        .is_some_and(|is| is.id == was.id && is.attempt == was.attempt);
    assert!(
        !same || matches!(after.state(), progress::RolloutState::RolledBack(_)),
        "a rolled-back release moved"
    );
}

/// Phase and condition never say that all is well with users while they are not served, or are elsewhere.
fn says_what_is_so(progress: &Progress) {
    let status = progress.status();
    let phase = status.phase.as_ref().and_then(OpenEnum::known);
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .expect("a condition");
    let unserved = [
        "StableUnavailable",
        "GrayUnavailable",
        "NotPersisted",
        "StatusUnreadable",
    ];
    let holding = phase == Some(Phase::Holding) && ready.status == "False";
    assert!(
        !holding || !unserved.contains(&&*ready.reason),
        "Holding, and not ready: {}",
        ready.message
    );
    let promoted = status
        .conditions
        .iter()
        .any(|found| found.type_ == "Promoted" && found.status == "True");
    let everyone_on_gray = phase == Some(Phase::Promoted) || promoted;
    let forced = progress.plan().map_or(Force::None, |plan| plan.force);
    assert!(
        !everyone_on_gray || forced != Force::Stable,
        "promoted while everyone is forced to stable"
    );
    assert!(
        phase != Some(Phase::RolledBack) || forced != Force::Gray,
        "back while everyone is forced to gray"
    );
}

/// A restart has all that it needs.
fn restores(status: &GrayReleaseStatus, progress: &Progress, now: Now) {
    let restored = Progress::restore(status, None, now).expect("our own status");
    if status
        .state
        .as_ref()
        .is_some_and(|state| *state != StateName::Plain)
    {
        assert_eq!(
            restored.status().without_figures(),
            progress.status().without_figures()
        );
    }
}

/// With nothing new to see, a few turns later nothing happens any more and nothing is told twice.
fn comes_to_rest(seen: &AuditedTurn<'_>) {
    if seen.broken {
        return;
    }
    let still = Observation {
        round: None,
        ..seen.seen.clone()
    };
    let mut turn = seen.turn.clone();
    for _ in 0..3 {
        turn = advance(seen.plan, &turn.progress, &still, seen.now);
    }
    let last = advance(seen.plan, &turn.progress, &still, seen.now);
    assert_eq!(last.events, [], "told again and again");
    assert_eq!(last.routing, turn.routing);
    if let Some(rest) = last.rests_for {
        rests(seen, &still, &last, rest);
    }
}

/// Who says that it rests needs no turn for so long.
fn rests(seen: &AuditedTurn<'_>, still: &Observation, turn: &AdvanceResult, rest: Duration) {
    let almost = SignedDuration::try_from(rest.saturating_sub(Duration::from_millis(1))).unwrap();
    let later = Now {
        steady: seen.now.steady + almost,
        wall: seen.now.wall + almost,
    };
    let next = advance(seen.plan, &turn.progress, still, later);
    assert_eq!(next.events, [], "not told for {rest:?}");
    assert_eq!(next.routing, turn.routing);
    assert_eq!(next.progress.status(), turn.progress.status());
}
