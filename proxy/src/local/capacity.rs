//! Whose place a newcomer gets when `--max-connections` is nearly reached, and who leaves first when clients that are
//! waited for hold too much: who holds one without using it. Pure: how full it is comes in, slots to close come out.

use std::cmp::Reverse;
use std::time::Duration;

use super::tick::Tick;

/// How long a connection that has sent nothing may stay while places are scarce.
const SILENT: Duration = Duration::from_secs(10);
/// A connection idle for less than this is about to be used again, and stays.
const IDLE: Duration = Duration::from_secs(1);
/// The first bytes of whoever is only far away may take this long.
const FAR: Duration = Duration::from_millis(300);
/// Whoever has sent so many bytes by then is sending.
const MOVES: u32 = 1024;
/// Of whoever has been waited for for longer, this much more or less in a second is no difference: it is chance whether the
/// first bytes came with the head.
const STEP: u32 = 64;
/// Places are scarce from this share on, in percent.
const SCARCE_PERCENT: usize = 90;
/// So many of all places are freed at a time once all are taken: one of this number.
const FREED: usize = 50;

/// What a connection holds its place for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ConnectionWait {
    /// Something is under way.
    #[default]
    No,
    /// Its first request; it has sent nothing since it was accepted at this tick.
    First(Tick),
    /// Its next request, since this tick.
    Next(Tick),
    /// Its client: the rest of a head or body, or that it takes its answer.
    Client(SlowClient),
    /// Its backend. So much memory is kept meanwhile for what the client has sent: to be sent once more, or ahead.
    Busy(usize),
    /// Nothing any more: the place is needed.
    Leaving,
}

/// What a client that is waited for costs, and how it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlowClient {
    /// Since when it is waited for.
    pub(crate) since: Tick,
    /// Bytes that it moved in a second, not long ago.
    pub(crate) pace: u32,
    /// From this tick on that is long ago.
    pub(crate) stale: Tick,
    /// The memory that it makes the proxy hold, in bytes.
    pub(crate) held: u32,
    /// The arm whose backend waits for it, too, and with whom it is counted there.
    pub(crate) arm: Option<(ArmKey, WaitClass)>,
    /// An open tunnel: it is there to be idle, and leaves after all others.
    pub(crate) tunnel: bool,
}

/// One arm of one release, for as long as anybody holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArmKey(pub(crate) usize);

/// How long a backend has waited for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitClass {
    /// Less than a second: it may only be far away.
    Brief,
    /// A second or longer.
    Lasting,
}

impl SlowClient {
    /// For a head or a short body: no backend waits for it.
    pub(crate) fn unsent(since: Tick, held: usize) -> Self {
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        Self {
            since,
            pace: 0,
            stale: since,
            held,
            arm: None,
            tunnel: false,
        }
    }

    /// For a tunnel in which nothing has moved since this tick.
    pub(crate) fn tunnel(since: Tick, held: usize) -> Self {
        Self {
            tunnel: true,
            ..Self::unsent(since, held)
        }
    }

    /// The least leaves first: who moves the least, of those the longest waited for, of those who holds the most. Whoever
    /// has just begun to be waited for may only be far away: of such, how much they have moved is not compared.
    fn rank(self, now: Tick) -> impl Ord + use<> {
        let pace = match self.is_brief() {
            true => u32::from(self.pace >= MOVES || now.since(self.since) < FAR),
            false if now < self.stale => self.pace / STEP,
            false => 0,
        };
        (
            self.tunnel,
            !self.lasts(now),
            pace,
            self.since,
            Reverse(self.held),
        )
    }

    /// It has been waited for longer than anybody needs who is only far away.
    pub(crate) fn lasts(self, now: Tick) -> bool {
        !self.is_brief() && now.since(self.since) >= IDLE
    }

    fn is_brief(self) -> bool {
        matches!(self.arm, Some((_, WaitClass::Brief)))
    }
}

/// Those whose clients are waited for and of whom it is `asked`, in the order in which they leave.
pub(crate) fn by_rank(
    waiting: &[ConnectionWait],
    now: Tick,
    asked: impl Fn(&SlowClient) -> bool,
) -> Vec<usize> {
    let mut owing: Vec<_> = ranked(waiting, now, |_, owing| asked(owing)).collect();
    owing.sort_unstable();
    owing.into_iter().map(|(_, slot)| slot).collect()
}

/// Who of those whose clients are waited for leaves first.
pub(crate) fn slowest(
    waiting: &[ConnectionWait],
    now: Tick,
    asked: impl FnMut(usize, &SlowClient) -> bool,
) -> Option<usize> {
    ranked(waiting, now, asked).min().map(|(_, slot)| slot)
}

fn ranked(
    waiting: &[ConnectionWait],
    now: Tick,
    mut asked: impl FnMut(usize, &SlowClient) -> bool,
) -> impl Iterator<Item = (impl Ord, usize)> {
    waiting
        .iter()
        .enumerate()
        .filter_map(move |(slot, waiting)| match waiting {
            ConnectionWait::Client(owing) if asked(slot, owing) => Some((owing.rank(now), slot)),
            _ => None,
        })
}

impl ConnectionWait {
    /// The memory that a client which is waited for makes the proxy hold, in bytes.
    pub(crate) fn owed(self) -> usize {
        if let Self::Client(owing) = self {
            owing.held as usize
        } else {
            0
        }
    }

    /// That of one whose backend is waited for.
    pub(crate) fn kept(self) -> usize {
        if let Self::Busy(held) = self { held } else { 0 }
    }

    fn idle_since(self) -> Option<Tick> {
        match self {
            Self::First(since) | Self::Next(since) => Some(since),
            Self::No | Self::Client(_) | Self::Busy(_) | Self::Leaving => None,
        }
    }
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionCapacity {
    /// Enough.
    Ample,
    /// Little: who sends nothing has less time.
    Scarce,
    /// None: each worker frees so many places.
    None(usize),
}

impl ConnectionCapacity {
    /// That of so many connections in so many places, shared by some workers.
    pub(crate) fn of(connections: usize, places: usize, workers: usize) -> Self {
        if connections >= places {
            Self::None((places / FREED).max(1).div_ceil(workers))
        } else if is_scarce(connections, places) {
            Self::Scarce
        } else {
            Self::Ample
        }
    }
}

/// Whether so many connections are most of the places.
pub(crate) fn is_scarce(connections: usize, places: usize) -> bool {
    connections.saturating_mul(100) >= places.saturating_mul(SCARCE_PERCENT)
}

/// The slots whose connections have to leave: who has sent nothing, then the longest idle, then the slowest of those
/// who are waited for.
pub(crate) fn leaving(
    waiting: &[ConnectionWait],
    now: Tick,
    room: ConnectionCapacity,
) -> Vec<usize> {
    let wanted = match room {
        ConnectionCapacity::Ample => return Vec::new(),
        ConnectionCapacity::Scarce => 0,
        ConnectionCapacity::None(wanted) => wanted,
    };
    let silent = |waiting: &ConnectionWait| matches!(waiting, ConnectionWait::First(since) if now.since(*since) >= SILENT);
    let slots = || waiting.iter().enumerate();
    let mut leaving: Vec<usize> = slots()
        .filter(|(_, waiting)| silent(waiting))
        .map(|(slot, _)| slot)
        .collect();
    if let Some(more @ 1..) = wanted.checked_sub(leaving.len()) {
        let idle = slots().filter(|(_, waiting)| !silent(waiting));
        let idle = idle.filter_map(|(slot, waiting)| {
            Some((waiting.idle_since()?, waiting.idle_since()?, slot))
        });
        leaving.extend(longest(idle, now).take(more));
    }
    if let Some(more @ 1..) = wanted.checked_sub(leaving.len()) {
        let owing = slots().filter_map(|(slot, waiting)| match waiting {
            ConnectionWait::Client(owing) => Some((owing.rank(now), owing.since, slot)),
            _ => None,
        });
        leaving.extend(longest(owing, now).take(more));
    }
    leaving
}

/// In the order of what comes first, the slots of those who have waited for long enough.
fn longest<T: Ord>(
    all: impl Iterator<Item = (T, Tick, usize)>,
    now: Tick,
) -> impl Iterator<Item = usize> {
    let mut all: Vec<_> = all
        .filter(|(_, since, _)| now.since(*since) >= IDLE)
        .collect();
    all.sort_unstable();
    all.into_iter().map(|(_, _, slot)| slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::START.after(Duration::from_secs(seconds))
    }

    #[test]
    fn room_is_scarce_from_nine_of_ten_places_on() {
        for (connections, places, room) in [
            (0, 1, ConnectionCapacity::Ample),
            (1, 1, ConnectionCapacity::None(1)),
            (89, 100, ConnectionCapacity::Ample),
            (90, 100, ConnectionCapacity::Scarce),
            (99, 100, ConnectionCapacity::Scarce),
            (100, 100, ConnectionCapacity::None(1)),
            (10_000, 10_000, ConnectionCapacity::None(50)),
            (
                usize::MAX,
                usize::MAX - 1,
                ConnectionCapacity::None((usize::MAX - 1) / FREED / 4 + 1),
            ),
        ] {
            let found = ConnectionCapacity::of(connections, places, 4);
            assert!(
                found == room
                    || matches!((found, room), (ConnectionCapacity::None(a), ConnectionCapacity::None(b)) if a.abs_diff(b) <= 1),
                "{connections} of {places}: {found:?}"
            );
        }
    }

    #[test]
    fn who_has_sent_nothing_for_ten_seconds_leaves_from_nine_of_ten_places_on() {
        let waiting = [
            ConnectionWait::First(at(2)),
            ConnectionWait::First(at(1)),
            ConnectionWait::Next(at(0)),
        ];
        for (connections, slots) in [(89, &[][..]), (90, &[1])] {
            assert_eq!(
                leaving(
                    &waiting,
                    at(11),
                    ConnectionCapacity::of(connections, 100, 1)
                ),
                slots,
                "{connections}"
            );
        }
    }

    fn owing(since: u64, pace: u32, stale: u64, held: u32) -> ConnectionWait {
        ConnectionWait::Client(SlowClient {
            since: at(since),
            pace,
            stale: at(stale),
            held,
            arm: None,
            tunnel: false,
        })
    }

    #[test]
    fn who_moves_the_least_for_longest_leaves_first() {
        let all = [
            owing(5, 900, 30, 1),
            owing(5, 9_000, 20, 1),
            owing(5, 0, 5, 1),
            ConnectionWait::No,
            owing(5, 0, 5, 2),
            owing(4, 0, 5, 1),
        ];
        let mut left: Vec<usize> = Vec::new();
        while let Some(slot) = slowest(&all, at(20), |slot, _| !left.contains(&slot)) {
            left.push(slot);
        }
        assert_eq!(left, [5, 4, 1, 2, 0]);
    }

    #[test]
    fn a_byte_more_keeps_nobody_who_is_waited_for_longer() {
        let all = [
            owing(6, 0, 30, 1),
            owing(5, 1, 30, 1),
            owing(4, STEP, 30, 1),
        ];
        assert_eq!(by_rank(&all, at(20), |_| true), [1, 0, 2]);
    }

    #[test]
    fn of_those_who_have_just_begun_who_does_not_send_leaves_first_and_then_the_longest_waited_for()
    {
        let brief = |since, pace| {
            let arm = Some((ArmKey(0), WaitClass::Brief));
            ConnectionWait::Client(SlowClient {
                pace,
                stale: at(30),
                arm,
                ..SlowClient::unsent(at(since), 0)
            })
        };
        let all = [
            brief(20, 0),
            brief(19, 5_000),
            brief(18, 9_000),
            brief(19, 1),
        ];
        assert_eq!(by_rank(&all, at(20), |_| true), [3, 2, 1, 0]);
    }

    #[test]
    fn the_silent_leave_while_room_is_scarce_and_the_longest_idle_once_there_is_none() {
        let waiting = [
            ConnectionWait::No,
            ConnectionWait::First(at(0)),
            ConnectionWait::First(at(15)),
            ConnectionWait::Next(at(5)),
            ConnectionWait::Next(at(3)),
            owing(0, 100, 30, 1),
            ConnectionWait::Leaving,
            ConnectionWait::Next(at(20)),
            owing(20, 0, 20, 1),
            owing(1, 0, 20, 1),
        ];
        for (room, slots) in [
            (ConnectionCapacity::Ample, &[][..]),
            (ConnectionCapacity::Scarce, &[1]),
            (ConnectionCapacity::None(1), &[1]),
            (ConnectionCapacity::None(2), &[1, 4]),
            (ConnectionCapacity::None(3), &[1, 4, 3]),
            (ConnectionCapacity::None(4), &[1, 4, 3, 2]),
            (ConnectionCapacity::None(5), &[1, 4, 3, 2, 9]),
            (ConnectionCapacity::None(9), &[1, 4, 3, 2, 9, 5]),
        ] {
            assert_eq!(leaving(&waiting, at(20), room), slots, "{room:?}");
        }
    }
}
