//! `halftone check`: an installation looked over from the outside, with the rights of whoever asks. Each check says
//! what it found and, where something has to be done, what. `--pre` asks before an installation whether the cluster will
//! take it, `--downgrade` what keeps it from an earlier version. What is asked lies in `check/asks.rs` and beside it; here
//! the answers are put together and printed.

mod api_checks;
mod downgrade;
mod fleet;
mod orphans;
mod permissions;
mod releases;

use std::io::Write;
use std::process::ExitCode;

use comfy_table::Table;
use owo_colors::OwoColorize;
use serde::Serialize;

use super::{ClusterClient, block_on};
use crate::args::CheckArguments;
use crate::output::{self, CommandError};

/// Runs the command; ends with 1 where something has to be done. Going back is left only with everything seen, and a
/// person who looks over an installation is told what they may not see.
pub(crate) fn run(arguments: &CheckArguments) -> Result<ExitCode, CommandError> {
    let checks = block_on(async {
        let cluster = ClusterClient::connect(&arguments.cluster, false).await?;
        Ok(match &arguments.downgrade {
            Some(version) => cluster.downgrade(version).await,
            None if arguments.pre => cluster.before_installing().await,
            None => {
                cluster
                    .installed(arguments.fleet.fleet_namespace.as_deref())
                    .await
            }
        })
    })?;
    let sum = CheckSummary::of(&checks);
    let mut out = output::stdout();
    if arguments.printed.is_data() {
        arguments.printed.write(&mut out, &checks)?;
    } else {
        writeln!(out, "{}", table(&checks).trim_fmt())?;
        for check in checks.iter().filter(|check| check.advice.is_some()) {
            writeln!(
                out,
                "\n{}: {}",
                check.name,
                check.advice.as_deref().unwrap_or_default()
            )?;
        }
        writeln!(out, "\n{}", sum.verdict())?;
    }
    out.flush()?;
    let well = sum.failed == 0 && (sum.unknown == 0 || arguments.downgrade.is_none());
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How many checks ended otherwise than well.
struct CheckSummary {
    failed: usize,
    unknown: usize,
}

impl CheckSummary {
    fn of(checks: &[CheckResult]) -> Self {
        let ended = |result| checks.iter().filter(|check| check.result == result).count();
        Self {
            failed: ended(CheckStatus::Failed),
            unknown: ended(CheckStatus::Unknown),
        }
    }

    fn verdict(&self) -> String {
        let unknown = format!("{} could not be checked", self.unknown);
        let failed = match self.failed {
            1 => "1 thing has to be done".to_owned(),
            failed => format!("{failed} things have to be done"),
        };
        match (self.failed, self.unknown) {
            (0, 0) => "all is well".green().to_string(),
            (0, _) => unknown.yellow().to_string(),
            (_, 0) => failed.red().to_string(),
            _ => format!("{failed}; {unknown}").red().to_string(),
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum CheckStatus {
    /// As it should be.
    Passed,
    /// Something has to be done.
    Failed,
    /// It cannot be seen from here, or by who asks.
    Unknown,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct CheckResult {
    name: String,
    result: CheckStatus,
    /// What was found.
    found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl CheckResult {
    fn passed(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            result: CheckStatus::Passed,
            found: found.into(),
            advice: None,
        }
    }

    fn failed(
        name: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let advice = Some(advice.into());
        Self {
            name: name.into(),
            result: CheckStatus::Failed,
            found: found.into(),
            advice,
        }
    }

    /// A question that was not answered: who may not ask is told so, and it is no fault of the installation.
    fn unknown(name: impl Into<String>, failure: &CommandError) -> Self {
        let advice = failure.advice().map(str::to_owned);
        Self {
            name: name.into(),
            result: CheckStatus::Unknown,
            found: failure.to_string(),
            advice,
        }
    }
}

fn table(checks: &[CheckResult]) -> Table {
    let mut table = output::table(&["CHECK", "RESULT", "FOUND"]);
    for check in checks {
        let result = match check.result {
            CheckStatus::Passed => "ok".green().to_string(),
            CheckStatus::Failed => "failed".red().to_string(),
            CheckStatus::Unknown => "unknown".yellow().to_string(),
        };
        table.add_row([&check.name, &result, &check.found]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_no_failure_of_the_installation() {
        let failure = CommandError::new("you may not list leases").advise("ask for leave");
        let check = CheckResult::unknown("leases", &failure);
        assert_eq!(
            (check.result, check.advice.as_deref()),
            (CheckStatus::Unknown, Some("ask for leave"))
        );
        let told = table(&[check, CheckResult::passed("crd", "there")]).to_string();
        assert!(
            told.contains("unknown") && told.contains("you may not list leases"),
            "{told}"
        );
    }

    #[test]
    fn nothing_is_called_well_that_was_not_seen() {
        let sum = |failed, unknown| {
            anstream::adapter::strip_str(&CheckSummary { failed, unknown }.verdict()).to_string()
        };
        assert_eq!(sum(0, 0), "all is well");
        assert_eq!(sum(0, 2), "2 could not be checked");
        assert_eq!(sum(1, 0), "1 thing has to be done");
        assert_eq!(
            sum(2, 1),
            "2 things have to be done; 1 could not be checked"
        );
    }
}
