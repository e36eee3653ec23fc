//! What kind of failures gray's errors were, for the sentence of a verdict: whoever reads it should know where to look
//! first. Nothing is decided by it.

use std::collections::{BTreeMap, VecDeque};

use halftone_routing::report::{Counts, Outcome};
use serde::{Deserialize, Serialize};

use super::event_counts::ObservedWindow;

/// The kinds, and what they are called in a list of figures.
const KINDS: [(Outcome, &str); 9] = [
    (Outcome::NoEndpoint, "without an endpoint"),
    (
        Outcome::ConnectFailure,
        "connections refused or not made in time",
    ),
    (Outcome::Reset, "connections reset"),
    (Outcome::ResponseTimeout, "time-outs"),
    (Outcome::ErrorStatus, "error statuses"),
    (Outcome::MalformedResponse, "answers that are not HTTP"),
    (Outcome::BodyBrokenOff, "bodies broken off"),
    (Outcome::BodyIdle, "bodies that stood still"),
    (Outcome::Overload, "over maxInFlight"),
];
/// What an error of another kind is called.
const OTHERS: &str = "others";
/// So many polls are remembered: half a minute. What went on for longer is told by its largest kind.
const POLLS: usize = 64;

/// Errors charged to an arm, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBreakdown {
    /// As in [`KINDS`]; the last place is for all others.
    kinds: [u64; KINDS.len() + 1],
    /// Of the error statuses, how many had which, where the proxies say so.
    statuses: BTreeMap<u16, u64>,
}

impl ErrorBreakdown {
    /// Adds the errors among what was counted.
    pub fn count(&mut self, counts: &Counts) {
        let mut others = counts.errors();
        for (mine, (outcome, _)) in self.kinds.iter_mut().zip(&KINDS) {
            let more = counts.outcomes.get(outcome).copied().unwrap_or_default();
            *mine = mine.saturating_add(more);
            others = others.saturating_sub(more);
        }
        self.kinds[KINDS.len()] = self.kinds[KINDS.len()].saturating_add(others);
        self.add_statuses(&counts.error_statuses);
    }

    fn add_statuses(&mut self, statuses: &BTreeMap<u16, u64>) {
        for (status, more) in statuses {
            let mine = self.statuses.entry(*status).or_default();
            *mine = mine.saturating_add(*more);
        }
    }

    /// Adds others.
    pub fn merge(&mut self, other: &Self) {
        let pairs = self.kinds.iter_mut().zip(&other.kinds);
        pairs.for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
        self.add_statuses(&other.statuses);
    }

    fn total(&self) -> u64 {
        self.kinds
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The kinds that there were, the most frequent first.
    fn listed(&self) -> Vec<(u64, String)> {
        let named = self
            .statuses
            .values()
            .fold(0_u64, |sum, count| sum.saturating_add(*count));
        let kinds = KINDS
            .iter()
            .map(|(outcome, word)| (Some(*outcome), *word))
            .chain([(None, OTHERS)]);
        let kinds = self
            .kinds
            .iter()
            .zip(kinds)
            .map(|(count, (outcome, word))| {
                // What the proxies have told by its status stands below.
                let rest = if outcome == Some(Outcome::ErrorStatus) {
                    count.saturating_sub(named)
                } else {
                    *count
                };
                (rest, word.to_owned())
            });
        let statuses = self
            .statuses
            .iter()
            .map(|(status, count)| (*count, format!("with status {status}")));
        let mut listed: Vec<_> = kinds
            .chain(statuses)
            .filter(|(count, _)| *count > 0)
            .collect();
        listed.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        listed
    }
}

/// Gray's failures of the last polls, the newest last. It never grows beyond what it is made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RecentErrors(VecDeque<(f64, ErrorBreakdown)>);

impl Default for RecentErrors {
    fn default() -> Self {
        Self(VecDeque::with_capacity(POLLS))
    }
}

impl RecentErrors {
    /// Notes what one poll has brought.
    pub(super) fn note(&mut self, seconds: f64, faults: &ErrorBreakdown) {
        if self.0.len() == POLLS {
            self.0.pop_front();
        }
        // JSON has no infinity, and what is written down has to be readable again.
        let seconds = if seconds.is_finite() {
            seconds
        } else {
            f64::MAX
        };
        self.0.push_back((seconds, faults.clone()));
    }

    /// The kinds of the bad events of a window, in brackets: with their figures where all of them are remembered. Nothing
    /// where no kind is known.
    pub(super) fn tell(&self, window: ObservedWindow) -> String {
        let (mut seconds, mut faults) = (0.0, ErrorBreakdown::default());
        for (took, more) in self.0.iter().rev() {
            faults.merge(more);
            seconds += took;
            // A window ends with the newest poll and begins with one; sums of seconds differ by their rounding.
            if window.seconds > 0.0 && seconds > window.seconds - 1e-6 {
                break;
            }
        }
        let listed = faults.listed();
        match listed.first() {
            None => String::new(),
            Some(_) if faults.total() == window.gray.bad => {
                let parts: Vec<String> = listed
                    .iter()
                    .map(|(count, word)| format!("{count} {word}"))
                    .collect();
                format!(" ({})", parts.join(", "))
            }
            Some((_, word)) => format!(" (mostly {word})"),
        }
    }
}
