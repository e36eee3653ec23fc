//! What a `halftone run` on this machine is asked by `status`, `events`, `config`, `explain` and the commands that steer:
//! one question over its socket, one answer.

use std::path::Path;
use std::sync::Arc;

use halftone_routing::document::RoutingConfig;
use halftone_routing::document::parse::ParsedDocument;

use crate::args::{self, CommandTarget, TargetArguments};
use crate::engine::event_log::PastEvent;
use crate::engine::{LocalConfig, MeasuredRelease};
use crate::output::CommandError;
use crate::socket::{self, SocketRequest, SocketResponse, question};

/// Where releases are found. `kubectl halftone` means a cluster.
pub(crate) fn place(running: &TargetArguments, all_namespaces: bool) -> CommandTarget {
    running.place(all_namespaces || args::is_plugin(), socket::runs)
}

/// The releases, or the one that is named, with what their arms did in the last seconds.
///
/// # Errors
/// Nothing runs there, or no release has this name.
pub(crate) fn releases(
    state: &Path,
    name: Option<&str>,
) -> Result<Vec<MeasuredRelease>, CommandError> {
    match question(state, &SocketRequest::Status(name.map(str::to_owned)))? {
        SocketResponse::Releases(releases) => Ok(releases),
        _ => Err(unexpected()),
    }
}

/// The one release of a name.
///
/// # Errors
/// As for [`releases`].
pub(crate) fn release(state: &Path, name: &str) -> Result<MeasuredRelease, CommandError> {
    releases(state, Some(name))?.pop().ok_or_else(unexpected)
}

/// What happened to a release since the run began.
///
/// # Errors
/// As for [`releases`].
pub(crate) fn events(state: &Path, name: &str) -> Result<Vec<PastEvent>, CommandError> {
    match question(state, &SocketRequest::Events(name.to_owned()))? {
        SocketResponse::Events(events) => Ok(events),
        _ => Err(unexpected()),
    }
}

/// What the proxy of the run is told.
///
/// # Errors
/// Nothing runs there.
pub(crate) fn applied(state: &Path) -> Result<LocalConfig, CommandError> {
    match question(state, &SocketRequest::Applied)? {
        SocketResponse::Applied(applied) => Ok(*applied),
        _ => Err(unexpected()),
    }
}

impl LocalConfig {
    /// The document of a release, `NAMESPACE/NAME`.
    pub(crate) fn of(&self, name: &str) -> Option<&Arc<RoutingConfig>> {
        self.documents.iter().find(|document| {
            let whose = &document.release;
            name == format!("{}/{}", whose.namespace, whose.name)
        })
    }

    /// The documents as a proxy takes them.
    pub(crate) fn parsed(&self) -> Vec<Arc<ParsedDocument<RoutingConfig>>> {
        let parsed = |document: &Arc<RoutingConfig>| ParsedDocument {
            checksum: document.content_checksum(),
            config: RoutingConfig::clone(document),
            ignored: Vec::new(),
        };
        self.documents
            .iter()
            .map(|document| Arc::new(parsed(document)))
            .collect()
    }
}

/// An answer of another version.
pub(crate) fn unexpected() -> CommandError {
    CommandError::new("halftone run answered another question")
        .advise("use the same halftone for both")
}
