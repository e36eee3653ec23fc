//! The traffic report: what happened to each request since a proxy started, and which documents it runs. The
//! contract back: proxies write it (`GET /report`), whoever decides the release reads it through a
//! [`ReportReader`](reader::ReportReader) per proxy.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::document::{Checksum, names::Uid, units::Revision};

pub mod baseline;
mod charge;
mod counts;
pub mod documents;
mod key;
mod outcome;
pub mod reader;

pub use charge::{Charge, ChosenBy, Cohort, Stratum, UnknownCharge};
pub use counts::{Counts, LimitEvents};
pub use key::{CounterKey, ReportEntry, ReportedCharge};
pub use outcome::{Fault, Outcome};

/// The largest report that is read. A proxy with 10 000 releases under way stays far below.
pub const MAX_BYTES: usize = 64 << 20;

/// What one proxy has to say.
///
/// Counts are sums since `epoch` began, never differences, so that a lost answer loses nothing. With `since`, entries
/// that have not changed after that sequence are left out. In form 1 `keys` and the lists of documents are complete all
/// the same; in form 2 there are no `keys`, and the lists hold what has changed and name what has gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficReport {
    /// The proxy: its pod's UID, elsewhere a name of its own.
    pub instance: String,
    /// New at each start of the proxy.
    pub epoch: Epoch,
    /// Rises with every report that differs from the one before.
    pub sequence: u64,
    /// The sequence after which entries changed; absent in a full report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// The proxy's version.
    pub version: String,
    /// The features that it knows and a document may require.
    #[serde(default)]
    pub features: Vec<String>,
    /// It started from its saved state and has not yet heard what exists now.
    #[serde(default)]
    pub stale: bool,
    /// When an operator last asked for a report with the fleet's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_last_heard: Option<Timestamp>,
    /// Most places for client connections are taken: from 90 % of `--max-connections` on, until below 80 %.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub crowded: bool,
    /// The documents that decide requests now; in form 2 those that changed after `since`.
    #[serde(default)]
    pub applied: Vec<AppliedDocument>,
    /// Whose documents decide no requests any more, after `since`. Form 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Uid>,
    /// The fleet's settings that are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<AppliedFleet>,
    /// What was refused and why; what it was to replace goes on. In form 2 only the sources of which that changed after
    /// `since`.
    #[serde(default)]
    pub rejected: Vec<RejectedDocument>,
    /// Sources of which nothing is refused any more, after `since`. Form 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolved: Vec<String>,
    /// Releases that still route although their document vanished without `Withdrawn`.
    #[serde(default)]
    pub orphaned: Vec<Uid>,
    /// Every key that is counted at present. Form 1, which it tells from form 2.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "key::read_keys"
    )]
    pub keys: Option<Vec<CounterKey>>,
    /// Keys that are counted no more, after `since`, in the order in which they went, each with its last counts unless
    /// these were in the report of that sequence. One may be in `entries` as well: it counts from zero again. Form 2.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "key::read_entries"
    )]
    pub removed: Vec<ReportEntry>,
    /// The counts.
    #[serde(default, deserialize_with = "key::read_entries")]
    pub entries: Vec<ReportEntry>,
}

/// The newest form of a report that a reader understands, which it says with `?reads=N`.
///
/// From form 2 on readers keep words that they do not know, so that new ones may appear. A new part of [`Charge`] does
/// need a form of its own: a reader that does not see it would find one key twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReportForm {
    /// 0.1's, for who does not say: no word that 0.1 does not know.
    #[default]
    One,
    /// Every word and every part of a charge that this build has, and since another report only what has changed.
    Two,
}

impl std::str::FromStr for ReportForm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u32>() {
            Ok(1) => Ok(Self::One),
            // A newer reader reads older forms, too.
            Ok(2..) => Ok(Self::Two),
            _ => Err(format!(
                "reads \"{}\" names no form; write reads=2",
                text.escape_debug()
            )),
        }
    }
}

/// Names one run of a proxy process: random 64 bits, 16 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Epoch(pub u64);

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for Epoch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        bits.map(Self).ok_or_else(|| {
            format!(
                "\"{}\" is no epoch; it has 16 hex digits",
                text.escape_debug()
            )
        })
    }
}

impl TryFrom<String> for Epoch {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Epoch> for String {
    fn from(epoch: Epoch) -> Self {
        epoch.to_string()
    }
}

/// A document that decides requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedDocument {
    /// Whose.
    pub uid: Uid,
    /// Which.
    pub revision: Revision,
    /// Its content.
    pub checksum: Checksum,
    /// Optional fields that this build does not know and passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_fields: Vec<String>,
    /// Gray's tunnels and answers older than 10 s that go on after nobody should be on gray.
    #[serde(default)]
    pub open_long: u64,
}

/// The fleet's settings that are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedFleet {
    /// Which.
    pub revision: Revision,
    /// Its content.
    pub checksum: Checksum,
}

/// A document that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedDocument {
    /// Where it came from: a file's name or a ConfigMap's.
    pub source: String,
    /// Whose, where that could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// Which, where that could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Its content, where that could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// A stable CamelCase word.
    pub reason: String,
    /// What is wrong, where, and what to do.
    pub message: String,
}

/// Why a report could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Longer than [`MAX_BYTES`].
    #[error("the report has {0} bytes; at most {MAX_BYTES} are read")]
    TooLong(usize),
    /// No report.
    #[error("not a traffic report: {0}")]
    Malformed(#[from] serde_json::Error),
    /// One key twice: it would be counted twice.
    #[error("the report lists the counts of one key twice: {} in stage {} of {}", .0.charge, .0.stage, .0.uid)]
    Duplicate(Box<CounterKey>),
}

impl TrafficReport {
    /// Reads a report as a proxy of this or another minor version writes it. Nothing that a newer one adds costs the
    /// report: fields and arms that this build does not know are passed over; outcomes and charges in words that it does
    /// not know are kept as requests that are charged to nobody.
    ///
    /// # Errors
    /// Says what is wrong and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() > MAX_BYTES {
            return Err(ReportError::TooLong(bytes.len()));
        }
        let report: Self = serde_json::from_slice(bytes)?;
        let mut seen = std::collections::HashSet::new();
        match report.entries.iter().find(|entry| !seen.insert(&entry.key)) {
            Some(twice) => Err(ReportError::Duplicate(Box::new(twice.key.clone()))),
            None => Ok(report),
        }
    }

    /// The form that it is in.
    pub fn form(&self) -> ReportForm {
        match self.keys {
            Some(_) => ReportForm::One,
            None => ReportForm::Two,
        }
    }

    /// Whether `applied` and `rejected` are complete.
    pub fn lists_all_documents(&self) -> bool {
        self.since.is_none() || self.form() == ReportForm::One
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::baseline::Baseline;
    use super::*;
    use crate::document::arm::Arm;
    use crate::document::limits::Quantile;

    /// As a proxy of 0.1.0 answered.
    const RECORDED: &str = include_str!("report/recorded-0.1.json");

    fn recorded() -> Value {
        serde_json::from_str(RECORDED).unwrap()
    }

    fn parsed(report: &Value) -> TrafficReport {
        TrafficReport::parse(report.to_string().as_bytes()).unwrap()
    }

    fn of(report: &TrafficReport, arm: Arm, chosen_by: ChosenBy) -> Counts {
        let entry = report
            .entries
            .iter()
            .find(|entry| entry.key.charge == Charge::new(arm, chosen_by).into());
        entry.unwrap().counts.clone()
    }

    #[test]
    fn a_report_that_a_proxy_of_0_1_wrote_is_read_word_for_word() {
        let report = TrafficReport::parse(RECORDED.as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(&report).unwrap(), recorded());
        let stable = of(&report, Arm::Stable, ChosenBy::Split);
        assert_eq!(
            (stable.requests(), stable.errors(), stable.client_errors()),
            (68, 23, 11)
        );
        assert_eq!(stable.limits[&Quantile::P99].within, 67);
        assert_eq!(of(&report, Arm::Gray, ChosenBy::Rule).requests(), 1);
    }

    /// The recorded report as a proxy of some later version might write it.
    fn from_the_future() -> Value {
        let mut report = recorded();
        report["weather"] = json!({"clouds": [1, 2]});
        report["applied"][0]["mood"] = json!("fine");
        let stable = &mut report["entries"][0];
        stable["outcomes"]["refused451"] = json!(5);
        stable["outcomes"]["teapot"] = json!(2);
        stable["limits"]["p75"] = json!({"within": 4, "over": 0});
        stable["charges"] = json!({"someone": 3});
        for (arm, chosen_by) in [("gray", "Lane"), ("gray", "Gate"), ("mirror", "Split")] {
            let (mut key, mut entry) = (report["keys"][1].clone(), report["entries"][1].clone());
            for place in [&mut key, &mut entry] {
                (place["arm"], place["chosenBy"]) = (json!(arm), json!(chosen_by));
            }
            report["keys"].as_array_mut().unwrap().push(key);
            report["entries"].as_array_mut().unwrap().push(entry);
        }
        report
    }

    fn unknown(words: &str) -> ReportedCharge {
        ReportedCharge::Unknown {
            arm: Arm::Gray,
            words: words.into(),
        }
    }

    #[test]
    fn strata_and_cohorts_are_kept_apart_and_one_in_an_unknown_word_is_charged_to_nobody() {
        let mut report = recorded();
        report.as_object_mut().unwrap().remove("keys");
        let entry = report["entries"][1].clone();
        for (stratum, cohort) in [
            ("2", "next"),
            ("older", "next"),
            ("2", "far"),
            ("ice", "next"),
        ] {
            let mut other = entry.clone();
            (other["stratum"], other["cohort"]) = (json!(stratum), json!(cohort));
            report["entries"].as_array_mut().unwrap().push(other);
        }
        let read = parsed(&report);
        let charges: Vec<_> = read.entries.iter().map(|entry| &entry.key.charge).collect();
        let texts: Vec<_> = charges.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts[3..],
            [
                "gray/Split/stratum=2/cohort=next",
                "gray/Split/stratum=older/cohort=next",
                "gray/Split/stratum=2/cohort=far",
                "gray/Split/stratum=ice/cohort=next",
            ]
        );
        let known: Vec<_> = charges
            .iter()
            .map(|charge| charge.known().is_some())
            .collect();
        assert_eq!(known, [true, true, true, true, true, false, false]);
        let judged = |entry: &ReportEntry| entry.counts.charged() > 0;
        assert_eq!(read.entries.iter().map(judged).collect::<Vec<_>>(), known);
        let written = serde_json::to_value(&read.entries[3]).unwrap();
        assert_eq!(
            written, report["entries"][3],
            "and written as they were read"
        );
    }

    #[test]
    fn words_of_a_newer_proxy_cost_nothing_and_are_charged_to_nobody() {
        let (before, after) = (parsed(&recorded()), parsed(&from_the_future()));
        let (old, new) = (
            of(&before, Arm::Stable, ChosenBy::Split),
            of(&after, Arm::Stable, ChosenBy::Split),
        );
        assert_eq!(new.requests(), old.requests() + 7);
        assert_eq!((new.charged(), new.errors()), (old.charged(), old.errors()));
        assert_eq!(new.limits, old.limits);
        assert_eq!(
            of(&after, Arm::Gray, ChosenBy::Split),
            of(&before, Arm::Gray, ChosenBy::Split)
        );
        let gray = of(&before, Arm::Gray, ChosenBy::Split);
        for word in ["Lane", "Gate"] {
            let unknown = unknown(word);
            let counts = &after
                .entries
                .iter()
                .find(|entry| entry.key.charge == unknown)
                .unwrap()
                .counts;
            assert_eq!(
                (counts.requests(), counts.charged(), counts.errors()),
                (gray.requests(), 0, 0)
            );
        }
        assert_eq!(
            (after.keys.unwrap().len(), after.entries.len()),
            (5, 5),
            "no arm called mirror"
        );
    }

    #[test]
    fn what_a_newer_proxy_counts_in_words_of_its_own_is_counted_once() {
        let mut report = from_the_future();
        let mut baseline = Baseline::new();
        baseline.take(&parsed(&report));
        report["sequence"] = json!(report["sequence"].as_u64().unwrap() + 1);
        report["entries"][0]["outcomes"]["teapot"] = json!(6);
        report["entries"][4]["outcomes"]["2xx"] = json!(10);
        let delta = baseline.take(&parsed(&report));
        let mut added: Vec<_> = delta
            .iter()
            .map(|(key, counts)| (&key.charge, counts.requests()))
            .collect();
        added.sort();
        assert_eq!(
            added,
            [
                (&Charge::new(Arm::Stable, ChosenBy::Split).into(), 4),
                (&unknown("Gate"), 1)
            ]
        );
    }

    #[test]
    fn who_names_a_newer_form_gets_the_newest_that_there_is() {
        for (text, reads) in [
            ("1", ReportForm::One),
            ("2", ReportForm::Two),
            ("17", ReportForm::Two),
        ] {
            assert_eq!(text.parse(), Ok(reads));
        }
        for wrong in ["", "0", "-1", "two", "2.0"] {
            assert!(
                wrong.parse::<ReportForm>().unwrap_err().contains("reads=2"),
                "{wrong}"
            );
        }
    }
}
