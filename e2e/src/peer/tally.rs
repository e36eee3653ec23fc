//! What a client saw, added up. Who got which version is kept by user over all windows, so that a switch between two
//! windows counts in the second.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::CountWindow;

/// How one request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestEnd {
    /// An answer of this status; the version is "" where it names none.
    Answered {
        /// Its status.
        status: u16,
        /// Which version gave it.
        version: String,
    },
    /// None; the word says what went wrong.
    Unanswered(String),
}

/// The counts of one client.
#[derive(Clone, Debug, Default)]
pub struct ClientTally {
    window: CountWindow,
    /// Which order is carried out: answers to an earlier one may still come.
    order: u64,
    /// Version that each user got last.
    last: BTreeMap<u32, String>,
    /// Users who got each version in this window.
    users: BTreeMap<String, BTreeSet<u32>>,
}

impl ClientTally {
    /// Begins a new window; times are milliseconds since 1970.
    pub fn open(&mut self, now_ms: u64) {
        let running = self.window.running;
        self.window = CountWindow {
            since_ms: now_ms,
            running,
            ..CountWindow::default()
        };
        self.users.clear();
    }

    /// Forgets everything: a new order begins. Returns its number.
    pub fn restart(&mut self, now_ms: u64) -> u64 {
        let window = CountWindow {
            since_ms: now_ms,
            running: true,
            ..CountWindow::default()
        };
        *self = Self {
            window,
            order: self.order + 1,
            ..Self::default()
        };
        self.order
    }

    /// The order is carried out.
    pub fn end(&mut self) {
        self.window.running = false;
    }

    /// One request of an order for a user that was sent at a time. One that was sent before the window opened counts
    /// for who got what, and not in the window.
    pub fn add(&mut self, order: u64, user: u32, sent_ms: u64, ending: RequestEnd) {
        if order != self.order {
            return;
        }
        let within = sent_ms >= self.window.since_ms;
        if within {
            self.window.sent += 1;
        }
        match ending {
            RequestEnd::Unanswered(why) if within => {
                *self.window.unanswered.entry(why).or_default() += 1;
                self.window.last_unanswered_ms = self.window.last_unanswered_ms.max(sent_ms);
            }
            RequestEnd::Unanswered(_) => {}
            RequestEnd::Answered { status, version } => {
                self.answered(user, sent_ms, within, status, &version)
            }
        }
    }

    fn answered(&mut self, user: u32, sent_ms: u64, within: bool, status: u16, version: &str) {
        if within {
            let seen = self.window.versions.entry(version.to_owned()).or_default();
            seen.answers += 1;
            *seen.statuses.entry(status).or_default() += 1;
            seen.last_sent_ms = seen.last_sent_ms.max(sent_ms);
        }
        // The proxy's own answers come from no version, and leave the user where they were.
        if version.is_empty() {
            return;
        }
        if within {
            self.users
                .entry(version.to_owned())
                .or_default()
                .insert(user);
        }
        let before = self.last.insert(user, version.to_owned());
        if within && before.is_some_and(|before| before != version) {
            self.window.switches += 1;
        }
    }

    /// The window so far.
    #[must_use]
    pub fn window(&self) -> CountWindow {
        let count = |users: &BTreeSet<u32>| u64::try_from(users.len()).unwrap_or(u64::MAX);
        let users = self
            .users
            .iter()
            .map(|(version, users)| (version.clone(), count(users)))
            .collect();
        CountWindow {
            users,
            ..self.window.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, version: &str) -> RequestEnd {
        RequestEnd::Answered {
            status,
            version: version.to_owned(),
        }
    }

    #[test]
    fn a_window_counts_users_by_version_and_their_switches() {
        let mut tally = ClientTally::default();
        let _ = tally.restart(1_000);
        tally.add(1, 1, 1_001, answered(200, "v1"));
        tally.add(1, 2, 1_002, answered(200, "v2"));
        tally.open(2_000);
        tally.add(1, 1, 2_001, answered(500, "v2"));
        tally.add(1, 2, 2_002, answered(200, "v2"));
        let window = tally.window();
        assert_eq!(
            (
                window.sent,
                window.switches,
                window.answers("v1"),
                window.answers("v2")
            ),
            (2, 1, 0, 2)
        );
        assert_eq!((window.users["v2"], window.failures()), (2, 1));
        assert_eq!(window.versions["v2"].last_sent_ms, 2_002);
    }

    #[test]
    fn what_was_sent_before_the_window_does_not_count_in_it() {
        let mut tally = ClientTally::default();
        let _ = tally.restart(1_000);
        tally.open(2_000);
        tally.add(1, 1, 1_999, answered(200, "v1"));
        tally.add(1, 1, 1_999, RequestEnd::Unanswered("timeout".to_owned()));
        assert_eq!(
            tally.window(),
            CountWindow {
                since_ms: 2_000,
                running: true,
                ..CountWindow::default()
            }
        );
    }

    #[test]
    fn what_an_earlier_order_asked_for_does_not_count() {
        let mut tally = ClientTally::default();
        let earlier = tally.restart(1_000);
        let order = tally.restart(1_000);
        tally.add(earlier, 1, 1_000, answered(200, "v1"));
        assert_eq!(tally.window().sent, 0);
        tally.add(order, 1, 1_000, answered(200, "v2"));
        let window = tally.window();
        assert_eq!(
            (window.sent, window.switches, window.answers("v2")),
            (1, 0, 1)
        );
    }

    #[test]
    fn the_proxys_own_answers_are_no_switch() {
        let mut tally = ClientTally::default();
        let _ = tally.restart(0);
        tally.add(1, 1, 1, answered(200, "v1"));
        tally.add(1, 1, 2, answered(503, ""));
        tally.add(1, 1, 3, answered(200, "v1"));
        let window = tally.window();
        assert_eq!(
            (window.switches, window.failures(), window.users.len()),
            (0, 1, 1)
        );
    }

    #[test]
    fn shares_are_of_users_and_not_of_requests() {
        let mut tally = ClientTally::default();
        let _ = tally.restart(0);
        for at in 0..9 {
            tally.add(1, 1, at, answered(200, "v1"));
        }
        tally.add(1, 2, 9, answered(200, "v2"));
        assert!((tally.window().share_of_users("v2") - 0.5).abs() < 1e-9);
    }
}
