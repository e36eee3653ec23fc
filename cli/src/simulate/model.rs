//! The traffic of a simulated release: how many requests come, who sends them, how they end, how long they take.
//! Requests arrive independently (Poisson); latencies are log-normal, as those of services mostly are.

use std::time::Duration;

use halftone_rollout::Plan;
use halftone_rollout::judge::{ArmBatch, Counts, LatencyCounts, Limit};
use halftone_rollout::observation::Round;
use halftone_rollout::spec::IncludedTraffic;
use halftone_routing::config::units::{Ratio, ReleaseId, Stage};
use halftone_routing::histogram::Histogram;
use rand::Rng;
use rand_distr::{Binomial, Distribution, LogNormal, Poisson};
use statrs::distribution::{ContinuousCDF, LogNormal as LogNormalCdf};

use crate::args::SimulateArguments;
use crate::output::Failure;

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
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let median = match text.strip_prefix('x') {
            Some(factor) => factor.parse().ok().map(|factor: f64| factor * STABLE_MEDIAN),
            None => {
                halftone_rollout::duration::parse(text).map(|millis| millis.duration().as_secs_f64() * 1e6)
            }
        };
        match median {
            Some(median) if median.is_finite() && median > 0.0 => Ok(Self { median }),
            _ => Err(Failure::new(format!("--gray-latency {text} is neither a duration nor a factor"))
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
            fault: arguments.fault_at.map(|at| (at, arguments.fault_error_rate.fraction())),
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
        of: &Serving<'_>,
        seconds: f64,
        since_first: Option<f64>,
        rng: &mut impl Rng,
    ) -> Round {
        let requests = count(Poisson::new(self.rps * seconds).ok(), rng);
        let anonymous = binomial(requests, self.anonymous, rng);
        let gray = binomial(requests - anonymous, of.ratio.fraction(), rng);
        let stable = requests - anonymous - gray;
        let gray_errors = self.gray_errors(gray, seconds, since_first, rng);
        let stable_errors = binomial(stable, self.stable_errors, rng);
        let mut round = Round {
            seconds,
            release: of.release,
            stage: of.stage,
            gray: arm(of.plan, gray, gray_errors, self.gray_median, rng),
            stable: arm(of.plan, stable, stable_errors, STABLE_MEDIAN, rng),
            reached_stable: stable + anonymous,
        };
        if of.plan.health.include.contains(&IncludedTraffic::Missing) {
            let errors = binomial(anonymous, self.stable_errors, rng);
            round.stable.judged.merge(Counts { requests: anonymous, errors, client_errors: 0 });
        }
        round
    }

    /// Errors of gray's requests; those after the fault fail at the fault's rate.
    fn gray_errors(&self, gray: u64, seconds: f64, since_first: Option<f64>, rng: &mut impl Rng) -> u64 {
        let Some((at, rate)) = self.fault else { return binomial(gray, self.gray_errors, rng) };
        let after = (since_first.unwrap_or(0.0) - at.as_secs_f64()).clamp(0.0, seconds);
        let faulty = binomial(gray, after / seconds, rng);
        binomial(faulty, rate, rng) + binomial(gray - faulty, self.gray_errors, rng)
    }
}

/// What the proxies serve while a poll goes by.
pub(crate) struct Serving<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) release: ReleaseId,
    pub(crate) stage: Stage,
    pub(crate) ratio: Ratio,
}

/// What one arm did with its requests.
fn arm(plan: &Plan, requests: u64, errors: u64, median: f64, rng: &mut impl Rng) -> ArmBatch {
    let counts = Counts { requests, errors, client_errors: 0 };
    let limits = plan.health.limits.iter().flat_map(|limits| &limits.limits);
    let mut batch = ArmBatch { judged: counts, split: counts, ..ArmBatch::default() };
    for limit in limits {
        match limit {
            Limit::Latency { max, .. } => {
                let over = binomial(requests, 1.0 - share_within(median, *max), rng);
                batch.latency.push(LatencyCounts { within: requests - over, over });
            }
            Limit::RelativeP99 { .. } => batch.latencies = latencies(requests, median, rng),
            _ => {}
        }
    }
    batch
}

fn share_within(median: f64, max: Duration) -> f64 {
    LogNormalCdf::new(median.ln(), SIGMA).map_or(1.0, |latency| latency.cdf(max.as_secs_f64() * 1e6))
}

fn latencies(requests: u64, median: f64, rng: &mut impl Rng) -> Histogram {
    let mut latencies = Histogram::default();
    let Ok(latency) = LogNormal::new(median.ln(), SIGMA) else { return latencies };
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
