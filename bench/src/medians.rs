//! From rounds to medians, and the ratio of two revisions that met in the same rounds.

use crate::compare::{Measurement, Series};
use serde::Serialize;
use std::collections::BTreeMap;

/// Below it something else had the proxy's core, or kept the load from filling it. Either falsifies the ratios: a
/// proxy with more code and data loses more with every switch.
pub(crate) const QUIET_PERCENT: f64 = 90.0;
/// In an open loop, where a core is not full: above it something else had the core while the proxy could have run.
const WAITED_PERCENT: f64 = 100.0 - QUIET_PERCENT;
/// Of the requests of a schedule; the rest is chance.
const KEPT: f64 = 0.95;

/// The medians of one contestant in one scenario.
#[derive(Serialize)]
pub(crate) struct Medians {
    pub(crate) cpu_us_per_request: f64,
    pub(crate) requests_per_second: f64,
    /// In an open loop: the rate of its schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offered_per_second: Option<f64>,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Failed requests of all rounds.
    pub(crate) errors: u64,
    /// Half the distance between the quartiles of CPU per request, in percent of the median: how far to trust it.
    #[serde(skip)]
    pub(crate) noise_percent: f64,
    /// Share of the proxy's core that the proxy had.
    #[serde(skip)]
    pub(crate) busy_percent: f64,
    /// Share of the time in which the proxy could have run, but something else had its core.
    #[serde(skip)]
    waited_percent: f64,
}

impl Medians {
    pub(crate) fn of(series: &Series) -> Self {
        let rounds = &series.rounds;
        let quantile_of = |rank: f64, of: &dyn Fn(&Measurement) -> f64| {
            quantile(rounds.iter().map(of).collect(), rank)
        };
        let median = |of| quantile_of(0.5, of);
        let cpu = |rank| quantile_of(rank, &|round| round.cpu_us_per_request);
        Self {
            cpu_us_per_request: cpu(0.5),
            requests_per_second: median(&|round| round.requests_per_second),
            offered_per_second: rounds.first().and_then(|round| round.offered_per_second),
            p50_us: median(&|round| round.p50_us as f64),
            p99_us: median(&|round| round.p99_us as f64),
            busy_percent: median(&|round| round.busy_percent),
            waited_percent: median(&|round| round.waited_percent),
            errors: rounds.iter().flat_map(|round| round.errors.values()).sum(),
            noise_percent: 50.0 * (cpu(0.75) - cpu(0.25)) / cpu(0.5),
        }
    }

    /// Something else had the proxy's core, or, in a closed loop, kept the load from filling it.
    pub(crate) fn is_disturbed(&self) -> bool {
        let is_open_loop = self.offered_per_second.is_some();
        let idle = !is_open_loop && self.busy_percent < QUIET_PERCENT;
        let displaced = is_open_loop && self.waited_percent > WAITED_PERCENT;
        idle || displaced
    }

    /// In an open loop: fewer requests were answered than were due.
    pub(crate) fn is_late(&self) -> bool {
        let offered = self.offered_per_second;
        offered.is_some_and(|offered| self.requests_per_second < offered * KEPT)
    }
}

/// The median over the rounds of one revision's CPU per request over the other's in the same round. What the machine
/// does besides lasts longer than a round mostly, and so meets both: pairs differ less than medians do.
pub(crate) fn against_base(all: &[Series]) -> BTreeMap<&'static str, f64> {
    let of = |scenario, contestant| {
        all.iter()
            .find(|series| series.scenario == scenario && series.contestant == contestant)
    };
    let ratio = |base: &Series| {
        let own = of(base.scenario, "halftone")?;
        let pairs = own.rounds.iter().zip(&base.rounds);
        let ratios = pairs.map(|(own, base)| own.cpu_us_per_request / base.cpu_us_per_request);
        Some((base.scenario, quantile(ratios.collect(), 0.5)))
    };
    all.iter()
        .filter(|series| series.contestant == "base")
        .filter_map(ratio)
        .collect()
}

/// The value at `rank` (0 to 1) of the sorted values, between neighbours in proportion; 0 without values.
pub(crate) fn quantile(mut values: Vec<f64>, rank: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else {
        return 0.0;
    };
    let place = rank * last as f64;
    let (below, above) = (
        values[place.floor() as usize],
        values[place.ceil() as usize],
    );
    below + (above - below) * place.fract()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn series(scenario: &'static str, contestant: &'static str, cpu: &[f64]) -> Series {
        let measurement = |&cpu_us_per_request: &f64| Measurement {
            cpu_us_per_request,
            requests_per_second: 1.0,
            offered_per_second: None,
            p50_us: 1,
            p99_us: 1,
            busy_percent: 100.0,
            waited_percent: 0.0,
            gray_percent: 10.0,
            errors: BTreeMap::new(),
        };
        Series {
            scenario,
            contestant,
            rounds: cpu.iter().map(measurement).collect(),
        }
    }

    #[test]
    fn two_revisions_are_compared_round_by_round() {
        let all = [
            series("contestants", "halftone", &[10.0, 30.0, 12.0]),
            series("contestants", "base", &[10.0, 20.0, 10.0]),
        ];
        assert_eq!(against_base(&all), BTreeMap::from([("contestants", 1.2)]));
        assert!(against_base(&all[..1]).is_empty());
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(quantile(vec![4.0, 1.0, 3.0, 2.0], 0.5), 2.5);
        assert_eq!(quantile(vec![9.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(Vec::new(), 0.5), 0.0);
    }

    #[test]
    fn a_closed_loop_needs_a_full_core_and_an_open_one_a_free_core_and_a_kept_schedule() {
        let with = |offered_per_second, requests_per_second, busy_percent, waited_percent| {
            let mut series = series("halfLoad", "halftone", &[10.0]);
            series.rounds[0].offered_per_second = offered_per_second;
            series.rounds[0].requests_per_second = requests_per_second;
            series.rounds[0].busy_percent = busy_percent;
            series.rounds[0].waited_percent = waited_percent;
            let medians = Medians::of(&series);
            (medians.is_disturbed(), medians.is_late())
        };
        assert_eq!(with(None, 1.0, 50.0, 0.0), (true, false));
        assert_eq!(with(None, 1.0, 99.0, 0.0), (false, false));
        assert_eq!(with(Some(100.0), 99.0, 50.0, 1.0), (false, false));
        assert_eq!(with(Some(100.0), 99.0, 50.0, 20.0), (true, false));
        assert_eq!(with(Some(100.0), 90.0, 99.0, 0.0), (false, true));
    }
}
