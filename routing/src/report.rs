//! The traffic report: what happened to each request since a proxy started, and which documents it runs. The
//! contract back: proxies write it (`GET /report`), whoever decides the release reads it through a
//! [`Baseline`](baseline::Baseline) per proxy.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{
    Checksum,
    arm::Arm,
    limits::Quantile,
    names::Uid,
    units::{ReleaseId, Revision, Stage},
};
use crate::histogram::Histogram;

pub mod baseline;

/// The largest report that is read. A proxy with 10 000 releases under way stays far below.
pub const MAX_BYTES: usize = 64 << 20;

/// What one proxy has to say.
///
/// Counts are sums since `epoch` began, never differences, so that a lost answer loses nothing. With `since`, entries
/// that have not changed after that sequence are left out; `keys` still lists every live one, so that a key missing
/// there was removed.
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
    /// The documents that decide requests now.
    #[serde(default)]
    pub applied: Vec<AppliedDocument>,
    /// The fleet's settings that are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<AppliedFleet>,
    /// What was refused and why; what it was to replace goes on.
    #[serde(default)]
    pub rejected: Vec<RejectedDocument>,
    /// Releases that still route although their document vanished without `Withdrawn`.
    #[serde(default)]
    pub orphaned: Vec<Uid>,
    /// Every key that is counted at present.
    #[serde(default)]
    pub keys: Vec<CounterKey>,
    /// The counts.
    #[serde(default)]
    pub entries: Vec<Entry>,
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
        bits.map(Self).ok_or_else(|| format!("\"{}\" is no epoch; it has 16 hex digits", text.escape_debug()))
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

/// What decided the arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// All, in the order of their numbers.
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
}

/// What counts belong to. A request is counted under the stage that decided it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    pub chosen_by: ChosenBy,
    /// Matched by `health.exclude`: counted, not judged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub excluded: bool,
}

/// The counts of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Of what.
    #[serde(flatten)]
    pub key: CounterKey,
    /// How many.
    #[serde(flatten)]
    pub counts: Counts,
}

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident $word:literal $charge:ident,)*) => {
        /// How a request ended; exactly one for each, when it is known.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Outcome {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Outcome {
            /// All, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in reports, metrics and logs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Who answers for it.
            pub const fn charge(self) -> Charge {
                match self { $(Self::$name => Charge::$charge,)* }
            }
        }
    };
}

/// Who answers for an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// The arm answered, and it is no error.
    Answer,
    /// An error of the arm.
    Error,
    /// Neither: the client, the request itself or this proxy. Counted and never judged.
    Nobody,
}

outcomes! {
    /// 2xx, and 101.
    Status2xx "2xx" Answer,
    /// 3xx.
    Status3xx "3xx" Answer,
    /// 4xx without 429: a client error.
    Status4xx "4xx" Answer,
    /// 429.
    Status429 "429" Answer,
    /// 5xx that is none of the release's `errorStatuses`.
    Status5xx "5xx" Answer,
    /// One of the release's `errorStatuses`.
    ErrorStatus "errorStatus" Error,
    /// No connection could be made, further tries included.
    ConnectFailure "connectFailure" Error,
    /// No response head in time.
    ResponseTimeout "responseTimeout" Error,
    /// The connection was lost before the response head was complete.
    Reset "reset" Error,
    /// The response was not HTTP.
    MalformedResponse "malformedResponse" Error,
    /// The response's body broke off.
    BodyBrokenOff "bodyBrokenOff" Error,
    /// The response's body stood still for too long.
    BodyIdle "bodyIdle" Error,
    /// `maxInFlight` was reached.
    Overload "overload" Error,
    /// The arm had no endpoint at all.
    NoEndpoint "noEndpoint" Error,
    /// The client left before the response head, after a wait that stable's clients hardly ever have.
    Abandoned "abandoned" Error,
    /// The client left otherwise.
    ClientAbort "clientAbort" Nobody,
    /// The client was too slow.
    ClientTimeout "clientTimeout" Nobody,
    /// Refused by the proxy with 400.
    Refused400 "refused400" Nobody,
    /// Refused by the proxy with 403, or another `rejectStatus`.
    Refused403 "refused403" Nobody,
    /// Refused by the proxy with 404.
    Refused404 "refused404" Nobody,
    /// Refused by the proxy with 405.
    Refused405 "refused405" Nobody,
    /// Refused by the proxy with 408.
    Refused408 "refused408" Nobody,
    /// Refused by the proxy with 414.
    Refused414 "refused414" Nobody,
    /// Refused by the proxy with 417.
    Refused417 "refused417" Nobody,
    /// Refused by the proxy with 431.
    Refused431 "refused431" Nobody,
    /// This proxy ran out of descriptors, ports or memory.
    OwnFault "ownFault" Nobody,
    /// Cut by this proxy's shutdown.
    Shutdown "shutdown" Nobody,
}

/// What was counted under one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// Requests by how they ended. Their sum is the number of requests; it is never stored beside them, so no part
    /// can exceed the whole.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Further tries of requests on the same arm.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u64,
    /// Requests that the other arm answered, since this one had no endpoint.
    #[serde(skip_serializing_if = "is_zero")]
    pub fallbacks: u64,
    /// From a request's last byte to the first byte of the final response head.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub latency: Histogram,
    /// Of each absolute latency limit: one event per request that lived until then.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<Quantile, LimitEvents>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The events of one latency limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitEvents {
    /// The head arrived in time.
    pub within: u64,
    /// The limit passed first.
    pub over: u64,
}

impl Counts {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.sum(|_| true)
    }

    /// Requests that the arm answered or is charged with: what error rates are shares of.
    pub fn charged(&self) -> u64 {
        self.sum(|outcome| outcome.charge() != Charge::Nobody)
    }

    /// Errors charged to the arm.
    pub fn errors(&self) -> u64 {
        self.sum(|outcome| outcome.charge() == Charge::Error)
    }

    /// Client errors: 4xx without 429 and without `errorStatuses`.
    pub fn client_errors(&self) -> u64 {
        self.sum(|outcome| outcome == Outcome::Status4xx)
    }

    fn sum(&self, which: impl Fn(Outcome) -> bool) -> u64 {
        let counts = self.outcomes.iter().filter(|(outcome, _)| which(**outcome));
        counts.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Adds what another proxy or key counted.
    pub fn merge(&mut self, other: &Self) {
        for (&outcome, &count) in &other.outcomes {
            add(self.outcomes.entry(outcome).or_default(), count);
        }
        for (&limit, events) in &other.limits {
            let mine = self.limits.entry(limit).or_default();
            add(&mut mine.within, events.within);
            add(&mut mine.over, events.over);
        }
        add(&mut self.retries, other.retries);
        add(&mut self.fallbacks, other.fallbacks);
        self.latency.merge(&other.latency);
    }

    /// What these have more than an earlier reading of the same counters.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let outcomes = self.outcomes.iter().filter_map(|(&outcome, &count)| {
            let more = count.saturating_sub(earlier.outcomes.get(&outcome).copied().unwrap_or(0));
            (more > 0).then_some((outcome, more))
        });
        let limits = self.limits.iter().filter_map(|(&limit, events)| {
            let before = earlier.limits.get(&limit).copied().unwrap_or_default();
            let more = LimitEvents {
                within: events.within.saturating_sub(before.within),
                over: events.over.saturating_sub(before.over),
            };
            (more != LimitEvents::default()).then_some((limit, more))
        });
        Self {
            outcomes: outcomes.collect(),
            retries: self.retries.saturating_sub(earlier.retries),
            fallbacks: self.fallbacks.saturating_sub(earlier.fallbacks),
            latency: self.latency.since(&earlier.latency),
            limits: limits.collect(),
        }
    }
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
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
    #[error("the report lists the counts of one key twice: stage {} of {}", .0.stage, .0.uid)]
    Duplicate(Box<CounterKey>),
}

impl TrafficReport {
    /// Reads a report as a proxy of this or the next minor version writes it; fields it does not know are passed over.
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
}
