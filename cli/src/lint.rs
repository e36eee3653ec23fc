//! `halftone lint`: everything that would be refused, and what deserves a warning, each with its place.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use halftone_api::finding::{Finding, Severity};
use halftone_api::lint::lint;
use halftone_api::manifest::{self, ManifestFile};
use owo_colors::OwoColorize;

use crate::args::LintArguments;
use crate::output::{self, CommandError};
use crate::{fleet, manifests};

/// Runs the command; fails if there is an error among the findings. Programs get every failure as a finding, too.
pub(crate) fn run(arguments: &LintArguments) -> Result<ExitCode, CommandError> {
    let (mut readings, mut findings) = (Vec::new(), Vec::new());
    for file in &arguments.files {
        match manifests::text(file) {
            Ok(text) => readings.push(manifest::read(&file.display().to_string(), &text)),
            Err(failure) if arguments.printed.is_data() => {
                findings.push(unreadable(file, &failure))
            }
            Err(failure) => return Err(failure),
        }
    }
    let fleets = match arguments
        .fleet
        .as_deref()
        .map(|file| (file, fleet::read(file)))
    {
        None => None,
        Some((_, Ok(Ok(fleets)))) => Some(fleets),
        Some((_, Ok(Err(wrong)))) => {
            findings.extend(wrong);
            None
        }
        Some((file, Err(failure))) if arguments.printed.is_data() => {
            findings.push(unreadable(file, &failure));
            None
        }
        Some((_, Err(failure))) => return Err(failure),
    };
    findings.extend(lint(&readings, fleets.as_ref()));
    let empty =
        |reading: &ManifestFile| reading.manifests.is_empty() && reading.findings.is_empty();
    if !readings.is_empty() && readings.iter().all(empty) {
        let none = manifests::none_in(&arguments.files);
        if !arguments.printed.is_data() {
            return Err(none);
        }
        let advice = none.advice().unwrap_or_default();
        let empty = |reading: &ManifestFile| {
            Finding::of_file(
                "NoRelease",
                &reading.file,
                "no GrayRelease is there",
                advice,
            )
        };
        findings.extend(readings.iter().map(empty));
    }
    print_all(arguments, &readings, &findings)?;
    Ok(if findings.iter().any(Finding::is_error) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// A file that cannot be read, without its name, which the finding has.
fn unreadable(file: &Path, failure: &CommandError) -> Finding {
    let (file, message) = (file.display().to_string(), failure.to_string());
    let what = message
        .strip_prefix(&format!("{file}: "))
        .unwrap_or(&message);
    let (what, advice) = what
        .split_once("; ")
        .unwrap_or((what, "name a file that can be read"));
    Finding::of_file("Unreadable", &file, what, advice)
}

fn print_all(
    arguments: &LintArguments,
    readings: &[ManifestFile],
    findings: &[Finding],
) -> Result<(), CommandError> {
    let mut out = output::stdout();
    if arguments.printed.is_data() {
        arguments.printed.write(&mut out, &findings)?;
    } else {
        for finding in findings {
            tell(&mut out, finding)?;
        }
        let releases: usize = readings.iter().map(|reading| reading.manifests.len()).sum();
        let errors = findings.iter().filter(|finding| finding.is_error()).count();
        let [releases, errors, warnings] = [
            (releases, "sound release"),
            (errors, "error"),
            (findings.len() - errors, "warning"),
        ]
        .map(count);
        writeln!(out, "{releases}, {errors}, {warnings}")?;
    }
    Ok(out.flush()?)
}

fn count((number, name): (usize, &str)) -> String {
    format!("{number} {name}{}", if number == 1 { "" } else { "s" })
}

fn tell(out: &mut impl Write, finding: &Finding) -> Result<(), CommandError> {
    let line = finding.to_string();
    match finding.severity {
        Severity::Error => writeln!(out, "{}", line.red())?,
        Severity::Warning => writeln!(out, "{}", line.yellow())?,
    }
    Ok(())
}
