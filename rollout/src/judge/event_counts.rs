//! What is counted: bad events among all events, and those of both arms in some time.

use std::ops::{AddAssign, Sub};

use serde::{Deserialize, Serialize};

/// Bad events among all events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventCounts {
    /// Bad ones; never more than `all`.
    pub(super) bad: u64,
    /// All.
    pub(super) all: u64,
}

impl EventCounts {
    /// A tally that cannot contradict itself, whatever a proxy reports.
    pub(super) fn new(bad: u64, all: u64) -> Self {
        Self {
            bad: bad.min(all),
            all,
        }
    }

    /// Those that are not bad.
    pub(super) fn good(self) -> u64 {
        self.all.saturating_sub(self.bad)
    }

    /// Share of bad events, 0 without any events.
    pub(super) fn rate(self) -> f64 {
        if self.all == 0 {
            0.0
        } else {
            self.bad as f64 / self.all as f64
        }
    }

    /// Whether the measured share is above so many millionths, exactly.
    pub(super) fn is_above(self, millionths: u32) -> bool {
        u128::from(self.bad) * 1_000_000 > u128::from(self.all) * u128::from(millionths)
    }
}

impl AddAssign for EventCounts {
    fn add_assign(&mut self, more: Self) {
        self.bad = self.bad.saturating_add(more.bad);
        self.all = self.all.saturating_add(more.all);
    }
}

impl Sub for EventCounts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            bad: self.bad.saturating_sub(earlier.bad),
            all: self.all.saturating_sub(earlier.all),
        }
    }
}

/// What one limit saw of both arms in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ObservedWindow {
    /// How long.
    pub(super) seconds: f64,
    /// Gray's events.
    pub(super) gray: EventCounts,
    /// Stable's events.
    pub(super) stable: EventCounts,
}

impl AddAssign for ObservedWindow {
    fn add_assign(&mut self, more: Self) {
        self.seconds += more.seconds;
        self.gray += more.gray;
        self.stable += more.stable;
    }
}

impl Sub for ObservedWindow {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            seconds: self.seconds - earlier.seconds,
            gray: self.gray - earlier.gray,
            stable: self.stable - earlier.stable,
        }
    }
}
