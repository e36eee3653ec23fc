//! Releases on one machine: observe → advance → apply, with files for an API server and a proxy in this process for
//! a fleet. `halftone run` and `halftone demo` both run this.
//!
//! Each turn polls the proxy once, lets every release advance, writes what has to outlive this process, and only
//! then hands the documents over.

mod clock;
mod conflict;
pub(crate) mod event_log;
mod manifest;
mod poll;
mod prober;
pub(crate) mod release;
mod startup;
mod state_directory;
pub(crate) mod traffic;
mod unreachable;
mod watched_files;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use halftone_api::GrayRelease;
use halftone_api::Obstacle;
use halftone_api::spec::HandledRequest;
use halftone_proxy::run::{DocumentSource, Proxy};
use halftone_proxy::settings::Settings;
use halftone_proxy::source::{Content, SourceListing};
use halftone_rollout::advance::{AdvanceResult, IDLE};
use halftone_rollout::clock::Now;
use halftone_rollout::command_request::{CommandRequest, ReleaseCommand};
use halftone_rollout::events::Event;
use halftone_rollout::observation::Observation;
use halftone_rollout::withdraw::{Deletion, Withdrawal, is_taken_over, withdraw};
use halftone_routing::document::RoutingConfig;
use halftone_routing::document::arm::Backend;
use halftone_routing::document::parse::Format;
use halftone_routing::fleet::FleetConfig;
use halftone_routing::report::baseline::Delta;
use halftone_routing::report::reader::ReportReader;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use self::clock::Clock;
use self::event_log::PastEvent;
use self::poll::{ProxyPoll, endpoints};
use self::prober::Prober;
use self::release::LocalRelease;
use self::startup::{begin, follow, not_started, problems, resolve_fleet};
use self::state_directory::StateDirectory;
use self::traffic::ArmFigures;
use self::watched_files::WatchedFiles;
use crate::fleet::LocalFleet;
use crate::output::CommandError;

/// The judge wants several rounds to agree. Turns that come early, for an edit or a request, must not make them
/// shorter than the pace at which proxies are polled.
const SHORTEST_ROUND: Duration = Duration::from_millis(400);

/// What an engine is started with.
#[derive(Debug)]
pub(crate) struct EngineOptions {
    /// The manifests.
    pub(crate) files: Vec<PathBuf>,
    /// Where progress is kept.
    pub(crate) state: PathBuf,
    /// Where users come in.
    pub(crate) listen: SocketAddr,
    /// Where the admin pages are.
    pub(crate) admin: SocketAddr,
    /// The declaration of the fleet that this process is.
    pub(crate) fleet: Option<PathBuf>,
    /// Threads of the proxy.
    pub(crate) workers: Option<NonZeroUsize>,
}

/// Who looks on.
pub(crate) trait EngineObserver {
    /// A release took a turn.
    fn turned(&mut self, release: &LocalRelease, events: &[Event], now: Now);
    /// A release is gone for good.
    fn withdrawn(&mut self, name: &str);
    /// Something that belongs to no turn: an edit that is refused, a file that cannot be written.
    fn note(&mut self, message: &str);
}

/// Something that a person asks of a running engine.
#[derive(Debug)]
pub(crate) enum EngineCommand {
    /// How the releases are doing: all, or the one that is named.
    Status(
        Option<String>,
        oneshot::Sender<Result<Vec<MeasuredRelease>, CommandError>>,
    ),
    /// What happened to the release of this name.
    Events(
        String,
        oneshot::Sender<Result<Vec<PastEvent>, CommandError>>,
    ),
    /// What the proxy of this process is told.
    Applied(oneshot::Sender<LocalConfig>),
    /// A request for one release: its name, and `VERB@TOKEN`.
    Request(
        String,
        String,
        oneshot::Sender<Result<HandledRequest, CommandError>>,
    ),
}

/// A release and what its arms did in the last seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MeasuredRelease {
    /// The release as an API server would show it.
    pub(crate) release: GrayRelease,
    /// Stable and gray.
    pub(crate) traffic: [ArmFigures; 2],
}

/// What the proxy of this process is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LocalConfig {
    /// The version of this program.
    pub(crate) version: String,
    /// The documents that are live.
    pub(crate) documents: Vec<Arc<RoutingConfig>>,
    /// The fleet's settings.
    pub(crate) fleet: FleetConfig,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct PendingRequest {
    name: String,
    request: String,
    answer: oneshot::Sender<Result<HandledRequest, CommandError>>,
}

/// The releases of this machine and their proxy.
#[derive(Debug)]
pub(crate) struct Engine {
    files: WatchedFiles,
    state: StateDirectory,
    releases: BTreeMap<String, LocalRelease>,
    proxy: Proxy,
    fleet: LocalFleet,
    /// The proxy has to be told of an edited declaration.
    fleet_changed: bool,
    /// Releases that the fleet does not allow as they are written, by name.
    refused: BTreeMap<String, Obstacle>,
    /// What happened before anybody looked on, by release.
    early: BTreeMap<String, Vec<Event>>,
    clock: Clock,
    probes: Prober,
    reader: ReportReader,
    polls: u32,
    /// When counts were last handed to the releases, and what was counted since.
    round: (Instant, Delta),
    asked: Vec<PendingRequest>,
    notes: Vec<String>,
}

impl Engine {
    /// Reads everything, goes on from where an earlier run ended, and starts the proxy.
    ///
    /// # Errors
    /// A manifest that is wrong, a state directory in use, an address that is taken.
    pub(crate) fn start(options: &EngineOptions) -> Result<Self, CommandError> {
        let files = WatchedFiles::open(&options.files, options.fleet.as_deref());
        let clock = Clock::start();
        let (state, records) = StateDirectory::open(&options.state)?;
        let mut releases = BTreeMap::new();
        let mut lost = Vec::new();
        for record in records {
            let (release, note) = LocalRelease::restore(record, clock.now());
            lost.extend(note);
            releases.insert(release.name().to_owned(), release);
        }
        let mut notes = problems(&files);
        if releases.is_empty() && !notes.is_empty() {
            return Err(CommandError::new(notes.join("\n")));
        }
        notes.extend(lost);
        notes.extend(state.damages().map(str::to_owned));
        // Users are being served by what was kept: a broken edit is no reason to leave them alone.
        notes.iter().for_each(|note| tracing::error!("{note}"));
        let fleet = resolve_fleet(&files, &releases)?;
        let refused = follow(&files, &fleet, &state, &mut releases, clock.now());
        if !releases.is_empty() && releases.values().all(LocalRelease::is_unreadable) {
            return Err(CommandError::new(notes.join("\n")));
        }
        let (early, unwritten) = begin(&state, &fleet, &mut releases, &refused, clock.now())?;
        notes.extend(unwritten);
        let listing = listing(&fleet.config, releases.values());
        let mut settings = Settings::new(options.listen, Some(options.admin));
        settings.class = fleet.config.class.clone();
        settings.workers = options.workers.unwrap_or(settings.workers);
        let proxy =
            Proxy::start(&settings, DocumentSource::Memory(listing)).map_err(not_started)?;
        Ok(Self {
            files,
            state,
            releases,
            proxy,
            fleet,
            fleet_changed: false,
            refused,
            early,
            clock,
            probes: Prober::new(),
            reader: ReportReader::new(),
            polls: 0,
            round: (Instant::now(), Delta::new()),
            asked: Vec::new(),
            notes,
        })
    }

    /// Where the servers of all stable arms are.
    fn addresses(&self) -> BTreeSet<SocketAddr> {
        let backends = self
            .releases
            .values()
            .flat_map(LocalRelease::stable_arms)
            .map(|arm| &arm.backend);
        let addresses = backends.filter_map(|backend| match backend {
            Backend::Addresses(addresses) => Some(addresses.as_ref().iter().copied()),
            Backend::Service(_) => None,
        });
        addresses.flatten().collect()
    }

    /// Where users come in.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.proxy.addresses().first().copied()
    }

    /// Where the admin pages are.
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        self.proxy.admin_address()
    }

    /// Goes on until `stop` is there.
    pub(crate) async fn run(
        &mut self,
        audience: &mut impl EngineObserver,
        asks: &mut mpsc::Receiver<EngineCommand>,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let wake_after = self.turn(audience).await;
            let mut due = std::pin::pin!(tokio::time::sleep(wake_after));
            loop {
                let over = tokio::select! {
                    () = &mut stop => return,
                    () = &mut due => true,
                    // Of what goes on in a directory most is no edit, and an edit may take many writes.
                    () = self.files.wait() => false,
                    Some(ask) = asks.recv() => {
                        self.hear(ask);
                        true
                    }
                };
                let edited = self.files.look();
                if edited {
                    self.take_files();
                }
                if over || edited {
                    break;
                }
            }
        }
    }

    /// Lets users finish and ends the proxy.
    pub(crate) async fn drain(self) {
        self.proxy.drain().await;
    }

    /// One turn of every release; says when the next is due.
    async fn turn(&mut self, audience: &mut impl EngineObserver) -> Duration {
        let mut wake_after = IDLE;
        if self.state.is_mended() {
            self.take_files();
        }
        let mut changed = std::mem::take(&mut self.fleet_changed);
        self.probes.look(&self.addresses()).await;
        let (now, poll) = (self.clock.now(), self.poll());
        let seen = self.observe(&poll, now);
        let mut gone = Vec::new();
        for (release, seen) in self.releases.values_mut().zip(seen) {
            if release.gone_since.is_some() {
                if let Some(event) = release.emit_gone(seen.fleet.withdraw_after) {
                    let events = [event];
                    release.past.add(&events, now.wall);
                    audience.turned(release, &events, now);
                }
                match leave(&self.state, release, &seen, now) {
                    Ok(DeletionStep::Wait(wait)) => wake_after = wake_after.min(wait),
                    Ok(DeletionStep::Changed(wait)) => {
                        (changed, wake_after) = (true, wake_after.min(wait))
                    }
                    Ok(DeletionStep::Left) => gone.push(release.name().to_owned()),
                    Err(error) => self.notes.extend(release.complain(&error)),
                }
                continue;
            }
            poll.count(release);
            match (&poll.round, self.polls) {
                (_, 1) => unreachable::try_all(&mut self.probes, release),
                (Some((_, added)), _) => {
                    let added = added.iter().filter(|(key, _)| key.uid == *release.uid());
                    let added = added.map(|(key, counts)| (key.charge.arm(), counts));
                    unreachable::suspect(&mut self.probes, release, added);
                }
                (None, _) => {}
            }
            let kept = keep(&self.state, release, &seen, now);
            wake_after = wake_after.min(kept.wake_after);
            changed |= kept.is_news;
            self.notes
                .extend(kept.failure.and_then(|error| release.complain(&error)));
            // An event of a broken edit says what its note would.
            self.notes
                .retain(|note| kept.events.iter().all(|event| event.message != *note));
            self.notes.extend(release.confirmation());
            let early = self.early.remove(release.name()).unwrap_or_default();
            let events = [early, kept.events].concat();
            release.past.add(&events, now.wall);
            audience.turned(release, &events, now);
        }
        for name in gone {
            self.releases.remove(&name);
            audience.withdrawn(&name);
            changed = true;
        }
        let stable = self.addresses();
        self.notes
            .extend(unreachable::news(&mut self.probes, &self.releases, stable));
        self.notes.drain(..).for_each(|note| audience.note(&note));
        self.answer();
        if changed {
            self.apply().await;
            // The acknowledgement is there already.
            return Duration::ZERO;
        }
        wake_after
    }

    /// What is seen of each release, in their order.
    fn observe(&self, poll: &ProxyPoll, now: Now) -> Vec<Observation> {
        let observation = |release: &LocalRelease| Observation {
            refusal: self.refused.get(release.name()).cloned(),
            endpoints: endpoints(&self.proxy, &self.probes, release),
            fleet: self.fleet.times,
            taken_over: self.is_taken_over(release),
            ..poll.seen(self.reader.documents(), release, self.polls, now)
        };
        let mut seen: Vec<Observation> = self.releases.values().map(observation).collect();
        conflict::refuse(self.releases.values(), &self.fleet, &mut seen);
        seen
    }

    /// Whether other releases serve all that one serves whose manifest is gone. What is applied here is applied at once.
    fn is_taken_over(&self, release: &LocalRelease) -> bool {
        let others = self
            .releases
            .values()
            .filter(|other| other.gone_since.is_none());
        let others: Vec<_> = others
            .filter_map(|other| other.document.as_deref())
            .collect();
        let live = release
            .document
            .as_deref()
            .filter(|_| release.gone_since.is_some());
        live.is_some_and(|live| is_taken_over(live, &others))
    }

    fn poll(&mut self) -> ProxyPoll {
        let at = Instant::now();
        let report = self.proxy.report(self.reader.since());
        self.polls = self.polls.saturating_add(1);
        let (began, counted) = &mut self.round;
        if let Some(changes) = self.reader.take(&report) {
            counted.extend(changes.counts);
        }
        let length = at.duration_since(*began);
        let round = (length >= SHORTEST_ROUND).then(|| {
            *began = at;
            (length.as_secs_f64(), std::mem::take(counted))
        });
        ProxyPoll { at, report, round }
    }

    async fn apply(&mut self) {
        let documents = self
            .proxy
            .apply(listing(&self.fleet.config, self.releases.values()))
            .await;
        for refused in documents
            .into_iter()
            .flat_map(|documents| documents.rejected)
        {
            tracing::error!(
                source = refused.source,
                reason = refused.reason,
                "{}",
                refused.message
            );
        }
    }

    /// Brings the releases in line with the files.
    fn take_files(&mut self) {
        let now = self.clock.now();
        self.notes.extend(problems(&self.files));
        self.notes.extend(self.files.comments());
        self.take_fleet();
        self.refused = follow(
            &self.files,
            &self.fleet,
            &self.state,
            &mut self.releases,
            now,
        );
    }

    /// Brings the fleet in line with its file.
    fn take_fleet(&mut self) {
        let Some(declarations) = self.files.fleet().and_then(|file| file.holds.as_ref()) else {
            return;
        };
        match self.fleet.edit(declarations) {
            Ok(true) => {
                self.fleet_changed = true;
                self.notes
                    .push("the fleet's edited settings are in effect".to_owned());
            }
            Ok(false) => {}
            Err(why) => self.notes.push(why),
        }
    }

    fn hear(&mut self, ask: EngineCommand) {
        match ask {
            EngineCommand::Status(name, answer) => {
                let found = match name {
                    None => Ok(self.releases.values().map(LocalRelease::measured).collect()),
                    Some(name) => self.find(&name).map(|release| vec![release.measured()]),
                };
                // Who has gone needs no answer, here and below.
                let _ = answer.send(found);
            }
            EngineCommand::Events(name, answer) => {
                let _ = answer.send(self.find(&name).map(|release| release.past.all()));
            }
            EngineCommand::Applied(answer) => {
                let documents = self
                    .releases
                    .values()
                    .filter_map(|release| release.document.clone());
                let _ = answer.send(LocalConfig {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    documents: documents.collect(),
                    fleet: self.fleet.config.clone(),
                });
            }
            EngineCommand::Request(name, request, answer) => match self.ask(&name, &request) {
                Ok(name) => self.asked.push(PendingRequest {
                    name,
                    request,
                    answer,
                }),
                Err(failure) => drop(answer.send(Err(failure))),
            },
        }
    }

    fn ask(&mut self, name: &str, request: &str) -> Result<String, CommandError> {
        let name = self.find(name)?.name().to_owned();
        let release = self.releases.get_mut(&name).expect("it was found");
        if release.gone_since.is_some() {
            return Err(CommandError::new(format!(
                "{name} is on its way out: its manifest is gone"
            )));
        }
        let urgent = request.parse::<CommandRequest>().is_ok_and(|request| {
            matches!(
                request.command,
                ReleaseCommand::Pause | ReleaseCommand::Rollback
            )
        });
        let waiting = self.asked.iter().any(|asked| asked.name == name);
        if waiting && !urgent {
            return Err(CommandError::new(format!(
                "{name} has a request that is not answered yet"
            ))
            .advise("look with halftone status, then ask again"));
        }
        release.ask(request);
        Ok(name)
    }

    fn find(&self, name: &str) -> Result<&LocalRelease, CommandError> {
        let matches = |release: &&LocalRelease| {
            release.name() == name
                || release
                    .name()
                    .split_once('/')
                    .is_some_and(|(_, last)| last == name)
        };
        let mut found = self.releases.values().filter(matches);
        match (found.next(), found.next()) {
            (Some(release), None) => Ok(release),
            (None, _) => {
                let known: Vec<&str> = self.releases.keys().map(String::as_str).collect();
                Err(
                    CommandError::new(format!("no release {name} runs here")).advise(
                        if known.is_empty() {
                            "there is none at all".to_owned()
                        } else {
                            format!("there is {}", known.join(", "))
                        },
                    ),
                )
            }
            (Some(_), Some(_)) => Err(CommandError::new(format!(
                "several releases are called {name}"
            ))
            .advise("write NAMESPACE/NAME")),
        }
    }

    /// Tells those who asked what became of it.
    fn answer(&mut self) {
        let releases = &self.releases;
        let mut waiting = Vec::new();
        for asked in self.asked.drain(..) {
            let status = releases
                .get(&asked.name)
                .map(|release| release.progress().status());
            let handled = status.and_then(|status| status.last_handled_request);
            match handled.filter(|handled| handled.request == asked.request) {
                Some(handled) => drop(asked.answer.send(Ok(handled))),
                None if asked.answer.is_closed() => {}
                None => waiting.push(asked),
            }
        }
        self.asked = waiting;
    }
}

/// What came of a turn.
struct PersistedTurn {
    events: Vec<Event>,
    wake_after: Duration,
    /// Another document is to be live.
    is_news: bool,
    /// Why nothing was written.
    failure: Option<io::Error>,
}

/// Takes a turn and writes what has to outlive this process before the turn counts. Where that cannot be written, the
/// turn is taken once more, knowing so: nothing rises on progress that a restart would not know, but users on a bad
/// version do not wait for a disk to have room, and no evidence against it is lost.
fn keep(
    state: &StateDirectory,
    release: &mut LocalRelease,
    seen: &Observation,
    now: Now,
) -> PersistedTurn {
    let turn = release.turn(seen, now);
    let record = release.record(&turn);
    let written = record.is_some();
    match record.map_or(Ok(()), |record| state.write(release.name(), &record)) {
        Ok(()) => take(release, turn, written, None),
        Err(error) => {
            let unwritable = Some(error.to_string());
            let turn = release.turn(
                &Observation {
                    unwritable,
                    ..seen.clone()
                },
                now,
            );
            take(release, turn, false, Some(error))
        }
    }
}

fn take(
    release: &mut LocalRelease,
    turn: AdvanceResult,
    written: bool,
    failure: Option<io::Error>,
) -> PersistedTurn {
    let kept = PersistedTurn {
        events: turn.events.clone(),
        wake_after: turn.wake_after,
        is_news: release.changes_document(&turn),
        failure,
    };
    release.take(turn, written);
    kept
}

/// What became of a release whose manifest is gone.
enum DeletionStep {
    Wait(Duration),
    Changed(Duration),
    Left,
}

fn leave(
    state: &StateDirectory,
    release: &mut LocalRelease,
    seen: &Observation,
    now: Now,
) -> io::Result<DeletionStep> {
    let (Some(live), Some(since)) = (release.document.clone(), release.gone_since) else {
        if !release.is_unreadable() {
            state.remove(release.name())?;
        }
        return Ok(DeletionStep::Left);
    };
    Ok(match withdraw(&live, Deletion::undated(since), seen, now) {
        Withdrawal::Wait(wait) => {
            state.write(release.name(), &release.withdrawing(live))?;
            DeletionStep::Wait(wait)
        }
        Withdrawal::Write(document, wait) if document == live => DeletionStep::Wait(wait),
        Withdrawal::Write(document, wait) => {
            state.write(release.name(), &release.withdrawing(Arc::clone(&document)))?;
            release.document = Some(document);
            DeletionStep::Changed(wait)
        }
        Withdrawal::Remove => {
            state.remove(release.name())?;
            DeletionStep::Left
        }
    })
}

/// Everything that the proxy is to have.
fn listing<'a>(
    fleet: &FleetConfig,
    releases: impl Iterator<Item = &'a LocalRelease>,
) -> SourceListing {
    let documents = releases.filter_map(|release| {
        // Too large is refused before it ever becomes live.
        let text = release.document.as_ref()?.to_json().ok()?;
        let name = format!("{}.json", release.name().replace('/', "_"));
        Some((
            Arc::from(name),
            Content::Text(Format::Json, text.into_bytes().into()),
        ))
    });
    let fleet = serde_json::to_vec(fleet).expect("settings are plain data");
    let fleet = Content::Text(Format::Json, fleet.into());
    SourceListing {
        releases: documents.collect(),
        fleet: Some((Arc::from("fleet.json"), fleet)),
    }
}
