//! What a `halftone run` on this machine is asked by `status`, `events`, `config`, `explain` and the commands that steer:
//! one question over its socket, one answer.

use std::path::Path;
use std::sync::Arc;

use halftone_routing::config::RoutingConfig;
use halftone_routing::config::parse::Parsed;

use crate::args::{self, Place, Running};
use crate::engine::past::Happened;
use crate::engine::{AppliedHere, Measured};
use crate::output::Failure;
use crate::socket::{self, Answer, Question, question};

/// Where releases are found. `kubectl halftone` means a cluster.
pub(crate) fn place(running: &Running, all_namespaces: bool) -> Place {
    running.place(all_namespaces || args::is_plugin(), socket::runs)
}

/// The releases, or the one that is named, with what their arms did in the last seconds.
///
/// # Errors
/// Nothing runs there, or no release has this name.
pub(crate) fn releases(state: &Path, name: Option<&str>) -> Result<Vec<Measured>, Failure> {
    match question(state, &Question::Status(name.map(str::to_owned)))? {
        Answer::Releases(releases) => Ok(releases),
        _ => Err(unexpected()),
    }
}

/// The one release of a name.
///
/// # Errors
/// As for [`releases`].
pub(crate) fn release(state: &Path, name: &str) -> Result<Measured, Failure> {
    releases(state, Some(name))?.pop().ok_or_else(unexpected)
}

/// What happened to a release since the run began.
///
/// # Errors
/// As for [`releases`].
pub(crate) fn events(state: &Path, name: &str) -> Result<Vec<Happened>, Failure> {
    match question(state, &Question::Events(name.to_owned()))? {
        Answer::Events(events) => Ok(events),
        _ => Err(unexpected()),
    }
}

/// What the proxy of the run is told.
///
/// # Errors
/// Nothing runs there.
pub(crate) fn applied(state: &Path) -> Result<AppliedHere, Failure> {
    match question(state, &Question::Applied)? {
        Answer::Applied(applied) => Ok(*applied),
        _ => Err(unexpected()),
    }
}

impl AppliedHere {
    /// The document of a release, `NAMESPACE/NAME`.
    pub(crate) fn of(&self, name: &str) -> Option<&Arc<RoutingConfig>> {
        self.documents.iter().find(|document| {
            let whose = &document.release;
            name == format!("{}/{}", whose.namespace, whose.name)
        })
    }

    /// The documents as a proxy takes them.
    pub(crate) fn parsed(&self) -> Vec<Arc<Parsed<RoutingConfig>>> {
        let parsed = |document: &Arc<RoutingConfig>| Parsed {
            checksum: document.content_checksum(),
            config: RoutingConfig::clone(document),
            ignored: Vec::new(),
        };
        self.documents.iter().map(|document| Arc::new(parsed(document))).collect()
    }
}

/// An answer of another version.
pub(crate) fn unexpected() -> Failure {
    Failure::new("halftone run answered another question").advise("use the same halftone for both")
}
