//! Rules and conditions as the document carries them: who goes to which arm before the split, and which requests
//! are counted but not judged.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::vocabulary::{Operator, SourceKind, Target};

use super::{
    arm::Arm,
    names::{QueryName, Token},
    units::InvalidValue,
};

/// One rule; the first that matches wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// What it is called; no two rules of a release share a name.
    pub name: RuleName,
    /// Where its requests go.
    pub to: Target,
    /// Whether a rule to gray still holds after a rollback.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_on_rollback: bool,
    /// Any of these; at most 16.
    pub when: Vec<AllOf>,
}

super::units::text!(
    /// What a rule is called, also in counters and headers: 1 to 63 letters, digits and `-_.`.
    RuleName,
    |text| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=63).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(text.into())
        } else {
            Err("is no name of a rule; it has 1 to 63 letters, digits and -_.".into())
        }
    }
);

impl Target {
    /// The arm that is meant.
    pub const fn arm(self) -> Arm {
        match self {
            Self::Stable => Arm::Stable,
            Self::Gray => Arm::Gray,
        }
    }
}

/// Conditions that hold together; 1 to 16.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AllOfDocument", into = "AllOfDocument")]
pub struct AllOf(Vec<MatchCondition>);

impl AllOf {
    /// The conditions.
    pub fn conditions(&self) -> &[MatchCondition] {
        &self.0
    }
}

impl TryFrom<Vec<MatchCondition>> for AllOf {
    type Error = InvalidValue;

    fn try_from(conditions: Vec<MatchCondition>) -> Result<Self, InvalidValue> {
        match conditions.len() {
            1..=16 => Ok(Self(conditions)),
            0 => Err(InvalidValue::new(
                "all is empty, which would match every request; write 1 to 16 conditions",
            )),
            many => Err(InvalidValue::new(format!(
                "all has {many} conditions; write 1 to 16"
            ))),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct AllOfDocument {
    all: Vec<MatchCondition>,
}

impl TryFrom<AllOfDocument> for AllOf {
    type Error = InvalidValue;

    fn try_from(document: AllOfDocument) -> Result<Self, InvalidValue> {
        Self::try_from(document.all)
    }
}

impl From<AllOf> for AllOfDocument {
    fn from(all: AllOf) -> Self {
        Self { all: all.0 }
    }
}

/// One comparison of one part of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ConditionDocument", into = "ConditionDocument")]
pub struct MatchCondition {
    /// What is compared.
    source: Source,
    /// How.
    operator: Operator,
    /// With what: one suffices, or none may hold for a negated operator.
    values: Vec<String>,
}

impl MatchCondition {
    /// The most values of one condition.
    pub const MOST_VALUES: usize = 256;

    /// A condition whose number and form of values suit the operator. That a regular expression compiles is
    /// checked when the release is compiled.
    ///
    /// # Errors
    /// Values where none belong, none where they do, or ones that are no number or network.
    pub fn new(
        source: Source,
        operator: Operator,
        values: Vec<String>,
    ) -> Result<Self, InvalidValue> {
        check(operator, &values)?;
        Ok(Self {
            source,
            operator,
            values,
        })
    }

    /// What is compared.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// How it is compared.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// With what it is compared.
    pub fn values(&self) -> &[String] {
        &self.values
    }
}

/// A part of the request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// What the split would use.
    Identity,
    /// Each value of a header field.
    Header(Token),
    /// Each value of a cookie.
    Cookie(Token),
    /// Each value of a query parameter, decoded.
    Query(QueryName),
    /// The path in normal form.
    Path,
    /// The method.
    Method,
    /// The host in normal form.
    Host,
    /// The client's address.
    ClientIp,
}

/// Whether values suit an operator in number and form.
fn check(operator: Operator, values: &[String]) -> Result<(), InvalidValue> {
    let refuse = |why: String| Err(InvalidValue::new(format!("operator {operator:?} {why}")));
    match operator {
        Operator::Exists | Operator::DoesNotExist if values.is_empty() => return Ok(()),
        Operator::Exists | Operator::DoesNotExist => {
            return refuse("takes no values; remove them".into());
        }
        Operator::Gt | Operator::Lt if values.len() != 1 => {
            return refuse(format!("takes exactly one value, not {}", values.len()));
        }
        _ if values.is_empty() || values.len() > MatchCondition::MOST_VALUES => {
            return refuse(format!(
                "has {} values; write 1 to {}",
                values.len(),
                MatchCondition::MOST_VALUES
            ));
        }
        _ => {}
    }
    for (at, value) in values.iter().enumerate() {
        let shown = value.escape_debug();
        if value.len() > 1024 {
            return refuse(format!(
                "has a value of {} bytes; at most 1024",
                value.len()
            ));
        }
        if values[..at].contains(value) {
            return refuse(format!("has \"{shown}\" twice; list each value once"));
        }
        match operator {
            Operator::Gt | Operator::Lt if !value.parse::<f64>().is_ok_and(f64::is_finite) => {
                return refuse(format!("compares numbers, and \"{shown}\" is none"));
            }
            Operator::InCidr | Operator::NotInCidr => {
                if let Err(why) = super::network(value) {
                    return refuse(why.to_string());
                }
            }
            Operator::Prefix
            | Operator::NotPrefix
            | Operator::Suffix
            | Operator::NotSuffix
            | Operator::Contains
            | Operator::NotContains
                if value.is_empty() =>
            {
                return refuse("has an empty value, which every text satisfies; remove it".into());
            }
            _ => {}
        }
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct ConditionDocument {
    source: SourceKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    operator: Operator,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
}

impl TryFrom<ConditionDocument> for MatchCondition {
    type Error = InvalidValue;

    fn try_from(document: ConditionDocument) -> Result<Self, InvalidValue> {
        let ConditionDocument {
            source,
            name,
            operator,
            values,
        } = document;
        let source = match (source, name) {
            (SourceKind::Header, Some(name)) => Source::Header(name.parse()?),
            (SourceKind::Cookie, Some(name)) => Source::Cookie(name.parse()?),
            (SourceKind::Query, Some(name)) => Source::Query(name.parse()?),
            (word @ (SourceKind::Header | SourceKind::Cookie | SourceKind::Query), None) => {
                return Err(InvalidValue::new(format!(
                    "source {word:?} needs a name; add it"
                )));
            }
            (word, Some(_)) => {
                return Err(InvalidValue::new(format!(
                    "source {word:?} takes no name; remove it"
                )));
            }
            (SourceKind::Identity, None) => Source::Identity,
            (SourceKind::Path, None) => Source::Path,
            (SourceKind::Method, None) => Source::Method,
            (SourceKind::Host, None) => Source::Host,
            (SourceKind::ClientIp, None) => Source::ClientIp,
        };
        Self::new(source, operator, values)
    }
}

impl From<MatchCondition> for ConditionDocument {
    fn from(condition: MatchCondition) -> Self {
        let (source, name) = match condition.source {
            Source::Identity => (SourceKind::Identity, None),
            Source::Header(name) => (SourceKind::Header, Some(name.into())),
            Source::Cookie(name) => (SourceKind::Cookie, Some(name.into())),
            Source::Query(name) => (SourceKind::Query, Some(name.into())),
            Source::Path => (SourceKind::Path, None),
            Source::Method => (SourceKind::Method, None),
            Source::Host => (SourceKind::Host, None),
            Source::ClientIp => (SourceKind::ClientIp, None),
        };
        Self {
            source,
            name,
            operator: condition.operator,
            values: condition.values,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("Identity"),
            Self::Header(name) => write!(f, "Header {name}"),
            Self::Cookie(name) => write!(f, "Cookie {name}"),
            Self::Query(name) => write!(f, "Query {name}"),
            Self::Path => f.write_str("Path"),
            Self::Method => f.write_str("Method"),
            Self::Host => f.write_str("Host"),
            Self::ClientIp => f.write_str("ClientIp"),
        }
    }
}
