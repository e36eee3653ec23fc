//! What every daemon says of itself at `/metrics`: `process_*` as Prometheus's own clients have it, and which build it is.

use std::fmt;
use std::fs;
use std::path::Path;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Linux tells CPU times to programs in hundredths of a second, whatever the kernel counts in (proc(5), `USER_HZ`).
const TICKS: f64 = 100.0;
/// /proc/self/status counts memory in these.
const KIB: f64 = 1024.0;

/// The present process.
#[derive(Debug, Clone, Copy)]
pub struct ProcessCollector {
    /// Which of the programs it is.
    pub component: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// What one name exposes.
#[derive(Debug, Clone, Copy)]
pub struct MetricDescription {
    /// Without the `_total` of a counter.
    pub name: &'static str,
    /// What kind of metric it is.
    pub kind: MetricType,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means, without the full stop.
    pub help: &'static str,
}

const fn described(name: &'static str, kind: MetricType, help: &'static str) -> MetricDescription {
    MetricDescription {
        name,
        kind,
        labels: &[],
        help,
    }
}

/// Which build it is.
const BUILD: MetricDescription = MetricDescription {
    labels: &["component", "version"],
    ..described(
        "halftone_build_info",
        MetricType::Gauge,
        "1, with the version of the program",
    )
};
const CPU: MetricDescription = described(
    "process_cpu_seconds",
    MetricType::Counter,
    "Processor time used, in user and system mode",
);
const RESIDENT: MetricDescription = described(
    "process_resident_memory_bytes",
    MetricType::Gauge,
    "Memory in use",
);
const VIRTUAL: MetricDescription = described(
    "process_virtual_memory_bytes",
    MetricType::Gauge,
    "Address space in use",
);
const OPEN: MetricDescription = described(
    "process_open_fds",
    MetricType::Gauge,
    "Open file descriptors",
);
const MOST: MetricDescription = described(
    "process_max_fds",
    MetricType::Gauge,
    "Limit of open file descriptors",
);
const STARTED: MetricDescription = described(
    "process_start_time_seconds",
    MetricType::Gauge,
    "When the process started, in seconds since 1970",
);

/// The metrics of the process itself.
const FIGURES: [MetricDescription; 6] = [CPU, RESIDENT, VIRTUAL, OPEN, MOST, STARTED];
/// Everything that a [`ProcessCollector`] exposes.
pub const METRICS: [MetricDescription; 7] = [BUILD, CPU, RESIDENT, VIRTUAL, OPEN, MOST, STARTED];

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut build = encoder.encode_descriptor(BUILD.name, BUILD.help, None, BUILD.kind)?;
        let labels = [("component", self.component), ("version", self.version)];
        build.encode_family(&labels)?.encode_gauge(&1_i64)?;
        for (metric, value) in FIGURES.into_iter().zip(figures(Path::new("/proc"))) {
            let (
                Some(value),
                MetricDescription {
                    name, kind, help, ..
                },
            ) = (value, metric)
            else {
                continue;
            };
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            match kind {
                MetricType::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
                _ => metric.encode_gauge(&value)?,
            }
        }
        Ok(())
    }
}

/// The figures in the order of [`FIGURES`]; none for what this system does not tell.
fn figures(proc: &Path) -> [Option<f64>; 6] {
    let own = proc.join("self");
    let read = |file: &str| fs::read_to_string(own.join(file)).unwrap_or_default();
    let (stat, status, limits) = (read("stat"), read("status"), read("limits"));
    let kib = |name: &str| {
        number(status.lines().find_map(|line| line.strip_prefix(name))?).map(|kib| kib * KIB)
    };
    // The second field is the program's name in brackets, which may hold anything.
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |field: usize| number(fields.get(field - 3)?).map(|ticks| ticks / TICKS);
    let booted = fs::read_to_string(proc.join("stat")).unwrap_or_default();
    let booted = booted
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(number);
    let open = fs::read_dir(own.join("fd"))
        .ok()
        .map(|entries| entries.count() as f64);
    let most = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(number);
    let cpu = ticks(14).zip(ticks(15)).map(|(user, system)| user + system);
    let started = ticks(22).zip(booted).map(|(after, booted)| booted + after);
    [cpu, kib("VmRSS:"), kib("VmSize:"), open, most, started]
}

/// The first number of a text.
fn number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_tells_all_of_it() {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let [cpu, resident, virtual_, open, most, started] =
            figures(Path::new("/proc")).map(Option::unwrap);
        assert!(
            cpu >= 0.0 && resident > 1e5 && virtual_ >= resident,
            "{cpu} {resident} {virtual_}"
        );
        assert!(open > 2.0 && most >= open, "{open} {most}");
        assert!(
            started > now - 1e6 && started <= now + 2.0,
            "{started} {now}"
        );
    }

    #[test]
    fn the_name_of_a_program_may_hold_anything_and_a_system_without_proc_tells_nothing() {
        let proc = tempfile::tempdir().unwrap();
        assert_eq!(figures(proc.path()), [None; 6]);
        let own = proc.path().join("self");
        fs::create_dir(&own).unwrap();
        let rest = (3..=52)
            .map(|field| field.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        fs::write(own.join("stat"), format!("7 (a) b) {rest}\n")).unwrap();
        fs::write(proc.path().join("stat"), "cpu 1\nbtime 1000\n").unwrap();
        let [cpu, .., started] = figures(proc.path());
        assert!((cpu.unwrap() - 0.29).abs() < 1e-9 && (started.unwrap() - 1000.22).abs() < 1e-9);
    }
}
