//! From the counts of one batch to the logarithms of its likelihood ratios. All limits become one question: is
//! the chance of a bad event above θ₀? For each alternative θ' > θ₀ the ratio of the likelihoods of the counts
//! under θ' and under θ₀ has a mean of at most 1 while the chance is at most θ₀.

use serde::{Deserialize, Serialize};

use super::{
    event_counts::{EventCounts, ObservedWindow},
    evidence::{ALTERNATIVES, PerAlternative},
};

/// How many times θ₀ the alternatives of an absolute limit are; the eighth is max(0.5, 1.5·θ₀).
const ABSOLUTE: [f64; ALTERNATIVES - 1] = [1.2, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0];
/// How many times the allowed ratio of rates the alternatives of a relative limit are.
const RELATIVE: PerAlternative = [1.2, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0, 128.0];
/// Correlated requests do not pretend to be independent ones: so many a second count at most.
const INDEPENDENT_PER_SECOND: f64 = 100.0;
/// Worth of an event that cannot happen while the limit is kept; what a batch may say is bounded anyway.
const CERTAIN: f64 = 1e9;

/// How much likelier stable's counts have to be if it, too, breaks a limit. Beside a stable just below its limit
/// one fault of gray in three hundred then waits for a second look, ten seconds later.
const LN_THIRTY: f64 = 3.401_197_381_662_155_5;

/// The power that a batch's evidence is raised to, at most 1: `requests` of the judged arm in `seconds`.
pub(super) fn power(requests: u64, seconds: f64) -> f64 {
    let independent = INDEPENDENT_PER_SECOND * seconds;
    if requests as f64 <= independent {
        1.0
    } else {
        independent / requests as f64
    }
}

/// What a bad and a good event say against an absolute limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Absolute {
    /// ln(θ'/θ₀).
    bad: PerAlternative,
    /// ln((1−θ')/(1−θ₀)).
    good: PerAlternative,
}

impl Absolute {
    /// For a limit in millionths. A limit of 0 makes every bad event worth as much as a batch may say; a limit
    /// of 1 000 000 cannot be broken, so no event says anything.
    pub(super) fn new(millionths: u32) -> Self {
        let limit = f64::from(millionths.min(1_000_000)) / 1e6;
        let mut odds = Self {
            bad: [0.0; ALTERNATIVES],
            good: [0.0; ALTERNATIVES],
        };
        if millionths >= 1_000_000 {
            return odds;
        }
        for j in 0..ALTERNATIVES {
            let wanted = ABSOLUTE
                .get(j)
                .map_or((1.5 * limit).max(0.5), |times| times * limit);
            let alternative = wanted.min((1.0 + limit) / 2.0);
            odds.bad[j] = if millionths == 0 {
                CERTAIN
            } else {
                (alternative / limit).ln()
            };
            odds.good[j] = ((1.0 - alternative) / (1.0 - limit)).ln();
        }
        odds
    }

    /// Logarithms of the likelihood ratios of a batch.
    pub(super) fn gains(&self, seen: EventCounts, power: f64) -> PerAlternative {
        let bad = power * seen.bad as f64;
        let good = power * seen.good() as f64;
        std::array::from_fn(|j| bad * self.bad[j] + good * self.good[j])
    }
}

/// Whether stable, too, breaks a limit (millionths) that gray breaks: its counts over the same time are thirty times
/// likelier at a rate above the limit, though not above gray's, than at the limit. An e-process of stable's own
/// would ask for more than stable can show where gray has most of the traffic, and gray's would decide first: an
/// outage of everything would be blamed on gray.
pub(super) fn fails_too(seen: ObservedWindow, millionths: u32) -> bool {
    let limit = f64::from(millionths) / 1e6;
    let rate = seen.stable.rate().min(seen.gray.rate());
    if rate <= limit {
        return false;
    }
    let (bad, good) = (seen.stable.bad as f64, seen.stable.good() as f64);
    // At a rate of 1 there is no good event, and nothing times its infinite logarithm is not a number.
    let good = if good > 0.0 {
        good * ((1.0 - rate) / (1.0 - limit)).ln()
    } else {
        0.0
    };
    bad * (rate / limit).ln() + good > LN_THIRTY
}

/// Logarithms of the likelihood ratios of a batch for gray's rate against `factor` times stable's: among the bad events of both arms, is the chance
/// that one is gray's above r·n_g / (r·n_g + n_s)? None if the batch says nothing: no bad event at all, or no
/// traffic in one of the arms.
///
/// With independent requests its mean is at most 1 without any approximation: it is
/// (1 + p_g(a−1))^n_g · (1 − p_s(1−b))^n_s ≤ exp(n_g·p_g·(a−1) − n_s·p_s·(1−b)), where a = θ'/θ₀ and
/// b = (1−θ')/(1−θ₀), and the exponent is at most 0 while p_g ≤ r·p_s.
pub(super) fn relative_gains(
    gray: EventCounts,
    stable: EventCounts,
    factor: f64,
    power: f64,
) -> Option<PerAlternative> {
    let bad = gray.bad as f64 + stable.bad as f64;
    if bad == 0.0 || gray.all == 0 || stable.all == 0 {
        return None;
    }
    let (ours, theirs) = (factor * gray.all as f64, stable.all as f64);
    let of_gray = power * gray.bad as f64;
    let of_both = power * bad;
    Some(std::array::from_fn(|j| {
        of_gray * LN_RELATIVE[j] + of_both * ((ours + theirs) / (RELATIVE[j] * ours + theirs)).ln()
    }))
}

/// Logarithms of [`RELATIVE`].
const LN_RELATIVE: PerAlternative = [
    0.182_321_556_793_954_6,
    0.405_465_108_108_164_4,
    std::f64::consts::LN_2,
    2.0 * std::f64::consts::LN_2,
    3.0 * std::f64::consts::LN_2,
    4.0 * std::f64::consts::LN_2,
    5.0 * std::f64::consts::LN_2,
    7.0 * std::f64::consts::LN_2,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Logarithm of the chance of so many bad events among `n`.
    fn ln_chance(bad: u64, n: u64, rate: f64) -> f64 {
        let ways = (0..bad)
            .map(|i| ((n - i) as f64 / (i + 1) as f64).ln())
            .sum::<f64>();
        ways + bad as f64 * rate.ln() + (n - bad) as f64 * (1.0 - rate).ln()
    }

    /// What the stakes of one batch are worth on average, over all that may happen.
    fn mean(all_that_may_happen: impl Iterator<Item = (f64, PerAlternative)>) -> PerAlternative {
        all_that_may_happen.fold([0.0; ALTERNATIVES], |sum, (ln_chance, gains)| {
            std::array::from_fn(|j| sum[j] + (ln_chance + gains[j]).exp())
        })
    }

    #[test]
    fn nobody_wins_against_a_kept_absolute_limit_on_average() {
        for limit in [1, 1_000, 10_000, 50_000, 500_000, 900_000, 999_999] {
            for share in [0.1, 0.9, 1.0] {
                for seconds in [0.1, 0.5, 60.0] {
                    let odds = Absolute::new(limit);
                    let rate = share * f64::from(limit) / 1e6;
                    let n = 60;
                    let power = power(n, seconds);
                    let outcomes = (0..=n).map(|bad| {
                        (
                            ln_chance(bad, n, rate),
                            odds.gains(EventCounts::new(bad, n), power),
                        )
                    });
                    let mean = mean(outcomes);
                    assert!(
                        mean.iter().all(|&mean| mean <= 1.0 + 1e-9),
                        "{limit} {share} {seconds}: {mean:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn nobody_wins_against_a_kept_relative_limit_on_average() {
        for (gray, stable) in [(30, 30), (1, 60), (60, 1), (50, 2)] {
            for (rate, factor) in [(0.001, 2.0), (0.05, 2.0), (0.3, 3.0), (0.9, 1.0)] {
                let power = power(gray, 0.2);
                let outcomes =
                    (0..=gray).flat_map(|bad| (0..=stable).map(move |of_stable| (bad, of_stable)));
                let mean = mean(outcomes.map(|(bad, of_stable)| {
                    let (gray, stable) = (
                        EventCounts::new(bad, gray),
                        EventCounts::new(of_stable, stable),
                    );
                    let ln_chance = ln_chance(bad, gray.all, rate * factor)
                        + ln_chance(of_stable, stable.all, rate);
                    let gains = relative_gains(gray, stable, factor, power);
                    (ln_chance, gains.unwrap_or([0.0; ALTERNATIVES]))
                }));
                assert!(
                    mean.iter().all(|&mean| mean <= 1.0 + 1e-9),
                    "{gray} {stable} {rate} {factor}: {mean:?}"
                );
            }
        }
    }

    #[test]
    fn alternatives_lie_between_the_limit_and_certainty() {
        for limit in 1..1_000_000 {
            let odds = Absolute::new(limit);
            assert!(
                odds.bad.iter().all(|&bad| bad > 0.0 && bad.is_finite()),
                "{limit}"
            );
            assert!(
                odds.good.iter().all(|&good| good < 0.0 && good.is_finite()),
                "{limit}"
            );
        }
    }

    #[test]
    fn stable_fails_too_only_if_its_own_counts_say_so() {
        let seen = |gray: (u64, u64), stable: (u64, u64)| ObservedWindow {
            seconds: 1.5,
            gray: EventCounts::new(gray.0, gray.1),
            stable: EventCounts::new(stable.0, stable.1),
        };
        let table = [
            ((75, 150), (0, 0), false),
            ((75, 150), (0, 150), false),
            ((75, 150), (2, 150), false),
            ((75, 150), (75, 150), true),
            ((75, 150), (10, 150), true),
            ((150, 150), (1, 1), true),
            ((1, 150), (150, 150), false),
        ];
        for (gray, stable, expected) in table {
            assert_eq!(
                fails_too(seen(gray, stable), 10_000),
                expected,
                "{gray:?} {stable:?}"
            );
        }
        assert!(fails_too(seen((1, 2), (1, 2)), 0));
        assert!(!fails_too(seen((2, 2), (2, 2)), 1_000_000));
    }
}
