//! What can go wrong on the way to the API server, sorted by what has to be done about it.

use std::time::Duration;

use halftone_daemon::log::with_causes;

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
    #[error("{what}: {}", said(error))]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The answer.
        error: Box<kube::Error>,
    },
    /// No answer, or none that says whether it was done.
    #[error("{what}: {}", said(error))]
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
    #[error(
        "{0}; nothing rises until the status can be written, but a rollback does not wait for it"
    )]
    Unwritten(Box<Self>),
    /// The routing document was not written. The turn counts, and proxies go on with the document that they have.
    #[error("{0}; proxies go on with the routing document that they have")]
    Unprogrammed(Box<Self>),
    /// A document that does not fit into a ConfigMap.
    #[error("the routing document: {0}")]
    Document(#[from] halftone_routing::document::parse::DocumentError),
}

impl Error {
    /// Sorts the failure of a request.
    #[must_use]
    pub fn of(what: &'static str, error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if matches!(status.code, 404 | 409) => Self::Conflict(what),
            kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => {
                Self::Refused {
                    what,
                    error: Box::new(error),
                }
            }
            _ => Self::Unreachable {
                what,
                error: Box::new(error),
            },
        }
    }

    /// Whether the turn counts all the same, see [`Error::Unwritten`] and [`Error::Unprogrammed`].
    #[must_use]
    pub fn counts(&self) -> bool {
        matches!(self, Self::Unwritten(_) | Self::Unprogrammed(_))
    }

    /// All kinds, for metrics.
    pub const KINDS: [&str; 6] = [
        "notLeading",
        "conflict",
        "refused",
        "unreachable",
        "late",
        "document",
    ];

    /// The kind, for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotLeading => "notLeading",
            Self::Conflict(_) => "conflict",
            Self::Refused { .. } => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::Late { .. } => "late",
            Self::Unwritten(error) | Self::Unprogrammed(error) => error.kind(),
            Self::Document(_) => "document",
        }
    }
}

/// What came back, in words for people: the API server's own sentence where it gave one.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("{} ({})", status.reason, status.code),
        other => with_causes(other),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_the_api_server_says_is_told_in_its_own_words() {
        let sentence = "configmaps \"gr-7c1f\" is forbidden: exceeded quota: none, requested: count/configmaps=1";
        for (status, told) in [
            (
                Status::failure(sentence, "Forbidden").with_code(403),
                format!("applying the ConfigMap: {sentence}"),
            ),
            (
                Status::failure("", "Forbidden").with_code(403),
                "applying the ConfigMap: Forbidden (403)".to_owned(),
            ),
        ] {
            let error = Error::of("applying the ConfigMap", kube::Error::Api(Box::new(status)));
            assert_eq!(error.to_string(), told);
        }
    }
}
