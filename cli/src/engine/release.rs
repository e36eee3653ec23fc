//! One release on this machine: its manifest, where it stands, and the document that is live.

use std::sync::Arc;
use std::time::{Duration, Instant};

use halftone_api::Obstacle;
use halftone_api::claims::{Claimant, ObjectPresence};
use halftone_api::plan::local_uid;
use halftone_api::spec::GrayReleaseSpec;
use halftone_api::{GrayRelease, GrayReleaseStatus, Plan};
use halftone_rollout::advance::{self, AdvanceResult};
use halftone_rollout::clock::Now;
use halftone_rollout::command_request::REQUEST_ANNOTATION;
use halftone_rollout::events::Event;
use halftone_rollout::observation::Observation;
use halftone_rollout::progress::Progress;
use halftone_rollout::withdraw;
use halftone_routing::document::RoutingConfig;
use halftone_routing::document::arm::{Arm, ArmConfig};
use halftone_routing::document::names::{ObjectName, Uid};
use halftone_routing::fleet::FleetConfig;
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::MeasuredRelease;
use super::event_log::EventLog;
use super::state_directory::StateRecord;
use super::traffic::TrafficWindow;
use crate::summary::name_of;

/// Figures alone are written so often at most: after a crash the judge goes on from the last ones, and a file of this
/// machine is no API server that has to be spared.
const FIGURES: Duration = Duration::from_secs(10);
/// A write that goes on failing is told again so seldom.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// A release that this process looks after.
#[derive(Debug)]
pub(crate) struct LocalRelease {
    name: String,
    uid: Uid,
    manifest: GrayRelease,
    wanted: Result<Arc<Plan>, Obstacle>,
    progress: Progress,
    /// The spec that is in effect.
    accepted: Option<GrayReleaseSpec>,
    pub(super) document: Option<Arc<RoutingConfig>>,
    pub(super) gone_since: Option<Timestamp>,
    /// People were told of that.
    told_gone: bool,
    /// The request in the manifest as it was last taken: one that stays in a file is asked once.
    asked_by_file: Option<String>,
    pub(super) traffic: TrafficWindow,
    pub(super) past: EventLog,
    written: Option<PersistedStatus>,
    /// Why progress could not be written last, and when that was told.
    complaint: Option<(String, Instant)>,
    /// Why it is not known how far it was: it does not start, and what was kept of it stays as it is.
    unreadable: Option<String>,
    /// The generation that was in effect last, and whether the newest one is.
    confirmed: Option<(i64, bool)>,
}

#[derive(Debug)]
struct PersistedStatus {
    status: GrayReleaseStatus,
    at: Instant,
}

impl LocalRelease {
    /// A release that was never seen before.
    pub(super) fn new(manifest: &GrayRelease, now: Now) -> Self {
        let mut manifest = manifest.clone();
        // Kubernetes writes whole seconds; a finer time would read back as another one, and raise the revision.
        // Down, since a release is not seen before it is there.
        let second = TimestampRound::new()
            .smallest(Unit::Second)
            .mode(RoundMode::Trunc);
        let seen = now.wall.round(second).unwrap_or(now.wall);
        manifest.metadata.creation_timestamp = Some(Time(seen));
        manifest.metadata.generation = Some(1);
        Self::with(manifest, Progress::new(now))
    }

    /// Goes on with what an earlier run has kept; also says what of it cannot be read.
    pub(super) fn restore(record: StateRecord, now: Now) -> (Self, Option<String>) {
        let status = record.object.status.clone().unwrap_or_default();
        let accepted = record
            .accepted
            .as_ref()
            .and_then(|spec| plan_of(&record.object, spec));
        let restored = match record.lost_status {
            Some(why) => Err(why),
            None => {
                Progress::restore(&status, accepted.clone(), now).map_err(|error| error.to_string())
            }
        };
        let (progress, written, lost) = match restored {
            Ok(progress) => (
                progress,
                Some(PersistedStatus {
                    status,
                    at: Instant::now(),
                }),
                None,
            ),
            // Its document says where it stands.
            Err(why) => (Progress::salvage(&status, accepted, now), None, Some(why)),
        };
        let mut release = Self::with(record.object, progress);
        release.accepted = record.accepted;
        release.document = record.document;
        release.gone_since = record.gone_since;
        release.written = written;
        let note = lost.map(|why| {
            format!(
                "{}: its kept status cannot be read ({why}); it goes on from its routing document, and the hold and \
                 the evidence of its step start over",
                release.name
            )
        });
        (release, note)
    }

    fn with(mut manifest: GrayRelease, progress: Progress) -> Self {
        let name = name_of(&manifest);
        let metadata = &mut manifest.metadata;
        metadata
            .namespace
            .get_or_insert_with(|| "default".to_owned());
        let (namespace, bare) = name.split_once('/').unwrap_or(("default", &name));
        let uid = local_uid(namespace, bare).expect("names of a plan, or checked as such");
        metadata.uid = Some(uid.to_string());
        let wanted = plan(&manifest);
        Self {
            name,
            uid,
            manifest,
            wanted,
            progress,
            accepted: None,
            document: None,
            gone_since: None,
            told_gone: false,
            asked_by_file: None,
            traffic: TrafficWindow::default(),
            past: EventLog::default(),
            written: None,
            complaint: None,
            unreadable: None,
            confirmed: None,
        }
    }

    /// `NAMESPACE/NAME`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn uid(&self) -> &Uid {
        &self.uid
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The fleet that serves it.
    pub(super) fn class(&self) -> ObjectName {
        let accepted = self.accepted.as_ref().unwrap_or(&self.manifest.spec);
        accepted
            .proxy_class
            .parse()
            .unwrap_or_else(|_| FleetConfig::default().class)
    }

    /// The recent figures of both arms.
    pub(crate) fn traffic(&self) -> &TrafficWindow {
        &self.traffic
    }

    /// The newest plan, if the newest manifest makes one.
    pub(crate) fn plan(&self) -> Option<&Arc<Plan>> {
        self.wanted.as_ref().ok()
    }

    /// The stable arm that serves, and those that a plan names.
    pub(super) fn stable_arms(&self) -> impl Iterator<Item = &ArmConfig> {
        let live = self.document.iter().map(|live| &live.arms.stable);
        live.chain(
            [self.progress.plan(), self.plan()]
                .into_iter()
                .flatten()
                .map(|plan| &plan.stable),
        )
    }

    /// What it claims, as far as nothing that was `seen` of it forbids that.
    pub(super) fn claimant(&self, seen: &Observation) -> Claimant<'_> {
        let takes_effect = |plan: &&Arc<Plan>| {
            self.gone_since.is_none()
                && seen.refusal.is_none()
                && !advance::is_held(plan, &self.progress, seen)
        };
        let wanted = self.plan().filter(takes_effect).map(Arc::as_ref);
        let standing = if self.gone_since.is_some() {
            ObjectPresence::Gone
        } else {
            ObjectPresence::Here
        };
        // All files are one person's: nothing is kept for a namespace.
        Claimant {
            wanted,
            live: self.document.as_deref(),
            standing,
            reserved: None,
        }
    }

    /// The object as an API server would show it.
    pub(crate) fn object(&self) -> GrayRelease {
        GrayRelease {
            status: Some(self.progress.status()),
            ..self.manifest.clone()
        }
    }

    /// The same, with what its arms did in the last seconds.
    pub(super) fn measured(&self) -> MeasuredRelease {
        MeasuredRelease {
            release: self.object(),
            traffic: Arm::ALL.map(|arm| self.traffic.figures(arm)),
        }
    }

    /// Takes the manifest as it is written now.
    pub(super) fn edit(&mut self, manifest: &GrayRelease, problem: Option<&str>, now: Now) {
        self.told_gone = false;
        if self.gone_since.take().is_some() {
            // Another object of the same name: it goes on from the live document, not from the old status.
            self.progress = Progress::new(now);
            self.accepted = None;
            self.written = None;
        }
        let metadata = &mut self.manifest.metadata;
        metadata.labels.clone_from(&manifest.metadata.labels);
        if self.manifest.spec != manifest.spec {
            self.manifest.spec = manifest.spec.clone();
            *metadata.generation.get_or_insert_default() += 1;
        }
        let asked = request_of(manifest).map(str::to_owned);
        if asked != self.asked_by_file {
            asked.iter().for_each(|request| self.ask(request));
            self.asked_by_file = asked;
        }
        self.wanted = match (&self.unreadable, problem) {
            (Some(why), _) => Err(Obstacle::new("StateUnreadable", why.as_str())),
            (None, Some(problem)) => Err(Obstacle::new("InvalidManifest", problem)),
            (None, None) => plan(&self.manifest),
        };
    }

    /// Keeps a release from starting whose progress cannot be read, or lets it start.
    pub(super) fn mark_unreadable(&mut self, why: Option<&str>) {
        self.unreadable = why.map(str::to_owned);
    }

    /// Whether it is kept from starting.
    pub(super) fn is_unreadable(&self) -> bool {
        self.unreadable.is_some()
    }

    /// Nobody knows how the manifest is written now: what was kept goes on.
    pub(super) fn lose(&mut self, problem: &str) {
        self.wanted = Err(Obstacle::new("InvalidManifest", problem));
    }

    /// The manifest is gone.
    pub(super) fn leave(&mut self, now: Now) {
        self.gone_since.get_or_insert(now.wall);
    }

    /// What people are told of that, once.
    pub(super) fn emit_gone(&mut self, withdraw_after: Duration) -> Option<Event> {
        let news = self.document.is_some() && !std::mem::replace(&mut self.told_gone, true);
        news.then(|| withdraw::told(withdraw_after))
    }

    /// What a person asks for.
    pub(super) fn ask(&mut self, request: &str) {
        let annotations = self.manifest.metadata.annotations.get_or_insert_default();
        annotations.insert(REQUEST_ANNOTATION.to_owned(), request.to_owned());
    }

    /// What was asked last, answered or not.
    pub(super) fn request(&self) -> Option<&str> {
        request_of(&self.manifest)
    }

    pub(super) fn generation(&self) -> i64 {
        self.manifest.metadata.generation.unwrap_or_default()
    }

    /// One turn. Nothing of it counts before it was taken by [`LocalRelease::take`].
    pub(super) fn turn(&self, seen: &Observation, now: Now) -> AdvanceResult {
        match &self.wanted {
            Ok(plan) => advance::advance(plan, &self.progress, seen, now),
            Err(obstacle) => advance::refuse(obstacle, &self.progress, seen, now),
        }
    }

    /// The record that has to be on the disk before `turn` is acted on; none if a restart would go on the same way
    /// from the one that is there.
    pub(super) fn record(&self, turn: &AdvanceResult) -> Option<StateRecord> {
        if self.is_unreadable() {
            return None;
        }
        let status = turn.progress.status();
        let document = turn.routing.clone().or_else(|| self.document.clone());
        let same = self.written.as_ref().is_some_and(|written| {
            written.status.without_figures() == status.without_figures()
                && (written.at.elapsed() < FIGURES || written.status == status)
        });
        if same && !self.changes_document(turn) && self.accepted_by(turn) == self.accepted {
            return None;
        }
        let object = GrayRelease {
            status: Some(status),
            ..self.manifest.clone()
        };
        Some(StateRecord {
            object,
            accepted: self.accepted_by(turn),
            document,
            gone_since: None,
            lost_status: None,
        })
    }

    /// The spec that is in effect after `turn`.
    fn accepted_by(&self, turn: &AdvanceResult) -> Option<GrayReleaseSpec> {
        let taken = self.plan().is_some_and(|plan| turn.takes(plan));
        if taken {
            Some(self.manifest.spec.clone())
        } else {
            self.accepted.clone()
        }
    }

    /// What to tell of a write that has failed: each reason once, and again after a while.
    pub(super) fn complain(&mut self, error: &std::io::Error) -> Option<String> {
        let why = error.to_string();
        let told = self
            .complaint
            .as_ref()
            .is_some_and(|(told, at)| *told == why && at.elapsed() < COMPLAINTS);
        if told {
            return None;
        }
        let message = format!(
            "{}: its progress cannot be written ({why}); it is judged and rolled back all the same, and does not rise",
            self.name
        );
        self.complaint = Some((why, Instant::now()));
        Some(message)
    }

    /// That an edit is in effect, or a manifest once more that was refused meanwhile; each once.
    pub(super) fn confirmation(&mut self) -> Option<String> {
        let generation = self.generation();
        let in_effect = self.wanted.is_ok() && self.accepted.as_ref() == Some(&self.manifest.spec);
        let (last, was) = self.confirmed.unwrap_or((generation, in_effect));
        self.confirmed = Some((if in_effect { generation } else { last }, in_effect));
        match (in_effect, last == generation, was) {
            (true, false, _) => Some(format!("{}: the edit is in effect", self.name)),
            (true, true, false) => Some(format!("{}: accepted again", self.name)),
            _ => None,
        }
    }

    /// Whether `turn` wants another document live.
    pub(super) fn changes_document(&self, turn: &AdvanceResult) -> bool {
        turn.routing.is_some() && turn.routing != self.document
    }

    /// The same for a release whose manifest is gone: what is left is its document.
    pub(super) fn withdrawing(&self, document: Arc<RoutingConfig>) -> StateRecord {
        let object = GrayRelease {
            status: None,
            ..self.manifest.clone()
        };
        StateRecord {
            object,
            accepted: None,
            document: Some(document),
            gone_since: self.gone_since,
            lost_status: None,
        }
    }

    /// Makes `turn` what counts.
    pub(super) fn take(&mut self, turn: AdvanceResult, written: bool) {
        if written {
            self.written = Some(PersistedStatus {
                status: turn.progress.status(),
                at: Instant::now(),
            });
            self.complaint = None;
        }
        self.accepted = self.accepted_by(&turn);
        self.progress = turn.progress;
        if let Some(routing) = turn.routing {
            self.document = Some(routing);
        }
    }
}

/// The plan of an earlier spec of the same object, if this program still makes one of it.
fn plan_of(object: &GrayRelease, spec: &GrayReleaseSpec) -> Option<Arc<Plan>> {
    plan(&GrayRelease {
        spec: spec.clone(),
        ..object.clone()
    })
    .ok()
}

fn request_of(object: &GrayRelease) -> Option<&str> {
    object
        .metadata
        .annotations
        .as_ref()?
        .get(REQUEST_ANNOTATION)
        .map(String::as_str)
}

fn plan(manifest: &GrayRelease) -> Result<Arc<Plan>, Obstacle> {
    let plan = Plan::try_from(manifest).map(Arc::new);
    plan.map_err(|problems| Obstacle::new("InvalidManifest", problems.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_as_old_as_the_whole_second_in_which_it_was_seen() {
        let text = include_str!("../../../examples/local/local.yaml");
        let reading = halftone_api::manifest::read("local.yaml", text);
        let now = Now::at("2026-11-21T10:00:59.9Z".parse().unwrap());
        let release = LocalRelease::new(&reading.manifests[0].release, now);
        let seen = release.plan().unwrap().object.created_at;
        assert_eq!(seen, "2026-11-21T10:00:59Z".parse().unwrap());
    }
}
