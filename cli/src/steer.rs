//! The commands about running releases, here or in a cluster: they show how releases are doing, or fetch a release's
//! token, send `VERB@TOKEN` and print the answer.

use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use halftone_rollout::GrayRelease;
use halftone_rollout::clock::Now;
use halftone_rollout::request::{Command, Request};
use halftone_rollout::spec::{HandledRequest, RequestResult};
use jiff::Timestamp;

use crate::args::{
    self, ApproveArguments, HistoryArguments, Place, RequestArguments, Running, StatusArguments,
};
use crate::cluster::{self, Cluster, Scope};
use crate::engine::release::name_of;
use crate::output::{self, Failure};
use crate::socket::{self, Answer, Question, question};
use crate::status;
use crate::view::View;

/// How often a `halftone run` is asked by `watch`.
const LOOK: Duration = Duration::from_millis(500);

/// `halftone approve`
pub(crate) fn approve(arguments: &ApproveArguments) -> Result<ExitCode, Failure> {
    request(&arguments.request, Command::Approve(arguments.step.and_then(NonZeroU32::new)))
}

/// The other commands: one verb for one release.
pub(crate) fn request(arguments: &RequestArguments, command: Command) -> Result<ExitCode, Failure> {
    let (release, handled) = match place(&arguments.running, false) {
        Place::Local(state) => request_here(&state, &arguments.name, command)?,
        Place::Cluster { looked_here } => cluster::block_on(async {
            let cluster = Cluster::connect(&arguments.running.cluster, looked_here).await?;
            let fleet = arguments.fleet.fleet_namespace.as_deref();
            cluster.request(&arguments.name, command, arguments.timeout, fleet).await
        })?,
    };
    let mut out = output::stdout();
    if arguments.json {
        output::json(&mut out, &handled)?;
    } else {
        writeln!(out, "{}: {}: {}", name_of(&release), status::result(handled.result), handled.message)?;
    }
    out.flush()?;
    Ok(if handled.result == RequestResult::Done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn request_here(
    state: &Path,
    name: &str,
    command: Command,
) -> Result<(GrayRelease, HandledRequest), Failure> {
    let mut releases = releases_here(state, Some(name))?;
    let release = releases.pop().ok_or_else(unexpected)?;
    let token = release.status.as_ref().and_then(|status| status.request_token.clone());
    let token = token.ok_or_else(|| {
        Failure::new(format!("{name} takes no requests yet")).advise("look with halftone status")
    })?;
    let request = Request::new(command, token).to_string();
    match question(state, &Question::Request { name: name_of(&release), request })? {
        Answer::Handled(handled) => Ok((release, handled)),
        _ => Err(unexpected()),
    }
}

/// `halftone status`
pub(crate) fn status(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let releases = releases(arguments)?;
    let mut out = output::stdout();
    match (arguments.json, &arguments.name, releases.first()) {
        (true, Some(_), Some(release)) => output::json(&mut out, release)?,
        (true, _, _) => output::json(&mut out, &releases)?,
        (false, Some(_), Some(release)) => {
            write!(out, "{}", status::detail(release, Now::at(Timestamp::now())))?
        }
        (false, _, _) => writeln!(out, "{}", status::table(&releases))?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// `halftone get`
pub(crate) fn get(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    if arguments.json {
        return status(arguments);
    }
    let releases = releases(arguments)?;
    let mut out = output::stdout();
    writeln!(out, "{}", status::columns(&releases, Timestamp::now()))?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// `halftone history`
pub(crate) fn history(arguments: &HistoryArguments) -> Result<ExitCode, Failure> {
    let release = match place(&arguments.running, false) {
        Place::Local(state) => releases_here(&state, Some(&arguments.name))?.pop().ok_or_else(unexpected)?,
        Place::Cluster { looked_here } => cluster::block_on(async {
            Cluster::connect(&arguments.running.cluster, looked_here).await?.release(&arguments.name).await
        })?,
    };
    let mut out = output::stdout();
    match arguments.json {
        true => output::json(&mut out, &release.status.unwrap_or_default().history)?,
        false => writeln!(out, "{}", status::history(&release, Timestamp::now()))?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// `halftone watch`
pub(crate) fn watch(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let name = arguments.name.as_deref();
    match place(&arguments.running, arguments.all_namespaces) {
        Place::Local(state) => cluster::block_on(watch_here(&state, name, arguments.json)),
        Place::Cluster { looked_here } => cluster::block_on(async {
            let cluster = Cluster::connect(&arguments.running.cluster, looked_here).await?;
            cluster::watch::watch(&cluster, name, arguments.all_namespaces, arguments.json).await
        }),
    }
}

async fn watch_here(state: &Path, name: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let mut view = View::new(json);
    let look = async {
        loop {
            for release in releases_here(state, name)? {
                view.show(&status::shown(&release), false, Now::at(Timestamp::now()));
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let ended = tokio::select! {
        ended = look => ended,
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
    };
    view.ended();
    ended
}

/// The releases that are asked for, wherever they are.
fn releases(arguments: &StatusArguments) -> Result<Vec<GrayRelease>, Failure> {
    let name = arguments.name.as_deref();
    match place(&arguments.running, arguments.all_namespaces) {
        Place::Local(state) => releases_here(&state, name),
        Place::Cluster { looked_here } => cluster::block_on(async {
            let cluster = Cluster::connect(&arguments.running.cluster, looked_here).await?;
            match (name, arguments.all_namespaces) {
                (Some(name), true) => Ok(vec![cluster.anywhere(name).await?]),
                (Some(name), false) => Ok(vec![cluster.release(name).await?]),
                (None, true) => cluster.some(Scope::All).await,
                (None, false) => cluster.some(Scope::Namespace(cluster.namespace())).await,
            }
        }),
    }
}

fn releases_here(state: &Path, name: Option<&str>) -> Result<Vec<GrayRelease>, Failure> {
    match question(state, &Question::Status(name.map(str::to_owned)))? {
        Answer::Releases(releases) => Ok(releases),
        _ => Err(unexpected()),
    }
}

fn place(running: &Running, all_namespaces: bool) -> Place {
    running.place(all_namespaces || args::is_plugin(), socket::runs)
}

fn unexpected() -> Failure {
    Failure::new("halftone run answered another question").advise("use the same halftone for both")
}
