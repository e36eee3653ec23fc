//! Steps, schedule, rules and the switches that move traffic, as written.

use halftone_routing::vocabulary::{OperatorLostAction, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConditionGroup, IntOrString, pattern, schema};

/// One ratio and how long it is held.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StepSpec {
    /// The share of users that gray gets: an integer 0 to 100 (percent) or a string such as "12.5%".
    #[schemars(schema_with = "schema::ratio")]
    pub ratio: IntOrString,

    /// How long the ratio is held before the next step.
    #[schemars(schema_with = "schema::duration")]
    #[serde(default = "default_hold")]
    pub hold: String,

    /// After the hold, wait for a person (`halftone approve`).
    #[serde(default)]
    pub approval: bool,
}

fn default_hold() -> String {
    "5m".to_owned()
}

/// When the ratio may rise.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleSpec {
    /// A name of the IANA time zone database, such as Asia/Shanghai or UTC.
    #[schemars(length(max = 64), regex(pattern = pattern::TIME_ZONE))]
    pub time_zone: String,

    /// The ratio may rise inside any of these. Without one it never rises.
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub windows: Vec<WindowSpec>,
}

/// Hours of some days of the week.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WindowSpec {
    /// The days on which the window opens. Default: every day.
    #[schemars(length(min = 1, max = 7), extend("x-kubernetes-list-type" = "set"))]
    #[serde(default = "every_day")]
    pub days: Vec<Weekday>,

    /// The time at which it opens, HH:MM, 00:00 to 23:59.
    #[schemars(length(max = 5), regex(pattern = pattern::TIME_OF_DAY))]
    pub from: String,

    /// The time at which it closes, HH:MM. Not later than `from`: on the next day.
    #[schemars(length(max = 5), regex(pattern = pattern::TIME_OF_DAY))]
    pub to: String,
}

fn every_day() -> Vec<Weekday> {
    use Weekday::{Fri, Mon, Sat, Sun, Thu, Tue, Wed};
    vec![Mon, Tue, Wed, Thu, Fri, Sat, Sun]
}

/// A day of the week.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// Sends the requests that it matches to one version.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RuleSpec {
    /// The name of the rule: letters, digits and -_., different within one release.
    #[schemars(length(max = 63), regex(pattern = pattern::RULE_NAME))]
    pub name: String,

    /// The version that answers: Gray or Stable.
    pub to: Target,

    /// After a rollback, rules to gray are off; true leaves this one on.
    #[serde(default)]
    pub keep_on_rollback: bool,

    /// The rule matches when one of these groups does.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub when: Vec<ConditionGroup>,
}

/// Who sends this header with this value gets `X-Halftone-Reason` back.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DebugSpec {
    /// The name of the request header.
    #[schemars(schema_with = "schema::token")]
    #[serde(default = "default_debug_header")]
    pub header: String,

    /// The secret value.
    #[schemars(length(max = 256), regex(pattern = pattern::FIELD_TEXT))]
    pub value: String,
}

fn default_debug_header() -> String {
    "X-Halftone-Debug".to_owned()
}

/// Headers that carry the version which was chosen.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct VersionHeaderSpec {
    /// Set on the request to the version.
    #[schemars(schema_with = "schema::own_header")]
    pub request: String,

    /// Set on the answer to the client.
    #[schemars(schema_with = "schema::own_header")]
    pub response: String,
}

impl Default for VersionHeaderSpec {
    fn default() -> Self {
        Self {
            request: "X-Halftone-Version".into(),
            response: "X-Halftone-Version".into(),
        }
    }
}

/// Who serves everyone where nothing is known.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initial {
    /// The stable version; the gray one begins at ratio 0.
    #[default]
    Stable,
    /// The gray version, promoted before.
    Gray,
}

/// Everyone to one version, at once.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Force {
    /// Nobody is forced.
    #[default]
    None,
    /// Everyone to stable.
    Stable,
    /// Everyone to gray.
    Gray,
}

/// What the proxies do on their own when they have not heard from an operator for a while.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct OnOperatorLostSpec {
    /// Hold keeps the ratio; Stable sends everyone to stable if the release is moving.
    pub action: OperatorLostAction,

    /// After so long without an operator.
    #[schemars(schema_with = "schema::operator_lost_after")]
    pub after: String,
}

impl Default for OnOperatorLostSpec {
    fn default() -> Self {
        Self {
            action: OperatorLostAction::default(),
            after: "10m".into(),
        }
    }
}
