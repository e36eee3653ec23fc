//! The traffic of a simulated release: how many requests come, who sends them, how they end, how long they take.
//! Requests arrive independently (Poisson); latencies are log-normal, as those of services mostly are.

use std::f64::consts::FRAC_1_SQRT_2;
use std::time::Duration;

use halftone_api::Plan;
use halftone_api::health_limits::Limit;
use halftone_api::spec::IncludedTraffic;
use halftone_rollout::judge::{ArmBatch, LatencyCounts, RequestCounts};
use halftone_rollout::observation::Round;
use halftone_routing::document::identity::{IdentitySource, MissingIdentity};
use halftone_routing::document::units::{Ratio, ReleaseId, Stage};
use halftone_routing::histogram::Histogram;
use rand::Rng;
use rand_distr::{Binomial, Distribution, LogNormal, Poisson};

use crate::args::SimulateArguments;
use crate::output::CommandError;

/// Stable's median latency in microseconds.
const STABLE_MEDIAN: f64 = 20_000.0;
/// The spread of log latencies: p99 is 3.2 times the median.
const SIGMA: f64 = 0.5;

/// What `--gray-latency` says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GrayLatency {
    /// Gray's median in microseconds.
    median: f64,
}

impl GrayLatency {
    /// Reads `40ms` or `x2`.
    pub(crate) fn parse(text: &str) -> Result<Self, CommandError> {
        let median = match text.strip_prefix('x') {
            Some(factor) => factor
                .parse()
                .ok()
                .map(|factor: f64| factor * STABLE_MEDIAN),
            None => halftone_api::duration::parse(text)
                .map(|millis| millis.duration().as_secs_f64() * 1e6),
        };
        match median {
            Some(median) if median.is_finite() && median > 0.0 => Ok(Self { median }),
            _ => Err(CommandError::new(format!(
                "--gray-latency {text} is neither a duration nor a factor"
            ))
            .advise("write a median such as 40ms, or a factor of stable's such as x2")),
        }
    }
}

/// The traffic, the same for every run.
#[derive(Debug)]
pub(crate) struct Model {
    rps: f64,
    anonymous: f64,
    stable_errors: f64,
    gray_errors: f64,
    /// When the fault begins after the first gray request, and the error rate from then on.
    fault: Option<(Duration, f64)>,
    gray_median: f64,
}

impl Model {
    pub(crate) fn new(arguments: &SimulateArguments, gray_latency: GrayLatency) -> Self {
        Self {
            rps: arguments.rps,
            anonymous: arguments.anonymous.fraction(),
            stable_errors: arguments.stable_error_rate.fraction(),
            gray_errors: arguments.gray_error_rate.fraction(),
            fault: arguments
                .fault_at
                .map(|at| (at, arguments.fault_error_rate.fraction())),
            gray_median: gray_latency.median,
        }
    }

    /// When the fault begins after the first gray request; at once without one.
    pub(crate) fn fault_after(&self) -> Duration {
        self.fault.map_or(Duration::ZERO, |(at, _)| at)
    }

    /// What one poll of `seconds` adds under a document with this ratio. `since_first` is how long ago, at the poll's
    /// end, the first gray request came; none before it.
    pub(crate) fn round(
        &self,
        of: &ServingShare<'_>,
        seconds: f64,
        since_first: Option<f64>,
        rng: &mut impl Rng,
    ) -> Round {
        let requests = count(Poisson::new(self.rps * seconds).ok(), rng);
        let anonymous = binomial(requests, self.anonymous, rng);
        let [missing_stable, missing_gray, split] = of.missing(anonymous);
        let split = requests - anonymous + split;
        let gray = binomial(split, of.ratio.fraction(), rng);
        let [gray, missing_gray] = [gray, missing_gray].map(|requests| {
            let errors = self.gray_errors(requests, seconds, since_first, rng);
            RequestCounts {
                requests,
                errors,
                client_errors: 0,
            }
        });
        let [stable, missing_stable] = [split - gray.requests, missing_stable].map(|requests| {
            let errors = binomial(requests, self.stable_errors, rng);
            RequestCounts {
                requests,
                errors,
                client_errors: 0,
            }
        });
        Round {
            seconds,
            release: of.release,
            stage: of.stage,
            gray: arm(of.plan, gray, missing_gray, self.gray_median, rng),
            stable: arm(of.plan, stable, missing_stable, STABLE_MEDIAN, rng),
            reached_stable: stable.requests + missing_stable.requests,
            failed_users: Default::default(),
        }
    }

    /// Errors of gray's requests; those after the fault fail at the fault's rate.
    fn gray_errors(
        &self,
        gray: u64,
        seconds: f64,
        since_first: Option<f64>,
        rng: &mut impl Rng,
    ) -> u64 {
        let Some((at, rate)) = self.fault else {
            return binomial(gray, self.gray_errors, rng);
        };
        let after = (since_first.unwrap_or(0.0) - at.as_secs_f64()).clamp(0.0, seconds);
        let faulty = binomial(gray, after / seconds, rng);
        binomial(faulty, rate, rng) + binomial(gray - faulty, self.gray_errors, rng)
    }
}

/// What the proxies serve while a poll goes by.
pub(crate) struct ServingShare<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) release: ReleaseId,
    pub(crate) stage: Stage,
    pub(crate) ratio: Ratio,
    /// Nobody is left on stable for want of an identity.
    pub(crate) promoted: bool,
}

impl ServingShare<'_> {
    /// How many requests without a name of their own go to stable and to gray for it, and how many divide like all
    /// others: a generated cookie is an identity.
    fn missing(&self, anonymous: u64) -> [u64; 3] {
        let identity = &self.plan.identity;
        match identity.when_missing {
            _ if identity
                .from
                .iter()
                .any(|source| matches!(source, IdentitySource::Generated(_))) =>
            {
                [0, 0, anonymous]
            }
            MissingIdentity::Split => [0, 0, anonymous],
            MissingIdentity::Stable if !self.promoted => [anonymous, 0, 0],
            MissingIdentity::Stable | MissingIdentity::Gray => [0, anonymous, 0],
            MissingIdentity::Reject(_) => [0, 0, 0],
        }
    }
}

/// What one arm did with its requests.
fn arm(
    plan: &Plan,
    split: RequestCounts,
    missing: RequestCounts,
    median: f64,
    rng: &mut impl Rng,
) -> ArmBatch {
    let limits = plan.health.limits.iter().flat_map(|limits| &limits.limits);
    let mut judged = split;
    if plan.health.include.contains(&IncludedTraffic::Missing) {
        judged.merge(missing);
    }
    let mut batch = ArmBatch {
        judged,
        split,
        ..ArmBatch::default()
    };
    for limit in limits {
        match limit {
            Limit::Latency { max, .. } => {
                let over = binomial(judged.requests, 1.0 - share_within(median, *max), rng);
                batch.latency.push(LatencyCounts {
                    within: judged.requests - over,
                    over,
                });
            }
            Limit::RelativeP99 { .. } => batch.latencies = latencies(split.requests, median, rng),
            _ => {}
        }
    }
    batch
}

/// The distribution function of log-normal latencies.
fn share_within(median: f64, max: Duration) -> f64 {
    let deviations = (max.as_secs_f64() * 1e6 / median).ln() / SIGMA;
    0.5 * libm::erfc(-deviations * FRAC_1_SQRT_2)
}

fn latencies(requests: u64, median: f64, rng: &mut impl Rng) -> Histogram {
    let mut latencies = Histogram::default();
    let Ok(latency) = LogNormal::new(median.ln(), SIGMA) else {
        return latencies;
    };
    for _ in 0..requests {
        latencies.record(Duration::from_secs_f64(latency.sample(rng) / 1e6));
    }
    latencies
}

fn binomial(n: u64, p: f64, rng: &mut impl Rng) -> u64 {
    if n == 0 || p <= 0.0 {
        return 0;
    }
    if p >= 1.0 {
        return n;
    }
    Binomial::new(n, p).map_or(0, |binomial| binomial.sample(rng))
}

fn count(poisson: Option<Poisson<f64>>, rng: &mut impl Rng) -> u64 {
    // A mean of nothing is no distribution, and gives nothing.
    poisson.map_or(0, |poisson| poisson.sample(rng) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[stable, gray, split]` of 100 requests without a name.
    fn missing(identity: &str, promoted: bool) -> [u64; 3] {
        let text = format!(
            "{{apiVersion: halftone.dev/v1alpha1, kind: GrayRelease, metadata: {{name: a, namespace: shop}}, spec: \
             {{hosts: [x], stable: {{addresses: ['127.0.0.1:1'], version: v1}}, \
             gray: {{addresses: ['127.0.0.1:2'], version: v2}}, targetRatio: 50, identity: {identity}}}}}"
        );
        let reading = halftone_api::manifest::read("f.yaml", &text);
        assert!(reading.is_sound(), "{:?}", reading.findings);
        let plan = &reading.manifests[0].plan;
        let (release, stage, ratio) = (plan.id, 1.try_into().unwrap(), plan.target());
        ServingShare {
            plan,
            release,
            stage,
            ratio,
            promoted,
        }
        .missing(100)
    }

    #[test]
    fn requests_without_a_name_go_where_the_proxy_sends_them() {
        let header = |word: &str| format!("{{from: [{{header: X-User}}], whenMissing: {word}}}");
        for (identity, promoted, expected) in [
            ("{}".to_owned(), false, [0, 0, 100]),
            (header("Split"), false, [0, 0, 100]),
            (header("Stable"), false, [100, 0, 0]),
            (header("Stable"), true, [0, 100, 0]),
            (header("Gray"), false, [0, 100, 0]),
            (header("Reject"), false, [0, 0, 0]),
        ] {
            assert_eq!(missing(&identity, promoted), expected, "{identity}");
        }
    }
}
