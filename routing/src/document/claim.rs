//! Since when a release has each place. Of two documents that claim one host and path the earlier one has it, so that
//! a release that another one takes over from goes on until its successor is there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    RoutingConfig,
    names::{HostPattern, PathPrefix},
};

/// A host and path below it, and since when the release has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// One of the document's hosts.
    pub host: HostPattern,
    /// One of its paths.
    pub path: PathPrefix,
    /// Since when.
    pub since: Timestamp,
}

impl RoutingConfig {
    /// Since when the release has a place: as its claim says, else since its object was created.
    #[must_use]
    pub fn since(&self, host: &HostPattern, path: &PathPrefix) -> Timestamp {
        let claim = self
            .claims
            .iter()
            .find(|claim| claim.host == *host && claim.path == *path);
        claim.map_or(self.release.created_at, |claim| claim.since)
    }

    /// Whether it names this place.
    #[must_use]
    pub fn has(&self, (host, path): (&HostPattern, &PathPrefix)) -> bool {
        self.hosts.contains(host) && self.paths.contains(path)
    }

    /// Every host with every path.
    pub fn places(&self) -> impl Iterator<Item = (&HostPattern, &PathPrefix)> {
        self.hosts
            .iter()
            .flat_map(|host| self.paths.iter().map(move |path| (host, path)))
    }
}
