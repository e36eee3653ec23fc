//! The documents between a test and the programs in the cluster, as JSON. Both ends are built together, so there is one
//! type for each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a backend misbehaves. The default is not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendFault {
    /// Share of requests that are answered with `status` instead of 200, in percent. They are spread evenly.
    pub percent: u32,
    /// Status of those answers.
    pub status: u16,
    /// How long every answer is held back, in milliseconds.
    pub delay_ms: u64,
    /// Never answer at all.
    pub hang: bool,
    /// Begin so many milliseconds from now: for when nobody can be told any more.
    pub after_ms: u64,
}

impl BackendFault {
    /// This share of requests, in percent, is answered with this status.
    #[must_use]
    pub fn status(percent: u32, status: u16) -> Self {
        Self {
            percent,
            status,
            ..Self::default()
        }
    }

    /// Every answer comes this late, in milliseconds.
    #[must_use]
    pub fn slow(delay_ms: u64) -> Self {
        Self {
            delay_ms,
            ..Self::default()
        }
    }

    /// No answer ever comes.
    #[must_use]
    pub fn hang() -> Self {
        Self {
            hang: true,
            ..Self::default()
        }
    }
}

/// What a client is to send. It ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadSpec {
    /// Where to connect: an address and a port.
    pub address: String,
    /// Host that the requests are for.
    pub host: String,
    /// Path that they ask for.
    pub path: String,
    /// Requests a second, 1 to [`MOST_RATE`], sent at even distances whatever the answers take.
    pub rate: u32,
    /// Users, who take turns; each is named in X-User-Name.
    pub users: u32,
    /// After how many seconds it ends, 1 to [`MOST_SECONDS`].
    pub seconds: u32,
    /// After how many milliseconds a request counts as failed.
    pub timeout_ms: u64,
}

/// The most requests a second that a client sends.
pub const MOST_RATE: u32 = 2_000;
/// The longest that a client goes on, in seconds.
pub const MOST_SECONDS: u32 = 900;

/// What a client saw since its window was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountWindow {
    /// When it was opened, in milliseconds since 1970.
    pub since_ms: u64,
    /// Whether requests are still being sent.
    pub running: bool,
    /// Requests sent.
    pub sent: u64,
    /// Requests that got no answer, by what went wrong.
    pub unanswered: BTreeMap<String, u64>,
    /// When the last of them was sent, in milliseconds since 1970; 0 without any.
    pub last_unanswered_ms: u64,
    /// Answers by version; "" for those that name none, such as the proxy's own.
    pub versions: BTreeMap<String, VersionCounts>,
    /// Users who got each version, whoever got two counting in both.
    pub users: BTreeMap<String, u64>,
    /// How often a user got another version than at the request before.
    pub switches: u64,
}

/// Answers of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionCounts {
    /// How many.
    pub answers: u64,
    /// By status.
    pub statuses: BTreeMap<u16, u64>,
    /// When the last of them was sent for, in milliseconds since 1970.
    pub last_sent_ms: u64,
}

impl CountWindow {
    /// Answers of a version.
    #[must_use]
    pub fn answers(&self, version: &str) -> u64 {
        self.versions.get(version).map_or(0, |seen| seen.answers)
    }

    /// Requests without an answer, and answers of 500 and above.
    #[must_use]
    pub fn failures(&self) -> u64 {
        let unanswered: u64 = self.unanswered.values().sum();
        let statuses = self.versions.values().flat_map(|seen| &seen.statuses);
        unanswered
            + statuses
                .filter(|(status, _)| **status >= 500)
                .map(|(_, count)| count)
                .sum::<u64>()
    }

    /// Share of users who got a version.
    #[must_use]
    pub fn share_of_users(&self, version: &str) -> f64 {
        let count = |version: &str| {
            f64::from(
                u32::try_from(self.users.get(version).copied().unwrap_or(0)).unwrap_or(u32::MAX),
            )
        };
        let all: f64 = self.users.keys().map(|version| count(version)).sum();
        if all == 0.0 {
            0.0
        } else {
            count(version) / all
        }
    }
}
