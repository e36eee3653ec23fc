//! Time as `advance` sees it: two clocks as arguments, and the timer that holds, patience and watch are.
//!
//! A timer survives a restart as a point in time while it runs and as a rest while it stands, and is never
//! trusted beyond its length: whatever a clock or a status says, the rest is between nothing and the whole.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// What the clocks of the shell say. `advance` never reads one itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall-clock time at the start of the process plus what the monotonic clock has counted since: never goes
    /// back, never jumps. Holds, patience and watch go by it.
    pub steady: Timestamp,
    /// Wall-clock time, jumps included. Schedules and what people read go by it.
    pub wall: Timestamp,
}

impl Now {
    /// Both clocks at the same point, as right after the start of a process.
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        Self {
            steady: time,
            wall: time,
        }
    }
}

/// A length of time that passes only while its clock runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PausableTimer {
    /// The clock runs; over from this steady time on.
    Running {
        /// When it is over.
        ends_at: Timestamp,
    },
    /// The clock stands; so much is left.
    Standing {
        /// What is left.
        left: Duration,
    },
}

impl PausableTimer {
    /// A timer that has not begun to run.
    #[must_use]
    pub fn standing(left: Duration) -> Self {
        Self::Standing { left }
    }

    /// What is left at `now`, never more than `most`: a status from another clock, a clock that went back, or
    /// an edit that made it shorter cannot leave more than the whole.
    #[must_use]
    pub fn left(self, now: Timestamp, most: Duration) -> Duration {
        match self {
            Self::Running { ends_at } => since(ends_at, now).min(most),
            Self::Standing { left } => left.min(most),
        }
    }

    /// Whether nothing is left at `now`.
    #[must_use]
    pub fn is_over(self, now: Timestamp) -> bool {
        match self {
            Self::Running { ends_at } => ends_at <= now,
            Self::Standing { left } => left.is_zero(),
        }
    }

    /// The same timer with its clock running or standing from `now` on and its rest within `most`. A timer that
    /// is over stays as it is: when it ended is what people want to see.
    #[must_use]
    pub fn tick(self, runs: bool, now: Timestamp, most: Duration) -> Self {
        if self.is_over(now) {
            return self;
        }
        let left = self.left(now, most);
        match (self, runs) {
            (_, false) => Self::Standing { left },
            (Self::Running { ends_at }, true) if since(ends_at, now) == left => self,
            (_, true) => Self::Running {
                ends_at: after(now, left),
            },
        }
    }
}

/// How long after `earlier` `later` is; nothing if it is not.
pub(crate) fn since(later: Timestamp, earlier: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// `length` after `time`, at the end of representable time if that is beyond it.
pub(crate) fn after(time: Timestamp, length: Duration) -> Timestamp {
    SignedDuration::try_from(length)
        .ok()
        .and_then(|length| time.checked_add(length).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOLD: Duration = Duration::from_secs(300);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_timer_counts_only_while_its_clock_runs() {
        let timer = PausableTimer::standing(HOLD).tick(false, at(50), HOLD);
        let timer = timer.tick(true, at(100), HOLD).tick(false, at(160), HOLD);
        assert_eq!(timer.left(at(1000), HOLD), Duration::from_secs(240));
        let timer = timer.tick(true, at(1000), HOLD);
        assert!(!timer.is_over(at(1239)));
        assert!(timer.is_over(at(1240)));
    }

    #[test]
    fn a_timer_that_is_over_keeps_the_time_at_which_it_ended() {
        let timer =
            PausableTimer::standing(HOLD)
                .tick(true, at(0), HOLD)
                .tick(false, at(400), HOLD);
        assert_eq!(timer, PausableTimer::Running { ends_at: at(300) });
    }

    #[test]
    fn a_length_beyond_all_time_ends_at_its_end() {
        let timer = PausableTimer::standing(Duration::MAX).tick(true, at(0), Duration::MAX);
        assert_eq!(
            timer,
            PausableTimer::Running {
                ends_at: Timestamp::MAX
            }
        );
    }

    proptest! {
        #[test]
        fn the_rest_is_never_more_than_the_whole_nor_longer_than_before(
            ends in -1000i64..1000,
            steps in prop::collection::vec((any::<bool>(), -100i64..100), 1..20),
        ) {
            let (mut timer, mut now) = (PausableTimer::Running { ends_at: at(ends) }, 0);
            let mut left = HOLD;
            for (runs, by) in steps {
                now += by;
                timer = timer.tick(runs, at(now), HOLD);
                prop_assert!(timer.left(at(now), HOLD) <= HOLD);
                if by >= 0 {
                    prop_assert!(timer.left(at(now), HOLD) <= left);
                }
                left = timer.left(at(now), HOLD);
            }
        }
    }
}
