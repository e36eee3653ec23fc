//! The commands about running releases, here or in a cluster: they show how releases are doing, or fetch a release's
//! token, send `VERB@TOKEN` and print the answer.

use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use halftone_rollout::GrayRelease;
use halftone_rollout::clock::Now;
use halftone_rollout::request::{Command, Request};
use halftone_rollout::spec::{HandledRequest, RequestResult};
use jiff::Timestamp;

use crate::args::{
    self, ApproveArguments, FleetArguments, GetArguments, HistoryArguments, Place, RequestArguments, Running,
    StatusArguments, WatchArguments, Which,
};
use crate::cluster::{self, Cluster, Scope};
use crate::course::End;
use crate::engine::release::name_of;
use crate::output::{self, Failure};
use crate::socket::{self, Answer, Question, question};
use crate::status::{self, Listing};
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
            Box::pin(cluster.request(&arguments.name, command, arguments.timeout, fleet)).await
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
    let (listing, abandoned) = releases(&arguments.which, Some(&arguments.fleet))?;
    let mut out = output::stdout();
    match (&arguments.which.name, listing.releases.first()) {
        _ if arguments.json => json(&mut out, &arguments.which, &listing)?,
        (Some(_), Some(release)) => write!(out, "{}", status::detail(release, Now::at(Timestamp::now())))?,
        _ if listing.is_empty() => {}
        _ => writeln!(out, "{}", status::overview(&listing))?,
    }
    out.flush()?;
    if let Some(abandoned) = abandoned {
        output::note(&abandoned);
    }
    Ok(ExitCode::SUCCESS)
}

/// `halftone get`
pub(crate) fn get(arguments: &GetArguments) -> Result<ExitCode, Failure> {
    let (listing, _) = releases(&arguments.which, None)?;
    let mut out = output::stdout();
    if arguments.json {
        json(&mut out, &arguments.which, &listing)?;
    } else if !listing.is_empty() {
        writeln!(out, "{}", status::columns(&listing, Timestamp::now()).trim_fmt())?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The one release that was named, or all.
fn json(out: &mut impl Write, which: &Which, listing: &Listing) -> Result<(), Failure> {
    match (&which.name, listing.releases.first()) {
        (Some(_), Some(release)) => output::json(out, release),
        _ => output::json(out, &listing.json()),
    }
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
        false => writeln!(out, "{}", status::history(&release, Timestamp::now()).trim_fmt())?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// `halftone watch`
pub(crate) fn watch(arguments: &WatchArguments) -> Result<ExitCode, Failure> {
    let which = &arguments.which;
    cluster::block_on(async {
        let watching: Pin<Box<dyn Future<Output = _>>> = match place(&which.running, which.in_cluster()) {
            Place::Local(state) => Box::pin(watch_here(state, arguments)),
            Place::Cluster { looked_here } => Box::pin(async move {
                let cluster = Cluster::connect(&which.running.cluster, looked_here).await?;
                cluster::watch::watch(&cluster, arguments).await
            }),
        };
        match arguments.timeout {
            None => watching.await,
            Some(timeout) => tokio::time::timeout(timeout, watching).await.unwrap_or_else(|_| {
                let name = which.name.as_deref().unwrap_or_default();
                Err(Failure::new(format!("{name} is not done within {timeout:?}; it goes on"))
                    .advise("see why with halftone status"))
            }),
        }
    })
}

async fn watch_here(state: PathBuf, arguments: &WatchArguments) -> Result<ExitCode, Failure> {
    let name = arguments.which.name.as_deref();
    let mut view = View::new(arguments.json);
    let look = async {
        loop {
            for release in releases_here(&state, name)? {
                view.show(&status::shown(&release), false, Now::at(Timestamp::now()));
                if let Some(end) = End::of(&release, arguments.gray.as_deref())
                    .filter(|_| name.is_some() && !arguments.follow)
                {
                    return Ok(end.into());
                }
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

/// The releases that are asked for, wherever they are. Of one in a cluster, if the fleets' place is given, also that
/// nobody keeps its status up to date.
fn releases(which: &Which, fleet: Option<&FleetArguments>) -> Result<(Listing, Option<String>), Failure> {
    let name = which.name.as_deref();
    let only = |releases| Listing { releases, ..Listing::default() };
    match place(&which.running, which.in_cluster()) {
        Place::Local(state) => Ok((only(releases_here(&state, name)?), None)),
        Place::Cluster { looked_here } => cluster::block_on(async {
            let cluster = Cluster::connect(&which.running.cluster, looked_here).await?;
            let release = match (name, which.all_namespaces) {
                (Some(name), true) => cluster.anywhere(name).await?,
                (Some(name), false) => cluster.release(name).await?,
                (None, all) => {
                    let scope = if all { Scope::All } else { Scope::Namespace(cluster.namespace()) };
                    return Ok((cluster.some(scope, which.selector.as_deref()).await?, None));
                }
            };
            let abandoned = match fleet {
                Some(fleet) => {
                    let namespace = fleet.fleet_namespace.as_deref();
                    cluster.abandoned(&release.spec.proxy_class, namespace).await
                }
                None => None,
            };
            Ok((only(vec![release]), abandoned))
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
