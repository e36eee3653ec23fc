//! The two clocks of the engine: one that never goes back, for holds, and the wall's, for schedules and people.

use std::time::Instant;

use halftone_rollout::clock::Now;
use jiff::{SignedDuration, Timestamp};

/// Wall-clock time at the start and the monotonic clock since.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    wall: Timestamp,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            wall: Timestamp::now(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        let passed =
            SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX);
        let steady = self.wall.checked_add(passed).unwrap_or(Timestamp::MAX);
        Now {
            steady,
            wall: Timestamp::now(),
        }
    }
}
