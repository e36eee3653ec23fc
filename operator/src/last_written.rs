//! The status of a release as it was written last, by its digests: to know whether it would be written anew takes no copy
//! of it, of which ten thousand releases would have as many.

use std::time::Duration;

use halftone_api::GrayReleaseStatus;
use halftone_rollout::advance::FIGURES;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

/// A status that was written. The API server gives it back with times cut to whole seconds, so that what it has cannot
/// be compared with.
#[derive(Debug, Clone, Copy)]
pub struct LastWritten {
    whole: u128,
    without_figures: u128,
    /// Without what was observed: it moves with every request, whether anybody judges by it or not.
    without_observed: u128,
    generation: i64,
    at: Instant,
}

impl LastWritten {
    /// This status is there since `at`.
    #[must_use]
    pub fn of(status: &GrayReleaseStatus, at: Instant) -> Self {
        Self {
            whole: digest(status),
            without_figures: digest(&status.without_figures()),
            without_observed: digest(&without_observed(status)),
            generation: status.observed_generation,
            at,
        }
    }

    /// Whether that is this status.
    #[must_use]
    pub fn is(&self, status: &GrayReleaseStatus) -> bool {
        self.whole == digest(status)
    }

    /// How long the figures of `status` have to wait at `now`, if they are to be written at all. They are while the release
    /// is `judged`, and once when it `comes_to_rest`; what else is out of date than what was observed, always.
    #[must_use]
    pub fn figures_due(
        &self,
        status: &GrayReleaseStatus,
        judged: bool,
        comes_to_rest: bool,
        now: Instant,
    ) -> Option<Duration> {
        if self.is(status) {
            return None;
        }
        let is_due =
            judged || comes_to_rest || self.without_observed != digest(&without_observed(status));
        is_due.then(|| FIGURES.saturating_sub(now.saturating_duration_since(self.at)))
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
}

fn without_observed(status: &GrayReleaseStatus) -> GrayReleaseStatus {
    GrayReleaseStatus {
        observed: None,
        ..status.clone()
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

#[cfg(test)]
mod tests {
    use halftone_api::spec::{ObservedStatus, ProxiesStatus};

    use super::*;

    fn observed(requests: i64) -> GrayReleaseStatus {
        let observed = ObservedStatus {
            ratio: None,
            requests,
            gray_requests: 0,
        };
        let proxies = ProxiesStatus {
            ready: 1,
            acknowledged: 1,
            waiting_for: Vec::new(),
        };
        GrayReleaseStatus {
            observed: Some(observed),
            proxies: Some(proxies),
            ..GrayReleaseStatus::default()
        }
    }

    #[test]
    fn what_was_observed_is_written_while_a_release_is_judged_and_once_at_rest() {
        let start = Instant::now();
        let written = LastWritten::of(&observed(1), start);
        let later = start + Duration::from_secs(12);
        let due = |status, judged, comes_to_rest| {
            written.figures_due(&status, judged, comes_to_rest, later)
        };
        let wait = Some(Duration::from_secs(18));
        assert_eq!(due(observed(1), true, true), None, "nothing new");
        assert_eq!(due(observed(2), true, false), wait);
        assert_eq!(due(observed(2), false, true), wait);
        assert_eq!(due(observed(2), false, false), None, "live values suffice");
        let mut proxies = observed(1);
        proxies.proxies.as_mut().unwrap().ready = 3;
        assert_eq!(due(proxies, false, false), wait, "what stays has to settle");
        let half = written.figures_due(&observed(2), true, false, start + 2 * FIGURES);
        assert_eq!(half, Some(Duration::ZERO));
    }
}
