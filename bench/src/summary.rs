//! What was measured: the tables for people and the documents for programs.

use crate::Result;
use crate::compare::Series;
use crate::goals::{self, AllMedians, GoalRow};
use crate::instructions::Instructions;
use crate::medians::{Medians, QUIET_PERCENT, against_base};
use crate::memory::MemoryUsage;
use crate::offered::OfferedRates;
use crate::scenario::Scenario;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Everything measured, by scenario and contestant.
pub(crate) struct Summary {
    pub(crate) memory: Option<MemoryUsage>,
    pub(crate) instructions: Option<Instructions>,
    /// What the open loop offered to whom.
    pub(crate) offered: Option<OfferedRates>,
    /// Contestants that were wanted and could not be had.
    pub(crate) missing: Vec<&'static str>,
    medians: AllMedians,
    /// By scenario: what this revision takes of what the one of `--base` takes.
    against_base: BTreeMap<&'static str, f64>,
}

impl Summary {
    pub(crate) fn of(all: &[Series]) -> Self {
        let mut medians = AllMedians::new();
        for series in all {
            medians
                .entry(series.scenario)
                .or_default()
                .insert(series.contestant, Medians::of(series));
        }
        Self {
            memory: None,
            instructions: None,
            offered: None,
            missing: Vec::new(),
            medians,
            against_base: against_base(all),
        }
    }

    /// Whether any request failed.
    pub(crate) fn failed(&self) -> bool {
        self.rows().any(|row| row.errors > 0)
    }

    pub(crate) fn print(&self, scenarios: &[Scenario]) {
        for scenario in scenarios {
            let Some(rows) = self.medians.get(scenario.key()) else {
                continue;
            };
            println!("\n{}", scenario.title());
            if let Some(offered) = self.offered.as_ref().filter(|_| scenario.is_open_loop()) {
                println!("{}", offered.text());
            }
            println!("{}", table(rows));
        }
        println!();
        self.print_memory();
        for (name, count) in self.instructions.iter().flatten() {
            println!("user-space instructions per request: {name:10} {count:8.0}");
        }
        let goals = self.goals();
        if !goals.is_empty() {
            println!("{}", goals::table(&goals));
        }
        self.print_warnings();
    }

    fn goals(&self) -> Vec<GoalRow> {
        let mut rows = goals::ratios(&self.medians, &self.missing);
        rows.extend(goals::against_base(&self.against_base));
        rows.extend(self.memory.iter().flat_map(goals::memory));
        rows.extend(self.instructions.iter().flat_map(goals::instructions));
        rows
    }

    fn print_warnings(&self) {
        if self.rows().any(Medians::is_disturbed) {
            println!(
                "THE MACHINE IS NOT QUIET: a proxy had less than {QUIET_PERCENT} % of its core; do not trust the ratios"
            );
        }
        if self.rows().any(Medians::is_late) {
            println!(
                "A SCHEDULE WAS NOT KEPT: a proxy answered fewer requests than were due; do not trust its row"
            );
        }
        for name in &self.missing {
            println!(
                "WITHOUT {name}: it could not be had, so what is held against it was not measured"
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
    }

    fn rows(&self) -> impl Iterator<Item = &Medians> {
        self.medians.values().flat_map(BTreeMap::values)
    }

    /// Writes `compare.json` (medians), `rounds.json` (every single measurement), `memory.json` and
    /// `instructions.json`, each if it was measured.
    pub(crate) fn write(&self, directory: &Path, all: &[Series]) -> Result<()> {
        let mut document = Map::new();
        for (scenario, rows) in &self.medians {
            document.insert((*scenario).to_owned(), serde_json::to_value(rows)?);
        }
        if let Some(memory) = &self.memory {
            save(directory, "memory.json", &serde_json::to_value(memory)?)?;
        }
        if let Some(instructions) = &self.instructions {
            save(directory, "instructions.json", &json!(instructions))?;
        }
        if document.is_empty() {
            return Ok(());
        }
        save(directory, "compare.json", &Value::Object(document))?;
        save(directory, "rounds.json", &json!(all))
    }
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
