//! What the operator counts of itself, for `/metrics`. Names and labels are a contract with people's dashboards.

mod releases;

use std::time::Duration;

use halftone_api::spec::Verdict;
use halftone_daemon::process::ProcessCollector;
use halftone_rollout::events::EventReason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub use self::releases::ReleaseMetrics;
use crate::error::Error;
use crate::poll_error::PollError;

/// One label of one of these names; the fleets and steps are few.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    class: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    class: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    resource: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    class: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    class: String,
    result: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The registry and all that is in it.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ClassLabels, Counter>,
    errors: Family<FailureLabels, Counter>,
    steps: Histograms<StepLabels>,
    polls: Histograms<ClassLabels>,
    poll_errors: Family<FailureLabels, Counter>,
    acknowledged: Histograms<ClassLabels>,
    happened: Family<EventLabels, Counter>,
    verdicts: Family<VerdictLabels, Counter>,
    leader: Family<ClassLabels, Gauge>,
    releases: Family<ClassLabels, Gauge>,
    watches: Family<ResourceLabels, Counter>,
    events_dropped: Counter,
    owned: Family<ClassLabels, Gauge>,
    definition_lacks: Gauge,
    per_release: ReleaseMetrics,
}

fn quick() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.5, 12))
}

fn slow() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 14))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            reconciles: Family::default(),
            errors: Family::default(),
            steps: Family::new_with_constructor(quick),
            polls: Family::new_with_constructor(slow),
            poll_errors: Family::default(),
            acknowledged: Family::new_with_constructor(slow),
            happened: Family::default(),
            verdicts: Family::default(),
            leader: Family::default(),
            releases: Family::default(),
            watches: Family::default(),
            events_dropped: Counter::default(),
            owned: Family::default(),
            definition_lacks: Gauge::default(),
            per_release: ReleaseMetrics::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let process = ProcessCollector {
            component: "operator",
            version: env!("CARGO_PKG_VERSION"),
        };
        self.registry.register_collector(Box::new(process));
        self.registry
            .register_collector(Box::new(self.per_release.clone()));
        let registry = self.registry.sub_registry_with_prefix("halftone_operator");
        registry.register("reconciles", "Turns of releases", self.reconciles.clone());
        registry.register(
            "reconcile_errors",
            "Turns that ended early, by kind",
            self.errors.clone(),
        );
        registry.register(
            "step_duration_seconds",
            "Time that each step of a turn took",
            self.steps.clone(),
        );
        registry.register(
            "poll_duration_seconds",
            "Time until a proxy's report was read",
            self.polls.clone(),
        );
        registry.register(
            "poll_errors",
            "Reports that were not to be had, by kind",
            self.poll_errors.clone(),
        );
        let help = "Time from writing a routing document until every ready proxy had it";
        registry.register("acknowledged_seconds", help, self.acknowledged.clone());
        registry.register(
            "happened",
            "What happened to releases, by the reason of the event",
            self.happened.clone(),
        );
        registry.register(
            "verdicts",
            "Verdicts of the judge, by result",
            self.verdicts.clone(),
        );
        registry.register(
            "leader",
            "1 while this process acts on the fleet",
            self.leader.clone(),
        );
        registry.register(
            "releases",
            "Releases that this process looks after",
            self.releases.clone(),
        );
        registry.register(
            "watch_errors",
            "Watches that broke off, by resource",
            self.watches.clone(),
        );
        let help = "1 while this installation looks after the class, 0 while another one does";
        registry.register("owns", help, self.owned.clone());
        let help = "Fields that the CustomResourceDefinition in the cluster lacks";
        registry.register("crd_missing_fields", help, self.definition_lacks.clone());
        registry.register(
            "events_dropped",
            "Events that could not be written",
            self.events_dropped.clone(),
        );
    }

    /// The page.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry)
            .expect("a String takes everything");
        page
    }

    /// What is told of each release.
    #[must_use]
    pub fn per_release(&self) -> &ReleaseMetrics {
        &self.per_release
    }

    /// The counters of a fleet begin at 0, so that the first event raises one.
    pub fn begin(&self, class: &str) {
        let class = || class.to_owned();
        drop(
            self.reconciles
                .get_or_create(&ClassLabels { class: class() }),
        );
        for reason in EventReason::ALL {
            drop(self.happened.get_or_create(&EventLabels {
                class: class(),
                reason: reason.to_string(),
            }));
        }
        for result in [Verdict::Pass, Verdict::Fail] {
            drop(self.verdicts.get_or_create(&VerdictLabels {
                class: class(),
                result: format!("{result:?}"),
            }));
        }
        for kind in Error::KINDS {
            drop(self.errors.get_or_create(&FailureLabels {
                class: class(),
                kind,
            }));
        }
        for kind in PollError::KINDS {
            drop(self.poll_errors.get_or_create(&FailureLabels {
                class: class(),
                kind,
            }));
        }
    }

    /// Whether this installation looks after a class.
    pub fn owns(&self, class: &str, owns: bool) {
        self.owned.get_or_create(&fleet(class)).set(owns.into());
    }

    /// The CustomResourceDefinition in the cluster lacks so many fields.
    pub fn definition_lacks(&self, fields: usize) {
        self.definition_lacks
            .set(i64::try_from(fields).unwrap_or(i64::MAX));
    }

    /// A turn was taken.
    pub fn reconciled(&self, class: &str) {
        self.reconciles.get_or_create(&fleet(class)).inc();
    }

    /// A turn ended early.
    pub fn failed(&self, class: &str, kind: &'static str) {
        self.errors
            .get_or_create(&FailureLabels {
                class: class.to_owned(),
                kind,
            })
            .inc();
    }

    /// A step of a turn took so long.
    pub fn step(&self, step: &'static str, took: Duration) {
        self.steps
            .get_or_create(&StepLabels { step })
            .observe(took.as_secs_f64());
    }

    /// A report was read after so long.
    pub fn polled(&self, class: &str, took: Duration) {
        self.polls
            .get_or_create(&fleet(class))
            .observe(took.as_secs_f64());
    }

    /// A report was not to be had.
    pub fn poll_failed(&self, class: &str, kind: &'static str) {
        self.poll_errors
            .get_or_create(&FailureLabels {
                class: class.to_owned(),
                kind,
            })
            .inc();
    }

    /// Every ready proxy had a document after so long.
    pub fn acknowledged(&self, class: &str, took: Duration) {
        self.acknowledged
            .get_or_create(&fleet(class))
            .observe(took.as_secs_f64());
    }

    /// Something happened to a release.
    pub fn happened(&self, class: &str, reason: String) {
        self.happened
            .get_or_create(&EventLabels {
                class: class.to_owned(),
                reason,
            })
            .inc();
    }

    /// The judge came to a verdict.
    pub fn judged(&self, class: &str, result: String) {
        self.verdicts
            .get_or_create(&VerdictLabels {
                class: class.to_owned(),
                result,
            })
            .inc();
    }

    /// Whether this process acts on a fleet.
    pub fn leads(&self, class: &str, leads: bool) {
        self.leader.get_or_create(&fleet(class)).set(leads.into());
    }

    /// How many releases it looks after there.
    pub fn set_release_count(&self, class: &str, releases: usize) {
        self.releases
            .get_or_create(&fleet(class))
            .set(i64::try_from(releases).unwrap_or(i64::MAX));
    }

    /// A watch broke off.
    pub fn watch_failed(&self, resource: &'static str) {
        self.watches
            .get_or_create(&ResourceLabels { resource })
            .inc();
    }

    /// An event could not be written.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }
}

fn fleet(class: &str) -> ClassLabels {
    ClassLabels {
        class: class.to_owned(),
    }
}
