//! The status of a release as it was written last, by its digests: to know whether it would be written anew takes no copy
//! of it, of which ten thousand releases would have as many.

use halftone_api::GrayReleaseStatus;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

/// A status that was written. The API server gives it back with times cut to whole seconds, so that what it has cannot
/// be compared with.
#[derive(Debug, Clone, Copy)]
pub struct LastWritten {
    whole: u128,
    without_figures: u128,
    generation: i64,
    at: Instant,
}

impl LastWritten {
    /// This status is there since `at`.
    #[must_use]
    pub fn of(status: &GrayReleaseStatus, at: Instant) -> Self {
        let (whole, without_figures) = (digest(status), digest(&status.without_figures()));
        Self {
            whole,
            without_figures,
            generation: status.observed_generation,
            at,
        }
    }

    /// Whether that is this status.
    #[must_use]
    pub fn is(&self, status: &GrayReleaseStatus) -> bool {
        self.whole == digest(status)
    }

    /// Whether a restart would go on from it as from this status.
    #[must_use]
    pub fn restores_same_progress(&self, status: &GrayReleaseStatus) -> bool {
        self.without_figures == digest(&status.without_figures())
    }

    /// The generation that it speaks of.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Since when it has been there.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }
}

/// Of what the status says of the release. Who wrote it is not a part of that.
fn digest(status: &GrayReleaseStatus) -> u128 {
    let text = match status.controller {
        None => serde_json::to_vec(status),
        Some(_) => serde_json::to_vec(&GrayReleaseStatus {
            controller: None,
            ..status.clone()
        }),
    };
    xxh3_128(&text.expect("a status is plain data"))
}
