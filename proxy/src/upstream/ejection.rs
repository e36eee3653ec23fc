//! Pure: how long an endpoint is left out of the pick after what it did. Each worker judges by its own requests.

use std::time::Duration;

use crate::local::tick::Tick;

/// A time out of the pick, which doubles each time it follows upon the last without a sign of life between them.
#[derive(Debug, Default)]
pub(super) struct Ejection {
    until: Option<Tick>,
    times: u32,
}

impl Ejection {
    pub(super) fn is_out(&self, now: Tick) -> bool {
        self.until.is_some_and(|until| until > now)
    }

    /// Takes the endpoint out of the pick. Requests that fail together count once.
    pub(super) fn eject(&mut self, now: Tick, first: Duration, longest: Duration) {
        if self.is_out(now) {
            return;
        }
        self.until = Some(now.after(first.saturating_mul(1 << self.times.min(16)).min(longest)));
        self.times += 1;
    }

    pub(super) fn end(&mut self) {
        *self = Self::default();
    }
}

/// So many failures in a row take an endpoint out.
const IN_A_ROW: u32 = 5;
/// First and longest time out of the pick.
const OUT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(120));

/// What one endpoint's last answers were.
#[derive(Debug, Default)]
pub(super) enum AnswerHistory {
    /// None yet.
    #[default]
    Unknown,
    /// The last one was good.
    Good,
    /// So many were 5xx (other than 501 and 505) or did not come in time, one after another; the time out follows from that.
    Bad(u32, Ejection),
}

impl AnswerHistory {
    /// An answer that is no failure.
    pub(super) fn good(&mut self) {
        if !matches!(self, Self::Good) {
            *self = Self::Good;
        }
    }

    /// A failure.
    pub(super) fn bad(&mut self) {
        match self {
            Self::Unknown | Self::Good => *self = Self::Bad(1, Ejection::default()),
            Self::Bad(times, _) => *times = times.saturating_add(1),
        }
    }

    pub(super) fn is_failing(&self) -> bool {
        matches!(self, Self::Bad(IN_A_ROW.., _))
    }

    pub(super) fn is_out(&self, now: Tick) -> bool {
        matches!(self, Self::Bad(_, ejection) if ejection.is_out(now))
    }
}

/// Takes endpoint `index` out, which has just failed, if that helps: it fails steadily, the last answer of another one was
/// no failure, and no more than half are out then. True: it is out from now on.
pub(super) fn eject_failing(all: &mut [&mut AnswerHistory], index: usize, now: Tick) -> bool {
    let out = all.iter().filter(|answers| answers.is_out(now)).count();
    let another_may_do_better = all
        .iter()
        .any(|answers| !matches!(answers, AnswerHistory::Bad(..)));
    let failing = all[index].is_failing() && !all[index].is_out(now);
    if !failing || !another_may_do_better || 2 * (out + 1) > all.len() {
        return false;
    }
    if let AnswerHistory::Bad(_, ejection) = &mut *all[index] {
        ejection.eject(now, OUT.0, OUT.1);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Tick = Tick::START;

    fn later(seconds: u64) -> Tick {
        START.after(Duration::from_secs(seconds))
    }

    fn fail(all: &mut [AnswerHistory], index: usize, now: Tick) -> bool {
        all[index].bad();
        eject_failing(&mut all.iter_mut().collect::<Vec<_>>(), index, now)
    }

    fn of(good: usize, unknown: usize) -> Vec<AnswerHistory> {
        let good = (0..good).map(|_| AnswerHistory::Good);
        good.chain((0..unknown).map(|_| AnswerHistory::Unknown))
            .collect()
    }

    #[test]
    fn five_failures_in_a_row_take_an_endpoint_out_for_ten_seconds() {
        let mut all = of(2, 0);
        assert!((0..4).all(|_| !fail(&mut all, 0, START)));
        all[0].good();
        assert!((0..4).all(|_| !fail(&mut all, 0, START)), "not in a row");
        assert!(fail(&mut all, 0, START));
        assert!(all[0].is_out(later(9)) && !all[0].is_out(later(11)));
    }

    #[test]
    fn who_fails_again_is_out_for_twice_as_long_up_to_two_minutes() {
        let mut all = of(2, 0);
        let mut now = START;
        for _ in 0..5 {
            fail(&mut all, 0, now);
        }
        for seconds in [20, 40, 80, 120, 120] {
            while all[0].is_out(now) {
                now = now.after(Duration::from_millis(100));
            }
            assert!(fail(&mut all, 0, now));
            assert!(all[0].is_out(now.after(Duration::from_secs(seconds - 1))));
            assert!(!all[0].is_out(now.after(Duration::from_secs(seconds + 1))));
        }
    }

    #[test]
    fn never_more_than_half_are_out_and_never_the_last() {
        for (n, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
            let mut all = of(n, 0);
            let out = (0..n)
                .filter(|&index| (0..5).any(|_| fail(&mut all, index, START)))
                .count();
            assert_eq!(out, most, "of {n}");
        }
    }

    #[test]
    fn while_every_endpoint_fails_none_is_out() {
        let mut all = of(4, 0);
        all.iter_mut().for_each(AnswerHistory::bad);
        assert!((0..40).all(|i| !fail(&mut all, i % 4, START)));
        // One that was not asked yet may do better.
        let mut all = of(0, 4);
        assert!((0..5).any(|_| fail(&mut all, 0, START)));
    }
}
