//! Who acts on a fleet: the decision about its Lease, pure. `leader_elector.rs` reads, writes and tells the time.
//!
//! **Why two never act at once.** Whoever holds the Lease acts for [`LeaseTiming::act`] (10 s), counted on its own monotonic
//! clock from *before* it sent the last write that succeeded. Everyone else waits until the Lease has stayed unchanged
//! for [`LeaseTiming::expiry`] (15 s), counted on their own monotonic clock from *after* they first saw that very version,
//! and then replace exactly that version (resourceVersion). The write came after it was sent and was seen after it
//! came, so the wait ends at least 5 s after the acting does. No clock is ever compared with another, and the times in
//! the Lease are only for people; clocks may run at rates up to a half apart. A process that is stopped past its time
//! finds it over before its next write, and a request that it had already sent carries the resourceVersion of what it
//! saw, which a successor's first write has changed.

use std::time::Duration;

/// How long a lease counts. Times of client-go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTiming {
    /// A Lease that has not changed for so long is free.
    pub expiry: Duration,
    /// For so long after a renewal its holder acts.
    pub act: Duration,
    /// Between two renewals, and between two looks at somebody else's Lease.
    pub pause: Duration,
    /// Between two tries while the API server does not answer.
    pub retry: Duration,
}

impl Default for LeaseTiming {
    fn default() -> Self {
        Self {
            expiry: Duration::from_secs(15),
            act: Duration::from_secs(10),
            pause: Duration::from_secs(2),
            retry: Duration::from_millis(500),
        }
    }
}

/// A Lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Who holds it; none if nobody does.
    pub holder: Option<String>,
    /// How often it went from one to another.
    pub transitions: i32,
    /// Its resourceVersion.
    pub version: String,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAction {
    /// Nobody has it: write a Lease with us as holder and this number of transitions, over this version; none makes it.
    Acquire {
        /// What `leaseTransitions` becomes.
        transitions: i32,
        /// The version that is replaced.
        over: Option<String>,
    },
    /// It is ours: write it once more over this version.
    Renew {
        /// What `leaseTransitions` stays.
        transitions: i32,
        /// The version that is replaced.
        over: String,
    },
    /// Somebody else has it: look again after this time.
    Wait(Duration),
}

/// Whether this process acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaderRole {
    /// Somebody else does, or nobody.
    Following,
    /// We do, until then.
    Leading {
        /// By the local monotonic clock.
        until: Duration,
    },
    /// Our time is over, and nobody is known to have taken the Lease since: what we remember still counts once we get
    /// it again, and until then we do nothing.
    Unsure,
}

/// One candidate for one Lease. All times are of its own monotonic clock, from any point on.
#[derive(Debug, Clone)]
pub struct LeaderElection {
    me: String,
    timing: LeaseTiming,
    /// The Lease as it was last seen, and since when it is known to be so. None if there is none.
    seen: Option<(LeaseRecord, Duration)>,
    /// Until when we act, if we ever did and nobody else has since.
    until: Option<Duration>,
}

impl LeaderElection {
    /// A candidate that has seen nothing. Nobody else that runs may have the name `me`.
    #[must_use]
    pub fn new(me: impl Into<String>, timing: LeaseTiming) -> Self {
        Self {
            me: me.into(),
            timing,
            seen: None,
            until: None,
        }
    }

    /// The Lease was read; `now` is after the answer has come.
    pub fn saw(&mut self, record: Option<LeaseRecord>, now: Duration) {
        let ours = record
            .as_ref()
            .is_some_and(|record| record.holder.as_deref() == Some(&self.me));
        if !ours {
            self.until = None;
        }
        let unchanged = |(seen, _): &(LeaseRecord, Duration)| {
            Some(&seen.version) == record.as_ref().map(|record| &record.version)
        };
        if !self.seen.as_ref().is_some_and(unchanged) {
            self.seen = record.map(|record| (record, now));
        }
    }

    /// A write of ours was taken; `sent` is from before it was sent.
    pub fn wrote(&mut self, record: LeaseRecord, sent: Duration, now: Duration) {
        self.until = Some(sent.saturating_add(self.timing.act));
        self.seen = Some((record, now));
    }

    /// Whether we act at `now`.
    #[must_use]
    pub fn role(&self, now: Duration) -> LeaderRole {
        match self.until {
            Some(until) if now < until => LeaderRole::Leading { until },
            Some(_) => LeaderRole::Unsure,
            None => LeaderRole::Following,
        }
    }

    /// What to do at `now` about the Lease as it was last seen.
    #[must_use]
    pub fn step(&self, now: Duration) -> LeaseAction {
        let Some((record, since)) = &self.seen else {
            return LeaseAction::Acquire {
                transitions: 0,
                over: None,
            };
        };
        let over = record.version.clone();
        match &record.holder {
            Some(holder) if *holder == self.me => LeaseAction::Renew {
                transitions: record.transitions,
                over,
            },
            Some(_) => {
                let left = since.saturating_add(self.timing.expiry).saturating_sub(now);
                if left.is_zero() {
                    self.acquire(record)
                } else {
                    LeaseAction::Wait(left.min(self.timing.pause))
                }
            }
            None => self.acquire(record),
        }
    }

    fn acquire(&self, record: &LeaseRecord) -> LeaseAction {
        LeaseAction::Acquire {
            transitions: record.transitions.saturating_add(1),
            over: Some(record.version.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn record(holder: Option<&str>, version: &str) -> LeaseRecord {
        LeaseRecord {
            holder: holder.map(str::to_owned),
            transitions: 3,
            version: version.into(),
        }
    }

    #[test]
    fn each_state_of_the_lease_has_its_step() {
        let acquire = |over: &str| LeaseAction::Acquire {
            transitions: 4,
            over: Some(over.into()),
        };
        let rows = [
            ("nobody holds it", record(None, "1"), 0, acquire("1")),
            (
                "ours",
                record(Some("me"), "1"),
                0,
                LeaseAction::Renew {
                    transitions: 3,
                    over: "1".into(),
                },
            ),
            (
                "another's",
                record(Some("you"), "1"),
                0,
                LeaseAction::Wait(2 * SECOND),
            ),
            (
                "another's, for long",
                record(Some("you"), "1"),
                14,
                LeaseAction::Wait(SECOND),
            ),
            (
                "another's, expired",
                record(Some("you"), "1"),
                15,
                acquire("1"),
            ),
        ];
        for (what, record, later, step) in rows {
            let mut election = LeaderElection::new("me", LeaseTiming::default());
            election.saw(Some(record), 100 * SECOND);
            assert_eq!(election.step((100 + later) * SECOND), step, "{what}");
            assert_eq!(election.role(100 * SECOND), LeaderRole::Following, "{what}");
        }
        assert_eq!(
            LeaderElection::new("me", LeaseTiming::default()).step(SECOND),
            LeaseAction::Acquire {
                transitions: 0,
                over: None
            }
        );
    }

    #[test]
    fn a_lease_that_changes_is_waited_for_anew() {
        let mut election = LeaderElection::new("me", LeaseTiming::default());
        election.saw(Some(record(Some("you"), "1")), Duration::ZERO);
        election.saw(Some(record(Some("you"), "1")), 10 * SECOND);
        election.saw(Some(record(Some("you"), "2")), 14 * SECOND);
        assert!(matches!(election.step(28 * SECOND), LeaseAction::Wait(_)));
        assert!(matches!(
            election.step(29 * SECOND),
            LeaseAction::Acquire { .. }
        ));
    }

    #[test]
    fn who_cannot_renew_stops_in_time_and_remembers_only_while_nobody_else_had_it() {
        let mut election = LeaderElection::new("me", LeaseTiming::default());
        election.wrote(record(Some("me"), "1"), 5 * SECOND, 6 * SECOND);
        assert_eq!(
            election.role(14 * SECOND),
            LeaderRole::Leading { until: 15 * SECOND }
        );
        assert_eq!(election.role(15 * SECOND), LeaderRole::Unsure);
        election.saw(Some(record(Some("me"), "1")), 40 * SECOND);
        assert_eq!(election.role(40 * SECOND), LeaderRole::Unsure);
        election.saw(Some(record(Some("you"), "2")), 41 * SECOND);
        assert_eq!(election.role(41 * SECOND), LeaderRole::Following);
    }

    /// A candidate with a clock of its own, and the request that it has under way.
    struct SimulatedCandidate {
        election: LeaderElection,
        offset: Duration,
        rate: f64,
        request: Option<SimulatedRequest>,
        /// It has read the Lease and not yet acted on that.
        looked: bool,
    }

    struct SimulatedRequest {
        /// By the candidate's clock.
        sent: Duration,
        /// What it wants, and how many ticks until it arrives and until its answer does.
        step: Option<LeaseAction>,
        arrives: u32,
        answered: u32,
        answer: Option<Option<LeaseRecord>>,
    }

    impl SimulatedCandidate {
        fn new(name: &str, offset: u64, rate: f64) -> Self {
            let election = LeaderElection::new(name, LeaseTiming::default());
            Self {
                election,
                offset: Duration::from_secs(offset),
                rate,
                request: None,
                looked: false,
            }
        }

        fn clock(&self, time: Duration) -> Duration {
            self.offset + time.mul_f64(self.rate)
        }

        fn acts(&self, time: Duration) -> bool {
            matches!(
                self.election.role(self.clock(time)),
                LeaderRole::Leading { .. }
            )
        }

        /// One tick: a request is begun, arrives at the store or is answered. Every fourth answer is lost.
        fn tick(
            &mut self,
            time: Duration,
            store: &mut Option<LeaseRecord>,
            (act, delay, back, lost): (bool, u32, u32, u8),
        ) {
            let now = self.clock(time);
            let Some(request) = &mut self.request else {
                if act {
                    let step = std::mem::take(&mut self.looked).then(|| self.election.step(now));
                    let step = step.filter(|step| !matches!(step, LeaseAction::Wait(_)));
                    self.request = Some(SimulatedRequest {
                        sent: now,
                        step,
                        arrives: delay,
                        answered: back,
                        answer: None,
                    });
                }
                return;
            };
            if request.arrives > 0 {
                request.arrives -= 1;
            } else if request.answer.is_none() {
                request.answer = Some(match &request.step {
                    None => store.clone(),
                    Some(step) => serve(&self.election.me, store, step),
                });
            } else if request.answered > 0 {
                request.answered -= 1;
            } else {
                let SimulatedRequest {
                    sent, step, answer, ..
                } = self.request.take().unwrap();
                match (answer.unwrap(), step) {
                    _ if lost == 0 => {}
                    (Some(record), Some(_)) => self.election.wrote(record, sent, now),
                    // A conflict: look again.
                    (None, Some(_)) => {}
                    (read, None) => {
                        self.election.saw(read, now);
                        self.looked = true;
                    }
                }
            }
        }
    }

    /// The API server: takes a write over the version that it has.
    fn serve(me: &str, store: &mut Option<LeaseRecord>, step: &LeaseAction) -> Option<LeaseRecord> {
        let (transitions, over) = match step {
            LeaseAction::Acquire { transitions, over } => (*transitions, over.clone()),
            LeaseAction::Renew { transitions, over } => (*transitions, Some(over.clone())),
            LeaseAction::Wait(_) => return None,
        };
        if store.as_ref().map(|record| record.version.clone()) != over {
            return None;
        }
        let version = over
            .map_or(1, |version| version.parse::<u64>().unwrap() + 1)
            .to_string();
        *store = Some(LeaseRecord {
            holder: Some(me.to_owned()),
            transitions,
            version,
        });
        store.clone()
    }

    #[test]
    fn somebody_acts_where_answers_come() {
        let (mut one, mut two) = (
            SimulatedCandidate::new("one", 7, 0.9),
            SimulatedCandidate::new("two", 0, 1.1),
        );
        let (mut store, mut acted) = (None, false);
        for at in 0..40 {
            let time = Duration::from_millis(250 * at);
            one.tick(time, &mut store, (true, 0, 0, 1));
            two.tick(time, &mut store, (true, 0, 0, 1));
            acted |= one.acts(time) || two.acts(time);
        }
        assert!(acted, "{store:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the clocks show, however long requests take and whichever answers are lost.
        #[test]
        fn two_never_act_at_once(
            offsets in (0_u64..1_000_000, 0_u64..1_000_000),
            rates in (0.85_f64..1.15, 0.85_f64..1.15),
            script in prop::collection::vec((any::<bool>(), 0_u32..40, 0_u32..40, 0_u8..4), 200..2000),
        ) {
            let mut one = SimulatedCandidate::new("one", offsets.0, rates.0);
            let mut two = SimulatedCandidate::new("two", offsets.1, rates.1);
            let mut store = None;
            for (at, &chance) in script.iter().enumerate() {
                let time = Duration::from_millis(250 * at as u64);
                // Reads come as often as writes; each has its turn by chance.
                one.tick(time, &mut store, chance);
                let (act, delay, back, lost) = chance;
                two.tick(time, &mut store, (!act, back, delay, (lost + 1) % 4));
                prop_assert!(!(one.acts(time) && two.acts(time)), "at {time:?}");
            }
        }
    }
}
