//! Ticks: the time of a worker, 100 ms apart.

use std::time::Duration;

/// Between two ticks.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Ticks since the worker started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(super) u32);

impl Tick {
    /// The worker's first.
    pub(crate) const START: Self = Self(0);
    /// Never reached: 13 years.
    pub(crate) const NEVER: Self = Self(u32::MAX);

    /// The first tick that is surely `wait` after any moment before the tick following this one.
    pub(crate) fn after(self, wait: Duration) -> Self {
        let ticks = wait
            .as_millis()
            .div_ceil(TICK.as_millis())
            .min(u128::from(u32::MAX / 2));
        Self(
            self.0
                .saturating_add(1)
                .saturating_add(u32::try_from(ticks).unwrap_or(u32::MAX)),
        )
    }

    /// How long ago `earlier` was, to a tick.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        TICK * self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_waits_do_not_overflow() {
        assert!(Tick(7).after(Duration::MAX) < Tick::NEVER);
    }
}
