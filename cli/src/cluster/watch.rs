//! `halftone watch` in a cluster: the releases and their events as they change, in the view that `halftone run` has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt;
use halftone_api::GrayRelease;
use halftone_daemon::log::with_causes;
use halftone_rollout::clock::Now;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use tokio::time::Instant;

use super::api_error::ApiOperation;
use super::events::{EventRow, about};
use super::{ClusterClient, NamespaceScope, ReleaseName, read};
use crate::args::WatchArguments;
use crate::attention::{AttentionLevel, WatchEnd};
use crate::interrupt::or_interrupted;
use crate::output::CommandError;
use crate::status::{UnreadableRelease, shown};
use crate::summary::name_of;
use crate::view::View;

/// What is left of a hold is shown anew this often.
const TICK: Duration = Duration::from_secs(1);

/// Between the status that ends a release and the end of watching: the event that tells of it comes a little later.
const GRACE: Duration = Duration::from_secs(1);

/// Follows releases until interrupted, or one until it is done.
///
/// # Errors
/// There is no such release, or the API server says no.
pub(crate) async fn watch(
    cluster: &ClusterClient,
    arguments: &WatchArguments,
) -> Result<ExitCode, CommandError> {
    let which = &arguments.which;
    let name = which.name.as_deref().map(ReleaseName::read);
    let namespace = name
        .as_ref()
        .and_then(|name| name.namespace)
        .unwrap_or(cluster.namespace());
    let in_all = which.all_namespaces && name.as_ref().is_none_or(|name| name.namespace.is_none());
    let scope = if in_all {
        NamespaceScope::All
    } else {
        NamespaceScope::Namespace(namespace)
    };
    // An error is told at once, not tried again and again.
    let only = match name.as_ref().map(|name| name.name) {
        Some(name) if !in_all => {
            cluster.release(&format!("{namespace}/{name}")).await?;
            Some(name)
        }
        Some(name) => cluster.anywhere(name).await.map(|_| Some(name))?,
        None => {
            cluster.some(scope, which.selector.as_deref()).await?;
            None
        }
    };
    let mut watch = WatchSession::new(arguments, only.is_some() && !arguments.follow);
    let ended = or_interrupted(follow(
        cluster,
        scope,
        only,
        which.selector.as_deref(),
        &mut watch,
    ))
    .await;
    watch.view.ended();
    ended
}

async fn follow(
    cluster: &ClusterClient,
    scope: NamespaceScope<'_>,
    name: Option<&str>,
    labels: Option<&str>,
    watch: &mut WatchSession,
) -> Result<ExitCode, CommandError> {
    let only = watcher::Config {
        field_selector: name.map(|name| format!("metadata.name={name}")),
        label_selector: labels.map(str::to_owned),
        ..watcher::Config::default()
    };
    let api = cluster.api::<DeserializeGuard<GrayRelease>>(scope);
    let mut releases = watcher(api, only).default_backoff().boxed();
    let of_events = watcher::Config::default().fields(&about(name));
    let mut events = watcher(cluster.api::<Event>(scope), of_events)
        .default_backoff()
        .fuse()
        .boxed();
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            change = releases.next() => match change {
                Some(Ok(change)) => watch.changed(change)?,
                Some(Err(error)) => {
                    let away = with_causes(&error);
                    match cluster.fatal::<GrayRelease>(error, scope) {
                        Some(failure) => return Err(failure),
                        None => watch.away(&away),
                    }
                }
                None => return Ok(ExitCode::SUCCESS),
            },
            // Without leave to read events the releases still tell where they stand.
            Some(Ok(change)) = events.next() => watch.happened(change),
            _ = tick.tick() => watch.again(),
            () = tokio::time::sleep_until(watch.end.map_or_else(Instant::now, |(_, at)| at)), if watch.end.is_some() => {
                if let Some((end, _)) = watch.end {
                    return Ok(end.into());
                }
            }
        }
    }
}

struct WatchSession {
    view: View,
    releases: BTreeMap<String, GrayRelease>,
    /// Those that this version cannot read, as they were told.
    unreadable: BTreeMap<String, UnreadableRelease>,
    /// Those that a new list has not named yet.
    unseen: BTreeSet<String>,
    since: Timestamp,
    away: bool,
    /// Whether the end of the release is the end of watching.
    ends: bool,
    /// The version whose end it is.
    gray: Option<String>,
    end: Option<(WatchEnd, Instant)>,
}

impl WatchSession {
    fn new(arguments: &WatchArguments, ends: bool) -> Self {
        Self {
            view: View::new(arguments.json),
            releases: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            unseen: BTreeSet::new(),
            since: Timestamp::now(),
            away: false,
            ends,
            gray: arguments.gray.clone(),
            end: None,
        }
    }

    fn changed(
        &mut self,
        change: watcher::Event<DeserializeGuard<GrayRelease>>,
    ) -> Result<(), CommandError> {
        if std::mem::take(&mut self.away) {
            self.view.say("the API server answers again");
        }
        match change {
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => match read(object)
            {
                Ok(release) => self.stands(release),
                Err(unreadable) => self.cannot_read(unreadable),
            },
            watcher::Event::Delete(object) => self.gone(&full(&object))?,
            watcher::Event::Init => {
                self.unseen = self
                    .releases
                    .keys()
                    .chain(self.unreadable.keys())
                    .cloned()
                    .collect();
            }
            watcher::Event::InitDone => {
                for name in std::mem::take(&mut self.unseen) {
                    self.gone(&name)?;
                }
            }
        }
        Ok(())
    }

    fn stands(&mut self, release: GrayRelease) {
        let name = name_of(&release);
        self.unseen.remove(&name);
        self.unreadable.remove(&name);
        self.view
            .show(&shown(&release), false, Now::at(Timestamp::now()));
        if self.ends {
            let ended = WatchEnd::of(&release, self.gray.as_deref());
            self.end = ended.map(|end| {
                (
                    end,
                    self.end
                        .map_or_else(|| Instant::now() + GRACE, |(_, at)| at),
                )
            });
        }
        self.releases.insert(name, release);
    }

    fn cannot_read(&mut self, object: UnreadableRelease) {
        let name = object.full_name();
        self.unseen.remove(&name);
        if self.unreadable.get(&name) != Some(&object) {
            self.view.say(&format!("{name}: {}", object.sentence()));
        }
        self.unreadable.insert(name, object);
    }

    fn gone(&mut self, name: &str) -> Result<(), CommandError> {
        self.releases.remove(name);
        self.unreadable.remove(name);
        self.view.gone(name, "deleted");
        if self.ends {
            Err(CommandError::new(format!(
                "{name} was deleted before it was done"
            )))
        } else {
            Ok(())
        }
    }

    fn happened(&mut self, change: watcher::Event<Event>) {
        let (watcher::Event::Apply(event) | watcher::Event::InitApply(event)) = change else {
            return;
        };
        let line = EventRow::of(&event);
        // What happened before is what `halftone events` is for.
        if let (Some(release), Some(at)) = (self.releases.get(&line.release), line.time())
            && at >= self.since
        {
            self.view
                .happened(&shown(release), &line.news(), Now::at(at));
        }
    }

    fn again(&mut self) {
        let now = Now::at(Timestamp::now());
        let moves = |release: &&GrayRelease| {
            release
                .status
                .as_ref()
                .is_some_and(|status| AttentionLevel::of(status) == AttentionLevel::Moving)
        };
        self.releases
            .values()
            .filter(moves)
            .for_each(|release| self.view.show(&shown(release), true, now));
    }

    fn away(&mut self, why: &str) {
        if !std::mem::replace(&mut self.away, true) {
            self.view
                .say(&format!("the API server is away, trying again: {why}"));
        }
    }
}

fn full(object: &DeserializeGuard<GrayRelease>) -> String {
    format!(
        "{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

impl ClusterClient {
    /// A watch's error that trying again does not mend.
    pub(super) fn fatal<K>(
        &self,
        error: watcher::Error,
        scope: NamespaceScope<'_>,
    ) -> Option<CommandError>
    where
        K: Resource<DynamicType = ()> + Debug,
    {
        let (watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error)) = error
        else {
            return None;
        };
        let lasting = match &error {
            kube::Error::Api(status) => matches!(status.code, 401 | 403 | 404),
            kube::Error::Auth(_) | kube::Error::SerdeError(_) => true,
            _ => false,
        };
        lasting.then(|| self.failed(&error, &ApiOperation::watching::<K>(scope)))
    }
}
