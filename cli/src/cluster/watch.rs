//! `halftone watch` in a cluster: the releases and their events as they change, in the view that `halftone run` has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt;
use halftone_rollout::GrayRelease;
use halftone_rollout::clock::Now;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::Resource;
use kube::runtime::{WatchStreamExt, watcher};

use super::events::{Line, about};
use super::failure::{Doing, chain};
use super::{Cluster, Name, Scope};
use crate::engine::release::name_of;
use crate::output::Failure;
use crate::status::shown;
use crate::view::View;

/// What is left of a hold is shown anew this often.
const TICK: Duration = Duration::from_secs(1);

/// Follows releases until interrupted.
///
/// # Errors
/// There is no such release, or the API server says no.
pub(crate) async fn watch(
    cluster: &Cluster,
    name: Option<&str>,
    all: bool,
    json: bool,
) -> Result<ExitCode, Failure> {
    let name = name.map(Name::read);
    let namespace = name.as_ref().and_then(|name| name.namespace).unwrap_or(cluster.namespace());
    let in_all = all && name.as_ref().is_none_or(|name| name.namespace.is_none());
    let scope = if in_all { Scope::All } else { Scope::Namespace(namespace) };
    let name = name.map(|name| name.name);
    // An error is told at once, not tried again and again.
    match name {
        Some(name) if !in_all => drop(cluster.release(&format!("{namespace}/{name}")).await?),
        _ => drop(cluster.releases(scope).await?),
    }
    let mut watch = Watch::new(json);
    tokio::select! {
        ended = follow(cluster, scope, name, &mut watch) => ended.map(|()| ExitCode::SUCCESS),
        _ = tokio::signal::ctrl_c() => {
            watch.view.ended();
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn follow(
    cluster: &Cluster,
    scope: Scope<'_>,
    name: Option<&str>,
    watch: &mut Watch,
) -> Result<(), Failure> {
    let only = match name {
        Some(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
        None => watcher::Config::default(),
    };
    let mut releases = watcher(cluster.releases_of(scope), only).default_backoff().boxed();
    let of_events = watcher::Config::default().fields(&about(name));
    let mut events = watcher(cluster.api::<Event>(scope), of_events).default_backoff().fuse().boxed();
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            change = releases.next() => match change {
                Some(Ok(change)) => watch.changed(change),
                Some(Err(error)) => {
                    let away = chain(&error);
                    match cluster.fatal::<GrayRelease>(error, scope) {
                        Some(failure) => return Err(failure),
                        None => watch.away(&away),
                    }
                }
                None => return Ok(()),
            },
            // Without leave to read events the releases still tell where they stand.
            Some(Ok(change)) = events.next() => watch.happened(change),
            _ = tick.tick() => watch.again(),
        }
    }
}

struct Watch {
    view: View,
    releases: BTreeMap<String, GrayRelease>,
    /// Those that a new list has not named yet.
    unseen: BTreeSet<String>,
    since: Timestamp,
    away: bool,
}

impl Watch {
    fn new(json: bool) -> Self {
        Self {
            view: View::new(json),
            releases: BTreeMap::new(),
            unseen: BTreeSet::new(),
            since: Timestamp::now(),
            away: false,
        }
    }

    fn changed(&mut self, change: watcher::Event<GrayRelease>) {
        self.away = false;
        match change {
            watcher::Event::Apply(release) | watcher::Event::InitApply(release) => self.stands(release),
            watcher::Event::Delete(release) => self.gone(&name_of(&release)),
            watcher::Event::Init => self.unseen = self.releases.keys().cloned().collect(),
            watcher::Event::InitDone => {
                std::mem::take(&mut self.unseen).iter().for_each(|name| self.gone(name));
            }
        }
    }

    fn stands(&mut self, release: GrayRelease) {
        let name = name_of(&release);
        self.unseen.remove(&name);
        self.view.show(&shown(&release), false, Now::at(Timestamp::now()));
        self.releases.insert(name, release);
    }

    fn gone(&mut self, name: &str) {
        self.releases.remove(name);
        self.view.gone(name, "deleted");
    }

    fn happened(&mut self, change: watcher::Event<Event>) {
        let (watcher::Event::Apply(event) | watcher::Event::InitApply(event)) = change else { return };
        let line = Line::of(&event);
        // What happened before is what `halftone events` is for.
        if let (Some(release), Some(at)) = (self.releases.get(&line.release), line.time())
            && at >= self.since
        {
            self.view.happened(&shown(release), &line.news(), Now::at(at));
        }
    }

    fn again(&mut self) {
        let now = Now::at(Timestamp::now());
        self.releases.values().for_each(|release| self.view.show(&shown(release), true, now));
    }

    fn away(&mut self, why: &str) {
        if !std::mem::replace(&mut self.away, true) {
            self.view.say(&format!("the API server is away, trying again: {why}"));
        }
    }
}

impl Cluster {
    /// A watch's error that trying again does not mend.
    pub(super) fn fatal<K>(&self, error: watcher::Error, scope: Scope<'_>) -> Option<Failure>
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
        lasting.then(|| self.failed(&error, &Doing::watching::<K>(scope)))
    }
}
