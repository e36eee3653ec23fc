//! Time for thousands of connections by one tick per thread: each has a slot {deadline, waker}, and 100 ms apart the
//! tick wakes those whose deadline has passed. Setting a deadline is one store; a runtime timer per request would cost
//! more than parsing its head.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::room::{self, ArmKey, Room, Waiting};

/// Between two ticks.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Ticks since the worker started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u32);

impl Tick {
    /// The worker's first.
    pub(crate) const START: Self = Self(0);
    /// Never reached: 13 years.
    pub(crate) const NEVER: Self = Self(u32::MAX);

    /// The first tick that is surely `wait` after any moment before the tick following this one.
    pub(crate) fn after(self, wait: Duration) -> Self {
        let ticks = wait.as_millis().div_ceil(TICK.as_millis()).min(u128::from(u32::MAX / 2));
        Self(self.0.saturating_add(1).saturating_add(u32::try_from(ticks).unwrap_or(u32::MAX)))
    }

    /// How long ago `earlier` was, to a tick.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        TICK * self.0.saturating_sub(earlier.0)
    }
}

/// The slots of one thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    started: Instant,
    now: Cell<Tick>,
    slots: RefCell<Slots>,
}

/// Deadlines stand alone, so that a tick over ten thousand idle connections reads 40 KB and not their wakers.
#[derive(Debug, Default)]
struct Slots {
    deadlines: Vec<Tick>,
    wakers: Vec<Option<Waker>>,
    waiting: Vec<Waiting>,
    /// What clients that are waited for make the proxy hold, in bytes.
    held: usize,
    free: Vec<usize>,
}

impl Slots {
    fn note(&mut self, index: usize, waiting: Waiting) {
        let before = std::mem::replace(&mut self.waiting[index], waiting);
        self.held = self.held - before.held() + waiting.held();
    }

    fn ask_to_leave(&mut self, index: usize) {
        self.note(index, Waiting::Leaving);
        self.wakers[index].iter().for_each(Waker::wake_by_ref);
    }
}

impl Ticker {
    pub(crate) fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self { started: now, now: Cell::new(Tick::START), slots: RefCell::default() })
    }

    /// The last tick.
    pub(crate) fn now(&self) -> Tick {
        self.now.get()
    }

    /// Wakes whose deadline has passed. The tick is reckoned from the clock, so a thread that was busy for a while
    /// catches up at once.
    pub(crate) fn advance(&self, now: Instant) {
        let ticks = now.saturating_duration_since(self.started).as_millis() / TICK.as_millis();
        let now = Tick(u32::try_from(ticks).unwrap_or(u32::MAX - 1));
        self.now.set(now);
        self.wake(|deadline| deadline <= now);
    }

    /// Wakes every connection, for news that concern them all.
    pub(crate) fn wake_all(&self) {
        self.wake(|_| true);
    }

    fn wake(&self, due: impl Fn(Tick) -> bool) {
        let slots = self.slots.borrow();
        for (deadline, waker) in slots.deadlines.iter().zip(&slots.wakers) {
            if due(*deadline)
                && let Some(waker) = waker
            {
                waker.wake_by_ref();
            }
        }
    }

    /// Asks connections that hold a place without using it to leave; how many.
    pub(crate) fn make_room(&self, room: Room) -> usize {
        if room == Room::Ample {
            return 0;
        }
        let mut slots = self.slots.borrow_mut();
        let leaving = room::leaving(&slots.waiting, self.now(), room);
        leaving.iter().for_each(|&index| slots.ask_to_leave(index));
        leaving.len()
    }

    /// Asks the slowest of those that are waited for to leave until all together hold at most so many bytes.
    pub(crate) fn bound_held(&self, most: usize) {
        let mut slots = self.slots.borrow_mut();
        while slots.held > most
            && let Some(index) = room::slowest(&slots.waiting, self.now(), |_, owing| owing.held > 0)
        {
            slots.ask_to_leave(index);
        }
    }

    /// What clients make the proxy hold, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.slots.borrow().held
    }

    /// A slot for the task with this waker. The task must not poll it with another one.
    pub(crate) fn timer(self: &Rc<Self>, waker: Waker) -> Timer {
        let mut slots = self.slots.borrow_mut();
        let index = slots.free.pop().unwrap_or_else(|| {
            slots.deadlines.push(Tick::NEVER);
            slots.wakers.push(None);
            slots.waiting.push(Waiting::No);
            slots.deadlines.len() - 1
        });
        slots.wakers[index] = Some(waker);
        Timer { ticker: Rc::clone(self), index }
    }
}

/// One connection's slot.
#[derive(Debug)]
pub(crate) struct Timer {
    ticker: Rc<Ticker>,
    index: usize,
}

impl Timer {
    /// Wakes the task at `deadline` and at each tick from then on, until another is set.
    pub(crate) fn set(&self, deadline: Tick) {
        self.ticker.slots.borrow_mut().deadlines[self.index] = deadline;
    }

    /// Says what the connection holds its place for.
    pub(crate) fn wait(&self, waiting: Waiting) {
        self.ticker.slots.borrow_mut().note(self.index, waiting);
    }

    /// Asks the slowest client that this arm's backend waits for to leave, unless this one is alone.
    pub(crate) fn displace(&self, arm: ArmKey) {
        let mut slots = self.ticker.slots.borrow_mut();
        let now = self.ticker.now();
        let of_arm = |owing: &room::Owing| owing.arm == Some(arm);
        let other =
            room::slowest(&slots.waiting, now, |index, owing| index != self.index && of_arm(owing)).is_some();
        if let Some(index) = room::slowest(&slots.waiting, now, |_, owing| of_arm(owing)).filter(|_| other) {
            slots.ask_to_leave(index);
        }
    }

    /// Whether the connection was asked to leave since it last said what it waits for.
    pub(crate) fn is_leaving(&self) -> bool {
        self.ticker.slots.borrow().waiting[self.index] == Waiting::Leaving
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut slots = self.ticker.slots.borrow_mut();
        slots.deadlines[self.index] = Tick::NEVER;
        slots.wakers[self.index] = None;
        slots.note(self.index, Waiting::No);
        slots.free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::super::room::Owing;
    use super::*;

    fn unsent(seconds: u64, held: usize) -> Waiting {
        Waiting::Client(Owing::unsent(Tick::START.after(Duration::from_secs(seconds)), held))
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Wakes {
        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn slot(ticker: &Rc<Ticker>) -> (Arc<Wakes>, Timer) {
        let wakes = Arc::new(Wakes::default());
        let timer = ticker.timer(Waker::from(Arc::clone(&wakes)));
        (wakes, timer)
    }

    #[test]
    fn a_deadline_wakes_its_task_alone_and_never_early() {
        let start = Instant::now();
        let ticker = Ticker::new(start);
        let (wakes, timer) = slot(&ticker);
        let (others, _other) = slot(&ticker);
        timer.set(ticker.now().after(Duration::from_millis(250)));
        ticker.advance(start + Duration::from_millis(399));
        assert_eq!(wakes.count(), 0);
        ticker.advance(start + Duration::from_millis(400));
        assert_eq!((wakes.count(), others.count()), (1, 0));
    }

    #[test]
    fn a_thread_that_was_busy_catches_up_at_once() {
        let start = Instant::now();
        let ticker = Ticker::new(start);
        let (wakes, timer) = slot(&ticker);
        timer.set(ticker.now().after(Duration::from_secs(5)));
        ticker.advance(start + Duration::from_secs(60));
        assert_eq!(wakes.count(), 1);
        assert_eq!(ticker.now().since(Tick::START), Duration::from_secs(60));
    }

    #[test]
    fn a_dropped_slot_is_used_again_without_its_deadline() {
        let start = Instant::now();
        let ticker = Ticker::new(start);
        let (_, timer) = slot(&ticker);
        timer.set(ticker.now());
        drop(timer);
        let (wakes, _timer) = slot(&ticker);
        ticker.advance(start + Duration::from_secs(1));
        assert_eq!(wakes.count(), 0);
        assert_eq!(ticker.slots.borrow().deadlines.len(), 1);
    }

    #[test]
    fn the_slowest_leave_until_all_together_fit() {
        let start = Instant::now();
        let ticker = Ticker::new(start);
        let slots: Vec<_> = (0..4).map(|_| slot(&ticker)).collect();
        for (at, (_, timer)) in slots.iter().enumerate() {
            timer.wait(unsent(10 - at as u64, 100));
        }
        ticker.bound_held(250);
        let leaving = || slots.iter().map(|(_, timer)| timer.is_leaving()).collect::<Vec<_>>();
        assert_eq!(leaving(), [false, false, true, true]);
        assert_eq!(slots.iter().map(|(wakes, _)| wakes.count()).collect::<Vec<_>>(), [0, 0, 1, 1]);
        slots[0].1.wait(Waiting::No);
        slots[2].1.wait(unsent(0, 150));
        ticker.bound_held(250);
        assert_eq!(leaving(), [false, false, false, true]);
        drop(slots);
        assert_eq!(ticker.slots.borrow().held, 0);
    }

    #[test]
    fn who_is_displaced_is_the_slowest_of_the_arm_unless_it_is_alone() {
        let ticker = Ticker::new(Instant::now());
        let slots: Vec<_> = (0..3).map(|_| slot(&ticker)).collect();
        for (at, (_, timer)) in slots.iter().enumerate() {
            let Waiting::Client(owing) = unsent(at as u64, 1) else { unreachable!() };
            timer.wait(Waiting::Client(Owing { arm: Some(ArmKey(at / 2)), ..owing }));
        }
        slots[2].1.displace(ArmKey(1));
        slots[0].1.displace(ArmKey(0));
        let leaving = slots.iter().map(|(_, timer)| timer.is_leaving()).collect::<Vec<_>>();
        assert_eq!(leaving, [true, false, false]);
    }

    #[test]
    fn endless_waits_do_not_overflow() {
        assert!(Tick(7).after(Duration::MAX) < Tick::NEVER);
    }
}
