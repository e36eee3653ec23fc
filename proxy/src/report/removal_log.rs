//! What went from the reports, and when, so that a reader is told once. It reaches back only so far: who has not read for
//! longer gets a full report instead.

use std::collections::VecDeque;

/// So many removals are remembered: more than are made at once when stages that are over become too many, or no reader
/// could follow that.
const REMEMBERED: usize = super::STAGES_OVER / 2;

/// Things that are reported no more, oldest first.
#[derive(Debug)]
pub(crate) struct RemovalLog<T> {
    /// Each with the sequence of the first report without it.
    removed: VecDeque<(u64, T)>,
    /// Whoever has a report before this one cannot be told of all that went.
    reaches_back_to: u64,
}

impl<T> RemovalLog<T> {
    pub(crate) fn new() -> Self {
        Self {
            removed: VecDeque::new(),
            reaches_back_to: 0,
        }
    }

    /// Something is missing from the report of this sequence on.
    pub(crate) fn push(&mut self, sequence: u64, what: T) {
        self.removed.push_back((sequence, what));
        if self.removed.len() > REMEMBERED {
            let forgotten = self.removed.pop_front();
            self.reaches_back_to = forgotten.map_or(sequence, |(at, _)| at);
        }
    }

    /// Whether it has everything that went after the report of this sequence.
    pub(crate) fn reaches(&self, since: u64) -> bool {
        since >= self.reaches_back_to
    }

    /// What went after the report of this sequence, in the order in which it did; nothing for who has none.
    pub(crate) fn since(&self, since: Option<u64>) -> impl Iterator<Item = &T> {
        let from = since.map_or(self.removed.len(), |since| {
            self.removed.partition_point(|(at, _)| *at <= since)
        });
        self.removed.range(from..).map(|(_, what)| what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_read_recently_is_told_what_went_and_who_has_not_needs_everything() {
        let mut log = RemovalLog::new();
        let last = REMEMBERED as u64 + 10;
        (1..=last).for_each(|sequence| log.push(sequence, sequence));
        assert!(log.reaches(10) && !log.reaches(9));
        assert_eq!(log.since(Some(10)).count(), REMEMBERED);
        assert_eq!(
            log.since(Some(last - 2)).collect::<Vec<_>>(),
            [&(last - 1), &last]
        );
        assert_eq!(log.since(Some(last)).count() + log.since(None).count(), 0);
    }
}
