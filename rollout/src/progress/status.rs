//! Progress and `status` are the same thing in two forms: this writes one from the other, both ways.

use std::{fmt, sync::Arc, time::Duration};

use halftone_api::{
    duration,
    plan::Plan,
    spec::{
        BasisStatus, Force, GrayReleaseStatus, LimitStatus, ObservedStatus, OpenEnum, Phase,
        ProxiesStatus, ReleaseStatus, RollbackStatus, StateName, StepStatus, VerdictStatus,
    },
};
use halftone_routing::document::{
    IDENTITY_2,
    identity::IdentityForm,
    units::{Ratio, Stage},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    Basis, CurrentRelease, EphemeralState, JudgeState, Progress, Rollback, RolloutState,
    SplitCounts, StageProgress, StepProgress,
};
use crate::{
    clock::{Now, PausableTimer},
    condition_input::ConditionInput,
    condition_record::ConditionRecord,
    judge::{Assessment, Judge},
};

/// A status that no progress can be restored from: someone else has written it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("status.{field}: {what}; only Halftone writes the status")]
pub struct RestoreError {
    field: &'static str,
    what: String,
}

impl RestoreError {
    fn new(field: &'static str, what: impl fmt::Display) -> Self {
        Self {
            field,
            what: what.to_string(),
        }
    }
}

impl Progress {
    /// What to write: all that a new process goes on from, and what people look at.
    #[must_use]
    pub fn status(&self) -> GrayReleaseStatus {
        let patience = match &self.state {
            RolloutState::Moving(moving) => moving.patience,
            _ => None,
        };
        let (patience_ends_at, patience_left) = split_timer(patience);
        let (watch_ends_at, watch_left) = split_timer(self.state.watch());
        let released = self.release.as_ref();
        GrayReleaseStatus {
            // Whoever writes the status adds itself.
            controller: None,
            observed_generation: self.generation,
            phase: Some(self.standing.phase.into()),
            state: self.basis.as_ref().map(|_| state_name(&self.state).into()),
            release: released.map(release_status),
            basis: self.basis.as_ref().map(basis_status),
            serving: self.serving.clone(),
            stage: Some(signed(self.stage.number.get())),
            paused: self.paused,
            step: released.map(|_| self.step_status()),
            patience_ends_at,
            patience_left,
            watch_ends_at,
            watch_left,
            serving_kept: self.state.kept().map(|target| target.to_string()),
            rollback: self.rollback_status(),
            ratio: released.map(|_| self.state.ratio().to_string()),
            observed: released.map(|_| observed_status(self.stage.split)),
            revision: (self.revision > 0).then(|| signed(self.revision)),
            proxies: Some(self.proxies_status()),
            verdict: self.evidence.verdict_status(),
            request_token: Some(self.token.clone()).filter(|token| !token.is_empty()),
            last_handled_request: self.last_request.clone(),
            history: self.history.clone(),
            conditions: self
                .conditions
                .iter()
                .map(ConditionRecord::to_condition)
                .collect(),
        }
    }

    fn step_status(&self) -> StepStatus {
        let (hold_ends_at, hold_left) = split_timer(self.state.hold());
        let (index, count) = self.standing.step;
        StepStatus {
            index: index.into(),
            count: count.into(),
            display: format!("{index}/{count}"),
            started_at: self.stage.began_at,
            acknowledged_at: self.stage.acknowledged_at,
            hold_ends_at,
            hold_left,
            approved: matches!(
                &self.state,
                RolloutState::Moving(StepProgress { approved: true, .. })
            ),
        }
    }

    fn rollback_status(&self) -> Option<RollbackStatus> {
        let RolloutState::RolledBack(rollback) = &self.state else {
            return None;
        };
        let Rollback {
            reason,
            message,
            at,
            completed_at,
        } = rollback.clone();
        Some(RollbackStatus {
            reason,
            message,
            at,
            completed_at,
        })
    }

    fn proxies_status(&self) -> ProxiesStatus {
        let fleet = &self.standing.fleet;
        ProxiesStatus {
            ready: signed(fleet.ready as u64),
            acknowledged: signed(fleet.acknowledged as u64),
            waiting_for: fleet.stragglers.clone(),
        }
    }

    /// Goes on from a status that was written before, as a new process does: what only a running process knows
    /// is found out again. A status that was never written gives progress without a past.
    ///
    /// `accepted` is the plan of the spec that was in effect, kept beside the status whenever
    /// [`Turn::takes`](crate::advance::AdvanceResult::takes) said so: should the newest spec be held back, the release goes on by
    /// it, judged and steered. Without it, or if it is of another release than the status, the live document is all
    /// that is known; people are still answered, but nothing is judged before a spec is taken.
    ///
    /// # Errors
    /// A field that Halftone cannot have written.
    pub fn restore(
        status: &GrayReleaseStatus,
        accepted: Option<Arc<Plan>>,
        now: Now,
    ) -> Result<Self, RestoreError> {
        let Some(state) = &status.state else {
            // Nothing was ever accepted, or nothing since a status that could not be restored.
            return Ok(Self::salvage(status, None, now));
        };
        let mut restored = Self {
            generation: status.observed_generation,
            settled_generation: settled_generation(status),
            release: status.release.as_ref().map(restore_release).transpose()?,
            basis: status.basis.as_ref().map(restore_basis).transpose()?,
            state: restore_state(known("state", state)?, status)?,
            stage: restore_stage(status, now)?,
            paused: status.paused,
            serving: status.serving.clone(),
            evidence: restore_evidence(status)?,
            revision: unsigned("revision", status.revision.unwrap_or_default())?,
            token: status.request_token.clone().unwrap_or_default(),
            last_request: status.last_handled_request.clone(),
            history: status.history.clone(),
            conditions: ConditionRecord::restore(&status.conditions),
            standing: ConditionInput {
                phase: status
                    .phase
                    .as_ref()
                    .and_then(OpenEnum::known)
                    .unwrap_or(Phase::Pending),
                step: status
                    .step
                    .as_ref()
                    .map_or((0, 0), |step| (small(step.index), small(step.count))),
                ..ConditionInput::default()
            },
            memory: EphemeralState {
                stable_idle_since: stable_idle_since(status),
                ..EphemeralState::new(now)
            },
        };
        restored.memory.accepted = accepted.filter(|plan| restored.is_about(plan));
        Ok(restored)
    }

    /// What a status that cannot be restored has all the same: what was answered and what was, that a person or a failure
    /// has stopped the release, and that a document was served once. Where the release stands is read from its live
    /// document at the next turn, by `accepted`, the plan of the spec that was in effect; hold and evidence start over,
    /// and a step asks for its approval once more.
    #[must_use]
    pub fn salvage(status: &GrayReleaseStatus, accepted: Option<Arc<Plan>>, now: Now) -> Self {
        let new = Self::new(now);
        let mut salvaged = Self {
            generation: status.observed_generation,
            state: restore_rollback(status).map_or(RolloutState::Plain, RolloutState::RolledBack),
            stage: restore_stage(status, now).unwrap_or(new.stage),
            paused: status.paused,
            revision: unsigned("revision", status.revision.unwrap_or_default()).unwrap_or_default(),
            token: status.request_token.clone().unwrap_or_default(),
            serving: status.serving.clone(),
            last_request: status.last_handled_request.clone(),
            history: status.history.clone(),
            conditions: ConditionRecord::restore(&status.conditions),
            ..new
        };
        salvaged.memory.accepted = accepted;
        salvaged
    }
}

impl JudgeState {
    /// The verdict as people see it; after the judge has done, the last one.
    #[must_use]
    pub fn verdict_status(&self) -> Option<VerdictStatus> {
        self.process
            .as_deref()
            .map(verdict_status)
            .or_else(|| self.kept.as_deref().cloned())
    }
}

fn verdict_status(process: &Judge) -> VerdictStatus {
    let Assessment {
        verdict,
        reason,
        message,
        limits,
    } = process.assessment();
    let limits = limits.into_iter().map(|figure| LimitStatus {
        name: figure.name,
        limit: figure.limit,
        stable: figure.stable,
        gray: figure.gray,
        requests: signed(figure.requests),
        evidence: Some(figure.evidence),
    });
    VerdictStatus {
        result: verdict.into(),
        reason: reason.to_string(),
        message,
        process: process.number().into(),
        totals: process.totals().clone(),
        limits: limits.collect(),
    }
}

fn state_name(state: &RolloutState) -> StateName {
    match state {
        RolloutState::Plain => StateName::Plain,
        RolloutState::Moving(_) => StateName::Moving,
        RolloutState::TargetReached { .. } => StateName::TargetReached,
        RolloutState::Promoted { .. } => StateName::Promoted,
        RolloutState::RolledBack(_) => StateName::RolledBack,
    }
}

fn release_status(release: &CurrentRelease) -> ReleaseStatus {
    ReleaseStatus {
        id: release.id.to_string(),
        version: release.version.clone(),
        attempt: release.attempt.into(),
        started_at: release.started_at,
        features: match release.form {
            IdentityForm::One => Vec::new(),
            IdentityForm::Two => vec![IDENTITY_2.to_owned()],
        },
    }
}

fn restore_release(release: &ReleaseStatus) -> Result<CurrentRelease, RestoreError> {
    Ok(CurrentRelease {
        id: release
            .id
            .parse()
            .map_err(|wrong| RestoreError::new("release.id", wrong))?,
        version: release.version.clone(),
        attempt: u32::try_from(release.attempt)
            .map_err(|wrong| RestoreError::new("release.attempt", wrong))?,
        started_at: release.started_at,
        form: match release.features.iter().any(|feature| feature == IDENTITY_2) {
            true => IdentityForm::Two,
            false => IdentityForm::One,
        },
    })
}

fn basis_status(basis: &Basis) -> BasisStatus {
    let Basis {
        stable,
        identity,
        missing,
        health,
        force,
    } = basis.clone();
    BasisStatus {
        stable,
        identity,
        missing,
        health,
        force: force.into(),
    }
}

fn restore_basis(basis: &BasisStatus) -> Result<Basis, RestoreError> {
    let BasisStatus {
        stable,
        identity,
        missing,
        health,
        force,
    } = basis.clone();
    Ok(Basis {
        stable,
        identity,
        missing,
        health,
        force: known("basis.force", &force)?,
    })
}

/// A word that this version has to know: what it stands for cannot be gone on from without.
fn known<T: Copy + fmt::Debug>(field: &'static str, word: &OpenEnum<T>) -> Result<T, RestoreError> {
    word.known()
        .ok_or_else(|| RestoreError::new(field, format!("{word:?} is a word of a later version")))
}

fn observed_status(split: SplitCounts) -> ObservedStatus {
    let share = (split.requests > 0).then(|| 100.0 * split.gray as f64 / split.requests as f64);
    ObservedStatus {
        ratio: share.map(|share| format!("{share:.2}%")),
        requests: signed(split.requests),
        gray_requests: signed(split.gray),
    }
}

fn restore_stage(status: &GrayReleaseStatus, now: Now) -> Result<StageProgress, RestoreError> {
    let number = unsigned("stage", status.stage.unwrap_or_default())?;
    let step = status.step.as_ref();
    let observed = status.observed.as_ref();
    Ok(StageProgress {
        number: Stage::try_from(number).map_err(|wrong| RestoreError::new("stage", wrong))?,
        began_at: step.map_or(now.wall, |step| step.started_at),
        // In the future only by a clock that was wrong; the warm-up would never end.
        acknowledged_at: step
            .and_then(|step| step.acknowledged_at)
            .map(|at| at.min(now.steady)),
        split: SplitCounts {
            requests: unsigned(
                "observed.requests",
                observed.map_or(0, |seen| seen.requests),
            )?,
            gray: unsigned(
                "observed.grayRequests",
                observed.map_or(0, |seen| seen.gray_requests),
            )?,
        },
    })
}

fn restore_state(
    name: StateName,
    status: &GrayReleaseStatus,
) -> Result<RolloutState, RestoreError> {
    let ratio: Ratio = match &status.ratio {
        Some(text) => text
            .parse()
            .map_err(|wrong| RestoreError::new("ratio", wrong))?,
        None => Ratio::ZERO,
    };
    let watch = || {
        join_timer(
            "watchLeft",
            status.watch_ends_at,
            status.watch_left.as_ref(),
        )?
        .ok_or_else(|| RestoreError::new("watchEndsAt", "is missing, and so is watchLeft"))
    };
    Ok(match name {
        StateName::Plain => RolloutState::Plain,
        StateName::Moving => RolloutState::Moving(restore_moving(ratio, status)?),
        StateName::TargetReached => {
            // All of it, if it is not written: `tick` never leaves more than the steps give.
            let hold = restore_hold(restore_step(status)?)?
                .unwrap_or(PausableTimer::standing(Duration::MAX));
            RolloutState::TargetReached {
                ratio,
                hold,
                watch: watch()?,
            }
        }
        StateName::Promoted => RolloutState::Promoted {
            watch: watch()?,
            kept: restore_kept(status)?,
        },
        StateName::RolledBack => {
            let rollback = restore_rollback(status);
            RolloutState::RolledBack(
                rollback.ok_or_else(|| RestoreError::new("rollback", "is missing"))?,
            )
        }
    })
}

fn restore_rollback(status: &GrayReleaseStatus) -> Option<Rollback> {
    let RollbackStatus {
        reason,
        message,
        at,
        completed_at,
    } = status.rollback.clone()?;
    let to_gray = status
        .basis
        .as_ref()
        .is_some_and(|basis| basis.force.known() == Some(Force::Gray));
    // A status of before does not say so; what every proxy has had since it went back was told.
    let acknowledged_at = status.step.as_ref().and_then(|step| step.acknowledged_at);
    let completed_at = completed_at.or(acknowledged_at.filter(|_| !to_gray));
    Some(Rollback {
        reason,
        message,
        at,
        completed_at,
    })
}

fn restore_kept(status: &GrayReleaseStatus) -> Result<Option<Ratio>, RestoreError> {
    let kept = status.serving_kept.as_ref().map(|text| text.parse());
    kept.transpose()
        .map_err(|wrong| RestoreError::new("servingKept", wrong))
}

fn restore_moving(ratio: Ratio, status: &GrayReleaseStatus) -> Result<StepProgress, RestoreError> {
    let step = restore_step(status)?;
    let hold = restore_hold(step)?
        .ok_or_else(|| RestoreError::new("step.holdEndsAt", "is missing, and so is holdLeft"))?;
    let patience = join_timer(
        "patienceLeft",
        status.patience_ends_at,
        status.patience_left.as_ref(),
    )?;
    Ok(StepProgress {
        ratio,
        hold,
        patience,
        approved: step.approved,
    })
}

fn restore_step(status: &GrayReleaseStatus) -> Result<&StepStatus, RestoreError> {
    status
        .step
        .as_ref()
        .ok_or_else(|| RestoreError::new("step", "is missing"))
}

fn restore_hold(step: &StepStatus) -> Result<Option<PausableTimer>, RestoreError> {
    join_timer("step.holdLeft", step.hold_ends_at, step.hold_left.as_ref())
}

fn restore_evidence(status: &GrayReleaseStatus) -> Result<JudgeState, RestoreError> {
    let Some(verdict) = &status.verdict else {
        return Ok(JudgeState::default());
    };
    let number = u32::try_from(verdict.process)
        .map_err(|wrong| RestoreError::new("verdict.process", wrong))?;
    Ok(JudgeState {
        process: None,
        number,
        kept: Some(Box::new(verdict.clone())),
    })
}

/// A running timer as its end, a standing one as its rest.
fn split_timer(timer: Option<PausableTimer>) -> (Option<Timestamp>, Option<String>) {
    match timer {
        None => (None, None),
        Some(PausableTimer::Running { ends_at }) => (Some(ends_at), None),
        Some(PausableTimer::Standing { left }) => (None, Some(duration::format(left))),
    }
}

fn join_timer(
    field: &'static str,
    ends_at: Option<Timestamp>,
    left: Option<&String>,
) -> Result<Option<PausableTimer>, RestoreError> {
    let standing = |left: &String| -> Result<PausableTimer, RestoreError> {
        let left = duration::parse(left)
            .ok_or_else(|| RestoreError::new(field, "is no duration"))?
            .duration();
        Ok(PausableTimer::Standing { left })
    };
    match ends_at {
        Some(ends_at) => Ok(Some(PausableTimer::Running { ends_at })),
        None => left.map(standing).transpose(),
    }
}

/// The latest generation whose document every proxy had: only then was `Ready` true for it.
fn settled_generation(status: &GrayReleaseStatus) -> i64 {
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready
        .and_then(|ready| ready.observed_generation)
        .unwrap_or(-1)
}

/// Whether stable was idle, which takes ten minutes to find out again. Since when does not matter any more.
fn stable_idle_since(status: &GrayReleaseStatus) -> Option<Timestamp> {
    let idle =
        |condition: &Condition| condition.type_ == "StableIdle" && condition.status == "True";
    status.conditions.iter().any(idle).then_some(Timestamp::MIN)
}

fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(field: &'static str, number: i64) -> Result<u64, RestoreError> {
    u64::try_from(number).map_err(|_| RestoreError::new(field, format!("{number} is negative")))
}
