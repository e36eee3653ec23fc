//! Why a proxy's report was missed, in words for people and as a label of metrics.

use std::time::Duration;

use http::StatusCode;

/// A report that takes longer is missed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PollError {
    #[error("no answer within {DEADLINE:?}")]
    Late,
    #[error("{0}")]
    Unreachable(String),
    #[error("it answers {0}: {1}")]
    Refused(StatusCode, String),
    #[error("{0}")]
    ClockSkew(String),
    #[error("{0}")]
    Malformed(String),
    #[error("it is the report of {0}, which is another pod")]
    Stranger(String),
}

impl PollError {
    pub(crate) const KINDS: [&str; 6] = [
        "late",
        "unreachable",
        "refused",
        "clockSkew",
        "malformed",
        "stranger",
    ];

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Unreachable(_) => "unreachable",
            Self::Refused(..) => "refused",
            Self::ClockSkew(_) => "clockSkew",
            Self::Malformed(_) => "malformed",
            Self::Stranger(_) => "stranger",
        }
    }
}
