//! Conditions as written: what rules and `health.exclude` say about a request.

use halftone_routing::vocabulary::{Operator, SourceKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{rules, schema};

/// Conditions that must all hold. Groups of one list are alternatives.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ConditionGroup {
    /// Conditions that must all hold.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub all: Vec<MatchCondition>,
}

/// One statement about a request.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[schemars(extend("x-kubernetes-validations" = rules::validations(&[
    rules::NAME_BY_SOURCE,
    rules::NAME_IS_TOKEN,
    rules::VALUES_BY_OPERATOR,
    rules::ONE_NUMBER,
    rules::NOT_EMPTY,
])))]
pub struct MatchCondition {
    /// What is looked at: Identity, Header, Cookie, Query, Path, Method, Host or ClientIp.
    pub source: SourceKind,

    /// Which header, cookie or query parameter. Required exactly for Header, Cookie and Query.
    #[schemars(length(min = 1, max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// How it is compared with `values`. Negation is by operator; a missing value satisfies a negated one.
    /// In, Prefix, Suffix, Contains, Regex and InCidr (and their Not forms) hold when one of the values
    /// fits; Gt and Lt compare numbers with the one value; Exists and DoesNotExist take no values.
    pub operator: Operator,

    /// What it is compared with.
    #[schemars(schema_with = "schema::values")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}
