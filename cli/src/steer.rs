//! The commands about running releases, here or in a cluster: they show how releases are doing, or fetch a release's
//! token, send `VERB@TOKEN` and print the answer.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use halftone_api::GrayRelease;
use halftone_api::spec::{HandledRequest, RequestResult};
use halftone_rollout::clock::Now;
use halftone_rollout::request::{Command, Request};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::args::{
    ApproveArguments, FleetArguments, GetArguments, HistoryArguments, Place, RequestArguments,
    StatusArguments, WatchArguments, Which,
};
use crate::cluster::{self, Cluster, Scope};
use crate::course::End;
use crate::engine::Measured;
use crate::here;
use crate::interrupt::or_interrupted;
use crate::output::{self, Failure};
use crate::socket::{Answer, Question, question};
use crate::status::{self, Listing, Traffic};
use crate::summary::name_of;
use crate::taken::{Outcome, Taken};
use crate::view::View;

/// The exit code of a watch whose time is over.
const TIMED_OUT: u8 = 3;
/// How often a `halftone run` is asked whether its proxy has taken something up.
const APPLIED: Duration = Duration::from_millis(50);
/// How often a `halftone run` is asked by `watch`.
const LOOK: Duration = Duration::from_millis(500);

/// `halftone approve`
pub(crate) fn approve(arguments: &ApproveArguments) -> Result<ExitCode, Failure> {
    request(&arguments.request, Command::Approve(arguments.step.and_then(NonZeroU32::new)))
}

/// The other commands: one verb for one release.
pub(crate) fn request(arguments: &RequestArguments, command: Command) -> Result<ExitCode, Failure> {
    let outcome = match here::place(&arguments.running, false) {
        Place::Local(state) => request_here(&state, arguments, command)?,
        Place::Cluster { looked_here } => cluster::block_on(async {
            let cluster = Cluster::connect(&arguments.running.cluster, looked_here).await?;
            Box::pin(cluster.request(arguments, command)).await
        })?,
    };
    let (handled, name) = (&outcome.handled, name_of(&outcome.release));
    let mut out = output::stdout();
    if arguments.printed.is_data() {
        arguments.printed.write(&mut out, &outcome.printed())?;
    } else {
        writeln!(out, "{name}: {}: {}", status::result(&handled.result), handled.message)?;
        if let Some(Taken::Everywhere(counted)) = &outcome.taken {
            writeln!(out, "  in effect: {counted}")?;
        }
    }
    out.flush()?;
    match outcome.taken.as_ref().and_then(|taken| pending(taken, arguments.timeout)) {
        Some(why) => Err(Failure::new(why)
            .advise(format!(
                "it goes on without this command; follow it with halftone status {name} and halftone proxies"
            ))
            .with_code(TIMED_OUT)),
        _ if handled.result == RequestResult::Done => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Why not every proxy has what was asked for, if that is so when the time is over.
fn pending(taken: &Taken, timeout: Duration) -> Option<String> {
    match taken {
        Taken::NothingNew | Taken::Everywhere(_) => None,
        Taken::Waiting(counted) => {
            Some(format!("it is written, and not yet in effect everywhere after {timeout:?}: {counted}"))
        }
        Taken::Unwritten(why) => {
            Some(format!("it is decided, and no proxy has been told of it after {timeout:?}: {why}"))
        }
    }
}

fn request_here(state: &Path, arguments: &RequestArguments, command: Command) -> Result<Outcome, Failure> {
    let name = &arguments.name;
    let release = here::release(state, name)?.release;
    let token = release.status.as_ref().and_then(|status| status.request_token.clone());
    let token = token.ok_or_else(|| {
        Failure::new(format!("{name} takes no requests yet")).advise("look with halftone status")
    })?;
    let request = Request::new(command, token).to_string();
    match question(state, &Question::Request { name: name_of(&release), request })? {
        Answer::Handled(handled) => {
            let taken = (!arguments.no_wait).then(|| taken_here(state, arguments, &release, &handled));
            Ok(Outcome { taken: taken.transpose()?, release, handled })
        }
        _ => Err(here::unexpected()),
    }
}

/// What the proxy of a run has of what a request changed, once it has it or the time is over.
fn taken_here(
    state: &Path,
    arguments: &RequestArguments,
    before: &GrayRelease,
    handled: &HandledRequest,
) -> Result<Taken, Failure> {
    let began = Instant::now();
    loop {
        let now = here::release(state, &arguments.name)?.release;
        match Taken::of(handled, before, &now) {
            taken if taken.is_open() && began.elapsed() < arguments.timeout => std::thread::sleep(APPLIED),
            taken => return Ok(taken),
        }
    }
}

/// `halftone status`
pub(crate) fn status(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let Seen { listing, traffic, unknown, note } = releases(&arguments.which, Some(&arguments.fleet))?;
    let mut out = output::stdout();
    match (&arguments.which.name, listing.releases.first()) {
        _ if arguments.printed.is_data() => {
            arguments.printed.write(&mut out, &json(&arguments.which, &listing, &traffic))?
        }
        _ if arguments.printed.is_names() => write!(out, "{}", status::names(&listing))?,
        (Some(_), Some(release)) => {
            let text = status::detail(release, traffic.get(&name_of(release)), Now::at(Timestamp::now()));
            write!(out, "{text}")?;
            if let Some(why) = unknown {
                writeln!(out, "  traffic  not known: {why}")?;
            }
        }
        _ if listing.is_empty() => {}
        _ => writeln!(out, "{}", status::overview(&listing, arguments.printed.is_wide()))?,
    }
    out.flush()?;
    note.iter().for_each(|note| output::note(note));
    Ok(ExitCode::SUCCESS)
}

/// `halftone get`
pub(crate) fn get(arguments: &GetArguments) -> Result<ExitCode, Failure> {
    let Seen { listing, .. } = releases(&arguments.which, None)?;
    let mut out = output::stdout();
    if arguments.printed.is_data() {
        arguments.printed.write(&mut out, &json(&arguments.which, &listing, &BTreeMap::new()))?;
    } else if arguments.printed.is_names() {
        write!(out, "{}", status::names(&listing))?;
    } else if !listing.is_empty() {
        let table = status::columns(&listing, Timestamp::now(), arguments.printed.is_wide());
        writeln!(out, "{}", table.trim_fmt())?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The one release that was named, or all; each with `traffic` beside its status where that is known.
fn json(which: &Which, listing: &Listing, traffic: &BTreeMap<String, Traffic>) -> Value {
    let mut all = listing.json();
    for (object, release) in all.iter_mut().zip(&listing.releases) {
        if let Some(traffic) = traffic.get(&name_of(release)) {
            object["traffic"] = json!(traffic);
        }
    }
    match (&which.name, all.is_empty()) {
        (Some(_), false) => all.swap_remove(0),
        _ => Value::Array(all),
    }
}

/// `halftone history`
pub(crate) fn history(arguments: &HistoryArguments) -> Result<ExitCode, Failure> {
    let release = match here::place(&arguments.running, false) {
        Place::Local(state) => here::release(&state, &arguments.name)?.release,
        Place::Cluster { looked_here } => cluster::block_on(async {
            Cluster::connect(&arguments.running.cluster, looked_here).await?.release(&arguments.name).await
        })?,
    };
    let mut out = output::stdout();
    match arguments.printed.is_data() {
        true => arguments.printed.write(&mut out, &release.status.unwrap_or_default().history)?,
        false => writeln!(out, "{}", status::history(&release, Timestamp::now()).trim_fmt())?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// `halftone watch`
pub(crate) fn watch(arguments: &WatchArguments) -> Result<ExitCode, Failure> {
    let which = &arguments.which;
    cluster::block_on(async {
        let watching: Pin<Box<dyn Future<Output = _>>> = match here::place(&which.running, which.in_cluster())
        {
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
                    .advise(format!("see why with halftone status {name}"))
                    .with_code(TIMED_OUT))
            }),
        }
    })
}

async fn watch_here(state: PathBuf, arguments: &WatchArguments) -> Result<ExitCode, Failure> {
    let name = arguments.which.name.as_deref();
    let mut view = View::new(arguments.json);
    let look = async {
        loop {
            for Measured { release, .. } in here::releases(&state, name)? {
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
    let ended = or_interrupted(look).await;
    view.ended();
    ended
}

/// What was found of the releases that are asked for.
struct Seen {
    listing: Listing,
    /// What arms did in the last seconds, by release, where it is known.
    traffic: BTreeMap<String, Traffic>,
    /// Why it is not known, where it could be.
    unknown: Option<String>,
    /// That nobody keeps the status up to date.
    note: Option<String>,
}

impl Seen {
    fn only(listing: Listing) -> Self {
        Self { listing, traffic: BTreeMap::new(), unknown: None, note: None }
    }
}

/// The releases that are asked for, wherever they are. Of one in a cluster, if the fleets' place is given, also what its
/// proxies count now.
fn releases(which: &Which, fleet: Option<&FleetArguments>) -> Result<Seen, Failure> {
    let name = which.name.as_deref();
    let only = |releases| Listing { releases, ..Listing::default() };
    match here::place(&which.running, which.in_cluster()) {
        Place::Local(state) => {
            let found = here::releases(&state, name)?;
            let traffic =
                found.iter().map(|found| (name_of(&found.release), Traffic::here(&found.traffic))).collect();
            let releases = found.into_iter().map(|found| found.release).collect();
            Ok(Seen { traffic, ..Seen::only(only(releases)) })
        }
        Place::Cluster { looked_here } => cluster::block_on(async {
            let cluster = Cluster::connect(&which.running.cluster, looked_here).await?;
            let release = match (name, which.all_namespaces) {
                (Some(name), true) => cluster.anywhere(name).await?,
                (Some(name), false) => cluster.release(name).await?,
                (None, all) => {
                    let scope = if all { Scope::All } else { Scope::Namespace(cluster.namespace()) };
                    let listing = cluster.some(scope, which.selector.as_deref()).await?;
                    return Ok(Seen::only(listing));
                }
            };
            let mut seen = Seen::only(Listing::default());
            if let Some(fleet) = fleet {
                let namespace = fleet.fleet_namespace.as_deref();
                match cluster.traffic(&release, namespace).await {
                    Ok(measured) => drop(seen.traffic.insert(name_of(&release), measured)),
                    Err(why) => seen.unknown = Some(why),
                }
                seen.note = cluster.unattended(&release, namespace).await;
            }
            Ok(Seen { listing: only(vec![release]), ..seen })
        }),
    }
}
