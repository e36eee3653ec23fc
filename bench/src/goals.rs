//! What is to be reached, and whether it was: one row for each goal whose scenario was measured.

use crate::instructions::Instructions;
use crate::medians::Medians;
use crate::memory::MemoryUsage;
use comfy_table::{CellAlignment, Table, presets};
use std::collections::BTreeMap;

/// By scenario and contestant.
pub(crate) type AllMedians = BTreeMap<&'static str, BTreeMap<&'static str, Medians>>;

/// A goal: Halftone's median over the best one of those that it is held against.
struct RatioGoal {
    what: &'static str,
    of: fn(&Medians) -> f64,
    scenario: &'static str,
    against: &'static [&'static str],
    at_most: f64,
}

const CPU: fn(&Medians) -> f64 = |row| row.cpu_us_per_request;
const P50: fn(&Medians) -> f64 = |row| row.p50_us;

/// The relay is a yardstick: it knows no HTTP, so there is no goal against it.
const RATIOS: [RatioGoal; 8] = [
    cpu("contestants", &["nginx-lua"], 0.60),
    cpu("contestants", &["haproxy"], 0.75),
    cpu("contestants", &["envoy"], 0.50),
    cpu("halfLoad", &["haproxy"], 0.85),
    cpu("halfLoad", &["envoy"], 0.50),
    cpu("answer64KiB", &["nginx-lua", "haproxy"], 1.00),
    cpu("post16KiB", &["nginx-lua", "haproxy"], 1.00),
    RatioGoal {
        what: "p50",
        of: P50,
        scenario: "fastSender",
        against: &["nginx-lua"],
        at_most: 2.00,
    },
];

const fn cpu(scenario: &'static str, against: &'static [&'static str], at_most: f64) -> RatioGoal {
    RatioGoal {
        what: "CPU",
        of: CPU,
        scenario,
        against,
        at_most,
    }
}

/// How much more CPU per request this revision may take than the one of `--base`.
const BASE_AT_MOST: f64 = 1.01;
const IDLE_CONNECTION_KIB: f64 = 4.0;
const RELEASES_1000_MIB: f64 = 40.0;
const INSTRUCTIONS: f64 = 18_000.0;

/// A goal and what was measured of it.
#[derive(Debug, PartialEq)]
pub(crate) struct GoalRow {
    what: String,
    /// `None`: whom it is held against could not be had.
    measured: Option<f64>,
    at_most: f64,
}

impl GoalRow {
    fn new(what: impl Into<String>, measured: Option<f64>, at_most: f64) -> Self {
        let what = what.into();
        Self {
            what,
            measured,
            at_most,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.measured {
            Some(value) if value <= self.at_most => "met",
            Some(_) => "NOT MET",
            None => "not measured",
        }
    }
}

/// The goals of the scenarios that were measured. Those held against a contestant that was not driven are left out,
/// unless it was wanted and is among the `missing`.
pub(crate) fn ratios(medians: &AllMedians, missing: &[&'static str]) -> Vec<GoalRow> {
    let row = |goal: &RatioGoal| {
        let rows = medians.get(goal.scenario)?;
        let own = (goal.of)(rows.get("halftone")?);
        let against = goal.against.iter().filter_map(|name| rows.get(name));
        let best = against.map(goal.of).min_by(f64::total_cmp);
        let expected = goal.against.iter().any(|name| missing.contains(name));
        let what = format!(
            "{}, {}: halftone / {}",
            goal.scenario,
            goal.what,
            goal.against.join(" or ")
        );
        let measured = best.map(|best| own / best);
        (measured.is_some() || expected).then(|| GoalRow::new(what, measured, goal.at_most))
    };
    RATIOS.iter().filter_map(row).collect()
}

/// What the two revisions of a run with `--base` may differ by.
pub(crate) fn against_base(ratios: &BTreeMap<&'static str, f64>) -> Vec<GoalRow> {
    let row = |(scenario, &ratio): (&&str, &f64)| {
        let what = format!("{scenario}, CPU: halftone / base, paired");
        GoalRow::new(what, Some(ratio), BASE_AT_MOST)
    };
    ratios.iter().map(row).collect()
}

pub(crate) fn memory(memory: &MemoryUsage) -> Vec<GoalRow> {
    let idle = memory.idle_connection_bytes.get("halftone");
    let idle = idle.map(|bytes| {
        let what = "memory: KiB per idle connection";
        GoalRow::new(what, Some(bytes / 1024.0), IDLE_CONNECTION_KIB)
    });
    let releases = memory.releases_1000_bytes.map(|bytes| {
        let what = "memory: MiB with 1 000 releases";
        GoalRow::new(what, Some(bytes as f64 / 1048576.0), RELEASES_1000_MIB)
    });
    idle.into_iter().chain(releases).collect()
}

pub(crate) fn instructions(all: &Instructions) -> Option<GoalRow> {
    let own = all.get("halftone")?;
    let what = "user-space instructions per request";
    Some(GoalRow::new(what, Some(*own), INSTRUCTIONS))
}

/// For people.
pub(crate) fn table(rows: &[GoalRow]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["goal", "measured", "at most", ""]);
    for row in rows {
        let measured = row.measured.map_or_else(String::new, |v| format!("{v:.3}"));
        table.add_row([
            row.what.clone(),
            measured,
            format!("{:.2}", row.at_most),
            row.verdict().to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medians::tests::series;

    fn medians(scenario: &'static str, cpu: &[(&'static str, f64)]) -> AllMedians {
        let row = |&(name, cpu): &(&'static str, f64)| {
            (name, Medians::of(&series(scenario, name, &[cpu])))
        };
        AllMedians::from([(scenario, cpu.iter().map(row).collect())])
    }

    #[test]
    fn each_peer_has_a_goal_of_its_own_and_the_relay_has_none() {
        let all = [
            ("halftone", 10.0),
            ("nginx-lua", 20.0),
            ("haproxy", 12.5),
            ("envoy", 16.0),
            ("tcp-relay", 1.0),
        ];
        let rows = ratios(&medians("contestants", &all), &[]);
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.measured, row.verdict()))
            .collect();
        assert_eq!(
            told,
            [
                (Some(0.5), "met"),
                (Some(0.8), "NOT MET"),
                (Some(0.625), "NOT MET")
            ]
        );
    }

    #[test]
    fn the_best_of_two_is_what_counts() {
        let all = [("halftone", 9.0), ("nginx-lua", 10.0), ("haproxy", 12.0)];
        let rows = ratios(&medians("post16KiB", &all), &[]);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].measured, Some(0.9));
    }

    #[test]
    fn instructions_have_a_goal_for_halftone_alone() {
        let row = instructions(&Instructions::from([("halftone", 18_000.0)])).unwrap();
        assert_eq!(row.verdict(), "met");
        let row = instructions(&Instructions::from([("halftone", 18_001.0)])).unwrap();
        assert_eq!(row.verdict(), "NOT MET");
        assert_eq!(instructions(&Instructions::from([("haproxy", 1.0)])), None);
    }

    #[test]
    fn a_peer_that_could_not_be_had_is_said_and_one_that_nobody_wanted_is_not() {
        let all = medians("contestants", &[("halftone", 9.0), ("haproxy", 12.0)]);
        let rows = ratios(&all, &["envoy"]);
        let told: Vec<_> = rows.iter().map(GoalRow::verdict).collect();
        assert_eq!(told, ["met", "not measured"]);
        assert_eq!(rows[1].what, "contestants, CPU: halftone / envoy");
        assert_eq!(ratios(&all, &[]).len(), 1);
    }
}
