//! What can go wrong on the way to the API server, sorted by what has to be done about it.

use std::time::Duration;

/// Why a request to the API server brought no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else may have the Lease by now.
    #[error("the Lease is not ours any more")]
    NotLeading,
    /// The object is another one than it was when we last saw it, or is gone.
    #[error("{0}: it has changed meanwhile")]
    Conflict(&'static str),
    /// The API server refuses the request; asking once more brings the same answer.
    #[error("{what}: {error}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The answer.
        error: Box<kube::Error>,
    },
    /// No answer, or none that says whether it was done.
    #[error("{what}: {error}")]
    Unreachable {
        /// What was asked for.
        what: &'static str,
        /// What came instead.
        error: Box<kube::Error>,
    },
    /// No answer in time; whether it was done is not known.
    #[error("{what}: no answer within {after:?}")]
    Late {
        /// What was asked for.
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The status was not written. The turn counts all the same, in this process alone.
    #[error("{0}; nothing rises until the status can be written, but a rollback does not wait for it")]
    Unwritten(Box<Self>),
    /// The status holds what Halftone cannot have written.
    #[error("{0}")]
    Unrestorable(#[from] halftone_rollout::progress::Unrestorable),
    /// A document that does not fit into a ConfigMap.
    #[error("the routing document: {0}")]
    Document(#[from] halftone_routing::config::parse::DocumentError),
}

impl Error {
    /// Sorts the failure of a request.
    #[must_use]
    pub fn of(what: &'static str, error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if matches!(status.code, 404 | 409) => Self::Conflict(what),
            kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => {
                Self::Refused { what, error: Box::new(error) }
            }
            _ => Self::Unreachable { what, error: Box::new(error) },
        }
    }

    /// The kind, for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotLeading => "notLeading",
            Self::Conflict(_) => "conflict",
            Self::Refused { .. } => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::Late { .. } => "late",
            Self::Unwritten(error) => error.kind(),
            Self::Unrestorable(_) => "unrestorable",
            Self::Document(_) => "document",
        }
    }
}
