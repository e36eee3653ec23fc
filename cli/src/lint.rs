//! `halftone lint`: everything that would be refused, and what deserves a warning, each with its place.

use std::io::Write;
use std::process::ExitCode;

use halftone_rollout::finding::{Finding, Severity};
use halftone_rollout::lint::lint;
use halftone_rollout::manifest::Reading;
use owo_colors::OwoColorize;

use crate::args::LintArguments;
use crate::output::{self, Failure};
use crate::{fleet, manifests};

/// Runs the command; fails if there is an error among the findings.
pub(crate) fn run(arguments: &LintArguments) -> Result<ExitCode, Failure> {
    let readings = manifests::readings(&arguments.files)?;
    let findings = match arguments.fleet.as_deref().map(fleet::read).transpose()? {
        Some(Err(wrong)) => wrong.into_iter().chain(lint(&readings, None)).collect(),
        Some(Ok(fleets)) => lint(&readings, Some(&fleets)),
        None => lint(&readings, None),
    };
    let empty = |reading: &Reading| reading.manifests.is_empty() && reading.findings.is_empty();
    if readings.iter().all(empty) {
        return Err(manifests::none_in(&arguments.files));
    }
    let mut out = output::stdout();
    if arguments.json {
        output::json(&mut out, &findings)?;
    } else {
        for finding in &findings {
            tell(&mut out, finding)?;
        }
        let releases: usize = readings.iter().map(|reading| reading.manifests.len()).sum();
        let errors = findings.iter().filter(|finding| finding.is_error()).count();
        let [releases, errors, warnings] =
            [(releases, "sound release"), (errors, "error"), (findings.len() - errors, "warning")].map(count);
        writeln!(out, "{releases}, {errors}, {warnings}")?;
    }
    out.flush()?;
    Ok(if findings.iter().any(Finding::is_error) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn count((number, name): (usize, &str)) -> String {
    format!("{number} {name}{}", if number == 1 { "" } else { "s" })
}

fn tell(out: &mut impl Write, finding: &Finding) -> Result<(), Failure> {
    let line = finding.to_string();
    match finding.severity {
        Severity::Error => writeln!(out, "{}", line.red())?,
        Severity::Warning => writeln!(out, "{}", line.yellow())?,
    }
    Ok(())
}
