//! The GrayRelease as a person writes it, and the status that Halftone writes back.
//!
//! First link of the flow: these types are the CRD (`crate::crd`), what manifests are read into
//! (`crate::manifest`) and what `Plan::try_from` parses. Values are kept as written: a ratio stays
//! "12.5%", a duration "5m". Doc comments here are the descriptions that `kubectl explain` shows.
//! Reading applies the same defaults as the API server does, so both modes see the same object.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use halftone_routing::vocabulary::{
    OnUnavailable, Operator, OperatorLostAction, SameSite, SourceKind, Target, WhenMissing,
};

pub use self::arm::{ArmSpec, HealthCheckSpec, ServiceRef, TimeoutsSpec};
pub use self::condition::{ConditionGroup, MatchCondition};
pub use self::health::{
    HealthSpec, IncludedTraffic, MaxLatencySpec, OnFailure, OnInconclusive, VersusStableSpec,
};
pub use self::identity::{ClientIp, GeneratedCookie, IdentitySource, IdentitySpec, JwtClaim};
pub use self::open_enum::OpenEnum;
pub use self::status::{
    BasisStatus, ControllerStatus, GrayReleaseStatus, HandledRequest, HistoryEntry, LimitStatus,
    ObservedStatus, Phase, ProxiesStatus, ReleaseOutcome, ReleaseStatus, RequestResult,
    RollbackStatus, ServingStatus, StateName, StepStatus, VerdictStatus,
};
pub use self::traffic::{
    DebugSpec, Force, Initial, OnOperatorLostSpec, RuleSpec, ScheduleSpec, StepSpec,
    VersionHeaderSpec, Weekday, WindowSpec,
};
pub use self::verdict::{LimitTotals, Totals, Verdict};
pub use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

mod arm;
mod condition;
mod health;
mod identity;
mod open_enum;
pub(crate) mod pattern;
pub(crate) mod rules;
pub(crate) mod schema;
mod status;
mod traffic;
mod verdict;

/// One gray release of one HTTP service: where the stable and the gray version live, how far to go, by
/// which steps, and what health means.
#[allow(
    clippy::duplicated_attributes,
    reason = "each printer column names its own type"
)]
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "halftone.dev",
    version = "v1alpha1",
    kind = "GrayRelease",
    namespaced,
    doc = "A GrayRelease moves the users of one HTTP service from its stable version to a gray one, step by \
           step, while it watches both; it goes back by itself when the gray version fails.",
    shortname = "gr",
    category = "gray",
    category = "progressive",
    status = "GrayReleaseStatus",
    derive = "PartialEq",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step.display"),
    printcolumn(name = "Ratio", type_ = "string", json_path = ".status.ratio"),
    printcolumn(
        name = "Observed",
        type_ = "string",
        json_path = ".status.observed.ratio"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::validations(&[
    rules::TARGET_WITH_GRAY,
    rules::VERSIONS_DIFFER,
    rules::ARMS_DIFFER,
    rules::FORCE_NEEDS_GRAY,
    rules::COOKIE_DOMAIN_COVERS,
])))]
pub struct GrayReleaseSpec {
    /// The fleet of proxies that serves this release. Immutable.
    #[schemars(length(max = 63), regex(pattern = pattern::LABEL))]
    #[schemars(extend("x-kubernetes-validations" = rules::validations(&[rules::PROXY_CLASS_FIXED])))]
    #[serde(default = "default_proxy_class")]
    pub proxy_class: String,

    /// Hosts whose requests this release takes: a name, `*.name` for one or more labels before the name
    /// (not the name itself), or `*` for any host. Lower case, no port.
    #[schemars(schema_with = "schema::hosts")]
    pub hosts: Vec<String>,

    /// Path prefixes, by segment: `/checkout` takes `/checkout` and `/checkout/pay`, not `/checkout2`.
    /// Default: /, everything.
    #[schemars(schema_with = "schema::paths")]
    #[serde(default = "default_paths")]
    pub paths: Vec<String>,

    /// The version that serves everyone today.
    pub stable: ArmSpec,

    /// The version on its way in. Without it the object is a plain route to stable, which is the way to
    /// adopt Halftone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gray: Option<ArmSpec>,

    /// Who a user is: where a request says so, and what happens when it does not.
    #[serde(default)]
    pub identity: IdentitySpec,

    /// The share of users that gray gets in the end: an integer 0 to 100 (percent) or a string such as
    /// "12.5%" (at most four decimals). Required exactly when `gray` is present; 0 is a release that waits.
    #[schemars(schema_with = "schema::ratio")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ratio: Option<IntOrString>,

    /// The way to the target, with rising ratios. Steps above the target are ignored; one equal to it gives
    /// the target its hold and approval; otherwise the target is added as last step with hold 5m and no
    /// approval. Default: 1, 5, 10, 20, 50 percent and the target, 5m each.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    #[schemars(extend("x-kubernetes-validations" = rules::validations(&[rules::STEPS_RISE])))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<StepSpec>>,

    /// When the ratio may rise. Rolling back never waits. Default: at any time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSpec>,

    /// What health means, and what follows when gray is not healthy.
    #[serde(default)]
    pub health: HealthSpec,

    /// Rules that send some requests to one version before the split is asked. The first match wins.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    #[schemars(extend("x-kubernetes-validations" = rules::validations(&[rules::RULE_NAMES_DIFFER])))]
    #[serde(default)]
    pub rules: Vec<RuleSpec>,

    /// Most bytes that the body of a request may have. A longer one is answered 413 and charged to nobody.
    /// Default: no limit.
    #[schemars(range(min = 1, max = 1_099_511_627_776_i64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<i64>,

    /// What happens to a request whose version has no endpoint: OtherArm lets the other version answer, Fail
    /// answers 503. Either way it is charged to the version that was meant. A gray whose endpoints all fail
    /// the health check, or take no connections, has none; a stable is asked all the same.
    #[serde(default)]
    pub on_unavailable: OnUnavailable,

    /// Lets who sends a secret header see why a request went where it went. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug: Option<DebugSpec>,

    /// Headers that carry the version which was chosen (`version` of the arm).
    #[serde(default)]
    pub version_header: VersionHeaderSpec,

    /// Sends everyone to one version at once, over every rule: None, Stable or Gray. While it is set,
    /// ratio, clock and judge stand still.
    #[serde(default)]
    pub force: Force,

    /// Which version serves everyone when Halftone knows nothing of this release: no status and no routing document, as
    /// after a restore of its namespace from Git. Stable starts the gray version at 0%; Gray says that it was promoted
    /// before. Once the release exists this field changes nothing.
    #[serde(default)]
    pub initial: Initial,

    /// Stops advancing. The release is still judged and may still roll back.
    #[serde(default)]
    pub paused: bool,

    /// What the proxies do on their own when they have not heard from an operator for a while.
    #[serde(default)]
    pub on_operator_lost: OnOperatorLostSpec,
}

fn default_proxy_class() -> String {
    "default".to_owned()
}

fn default_paths() -> Vec<String> {
    vec!["/".to_owned()]
}
