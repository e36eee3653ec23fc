//! What counts belong to, and how a reader takes keys that a newer proxy has and it does not know.

use serde::{Deserialize, Deserializer, Serialize};

use crate::document::{
    arm::Arm,
    names::Uid,
    units::{ReleaseId, Stage},
};

use super::Counts;

/// What decided the arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ChosenBy {
    /// The identity's bucket, or chance with `whenMissing: Split`.
    Split,
    /// A rule.
    Rule,
    /// `whenMissing: Stable` or `Gray`.
    Missing,
    /// `force`.
    Force,
}

impl ChosenBy {
    /// All, in the order of their numbers. A new one also needs a word in [`Self::in_0_1`].
    pub const ALL: [Self; 4] = [Self::Split, Self::Rule, Self::Missing, Self::Force];

    /// The word as documents spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Split => "Split",
            Self::Rule => "Rule",
            Self::Missing => "Missing",
            Self::Force => "Force",
        }
    }

    /// The same in 0.1's words, for readers that know no others.
    #[must_use]
    pub const fn in_0_1(self) -> Self {
        match self {
            Self::Split | Self::Rule | Self::Missing | Self::Force => self,
        }
    }
}

/// What decided the arm, as a report says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum ReportedChosenBy {
    /// In a word that this build knows.
    Known(ChosenBy),
    /// In a word of a newer proxy. What it counts is kept apart and charged to nobody.
    Unknown(Box<str>),
}

impl ReportedChosenBy {
    /// Whether it was this.
    pub fn is(&self, chosen_by: ChosenBy) -> bool {
        *self == Self::Known(chosen_by)
    }
}

impl From<ChosenBy> for ReportedChosenBy {
    fn from(chosen_by: ChosenBy) -> Self {
        Self::Known(chosen_by)
    }
}

impl From<String> for ReportedChosenBy {
    fn from(word: String) -> Self {
        let known = ChosenBy::ALL
            .into_iter()
            .find(|chosen_by| chosen_by.name() == word);
        known.map_or_else(|| Self::Unknown(word.into()), Self::Known)
    }
}

impl From<ReportedChosenBy> for String {
    fn from(choice: ReportedChosenBy) -> Self {
        match choice {
            ReportedChosenBy::Known(chosen_by) => chosen_by.name().to_owned(),
            ReportedChosenBy::Unknown(word) => word.into(),
        }
    }
}

/// What counts belong to. A request is counted under the stage that decided it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CounterKey {
    /// Whose release.
    pub uid: Uid,
    /// Which release of it.
    pub release: ReleaseId,
    /// In which stage.
    pub stage: Stage,
    /// The arm that was meant.
    pub arm: Arm,
    /// By what.
    pub chosen_by: ReportedChosenBy,
    /// Matched by `health.exclude`: counted, not judged.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub excluded: bool,
}

/// The counts of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportEntry {
    /// Of what.
    #[serde(flatten)]
    pub key: CounterKey,
    /// How many.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A key as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadKey {
    uid: Uid,
    release: ReleaseId,
    stage: Stage,
    arm: ReadArm,
    chosen_by: ReportedChosenBy,
    #[serde(default)]
    excluded: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum ReadArm {
    Stable,
    Gray,
    /// A newer proxy has destinations that are neither; whoever does not know them has nothing to judge there.
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct ReadEntry {
    #[serde(flatten)]
    key: ReadKey,
    #[serde(flatten)]
    counts: Counts,
}

impl ReadKey {
    fn known(self) -> Option<CounterKey> {
        let arm = match self.arm {
            ReadArm::Stable => Arm::Stable,
            ReadArm::Gray => Arm::Gray,
            ReadArm::Unknown => return None,
        };
        let Self {
            uid,
            release,
            stage,
            chosen_by,
            excluded,
            ..
        } = self;
        Some(CounterKey {
            uid,
            release,
            stage,
            arm,
            chosen_by,
            excluded,
        })
    }
}

impl ReadEntry {
    fn known(self) -> Option<ReportEntry> {
        let key = self.key.known()?;
        let counts = match &key.chosen_by {
            ReportedChosenBy::Known(_) => self.counts,
            ReportedChosenBy::Unknown(_) => self.counts.charged_to_nobody(),
        };
        Some(ReportEntry { key, counts })
    }
}

/// Reads keys; those of an arm that this build does not know are passed over.
pub(super) fn read_keys<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<CounterKey>, D::Error> {
    Ok(Vec::<ReadKey>::deserialize(from)?
        .into_iter()
        .filter_map(ReadKey::known)
        .collect())
}

/// Reads entries; those of an arm that this build does not know are passed over.
pub(super) fn read_entries<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<ReportEntry>, D::Error> {
    Ok(Vec::<ReadEntry>::deserialize(from)?
        .into_iter()
        .filter_map(ReadEntry::known)
        .collect())
}
