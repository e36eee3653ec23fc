//! From rounds to figures: medians, the goals, the table for people and the document for programs.

use crate::Result;
use crate::compare::Series;
use crate::memory::MemoryUsage;
use crate::scenario::Scenario;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The medians of one contestant in one scenario.
#[derive(Serialize)]
pub(crate) struct Medians {
    cpu_us_per_request: f64,
    requests_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// Failed requests of all rounds.
    errors: u64,
    /// Half the distance between the quartiles of CPU per request, in percent of the median: how far to trust it.
    #[serde(skip)]
    noise_percent: f64,
    /// Share of the proxy's core that the proxy had.
    #[serde(skip)]
    busy_percent: f64,
}

/// A goal: a ratio of one of the medians that must not be exceeded.
struct Goal {
    of: fn(&Medians) -> f64,
    scenario: &'static str,
    against: &'static [&'static str],
    at_most: f64,
}

const CPU: fn(&Medians) -> f64 = |row| row.cpu_us_per_request;
const P50: fn(&Medians) -> f64 = |row| row.p50_us;

const GOALS: [Goal; 6] = [
    Goal {
        of: CPU,
        scenario: "contestants",
        against: &["nginx-lua"],
        at_most: 0.75,
    },
    Goal {
        of: CPU,
        scenario: "contestants",
        against: &["haproxy"],
        at_most: 0.82,
    },
    Goal {
        of: CPU,
        scenario: "contestants",
        against: &["tcp-relay"],
        at_most: 1.18,
    },
    Goal {
        of: CPU,
        scenario: "answer64KiB",
        against: &["nginx-lua", "haproxy"],
        at_most: 1.00,
    },
    Goal {
        of: CPU,
        scenario: "post16KiB",
        against: &["nginx-lua", "haproxy"],
        at_most: 1.00,
    },
    Goal {
        of: P50,
        scenario: "fastSender",
        against: &["nginx-lua"],
        at_most: 2.00,
    },
];

/// How much more CPU per request this revision may take than the one of `--base`.
const BASE_AT_MOST: f64 = 1.01;
/// Below it something else had the proxy's core, or kept the load from filling it. Either falsifies the ratios: a
/// proxy with more code and data loses more with every switch.
const QUIET_PERCENT: f64 = 90.0;
const IDLE_CONNECTION_KIB: f64 = 4.0;
const RELEASES_1000_MIB: f64 = 40.0;

/// Everything measured, by scenario and contestant.
pub(crate) struct Summary {
    pub(crate) memory: Option<MemoryUsage>,
    medians: BTreeMap<&'static str, BTreeMap<&'static str, Medians>>,
    /// By scenario: what this revision takes of what the one of `--base` takes.
    against_base: BTreeMap<&'static str, f64>,
}

impl Summary {
    pub(crate) fn of(all: &[Series]) -> Self {
        let mut medians: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for series in all {
            medians
                .entry(series.scenario)
                .or_default()
                .insert(series.contestant, Medians::of(series));
        }
        Self {
            memory: None,
            medians,
            against_base: against_base(all),
        }
    }

    /// Whether any request failed.
    pub(crate) fn failed(&self) -> bool {
        self.medians
            .values()
            .flat_map(BTreeMap::values)
            .any(|medians| medians.errors > 0)
    }

    pub(crate) fn print(&self, scenarios: &[Scenario]) {
        for scenario in scenarios {
            let Some(rows) = self.medians.get(scenario.key()) else {
                continue;
            };
            println!("\n{}", scenario.title());
            println!("{}", table(rows));
        }
        println!();
        self.print_memory();
        for goal in &GOALS {
            if let Some(ratio) = self.ratio(goal) {
                let what = format!(
                    "{}: halftone / {}",
                    goal.scenario,
                    goal.against.join(" or ")
                );
                println!("{}", verdict(&what, ratio, goal.at_most));
            }
        }
        for (scenario, ratio) in &self.against_base {
            println!(
                "{}",
                verdict(
                    &format!("{scenario}: halftone / base, paired"),
                    *ratio,
                    BASE_AT_MOST
                )
            );
        }
        if self
            .medians
            .values()
            .flat_map(BTreeMap::values)
            .any(|row| row.busy_percent < QUIET_PERCENT)
        {
            println!(
                "THE MACHINE IS NOT QUIET: a proxy had less than {QUIET_PERCENT} % of its core; do not trust the ratios"
            );
        }
        if self.failed() {
            println!("REQUESTS FAILED: see the column \"failed\" and rounds.json");
        }
    }

    fn print_memory(&self) {
        let Some(memory) = &self.memory else { return };
        for (name, bytes) in &memory.idle_connection_bytes {
            println!("memory of an idle connection: {name:10} {bytes:8.0} bytes");
        }
        if let Some(bytes) = memory.idle_connection_bytes.get("halftone") {
            println!(
                "{}",
                verdict(
                    "memory: KiB per idle connection",
                    bytes / 1024.0,
                    IDLE_CONNECTION_KIB
                )
            );
        }
        if let Some(bytes) = memory.releases_1000_bytes {
            println!(
                "{}",
                verdict(
                    "memory: MiB with 1 000 releases",
                    bytes as f64 / 1048576.0,
                    RELEASES_1000_MIB
                )
            );
        }
    }

    /// Halftone's median over the best one of those it is held against.
    fn ratio(&self, goal: &Goal) -> Option<f64> {
        let rows = self.medians.get(goal.scenario)?;
        let best = goal
            .against
            .iter()
            .filter_map(|name| rows.get(name))
            .map(goal.of);
        Some((goal.of)(rows.get("halftone")?) / best.min_by(f64::total_cmp)?)
    }

    /// Writes `compare.json` (medians), `rounds.json` (every single measurement) and `memory.json`, each if it was
    /// measured.
    pub(crate) fn write(&self, directory: &Path, all: &[Series]) -> Result<()> {
        let mut document = Map::new();
        for (scenario, rows) in &self.medians {
            document.insert((*scenario).to_owned(), serde_json::to_value(rows)?);
        }
        if let Some(memory) = &self.memory {
            save(directory, "memory.json", &serde_json::to_value(memory)?)?;
        }
        if document.is_empty() {
            return Ok(());
        }
        save(directory, "compare.json", &Value::Object(document))?;
        save(directory, "rounds.json", &json!(all))
    }
}

fn verdict(what: &str, value: f64, at_most: f64) -> String {
    let verdict = if value <= at_most { "met" } else { "NOT MET" };
    format!("{what:45} {value:6.3}, goal {at_most:.2}: {verdict}")
}

fn save(directory: &Path, name: &str, value: &Value) -> Result<()> {
    let path = directory.join(name);
    fs::write(&path, format!("{value:#}\n"))?;
    println!("wrote {}", path.display());
    Ok(())
}

fn table(rows: &BTreeMap<&'static str, Medians>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "",
        "CPU us/request",
        "± %",
        "× halftone",
        "requests/s",
        "p50 us",
        "p99 us",
        "core %",
        "failed",
    ]);
    let own = rows.get("halftone").map(|row| row.cpu_us_per_request);
    for (name, row) in rows {
        table.add_row([
            (*name).to_owned(),
            format!("{:.2}", row.cpu_us_per_request),
            format!("{:.1}", row.noise_percent),
            own.map_or_else(String::new, |own| {
                format!("{:.3}", row.cpu_us_per_request / own)
            }),
            format!("{:.0}", row.requests_per_second),
            format!("{:.0}", row.p50_us),
            format!("{:.0}", row.p99_us),
            format!("{:.0}", row.busy_percent),
            row.errors.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

impl Medians {
    fn of(series: &Series) -> Self {
        let rounds = &series.rounds;
        let cpu: Vec<f64> = rounds
            .iter()
            .map(|round| round.cpu_us_per_request)
            .collect();
        let median = |of: &dyn Fn(&crate::compare::Measurement) -> f64| {
            quantile(rounds.iter().map(of).collect(), 0.5)
        };
        Self {
            cpu_us_per_request: quantile(cpu.clone(), 0.5),
            requests_per_second: median(&|round| round.requests_per_second),
            p50_us: median(&|round| round.p50_us as f64),
            p99_us: median(&|round| round.p99_us as f64),
            busy_percent: median(&|round| round.busy_percent),
            errors: rounds.iter().flat_map(|round| round.errors.values()).sum(),
            noise_percent: 50.0 * (quantile(cpu.clone(), 0.75) - quantile(cpu.clone(), 0.25))
                / quantile(cpu, 0.5),
        }
    }
}

/// The median over the rounds of one revision's CPU per request over the other's in the same round. What the machine
/// does besides lasts longer than a round mostly, and so meets both: pairs differ less than medians do.
fn against_base(all: &[Series]) -> BTreeMap<&'static str, f64> {
    let of = |scenario, contestant| {
        all.iter()
            .find(|series| series.scenario == scenario && series.contestant == contestant)
    };
    let ratio = |base: &Series| {
        let pairs = of(base.scenario, "halftone")?
            .rounds
            .iter()
            .zip(&base.rounds);
        let ratios = pairs.map(|(own, base)| own.cpu_us_per_request / base.cpu_us_per_request);
        Some((base.scenario, quantile(ratios.collect(), 0.5)))
    };
    all.iter()
        .filter(|series| series.contestant == "base")
        .filter_map(ratio)
        .collect()
}

/// The value at `rank` (0 to 1) of the sorted values, between neighbours in proportion; 0 without values.
fn quantile(mut values: Vec<f64>, rank: f64) -> f64 {
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
mod tests {
    use super::*;
    use crate::compare::Measurement;

    fn series(contestant: &'static str, cpu: &[f64]) -> Series {
        let measurement = |&cpu_us_per_request: &f64| Measurement {
            cpu_us_per_request,
            requests_per_second: 1.0,
            p50_us: 1,
            p99_us: 1,
            busy_percent: 100.0,
            gray_percent: 10.0,
            errors: BTreeMap::new(),
        };
        Series {
            scenario: "contestants",
            contestant,
            rounds: cpu.iter().map(measurement).collect(),
        }
    }

    #[test]
    fn two_revisions_are_compared_round_by_round() {
        let all = [
            series("halftone", &[10.0, 30.0, 12.0]),
            series("base", &[10.0, 20.0, 10.0]),
        ];
        assert_eq!(
            Summary::of(&all).against_base,
            BTreeMap::from([("contestants", 1.2)])
        );
        assert!(Summary::of(&all[..1]).against_base.is_empty());
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(quantile(vec![4.0, 1.0, 3.0, 2.0], 0.5), 2.5);
        assert_eq!(quantile(vec![9.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(Vec::new(), 0.5), 0.0);
    }
}
