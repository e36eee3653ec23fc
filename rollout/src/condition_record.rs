//! A condition as a release remembers it from one turn to the next. Ten thousand releases at rest have some eighty
//! thousand of them, so what is one of a few words is kept as such.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::Deserialize;
use serde::de::{IntoDeserializer, value};

/// What a condition is about, in the order in which people read them. The name is the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
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

/// Whether it is so. The name is the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
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

impl ConditionRecord {
    /// Goes on from the conditions of a status. One that only a later version knows is left out: nothing keeps it up to
    /// date any more.
    pub(crate) fn restore(written: &[Condition]) -> Box<[Self]> {
        written.iter().filter_map(Self::of).collect()
    }

    fn of(written: &Condition) -> Option<Self> {
        Some(Self {
            kind: named(&written.type_)?,
            status: named(&written.status)?,
            reason: written.reason.as_str().into(),
            message: written.message.as_str().into(),
            since: written.last_transition_time.0,
            generation: written.observed_generation,
        })
    }

    /// As it is written.
    pub(crate) fn to_condition(&self) -> Condition {
        Condition {
            type_: format!("{:?}", self.kind),
            status: format!("{:?}", self.status),
            reason: self.reason.to_string(),
            message: self.message.to_string(),
            last_transition_time: Time(self.since),
            observed_generation: self.generation,
        }
    }
}

/// The variant of that name, if there is one.
fn named<'a, T: Deserialize<'a>>(name: &'a str) -> Option<T> {
    let name: value::StrDeserializer<'a, value::Error> = name.into_deserializer();
    T::deserialize(name).ok()
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
        let kinds = [
            "Ready",
            "Stalled",
            "Reconciling",
            "Accepted",
            "ResolvedRefs",
            "Programmed",
            "Progressing",
            "Healthy",
            "Promoted",
            "ProtocolMismatch",
            "RatioDrift",
            "StableIdle",
        ];
        let statuses = ["True", "False", "Unknown"];
        let known: Vec<_> = kinds
            .into_iter()
            .zip(statuses.into_iter().cycle())
            .map(|(kind, status)| condition(kind, status))
            .collect();
        let mut written = known.clone();
        written.insert(4, condition("Sunny", "True"));
        written.insert(7, condition("Ready", "Perhaps"));
        let records = ConditionRecord::restore(&written);
        let again: Vec<_> = records.iter().map(ConditionRecord::to_condition).collect();
        assert_eq!(again, known);
    }
}
