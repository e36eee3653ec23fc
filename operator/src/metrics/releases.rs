//! What `/metrics` of the leading operator says of each release: where it stands, and what happened to it. Every series is
//! there from the release's first turn on, counters at 0, so that the first event raises one; with the release they go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use halftone_api::{GrayRelease, GrayReleaseStatus};
use halftone_rollout::events::EventReason;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::names::NamespacedName;

/// What is counted for each release.
const COUNTED: [(&str, &str, EventReason); 4] = [
    (
        "halftone_release_rollbacks",
        "Times that the release went back to stable",
        EventReason::RolledBack,
    ),
    (
        "halftone_release_promotions",
        "Times that gray came to serve everyone",
        EventReason::Promoted,
    ),
    (
        "halftone_release_steps",
        "Steps up",
        EventReason::StepStarted,
    ),
    (
        "halftone_release_unhealthy",
        "Times that a limit was broken",
        EventReason::Unhealthy,
    ),
];

/// Where a release stands.
#[derive(Debug, Default, Clone, PartialEq)]
struct ReleaseGauges {
    class: String,
    phase: String,
    version: String,
    verdict: Option<String>,
    ready: bool,
    ratio: Option<f64>,
    observed: Option<f64>,
    /// Seconds since 1970.
    started: Option<f64>,
    counts: [u64; COUNTED.len()],
}

/// All releases that this process looks after.
#[derive(Debug, Default, Clone)]
pub struct ReleaseMetrics(Arc<Mutex<BTreeMap<NamespacedName, ReleaseGauges>>>);

impl ReleaseMetrics {
    fn samples(&self) -> std::sync::MutexGuard<'_, BTreeMap<NamespacedName, ReleaseGauges>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This is where a release stands now.
    pub fn stands(
        &self,
        key: &NamespacedName,
        class: &str,
        object: &GrayRelease,
        status: &GrayReleaseStatus,
    ) {
        let gray = object.spec.gray.as_ref().unwrap_or(&object.spec.stable);
        let is_ready =
            |condition: &Condition| condition.type_ == "Ready" && condition.status == "True";
        let fraction = |text: &Option<String>| {
            let percent: f64 = text.as_deref()?.strip_suffix('%')?.parse().ok()?;
            Some(percent / 100.0)
        };
        let mut samples = self.samples();
        let sample = samples.entry(key.clone()).or_default();
        *sample = ReleaseGauges {
            class: class.to_owned(),
            phase: status
                .phase
                .as_ref()
                .map(|phase| format!("{phase:?}"))
                .unwrap_or_default(),
            version: gray.version.clone(),
            verdict: status
                .verdict
                .as_ref()
                .map(|verdict| format!("{:?}", verdict.result)),
            ready: status.conditions.iter().any(is_ready),
            ratio: fraction(&status.ratio),
            observed: status
                .observed
                .as_ref()
                .and_then(|observed| fraction(&observed.ratio)),
            started: status
                .release
                .as_ref()
                .map(|release| release.started_at.as_millisecond() as f64 / 1000.0),
            counts: sample.counts,
        };
    }

    /// Something happened to a release.
    pub fn happened(&self, key: &NamespacedName, reason: EventReason) {
        let Some(at) = COUNTED.iter().position(|(.., counted)| *counted == reason) else {
            return;
        };
        self.samples().entry(key.clone()).or_default().counts[at] += 1;
    }

    /// There is no such release any more.
    pub fn forget(&self, key: &NamespacedName) {
        self.samples().remove(key);
    }

    /// This process looks after no release of a class any more.
    pub fn forget_class(&self, class: &str) {
        self.samples().retain(|_, sample| sample.class != class);
    }
}

impl Collector for ReleaseMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let samples = self.samples().clone();
        let mut family = gauge(
            &mut encoder,
            "halftone_release_info",
            "1 for each release, with where it stands",
        )?;
        for (key, sample) in &samples {
            let mut labels = labels(key, &sample.class);
            labels.extend([("phase", &*sample.phase), ("version", &*sample.version)]);
            family.encode_family(&labels)?.encode_gauge(&1_i64)?;
        }
        let mut family = gauge(
            &mut encoder,
            "halftone_release_verdict",
            "1 for what the judge says of the release",
        )?;
        for (key, sample) in &samples {
            let Some(verdict) = &sample.verdict else {
                continue;
            };
            let mut labels = labels(key, &sample.class);
            labels.push(("result", verdict));
            family.encode_family(&labels)?.encode_gauge(&1_i64)?;
        }
        figures(&mut encoder, &samples)?;
        for (at, (name, help, _)) in COUNTED.iter().enumerate() {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (key, sample) in &samples {
                let labels = labels(key, &sample.class);
                family
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&sample.counts[at], None)?;
            }
        }
        Ok(())
    }
}

/// A name, what it means, and its value for one release.
type GaugeSpec = (
    &'static str,
    &'static str,
    fn(&ReleaseGauges) -> Option<f64>,
);

const FIGURES: [GaugeSpec; 4] = [
    (
        "halftone_release_ready",
        "1 while the condition Ready is True",
        |sample| Some(f64::from(u8::from(sample.ready))),
    ),
    (
        "halftone_release_ratio",
        "Share of users that gray is to get, 0 to 1",
        |sample| sample.ratio,
    ),
    (
        "halftone_release_observed_ratio",
        "Share of split requests that gray got, 0 to 1",
        |sample| sample.observed,
    ),
    (
        "halftone_release_started_timestamp_seconds",
        "When the release began, in seconds since 1970",
        |sample| sample.started,
    ),
];

fn figures(
    encoder: &mut DescriptorEncoder<'_>,
    samples: &BTreeMap<NamespacedName, ReleaseGauges>,
) -> fmt::Result {
    for (name, help, value) in FIGURES {
        let mut family = gauge(encoder, name, help)?;
        for (key, sample) in samples {
            if let Some(value) = value(sample) {
                family
                    .encode_family(&labels(key, &sample.class))?
                    .encode_gauge(&value)?;
            }
        }
    }
    Ok(())
}

fn gauge<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

fn labels<'a>(key: &'a NamespacedName, class: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("namespace", &*key.namespace),
        ("release", &*key.name),
        ("class", class),
    ]
}
