//! When the clients ask: again with every answer (closed loop), on a schedule (open loop), or not at all.

use super::BenchTraffic;
use super::open_loop::OpenLoop;
use super::tally::USERS;
use crate::Result;
use std::time::{Duration, Instant};

/// How long requests under way may take to end once a measurement is over.
const DRAIN: Duration = Duration::from_secs(2);
/// Co-prime to `USERS`: users come up spread out, each as often as any other.
const USER_STRIDE: usize = 7_919;

/// How long one answer may take in a count of requests; the proxy may be slowed down by who counts its instructions.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// What a client does that is free to ask.
pub(super) enum Pace {
    Silent,
    /// It asks again, as long as there are requests left to send.
    Closed {
        left: usize,
    },
    Open(OpenLoop),
}

impl BenchTraffic {
    /// Closed loop for `time`: each connection asks again as soon as it has its answer.
    pub(crate) fn drive(&mut self, time: Duration) -> Result<()> {
        self.begin_closed(usize::MAX);
        self.turn_until(Instant::now() + time, |_| false)
    }

    /// Closed loop until so many requests have their answers.
    pub(crate) fn ask_exactly(&mut self, requests: usize) -> Result<()> {
        self.begin_closed(requests);
        while !self.is_idle() {
            let before = self.tally.requests;
            let progress = |traffic: &Self| traffic.is_idle() || traffic.tally.requests > before;
            self.turn_until(Instant::now() + ANSWER_PATIENCE, progress)?;
            if self.tally.requests == before {
                return Err("no right answer any more".into());
            }
        }
        Ok(())
    }

    fn begin_closed(&mut self, requests: usize) {
        self.pace = Pace::Closed { left: requests };
        for index in 0..self.clients.len() {
            if self.clients[index].asked.is_none() {
                self.go_on(index, Instant::now());
            }
        }
    }

    /// Open loop for `time`: `per_second` requests on average, due on a schedule that further calls go on with. It
    /// polls and never sleeps: a timer would be late, and waking this thread would be charged to the proxy's `send`.
    pub(crate) fn offer(&mut self, per_second: f64, time: Duration) -> Result<()> {
        let begin = Instant::now();
        if !matches!(self.pace, Pace::Open(_)) {
            let clients = self.clients.iter().enumerate();
            let idle = clients.filter(|(_, client)| client.asked.is_none());
            let open = OpenLoop::new(per_second, idle.map(|(index, _)| index), begin);
            self.pace = Pace::Open(open);
        }
        while begin.elapsed() < time {
            self.ask_due();
            self.turn(Duration::ZERO)?;
        }
        self.ask_due();
        Ok(())
    }

    fn ask_due(&mut self) {
        let now = Instant::now();
        while let Pace::Open(open) = &mut self.pace
            && let Some((index, due)) = open.take_due(now)
        {
            self.ask(index, due);
        }
    }

    /// Counts those that have no answer yet with the time they have waited so far. Without it an open loop would
    /// forget the ones that waited longest.
    pub(crate) fn count_unanswered(&mut self) {
        let now = Instant::now();
        let asked = self.clients.iter().filter_map(|client| client.asked);
        for (_, since) in asked {
            self.tally.latencies.record(now - since);
        }
        if let Pace::Open(open) = &self.pace {
            for due in open.waiting() {
                self.tally.latencies.record(now - due);
            }
        }
    }

    /// Lets each connection from `first` on ask once, and awaits the answers.
    pub(crate) fn ask_once(&mut self, first: usize) -> Result<()> {
        for index in first..self.clients.len() {
            self.ask(index, Instant::now());
        }
        self.settle()
    }

    /// Stops asking and awaits the answers under way; those that do not come are errors.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.pace = Pace::Silent;
        self.turn_until(Instant::now() + DRAIN, Self::is_idle)?;
        for _ in self.clients.iter().filter(|client| client.asked.is_some()) {
            self.tally.error("no answer within 2 s");
        }
        Ok(())
    }

    /// Serves the backends for `time` and asks nothing.
    pub(crate) fn rest(&mut self, time: Duration) -> Result<()> {
        self.pace = Pace::Silent;
        self.turn_until(Instant::now() + time, |_| false)
    }

    fn is_idle(&self) -> bool {
        self.clients.iter().all(|client| client.asked.is_none())
    }

    fn turn_until(&mut self, end: Instant, done: impl Fn(&Self) -> bool) -> Result<()> {
        while !done(self) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.turn(left)?;
        }
        Ok(())
    }

    /// A client has its answer, or a new connection.
    pub(super) fn go_on(&mut self, index: usize, now: Instant) {
        match &mut self.pace {
            Pace::Silent => {}
            Pace::Closed { left: 0 } => {}
            Pace::Closed { left } => {
                *left -= 1;
                self.ask(index, now);
            }
            Pace::Open(open) => open.release(index),
        }
    }

    /// Sends the next user's request, whose latency counts from `since`.
    fn ask(&mut self, index: usize, since: Instant) {
        let user = self.next_user;
        self.next_user = (user + USER_STRIDE) % USERS;
        // A failed write shows at the next event of this socket, as a broken connection.
        self.clients[index]
            .ask(self.request.of(user), user, since)
            .ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_requests_is_asked_exactly() {
        let mut traffic = BenchTraffic::new().unwrap();
        traffic.exchange(0, 1024);
        let [stable, _] = traffic.arms().unwrap();
        traffic.connect(stable, 8).unwrap();
        traffic.ask_exactly(1_003).unwrap();
        assert_eq!(traffic.tally.requests, 1_003);
        assert!(traffic.tally.errors.is_empty());
    }

    #[test]
    fn what_is_due_in_an_open_loop_is_sent_over_all_connections() {
        let mut traffic = BenchTraffic::new().unwrap();
        traffic.exchange(0, 1024);
        let [stable, _] = traffic.arms().unwrap();
        traffic.connect(stable, 4).unwrap();
        traffic.offer(1_000.0, Duration::from_millis(50)).unwrap();
        traffic.settle().unwrap();
        assert!(traffic.tally.requests >= 4);
        assert!(traffic.tally.errors.is_empty());
    }

    #[test]
    fn a_request_without_an_answer_counts_as_long_as_it_has_waited() {
        let mut traffic = BenchTraffic::new().unwrap();
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        traffic.connect(silent.local_addr().unwrap(), 2).unwrap();
        traffic.offer(1_000.0, Duration::from_millis(200)).unwrap();
        traffic.count_unanswered();
        assert_eq!(traffic.tally.requests, 0);
        // Of all that were due in that time, most without a connection. What is due goes by the schedule, so half of
        // it was due in the first half.
        assert!(traffic.tally.latencies.percentile_us(500) >= 80_000);
    }
}
