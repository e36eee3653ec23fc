//! The comparison: every contestant runs all the time, one at a time is driven, round after round, so that
//! whatever the machine does besides meets them all alike.

use crate::Result;
use crate::contestant::RunningContestant;
use crate::medians::quantile;
use crate::offered::OfferedRates;
use crate::scenario::Scenario;
use crate::traffic::sender::FastSender;
use crate::traffic::{ARMS, BenchTraffic};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Looks at what a contestant carries before the open loop's rate is chosen; the median counts.
const RATE_SAMPLES: usize = 3;
/// Driven before counting starts: connections are made, buffers grown, Lua compiled.
const WARM_UP: Duration = Duration::from_millis(300);

/// One round of one contestant in one scenario.
#[derive(Clone, Serialize)]
pub(crate) struct Measurement {
    pub(crate) cpu_us_per_request: f64,
    pub(crate) requests_per_second: f64,
    /// In an open loop: the rate of its schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offered_per_second: Option<f64>,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    /// Share of the measured time in which the proxy's core worked for it, in percent.
    pub(crate) busy_percent: f64,
    /// Share of the measured time in which the proxy's threads could run but something else had their core, in percent.
    pub(crate) waited_percent: f64,
    /// Share of the users that met the gray arm, in percent.
    pub(crate) gray_percent: f64,
    pub(crate) errors: BTreeMap<&'static str, u64>,
}

/// All rounds of one contestant in one scenario, in order.
#[derive(Serialize)]
pub(crate) struct Series {
    pub(crate) scenario: &'static str,
    pub(crate) contestant: &'static str,
    pub(crate) rounds: Vec<Measurement>,
}

/// What the open loop offers each contestant, from what each carries in the base scenario.
pub(crate) fn offered_rates(
    traffic: &mut BenchTraffic,
    contestants: &mut [RunningContestant],
    time: Duration,
) -> Result<OfferedRates> {
    let mut throughput = Vec::new();
    for running in contestants {
        let name = running.contestant.name();
        let mut samples = Vec::new();
        for _ in 0..RATE_SAMPLES {
            let sample = measure(traffic, running, Scenario::Base, None, time)?;
            if !sample.errors.is_empty() {
                return Err(format!("{name}, what it carries: {:?}", sample.errors).into());
            }
            samples.push(sample.requests_per_second);
        }
        throughput.push((name, quantile(samples, 0.5)));
    }
    Ok(OfferedRates::of(&throughput))
}

/// Drives each contestant in each scenario, `rounds` times. Without `offered` there is no open loop.
pub(crate) fn compare(
    traffic: &mut BenchTraffic,
    contestants: &mut [RunningContestant],
    scenarios: &[Scenario],
    offered: Option<&OfferedRates>,
    rounds: usize,
    time: Duration,
    progress: impl Fn(usize, &'static str, &'static str, &Measurement),
) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    for &scenario in scenarios {
        for running in contestants.iter() {
            let contestant = running.contestant.name();
            all.push(Series {
                scenario: scenario.key(),
                contestant,
                rounds: Vec::new(),
            });
        }
    }
    for round in 0..rounds {
        for (row, &scenario) in scenarios.iter().enumerate() {
            for place in 0..contestants.len() {
                // Each round begins with another one, so that none always follows the same neighbour's caches.
                let index = (place + round) % contestants.len();
                let running = &mut contestants[index];
                let offered = offered.filter(|_| scenario.is_open_loop());
                let rate = offered.map(|rates| rates.to(running.contestant.name()));
                let measurement = measure(traffic, running, scenario, rate, time)?;
                let series = &mut all[row * contestants.len() + index];
                progress(round, series.scenario, series.contestant, &measurement);
                series.rounds.push(measurement);
            }
        }
    }
    Ok(all)
}

/// `rate`: of an open loop. An error says of whom and in which scenario.
fn measure(
    traffic: &mut BenchTraffic,
    running: &mut RunningContestant,
    scenario: Scenario,
    rate: Option<f64>,
    time: Duration,
) -> Result<Measurement> {
    let contestant = running.contestant.name();
    measured(traffic, running, scenario, rate, time)
        .map_err(|error| format!("{contestant}, {}: {error}", scenario.key()).into())
}

fn measured(
    traffic: &mut BenchTraffic,
    running: &mut RunningContestant,
    scenario: Scenario,
    rate: Option<f64>,
    time: Duration,
) -> Result<Measurement> {
    traffic.exchange(scenario.post(), scenario.answer());
    traffic.connect(running.address, scenario.connections())?;
    let fast = scenario == Scenario::FastSender;
    let sender = fast.then(|| FastSender::start(running.address));
    let sender = sender.transpose()?;
    let mut measurement = counted(traffic, running, rate, time)?;
    if let Some(sender) = sender
        && !sender.stop()?
    {
        traffic.tally.error("the fast sender was cut off");
    }
    traffic.settle()?;
    measurement.gray_percent = traffic.tally.share(ARMS[1]);
    // A split that sends nobody or everybody to gray is not the work that is compared.
    if running.contestant.splits() && !fast && !(5.0..=15.0).contains(&measurement.gray_percent) {
        traffic.tally.error("gray share is not about 10 %");
    }
    measurement.errors = traffic.tally.errors.clone();
    traffic.disconnect();
    Ok(measurement)
}

/// What is known when the measured time is over.
fn counted(
    traffic: &mut BenchTraffic,
    running: &mut RunningContestant,
    rate: Option<f64>,
    time: Duration,
) -> Result<Measurement> {
    let drive = |traffic: &mut BenchTraffic, time| match rate {
        Some(rate) => traffic.offer(rate, time),
        None => traffic.drive(time),
    };
    running.process.check()?;
    drive(traffic, WARM_UP)?;
    traffic.tally.restart();
    let (begin, usage_begin) = (Instant::now(), running.process.usage()?);
    drive(traffic, time)?;
    let lasted = begin.elapsed().as_secs_f64();
    let usage = running.process.usage()?.since(usage_begin);
    if rate.is_some() {
        traffic.count_unanswered();
    }
    let tally = &traffic.tally;
    if tally.requests == 0 {
        return Err(format!("no request was answered: {:?}", tally.errors).into());
    }
    let requests = tally.requests as f64;
    let cpu = usage.cpu.as_secs_f64();
    Ok(Measurement {
        cpu_us_per_request: cpu * 1e6 / requests,
        requests_per_second: requests / lasted,
        offered_per_second: rate,
        p50_us: tally.latencies.percentile_us(500),
        p99_us: tally.latencies.percentile_us(990),
        busy_percent: 100.0 * cpu / lasted,
        waited_percent: 100.0 * usage.waited.as_secs_f64() / lasted,
        gray_percent: 0.0,
        errors: BTreeMap::new(),
    })
}
