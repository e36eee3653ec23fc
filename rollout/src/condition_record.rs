//! A condition as a release remembers it from one turn to the next. Ten thousand releases at rest have some eighty
//! thousand of them, so what is one of a few words is kept as such.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What a condition is about, in the order in which people read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConditionKind {
    Ready,
    Stalled,
    Reconciling,
    Accepted,
    ResolvedRefs,
    Programmed,
    Progressing,
    Healthy,
    Promoted,
    ProtocolMismatch,
    RatioDrift,
    StableIdle,
}

/// Whether it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// A condition with the time since when it has its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConditionRecord {
    pub kind: ConditionKind,
    pub status: ConditionStatus,
    pub reason: Box<str>,
    pub message: Box<str>,
    pub since: Timestamp,
    /// The generation that it speaks of.
    pub generation: Option<i64>,
}

impl ConditionKind {
    const ALL: [Self; 12] = [
        Self::Ready,
        Self::Stalled,
        Self::Reconciling,
        Self::Accepted,
        Self::ResolvedRefs,
        Self::Programmed,
        Self::Progressing,
        Self::Healthy,
        Self::Promoted,
        Self::ProtocolMismatch,
        Self::RatioDrift,
        Self::StableIdle,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Stalled => "Stalled",
            Self::Reconciling => "Reconciling",
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Programmed => "Programmed",
            Self::Progressing => "Progressing",
            Self::Healthy => "Healthy",
            Self::Promoted => "Promoted",
            Self::ProtocolMismatch => "ProtocolMismatch",
            Self::RatioDrift => "RatioDrift",
            Self::StableIdle => "StableIdle",
        }
    }
}

impl ConditionStatus {
    const ALL: [Self; 3] = [Self::True, Self::False, Self::Unknown];

    fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl ConditionRecord {
    /// Goes on from the conditions of a status. One that only a later version knows is left out: nothing keeps it up to
    /// date any more.
    pub(crate) fn restore(written: &[Condition]) -> Box<[Self]> {
        written.iter().filter_map(Self::of).collect()
    }

    fn of(written: &Condition) -> Option<Self> {
        let kind = ConditionKind::ALL
            .into_iter()
            .find(|kind| kind.name() == written.type_)?;
        let status = ConditionStatus::ALL
            .into_iter()
            .find(|status| status.name() == written.status)?;
        Some(Self {
            kind,
            status,
            reason: written.reason.as_str().into(),
            message: written.message.as_str().into(),
            since: written.last_transition_time.0,
            generation: written.observed_generation,
        })
    }

    /// As it is written.
    pub(crate) fn to_condition(&self) -> Condition {
        Condition {
            type_: self.kind.name().to_owned(),
            status: self.status.name().to_owned(),
            reason: self.reason.to_string(),
            message: self.message.to_string(),
            last_transition_time: Time(self.since),
            observed_generation: self.generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_written_as_it_was_read_and_unknown_ones_are_left_out() {
        let condition = |type_: &str, status: &str| Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: "Because".to_owned(),
            message: "of that".to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: Some(3),
        };
        let kinds = ConditionKind::ALL
            .iter()
            .zip(ConditionStatus::ALL.iter().cycle());
        let known: Vec<_> = kinds
            .map(|(kind, status)| condition(kind.name(), status.name()))
            .collect();
        let mut written = known.clone();
        written.insert(4, condition("Sunny", "True"));
        written.insert(7, condition("Ready", "Perhaps"));
        let records = ConditionRecord::restore(&written);
        let again: Vec<_> = records.iter().map(ConditionRecord::to_condition).collect();
        assert_eq!(again, known);
    }
}
