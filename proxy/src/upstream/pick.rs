//! Pure: which endpoint a request goes to. Two are drawn, the less busy one is taken, between equals the one with a
//! connection at hand; endpoints that were just found dead are passed over while another is left.

/// One in so many picks does not look for warmth: else, at a low rate, whoever was connected first would get every
/// request, and a new pod none.
const COLD_PICKS: u64 = 16;

/// What a pick looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PickCandidate {
    /// Requests of this worker under way there.
    pub in_flight: u32,
    /// A pooled connection is at hand.
    pub warm: bool,
    /// Why it is out of the pick for now, if it is.
    pub out: Option<EjectionReason>,
    /// This request was there already.
    pub tried: bool,
}

/// Why an endpoint is passed over while another is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EjectionReason {
    /// It takes connections, and answers with 5xx, too late, or not at all.
    Failing,
    /// It takes no connections.
    Dead,
}

/// Picks one of `n` endpoints with an even `random` number; `look` describes them. `None`: all were tried, or there
/// is none. One that is out is picked only when every other is out or tried, a dead one last of all: an arm whose
/// endpoints are all out is still asked, since a refusal costs the user no more than our own 502.
pub fn pick(n: usize, random: u64, look: impl Fn(usize) -> PickCandidate) -> Option<usize> {
    match n {
        0 => return None,
        1 => return (!look(0).tried).then_some(0),
        _ => {}
    }
    let (first, second) = two_of(n, random);
    let (a, b) = (look(first), look(second));
    match (usable(a), usable(b)) {
        (true, true) => {
            let cold = random.rotate_left(7).is_multiple_of(COLD_PICKS);
            Some(if better(b, a, cold) { second } else { first })
        }
        (true, false) => Some(first),
        (false, true) => Some(second),
        (false, false) => {
            let from_first = || (0..n).map(|offset| (first + offset) % n);
            let untried = |out: Option<EjectionReason>| {
                from_first().find(|&i| look(i).out == out && !look(i).tried)
            };
            untried(None)
                .or_else(|| untried(Some(EjectionReason::Failing)))
                .or_else(|| untried(Some(EjectionReason::Dead)))
        }
    }
}

fn usable(candidate: PickCandidate) -> bool {
    candidate.out.is_none() && !candidate.tried
}

fn better(a: PickCandidate, b: PickCandidate, cold: bool) -> bool {
    if a.in_flight != b.in_flight {
        return a.in_flight < b.in_flight;
    }
    !cold && a.warm && !b.warm
}

/// Two different places below `n`, each pair equally likely.
fn two_of(n: usize, random: u64) -> (usize, usize) {
    let n = n as u64;
    let first = scale(random & 0xffff_ffff, n);
    let second = scale(random >> 32, n - 1);
    let second = if second >= first { second + 1 } else { second };
    (first as usize, second as usize)
}

/// An even 32-bit number to one below `n`.
fn scale(random: u64, n: u64) -> u64 {
    (random * n) >> 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLD: PickCandidate = PickCandidate {
        in_flight: 0,
        warm: false,
        out: None,
        tried: false,
    };

    /// A well-mixed sequence of numbers (splitmix64).
    fn numbers() -> impl Iterator<Item = u64> {
        (1u64..).map(|i| {
            let mut z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
    }

    fn shares(candidates: &[PickCandidate], picks: usize) -> Vec<usize> {
        let mut counts = vec![0; candidates.len()];
        for random in numbers().take(picks) {
            counts[pick(candidates.len(), random, |i| candidates[i]).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn equals_get_equal_shares() {
        for share in shares(&[COLD; 5], 50_000) {
            assert!((9_500..10_500).contains(&share), "{share}");
        }
    }

    #[test]
    fn of_two_the_less_busy_one_is_taken() {
        assert_eq!(
            shares(
                &[
                    PickCandidate {
                        in_flight: 1,
                        ..COLD
                    },
                    COLD
                ],
                1_000
            ),
            [0, 1_000]
        );
    }

    #[test]
    fn between_equals_the_warm_one_is_preferred_and_the_cold_one_not_starved() {
        let counts = shares(&[PickCandidate { warm: true, ..COLD }, COLD], 64_000);
        assert!((1_500..2_600).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn a_busy_warm_one_does_not_win_over_an_idle_cold_one() {
        assert_eq!(
            shares(
                &[
                    PickCandidate {
                        warm: true,
                        in_flight: 1,
                        ..COLD
                    },
                    COLD
                ],
                100
            ),
            [0, 100]
        );
    }

    #[test]
    fn an_ejected_one_is_passed_over_while_another_is_left() {
        let out = PickCandidate {
            out: Some(EjectionReason::Dead),
            ..COLD
        };
        assert_eq!(shares(&[out, out, out, COLD], 1_000), [0, 0, 0, 1_000]);
    }

    #[test]
    fn when_all_are_ejected_one_is_asked_all_the_same() {
        let out = PickCandidate {
            out: Some(EjectionReason::Dead),
            ..COLD
        };
        assert!(shares(&[out; 3], 3_000).iter().all(|&share| share > 700));
    }

    #[test]
    fn an_endpoint_is_never_tried_twice() {
        let tried = PickCandidate {
            tried: true,
            ..COLD
        };
        let out = PickCandidate {
            out: Some(EjectionReason::Dead),
            ..COLD
        };
        assert_eq!(shares(&[tried, out], 100), [0, 100]);
        let failing = PickCandidate {
            out: Some(EjectionReason::Failing),
            ..COLD
        };
        assert_eq!(
            shares(&[out, failing, tried], 100),
            [0, 100, 0],
            "a dead one is asked last"
        );
        assert_eq!(pick(1, 5, |_| tried), None);
        assert_eq!(pick(2, 5, |_| tried), None);
        assert_eq!(pick(0, 5, |_| COLD), None);
    }

    proptest! {
        #[test]
        fn two_of_gives_two_different_places(n in 2usize..1_000, random: u64) {
            let (first, second) = two_of(n, random);
            prop_assert!(first != second && first < n && second < n);
        }

        #[test]
        fn whoever_is_picked_was_not_tried(
            flags in prop::collection::vec((0u32..3, any::<bool>(), any::<Option<bool>>(), any::<bool>()), 0..8),
            random: u64,
        ) {
            let look = |i: usize| {
                let (in_flight, warm, out, tried) = flags[i];
                let out = out.map(|dead| if dead { EjectionReason::Dead } else { EjectionReason::Failing });
                PickCandidate { in_flight, warm, out, tried }
            };
            let picked = pick(flags.len(), random, look);
            prop_assert_eq!(picked.is_none(), (0..flags.len()).all(|i| look(i).tried));
            if let Some(i) = picked {
                prop_assert!(!look(i).tried);
                prop_assert!(
                    look(i).out.is_none() || (0..flags.len()).all(|i| look(i).out.is_some() || look(i).tried)
                );
            }
        }
    }
}
