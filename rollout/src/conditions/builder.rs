//! Each condition from the standing of a release: its status, its reason, and a sentence that says what to do.

use halftone_api::{
    plan::Plan,
    spec::{Force, Verdict},
};
use halftone_routing::document::arm::Arm;

use super::NewCondition;
use crate::{
    condition_input::{ConditionInput, SpecBlocker, UnservedArm, WaitReason},
    condition_record::{
        ConditionKind as Kind,
        ConditionStatus::{False, True, Unknown},
    },
    judge,
    progress::{Progress, RolloutState},
};

/// Tells of one release.
pub(super) struct ConditionBuilder<'a> {
    /// The plan in effect; none while nothing was ever accepted by this process.
    pub plan: Option<&'a Plan>,
    pub progress: &'a Progress,
    pub standing: &'a ConditionInput,
}

/// Why gray serves everyone at once.
fn kept(plan: &Plan) -> String {
    let gray = plan
        .gray
        .as_ref()
        .map_or("gray", |gray| gray.arm.version.as_str());
    format!(
        "{gray} goes on serving everyone; for {} run rollback",
        plan.stable.version
    )
}

impl ConditionBuilder<'_> {
    /// Every condition that there is something to say of, in the order in which people read them.
    pub(super) fn findings(&self) -> Vec<NewCondition> {
        let mut findings = vec![self.ready()];
        findings.extend(
            self.stalled()
                .map(|(reason, message)| NewCondition::new(Kind::Stalled, True, &reason, message)),
        );
        if self.stalled().is_none() {
            let pending = self.pending();
            findings.extend(pending.map(|(reason, message)| {
                NewCondition::new(Kind::Reconciling, True, &reason, message)
            }));
        }
        findings.extend([
            self.accepted(),
            self.resolved(),
            self.programmed(),
            self.progressing(),
            self.healthy(),
        ]);
        findings.push(self.promoted());
        let unspoken = self.standing.unspoken.as_ref();
        findings.extend(unspoken.map(|message| {
            NewCondition::new(Kind::ProtocolMismatch, True, "AppProtocol", message)
        }));
        findings.extend(self.drift());
        findings.extend(self.stable_idle());
        findings
    }

    fn ready(&self) -> NewCondition {
        match self.stalled().or_else(|| self.pending()) {
            Some((reason, message)) => NewCondition::new(Kind::Ready, False, &reason, message),
            None => NewCondition::new(Kind::Ready, True, &self.standing.wait, self.waits()),
        }
    }

    /// What a person has to put right, if anything.
    fn stalled(&self) -> Option<(String, String)> {
        if self.standing.unwritten.is_some() || self.standing.unreadable.is_some() {
            // Whatever was decided is not so yet, or not known.
            return None;
        }
        if let Some(
            held @ (SpecBlocker::Refused(_)
            | SpecBlocker::StableUnavailable(_)
            | SpecBlocker::GrayUnavailable(_)),
        ) = &self.standing.held
        {
            return Some((held.reason().into(), held.message().into()));
        }
        if self.standing.wait == WaitReason::Stranded {
            return Some(("StableUnavailable".into(), self.waits()));
        }
        let unserved = self.standing.unserved.as_ref();
        if let (
            RolloutState::RolledBack(_),
            Some(UnservedArm {
                arm: Arm::Stable,
                message,
            }),
        ) = (&self.progress.state, unserved)
        {
            return Some((
                "StableUnavailable".into(),
                format!("rolled back, and {message}"),
            ));
        }
        match &self.progress.state {
            RolloutState::RolledBack(rollback) if self.standing.wait != WaitReason::Forced => {
                let message = format!(
                    "{}: {}; retry it or release another version",
                    rollback.reason, rollback.message
                );
                Some(("RolledBack".into(), message))
            }
            _ => None,
        }
    }

    /// What comes right by itself once others have done their part, if anything has to.
    fn pending(&self) -> Option<(String, String)> {
        if let Some(why) = &self.standing.unwritten {
            return Some(("NotPersisted".into(), why.clone()));
        }
        if let Some(why) = &self.standing.unreadable {
            let message = format!("{why}; it is repaired");
            return Some(("StatusUnreadable".into(), message));
        }
        match &self.standing.held {
            Some(SpecBlocker::ProxyTooOld(message)) => {
                return Some(("ProxyTooOld".into(), message.clone()));
            }
            Some(SpecBlocker::NoReadyProxy(message)) => {
                return Some(("NoReadyProxy".into(), message.clone()));
            }
            Some(SpecBlocker::ProxyUnheard(message)) => {
                return Some(("Programming".into(), message.clone()));
            }
            Some(SpecBlocker::HandingOver(message)) => {
                return Some(("HandingOver".into(), message.clone()));
            }
            _ => {}
        }
        if let Some(obstacle) = &self.standing.unresolved {
            return Some((obstacle.reason.clone(), obstacle.message.clone()));
        }
        let fleet = &self.standing.fleet;
        if fleet.ready == 0 {
            return Some((
                "NoReadyProxy".into(),
                "no proxy of the fleet is ready".into(),
            ));
        }
        if !fleet.stragglers.is_empty() {
            return Some(("ProxiesLagging".into(), self.acknowledgement()));
        }
        if !self.standing.settled {
            return Some(("Programming".into(), self.acknowledgement()));
        }
        let unserved = self.standing.unserved.as_ref();
        unserved.map(|unserved| (unserved.reason().into(), unserved.message.clone()))
    }

    fn accepted(&self) -> NewCondition {
        match &self.standing.held {
            Some(SpecBlocker::Refused(obstacle)) => {
                NewCondition::new(Kind::Accepted, False, &obstacle.reason, &obstacle.message)
            }
            _ => match (self.progress.state.kept(), self.plan) {
                (Some(_), Some(plan)) if plan.force != Force::Stable => {
                    NewCondition::new(Kind::Accepted, True, "ServingKept", kept(plan))
                }
                _ => NewCondition::new(Kind::Accepted, True, "Accepted", "the spec is valid"),
            },
        }
    }

    fn resolved(&self) -> NewCondition {
        match &self.standing.unresolved {
            Some(obstacle) => NewCondition::new(
                Kind::ResolvedRefs,
                False,
                &obstacle.reason,
                &obstacle.message,
            ),
            None => NewCondition::new(
                Kind::ResolvedRefs,
                True,
                "Resolved",
                "every reference leads somewhere",
            ),
        }
    }

    fn programmed(&self) -> NewCondition {
        let fleet = &self.standing.fleet;
        let (reason, message) = match &self.standing.held {
            Some(SpecBlocker::ProxyTooOld(message)) => ("ProxyTooOld", message.clone()),
            Some(SpecBlocker::NoReadyProxy(message)) => ("NoReadyProxy", message.clone()),
            Some(SpecBlocker::ProxyUnheard(message)) => ("Programming", message.clone()),
            _ if self.standing.unwritten.is_some() && !fleet.complete => (
                "NotPersisted",
                self.standing.unwritten.clone().unwrap_or_default(),
            ),
            _ if fleet.ready == 0 => ("NoReadyProxy", "no proxy of the fleet is ready".into()),
            _ if fleet.complete => {
                return NewCondition::new(
                    Kind::Programmed,
                    True,
                    "Acknowledged",
                    self.acknowledgement(),
                );
            }
            _ if fleet.rejected.is_some() => ("Rejected", self.acknowledgement()),
            _ if !fleet.stragglers.is_empty() => ("ProxiesLagging", self.acknowledgement()),
            _ => ("Programming", self.acknowledgement()),
        };
        NewCondition::new(Kind::Programmed, False, &reason, message)
    }

    fn acknowledgement(&self) -> String {
        let ConditionInput {
            fleet, revision, ..
        } = self.standing;
        let mut message = format!(
            "{} of {} proxies have revision {revision}",
            fleet.acknowledged, fleet.ready
        );
        if !fleet.stragglers.is_empty() {
            message += &format!("; waiting for {}", fleet.stragglers.join(", "));
        }
        if let Some(rejected) = &fleet.rejected {
            message += &format!("; refused by {rejected}");
        }
        message
    }

    fn progressing(&self) -> NewCondition {
        let status = match self.standing.wait {
            WaitReason::Programming | WaitReason::Holding | WaitReason::AwaitingReports => True,
            WaitReason::AwaitingVerdict if !self.standing.inconclusive => True,
            WaitReason::AwaitingVerdict => {
                return NewCondition::new(
                    Kind::Progressing,
                    False,
                    &self.standing.ruling.reason,
                    self.waits(),
                );
            }
            _ => False,
        };
        NewCondition::new(Kind::Progressing, status, &self.standing.wait, self.waits())
    }

    /// What the release waits for, in a sentence.
    fn waits(&self) -> String {
        let (number, count) = self.standing.step;
        let at = format!("step {number}/{count} at {}", self.progress.state.ratio());
        match self.standing.wait {
            WaitReason::Forced => "spec.force is set; ratio, clock and judge stand still".into(),
            WaitReason::Stranded => {
                format!(
                    "{} has no ready endpoint to go back to; the ratio is frozen",
                    self.stable_version()
                )
            }
            WaitReason::SpecHeld => {
                "the newest spec is not in effect; the one before is, and does not rise".into()
            }
            WaitReason::Paused if self.standing.ruling.verdict == Verdict::Fail => {
                format!("{at} is paused by a failure; roll back, or resume it")
            }
            WaitReason::Paused if self.plan.is_some_and(|plan| plan.paused) => {
                format!("{at} is paused by spec.paused")
            }
            WaitReason::Paused => format!("{at} is paused; resume it"),
            WaitReason::Idle if self.plan.is_some_and(|plan| plan.gray.is_none()) => {
                "a plain route to stable".into()
            }
            WaitReason::Idle => "the target is 0".into(),
            WaitReason::Programming => format!("{at}: {}", self.acknowledgement()),
            WaitReason::ReportsMissing => {
                format!(
                    "{at}: no reports from {}",
                    self.standing.fleet.unreported.join(", ")
                )
            }
            WaitReason::Holding => format!("{at} is held"),
            WaitReason::AwaitingVerdict => format!("{at}: the hold is over, {}", self.undecided()),
            WaitReason::AwaitingApproval => format!("{at} waits for approval"),
            WaitReason::AwaitingWindow => format!("{at} waits for the schedule to open"),
            WaitReason::AwaitingReports => {
                format!("{at}: the schedule is open, fresh reports are awaited")
            }
            WaitReason::RefsUnresolved => format!("{at} waits for a reference that leads nowhere"),
            WaitReason::StableUnavailable => {
                format!("{at} waits for a ready endpoint of stable, to which a rollback would go")
            }
            WaitReason::GrayUnavailable => format!("{at} waits for a ready endpoint of gray"),
            WaitReason::NotPersisted => {
                format!("{at}: progress cannot be written, and nothing rises until it can")
            }
            WaitReason::TargetReached => "the target is reached".into(),
            WaitReason::Promoted => "gray serves everyone".into(),
            WaitReason::RolledBack => "nobody reaches gray".into(),
        }
    }

    fn undecided(&self) -> String {
        match self.standing.ruling.reason {
            judge::VerdictReason::TooLittleTraffic => "the traffic was too little to tell".into(),
            judge::VerdictReason::OverLimit => {
                "a rate is above its limit, though not surely".into()
            }
            other => format!("no verdict yet ({other})"),
        }
    }

    fn stable_version(&self) -> &str {
        self.plan
            .map_or("stable", |plan| plan.stable.version.as_str())
    }

    fn healthy(&self) -> NewCondition {
        let ruling = self.standing.ruling;
        let finding = |status, reason: String, message: &str| {
            NewCondition::new(Kind::Healthy, status, &reason, message)
        };
        if self.plan.is_some_and(|plan| plan.health.limits.is_none()) {
            return finding(
                Unknown,
                "Disabled".into(),
                "spec.health.enabled is false, nothing is judged",
            );
        }
        match ruling.verdict {
            Verdict::Fail => {
                let verdict = self.progress.evidence.verdict_status();
                let message = verdict.map_or_else(String::new, |verdict| verdict.message);
                finding(False, ruling.reason.to_string(), &message)
            }
            Verdict::Pass => finding(True, ruling.reason.to_string(), "every limit is kept"),
            Verdict::NeedMoreData if !self.standing.judged => {
                finding(Unknown, "NotJudged".into(), "nothing is judged now")
            }
            Verdict::NeedMoreData => finding(Unknown, ruling.reason.to_string(), "no verdict yet"),
        }
    }

    /// It speaks of where users are: under `spec.force` that is not what the state says.
    fn promoted(&self) -> NewCondition {
        let promoted = matches!(self.progress.state, RolloutState::Promoted { .. });
        let (status, reason, message) =
            match (promoted, self.plan.map_or(Force::None, |plan| plan.force)) {
                (true, Force::Stable) => (
                    False,
                    "Forced",
                    "gray is promoted, and spec.force sends everyone to stable",
                ),
                (true, _) => (True, "Promoted", "gray serves everyone"),
                (false, Force::Gray) => (False, "Forced", "only spec.force sends everyone to gray"),
                (false, _) => (False, "NotPromoted", "gray does not serve everyone"),
            };
        NewCondition::new(Kind::Promoted, status, reason, message)
    }

    fn drift(&self) -> Option<NewCondition> {
        Some(match self.standing.drift? {
            true => NewCondition::new(
                Kind::RatioDrift,
                True,
                "RatioDrift",
                "the observed ratio is more than 20% off; a few users may make most of the requests",
            ),
            false => NewCondition::new(
                Kind::RatioDrift,
                False,
                "OnTarget",
                "the observed ratio is within 20%",
            ),
        })
    }

    fn stable_idle(&self) -> Option<NewCondition> {
        Some(match self.standing.stable_idle? {
            true => NewCondition::new(
                Kind::StableIdle,
                True,
                "NoRequests",
                "nothing has reached stable for 10 minutes",
            ),
            false => NewCondition::new(
                Kind::StableIdle,
                False,
                "InUse",
                "stable was reached within the last 10 minutes",
            ),
        })
    }
}
