//! Time for thousands of connections by one tick per thread: each has a slot {deadline, waker}, and 100 ms apart the
//! tick wakes those whose deadline has passed. Setting a deadline is one store; a runtime timer per request would cost
//! more than parsing its head.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use super::buffers::SMALL;
use super::capacity::{self, ArmKey, ConnectionCapacity, ConnectionWait, SlowClient, WaitClass};
use super::tick::{TICK, Tick};

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
    waiting: Vec<ConnectionWait>,
    /// What clients that are waited for make the proxy hold, in bytes.
    owed: usize,
    /// What is kept for those whose backends are waited for. None of them can be ended for it, so it must not end others.
    kept: usize,
    free: Vec<usize>,
}

impl Slots {
    fn note(&mut self, index: usize, waiting: ConnectionWait) {
        let before = std::mem::replace(&mut self.waiting[index], waiting);
        self.owed = self.owed - before.owed() + waiting.owed();
        self.kept = self.kept - before.kept() + waiting.kept();
    }

    /// The slowest of these leave as long as it is `too_much`. Mostly one is enough, so only for more are they sorted.
    fn ask_slowest(
        &mut self,
        now: Tick,
        of: impl Fn(&SlowClient) -> bool + Copy,
        too_much: impl Fn(&Self) -> bool,
    ) {
        let counts = |owing: &SlowClient| owing.held > 0 && of(owing);
        if too_much(self)
            && let Some(first) = capacity::slowest(&self.waiting, now, |_, owing| counts(owing))
        {
            self.ask_to_leave(first);
        }
        if !too_much(self) {
            return;
        }
        for index in capacity::by_rank(&self.waiting, now, counts) {
            if !too_much(self) {
                return;
            }
            self.ask_to_leave(index);
        }
    }

    fn ask_to_leave(&mut self, index: usize) {
        self.note(index, ConnectionWait::Leaving);
        self.wakers[index].iter().for_each(Waker::wake_by_ref);
    }
}

impl Ticker {
    pub(crate) fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self {
            started: now,
            now: Cell::new(Tick::START),
            slots: RefCell::default(),
        })
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
    pub(crate) fn make_room(&self, room: ConnectionCapacity) -> usize {
        if room == ConnectionCapacity::Ample {
            return 0;
        }
        let mut slots = self.slots.borrow_mut();
        let leaving = capacity::leaving(&slots.waiting, self.now(), room);
        leaving.iter().for_each(|&index| slots.ask_to_leave(index));
        leaving.len()
    }

    /// Asks the slowest of those that are waited for to leave until all of them hold at most so many bytes.
    pub(crate) fn bound_owed(&self, most: usize) {
        let mut slots = self.slots.borrow_mut();
        slots.ask_slowest(self.now(), |_| true, |slots| slots.owed > most);
    }

    /// The same for what is kept as well, as far as that can help: they have half of it in any case, and whoever has only
    /// just begun to be waited for does not leave for others' sake.
    pub(crate) fn bound_held(&self, most: usize) {
        let (mut slots, now) = (self.slots.borrow_mut(), self.now());
        let too_much = |slots: &Slots| slots.owed + slots.kept > most && slots.owed > most / 2;
        slots.ask_slowest(now, |owing| owing.lasts(now), too_much);
    }

    /// What clients make the proxy hold, in bytes.
    pub(crate) fn held(&self) -> usize {
        let slots = self.slots.borrow();
        slots.owed + slots.kept
    }

    /// What is kept for those of them that are not waited for.
    pub(crate) fn kept(&self) -> usize {
        self.slots.borrow().kept
    }

    /// A slot for the task with this waker. The task must not poll it with another one.
    pub(crate) fn timer(self: &Rc<Self>, waker: Waker) -> ConnectionTimer {
        let mut slots = self.slots.borrow_mut();
        let index = slots.free.pop().unwrap_or_else(|| {
            slots.deadlines.push(Tick::NEVER);
            slots.wakers.push(None);
            slots.waiting.push(ConnectionWait::No);
            slots.deadlines.len() - 1
        });
        slots.wakers[index] = Some(waker);
        ConnectionTimer {
            ticker: Rc::clone(self),
            index,
        }
    }
}

/// One connection's slot.
#[derive(Debug)]
pub(crate) struct ConnectionTimer {
    ticker: Rc<Ticker>,
    index: usize,
}

impl ConnectionTimer {
    /// Wakes the task at `deadline` and at each tick from then on, until another is set.
    pub(crate) fn set(&self, deadline: Tick) {
        self.ticker.slots.borrow_mut().deadlines[self.index] = deadline;
    }

    /// Says what the connection holds its place for.
    pub(crate) fn wait(&self, waiting: ConnectionWait) {
        self.ticker.slots.borrow_mut().note(self.index, waiting);
    }

    /// Says that its backend is waited for, and how much memory is kept for its client meanwhile. Of most requests there
    /// is nothing to say.
    pub(crate) fn keep(&self, held: usize) {
        let mut slots = self.ticker.slots.borrow_mut();
        if held > SMALL || slots.waiting[self.index] != ConnectionWait::No {
            slots.note(self.index, ConnectionWait::Busy(held));
        }
    }

    /// Asks the slowest client that this arm's backend has waited for as long to leave, unless this one is alone.
    pub(crate) fn displace(&self, arm: ArmKey, wait: WaitClass) {
        let mut slots = self.ticker.slots.borrow_mut();
        let mut others = false;
        let slowest = capacity::slowest(&slots.waiting, self.ticker.now(), |index, owing| {
            let of_arm = owing.arm == Some((arm, wait));
            others |= of_arm && index != self.index;
            of_arm
        });
        if let Some(index) = slowest.filter(|_| others) {
            slots.ask_to_leave(index);
        }
    }

    /// Whether the connection was asked to leave since it last said what it waits for.
    pub(crate) fn is_leaving(&self) -> bool {
        self.ticker.slots.borrow().waiting[self.index] == ConnectionWait::Leaving
    }
}

impl Drop for ConnectionTimer {
    fn drop(&mut self) {
        let mut slots = self.ticker.slots.borrow_mut();
        slots.deadlines[self.index] = Tick::NEVER;
        slots.wakers[self.index] = None;
        slots.note(self.index, ConnectionWait::No);
        slots.free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use std::time::Duration;

    use super::*;

    fn unsent(seconds: u64, held: usize) -> ConnectionWait {
        ConnectionWait::Client(SlowClient::unsent(
            Tick::START.after(Duration::from_secs(seconds)),
            held,
        ))
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

    fn slot(ticker: &Rc<Ticker>) -> (Arc<Wakes>, ConnectionTimer) {
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
        ticker.bound_owed(250);
        let leaving = || {
            slots
                .iter()
                .map(|(_, timer)| timer.is_leaving())
                .collect::<Vec<_>>()
        };
        assert_eq!(leaving(), [false, false, true, true]);
        assert_eq!(
            slots
                .iter()
                .map(|(wakes, _)| wakes.count())
                .collect::<Vec<_>>(),
            [0, 0, 1, 1]
        );
        slots[0].1.wait(ConnectionWait::No);
        slots[2].1.wait(unsent(0, 150));
        ticker.bound_owed(250);
        assert_eq!(leaving(), [false, false, false, true]);
        drop(slots);
        assert_eq!(ticker.held(), 0);
    }

    #[test]
    fn what_is_kept_for_others_ends_only_who_lasts_and_only_down_to_half() {
        let start = Instant::now();
        let ticker = Ticker::new(start);
        let slots: Vec<_> = (0..5).map(|_| slot(&ticker)).collect();
        ticker.advance(start + Duration::from_secs(10));
        slots[4].1.keep(1 << 20);
        for ((_, timer), since) in slots[..4].iter().zip([10, 10, 3, 2]) {
            timer.wait(unsent(since, 200));
        }
        ticker.bound_owed(1200);
        let leaving = || {
            slots
                .iter()
                .map(|(_, timer)| timer.is_leaving())
                .collect::<Vec<_>>()
        };
        assert_eq!(leaving(), [false; 5]);
        ticker.bound_held(1200);
        assert_eq!(leaving(), [false, false, false, true, false]);
        ticker.bound_held(10);
        assert_eq!(leaving(), [false, false, true, true, false]);
    }

    #[test]
    fn what_is_kept_is_noted_from_the_size_of_a_small_buffer_on_and_when_it_is_kept_no_longer() {
        let ticker = Ticker::new(Instant::now());
        let (_, timer) = slot(&ticker);
        for (held, kept) in [(SMALL, 0), (4 * SMALL, 4 * SMALL), (SMALL, SMALL), (0, 0)] {
            timer.keep(held);
            assert_eq!((ticker.kept(), ticker.held()), (kept, kept));
        }
    }

    #[test]
    fn who_is_displaced_is_the_slowest_of_the_arm_unless_it_is_alone() {
        let ticker = Ticker::new(Instant::now());
        let slots: Vec<_> = (0..6).map(|_| slot(&ticker)).collect();
        for (at, (_, timer)) in slots.iter().enumerate() {
            let ConnectionWait::Client(owing) = unsent(at as u64, 1) else {
                unreachable!()
            };
            let arm = [0, 0, 1, 2, 0, 0][at];
            let wait = if at < 4 {
                WaitClass::Lasting
            } else {
                WaitClass::Brief
            };
            timer.wait(ConnectionWait::Client(SlowClient {
                arm: Some((ArmKey(arm), wait)),
                ..owing
            }));
        }
        let leaving = || {
            slots
                .iter()
                .map(|(_, timer)| timer.is_leaving())
                .collect::<Vec<_>>()
        };
        slots[2].1.displace(ArmKey(1), WaitClass::Lasting);
        slots[0].1.displace(ArmKey(0), WaitClass::Lasting);
        assert_eq!(leaving(), [true, false, false, false, false, false]);
        slots[5].1.displace(ArmKey(0), WaitClass::Brief);
        assert_eq!(leaving(), [true, false, false, false, true, false]);
    }
}
