//! Whose place a newcomer gets when `--max-connections` is nearly reached: who holds one without using it. Pure: how
//! full it is comes in, slots to close come out.

use std::time::Duration;

use super::tick::Tick;

/// How long a connection that has sent nothing may stay while places are scarce.
const SILENT: Duration = Duration::from_secs(10);
/// A connection idle for less than this is about to be used again, and stays.
const IDLE: Duration = Duration::from_secs(1);
/// Places are scarce from this share on, in percent.
const SCARCE_PERCENT: usize = 90;
/// So many of all places are freed at a time once all are taken: one of this number.
const FREED: usize = 50;

/// What a connection holds its place for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Something is under way.
    #[default]
    No,
    /// Its first request; it has sent nothing since it was accepted at this tick.
    First(Tick),
    /// Its next request, since this tick.
    Next(Tick),
    /// The rest of a head, or of a short body, that is due at this tick and takes so many bytes of memory.
    Head(Tick, usize),
    /// Nothing any more: the place is needed.
    Leaving,
}

impl Waiting {
    /// The memory of an unfinished head or short body, in bytes.
    pub(crate) fn held(self) -> usize {
        if let Self::Head(_, bytes) = self { bytes } else { 0 }
    }

    fn idle_since(self) -> Option<Tick> {
        match self {
            Self::First(since) | Self::Next(since) => Some(since),
            Self::No | Self::Head(..) | Self::Leaving => None,
        }
    }
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Enough.
    Ample,
    /// Little: who sends nothing has less time.
    Scarce,
    /// None: each worker frees so many places.
    None(usize),
}

impl Room {
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

/// The slots whose connections have to leave.
pub(crate) fn leaving(waiting: &[Waiting], now: Tick, room: Room) -> Vec<usize> {
    let wanted = match room {
        Room::Ample => return Vec::new(),
        Room::Scarce => 0,
        Room::None(wanted) => wanted,
    };
    let silent = |waiting: &Waiting| matches!(waiting, Waiting::First(since) if now.since(*since) >= SILENT);
    let slots = || waiting.iter().enumerate();
    let mut leaving: Vec<usize> =
        slots().filter(|(_, waiting)| silent(waiting)).map(|(slot, _)| slot).collect();
    if let Some(more @ 1..) = wanted.checked_sub(leaving.len()) {
        let idle = slots().filter(|(_, waiting)| !silent(waiting));
        let mut idle: Vec<_> =
            idle.filter_map(|(slot, waiting)| Some((waiting.idle_since()?, slot))).collect();
        idle.retain(|(since, _)| now.since(*since) >= IDLE);
        idle.sort_unstable();
        leaving.extend(idle.into_iter().take(more).map(|(_, slot)| slot));
    }
    leaving
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
            (0, 1, Room::Ample),
            (1, 1, Room::None(1)),
            (89, 100, Room::Ample),
            (90, 100, Room::Scarce),
            (99, 100, Room::Scarce),
            (100, 100, Room::None(1)),
            (10_000, 10_000, Room::None(50)),
            (usize::MAX, usize::MAX - 1, Room::None((usize::MAX - 1) / FREED / 4 + 1)),
        ] {
            let found = Room::of(connections, places, 4);
            assert!(
                found == room
                    || matches!((found, room), (Room::None(a), Room::None(b)) if a.abs_diff(b) <= 1),
                "{connections} of {places}: {found:?}"
            );
        }
    }

    #[test]
    fn the_silent_leave_while_room_is_scarce_and_the_longest_idle_once_there_is_none() {
        let waiting = [
            Waiting::No,
            Waiting::First(at(0)),
            Waiting::First(at(15)),
            Waiting::Next(at(5)),
            Waiting::Next(at(3)),
            Waiting::Head(at(0), 1),
            Waiting::Leaving,
            Waiting::Next(at(20)),
        ];
        for (room, slots) in [
            (Room::Ample, &[][..]),
            (Room::Scarce, &[1]),
            (Room::None(1), &[1]),
            (Room::None(2), &[1, 4]),
            (Room::None(3), &[1, 4, 3]),
            (Room::None(9), &[1, 4, 3, 2]),
        ] {
            assert_eq!(leaving(&waiting, at(20), room), slots, "{room:?}");
        }
    }
}
