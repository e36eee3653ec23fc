//! What happened in a turn, for people: Kubernetes events in a cluster, lines of the live view in `halftone run`.
//! Reasons are stable names that alerts may match; messages are for reading.

use std::fmt;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub reason: EventReason,
    /// The same in a sentence, with its figures.
    pub message: String,
}

impl Event {
    /// An event with its message.
    #[must_use]
    pub fn new(reason: EventReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// All is as it should be.
    Normal,
    /// Someone may want to look.
    Warning,
}

/// What happened. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventReason {
    /// A release began, or was tried once more.
    ReleaseStarted,
    /// Another release took its place before it was over.
    Superseded,
    /// Gray was taken out of the spec.
    GrayRemoved,
    /// A step up.
    StepStarted,
    /// The target was lowered below the present ratio, or the release went back to its first step.
    RatioLowered,
    /// A target below 100 % is reached.
    TargetReached,
    /// Gray serves everyone.
    Promoted,
    /// The version that an edit names as gray serves everyone already, and goes on.
    ServingKept,
    /// The version that serves most users is served from another place from now on.
    StableMoved,
    /// Everyone goes back to stable, from now on.
    RollingBack,
    /// Everyone is back on stable: every proxy has said so.
    RolledBack,
    /// Stable has no ready endpoint, and users are on it or ought to go back to it.
    StableUnavailable,
    /// Users are sent to gray, and it has no ready endpoint.
    GrayUnavailable,
    /// A Service says that its port speaks what proxies do not.
    ProtocolMismatch,
    /// The release stopped advancing.
    Paused,
    /// It goes on advancing.
    Resumed,
    /// It waits for a person.
    AwaitingApproval,
    /// It waits for its schedule.
    AwaitingWindow,
    /// Its hold is over and there is no verdict.
    NoVerdict,
    /// A limit is broken.
    Unhealthy,
    /// Both arms break the same limit.
    BothArmsFailing,
    /// A proxy does not report.
    ReportsMissing,
    /// Everyone goes to one arm, by `spec.force`.
    Forced,
    /// `spec.force` was unset.
    ForceLifted,
    /// The stable arm changed: hold and evidence start anew.
    StableChanged,
    /// `spec.health` changed: the evidence starts anew.
    HealthChanged,
    /// `spec.identity.from` changed.
    IdentityChanged,
    /// A request was done.
    RequestDone,
    /// A request carried a token that is not the present one.
    RequestStale,
    /// A request could not be done.
    RequestRefused,
    /// The object is refused as it is written.
    Refused,
    /// The routing document or the status cannot be written.
    NotPersisted,
    /// Somebody has written a status that cannot be gone on from.
    StatusUnreadable,
    /// A reference leads nowhere.
    RefsUnresolved,
    /// The object is gone: its routes are withdrawn after a while.
    ObjectGone,
    /// Proxies have not taken the document.
    NotProgrammed,
    /// A place was given up although not every proxy has the document of the release that takes it over.
    HandOverLate,
    /// A release takes over a place that a deleted release of another namespace had.
    HostTakenOver,
    /// The observed ratio is far from the wanted one.
    RatioDrift,
    /// Nothing reaches the stable arm of a promoted release any more.
    StableIdle,
    /// Most places for client connections of a proxy are taken. About the proxy's pod, not a release.
    ConnectionsScarce,
    /// Another installation looked after the release before.
    Adopted,
    /// Another installation looks after the fleet.
    ClassNotOurs,
}

impl EventReason {
    /// Every one, for counters that begin at 0.
    pub const ALL: &[Self] = &[
        Self::ReleaseStarted,
        Self::Superseded,
        Self::GrayRemoved,
        Self::StepStarted,
        Self::RatioLowered,
        Self::TargetReached,
        Self::Promoted,
        Self::ServingKept,
        Self::StableMoved,
        Self::RollingBack,
        Self::RolledBack,
        Self::StableUnavailable,
        Self::GrayUnavailable,
        Self::ProtocolMismatch,
        Self::Paused,
        Self::Resumed,
        Self::AwaitingApproval,
        Self::AwaitingWindow,
        Self::NoVerdict,
        Self::Unhealthy,
        Self::BothArmsFailing,
        Self::ReportsMissing,
        Self::Forced,
        Self::ForceLifted,
        Self::StableChanged,
        Self::HealthChanged,
        Self::IdentityChanged,
        Self::RequestDone,
        Self::RequestStale,
        Self::RequestRefused,
        Self::Refused,
        Self::NotPersisted,
        Self::StatusUnreadable,
        Self::RefsUnresolved,
        Self::ObjectGone,
        Self::NotProgrammed,
        Self::HandOverLate,
        Self::HostTakenOver,
        Self::RatioDrift,
        Self::StableIdle,
        Self::ConnectionsScarce,
        Self::Adopted,
        Self::ClassNotOurs,
    ];

    /// Whether it tells of users as if they were moved already, which they are only by a document: it is told once that is
    /// written.
    #[must_use]
    pub fn needs_document(self) -> bool {
        matches!(
            self,
            Self::ReleaseStarted
                | Self::Superseded
                | Self::GrayRemoved
                | Self::StepStarted
                | Self::RatioLowered
                | Self::TargetReached
                | Self::Promoted
                | Self::RollingBack
                | Self::ServingKept
                | Self::StableMoved
                | Self::Forced
                | Self::ForceLifted
                | Self::StableChanged
                | Self::IdentityChanged
                | Self::HandOverLate
                | Self::HostTakenOver
                | Self::RequestDone
        )
    }

    /// How much it matters.
    #[must_use]
    pub fn severity(self) -> EventType {
        match self {
            Self::RollingBack
            | Self::RolledBack
            | Self::StableUnavailable
            | Self::GrayUnavailable
            | Self::ProtocolMismatch
            | Self::NoVerdict
            | Self::Unhealthy
            | Self::BothArmsFailing
            | Self::ReportsMissing
            | Self::Forced
            | Self::RequestStale
            | Self::RequestRefused
            | Self::Refused
            | Self::ObjectGone
            | Self::NotPersisted
            | Self::StatusUnreadable
            | Self::RefsUnresolved
            | Self::NotProgrammed
            | Self::HandOverLate
            | Self::HostTakenOver
            | Self::RatioDrift
            | Self::ConnectionsScarce
            | Self::ClassNotOurs => EventType::Warning,
            Self::ReleaseStarted
            | Self::Superseded
            | Self::GrayRemoved
            | Self::StepStarted
            | Self::RatioLowered
            | Self::TargetReached
            | Self::Promoted
            | Self::ServingKept
            | Self::StableMoved
            | Self::Paused
            | Self::Resumed
            | Self::AwaitingApproval
            | Self::AwaitingWindow
            | Self::ForceLifted
            | Self::StableChanged
            | Self::HealthChanged
            | Self::IdentityChanged
            | Self::RequestDone
            | Self::StableIdle
            | Self::Adopted => EventType::Normal,
        }
    }
}

impl fmt::Display for EventReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name is the text.
        fmt::Debug::fmt(self, f)
    }
}
