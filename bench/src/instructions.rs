//! User-space instructions per request, counted by callgrind. What the machine does besides does not change them, so
//! that they show what CPU time cannot: a difference of one percent. They leave out the kernel, where most of a proxy's
//! time goes, and treat all instructions alike.

use crate::Result;
use crate::contestant::{BenchPaths, Contestant, Launch, RunningContestant};
use crate::scenario::Scenario;
use crate::traffic::BenchTraffic;
use crate::traffic::tally::USERS;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Requests of the two runs, the difference of which leaves out the start. Each user asks once in the first already,
/// so that what is made once for a user is left out, too.
const REQUESTS: [usize; 2] = [USERS, 3 * USERS];
/// How long a process may take to write down what was counted.
const STOP_PATIENCE: Duration = Duration::from_secs(120);

/// By contestant: user-space instructions per request of the base scenario.
pub(crate) type Instructions = BTreeMap<&'static str, f64>;

/// Starts each contestant twice, and counts.
pub(crate) fn measure(
    contestants: &[Contestant],
    paths: &BenchPaths,
    traffic: &mut BenchTraffic,
) -> Result<Instructions> {
    let mut all = Instructions::new();
    for &contestant in contestants {
        let mut counts = [0; 2];
        for (count, requests) in counts.iter_mut().zip(REQUESTS) {
            *count = of_one_run(contestant, requests, paths, traffic)?;
            println!(
                "{}: {count} instructions with {requests} requests",
                contestant.name()
            );
        }
        all.insert(contestant.name(), per_request(counts));
    }
    Ok(all)
}

fn per_request([few, many]: [u64; 2]) -> f64 {
    many.saturating_sub(few) as f64 / (REQUESTS[1] - REQUESTS[0]) as f64
}

/// All instructions of a process, its start included, that answers so many requests.
fn of_one_run(
    contestant: Contestant,
    requests: usize,
    paths: &BenchPaths,
    traffic: &mut BenchTraffic,
) -> Result<u64> {
    let launch = Launch {
        counted: true,
        ..Launch::default()
    };
    let mut running = RunningContestant::start(contestant, launch, paths, traffic)?;
    let base = Scenario::Base;
    traffic.exchange(base.post(), base.answer());
    traffic.connect(running.address, base.connections())?;
    traffic.ask_exactly(requests)?;
    running.process.check()?;
    let errors = &traffic.tally.errors;
    if !errors.is_empty() {
        return Err(format!("{} under callgrind: {errors:?}", contestant.name()).into());
    }
    traffic.disconnect();
    let processes = running.process.family()?.len();
    running.process.stop(STOP_PATIENCE);
    counted_in(&paths.scratch.join(contestant.name()), processes)
}

/// The sum over all processes: nginx has a master and a worker.
fn counted_in(directory: &Path, processes: usize) -> Result<u64> {
    let (mut sum, mut files) = (0, 0);
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if name.to_string_lossy().starts_with("callgrind.") {
            let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            let missing = || format!("{} has no total", path.display());
            sum += total(&text).ok_or_else(missing)?;
            files += 1;
        }
    }
    if files < processes {
        let at = directory.display();
        return Err(format!("callgrind wrote {files} of {processes} files in {at}").into());
    }
    Ok(sum)
}

/// The total that ends a file of callgrind's.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_process_ends_its_file() {
        let text = "# callgrind format\nevents: Ir\nsummary: 12\n\nfn=(1) main\n1 14\ntotals: 14\n";
        assert_eq!(total(text), Some(14));
        assert_eq!(total("# callgrind format\nfn=(1) main\n"), None);
    }

    #[test]
    fn what_the_start_takes_is_no_part_of_a_request() {
        let start = 5_000_000;
        let run = |requests: usize| start + 18_000 * requests as u64;
        assert_eq!(per_request(REQUESTS.map(run)), 18_000.0);
    }
}
