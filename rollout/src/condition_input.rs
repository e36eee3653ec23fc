//! Where a release stands, as conditions, phase and events tell it, and the values of which that is made: why the newest spec is
//! held back, what a step waits for, which arm cannot serve. `advance` gathers them, `conditions` puts them in words.

use std::fmt;

use halftone_api::{Obstacle, spec::Phase};
use halftone_routing::document::arm::Arm;

use crate::judge::Ruling;

/// All that conditions and phase are made of. Two turns with the same standing tell the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConditionInput {
    pub phase: Phase,
    /// Number of the present step, 0 before the first, and how many there are.
    pub step: (u32, u32),
    pub generation: i64,
    /// Every proxy had the document of this generation.
    pub settled: bool,
    pub wait: WaitReason,
    pub held: Option<SpecBlocker>,
    pub unresolved: Option<Obstacle>,
    pub unserved: Option<UnservedArm>,
    /// A port that says that it speaks what proxies do not.
    pub unspoken: Option<String>,
    /// What cannot be written, and why.
    pub unwritten: Option<String>,
    /// What is wrong with the status that was found.
    pub unreadable: Option<String>,
    pub fleet: FleetSummary,
    pub revision: u64,
    pub ruling: Ruling,
    pub judged: bool,
    /// Hold and patience are over without a verdict.
    pub inconclusive: bool,
    /// The observed ratio is far from the wanted one; none where nothing is split.
    pub drift: Option<bool>,
    /// Nothing has reached stable for long; none unless promoted.
    pub stable_idle: Option<bool>,
}

impl Default for ConditionInput {
    fn default() -> Self {
        Self {
            phase: Phase::Pending,
            step: (0, 0),
            generation: -1,
            settled: false,
            wait: WaitReason::default(),
            held: None,
            unresolved: None,
            unserved: None,
            unspoken: None,
            unwritten: None,
            unreadable: None,
            fleet: FleetSummary::default(),
            revision: 0,
            ruling: Ruling::default(),
            judged: false,
            inconclusive: false,
            drift: None,
            stable_idle: None,
        }
    }
}

/// The proxies, as status tells of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FleetSummary {
    pub ready: usize,
    pub acknowledged: usize,
    /// Every proxy has the document.
    pub complete: bool,
    /// Who should have it by now.
    pub stragglers: Vec<String>,
    /// Who does not report.
    pub unreported: Vec<String>,
    pub rejected: Option<String>,
}

impl ConditionInput {
    /// Nothing of what keeps requests from being served as the spec asks is so, nor is unknown: for each of these `Ready`
    /// is False, see *Ready means that requests are served* in docs/operations.md.
    pub(crate) fn is_served(&self) -> bool {
        let waits = matches!(
            self.held,
            Some(SpecBlocker::StableUnavailable(_) | SpecBlocker::GrayUnavailable(_))
        );
        !waits && self.unserved.is_none() && self.unwritten.is_none() && self.unreadable.is_none()
    }
}

/// Why the newest spec is not in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SpecBlocker {
    /// It is refused as it is written.
    Refused(Obstacle),
    /// A proxy of the fleet does not know a feature that its document needs.
    ProxyTooOld(String),
    /// No proxy is ready, so none is known to know such a feature.
    NoReadyProxy(String),
    /// A proxy has not said yet whether it knows such a feature.
    ProxyUnheard(String),
    /// It would move users to a stable arm that has no ready endpoint.
    StableUnavailable(String),
    /// The same of gray.
    GrayUnavailable(String),
    /// It gives up a place, and the release that takes it over is not everywhere yet.
    HandingOver(String),
}

impl SpecBlocker {
    /// The reason, CamelCase and stable.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Refused(obstacle) => &obstacle.reason,
            Self::ProxyTooOld(_) => "ProxyTooOld",
            Self::NoReadyProxy(_) => "NoReadyProxy",
            Self::ProxyUnheard(_) => "Programming",
            Self::StableUnavailable(_) => "StableUnavailable",
            Self::GrayUnavailable(_) => "GrayUnavailable",
            Self::HandingOver(_) => "HandingOver",
        }
    }

    /// The same in a sentence.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Refused(obstacle) => &obstacle.message,
            Self::ProxyTooOld(message)
            | Self::NoReadyProxy(message)
            | Self::ProxyUnheard(message)
            | Self::StableUnavailable(message)
            | Self::GrayUnavailable(message)
            | Self::HandingOver(message) => message,
        }
    }
}

/// Why a release stays where it is. The names are stable: they are the reasons of the condition `Progressing`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum WaitReason {
    /// `spec.force` is set: ratio, clock and judge stand still.
    Forced,
    /// It ought to go back, and stable has no ready endpoint. Told as `StableUnavailable`.
    Stranded,
    /// The newest spec is not in effect; the one before is, and does not rise.
    SpecHeld,
    /// Paused by spec, by command or by a failure.
    Paused,
    /// The target is 0, or there is no gray.
    Idle,
    /// Not every proxy has the document.
    #[default]
    Programming,
    /// A proxy does not report, or serves from its disk.
    ReportsMissing,
    /// The hold is not over.
    Holding,
    /// The hold is over and there is no verdict yet.
    AwaitingVerdict,
    /// A person must approve.
    AwaitingApproval,
    /// The schedule is closed.
    AwaitingWindow,
    /// The schedule has just opened, and not every proxy has reported since.
    AwaitingReports,
    /// A reference leads nowhere.
    RefsUnresolved,
    /// Stable has no ready endpoint, so that a step up could not be taken back.
    StableUnavailable,
    /// Gray has no ready endpoint.
    GrayUnavailable,
    /// Progress cannot be written.
    NotPersisted,
    /// The target is reached, below 100 %.
    TargetReached,
    /// Gray serves everyone.
    Promoted,
    /// It went back.
    RolledBack,
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranded => fmt::Debug::fmt(&Self::StableUnavailable, f),
            // The name is the text.
            other => fmt::Debug::fmt(other, f),
        }
    }
}

/// An arm that users are sent to and that has no ready endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnservedArm {
    /// Which.
    pub arm: Arm,
    /// Who and why, in a sentence.
    pub message: String,
}

impl UnservedArm {
    /// The reason, CamelCase and stable.
    pub(crate) fn reason(&self) -> &'static str {
        match self.arm {
            Arm::Stable => "StableUnavailable",
            Arm::Gray => "GrayUnavailable",
        }
    }
}
