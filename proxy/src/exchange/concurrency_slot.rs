//! A request's place among those that its arm is busy with (`maxInFlight`). A backend is busy with a request from its
//! last byte, or while a long body keeps coming. A client that owes its body, or does not take its answer, keeps nobody
//! busy but itself: its request has no place, so that however many such clients there are, all others are served. But each
//! holds a connection to the backend: beyond `maxInFlight` of them the slowest ends. Those that last and those that have
//! just begun are counted apart, so that neither end the others.

use std::rc::Rc;
use std::time::Duration;

use crate::local::arms::{Admission, AwaitedExchange, WorkerArm};
use crate::local::capacity::{SlowClient, WaitClass};
use crate::local::tick::Tick;
use crate::outcome::Ending;
use crate::upstream::in_flight::AdmissionError;

/// A client keeps its place by moving [`STEADY`] bytes within each time of this length.
const WINDOW: Duration = Duration::from_secs(1);
/// As much as a first flight of packets brings. Whoever sends this much in each second has the cost of an ordinary
/// client that sends whole requests.
const STEADY: u64 = 16 * 1024;

/// Whether a request is counted.
#[derive(Debug)]
enum SlotState {
    /// Not yet: its body has not come, nor enough of it.
    Owed,
    Held(Admission),
    /// No longer, since its client keeps it waiting. It is counted again when the client goes on, whether there is room
    /// or not: what the backend has begun is not broken off.
    Lent,
    /// The backend is done with it.
    Done,
}

/// The place of one request.
#[derive(Debug)]
pub(super) struct ConcurrencySlot {
    state: SlotState,
    /// The body was received to its end.
    finished: bool,
    window_ends: Tick,
    /// Bytes moved when the window began.
    moved_before: u64,
    /// The client was waited for when this was last asked.
    owing: bool,
    /// It moved less than it should in the window before.
    slow: bool,
    /// It did so in any window.
    was_slow: bool,
    /// Bytes moved in the window before.
    pace: u64,
    /// Since when the client has been waited for.
    waits_since: Tick,
    /// The worker knows that the client is waited for.
    listed: bool,
    /// So does the arm, among those that have no place.
    awaited: Option<AwaitedExchange>,
}

/// How an exchange stands whenever it begins to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExchangeProgress {
    /// The request was received to its last byte.
    pub(super) finished: bool,
    /// The client is waited for: the rest of its request, or that it takes more of the answer.
    pub(super) client_owes: bool,
    /// The client waits to be asked for its body: its second begins with that.
    pub(super) unasked: bool,
    /// The answer has begun: nothing is refused any more.
    pub(super) answered: bool,
    /// The backend has nothing more to do: its answer was read to the last byte. Its connection is held all the same.
    pub(super) backend_done: bool,
    /// Body bytes that the client has sent and taken so far.
    pub(super) moved: u64,
}

impl ConcurrencySlot {
    /// None: for an exchange that has not come to its arm.
    pub(super) fn none() -> Self {
        Self::new(SlotState::Done, false, Tick::NEVER)
    }

    /// Before a backend is asked. A finished request takes its place; another one is let in if there would be one, and
    /// takes it once enough of its body has come.
    ///
    /// # Errors
    /// The arm has no room.
    pub(super) fn begin(arm: &Rc<WorkerArm>, finished: bool, now: Tick) -> Result<Self, Ending> {
        arm.room().map_err(ending)?;
        let state = if finished {
            SlotState::Held(arm.enter())
        } else {
            SlotState::Owed
        };
        Ok(Self::new(state, finished, now.after(WINDOW)))
    }

    fn new(state: SlotState, finished: bool, window_ends: Tick) -> Self {
        Self {
            state,
            finished,
            window_ends,
            moved_before: 0,
            owing: false,
            slow: false,
            was_slow: false,
            pace: 0,
            waits_since: Tick::START,
            listed: false,
            awaited: None,
        }
    }

    /// The request has become something else: a tunnel, or one that the other arm takes.
    pub(super) fn give_up(&mut self) {
        self.state = SlotState::Done;
    }

    /// To be asked whenever the exchange begins to wait; returns when to ask again at the latest.
    ///
    /// # Errors
    /// Enough of the body has come for a place, and the arm has none: the rest of it is still owed.
    pub(super) fn follow(
        &mut self,
        arm: &Rc<WorkerArm>,
        now: Tick,
        standing: ExchangeProgress,
    ) -> Result<Tick, Ending> {
        if standing.client_owes && !self.owing {
            self.waits_since = now;
        }
        if standing.unasked {
            self.begin_window(now, standing.moved);
        }
        self.owing = standing.client_owes;
        if self.finished && !standing.client_owes && self.is_held() {
            self.begin_window(now, standing.moved);
            self.slow = false;
            self.mark(false);
            return Ok(Tick::NEVER);
        }
        if standing.backend_done && !standing.client_owes {
            self.state = SlotState::Done;
        }
        if matches!(self.state, SlotState::Done) {
            return Ok(Tick::NEVER);
        }
        if standing.finished {
            self.finish(arm);
        }
        let steady = standing.moved.saturating_sub(self.moved_before) >= STEADY;
        let goes_on = self.finished && !standing.client_owes;
        let lasts = standing.client_owes && now >= self.window_ends;
        if self.is_held() && (standing.backend_done || (lasts && !steady)) {
            self.state = SlotState::Lent;
        } else if (steady || goes_on) && !standing.backend_done {
            self.hold(arm, standing.answered)?;
        }
        if steady || !standing.client_owes || now >= self.window_ends {
            self.slow = standing.client_owes && !steady;
            self.was_slow |= self.slow;
            self.pace = standing.moved.saturating_sub(self.moved_before);
            self.begin_window(now, standing.moved);
        }
        self.mark(standing.client_owes);
        Ok(if standing.client_owes && !self.slow {
            self.window_ends
        } else {
            Tick::NEVER
        })
    }

    /// Whether it is the client that has the place kept.
    fn mark(&mut self, client_owes: bool) {
        if let SlotState::Held(admission) = &mut self.state {
            admission.kept_by_client(client_owes || !self.finished);
        }
    }

    fn begin_window(&mut self, now: Tick, moved: u64) {
        self.window_ends = now.after(WINDOW);
        self.moved_before = moved;
    }

    /// For a whole window it has been the client that was waited for, and it moved less than [`STEADY`] (`moved`: bytes
    /// in all), whatever it has done since: a backend that then gives up may have had enough of it.
    pub(super) fn client_was_slow(&self, now: Tick, moved: u64) -> bool {
        let steady = moved.saturating_sub(self.moved_before) >= STEADY;
        self.was_slow || (self.owing && !steady && now >= self.window_ends)
    }

    /// What the worker is to know of a client that is waited for; `None`: it is not. `moved`: bytes so far; `held`: the
    /// memory that it takes.
    pub(super) fn owes(&self, arm: &WorkerArm, moved: u64, held: usize) -> Option<SlowClient> {
        if !self.owing || matches!(self.state, SlotState::Done) {
            return None;
        }
        let pace = self.pace.max(moved.saturating_sub(self.moved_before));
        Some(SlowClient {
            pace: u32::try_from(pace).unwrap_or(u32::MAX),
            stale: self.window_ends.after(WINDOW),
            arm: self.without_place().map(|wait| (arm.key(), wait)),
            ..SlowClient::unsent(self.waits_since, held)
        })
    }

    /// For a second or longer it has been the client that is waited for.
    pub(super) fn lasts(&self) -> bool {
        self.owing && self.slow
    }

    /// The worker knows from here on that the client is waited for. False: it knew already.
    pub(super) fn list(&mut self) -> bool {
        !std::mem::replace(&mut self.listed, true)
    }

    /// The client is waited for, and there is no place. A client that takes an answer is an ordinary one until it is slow;
    /// one whose body has not come may never send it.
    fn without_place(&self) -> Option<WaitClass> {
        match self.state {
            SlotState::Owed | SlotState::Lent if self.owing && self.slow => {
                Some(WaitClass::Lasting)
            }
            SlotState::Owed if self.owing => Some(WaitClass::Brief),
            _ => None,
        }
    }

    /// It was counted with those that have no place, and has got one since.
    pub(super) fn has_gained(&self) -> bool {
        self.awaited.is_some() && self.is_held()
    }

    /// The arm counts it with those that have no place while their clients are waited for. `None`: it did already, or
    /// does not.
    pub(super) fn count_awaited(&mut self, arm: &Rc<WorkerArm>) -> Option<WaitClass> {
        let wait = self.without_place();
        if self.awaited.as_ref().map(|awaited| awaited.wait) == wait {
            return None;
        }
        self.awaited = wait.map(|wait| arm.await_client(wait));
        wait
    }

    /// The client is not waited for any more. False: the worker knew already.
    pub(super) fn unlist(&mut self) -> bool {
        let listed = std::mem::take(&mut self.listed);
        // Only who is listed is counted with those that are awaited.
        if listed {
            self.awaited = None;
        }
        listed
    }

    /// The request is counted.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.state, SlotState::Held(_))
    }

    /// To be asked when the body has come to its end and before the end goes to the backend: with it, that begins what a
    /// client that was refused would ask for a second time.
    ///
    /// # Errors
    /// The arm has no room.
    pub(super) fn ask_to_finish(&mut self, arm: &Rc<WorkerArm>) -> Result<(), Ending> {
        self.hold(arm, false)?;
        self.finished = true;
        Ok(())
    }

    /// The last byte has come, or none follows: the backend is busy, unless it waits for the client to take its answer.
    fn finish(&mut self, arm: &Rc<WorkerArm>) {
        let first = !std::mem::replace(&mut self.finished, true);
        if matches!(self.state, SlotState::Owed) || (first && matches!(self.state, SlotState::Lent))
        {
            self.state = SlotState::Held(arm.enter());
        }
    }

    fn hold(&mut self, arm: &Rc<WorkerArm>, answered: bool) -> Result<(), Ending> {
        if matches!(self.state, SlotState::Owed) && !answered {
            arm.room().map_err(ending)?;
        }
        if matches!(self.state, SlotState::Owed | SlotState::Lent) {
            self.state = SlotState::Held(arm.enter());
        }
        Ok(())
    }
}

fn ending(full: AdmissionError) -> Ending {
    match full {
        AdmissionError::Busy => Ending::Overload,
        AdmissionError::Crowded => Ending::Crowded,
    }
}
