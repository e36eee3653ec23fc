//! How long a fleet is waited for, and what it keeps of releases that are gone.

use std::time::Duration;

/// Times that the fleet sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetTimes {
    /// After so long a proxy that has not acknowledged is named.
    pub straggler_timeout: Duration,
    /// So long after an object has gone its routes are withdrawn.
    pub withdraw_after: Duration,
    /// So long after that its hosts are kept for its namespace.
    pub host_reserve: Duration,
}

impl Default for FleetTimes {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            straggler_timeout: minute,
            withdraw_after: minute,
            host_reserve: 10 * minute,
        }
    }
}
