//! What a request is charged to within one stage of a release: the one key of counters, reports, readers and the
//! judge. What is to be told apart when a release is judged becomes a part of [`Charge`], and of no other type.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::document::{arm::Arm, units::Stage};

/// What a request is charged to.
///
/// Its text form is `ARM/CHOSENBY`, followed by what is not the usual: `gray/Split`, `stable/Rule/excluded`,
/// `gray/Split/stratum=3/cohort=next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Charge {
    /// Requests of both arms are comparable within one stratum.
    pub stratum: Stratum,
    /// The arm that was meant.
    pub arm: Arm,
    /// What decided that.
    pub chosen_by: ChosenBy,
    /// Matched by `health.exclude`: counted, not judged.
    pub excluded: bool,
    /// Whose requests they are, as far as steps of the release tell users apart.
    pub cohort: Cohort,
}

/// When it was settled which arm a user has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stratum {
    /// With this very request, in the stage that it is counted in.
    #[default]
    Present,
    /// In this earlier stage, when the user's session began.
    Began(Stage),
    /// In a stage too long ago to be kept apart.
    Older,
}

/// A group of users that a step of the release sets apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cohort {
    /// No group in particular.
    #[default]
    Everyone,
    /// Those whom the next step sends to gray.
    Next,
}

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

    /// The one of that name; none for a word of a newer version.
    pub fn from_name(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|chosen_by| chosen_by.name() == word)
    }

    /// The same in 0.1's words, for readers that know no others.
    #[must_use]
    pub const fn in_0_1(self) -> Self {
        match self {
            Self::Split | Self::Rule | Self::Missing | Self::Force => self,
        }
    }
}

impl Charge {
    /// The charge of a request that nothing sets apart from others of its arm.
    pub const fn new(arm: Arm, chosen_by: ChosenBy) -> Self {
        Self {
            stratum: Stratum::Present,
            arm,
            chosen_by,
            excluded: false,
            cohort: Cohort::Everyone,
        }
    }

    /// What 0.1 counts the same requests under: it knows neither strata nor cohorts.
    #[must_use]
    pub const fn in_0_1(self) -> Self {
        Self {
            excluded: self.excluded,
            ..Self::new(self.arm, self.chosen_by.in_0_1())
        }
    }
}

impl Stratum {
    /// Its word; none for the usual one.
    pub(super) fn word(self) -> Option<String> {
        match self {
            Self::Present => None,
            Self::Began(stage) => Some(stage.to_string()),
            Self::Older => Some("older".to_owned()),
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        match word {
            "older" => Some(Self::Older),
            number => Some(Self::Began(number.parse::<u64>().ok()?.try_into().ok()?)),
        }
    }
}

impl Cohort {
    /// Its word; none for the usual one.
    pub(super) const fn word(self) -> Option<&'static str> {
        match self {
            Self::Everyone => None,
            Self::Next => Some("next"),
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        (word == "next").then_some(Self::Next)
    }
}

impl fmt::Display for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.arm.name(), self.chosen_by.name())?;
        if let Some(stratum) = self.stratum.word() {
            write!(f, "/stratum={stratum}")?;
        }
        if let Some(cohort) = self.cohort.word() {
            write!(f, "/cohort={cohort}")?;
        }
        f.write_str(if self.excluded { "/excluded" } else { "" })
    }
}

/// The text is no charge in words that this build knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a charge that this version knows")]
pub struct UnknownCharge;

impl FromStr for Charge {
    type Err = UnknownCharge;

    fn from_str(text: &str) -> Result<Self, UnknownCharge> {
        let mut parts = text.split('/');
        let arm = parts.next().ok_or(UnknownCharge)?;
        let arm = Arm::ALL.into_iter().find(|known| known.name() == arm);
        let chosen_by = parts.next().and_then(ChosenBy::from_name);
        let mut charge = Self::new(arm.ok_or(UnknownCharge)?, chosen_by.ok_or(UnknownCharge)?);
        for part in parts {
            charge.set(part).ok_or(UnknownCharge)?;
        }
        Ok(charge)
    }
}

impl Charge {
    fn set(&mut self, part: &str) -> Option<()> {
        match part.split_once('=') {
            None if part == "excluded" => self.excluded = true,
            Some(("stratum", word)) => self.stratum = Stratum::from_word(word)?,
            Some(("cohort", word)) => self.cohort = Cohort::from_word(word)?,
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_charge() -> impl Strategy<Value = Charge> {
        let stratum = prop_oneof![
            Just(Stratum::Present),
            (0_u64..99).prop_map(|number| Stratum::Began(number.try_into().unwrap())),
            Just(Stratum::Older),
        ];
        let (arm, chosen_by) = (
            prop::sample::select(&Arm::ALL[..]),
            prop::sample::select(&ChosenBy::ALL[..]),
        );
        let cohort = prop::sample::select(&[Cohort::Everyone, Cohort::Next][..]);
        (stratum, arm, chosen_by, any::<bool>(), cohort).prop_map(
            |(stratum, arm, chosen_by, excluded, cohort)| Charge {
                stratum,
                arm,
                chosen_by,
                excluded,
                cohort,
            },
        )
    }

    proptest! {
        #[test]
        fn the_text_of_a_charge_says_all_of_it(charge in any_charge()) {
            prop_assert_eq!(charge.to_string().parse(), Ok(charge));
        }

        #[test]
        fn in_0_1s_words_a_charge_has_the_same_arm_and_no_more_than_three_parts(charge in any_charge()) {
            let old = charge.in_0_1();
            prop_assert_eq!((old.arm, old.excluded), (charge.arm, charge.excluded));
            prop_assert_eq!(old.to_string().split('/').count(), 2 + usize::from(charge.excluded));
        }
    }

    #[test]
    fn a_text_with_one_unknown_word_is_no_charge() {
        for wrong in [
            "",
            "gray",
            "mirror/Split",
            "gray/Lane",
            "gray/Split/",
            "gray/Split/excluded=no",
            "gray/Split/cohort=far",
            "gray/Split/stratum=-1",
            "gray/Split/region=eu",
        ] {
            assert_eq!(wrong.parse::<Charge>(), Err(UnknownCharge), "{wrong}");
        }
    }
}
