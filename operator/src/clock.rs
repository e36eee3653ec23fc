//! The two clocks of the operator: one that never goes back, for holds, and the wall's, for schedules and people.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use halftone_rollout::clock::Now;

/// Wall-clock time at the start and the monotonic clock since.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    wall: Timestamp,
}

impl Clock {
    /// Begins to count.
    #[must_use]
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            wall: Timestamp::now(),
        }
    }

    /// Both clocks now.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            steady: self.steady(Instant::now()),
            wall: Timestamp::now(),
        }
    }

    /// What the steady clock shows at `at`.
    #[must_use]
    pub fn steady(&self, at: Instant) -> Timestamp {
        let passed = SignedDuration::try_from(at.duration_since(self.started))
            .unwrap_or(SignedDuration::MAX);
        self.wall.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    /// How long the monotonic clock has counted.
    #[must_use]
    pub fn elapsed(&self, at: Instant) -> std::time::Duration {
        at.duration_since(self.started)
    }
}
