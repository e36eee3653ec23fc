//! What Halftone is compared with, and how: starts every contestant on one core, drives them in turn from another,
//! and writes the medians. Everything happens on loopback and ends within minutes.
#![allow(clippy::print_stdout, reason = "a table is what this program is for")]

mod compare;
mod contestant;
mod document;
mod goals;
mod instructions;
mod latency;
mod medians;
mod memory;
mod offered;
mod process;
mod request;
mod scenario;
mod summary;
mod traffic;

use clap::{Parser, ValueEnum};
use compare::Measurement;
use contestant::{BenchPaths, Contestant, Launch, RunningContestant};
use process::Cores;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use scenario::Scenario;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use summary::Summary;
use traffic::BenchTraffic;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Compares Halftone with nginx+Lua, HAProxy, Envoy and a bare TCP relay on loopback.
#[derive(Parser)]
#[command(version)]
struct BenchArguments {
    /// Rounds of each contestant in each scenario; medians are reported.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Seconds of each measurement, after a warm-up of 0.3 s.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Three rounds of half a second: quick and rough, for development.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Only these scenarios.
    #[arg(long, value_enum)]
    scenario: Vec<Scenario>,
    /// Only these contestants.
    #[arg(long, value_enum)]
    contestant: Vec<Contestant>,
    /// The halftone-proxy of another revision, driven in the same rounds; without --contestant the two alone.
    #[arg(long, value_name = "BINARY")]
    base: Option<PathBuf>,
    /// Envoy's binary; without it the comparison goes on without Envoy, and says so.
    #[arg(long, value_name = "BINARY")]
    envoy: Option<PathBuf>,
    /// Only the comparison, or only the memory figures; or instructions per request, which callgrind counts and which
    /// are not measured otherwise.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Where compare.json, rounds.json, memory.json, instructions.json and the contestants' files go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Compare,
    Memory,
    Instructions,
}

fn main() -> ExitCode {
    match run(&BenchArguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `false`: it ran to its end, but requests failed.
fn run(options: &BenchArguments) -> Result<bool> {
    let (rounds, time) = if options.quick {
        (3, 0.5)
    } else {
        (usize::from(options.rounds), options.seconds)
    };
    let time = Duration::try_from_secs_f64(time)?;
    raise_descriptor_limit();
    let cores = Cores::find()?;
    process::pin(cores.load)?;
    let places = BenchPaths {
        binaries: binaries()?,
        base: options.base.clone(),
        envoy: options.envoy.clone(),
        scratch: options.out.clone(),
        cores,
    };
    let (contestants, missing) = contestants(options);
    let scenarios: &[Scenario] = match &options.scenario[..] {
        [] => &Scenario::ALL,
        some => some,
    };
    let mut traffic = BenchTraffic::new()?;
    let (mut all, mut offered) = (Vec::new(), None);
    if matches!(options.only, None | Some(Part::Compare)) {
        let mut running = start(&contestants, &places, &mut traffic)?;
        if scenarios.iter().any(|scenario| scenario.is_open_loop()) {
            offered = Some(compare::offered_rates(&mut traffic, &mut running, time)?);
        }
        let offered = offered.as_ref();
        all = compare::compare(
            &mut traffic,
            &mut running,
            scenarios,
            offered,
            rounds,
            time,
            show,
        )?;
    }
    let mut summary = Summary::of(&all);
    summary.missing = missing;
    summary.offered = offered;
    if options.only == Some(Part::Instructions) {
        let counted = instructions::measure(&contestants, &places, &mut traffic)?;
        summary.instructions = Some(counted);
    }
    if matches!(options.only, None | Some(Part::Memory)) {
        summary.memory = Some(memory::measure(&contestants, &places, &mut traffic)?);
    }
    summary.print(scenarios);
    summary.write(&options.out, &all)?;
    Ok(!summary.failed())
}

/// Who is driven, and who would have been but could not be had. Somebody asked for by name is driven or is an error.
fn contestants(options: &BenchArguments) -> (Vec<Contestant>, Vec<&'static str>) {
    if !options.contestant.is_empty() {
        return (options.contestant.clone(), Vec::new());
    }
    if options.base.is_some() {
        return (Contestant::REVISIONS.to_vec(), Vec::new());
    }
    let at_hand =
        |contestant: &Contestant| *contestant != Contestant::Envoy || options.envoy.is_some();
    let (driven, missing): (Vec<_>, Vec<_>) = Contestant::ALL.into_iter().partition(at_hand);
    (driven, missing.into_iter().map(Contestant::name).collect())
}

fn start(
    contestants: &[Contestant],
    places: &BenchPaths,
    traffic: &mut BenchTraffic,
) -> Result<Vec<RunningContestant>> {
    let mut all = Vec::new();
    for &contestant in contestants {
        let running = RunningContestant::start(contestant, Launch::default(), places, traffic)?;
        println!(
            "{} is process {} on core {}",
            contestant.name(),
            running.process.id(),
            places.cores.proxy
        );
        all.push(running);
    }
    Ok(all)
}

fn show(round: usize, scenario: &str, contestant: &str, measurement: &Measurement) {
    println!(
        "round {:2}  {scenario:15} {contestant:10} {:6.2} us CPU/request {:7.0} requests/s  p50 {:5} us  p99 {:5} us  \
         core {:3.0} %  gray {:4.1} %{}",
        round + 1,
        measurement.cpu_us_per_request,
        measurement.requests_per_second,
        measurement.p50_us,
        measurement.p99_us,
        measurement.busy_percent,
        measurement.gray_percent,
        if measurement.errors.is_empty() {
            String::new()
        } else {
            format!("  ERRORS {:?}", measurement.errors)
        }
    );
}

fn binaries() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own
        .parent()
        .ok_or("this program is in no directory")?
        .to_owned())
}

fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Best effort: with too few descriptors the connects below say so.
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen_by(arguments: &[&str]) -> (Vec<Contestant>, Vec<&'static str>) {
        contestants(&BenchArguments::parse_from(
            [&["bench"], arguments].concat(),
        ))
    }

    #[test]
    fn without_envoy_the_others_are_compared_and_it_is_said() {
        let (driven, missing) = chosen_by(&[]);
        assert!(!driven.contains(&Contestant::Envoy) && driven.contains(&Contestant::Haproxy));
        assert_eq!(missing, ["envoy"]);
        let (driven, missing) = chosen_by(&["--envoy", "/bin/envoy"]);
        assert_eq!((driven.len(), missing.len()), (Contestant::ALL.len(), 0));
    }

    #[test]
    fn two_revisions_are_compared_without_the_peers() {
        let (driven, missing) = chosen_by(&["--base", "/bin/other"]);
        assert_eq!((driven, missing.len()), (Contestant::REVISIONS.to_vec(), 0));
    }
}
