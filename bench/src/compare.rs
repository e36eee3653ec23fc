//! The comparison: every contestant runs all the time, one at a time is driven, round after round, so that
//! whatever the machine does besides meets them all alike.

use crate::Result;
use crate::contestant::RunningContestant;
use crate::scenario::Scenario;
use crate::traffic::sender::FastSender;
use crate::traffic::{ARMS, BenchTraffic};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Driven before counting starts: connections are made, buffers grown, Lua compiled.
const WARM_UP: Duration = Duration::from_millis(300);

/// One round of one contestant in one scenario.
#[derive(Clone, Serialize)]
pub(crate) struct Measurement {
    pub(crate) cpu_us_per_request: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    /// Share of the measured time in which the proxy's core worked for it, in percent.
    pub(crate) busy_percent: f64,
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

/// Drives each contestant in each scenario, `rounds` times.
pub(crate) fn compare(
    traffic: &mut BenchTraffic,
    contestants: &mut [RunningContestant],
    scenarios: &[Scenario],
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
                let measurement = measure(traffic, &mut contestants[index], scenario, time)?;
                let series = &mut all[row * contestants.len() + index];
                progress(round, series.scenario, series.contestant, &measurement);
                series.rounds.push(measurement);
            }
        }
    }
    Ok(all)
}

fn measure(
    traffic: &mut BenchTraffic,
    running: &mut RunningContestant,
    scenario: Scenario,
    time: Duration,
) -> Result<Measurement> {
    let named = |error| format!("{}, {}: {error}", running.contestant.name(), scenario.key());
    running.process.check().map_err(named)?;
    traffic.exchange(scenario.post(), scenario.answer());
    traffic.connect(running.address, scenario.connections())?;
    let fast = scenario == Scenario::FastSender;
    let sender = if fast {
        Some(FastSender::start(running.address)?)
    } else {
        None
    };
    traffic.drive(WARM_UP).map_err(named)?;
    traffic.tally.restart();
    let (begin, cpu_begin) = (Instant::now(), running.process.cpu()?);
    traffic.drive(time).map_err(named)?;
    let (lasted, cpu) = (
        begin.elapsed(),
        running.process.cpu()?.saturating_sub(cpu_begin),
    );
    let tally = &traffic.tally;
    let requests = tally.requests as f64;
    let mut measurement = Measurement {
        cpu_us_per_request: cpu.as_secs_f64() * 1e6 / requests,
        requests_per_second: requests / lasted.as_secs_f64(),
        p50_us: tally.latencies.percentile_us(500),
        p99_us: tally.latencies.percentile_us(990),
        busy_percent: 100.0 * cpu.as_secs_f64() / lasted.as_secs_f64(),
        gray_percent: 0.0,
        errors: BTreeMap::new(),
    };
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
