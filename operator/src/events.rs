//! Events for people (`kubectl describe`, `kubectl get events`): built without a client, written one after the other by a
//! task of its own, so that no release waits for them. One that cannot be written is lost, and counted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use halftone_api::GrayRelease;
use halftone_rollout::events::{Event, EventType};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as ClusterEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, Resource, ResourceExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api_client::in_time;
use crate::metrics::Metrics;
use crate::names::CONTROLLER;
use crate::proxy_roster::ProxyPod;

/// The longest note that the API server takes.
const LONGEST_NOTE: usize = 1024;
/// So many events may wait to be written.
const WAITING: usize = 1000;
/// The same is not told twice within this time.
const REPEATED: Duration = Duration::from_secs(600);

/// The event as an object. `identity` is the process that reports it, `number` makes its name differ from others of the
/// same time.
#[must_use]
pub fn object(
    about: &ObjectReference,
    event: &Event,
    identity: &str,
    at: Timestamp,
    number: u64,
) -> ClusterEvent {
    let type_ = match event.reason.severity() {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    // Kubernetes names events after their object, with the time behind it.
    let name = about.name.as_deref().unwrap_or_default();
    let name = format!(
        "{}.{:x}{:03x}",
        &name[..name.len().min(200)],
        at.as_microsecond(),
        number % 4096
    );
    ClusterEvent {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        action: Some("Advance".to_owned()),
        event_time: Some(MicroTime(at)),
        note: Some(shortened(&event.message)),
        reason: Some(event.reason.to_string()),
        regarding: Some(about.clone()),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(identity.chars().take(128).collect()),
        type_: Some(type_.to_owned()),
        ..ClusterEvent::default()
    }
}

/// A release, as events name it.
#[must_use]
pub fn release(release: &GrayRelease) -> ObjectReference {
    ObjectReference {
        api_version: Some(GrayRelease::api_version(&()).into_owned()),
        kind: Some(GrayRelease::kind(&()).into_owned()),
        name: release.metadata.name.clone(),
        namespace: release.namespace(),
        uid: release.uid(),
        resource_version: release.resource_version(),
        field_path: None,
    }
}

/// A proxy's pod, as events name it.
#[must_use]
pub fn proxy(namespace: &str, pod: &ProxyPod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.name.clone()),
        namespace: Some(namespace.to_owned()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}

/// At most as long as the API server takes, ended by an ellipsis where something is missing.
fn shortened(message: &str) -> String {
    if message.len() <= LONGEST_NOTE {
        return message.to_owned();
    }
    let end = (0..=LONGEST_NOTE - '…'.len_utf8())
        .rev()
        .find(|at| message.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}…", &message[..end])
}

/// Where events are handed in.
#[derive(Debug, Clone)]
pub struct EventRecorder {
    waiting: mpsc::Sender<(ObjectReference, Event, Timestamp)>,
    metrics: Arc<Metrics>,
}

impl EventRecorder {
    /// The place to hand them in, and the task that writes them.
    pub fn start(
        client: Client,
        identity: String,
        metrics: Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (waiting, inbox) = mpsc::channel(WAITING);
        let writer = write(client, identity, inbox, Arc::clone(&metrics));
        (Self { waiting, metrics }, writer)
    }

    /// Has an event about a release written at some time.
    pub fn tell(&self, release: &GrayRelease, event: Event, at: Timestamp) {
        self.hand_in(self::release(release), event, at);
    }

    /// Has an event about a proxy written at some time.
    pub fn emit_for_proxy(&self, namespace: &str, pod: &ProxyPod, event: Event, at: Timestamp) {
        self.hand_in(proxy(namespace, pod), event, at);
    }

    /// Has an event about a pod of our own written: what concerns no single release.
    pub fn emit_for_pod(&self, namespace: &str, name: &str, event: Event, at: Timestamp) {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectReference::default()
        };
        self.hand_in(about, event, at);
    }

    fn hand_in(&self, about: ObjectReference, event: Event, at: Timestamp) {
        if self.waiting.try_send((about, event, at)).is_err() {
            self.metrics.event_dropped();
        }
    }
}

async fn write(
    client: Client,
    identity: String,
    mut inbox: mpsc::Receiver<(ObjectReference, Event, Timestamp)>,
    metrics: Arc<Metrics>,
) {
    let (mut recent, mut number) = (RecentEvents::default(), 0);
    while let Some((about, event, at)) = inbox.recv().await {
        let told = format!(
            "{:?} {:?} {} {}",
            about.uid, about.name, event.reason, event.message
        );
        if !recent.is_new(told, Instant::now()) {
            continue;
        }
        number += 1;
        let api: Api<ClusterEvent> = Api::namespaced(
            client.clone(),
            about.namespace.as_deref().unwrap_or_default(),
        );
        let object = object(&about, &event, &identity, at, number);
        if let Err(error) = in_time(
            "writing the event",
            api.create(&PostParams::default(), &object),
        )
        .await
        {
            metrics.event_dropped();
            tracing::debug!(object = about.name, reason = %event.reason, "{error}");
        }
    }
}

/// What was told lately.
#[derive(Debug, Default)]
struct RecentEvents {
    told: HashMap<String, Instant>,
    order: VecDeque<(Instant, String)>,
}

impl RecentEvents {
    fn is_new(&mut self, text: String, now: Instant) -> bool {
        while self.order.front().is_some_and(|(at, _)| {
            now.duration_since(*at) >= REPEATED || self.order.len() > WAITING
        }) {
            if let Some((at, text)) = self.order.pop_front()
                && self.told.get(&text) == Some(&at)
            {
                self.told.remove(&text);
            }
        }
        if self.told.contains_key(&text) {
            return false;
        }
        self.told.insert(text.clone(), now);
        self.order.push_back((now, text));
        true
    }
}

#[cfg(test)]
mod tests {
    use halftone_rollout::events::EventReason;

    use super::*;

    #[test]
    fn an_event_is_about_its_release_and_fits() {
        let text = include_str!("../../examples/minimal.yaml");
        let release = &halftone_api::manifest::read("minimal.yaml", text).manifests[0].release;
        let event = Event::new(EventReason::RolledBack, "ä".repeat(2000));
        let at = "2026-11-21T10:00:00Z".parse().unwrap();
        let object = object(&super::release(release), &event, "operator-0", at, 7);
        let note = object.note.unwrap();
        assert!(note.len() <= LONGEST_NOTE && note.ends_with("ä…"));
        assert_eq!(
            (object.type_.unwrap(), object.reason.unwrap()),
            ("Warning".into(), "RolledBack".into())
        );
        let regarding = object.regarding.unwrap();
        assert_eq!(regarding.kind.as_deref(), Some("GrayRelease"));
        assert_eq!(
            regarding.api_version.as_deref(),
            Some("halftone.dev/v1alpha1")
        );
        assert_eq!(
            (regarding.name, regarding.namespace),
            (release.metadata.name.clone(), object.metadata.namespace)
        );
        assert!(
            object.action.is_some() && object.reporting_controller.is_some(),
            "the API server asks for them"
        );
    }

    #[test]
    fn an_event_about_a_proxy_names_its_pod() {
        let pod = ProxyPod {
            name: "proxy-0".into(),
            uid: "7c1f".into(),
            addresses: Vec::new(),
            admin: None,
            ready: true,
            terminating: false,
        };
        let event = Event::new(EventReason::ConnectionsScarce, "full");
        let object = object(
            &proxy("halftone", &pod),
            &event,
            "operator-0",
            Timestamp::UNIX_EPOCH,
            1,
        );
        assert_eq!(
            (
                object.type_.as_deref(),
                object.metadata.namespace.as_deref()
            ),
            (Some("Warning"), Some("halftone"))
        );
        let regarding = object.regarding.unwrap();
        assert_eq!(
            [
                regarding.api_version,
                regarding.kind,
                regarding.name,
                regarding.uid
            ]
            .map(Option::unwrap),
            ["v1", "Pod", "proxy-0", "7c1f"]
        );
    }

    #[test]
    fn the_same_is_told_again_only_after_a_while() {
        let (mut recent, start) = (RecentEvents::default(), Instant::now());
        assert!(recent.is_new("a".into(), start));
        assert!(!recent.is_new("a".into(), start + REPEATED / 2));
        assert!(recent.is_new("b".into(), start + REPEATED / 2));
        assert!(recent.is_new("a".into(), start + REPEATED));
    }
}
