//! `/metrics` for Prometheus. What is exposed stands in one table, from which `docs/metrics.md` is made, too.
//!
//! Labels are namespace, release, arm and cause only. Revisions, endpoints, hosts, paths and users would make series
//! without bound; they are in `/report`, `/config` and the access log.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use halftone_daemon::process::{self, ProcessCollector};
use halftone_routing::document::arm::{Arm, PerArm};
use halftone_routing::histogram;
use halftone_routing::report::Counts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::http1::MessageError;
use crate::snapshot::UsableEndpoints;

/// What one name exposes.
#[derive(Debug)]
struct Metric {
    /// Without the `_total` of a counter, which the encoder adds.
    name: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
    help: &'static str,
}

const NONE: &[&str] = &[];
const CAUSE: &[&str] = &["cause"];
const RELEASE: &[&str] = &["namespace", "release"];
const ARM: &[&str] = &["namespace", "release", "arm"];
const ARM_CAUSE: &[&str] = &["namespace", "release", "arm", "cause"];

macro_rules! metrics {
    ($($id:ident $name:literal $kind:ident $labels:ident $help:literal;)*) => {
        $(const $id: Metric = Metric { name: $name, kind: MetricType::$kind, labels: $labels, help: $help };)*
        /// All, in the order in which they are exposed.
        const METRICS: &[&Metric] = &[$(&$id,)*];
    };
}

metrics! {
    REQUESTS "halftone_requests" Counter ARM
        "Requests whose outcome is known, under the arm that was meant for them.";
    OUTCOMES "halftone_request_outcomes" Counter ARM_CAUSE
        "The same requests by how they ended. Each has exactly one cause.";
    MALFORMED "halftone_malformed_answers" Counter ARM_CAUSE
        "Answers of backends that broke a rule of HTTP, by the rule's word; docs/http.md lists them.";
    LATENCY "halftone_request_latency_seconds" Histogram ARM
        "From a request's last byte received to the first byte of the final response head: picking an endpoint, connecting and re-sending included, body transfer and tunnels not.";
    OVER_LIMIT "halftone_latency_over_limit" Counter ARM
        "Times that an absolute latency limit of the release passed before the response head came, one for each limit.";
    RETRIES "halftone_retries" Counter ARM
        "Further tries of requests on the same arm, after a connection could not be made or was lost unused.";
    FALLBACKS "halftone_fallbacks" Counter ARM
        "Requests that the other arm answered, because the one meant had no endpoint.";
    OPEN_LONG "halftone_open_long" Gauge ARM
        "Tunnels and answers older than 10 s that are still open.";
    ENDPOINTS "halftone_endpoints" Gauge ARM
        "Endpoints that requests of the arm may be sent to at present.";
    CHECK_IGNORED "halftone_health_check_ignored" Gauge ARM
        "1 while every ready endpoint of the arm fails its health check and they are used all the same. Alert on this.";
    RATIO_TARGET "halftone_ratio_target" Gauge RELEASE
        "Share of identities that this proxy sends to gray, 0 to 1: that of the applied document, or 0 while onOperatorLost is in effect.";
    RATIO_OBSERVED "halftone_ratio_observed" Gauge RELEASE
        "Share of the requests split in the present stage that were meant for gray, 0 to 1; absent before the first.";
    REVISION "halftone_applied_revision" Gauge RELEASE
        "Revision of the release's document that decides requests.";
    STAGE "halftone_stage" Gauge RELEASE
        "Stage of that document; rises whenever earlier counts stop being evidence.";
    UNROUTED "halftone_unrouted_requests" Counter CAUSE
        "Requests that no release claims: refused before routing, of an unknown host or path, or sent to the default backend.";
    CONNECTIONS "halftone_connections" Gauge NONE
        "Client connections open.";
    PLACES "halftone_max_connections" Gauge NONE
        "Client connections that may be open at once. From 90 % on, those that send nothing are closed after 10 s; when all are taken, the longest idle make room. Alert on halftone_connections close to it.";
    FOR_ROOM "halftone_connections_closed_for_room" Counter NONE
        "Client connections without a request under way that were closed because their places were needed.";
    ACCEPTED "halftone_connections_accepted" Counter NONE
        "Client connections accepted.";
    FLEET_REVISION "halftone_fleet_revision" Gauge NONE
        "Revision of the fleet's document in force; absent without one.";
    REJECTED "halftone_rejected_documents" Gauge NONE
        "Documents refused at present; /config says why. Alert on this.";
    ORPHANED "halftone_orphaned_documents" Gauge NONE
        "Releases that go on although their document vanished without being withdrawn.";
    STALE "halftone_stale" Gauge NONE
        "1 while requests are decided by documents kept from an earlier run.";
    READY "halftone_ready" Gauge NONE
        "1 while /readyz says yes.";
    SWAPS "halftone_configuration_swaps" Counter NONE
        "Times that the set of documents deciding requests was replaced.";
    OPERATOR "halftone_operator_last_heard_timestamp_seconds" Gauge NONE
        "When an operator last pulled a report with the token, in seconds since 1970; absent before the first.";
    LOG_DROPPED "halftone_access_log_dropped_lines" Counter NONE
        "Lines of the access log lost because its reader was behind.";
}

/// Upper bounds of the latency histogram in seconds.
const BOUNDS: [f64; 16] = [
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    f64::INFINITY,
];

/// Everything a scrape tells, read beforehand.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) releases: Vec<ReleaseSample>,
    pub(crate) unrouted: Counts,
    pub(crate) connections: u64,
    pub(crate) connections_accepted: u64,
    pub(crate) max_connections: usize,
    pub(crate) closed_for_room: u64,
    pub(crate) fleet_revision: Option<u64>,
    pub(crate) rejected: usize,
    pub(crate) orphaned: usize,
    pub(crate) stale: bool,
    pub(crate) ready: bool,
    pub(crate) swaps: u64,
    pub(crate) operator_last_heard: Option<f64>,
    pub(crate) log_dropped: u64,
}

/// One release that routes.
#[derive(Debug, Default)]
pub(crate) struct ReleaseSample {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) ratio_target: f64,
    pub(crate) ratio_observed: Option<f64>,
    pub(crate) revision: u64,
    pub(crate) stage: u64,
    pub(crate) arms: PerArm<ArmSample>,
}

/// One arm of it.
#[derive(Debug, Default)]
pub(crate) struct ArmSample {
    pub(crate) counts: Counts,
    pub(crate) open_long: u64,
    pub(crate) malformed: BTreeMap<MessageError, u64>,
    /// None: the release has no such arm at present.
    pub(crate) endpoints: Option<UsableEndpoints>,
}

/// The page.
pub(crate) fn page(scrape: Scrape) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ProcessCollector {
        component: "proxy",
        version: env!("CARGO_PKG_VERSION"),
    }));
    registry.register_collector(Box::new(scrape));
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry)?;
    Ok(page)
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_arms(&mut encoder)?;
        self.encode_releases(&mut encoder)?;
        self.encode_process(&mut encoder)
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Scrape {
    fn encode_arms(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.per_arm(encoder, &REQUESTS, |mut metric, arm| {
            counter(&mut metric, arm.counts.requests())
        })?;
        self.encode_outcomes(encoder)?;
        self.encode_malformed(encoder)?;
        self.per_arm(encoder, &LATENCY, |mut metric, arm| {
            latency(&mut metric, &arm.counts.latency)
        })?;
        self.per_arm(encoder, &OVER_LIMIT, |mut metric, arm| {
            counter(
                &mut metric,
                arm.counts.limits.values().map(|events| events.over).sum(),
            )
        })?;
        self.per_arm(encoder, &RETRIES, |mut metric, arm| {
            counter(&mut metric, arm.counts.retries)
        })?;
        self.per_arm(encoder, &FALLBACKS, |mut metric, arm| {
            counter(&mut metric, arm.counts.fallbacks)
        })?;
        self.per_arm(encoder, &OPEN_LONG, |mut metric, arm| {
            metric.encode_gauge(&arm.open_long)
        })?;
        self.per_endpoints(encoder, &ENDPOINTS, |endpoints| endpoints.endpoints as f64)?;
        self.per_endpoints(encoder, &CHECK_IGNORED, |endpoints| {
            f64::from(u8::from(endpoints.check_ignored))
        })
    }

    /// Told before the first request: an arm without endpoints, or whose check fails, is news then.
    fn per_endpoints(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        metric: &Metric,
        value: impl Fn(&UsableEndpoints) -> f64,
    ) -> fmt::Result {
        let mut family = describe(encoder, metric)?;
        for release in &self.releases {
            for (arm, sample) in release.arms.iter() {
                if let Some(endpoints) = &sample.endpoints {
                    family
                        .encode_family(&release.arm_labels(arm))?
                        .encode_gauge(&value(endpoints))?;
                }
            }
        }
        Ok(())
    }

    fn per_arm(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        metric: &Metric,
        each: impl Fn(MetricEncoder<'_>, &ArmSample) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = describe(encoder, metric)?;
        for (release, arm, sample) in self.arms() {
            each(family.encode_family(&release.arm_labels(arm))?, sample)?;
        }
        Ok(())
    }

    fn encode_outcomes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = describe(encoder, &OUTCOMES)?;
        for (release, arm, sample) in self.arms() {
            for (outcome, count) in &sample.counts.outcomes {
                let mut labels = release.arm_labels(arm);
                labels.push(("cause", outcome.name()));
                counter(&mut family.encode_family(&labels)?, *count)?;
            }
        }
        let mut family = describe(encoder, &UNROUTED)?;
        for (outcome, count) in &self.unrouted.outcomes {
            counter(
                &mut family.encode_family(&[("cause", outcome.name())])?,
                *count,
            )?;
        }
        Ok(())
    }

    fn encode_malformed(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = describe(encoder, &MALFORMED)?;
        for (release, arm, sample) in self.arms() {
            for (rule, count) in &sample.malformed {
                let mut labels = release.arm_labels(arm);
                labels.push(("cause", rule.word()));
                counter(&mut family.encode_family(&labels)?, *count)?;
            }
        }
        Ok(())
    }

    /// A plain route's gray, which nothing was counted for, has no series.
    fn arms(&self) -> impl Iterator<Item = (&ReleaseSample, Arm, &ArmSample)> {
        let arms = self.releases.iter().flat_map(|release| {
            release
                .arms
                .iter()
                .map(move |(arm, sample)| (release, arm, sample))
        });
        arms.filter(|(_, arm, sample)| *arm == Arm::Stable || sample.counts != Counts::default())
    }

    fn encode_releases(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.per_release(encoder, &RATIO_TARGET, |release| Some(release.ratio_target))?;
        self.per_release(encoder, &RATIO_OBSERVED, |release| release.ratio_observed)?;
        self.per_release(encoder, &REVISION, |release| Some(release.revision as f64))?;
        self.per_release(encoder, &STAGE, |release| Some(release.stage as f64))
    }

    fn per_release(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        metric: &Metric,
        value: impl Fn(&ReleaseSample) -> Option<f64>,
    ) -> fmt::Result {
        let mut family = describe(encoder, metric)?;
        for release in &self.releases {
            if let Some(value) = value(release) {
                family
                    .encode_family(&release.labels())?
                    .encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    fn encode_process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        counter(
            &mut describe(encoder, &ACCEPTED)?,
            self.connections_accepted,
        )?;
        counter(&mut describe(encoder, &FOR_ROOM)?, self.closed_for_room)?;
        counter(&mut describe(encoder, &SWAPS)?, self.swaps)?;
        counter(&mut describe(encoder, &LOG_DROPPED)?, self.log_dropped)?;
        let gauges = [
            (&CONNECTIONS, Some(self.connections as f64)),
            (&PLACES, Some(self.max_connections as f64)),
            (
                &FLEET_REVISION,
                self.fleet_revision.map(|revision| revision as f64),
            ),
            (&REJECTED, Some(self.rejected as f64)),
            (&ORPHANED, Some(self.orphaned as f64)),
            (&STALE, Some(f64::from(u8::from(self.stale)))),
            (&READY, Some(f64::from(u8::from(self.ready)))),
            (&OPERATOR, self.operator_last_heard),
        ];
        for (metric, value) in gauges
            .into_iter()
            .filter_map(|(metric, value)| Some((metric, value?)))
        {
            describe(encoder, metric)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}

impl ReleaseSample {
    fn labels(&self) -> Labels<'_> {
        vec![("namespace", &self.namespace), ("release", &self.name)]
    }

    fn arm_labels(&self, arm: Arm) -> Labels<'_> {
        let mut labels = self.labels();
        labels.push(("arm", arm.name()));
        labels
    }
}

fn describe<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    metric: &'a Metric,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    // The encoder ends the sentence itself.
    encoder.encode_descriptor(
        metric.name,
        metric.help.trim_end_matches('.'),
        None,
        metric.kind,
    )
}

fn counter(metric: &mut MetricEncoder<'_>, count: u64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, _, u64>(&count, None)
}

/// Our buckets are finer than Prometheus's bounds by far; one that reaches over a bound counts above it.
fn latency(metric: &mut MetricEncoder<'_>, latencies: &histogram::Histogram) -> fmt::Result {
    let mut buckets = BOUNDS.map(|bound| (bound, 0));
    let (mut sum, mut all) = (0.0, 0);
    for (bucket, count) in latencies.buckets() {
        let (from, to) = histogram::bounds(bucket);
        let place = BOUNDS
            .iter()
            .position(|bound| to as f64 / 1e6 <= *bound)
            .unwrap_or(BOUNDS.len() - 1);
        buckets[place].1 += count;
        sum += (from + to) as f64 / 2e6 * count as f64;
        all += count;
    }
    metric.encode_histogram::<NoLabelSet>(sum, all, &buckets, None)
}

/// `docs/metrics.md`.
pub fn documentation() -> String {
    let mut page = String::from(
        "# Metrics\n\n<!-- Made from the table in proxy/src/admin/metrics.rs; `UPDATE_DOCS=1 cargo test -p halftone-proxy \
         --test control` writes it again. -->\n\nEvery proxy serves these at `/metrics` of its admin address, in the \
         OpenMetrics text format. Labels are `namespace`, `release`, `arm` (`stable` or `gray`) and `cause` only, so the \
         number of series is bounded by the number of releases.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let total = if matches!(metric.kind, MetricType::Counter) {
            "_total"
        } else {
            ""
        };
        let labels = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect::<Vec<_>>()
            .join(", ");
        let _ = writeln!(
            page,
            "| `{}{total}` | {} | {labels} | {} |",
            metric.name,
            metric.kind.as_str(),
            metric.help
        );
    }
    for of_process in &process::METRICS {
        let total = if matches!(of_process.kind, MetricType::Counter) {
            "_total"
        } else {
            ""
        };
        let labels = of_process
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect::<Vec<_>>()
            .join(", ");
        let (name, kind, help) = (of_process.name, of_process.kind.as_str(), of_process.help);
        let _ = writeln!(page, "| `{name}{total}` | {kind} | {labels} | {help}. |");
    }
    page.push_str(
        "\nEvery `cause`, and whom it is charged to:\n\n| cause | charged to |\n|---|---|\n",
    );
    for outcome in halftone_routing::report::Outcome::ALL {
        use halftone_routing::report::Fault;
        let charged = match outcome.fault() {
            Fault::Answer => "nobody; the arm answered",
            Fault::Error => "the arm",
            Fault::Nobody => "nobody; left out of every rate",
        };
        let _ = writeln!(page, "| `{}` | {charged} |", outcome.name());
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use halftone_routing::document::limits::Quantile;
    use halftone_routing::report::{LimitEvents, Outcome};

    use super::*;

    fn counts() -> Counts {
        let mut counts = Counts {
            retries: 1,
            fallbacks: 2,
            ..Counts::default()
        };
        counts.outcomes = BTreeMap::from([(Outcome::Status2xx, 7), (Outcome::Reset, 3)]);
        counts.limits = BTreeMap::from([(Quantile::P99, LimitEvents { within: 9, over: 1 })]);
        for micros in [900, 20_000, 70_000_000] {
            counts.latency.record(Duration::from_micros(micros));
        }
        counts
    }

    fn full() -> Scrape {
        let endpoints = Some(UsableEndpoints {
            endpoints: 2,
            check_ignored: true,
        });
        let arm = || ArmSample {
            counts: counts(),
            open_long: 4,
            malformed: [(MessageError::Coding, 2)].into(),
            endpoints,
        };
        Scrape {
            releases: vec![ReleaseSample {
                namespace: "shop".into(),
                name: "checkout".into(),
                ratio_target: 0.125,
                ratio_observed: Some(0.12),
                revision: 14,
                stage: 3,
                arms: PerArm::from_fn(|_| arm()),
            }],
            unrouted: counts(),
            fleet_revision: Some(2),
            operator_last_heard: Some(1.5e9),
            ..Scrape::default()
        }
    }

    /// Name and label names of every sample.
    fn samples(page: &str) -> BTreeMap<&str, BTreeSet<&str>> {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let mut samples = BTreeMap::new();
        for line in lines {
            let (name, labels) = line
                .rsplit_once(' ')
                .unwrap()
                .0
                .split_once('{')
                .unwrap_or((line.split(' ').next().unwrap(), ""));
            let labels = labels
                .trim_end_matches('}')
                .split(',')
                .filter(|label| !label.is_empty());
            samples
                .entry(name)
                .or_insert_with(BTreeSet::new)
                .extend(labels.map(|label| label.split('=').next().unwrap()));
        }
        samples
    }

    #[test]
    fn a_full_scrape_has_exactly_the_documented_metrics_and_labels() {
        let page = page(full()).unwrap();
        let mut samples = samples(&page);
        for metric in METRICS {
            let suffixes: &[&str] = match metric.kind {
                MetricType::Counter => &["_total"],
                MetricType::Histogram => &["_sum", "_count", "_bucket"],
                _ => &[""],
            };
            for suffix in suffixes {
                let name = format!("{}{suffix}", metric.name);
                let mut labels = samples
                    .remove(&*name)
                    .unwrap_or_else(|| panic!("{name} is not exposed:\n{page}"));
                labels.remove("le");
                assert_eq!(labels, metric.labels.iter().copied().collect(), "{name}");
            }
        }
        for metric in &process::METRICS {
            let total = if matches!(metric.kind, MetricType::Counter) {
                "_total"
            } else {
                ""
            };
            let labels = samples.remove(&*format!("{}{total}", metric.name));
            assert_eq!(
                labels,
                Some(metric.labels.iter().copied().collect()),
                "{}",
                metric.name
            );
        }
        assert!(samples.is_empty(), "undocumented: {samples:?}");
    }

    #[test]
    fn counts_and_latencies_are_told_as_they_are() {
        let page = page(full()).unwrap();
        for line in [
            r#"halftone_requests_total{namespace="shop",release="checkout",arm="gray"} 10"#,
            r#"halftone_request_outcomes_total{namespace="shop",release="checkout",arm="stable",cause="reset"} 3"#,
            r#"halftone_request_latency_seconds_bucket{le="0.001",namespace="shop",release="checkout",arm="gray"} 1"#,
            r#"halftone_request_latency_seconds_bucket{le="0.025",namespace="shop",release="checkout",arm="gray"} 2"#,
            r#"halftone_request_latency_seconds_bucket{le="60.0",namespace="shop",release="checkout",arm="gray"} 2"#,
            r#"halftone_request_latency_seconds_bucket{le="+Inf",namespace="shop",release="checkout",arm="gray"} 3"#,
            r#"halftone_ratio_target{namespace="shop",release="checkout"} 0.125"#,
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn a_plain_route_has_no_gray_series() {
        let mut scrape = full();
        scrape.releases[0].arms.gray = ArmSample::default();
        assert!(!page(scrape).unwrap().contains(r#"arm="gray""#));
    }
}
