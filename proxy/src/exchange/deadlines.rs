//! What time does to an exchange: time-outs, each against the side that is waited for; latency limits, counted as
//! *over* at the moment they pass; the end of what has lasted too long after a rollback or in a drain.

use std::time::{Duration, Instant};

use super::concurrency_slot::ExchangeProgress;
use super::flow::FlowWait;
use super::{Exchange, RoutedRequest};
use crate::counters::CellWriter;
use crate::local::capacity::SlowClient;
use crate::local::tick::Tick;
use crate::outcome::Ending;
use crate::stream::Stream;

/// An answer or tunnel older than this is long: reported, and an answer is not closed for a rollback before.
const LONG: Duration = Duration::from_secs(10);

/// A client that waits to be asked for its body is asked by the proxy after so long: as much as common clients wait
/// before they send it unasked (curl).
const CONTINUE: Duration = Duration::from_secs(1);
/// A client that sends nothing of what it owes for so long has kept its backend waiting.
const KEPT_WAITING: Duration = Duration::from_secs(1);

/// What has passed.
#[derive(Debug)]
pub(super) enum ExpiredDeadline {
    /// The connection could not be made in time.
    Connect,
    /// The answer's head did not come in time.
    Head,
    /// The client still waits to be asked for its body.
    Continue,
    /// The rest of the request does not come, or cannot be sent, while its answer is relayed already.
    Upload,
    /// The exchange is over.
    Over(Ending),
}

/// The moments that matter to one exchange.
#[derive(Debug)]
pub(super) struct ExchangeDeadlines {
    /// The request's last byte, from which latency runs.
    since: Instant,
    since_tick: Tick,
    started: Tick,
    limits_passed: usize,
    long: Option<LongExchangeGuard>,
    close_at: Option<Tick>,
}

impl ExchangeDeadlines {
    pub(super) fn new(order: &RoutedRequest, now: Tick) -> Self {
        let since = order.received;
        Self {
            since,
            since_tick: now,
            started: now,
            limits_passed: 0,
            long: None,
            close_at: None,
        }
    }

    /// The request's last byte was received now, later than its head.
    pub(super) fn body_received(&mut self, now: Tick) {
        self.since = Instant::now();
        self.since_tick = now;
    }

    /// The tick of what latency runs from.
    pub(super) fn since_tick(&self) -> Tick {
        self.since_tick
    }

    pub(super) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Counts the limits that have passed after waiting for so long.
    pub(super) fn count_over(&mut self, order: &RoutedRequest, waited: Duration) {
        while let Some(limit) = order.limits().get(self.limits_passed)
            && limit.after < waited
        {
            order.cell.over_limit(limit.quantile);
            self.limits_passed += 1;
        }
    }

    /// The final answer's head has arrived after so long.
    pub(super) fn count_answer(&mut self, order: &RoutedRequest, waited: Duration) {
        self.count_over(order, waited);
        for limit in order.limits().get(self.limits_passed..).unwrap_or_default() {
            order.cell.within_limit(limit.quantile);
        }
        self.limits_passed = order.limits().len();
    }

    fn next_limit(&self, order: &RoutedRequest) -> Tick {
        order
            .limits()
            .get(self.limits_passed)
            .map_or(Tick::NEVER, |limit| self.since_tick.after(limit.after))
    }
}

/// Counted as long until dropped; not where the other arm answers.
#[derive(Debug)]
struct LongExchangeGuard(Option<CellWriter>);

impl Drop for LongExchangeGuard {
    fn drop(&mut self) {
        self.0.iter().for_each(CellWriter::long_closed);
    }
}

/// The earliest of several deadlines and what it means; before it perhaps a moment to wake for something else.
struct NextDeadline {
    at: Tick,
    means: ExpiredDeadline,
    wake: Tick,
}

impl NextDeadline {
    fn at(at: Tick, means: ExpiredDeadline) -> Self {
        Self {
            at,
            means,
            wake: at,
        }
    }

    fn or(self, at: Tick, means: ExpiredDeadline) -> Self {
        if at < self.at {
            Self {
                at,
                means,
                wake: self.wake.min(at),
            }
        } else {
            self
        }
    }

    fn wake(self, at: Tick) -> Self {
        Self {
            wake: self.wake.min(at),
            ..self
        }
    }
}

impl<C: Stream> Exchange<'_, C> {
    /// To be asked whenever an exchange begins to wait for a connection.
    pub(super) fn clock_while_connecting(&mut self, deadline: Tick) -> Result<(), ExpiredDeadline> {
        self.watch(NextDeadline::at(deadline, ExpiredDeadline::Connect), None)
    }

    /// To be asked whenever an exchange begins to wait for the answer's head.
    pub(super) fn clock_before_answer(&mut self) -> Result<(), ExpiredDeadline> {
        let due = self.upload_due(false);
        let due = match self.download.waiting() {
            FlowWait::ForSource => due,
            FlowWait::ForSink => due.or(
                self.write_due(),
                ExpiredDeadline::Over(Ending::ClientStalled(100)),
            ),
        };
        self.watch(due, None)
    }

    /// To be asked whenever an exchange begins to wait while the answer with this status is relayed.
    pub(super) fn clock_during_answer(&mut self, status: u16) -> Result<(), ExpiredDeadline> {
        let due = self.upload_due(true);
        let due = match self.download.waiting() {
            _ if self.download.is_done() => due,
            FlowWait::ForSource => {
                // Many answers begin early and go on only when the request has ended.
                let progress = self.download.progress().max(self.upload.progress());
                let idle = progress.after(self.order.arm.timeouts.idle);
                let owed = self.standing(true).client_owes;
                let ending = if owed {
                    Ending::ClientStalled(status)
                } else {
                    Ending::BodyIdle(status)
                };
                due.or(idle, ExpiredDeadline::Over(ending))
            }
            FlowWait::ForSink => due.or(
                self.write_due(),
                ExpiredDeadline::Over(Ending::ClientStalled(status)),
            ),
        };
        let due = self.age(self.clock.started.after(LONG), due);
        self.watch(due, Some(status))
    }

    /// To be asked whenever a tunnel begins to wait; `active`: when a byte last went either way.
    pub(super) fn clock_in_tunnel(&mut self, active: Tick) -> Result<(), ExpiredDeadline> {
        if !self.worker.phase().tunnel_may_stay() {
            return Err(ExpiredDeadline::Over(Ending::Shutdown));
        }
        if self.client.timer.is_leaving() {
            return Err(ExpiredDeadline::Over(Ending::Answered(101)));
        }
        let held = self.client.input.held() + self.answer.held();
        self.worker
            .wait_for(&self.client.timer, SlowClient::tunnel(active, held));
        let idle = active.after(self.order.arm.timeouts.tunnel);
        let due = self.age(
            Tick::START,
            NextDeadline::at(idle, ExpiredDeadline::Over(Ending::Answered(101))),
        );
        if due.at <= self.worker.ticker.now() {
            return Err(due.means);
        }
        self.client.timer.set(due.wake);
        Ok(())
    }

    /// What the rest of the request is waited for, or the answer's head where there is no rest.
    fn upload_due(&self, answered: bool) -> NextDeadline {
        let head = NextDeadline::at(
            self.upload
                .progress()
                .after(self.order.arm.timeouts.response_head),
            ExpiredDeadline::Head,
        );
        let never = NextDeadline::at(Tick::NEVER, ExpiredDeadline::Upload);
        if self.upload_cut || self.upload.is_done() {
            return if answered { never } else { head };
        }
        match self.upload.waiting() {
            FlowWait::ForSource if self.awaits_continue() => NextDeadline::at(
                self.clock.started.after(CONTINUE),
                ExpiredDeadline::Continue,
            ),
            FlowWait::ForSource => {
                let idle = self
                    .upload
                    .progress()
                    .after(self.worker.limits().client.body);
                NextDeadline::at(
                    idle,
                    if answered {
                        ExpiredDeadline::Upload
                    } else {
                        ExpiredDeadline::Over(Ending::ClientTimeout)
                    },
                )
            }
            FlowWait::ForSink if answered => NextDeadline {
                means: ExpiredDeadline::Upload,
                ..head
            },
            FlowWait::ForSink => head,
        }
    }

    fn write_due(&self) -> Tick {
        self.download
            .progress()
            .after(self.worker.limits().client.write)
    }

    /// Counts what has become long. Once the release was taken back, it closes from `closable` on, spread over the
    /// grace so that not all clients come back at once.
    fn age(&mut self, closable: Tick, due: NextDeadline) -> NextDeadline {
        let now = self.worker.ticker.now();
        let long = self.clock.started.after(LONG);
        let due = if self.clock.long.is_some() {
            due
        } else if now < long {
            due.wake(long)
        } else {
            let cell = (!self.order.fallback).then(|| self.order.cell.clone());
            cell.iter().for_each(CellWriter::long_opened);
            self.clock.long = Some(LongExchangeGuard(cell));
            due
        };
        let Some(recalled) = self.order.arm.recalled(self.clock.started) else {
            self.clock.close_at = None;
            return due;
        };
        if now < closable {
            return due;
        }
        let worker = self.worker;
        let close_at = || {
            recalled
                .max(closable)
                .after(worker.jitter(worker.limits().tunnel_grace))
        };
        due.or(
            *self.clock.close_at.get_or_insert_with(close_at),
            ExpiredDeadline::Over(Ending::Shutdown),
        )
    }

    /// Sets the timer to what comes first; `Err` when it has come already. `status`: that of the answer, once it is
    /// relayed.
    fn watch(&mut self, due: NextDeadline, status: Option<u16>) -> Result<(), ExpiredDeadline> {
        if !self.worker.phase().exchange_may_go_on() {
            return Err(ExpiredDeadline::Over(Ending::Shutdown));
        }
        let now = self.worker.ticker.now();
        let mut limit = Tick::NEVER;
        if self.upload.is_read() {
            limit = self.clock.next_limit(self.order);
            if limit <= now {
                self.clock
                    .count_over(self.order, self.clock.waited(Instant::now()));
                limit = self.clock.next_limit(self.order);
            }
        }
        if due.at <= now {
            return Err(due.means);
        }
        let standing = self.standing(status.is_some());
        let place = self
            .place
            .follow(&self.order.arm, now, standing)
            .map_err(ExpiredDeadline::Over)?;
        if standing.client_owes {
            self.wait_for_client(standing.moved, status)
                .map_err(ExpiredDeadline::Over)?;
        } else {
            self.client_goes_on();
        }
        self.client.timer.set(due.wake.min(limit).min(place));
        Ok(())
    }

    /// The backend has had enough of a request whose client sends the rest of it slowly, or not at all.
    pub(super) fn keeps_waiting(&self) -> bool {
        let silent_since = self.upload.progress().after(KEPT_WAITING);
        let owes = !self.upload_cut
            && !self.upload.is_done()
            && self.upload.waiting() == FlowWait::ForSource;
        let silent = owes && !self.awaits_continue() && silent_since <= self.worker.ticker.now();
        silent || self.kept_waiting || self.is_slow_client()
    }

    /// The rest of the request is owed, and has come slowly.
    pub(super) fn is_slow_client(&self) -> bool {
        let owes = !self.upload_cut && !self.upload.is_read() && !self.awaits_continue();
        owes && self.client_was_slow()
    }

    /// The client kept its request or the answer waiting for a second or longer.
    pub(super) fn client_was_slow(&self) -> bool {
        self.place
            .client_was_slow(self.worker.ticker.now(), self.moved_by_client())
    }

    /// Who is waited for.
    fn standing(&self, answered: bool) -> ExchangeProgress {
        let rest = !self.upload_cut && !self.upload.is_done();
        let owes_rest = rest && self.upload.waiting() == FlowWait::ForSource;
        let answering = answered && !self.download.is_done();
        let leaves_answer = answering && self.download.waiting() == FlowWait::ForSink;
        ExchangeProgress {
            finished: self.upload_cut || self.upload.is_read(),
            client_owes: owes_rest || leaves_answer,
            unasked: owes_rest && self.awaits_continue(),
            answered,
            backend_done: answered && self.download.is_read() && !rest,
            moved: self.moved_by_client(),
        }
    }
}
