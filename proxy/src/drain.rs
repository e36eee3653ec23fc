//! Pure: from the first SIGTERM to the last byte. Workers and the admin pages ask which [`DrainPhase`] the time since then
//! means and what that phase allows; the order itself is written down only here.

use std::time::Duration;

/// Idle client connections are closed this long after the listeners, so that a request already on its way to us is
/// still answered (with `Connection: close`).
pub const IDLE_GRACE: Duration = Duration::from_secs(1);

/// How long each part of the drain may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainSchedule {
    /// `--drain-delay`: how long accepting goes on after SIGTERM, for balancers to notice that `/readyz` fails.
    pub delay: Duration,
    /// `--drain-timeout`: how long open exchanges may take once the listeners are closed.
    pub timeout: Duration,
}

/// Where the drain stands. Each phase allows no more than the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainPhase {
    /// No signal came.
    Serving,
    /// `/readyz` fails and every answer says `Connection: close`; accepting goes on.
    Announcing,
    /// The listeners take in what is queued and close. Connections without a request may wait for one yet.
    Closing,
    /// Idle connections and tunnels close, exchanges finish.
    Finishing,
    /// What is left is cut and counted as our own fault.
    Cutting,
}

impl DrainPhase {
    /// The phase that holds when the signal came `since` ago; `None`: no signal came.
    pub fn at(since: Option<Duration>, schedule: DrainSchedule) -> Self {
        let Some(since) = since else {
            return Self::Serving;
        };
        let Some(closing) = since.checked_sub(schedule.delay) else {
            return Self::Announcing;
        };
        if closing >= schedule.timeout {
            Self::Cutting
        } else if closing >= IDLE_GRACE {
            Self::Finishing
        } else {
            Self::Closing
        }
    }

    /// Whether `/readyz` may say yes.
    pub fn ready(self) -> bool {
        self == Self::Serving
    }

    /// Whether a connection may carry another request after this answer; else the answer says `Connection: close`.
    pub fn keeps_alive(self) -> bool {
        self == Self::Serving
    }

    /// Whether the listeners stay open.
    pub fn accepts(self) -> bool {
        self <= Self::Announcing
    }

    /// Whether a client connection without a request may stay open.
    pub fn idle_may_stay(self) -> bool {
        self <= Self::Closing
    }

    /// Whether a tunnel may stay open.
    pub fn tunnel_may_stay(self) -> bool {
        self <= Self::Closing
    }

    /// Whether an exchange may go on.
    pub fn exchange_may_go_on(self) -> bool {
        self < Self::Cutting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: DrainSchedule = DrainSchedule {
        delay: Duration::from_secs(10),
        timeout: Duration::from_secs(30),
    };

    fn at(seconds: u64) -> DrainPhase {
        DrainPhase::at(Some(Duration::from_secs(seconds)), SCHEDULE)
    }

    #[test]
    fn without_a_signal_everything_is_allowed() {
        let phase = DrainPhase::at(None, SCHEDULE);
        assert!(phase.ready() && phase.keeps_alive() && phase.accepts() && phase.idle_may_stay());
    }

    #[test]
    fn the_phases_follow_the_schedule() {
        assert_eq!(at(0), DrainPhase::Announcing);
        assert_eq!(at(9), DrainPhase::Announcing);
        assert_eq!(at(10), DrainPhase::Closing);
        assert_eq!(at(11), DrainPhase::Finishing);
        assert_eq!(at(39), DrainPhase::Finishing);
        assert_eq!(at(40), DrainPhase::Cutting);
    }

    #[test]
    fn readiness_ends_before_accepting_does() {
        assert!(!at(0).ready() && at(0).accepts());
        assert!(!at(10).accepts());
    }

    #[test]
    fn without_delay_the_listeners_close_at_once() {
        let schedule = DrainSchedule {
            delay: Duration::ZERO,
            ..SCHEDULE
        };
        assert_eq!(
            DrainPhase::at(Some(Duration::ZERO), schedule),
            DrainPhase::Closing
        );
    }

    #[test]
    fn a_timeout_shorter_than_the_grace_cuts_in_time() {
        let schedule = DrainSchedule {
            delay: Duration::ZERO,
            timeout: Duration::from_millis(500),
        };
        assert_eq!(
            DrainPhase::at(Some(Duration::from_millis(500)), schedule),
            DrainPhase::Cutting
        );
    }

    #[test]
    fn no_later_phase_allows_more() {
        let allows = |p: DrainPhase| {
            [
                p.ready(),
                p.keeps_alive(),
                p.accepts(),
                p.idle_may_stay(),
                p.tunnel_may_stay(),
                p.exchange_may_go_on(),
            ]
        };
        for seconds in 0..60 {
            for (now, before) in allows(at(seconds + 1)).into_iter().zip(allows(at(seconds))) {
                assert!(!now || before);
            }
        }
    }
}
