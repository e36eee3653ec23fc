//! One worker's view of one endpoint table: connections kept open between requests, what is under way, and which
//! endpoints were just found dead. Nothing here is shared with another thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};

use super::ejection::{AnswerHistory, Ejection, eject_failing};
use super::endpoints::{EndpointSet, Slot, Table};
use super::pick::{EjectionReason, PickCandidate, pick};
use crate::local::tick::Tick;
use crate::stream::Stream;

/// A pooled connection is closed after this long without a request: sooner than backends usually do it themselves,
/// since a request that meets their close has to be sent twice.
const IDLE: Duration = Duration::from_secs(4);
/// By how much we are earlier than a backend that tells its own time-out.
const EARLIER: Duration = Duration::from_secs(1);
/// A connection used this recently may carry a request that must not be sent twice.
const RECENT: Duration = Duration::from_secs(1);
/// A connection on which something may still come carries no request before it was silent for so long.
const SILENCE: Duration = Duration::from_millis(100);
/// Idle connections kept per endpoint.
const MAX_IDLE: usize = 256;
/// The same, of those that have to be silent first: they never take a place from the others.
const MAX_PARKED: usize = 64;
/// First and longest time out of the pick for an endpoint that takes no connections, or closes them unanswered.
const DEAD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The connections of one worker to the endpoints of one table.
#[derive(Debug)]
pub(crate) struct Pool<S> {
    members: RefCell<PoolState<S>>,
    /// No document names the table any more.
    retired: Cell<bool>,
}

#[derive(Debug)]
struct PoolState<S> {
    reader: Cache<Arc<ArcSwap<EndpointSet>>, Arc<EndpointSet>>,
    set: Arc<EndpointSet>,
    list: Vec<PoolEndpoint<S>>,
    /// Every endpoint fails: none of them is passed over for it.
    all_failing: bool,
}

#[derive(Debug)]
struct PoolEndpoint<S> {
    slot: Slot,
    /// Last in, first out: the connection used last is the likeliest to be open, and the others age and go.
    idle: Vec<Idle<S>>,
    /// Those that have to be silent for a while; first in, first out.
    parked: VecDeque<Idle<S>>,
    in_flight: u32,
    /// It takes no connections.
    refuses: Ejection,
    /// It closed a fresh connection without an answer. One client's request may have brought that about, so it only
    /// weighs in the pick: it never makes the arm one without endpoints.
    hangs_up: Ejection,
    answers: AnswerHistory,
}

#[derive(Debug)]
struct Idle<S> {
    stream: S,
    used: Tick,
    until: Tick,
}

/// How a connection comes (back) into the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdleState {
    /// It may carry the next request at once.
    AtHand,
    /// First it has to be silent for a while.
    IfSilent,
}

/// What a request may take from the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReusePolicy {
    /// Any connection that seems open.
    Any,
    /// Only one used within the last second that the kernel says is open (the request must not be sent twice).
    Recent,
    /// None (the request meets a second try).
    No,
}

/// What a request does where every endpoint refuses connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastResort {
    /// It asks one of them all the same.
    Resort,
    /// It goes to the other arm.
    OtherArm,
}

/// A place at an endpoint, counted as under way until dropped.
#[derive(Debug)]
pub(crate) struct EndpointLease<S> {
    pool: Rc<Pool<S>>,
    slot: Slot,
    hint: Cell<usize>,
}

impl<S: Stream> Pool<S> {
    pub(crate) fn new(table: &Table) -> Self {
        let mut reader = table.reader();
        let set = Arc::clone(reader.load());
        let mut members = PoolState {
            reader,
            set,
            list: Vec::new(),
            all_failing: false,
        };
        members.rebuild();
        Self {
            members: RefCell::new(members),
            retired: Cell::new(false),
        }
    }

    /// Picks an endpoint that is not among `tried`, with a pooled connection if there is one that may be used.
    /// `None`: no endpoint is left.
    pub(crate) fn take(
        self: &Rc<Self>,
        now: Tick,
        random: u64,
        pooled: ReusePolicy,
        (tried, last): (&[SocketAddr], LastResort),
    ) -> Option<(EndpointLease<S>, Option<S>)> {
        let members = &mut *self.members.borrow_mut();
        members.refresh();
        let (list, all_failing) = (&mut members.list, members.all_failing);
        let index = pick(list.len(), random, |i| {
            list[i].candidate(now, tried, all_failing)
        })?;
        let member = &mut list[index];
        // One that refuses connections is picked only where all that are left do.
        if last == LastResort::OtherArm && member.refuses.is_out(now) {
            return None;
        }
        member.in_flight += 1;
        let stream = member.take(now, pooled);
        Some((
            EndpointLease {
                pool: Rc::clone(self),
                slot: member.slot,
                hint: Cell::new(index),
            },
            stream,
        ))
    }

    /// As [`Table::any`], from this worker's view of the table.
    pub(crate) fn any(&self, whatever_the_check: impl FnOnce() -> bool) -> bool {
        let members = &mut *self.members.borrow_mut();
        members.refresh();
        members.set.has_any(whatever_the_check)
    }

    /// The table has no endpoint.
    pub(crate) fn is_empty(&self) -> bool {
        let members = &mut *self.members.borrow_mut();
        members.refresh();
        members.list.is_empty()
    }

    /// No document names its table any more: nothing idle stays, and nothing comes back. Whoever sweeps does not know
    /// it any more, while requests under way may hold it for long.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        for member in &mut self.members.borrow_mut().list {
            member.close_idle();
        }
    }

    /// Closes idle connections that are too old, or on which anything has arrived.
    pub(crate) fn sweep(&self, now: Tick) {
        let members = &mut *self.members.borrow_mut();
        members.refresh();
        for member in &mut members.list {
            member.idle.retain(|idle| idle.is_good(now));
            member.parked.retain(|idle| idle.is_good(now));
        }
    }
}

impl<S> PoolState<S> {
    /// Follows the table. Connections to endpoints that are no longer listed are closed by being dropped.
    fn refresh(&mut self) {
        if !Arc::ptr_eq(self.reader.load(), &self.set) {
            self.set = Arc::clone(self.reader.load());
            self.rebuild();
        }
    }

    fn rebuild(&mut self) {
        let mut old = std::mem::take(&mut self.list);
        self.list.extend(self.set.slots.iter().map(|slot| {
            let place = old.iter().position(|member| member.slot == *slot);
            place.map_or_else(|| PoolEndpoint::new(*slot), |place| old.swap_remove(place))
        }));
        self.refresh_all_failing();
    }

    fn refresh_all_failing(&mut self) {
        self.all_failing = self.list.iter().all(|member| member.answers.is_failing());
    }

    /// What the endpoint at `index` answered, which is one that fails or has failed before.
    fn judge(&mut self, index: usize, good: bool, now: Tick) {
        if good {
            self.list[index].answers.good();
        } else {
            self.list[index].answers.bad();
            let mut answers: Vec<_> = self
                .list
                .iter_mut()
                .map(|member| &mut member.answers)
                .collect();
            if eject_failing(&mut answers, index, now) {
                let address = self.list[index].slot.address;
                tracing::warn!(%address, "endpoint fails again and again and is left out for a while");
            }
        }
        self.refresh_all_failing();
    }
}

impl<S> PoolEndpoint<S> {
    fn new(slot: Slot) -> Self {
        let (refuses, hangs_up) = (Ejection::default(), Ejection::default());
        let (idle, parked) = (Vec::new(), VecDeque::new());
        Self {
            slot,
            idle,
            parked,
            in_flight: 0,
            refuses,
            hangs_up,
            answers: AnswerHistory::default(),
        }
    }

    fn close_idle(&mut self) {
        self.idle.clear();
        self.parked.clear();
    }

    fn candidate(&self, now: Tick, tried: &[SocketAddr], all_failing: bool) -> PickCandidate {
        let fails = self.hangs_up.is_out(now) || (!all_failing && self.answers.is_out(now));
        let out = match self.refuses.is_out(now) {
            true => Some(EjectionReason::Dead),
            false => fails.then_some(EjectionReason::Failing),
        };
        PickCandidate {
            in_flight: self.in_flight,
            warm: !self.idle.is_empty(),
            out,
            tried: tried.contains(&self.slot.address),
        }
    }
}

impl<S: Stream> PoolEndpoint<S> {
    fn take(&mut self, now: Tick, pooled: ReusePolicy) -> Option<S> {
        if pooled == ReusePolicy::No {
            return None;
        }
        self.unpark_oldest(now);
        while let Some(idle) = self.idle.pop() {
            if !idle.is_good(now) {
                continue;
            }
            if pooled == ReusePolicy::Any {
                return Some(idle.stream);
            }
            if now.since(idle.used) < RECENT && idle.stream.is_silent() {
                return Some(idle.stream);
            }
            // The rest were used even earlier; they stay for requests that may take them.
            self.idle.push(idle);
            return None;
        }
        None
    }

    /// Where none is at hand, the one that has been silent for longest becomes so.
    fn unpark_oldest(&mut self, now: Tick) {
        while self.idle.is_empty()
            && let Some(first) = self
                .parked
                .pop_front_if(|first| now.since(first.used) > SILENCE)
        {
            if first.is_good(now) && first.stream.is_silent() {
                self.idle.push(first);
            }
        }
    }
}

impl<S: Stream> Idle<S> {
    fn is_good(&self, now: Tick) -> bool {
        self.until > now && seems_open(&self.stream)
    }
}

/// Nothing has arrived as far as the runtime knows. The kernel is asked only when it thinks otherwise, which may be
/// no more than a read that happened to fill its buffer.
fn seems_open<S: Stream>(stream: &S) -> bool {
    !stream.is_readable() || stream.is_silent()
}

/// 501 to a method that a server does not know, 505 to a version: clients choose both.
fn is_about_request(status: u16) -> bool {
    matches!(status, 501 | 505)
}

impl<S> EndpointLease<S> {
    pub(crate) fn address(&self) -> SocketAddr {
        self.slot.address
    }

    /// The endpoint answered, with this status. An answer that says something of the request alone tells neither well nor
    /// badly of it.
    pub(crate) fn answered(&self, status: u16, now: Tick) {
        let good = status < 500;
        let as_before = self.with(|member| {
            member.refuses.end();
            member.hangs_up.end();
            good && matches!(member.answers, AnswerHistory::Good)
        });
        if as_before == Some(false) && !is_about_request(status) {
            self.judge(good, now);
        }
    }

    /// No connection could be made.
    pub(crate) fn refused(&self, now: Tick) {
        self.with(|member| member.refuses.eject(now, DEAD.0, DEAD.1));
    }

    /// A fresh connection was closed without an answer.
    pub(crate) fn hung_up(&self, now: Tick) {
        self.with(|member| {
            member.refuses.end();
            member.hangs_up.eject(now, DEAD.0, DEAD.1);
        });
    }

    /// No answer came in time: it is counted as a failure, and what is idle is closed, since nothing there can be
    /// trusted.
    pub(crate) fn timed_out(&self, now: Tick) {
        self.with(PoolEndpoint::close_idle);
        self.judge(false, now);
    }

    fn judge(&self, good: bool, now: Tick) {
        if self.with(|_| ()).is_some() {
            self.pool
                .members
                .borrow_mut()
                .judge(self.hint.get(), good, now);
        }
    }

    /// Whether the endpoint is still listed.
    pub(crate) fn is_listed(&self) -> bool {
        self.pool.members.borrow_mut().refresh();
        !self.pool.retired.get() && self.with(|_| ()).is_some()
    }

    /// Puts a connection (back) into the pool. `timeout`: after how long the backend closes it.
    pub(crate) fn put(&self, stream: S, kept: IdleState, now: Tick, timeout: Option<Duration>) {
        let keep = timeout.map_or(IDLE, |timeout| timeout.saturating_sub(EARLIER).min(IDLE));
        if keep.is_zero() {
            return;
        }
        self.with(|member| {
            let idle = Idle {
                stream,
                used: now,
                until: now.after(keep),
            };
            match kept {
                IdleState::AtHand if member.idle.len() < MAX_IDLE => member.idle.push(idle),
                IdleState::IfSilent if member.parked.len() < MAX_PARKED => {
                    member.parked.push_back(idle)
                }
                IdleState::AtHand | IdleState::IfSilent => {}
            }
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut PoolEndpoint<S>) -> T) -> Option<T> {
        let list = &mut self.pool.members.borrow_mut().list;
        if list
            .get(self.hint.get())
            .is_none_or(|member| member.slot.id != self.slot.id)
        {
            self.hint.set(
                list.iter()
                    .position(|member| member.slot.id == self.slot.id)?,
            );
        }
        Some(f(&mut list[self.hint.get()]))
    }
}

impl<S> Drop for EndpointLease<S> {
    fn drop(&mut self) {
        self.with(|member| member.in_flight -= 1);
    }
}
