//! What the arms of a release do now, for `halftone status`: the counters of its proxies, read twice through the API
//! server. Reading them is the shell's part, what they say is pure.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use halftone_api::GrayRelease;
use halftone_routing::document::arm::{Arm, PerArm};
use halftone_routing::report::{Fault, Outcome};
use kube::ResourceExt;
use tokio::time::Instant;

use super::ClusterClient;
use super::proxies::ProxyStatus;
use crate::engine::traffic::ArmFigures;
use crate::status::RecentTraffic;

/// Between the two readings: long enough for figures, short enough for who waits.
const BETWEEN: Duration = Duration::from_secs(2);
/// A proxy answers in milliseconds, and a network policy may drop the question.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

impl ClusterClient {
    /// What both arms of a release do, over the next two seconds.
    ///
    /// # Errors
    /// Why that cannot be seen: there is no proxy, or the API server does not lead to one.
    pub(crate) async fn traffic(
        &self,
        release: &GrayRelease,
        fleet_namespace: Option<&str>,
    ) -> Result<RecentTraffic, String> {
        let applied = self
            .applied(release, fleet_namespace)
            .await
            .map_err(|failure| failure.to_string())?;
        let class = &release.spec.proxy_class;
        let proxies = self
            .proxies_of(class, &applied.namespace)
            .await
            .map_err(|failure| failure.to_string())?;
        let ready: Vec<&ProxyStatus> = proxies.iter().filter(|proxy| proxy.ready).collect();
        if ready.is_empty() {
            return Err(format!(
                "no proxy of class {class} is ready in namespace {}",
                applied.namespace
            ));
        }
        let before = self.counted(release, &ready).await?;
        let began = Instant::now();
        tokio::time::sleep(BETWEEN).await;
        let after = self.counted(release, &ready).await?;
        Ok(traffic(&before, &after, began.elapsed().as_secs_f64()))
    }

    async fn counted(
        &self,
        release: &GrayRelease,
        proxies: &[&ProxyStatus],
    ) -> Result<ReleaseCounters, String> {
        let pages = join_all(proxies.iter().map(|proxy| self.metrics(proxy))).await;
        let (namespace, name) = (release.namespace().unwrap_or_default(), release.name_any());
        let mut all = ReleaseCounters::default();
        for page in pages {
            all.add(&page?, &namespace, &name);
        }
        Ok(all)
    }

    async fn metrics(&self, proxy: &ProxyStatus) -> Result<String, String> {
        let path = proxy.page("metrics");
        let request = hyper::Request::get(&path)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        let advice = "this needs leave to get pods/proxy there, and a network policy that lets the API server in";
        match tokio::time::timeout(ANSWERED_WITHIN, self.client().request_text(request)).await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(error)) => Err(format!(
                "proxy {} cannot be asked: {error}; {advice}",
                proxy.name
            )),
            Err(_) => Err(format!(
                "proxy {} does not answer within {ANSWERED_WITHIN:?}; {advice}",
                proxy.name
            )),
        }
    }
}

/// Counters of one release, summed over its proxies.
#[derive(Debug, Default)]
struct ReleaseCounters {
    arms: PerArm<ArmCounters>,
}

#[derive(Debug, Default)]
struct ArmCounters {
    outcomes: BTreeMap<String, f64>,
    /// Requests up to each bound of latency, in microseconds; the last is without bound.
    buckets: BTreeMap<u64, f64>,
}

impl ReleaseCounters {
    /// Adds a page of metrics.
    fn add(&mut self, page: &str, namespace: &str, name: &str) {
        for (metric, labels, value) in page.lines().filter_map(sample) {
            let label = |key: &str| {
                labels
                    .iter()
                    .find(|(name, _)| *name == key)
                    .map(|(_, value)| *value)
            };
            if (label("namespace"), label("release")) != (Some(namespace), Some(name)) {
                continue;
            }
            let Some(arm) = Arm::ALL
                .into_iter()
                .find(|arm| label("arm") == Some(arm.name()))
            else {
                continue;
            };
            let counters = self.arms.get_mut(arm);
            match metric {
                "halftone_request_outcomes_total" => {
                    let cause = label("cause").unwrap_or_default();
                    *counters.outcomes.entry(cause.to_owned()).or_default() += value;
                }
                "halftone_request_latency_seconds_bucket" => {
                    let Some(bound) = label("le").and_then(bound) else {
                        continue;
                    };
                    *counters.buckets.entry(bound).or_default() += value;
                }
                _ => {}
            }
        }
    }
}

/// A bound of a bucket, in microseconds.
fn bound(text: &str) -> Option<u64> {
    if text == "+Inf" {
        return Some(u64::MAX);
    }
    text.parse::<f64>()
        .ok()
        .map(|seconds| (seconds * 1e6).round() as u64)
}

type MetricSample<'a> = (&'a str, Vec<(&'a str, &'a str)>, f64);

/// `NAME{LABEL="VALUE",…} NUMBER`. The values that count here need no escapes.
fn sample(line: &str) -> Option<MetricSample<'_>> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.split_once("} ")?;
    let labels = labels
        .split("\",")
        .filter_map(|part| part.trim_end_matches('"').split_once("=\""));
    let value = value.split(' ').next()?.parse().ok()?;
    Some((name, labels.collect(), value))
}

/// What was counted between two readings.
fn traffic(before: &ReleaseCounters, after: &ReleaseCounters, seconds: f64) -> RecentTraffic {
    let figures = |arm: Arm| figures(before.arms.get(arm), after.arms.get(arm), seconds);
    RecentTraffic {
        seconds,
        stable: figures(Arm::Stable),
        gray: figures(Arm::Gray),
    }
}

fn figures(before: &ArmCounters, after: &ArmCounters, seconds: f64) -> ArmFigures {
    let (mut requests, mut charged, mut errors) = (0.0, 0.0, 0.0);
    for (cause, count) in &after.outcomes {
        // A proxy that was started again counts from nothing.
        let added = (count - before.outcomes.get(cause).copied().unwrap_or_default()).max(0.0);
        let charge = Outcome::ALL
            .iter()
            .find(|outcome| outcome.name() == cause)
            .map(|outcome| outcome.fault());
        requests += added;
        if charge != Some(Fault::Nobody) {
            charged += added;
        }
        if charge == Some(Fault::Error) {
            errors += added;
        }
    }
    let upto: Vec<(u64, f64)> = after
        .buckets
        .iter()
        .map(|(bound, count)| {
            (
                *bound,
                (count - before.buckets.get(bound).copied().unwrap_or_default()).max(0.0),
            )
        })
        .collect();
    let all = upto.last().map_or(0.0, |(_, count)| *count);
    let quantile = |share: f64| {
        let (bound, _) = upto
            .iter()
            .find(|(_, count)| *count >= all * share)
            .filter(|_| all > 0.0)?;
        (*bound != u64::MAX).then_some(*bound as f64 / 1e3)
    };
    ArmFigures {
        requests_per_second: requests / seconds,
        error_percent: (charged > 0.0).then(|| 100.0 * errors / charged),
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(good: u32, bad: u32, quick: u32) -> ReleaseCounters {
        let labels = "namespace=\"shop\",release=\"checkout\",arm=\"gray\"";
        let all = good + bad;
        let text = format!(
            "# HELP halftone_requests_total text\n\
             halftone_request_outcomes_total{{{labels},cause=\"2xx\"}} {good}\n\
             halftone_request_outcomes_total{{{labels},cause=\"5xx\"}} 0\n\
             halftone_request_outcomes_total{{{labels},cause=\"errorStatus\"}} {bad}\n\
             halftone_request_outcomes_total{{{labels},cause=\"clientAbort\"}} 7\n\
             halftone_request_latency_seconds_bucket{{{labels},le=\"0.005\"}} {quick}\n\
             halftone_request_latency_seconds_bucket{{{labels},le=\"0.25\"}} {all}\n\
             halftone_request_latency_seconds_bucket{{{labels},le=\"+Inf\"}} {all}\n\
             halftone_request_outcomes_total{{namespace=\"shop\",release=\"other\",arm=\"gray\",cause=\"2xx\"}} 900\n"
        );
        let mut counted = ReleaseCounters::default();
        counted.add(&text, "shop", "checkout");
        counted
    }

    #[test]
    fn two_readings_give_rates_and_percentiles() {
        let told = traffic(&page(100, 0, 100), &page(190, 10, 190), 2.0);
        let gray = told.gray;
        assert_eq!(
            (gray.requests_per_second, gray.error_percent),
            (50.0, Some(10.0))
        );
        assert_eq!(
            (gray.p50_ms, gray.p95_ms, gray.p99_ms),
            (Some(5.0), Some(250.0), Some(250.0))
        );
        assert_eq!(told.stable, ArmFigures::default());
    }

    #[test]
    fn a_proxy_that_was_started_again_does_not_count_backwards() {
        let told = traffic(&page(100, 10, 50), &page(10, 0, 5), 2.0);
        assert_eq!(told.gray.requests_per_second, 0.0);
    }
}
