//! What all simulated releases came to: numbers for programs, a table and a histogram for people.

use std::collections::BTreeMap;
use std::io::Write;

use comfy_table::{Table, presets};
use halftone_api::duration;
use serde::Serialize;

use super::release::{SimulationOutcome, SimulationResult};
use crate::args::SimulateArguments;
use crate::output::CommandError;

/// Width of the longest bar.
const BAR: usize = 40;
/// Bars of the histogram.
const BARS: usize = 10;

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SimulationSummary {
    runs: usize,
    promoted: usize,
    rolled_back: usize,
    inconclusive: usize,
    /// How many releases failed each limit, by its name.
    rolled_back_by: BTreeMap<String, usize>,
    detection_seconds: Option<Percentiles>,
    duration_seconds: Option<Percentiles>,
    #[serde(skip)]
    detections: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Percentiles {
    /// Nearest rank; none of nothing. Sorts the values.
    fn of(values: &mut [f64]) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            values
                .get(((values.len() as f64 * share).ceil() as usize).max(1) - 1)
                .copied()
        };
        Some(Self {
            p50: at(0.5)?,
            p99: at(0.99)?,
        })
    }
}

impl SimulationSummary {
    pub(crate) fn of(ended: &[SimulationResult]) -> Self {
        let count = |outcome| ended.iter().filter(|run| run.outcome == outcome).count();
        let mut rolled_back_by = BTreeMap::new();
        for limit in ended.iter().filter_map(|run| run.limit.clone()) {
            *rolled_back_by.entry(limit).or_default() += 1;
        }
        let mut detections: Vec<f64> = ended.iter().filter_map(|run| run.detection).collect();
        let mut durations: Vec<f64> = ended.iter().filter_map(|run| run.duration).collect();
        Self {
            runs: ended.len(),
            promoted: count(SimulationOutcome::Promoted),
            rolled_back: count(SimulationOutcome::RolledBack),
            inconclusive: count(SimulationOutcome::Inconclusive),
            rolled_back_by,
            detection_seconds: Percentiles::of(&mut detections),
            duration_seconds: Percentiles::of(&mut durations),
            detections,
        }
    }

    /// Tells a person.
    pub(crate) fn tell(
        &self,
        out: &mut impl Write,
        arguments: &SimulateArguments,
    ) -> Result<(), CommandError> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let share =
            |count: usize| format!("{:.2}%", count as f64 / self.runs.max(1) as f64 * 100.0);
        for (name, count) in [
            ("promoted", self.promoted),
            ("rolled back", self.rolled_back),
            ("inconclusive", self.inconclusive),
        ] {
            table.add_row([name.to_owned(), count.to_string(), share(count)]);
            let limits = self.rolled_back_by.iter().filter(|_| name == "rolled back");
            for (limit, count) in limits {
                table.add_row([format!("  by {limit}"), count.to_string(), share(*count)]);
            }
        }
        writeln!(
            out,
            "{} {} at {} requests/s, windows open, approvals given\n{table}",
            self.runs,
            if self.runs == 1 {
                "release"
            } else {
                "releases"
            },
            arguments.rps
        )?;
        if let Some(Percentiles { p50, p99 }) = &self.duration_seconds {
            writeln!(
                out,
                "\nfrom start to promotion or rollback: median {}, p99 {}",
                time(*p50),
                time(*p99)
            )?;
        }
        if let Some(Percentiles { p50, p99 }) = &self.detection_seconds {
            let from = if arguments.fault_at.is_some() {
                "the fault"
            } else {
                "the first gray request"
            };
            writeln!(
                out,
                "\nfrom {from} to the verdict: median {}, p99 {}",
                time(*p50),
                time(*p99)
            )?;
            self.histogram(out)?;
        }
        Ok(out.flush()?)
    }

    /// Bars of equal width in time, the last one open.
    fn histogram(&self, out: &mut impl Write) -> Result<(), CommandError> {
        let Some(Percentiles { p99, .. }) = &self.detection_seconds else {
            return Ok(());
        };
        let width = (p99 / BARS as f64).max(0.5);
        let mut bars = [0_usize; BARS + 1];
        for detection in &self.detections {
            bars[((detection / width) as usize).min(BARS)] += 1;
        }
        let most = bars.iter().copied().max().unwrap_or(1).max(1);
        for (at, count) in bars.iter().enumerate().filter(|(_, count)| **count > 0) {
            let upto = if at == BARS {
                "later".to_owned()
            } else {
                format!("≤ {}", time(width * (at + 1) as f64))
            };
            writeln!(
                out,
                "  {upto:>10} {:<BAR$} {count}",
                "█".repeat((count * BAR).div_ceil(most))
            )?;
        }
        Ok(())
    }
}

/// Seconds as a person reads them.
fn time(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.1}s")
    } else {
        duration::format(std::time::Duration::from_secs(seconds as u64))
    }
}
