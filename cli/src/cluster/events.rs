//! `halftone events`: what happened to a release, oldest first, from its Kubernetes events or from the `halftone run`
//! that looks after it; with `-f` as they come.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use halftone_rollout::events::EventType;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use owo_colors::OwoColorize;
use serde::Serialize;

use super::{ClusterClient, NamespaceScope, ReleaseName, block_on};
use crate::args::{CommandTarget, EventsArguments};
use crate::engine::event_log::PastEvent;
use crate::interrupt::or_interrupted;
use crate::local_run;
use crate::output::{self, CommandError};
use crate::summary::name_of;
use crate::view::EventLine;

/// How often a `halftone run` is asked for new ones.
const LOOK: Duration = Duration::from_millis(500);

/// Runs the command.
pub(crate) fn run(arguments: &EventsArguments) -> Result<ExitCode, CommandError> {
    match local_run::place(&arguments.running, false) {
        CommandTarget::Local(state) => block_on(or_interrupted(of_run(&state, arguments))),
        CommandTarget::Cluster { looked_here } => of_cluster(arguments, looked_here),
    }
}

/// The events that a `halftone run` remembers, since it began.
async fn of_run(state: &Path, arguments: &EventsArguments) -> Result<ExitCode, CommandError> {
    let release = name_of(&local_run::release(state, &arguments.name)?.release);
    let mut told = HashSet::new();
    loop {
        let happened = local_run::events(state, &arguments.name)?;
        let lines: Vec<EventRow> = happened
            .into_iter()
            .map(|event| EventRow::here(&release, event))
            .collect();
        print(&lines, arguments.json, &mut told)?;
        match arguments.follow {
            false if lines.is_empty() && !arguments.json => {
                writeln!(
                    output::stdout(),
                    "{release} has no events since this halftone run began"
                )?;
                return Ok(ExitCode::SUCCESS);
            }
            false => return Ok(ExitCode::SUCCESS),
            true => tokio::time::sleep(LOOK).await,
        }
    }
}

fn of_cluster(arguments: &EventsArguments, looked_here: bool) -> Result<ExitCode, CommandError> {
    block_on(or_interrupted(async {
        let cluster = ClusterClient::connect(&arguments.running.cluster, looked_here).await?;
        let ReleaseName { namespace, name } = ReleaseName::read(&arguments.name);
        let namespace = namespace.unwrap_or(cluster.namespace());
        let scope = NamespaceScope::Namespace(namespace);
        let selector = about(Some(name));
        let mut lines: Vec<EventRow> = cluster
            .list::<Event>(scope, &ListParams::default().fields(&selector))
            .await?
            .iter()
            .map(EventRow::of)
            .collect();
        lines.sort_by_key(|line| line.time);
        if lines.is_empty() {
            // A name that is wrong is no quiet release.
            cluster.release(&arguments.name).await?;
        }
        let mut told = HashSet::new();
        print(&lines, arguments.json, &mut told)?;
        if lines.is_empty() && !arguments.json && !arguments.follow {
            writeln!(
                output::stdout(),
                "{namespace}/{name} has no events; Kubernetes keeps them for an hour"
            )?;
        }
        match arguments.follow {
            true => follow(&cluster, scope, &selector, arguments.json, told).await,
            false => Ok(ExitCode::SUCCESS),
        }
    }))
}

async fn follow(
    cluster: &ClusterClient,
    scope: NamespaceScope<'_>,
    selector: &str,
    json: bool,
    mut told: HashSet<String>,
) -> Result<ExitCode, CommandError> {
    let config = watcher::Config::default().fields(selector);
    let mut changes = watcher(cluster.api::<Event>(scope), config)
        .default_backoff()
        .boxed();
    loop {
        match changes.try_next().await {
            Ok(Some(watcher::Event::Apply(event) | watcher::Event::InitApply(event))) => {
                print(&[EventRow::of(&event)], json, &mut told)?;
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(ExitCode::SUCCESS),
            Err(error) => {
                if let Some(failure) = cluster.fatal::<Event>(error, scope) {
                    return Err(failure);
                }
            }
        }
    }
}

/// The events about GrayReleases, or about one. They are asked for in the core group, where Kubernetes' own roles `view`
/// and `edit` show them, and not in `events.k8s.io`, where they do not.
pub(super) fn about(name: Option<&str>) -> String {
    let kind = "involvedObject.kind=GrayRelease";
    name.map_or_else(
        || kind.to_owned(),
        |name| format!("{kind},involvedObject.name={name}"),
    )
}

/// What was not told before.
fn print(lines: &[EventRow], json: bool, told: &mut HashSet<String>) -> Result<(), CommandError> {
    let mut out = output::stdout();
    for line in lines.iter().filter(|line| told.insert(line.key.clone())) {
        if json {
            serde_json::to_writer(&mut out, line).map_err(std::io::Error::from)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}", line.text())?;
        }
    }
    Ok(out.flush()?)
}

/// An event as it is printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventRow {
    /// The same event, told as often.
    #[serde(skip)]
    key: String,
    time: Option<Timestamp>,
    /// `NAMESPACE/NAME`.
    pub(super) release: String,
    #[serde(rename = "type")]
    type_: String,
    reason: String,
    message: String,
    count: i32,
}

impl EventRow {
    /// An event of a `halftone run`.
    fn here(release: &str, event: PastEvent) -> Self {
        let PastEvent {
            time,
            type_,
            reason,
            message,
        } = event;
        let key = format!("{time} {reason} {message}");
        Self {
            key,
            time: Some(time),
            release: release.to_owned(),
            type_,
            reason,
            message,
            count: 1,
        }
    }

    pub(super) fn of(event: &Event) -> Self {
        let about = &event.involved_object;
        let again = event.series.as_ref();
        let count = again
            .and_then(|series| series.count)
            .or(event.count)
            .unwrap_or(1);
        let time = again
            .and_then(|series| Some(series.last_observed_time.as_ref()?.0))
            .or(event.event_time.as_ref().map(|time| time.0))
            .or(event.last_timestamp.as_ref().map(|time| time.0))
            .or(event
                .metadata
                .creation_timestamp
                .as_ref()
                .map(|time| time.0));
        Self {
            key: format!(
                "{} {count}",
                event.uid().unwrap_or_else(|| event.name_any())
            ),
            time,
            release: format!(
                "{}/{}",
                about.namespace.as_deref().unwrap_or_default(),
                about.name.as_deref().unwrap_or_default()
            ),
            type_: event.type_.clone().unwrap_or_else(|| "Normal".to_owned()),
            reason: event.reason.clone().unwrap_or_default(),
            message: event.message.clone().unwrap_or_default(),
            count,
        }
    }

    /// When it happened.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.time
    }

    /// The same for the live view.
    pub(super) fn news(&self) -> EventLine {
        let severity = if self.type_ == "Warning" {
            EventType::Warning
        } else {
            EventType::Normal
        };
        EventLine {
            severity,
            reason: self.reason.clone(),
            message: self.message.clone(),
        }
    }

    fn text(&self) -> String {
        let time = self.time.map_or_else(
            || "-".to_owned(),
            |time| {
                time.to_zoned(jiff::tz::TimeZone::system())
                    .strftime("%Y-%m-%d %H:%M:%S")
                    .to_string()
            },
        );
        let reason = match self.type_.as_str() {
            "Warning" => self.reason.yellow().to_string(),
            _ => self.reason.green().to_string(),
        };
        let again = if self.count > 1 {
            format!(" ({} times)", self.count)
        } else {
            String::new()
        };
        format!("{time} {} {reason} {}{again}", self.release, self.message)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line_with_its_last_time_and_how_often() {
        let event: Event = serde_json::from_value(json!({
            "metadata": {"name": "checkout.1", "uid": "u"}, "type": "Warning", "reason": "RolledBack",
            "message": "gray failed", "eventTime": "2026-11-21T10:00:00.000000Z",
            "involvedObject": {"kind": "GrayRelease", "namespace": "shop", "name": "checkout"},
            "series": {"count": 3, "lastObservedTime": "2026-11-21T10:05:00.000000Z"}}))
        .unwrap();
        let line = EventRow::of(&event);
        assert_eq!(line.time.unwrap().to_string(), "2026-11-21T10:05:00Z");
        assert_eq!(line.news().severity, EventType::Warning);
        let text = anstream::adapter::strip_str(&line.text()).to_string();
        assert!(
            text.ends_with("shop/checkout RolledBack gray failed (3 times)"),
            "{text}"
        );
    }

    #[test]
    fn the_events_of_one_release_are_asked_for_by_its_name() {
        assert_eq!(
            about(Some("checkout")),
            "involvedObject.kind=GrayRelease,involvedObject.name=checkout"
        );
    }
}
