//! What has happened to a release, for `/metrics` and for people: counted, and written as a Kubernetes event.

use std::sync::Arc;

use halftone_api::GrayRelease;
use halftone_rollout::events::Event;
use halftone_routing::document::names::ObjectName;

use crate::clock::Clock;
use crate::events::EventRecorder;
use crate::metrics::Metrics;
use crate::names::NamespacedName;

/// Publishes the events of the releases of one fleet.
#[derive(Debug)]
pub struct EventPublisher {
    class: ObjectName,
    metrics: Arc<Metrics>,
    events: EventRecorder,
    clock: Clock,
}

impl EventPublisher {
    /// For the fleet of this class.
    #[must_use]
    pub fn new(
        class: ObjectName,
        metrics: Arc<Metrics>,
        events: EventRecorder,
        clock: Clock,
    ) -> Self {
        Self {
            class,
            metrics,
            events,
            clock,
        }
    }

    /// Tells people what has happened to a release, and counts it.
    pub fn publish(&self, object: &GrayRelease, event: Event) {
        self.metrics
            .happened(self.class.as_str(), event.reason.to_string());
        self.metrics
            .per_release()
            .happened(&NamespacedName::of(object), event.reason);
        self.events.tell(object, event, self.clock.now().wall);
    }
}
