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
use halftone_rollout::command_request::{CommandRequest, ReleaseCommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::args::{
    ApproveArguments, CommandTarget, FleetArguments, GetArguments, HistoryArguments,
    ReleaseArguments, RequestArguments, StatusArguments, WatchArguments,
};
use crate::attention::WatchEnd;
use crate::cluster::{self, ClusterClient, NamespaceScope};
use crate::engine::MeasuredRelease;
use crate::interrupt::or_interrupted;
use crate::local_run;
use crate::output::{self, CommandError};
use crate::propagation::{CommandOutcome, Propagation};
use crate::socket::{SocketRequest, SocketResponse, question};
use crate::status::{self, RecentTraffic, ReleaseList};
use crate::summary::name_of;
use crate::view::View;

/// The exit code of a watch whose time is over.
const TIMED_OUT: u8 = 3;
/// How often a `halftone run` is asked whether its proxy has taken something up.
const APPLIED: Duration = Duration::from_millis(50);
/// How often a `halftone run` is asked by `watch`.
const LOOK: Duration = Duration::from_millis(500);

/// `halftone approve`
pub(crate) fn approve(arguments: &ApproveArguments) -> Result<ExitCode, CommandError> {
    request(
        &arguments.request,
        ReleaseCommand::Approve(arguments.step.and_then(NonZeroU32::new)),
    )
}

/// The other commands: one verb for one release.
pub(crate) fn request(
    arguments: &RequestArguments,
    command: ReleaseCommand,
) -> Result<ExitCode, CommandError> {
    let outcome = match local_run::place(&arguments.running, false) {
        CommandTarget::Local(state) => request_here(&state, arguments, command)?,
        CommandTarget::Cluster { looked_here } => cluster::block_on(async {
            let cluster = ClusterClient::connect(&arguments.running.cluster, looked_here).await?;
            Box::pin(cluster.request(arguments, command)).await
        })?,
    };
    let (handled, name) = (&outcome.handled, name_of(&outcome.release));
    let mut out = output::stdout();
    if arguments.printed.is_data() {
        arguments.printed.write(&mut out, &outcome.printed())?;
    } else {
        writeln!(
            out,
            "{name}: {}: {}",
            status::result(&handled.result),
            handled.message
        )?;
        if let Some(Propagation::Everywhere(counted)) = &outcome.taken {
            writeln!(out, "  in effect: {counted}")?;
        }
    }
    out.flush()?;
    match outcome.taken.as_ref().and_then(|taken| pending(taken, arguments.timeout)) {
        Some(why) => Err(CommandError::new(why)
            .advise(format!(
                "it goes on without this command; follow it with halftone status {name} and halftone proxies"
            ))
            .with_code(TIMED_OUT)),
        _ if handled.result == RequestResult::Done => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Why not every proxy has what was asked for, if that is so when the time is over.
fn pending(taken: &Propagation, timeout: Duration) -> Option<String> {
    match taken {
        Propagation::NothingNew | Propagation::Everywhere(_) => None,
        Propagation::Waiting(counted) => Some(format!(
            "it is written, and not yet in effect everywhere after {timeout:?}: {counted}"
        )),
        Propagation::Unwritten(why) => Some(format!(
            "it is decided, and no proxy has been told of it after {timeout:?}: {why}"
        )),
    }
}

fn request_here(
    state: &Path,
    arguments: &RequestArguments,
    command: ReleaseCommand,
) -> Result<CommandOutcome, CommandError> {
    let name = &arguments.name;
    let release = local_run::release(state, name)?.release;
    let token = release
        .status
        .as_ref()
        .and_then(|status| status.request_token.clone());
    let token = token.ok_or_else(|| {
        CommandError::new(format!("{name} takes no requests yet"))
            .advise("look with halftone status")
    })?;
    let request = CommandRequest::new(command, token).to_string();
    match question(
        state,
        &SocketRequest::Request {
            name: name_of(&release),
            request,
        },
    )? {
        SocketResponse::Handled(handled) => {
            let taken =
                (!arguments.no_wait).then(|| taken_here(state, arguments, &release, &handled));
            Ok(CommandOutcome {
                taken: taken.transpose()?,
                release,
                handled,
            })
        }
        _ => Err(local_run::unexpected()),
    }
}

/// What the proxy of a run has of what a request changed, once it has it or the time is over.
fn taken_here(
    state: &Path,
    arguments: &RequestArguments,
    before: &GrayRelease,
    handled: &HandledRequest,
) -> Result<Propagation, CommandError> {
    let began = Instant::now();
    loop {
        let now = local_run::release(state, &arguments.name)?.release;
        match Propagation::of(handled, before, &now) {
            taken if taken.is_open() && began.elapsed() < arguments.timeout => {
                std::thread::sleep(APPLIED)
            }
            taken => return Ok(taken),
        }
    }
}

/// `halftone status`
pub(crate) fn status(arguments: &StatusArguments) -> Result<ExitCode, CommandError> {
    let FoundReleases {
        listing,
        traffic,
        unknown,
        note,
    } = releases(&arguments.which, Some(&arguments.fleet))?;
    let mut out = output::stdout();
    match (&arguments.which.name, listing.releases.first()) {
        _ if arguments.printed.is_data() => arguments
            .printed
            .write(&mut out, &json(&arguments.which, &listing, &traffic))?,
        _ if arguments.printed.is_names() => write!(out, "{}", status::names(&listing))?,
        (Some(_), Some(release)) => {
            let text = status::detail(
                release,
                traffic.get(&name_of(release)),
                Now::at(Timestamp::now()),
            );
            write!(out, "{text}")?;
            if let Some(why) = unknown {
                writeln!(out, "  traffic  not known: {why}")?;
            }
        }
        _ if listing.is_empty() => {}
        _ => writeln!(
            out,
            "{}",
            status::overview(&listing, arguments.printed.is_wide())
        )?,
    }
    out.flush()?;
    note.iter().for_each(|note| output::note(note));
    Ok(ExitCode::SUCCESS)
}

/// `halftone get`
pub(crate) fn get(arguments: &GetArguments) -> Result<ExitCode, CommandError> {
    let FoundReleases { listing, .. } = releases(&arguments.which, None)?;
    let mut out = output::stdout();
    if arguments.printed.is_data() {
        arguments.printed.write(
            &mut out,
            &json(&arguments.which, &listing, &BTreeMap::new()),
        )?;
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
fn json(
    which: &ReleaseArguments,
    listing: &ReleaseList,
    traffic: &BTreeMap<String, RecentTraffic>,
) -> Value {
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
pub(crate) fn history(arguments: &HistoryArguments) -> Result<ExitCode, CommandError> {
    let release = match local_run::place(&arguments.running, false) {
        CommandTarget::Local(state) => local_run::release(&state, &arguments.name)?.release,
        CommandTarget::Cluster { looked_here } => cluster::block_on(async {
            ClusterClient::connect(&arguments.running.cluster, looked_here)
                .await?
                .release(&arguments.name)
                .await
        })?,
    };
    let mut out = output::stdout();
    match arguments.printed.is_data() {
        true => arguments
            .printed
            .write(&mut out, &release.status.unwrap_or_default().history)?,
        false => writeln!(
            out,
            "{}",
            status::history(&release, Timestamp::now()).trim_fmt()
        )?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// `halftone watch`
pub(crate) fn watch(arguments: &WatchArguments) -> Result<ExitCode, CommandError> {
    let which = &arguments.which;
    cluster::block_on(async {
        let watching: Pin<Box<dyn Future<Output = _>>> =
            match local_run::place(&which.running, which.in_cluster()) {
                CommandTarget::Local(state) => Box::pin(watch_here(state, arguments)),
                CommandTarget::Cluster { looked_here } => Box::pin(async move {
                    let cluster =
                        ClusterClient::connect(&which.running.cluster, looked_here).await?;
                    cluster::watch::watch(&cluster, arguments).await
                }),
            };
        match arguments.timeout {
            None => watching.await,
            Some(timeout) => tokio::time::timeout(timeout, watching)
                .await
                .unwrap_or_else(|_| {
                    let name = which.name.as_deref().unwrap_or_default();
                    Err(CommandError::new(format!(
                        "{name} is not done within {timeout:?}; it goes on"
                    ))
                    .advise(format!("see why with halftone status {name}"))
                    .with_code(TIMED_OUT))
                }),
        }
    })
}

async fn watch_here(state: PathBuf, arguments: &WatchArguments) -> Result<ExitCode, CommandError> {
    let name = arguments.which.name.as_deref();
    let mut view = View::new(arguments.json);
    let look = async {
        loop {
            for MeasuredRelease { release, .. } in local_run::releases(&state, name)? {
                view.show(&status::shown(&release), false, Now::at(Timestamp::now()));
                if let Some(end) = WatchEnd::of(&release, arguments.gray.as_deref())
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
struct FoundReleases {
    listing: ReleaseList,
    /// What arms did in the last seconds, by release, where it is known.
    traffic: BTreeMap<String, RecentTraffic>,
    /// Why it is not known, where it could be.
    unknown: Option<String>,
    /// That nobody keeps the status up to date.
    note: Option<String>,
}

impl FoundReleases {
    fn only(listing: ReleaseList) -> Self {
        Self {
            listing,
            traffic: BTreeMap::new(),
            unknown: None,
            note: None,
        }
    }
}

/// The releases that are asked for, wherever they are. Of one in a cluster, if the fleets' place is given, also what its
/// proxies count now.
fn releases(
    which: &ReleaseArguments,
    fleet: Option<&FleetArguments>,
) -> Result<FoundReleases, CommandError> {
    let name = which.name.as_deref();
    let only = |releases| ReleaseList {
        releases,
        ..ReleaseList::default()
    };
    match local_run::place(&which.running, which.in_cluster()) {
        CommandTarget::Local(state) => {
            let found = local_run::releases(&state, name)?;
            let traffic = found
                .iter()
                .map(|found| (name_of(&found.release), RecentTraffic::here(&found.traffic)))
                .collect();
            let releases = found.into_iter().map(|found| found.release).collect();
            Ok(FoundReleases {
                traffic,
                ..FoundReleases::only(only(releases))
            })
        }
        CommandTarget::Cluster { looked_here } => cluster::block_on(async {
            let cluster = ClusterClient::connect(&which.running.cluster, looked_here).await?;
            let release = match (name, which.all_namespaces) {
                (Some(name), true) => cluster.anywhere(name).await?,
                (Some(name), false) => cluster.release(name).await?,
                (None, all) => {
                    let scope = if all {
                        NamespaceScope::All
                    } else {
                        NamespaceScope::Namespace(cluster.namespace())
                    };
                    let listing = cluster.some(scope, which.selector.as_deref()).await?;
                    return Ok(FoundReleases::only(listing));
                }
            };
            let mut seen = FoundReleases::only(ReleaseList::default());
            if let Some(fleet) = fleet {
                let namespace = fleet.fleet_namespace.as_deref();
                match cluster.traffic(&release, namespace).await {
                    Ok(measured) => drop(seen.traffic.insert(name_of(&release), measured)),
                    Err(why) => seen.unknown = Some(why),
                }
                seen.note = cluster.unattended(&release, namespace).await;
            }
            Ok(FoundReleases {
                listing: only(vec![release]),
                ..seen
            })
        }),
    }
}
