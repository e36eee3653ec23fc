//! How many requests a second the open loop offers to whom. PURE.

use std::collections::BTreeMap;

/// Of its own throughput. A proxy that is offered more is full most of the time.
const MOST_OF_OWN: f64 = 0.9;

/// Requests per second, by contestant.
pub(crate) struct OfferedRates {
    /// Half of what the one carries that sets the rate.
    half: f64,
    reference: &'static str,
    rates: BTreeMap<&'static str, f64>,
}

impl OfferedRates {
    /// From what each one carries in a closed loop. All get half of what the first one carries, so that all do the same
    /// work; who cannot carry that gets as much as it can, which is where a proxy takes the least CPU for each request.
    pub(crate) fn of(throughput: &[(&'static str, f64)]) -> Self {
        let (reference, first) = throughput.first().copied().unwrap_or(("", 0.0));
        let half = first / 2.0;
        let rates = throughput
            .iter()
            .map(|&(name, own)| (name, half.min(own * MOST_OF_OWN)));
        Self {
            half,
            reference,
            rates: rates.collect(),
        }
    }

    /// What `contestant` is offered.
    pub(crate) fn to(&self, contestant: &str) -> f64 {
        self.rates.get(contestant).copied().unwrap_or(self.half)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let Self {
            half,
            reference,
            rates,
        } = self;
        let mut text = format!("open loop: {half:.0} requests/s, half of what {reference} carries");
        for (name, rate) in rates.iter().filter(|&(_, rate)| rate != half) {
            text.push_str(&format!(
                "; {name} cannot carry that: {rate:.0}, 90 % of its own"
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_offered_half_of_what_the_first_carries_if_they_can_carry_it() {
        let offered = OfferedRates::of(&[
            ("halftone", 80_000.0),
            ("haproxy", 60_000.0),
            ("nginx-lua", 45_000.0),
        ]);
        for name in ["halftone", "haproxy", "nginx-lua"] {
            assert_eq!(offered.to(name), 40_000.0);
        }
        assert_eq!(
            offered.text(),
            "open loop: 40000 requests/s, half of what halftone carries"
        );
    }

    #[test]
    fn who_cannot_carry_it_is_offered_what_it_can_carry_and_it_is_said() {
        let offered = OfferedRates::of(&[("halftone", 80_000.0), ("envoy", 40_000.0)]);
        assert_eq!(offered.to("envoy"), 36_000.0);
        assert!(
            offered
                .text()
                .ends_with("; envoy cannot carry that: 36000, 90 % of its own")
        );
    }
}
