//! The commands that steer a running release: they fetch its token, send `VERB@TOKEN`, and print the answer.

use std::io::Write;
use std::num::NonZeroU32;
use std::process::ExitCode;

use halftone_rollout::GrayRelease;
use halftone_rollout::request::{Command, Request};
use halftone_rollout::spec::RequestResult;
use owo_colors::OwoColorize;

use crate::args::{ApproveArguments, RequestArguments, StatusArguments};
use crate::engine::release::name_of;
use crate::output::{self, Failure};
use crate::socket::{Answer, Question, question};

/// `halftone approve`
pub(crate) fn approve(arguments: &ApproveArguments) -> Result<ExitCode, Failure> {
    request(&arguments.request, Command::Approve(arguments.step.and_then(NonZeroU32::new)))
}

/// The other commands: one verb for one release.
pub(crate) fn request(arguments: &RequestArguments, command: Command) -> Result<ExitCode, Failure> {
    let state = &arguments.running.state;
    let Answer::Releases(releases) = question(state, &Question::Status(Some(arguments.name.clone())))? else {
        return Err(unexpected());
    };
    let Some(release) = releases.first() else { return Err(unexpected()) };
    let token = release.status.as_ref().and_then(|status| status.request_token.clone());
    let token = token.ok_or_else(|| {
        Failure::new(format!("{} takes no requests yet", arguments.name)).advise("look with halftone status")
    })?;
    let request = Request::new(command, token).to_string();
    let name = name_of(release);
    let Answer::Handled(handled) = question(state, &Question::Request { name: name.clone(), request })?
    else {
        return Err(unexpected());
    };
    let mut out = output::stdout();
    if arguments.running.json {
        output::json(&mut out, &handled)?;
    } else {
        let result = format!("{:?}", handled.result);
        let colored = match handled.result {
            RequestResult::Done => result.green().to_string(),
            _ => result.red().to_string(),
        };
        writeln!(out, "{name}: {colored}: {}", handled.message)?;
    }
    out.flush()?;
    Ok(if handled.result == RequestResult::Done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `halftone status`
pub(crate) fn status(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let asked = Question::Status(arguments.name.clone());
    let Answer::Releases(releases) = question(&arguments.running.state, &asked)? else {
        return Err(unexpected());
    };
    let mut out = output::stdout();
    match (arguments.running.json, &arguments.name, releases.first()) {
        (true, Some(_), Some(release)) => output::json(&mut out, release)?,
        (true, _, _) => output::json(&mut out, &releases)?,
        (false, _, _) => writeln!(out, "{}", table(&releases))?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn table(releases: &[GrayRelease]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["RELEASE", "PHASE", "STEP", "RATIO", "OBSERVED", "VERDICT", "WHY"]);
    for release in releases {
        let status = release.status.clone().unwrap_or_default();
        let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        table.add_row([
            name_of(release),
            text(status.phase.map(|phase| format!("{phase:?}"))),
            text(status.step.map(|step| step.display)),
            text(status.ratio),
            text(status.observed.and_then(|observed| observed.ratio)),
            text(status.verdict.map(|verdict| format!("{:?}", verdict.result))),
            text(ready.map(|ready| ready.message.clone())),
        ]);
    }
    table
}

fn unexpected() -> Failure {
    Failure::new("halftone run answered another question").advise("use the same halftone for both")
}
