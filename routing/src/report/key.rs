//! What counts of a report belong to, and how a reader takes keys that a newer proxy has and it does not know.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::document::{
    arm::Arm,
    names::Uid,
    units::{ReleaseId, Stage},
};

use super::{Charge, Counts};

/// What counts belong to. A request is counted under the stage that decided it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct CounterKey {
    /// Whose release.
    pub uid: Uid,
    /// Which release of it.
    pub release: ReleaseId,
    /// In which stage.
    pub stage: Stage,
    /// What within it.
    #[serde(flatten)]
    pub charge: ReportedCharge,
}

/// What requests are charged to, as a report says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReportedCharge {
    /// In words that this build knows.
    Known(Charge),
    /// In words of a newer proxy. What is counted there is kept apart and charged to nobody.
    Unknown {
        /// The arm that was meant.
        arm: Arm,
        /// The rest of the text form.
        words: Box<str>,
    },
}

impl ReportedCharge {
    /// The arm that was meant.
    pub const fn arm(&self) -> Arm {
        match self {
            Self::Known(charge) => charge.arm,
            Self::Unknown { arm, .. } => *arm,
        }
    }

    /// The charge, if this build knows all of its words.
    pub const fn known(&self) -> Option<Charge> {
        match self {
            Self::Known(charge) => Some(*charge),
            Self::Unknown { .. } => None,
        }
    }

    fn from_words(arm: Arm, words: String) -> Self {
        let text = format!("{}/{words}", arm.name());
        text.parse().map_or_else(
            |_| Self::Unknown {
                arm,
                words: words.into(),
            },
            Self::Known,
        )
    }
}

impl From<Charge> for ReportedCharge {
    fn from(charge: Charge) -> Self {
        Self::Known(charge)
    }
}

impl fmt::Display for ReportedCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(charge) => charge.fmt(f),
            Self::Unknown { arm, words } => write!(f, "{}/{words}", arm.name()),
        }
    }
}

/// A charge as it is written. In form 1 the last two are always absent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenCharge<'a> {
    arm: Arm,
    chosen_by: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    excluded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stratum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cohort: Option<&'static str>,
}

impl Serialize for ReportedCharge {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Self::Known(charge) => WrittenCharge {
                arm: charge.arm,
                chosen_by: charge.chosen_by.name(),
                excluded: charge.excluded,
                stratum: charge.stratum.word(),
                cohort: charge.cohort.word(),
            },
            Self::Unknown { arm, words } => WrittenCharge {
                arm: *arm,
                chosen_by: words,
                excluded: false,
                stratum: None,
                cohort: None,
            },
        };
        written.serialize(to)
    }
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
    chosen_by: String,
    #[serde(default)]
    excluded: bool,
    #[serde(default)]
    stratum: Option<Box<str>>,
    #[serde(default)]
    cohort: Option<Box<str>>,
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
        let mut words = self.chosen_by;
        for (name, word) in [("stratum", &self.stratum), ("cohort", &self.cohort)] {
            if let Some(word) = word {
                words += &format!("/{name}={word}");
            }
        }
        words += if self.excluded { "/excluded" } else { "" };
        Some(CounterKey {
            uid: self.uid,
            release: self.release,
            stage: self.stage,
            charge: ReportedCharge::from_words(arm, words),
        })
    }
}

impl ReadEntry {
    fn known(self) -> Option<ReportEntry> {
        let key = self.key.known()?;
        let counts = match &key.charge {
            ReportedCharge::Known(_) => self.counts,
            ReportedCharge::Unknown { .. } => self.counts.charged_to_nobody(),
        };
        Some(ReportEntry { key, counts })
    }
}

/// Reads keys; those of an arm that this build does not know are passed over.
pub(super) fn read_keys<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Vec<CounterKey>>, D::Error> {
    let keys = Option::<Vec<ReadKey>>::deserialize(from)?;
    Ok(keys.map(|keys| keys.into_iter().filter_map(ReadKey::known).collect()))
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
