//! One simulated release from its first turn to its end. Proxies are one that takes every document at once; a person
//! approves as soon as asked.

use std::sync::Arc;
use std::time::Duration;

use halftone_api::Plan;
use halftone_api::spec::Verdict;
use halftone_api::spec::{LimitStatus, Phase};
use halftone_rollout::advance::{self, BUSY};
use halftone_rollout::clock::Now;
use halftone_rollout::observation::{Observation, ProxyObservation, Round};
use halftone_rollout::progress::{Progress, RolloutState};
use halftone_routing::document::{FEATURES, RoutingConfig};
use halftone_routing::report::documents::DocumentVersion;
use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::model::{Model, ServingShare};

/// A release takes less than this, or it will never end: the longest hold and patience that can be written are far
/// beyond any use.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// How a release ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SimulationOutcome {
    /// At its target, and through the watch.
    Promoted,
    /// Back on stable; with `onFailure: Pause`, stopped by a failure.
    RolledBack,
    /// Hold and patience were over without a verdict.
    Inconclusive,
}

/// What became of one run.
#[derive(Debug, Clone)]
pub(crate) struct SimulationResult {
    pub(crate) outcome: SimulationOutcome,
    /// From the fault, or without one from the first gray request, to the `Fail`.
    pub(crate) detection: Option<f64>,
    /// From the start to the promotion or the rollback, in seconds.
    pub(crate) duration: Option<f64>,
    /// The limit that gray broke, as its field in `spec.health` is called.
    pub(crate) limit: Option<String>,
}

/// Runs release `number` of a seed.
pub(crate) fn run(plan: &Arc<Plan>, model: &Model, seed: u64, number: u64) -> SimulationResult {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    let mut world = SimulatedWorld::new(plan, model);
    loop {
        world.turn();
        if let Some(ended) = world.ended() {
            return ended;
        }
        world.run_traffic(BUSY, &mut rng);
    }
}

/// The limit for which gray has failed: the first of those whose evidence is complete.
fn broken(progress: &Progress) -> Option<String> {
    let evidence = |limit: &LimitStatus| -> Option<u32> {
        limit.evidence.as_ref()?.trim_end_matches('%').parse().ok()
    };
    let limits = progress.status().verdict?.limits;
    let most = limits.iter().filter_map(evidence).max()?;
    limits
        .into_iter()
        .find(|limit| evidence(limit) == Some(most))
        .map(|limit| limit.name)
}

struct SimulatedWorld<'a> {
    plan: &'a Arc<Plan>,
    model: &'a Model,
    progress: Progress,
    seen: Observation,
    elapsed: Duration,
    start: Timestamp,
    first_gray: Option<f64>,
    failed_at: Option<f64>,
    limit: Option<String>,
    target_at: Option<f64>,
}

impl<'a> SimulatedWorld<'a> {
    fn new(plan: &'a Arc<Plan>, model: &'a Model) -> Self {
        let start = Timestamp::UNIX_EPOCH;
        let arms = std::iter::once(&plan.stable).chain(plan.gray.as_ref().map(|gray| &gray.arm));
        let proxy = ProxyObservation {
            name: "simulated".into(),
            ready: true,
            polls: u32::MAX,
            asked_at: Some(start),
            features: FEATURES.iter().map(ToString::to_string).collect(),
            ..ProxyObservation::default()
        };
        let seen = Observation {
            generation: plan.generation,
            endpoints: arms.map(|arm| (arm.backend.clone(), 1)).collect(),
            proxies: vec![proxy],
            ..Observation::default()
        };
        let progress = Progress::new(Now::at(start));
        Self {
            plan,
            model,
            progress,
            seen,
            elapsed: Duration::ZERO,
            start,
            first_gray: None,
            failed_at: None,
            limit: None,
            target_at: None,
        }
    }

    fn now(&self) -> Timestamp {
        self.start
            .checked_add(self.elapsed)
            .unwrap_or(Timestamp::MAX)
    }

    fn turn(&mut self) {
        let now = Now::at(self.now());
        self.seen.proxies[0].asked_at = Some(now.steady);
        let progress = std::mem::replace(&mut self.progress, Progress::new(now));
        let turn = advance::turn(Ok(self.plan), progress, &self.seen, now);
        self.progress = turn.progress;
        self.seen.round = None;
        if let Some(document) = turn.routing {
            self.serve(document);
        }
        self.seen.request = (self.progress.phase() == Phase::AwaitingApproval)
            .then(|| format!("approve@{}", self.progress.request_token()));
        self.note();
    }

    fn serve(&mut self, document: Arc<RoutingConfig>) {
        let revision = document.revision;
        if self
            .seen
            .document
            .as_ref()
            .is_none_or(|live| live.revision != revision)
        {
            self.seen.proxies[0].applied = Some(DocumentVersion {
                revision,
                checksum: document.content_checksum(),
            });
            self.seen.highest_revision = revision.get();
            self.seen.document = Some(document);
        }
    }

    fn note(&mut self) {
        let elapsed = self.elapsed.as_secs_f64();
        if self.failed_at.is_none() && self.progress.evidence().ruling().verdict == Verdict::Fail {
            self.failed_at = Some(elapsed);
            self.limit = broken(&self.progress);
        }
        let at_target = matches!(
            self.progress.state(),
            RolloutState::Promoted { .. } | RolloutState::TargetReached { .. }
        );
        if at_target {
            self.target_at.get_or_insert(elapsed);
        }
    }

    fn ended(&self) -> Option<SimulationResult> {
        let now = self.now();
        let failed = self.failed_at.is_some();
        let outcome = match self.progress.state() {
            RolloutState::RolledBack(_) => SimulationOutcome::RolledBack,
            _ if failed && self.progress.phase() == Phase::Paused => SimulationOutcome::RolledBack,
            RolloutState::Promoted { watch, .. } | RolloutState::TargetReached { watch, .. }
                if watch.is_over(now) =>
            {
                SimulationOutcome::Promoted
            }
            RolloutState::Moving(moving)
                if moving
                    .patience
                    .is_some_and(|patience| patience.is_over(now)) =>
            {
                SimulationOutcome::Inconclusive
            }
            _ if self.elapsed > LONGEST => SimulationOutcome::Inconclusive,
            _ => return None,
        };
        let detection = self.failed_at.zip(self.first_gray).map(|(failed, first)| {
            (failed - first - self.model.fault_after().as_secs_f64()).max(0.0)
        });
        let duration = match outcome {
            SimulationOutcome::Promoted => self.target_at,
            SimulationOutcome::RolledBack => Some(self.elapsed.as_secs_f64()),
            SimulationOutcome::Inconclusive => None,
        };
        Some(SimulationResult {
            outcome,
            detection,
            duration,
            limit: self.limit.clone(),
        })
    }

    /// Lets traffic flow until the next poll.
    fn run_traffic(&mut self, time: Duration, rng: &mut ChaCha8Rng) {
        let seconds = time.as_secs_f64();
        self.elapsed += time;
        let Some(document) = &self.seen.document else {
            return;
        };
        let serving = ServingShare {
            plan: self.plan,
            release: document.release.id,
            stage: document.stage,
            ratio: document.ratio,
            promoted: document.state == halftone_routing::document::ReleaseState::Promoted,
        };
        let elapsed = self.elapsed.as_secs_f64();
        let since_first = self.first_gray.map(|first| elapsed - first);
        let round: Round = self.model.round(&serving, seconds, since_first, rng);
        if self.first_gray.is_none() && round.gray.split.requests > 0 {
            // Somewhere within this poll; a poll has no phase that a fault could know.
            self.first_gray = Some(elapsed - seconds * rng.random::<f64>());
        }
        self.seen.round = Some(round);
    }
}
