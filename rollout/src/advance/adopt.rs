//! The plan is taken: a new release, an edit in place, or not at all. Whatever cannot be taken leaves live
//! traffic exactly as it was.

use std::sync::Arc;

use halftone_routing::config::{
    self, RoutingConfig,
    rule::Target,
    units::{Ratio, ReleaseId, Revision},
};

use super::{change::Change, steps};
use crate::{
    clock::Timer,
    events::Reason,
    observation::{Observation, Obstacle, ProxySeen},
    plan::{GrayPlan, Plan},
    progress::{Basis, Moving, Progress, Release, Rollback, State},
    routing_for::{required_features, routing_for},
    spec::{Force, Outcome},
};

/// Why the newest spec is not in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// It is refused as it is written.
    Refused(Obstacle),
    /// A proxy of the fleet does not know a feature that its document needs.
    ProxyTooOld(String),
    /// It would move users to a stable arm that has no ready endpoint.
    StableUnavailable(String),
}

impl Held {
    /// The reason, CamelCase and stable.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Refused(obstacle) => &obstacle.reason,
            Self::ProxyTooOld(_) => "ProxyTooOld",
            Self::StableUnavailable(_) => "StableUnavailable",
        }
    }

    /// The same in a sentence.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Refused(obstacle) => &obstacle.message,
            Self::ProxyTooOld(message) | Self::StableUnavailable(message) => message,
        }
    }
}

/// Why `plan` cannot be taken now, if it cannot, whatever other objects forbid.
pub(super) fn hold_back(plan: &Plan, progress: &Progress, seen: &Observation) -> Option<Held> {
    let live = progress.memory.document.as_ref().or(seen.document.as_ref());
    if let Some(message) = too_old(required_features(plan), live.map(Arc::as_ref), seen) {
        return Some(Held::ProxyTooOld(message));
    }
    let past = Past::of(progress, seen);
    let refused = too_large(plan, progress).or_else(|| not_serving(plan, &past));
    refused.map(Held::Refused).or_else(|| strands(plan, progress, &past, seen))
}

/// What this object, or one of the same name before it, has brought about.
struct Past<'a> {
    release: Option<ReleaseId>,
    /// The version that serves everyone, after a promotion: gray's, or under `force: Stable` stable's.
    serving: Option<&'a str>,
    ratio: Ratio,
}

impl<'a> Past<'a> {
    fn of(progress: &'a Progress, seen: &'a Observation) -> Self {
        match (&progress.basis, inherited(seen)) {
            (None, Some(document)) => Self {
                release: document.arms.gray.as_ref().map(|_| document.release.id),
                serving: (document.state == config::State::Promoted).then(|| serving(document)).flatten(),
                ratio: document.ratio,
            },
            _ => Self {
                release: progress.release.as_ref().map(|release| release.id),
                serving: match (&progress.state, &progress.serving) {
                    (State::Promoted { .. }, Some(serving)) => Some(&serving.version),
                    _ => None,
                },
                ratio: progress.state.ratio(),
            },
        }
    }

    fn ends_with(&self, plan: &Plan) -> bool {
        self.release.is_some() && self.release != plan.gray.as_ref().map(|gray| gray.id)
    }
}

/// Who serves everyone by a promoted document.
fn serving(document: &RoutingConfig) -> Option<&str> {
    let arm = match document.force {
        Some(Target::Stable) => Some(&document.arms.stable),
        _ => document.arms.gray.as_ref(),
    };
    arm.map(|arm| arm.version.as_str())
}

/// The document from which an object without a status goes on.
fn inherited(seen: &Observation) -> Option<&Arc<RoutingConfig>> {
    seen.document.as_ref().or(seen.predecessor.as_ref())
}

/// A document has to fit into a ConfigMap.
fn too_large(plan: &Plan, progress: &Progress) -> Option<Obstacle> {
    let error = routing_for(plan, progress, Revision::FIRST, None).to_json().err()?;
    let advice = "shorten the lists of values in rules and health.exclude";
    Some(Obstacle::new("DocumentTooLarge", format!("{}; {advice}", error.message)))
}

/// After a promotion the next release has to name what serves everyone as its stable arm.
fn not_serving(plan: &Plan, past: &Past<'_>) -> Option<Obstacle> {
    let serving = past.serving?;
    let wrong =
        past.ends_with(plan) && plan.stable.version.as_str() != serving && plan.force != Force::Stable;
    wrong.then(|| {
        Obstacle::new("StableNotServing", format!("{serving} serves everyone; set stable to {serving}"))
    })
}

/// A proxy that does not know a feature would refuse the document and go on with the old one. What the live
/// document requires already is no news to anyone.
fn too_old(required: &[&str], live: Option<&RoutingConfig>, seen: &Observation) -> Option<String> {
    let new = |feature: &&&str| live.is_none_or(|live| !live.requires.iter().any(|known| known == *feature));
    required.iter().filter(new).find_map(|feature| {
        let knows = |proxy: &&ProxySeen| proxy.features.iter().any(|known| known == feature);
        let old = seen.proxies.iter().filter(|proxy| proxy.counts()).find(|proxy| !knows(proxy))?;
        Some(format!("proxy {} does not know {feature}; update the proxies first", old.name))
    })
}

/// Moving users to a stable arm without a ready endpoint would take the service from them.
fn strands(plan: &Plan, progress: &Progress, past: &Past<'_>, seen: &Observation) -> Option<Held> {
    if plan.force != Force::None || seen.ready_endpoints(&plan.stable.backend) > 0 {
        return None;
    }
    let basis = Basis::of(plan);
    let hotfix = |before: &Basis| before.stable != basis.stable && progress.state.ratio() < Ratio::FULL;
    let reshuffle = |before: &Basis| before.identity != basis.identity && splits(progress.state.ratio());
    let moves = (past.ends_with(plan) && past.ratio > Ratio::ZERO)
        || progress.basis.as_ref().is_some_and(|before| hotfix(before) || reshuffle(before));
    let message =
        format!("{} has no ready endpoint to move users to; they stay where they are", plan.stable.version);
    moves.then_some(Held::StableUnavailable(message))
}

fn splits(ratio: Ratio) -> bool {
    ratio > Ratio::ZERO && ratio < Ratio::FULL
}

impl Change<'_> {
    /// Takes the plan of this turn.
    pub(crate) fn adopt(&mut self) {
        let plan = Arc::clone(&self.plan);
        let basis = Basis::of(&plan);
        let before = self.progress.basis.replace(basis.clone());
        let release = self.progress.release.as_ref().map(|release| release.id);
        match before {
            None => self.begin(&plan),
            Some(_) if release != plan.gray.as_ref().map(|gray| gray.id) => self.supersede(&plan),
            Some(before) => self.edit(&before, &basis),
        }
    }

    /// The first plan of an object: a new release, or where a live document of its own or of its predecessor
    /// stands, with hold and evidence anew.
    fn begin(&mut self, plan: &Plan) {
        let live = inherited(self.seen).cloned();
        if let Some(live) = &live {
            self.stage_before = live.stage;
            self.progress.stage.number = live.stage;
        }
        let Some(gray) = &plan.gray else {
            self.renew_token(&self.now.wall.to_string());
            return;
        };
        self.start_release(gray);
        match live {
            Some(live) if live.release.id == gray.id => self.inherit(&live, gray),
            _ => self.tell_start(),
        }
    }

    fn inherit(&mut self, live: &RoutingConfig, gray: &GrayPlan) {
        let watch = Timer::standing(self.plan.health.watch);
        let hold = steps::hold(&gray.steps, live.ratio);
        let moving = || State::Moving(Moving::at(live.ratio, hold));
        self.progress.state = match live.state {
            config::State::Promoted => State::Promoted { watch },
            config::State::RolledBack => State::RolledBack(Rollback {
                reason: "Inherited".into(),
                message: "the object before this one was rolled back".into(),
                at: self.now.wall,
            }),
            config::State::Active if !live.moving && live.ratio > Ratio::ZERO => {
                State::TargetReached { ratio: live.ratio, hold: Timer::standing(hold), watch }
            }
            // The word for it is lost in a withdrawn document; its ratio is held and judged anew.
            config::State::Active | config::State::Withdrawn | config::State::Plain => moving(),
        };
        self.tell(Reason::ReleaseStarted, format!("{} goes on from the live document", gray.arm.version));
    }

    fn tell_start(&mut self) {
        let (version, target) = (self.gray_version(), self.plan.target());
        self.tell(Reason::ReleaseStarted, format!("{version} begins at 0%, its target is {target}"));
    }

    /// Another release, or none, takes the place of the one on its way.
    fn supersede(&mut self, plan: &Plan) {
        if let Some(Release { version, .. }) = self.progress.release.clone() {
            let underway = matches!(self.progress.state, State::Moving(_));
            let (outcome, reason, message) = match &plan.gray {
                Some(gray) => (
                    Outcome::Superseded,
                    Reason::Superseded,
                    format!("{} follows {version}", gray.arm.version),
                ),
                None => {
                    (Outcome::Withdrawn, Reason::GrayRemoved, format!("{version} is taken out of the spec"))
                }
            };
            if underway {
                self.remember(outcome, "");
            }
            self.tell(reason, message);
        }
        match &plan.gray {
            Some(gray) => {
                self.start_release(gray);
                self.tell_start();
            }
            None => {
                self.new_stage();
                self.progress.evidence = Default::default();
                self.progress.release = None;
                self.progress.paused = false;
                self.progress.state = State::Plain;
            }
        }
    }

    /// An edit that takes effect in place. Steps, schedule, rules and all that is not named here change nothing
    /// of what the release has come to.
    fn edit(&mut self, before: &Basis, after: &Basis) {
        if before.health != after.health {
            self.edit_health();
        }
        if before.stable != after.stable {
            self.edit_stable();
        }
        if before.identity != after.identity && splits(self.progress.state.ratio()) {
            self.edit_identity();
        }
        if before.force != after.force {
            self.edit_force();
        }
    }

    fn edit_health(&mut self) {
        self.health_changed = true;
        self.forget_evidence();
        if let State::Moving(moving) = &mut self.progress.state {
            moving.patience = None;
        }
        self.watch_anew();
        if self.progress.is_judged(self.now) {
            self.tell(Reason::HealthChanged, "spec.health changed: the evidence starts anew");
        }
    }

    fn edit_stable(&mut self) {
        let plan = Arc::clone(&self.plan);
        if self.progress.release.is_some() {
            self.new_stage();
            self.hold_anew();
        }
        let version = self.stable_version();
        self.tell(Reason::StableChanged, format!("stable is {version} now: hold and evidence start anew"));
        if !matches!(self.progress.state, State::Promoted { .. }) {
            self.serves(&plan.stable);
        }
    }

    fn edit_identity(&mut self) {
        self.tell(Reason::IdentityChanged, "spec.identity.from changed, which moves users");
        let first = self.steps().first().map_or(Ratio::ZERO, |step| step.ratio);
        self.begin_step(first.min(self.progress.state.ratio()));
        self.tell_step(Reason::RatioLowered);
    }

    fn edit_force(&mut self) {
        self.new_stage();
        self.hold_anew();
        self.watch_anew();
        match self.plan.force {
            Force::None => {
                self.tell(
                    Reason::ForceLifted,
                    "spec.force is unset: the ratio returns, its hold starts anew",
                );
            }
            Force::Stable => self.tell(Reason::Forced, "everyone to stable by spec.force"),
            Force::Gray => self.tell(Reason::Forced, "everyone to gray by spec.force"),
        }
    }
}
