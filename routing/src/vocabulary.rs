//! The words that a GrayRelease and its routing document share: each has one type here, which the spec (`api`) writes
//! into the CRD and the document (`crate::document`) carries to the proxies unchanged.

use serde::{Deserialize, Serialize};

/// What a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum SourceKind {
    /// The string that stands for the user, as the split uses it.
    Identity,
    /// A request header, by name.
    Header,
    /// A cookie, by name.
    Cookie,
    /// A query parameter, by name, percent-decoded.
    Query,
    /// The path in normal form, without the query.
    Path,
    /// The method, such as GET.
    Method,
    /// The host, in lower case, without port.
    Host,
    /// The address of the client, seen through trusted proxies.
    ClientIp,
}

/// How a condition compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum Operator {
    /// Equal to one of the values.
    In,
    /// Equal to none of the values, or missing.
    NotIn,
    /// Present.
    Exists,
    /// Missing.
    DoesNotExist,
    /// Begins with one of the values.
    Prefix,
    /// Begins with none of the values, or missing.
    NotPrefix,
    /// Ends with one of the values.
    Suffix,
    /// Ends with none of the values, or missing.
    NotSuffix,
    /// Contains one of the values.
    Contains,
    /// Contains none of the values, or missing.
    NotContains,
    /// Matches one of the regular expressions.
    Regex,
    /// Matches none of the regular expressions, or missing.
    NotRegex,
    /// A number greater than the value.
    Gt,
    /// A number less than the value.
    Lt,
    /// An address within one of the networks.
    InCidr,
    /// An address within none of the networks, or missing.
    NotInCidr,
}

impl Operator {
    /// Whether it holds exactly where another one does not, a missing value included.
    pub const fn is_negated(self) -> bool {
        use Operator::{
            DoesNotExist, NotContains, NotIn, NotInCidr, NotPrefix, NotRegex, NotSuffix,
        };
        matches!(
            self,
            NotIn | DoesNotExist | NotPrefix | NotSuffix | NotContains | NotRegex | NotInCidr
        )
    }
}

/// The version that a rule sends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum Target {
    /// The gray version.
    Gray,
    /// The stable version (gray, once the release is promoted).
    Stable,
}

/// Where a request without identity goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum WhenMissing {
    /// To stable (to gray once the release is promoted).
    #[default]
    Stable,
    /// To gray.
    Gray,
    /// By chance, request by request, at the present ratio.
    Split,
    /// Answered with `rejectStatus`.
    Reject,
}

/// What happens to a request whose version has no endpoint at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum OnUnavailable {
    /// The other version answers.
    #[default]
    OtherArm,
    /// 503.
    Fail,
}

/// What the proxies do without an operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum OperatorLostAction {
    /// The ratio stays.
    #[default]
    Hold,
    /// A moving release goes to stable.
    Stable,
}

/// Which requests from other sites carry a cookie (RFC 6265bis, section 5.6.7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum SameSite {
    /// Those that follow a link.
    #[default]
    Lax,
    /// None of them.
    Strict,
    /// All of them; browsers demand `Secure` with it.
    None,
}

impl SameSite {
    /// The attribute's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }

    pub(crate) fn is_lax(&self) -> bool {
        *self == Self::Lax
    }
}
