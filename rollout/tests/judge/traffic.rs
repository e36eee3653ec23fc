//! Simulated traffic for the judge: what one poll of the proxies adds, drawn by chance, and whole releases made
//! of it, in virtual time.

use std::time::Duration;

use halftone_api::{
    health_limits::{HealthLimits, Limit},
    spec::{Totals, Verdict},
};
use halftone_rollout::judge::{ArmBatch, Batch, Judge, LatencyCounts, RequestCounts};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial, Distribution, LogNormal};

/// Seconds between two polls.
pub(crate) const POLL: f64 = 0.5;

/// The four limits that judge a usual release: 1 % errors, 1 % over the latency limit, twice stable's rates.
pub(crate) fn four_limits() -> HealthLimits {
    limits(vec![
        Limit::ErrorRate { max: 10_000 },
        Limit::Latency {
            quantile: 990_000,
            max: Duration::from_millis(500),
        },
        Limit::RelativeErrorRate {
            factor: 2.0,
            floor: 1_000,
        },
        Limit::RelativeClientErrorRate {
            factor: 2.0,
            floor: 10_000,
        },
    ])
}

pub(crate) fn limits(limits: Vec<Limit>) -> HealthLimits {
    HealthLimits {
        confidence: 999_000,
        min_requests: 100,
        limits,
    }
}

/// How one arm behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ArmModel {
    pub(crate) rps: f64,
    pub(crate) errors: f64,
    pub(crate) client_errors: f64,
    pub(crate) over: f64,
    /// Median in ms and sigma of a log-normal latency; no latencies are drawn without it.
    pub(crate) latency: Option<(f64, f64)>,
}

impl ArmModel {
    pub(crate) fn new(rps: f64, errors: f64) -> Self {
        Self {
            rps,
            errors,
            client_errors: 0.0,
            over: 0.0,
            latency: None,
        }
    }
}

/// How both arms behave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ArmModels {
    pub(crate) gray: ArmModel,
    pub(crate) stable: ArmModel,
}

/// Draws what an arm does. Keeps its last distributions, since making one costs more than drawing from it.
#[derive(Default)]
struct ArmSource {
    kept: [Option<(u64, f64, Binomial)>; 3],
}

impl ArmSource {
    fn binomial(&mut self, place: usize, n: u64, p: f64, chance: &mut ChaCha8Rng) -> u64 {
        if n == 0 || p == 0.0 {
            return 0;
        }
        let kept = &mut self.kept[place];
        if kept.is_none_or(|(kept_n, kept_p, _)| (kept_n, kept_p) != (n, p)) {
            *kept = Some((
                n,
                p,
                Binomial::new(n, p).expect("a rate lies between 0 and 1"),
            ));
        }
        kept.expect("just kept").2.sample(chance)
    }

    fn draw(&mut self, arm: &ArmModel, seconds: f64, into: &mut ArmBatch, chance: &mut ChaCha8Rng) {
        let wanted = arm.rps * seconds;
        let n =
            wanted as u64 + u64::from(wanted.fract() > 0.0 && chance.random_bool(wanted.fract()));
        let over = self.binomial(0, n, arm.over, chance);
        into.judged.requests += n;
        into.judged.errors += self.binomial(1, n, arm.errors, chance);
        into.judged.client_errors += self.binomial(2, n, arm.client_errors, chance);
        into.split = into.judged;
        into.latency.resize(1, LatencyCounts::default());
        into.latency[0].over += over;
        into.latency[0].within += n - over;
        if let Some((median, sigma)) = arm.latency {
            let latency = LogNormal::new((median * 1000.0).ln(), sigma).expect("sigma is finite");
            for _ in 0..n {
                into.latencies
                    .record(Duration::from_micros(latency.sample(chance) as u64));
            }
        }
    }
}

/// A release in virtual time.
pub(crate) struct SimulatedRelease {
    pub(crate) process: Judge,
    pub(crate) chance: ChaCha8Rng,
    pub(crate) seconds: f64,
    sources: (ArmSource, ArmSource),
    batch: Batch,
}

impl SimulatedRelease {
    /// The run-th of all releases of this seed.
    pub(crate) fn new(limits: &HealthLimits, seed: u64, run: u64) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        chance.set_stream(run);
        Self {
            process: Judge::start(limits, 1, Totals::default()),
            chance,
            seconds: 0.0,
            sources: Default::default(),
            batch: Batch {
                complete: true,
                ..Batch::default()
            },
        }
    }

    /// Lets the world go on for so long without a poll.
    pub(crate) fn pass(&mut self, world: &ArmModels, seconds: f64) {
        self.sources
            .0
            .draw(&world.gray, seconds, &mut self.batch.gray, &mut self.chance);
        self.sources.1.draw(
            &world.stable,
            seconds,
            &mut self.batch.stable,
            &mut self.chance,
        );
        self.batch.seconds += seconds;
        self.seconds += seconds;
    }

    /// What gray did since the last poll.
    pub(crate) fn gray(&self) -> RequestCounts {
        self.batch.gray.judged
    }

    /// Polls. True: the judge says `Fail`.
    pub(crate) fn poll(&mut self) -> bool {
        let ruling = self.process.add(&self.batch);
        self.batch.seconds = 0.0;
        for arm in [&mut self.batch.gray, &mut self.batch.stable] {
            *arm = ArmBatch {
                latency: std::mem::take(&mut arm.latency),
                ..ArmBatch::default()
            };
            arm.latency.clear();
        }
        ruling.verdict == Verdict::Fail
    }

    /// Lives in one world, polling, until a `Fail` or for so long. The time until the `Fail`.
    pub(crate) fn live(&mut self, world: &ArmModels, seconds: f64) -> Option<f64> {
        let polls = (seconds / POLL).round() as u64;
        (1..=polls)
            .find(|_| {
                self.pass(world, POLL);
                self.poll()
            })
            .map(|polls| polls as f64 * POLL)
    }

    /// Lives in one world until, at any moment between two polls, it changes to another, then until a `Fail` or
    /// for so long. The time from the change to the `Fail`; zero if it came before.
    pub(crate) fn live_through(
        &mut self,
        good: &ArmModels,
        good_seconds: f64,
        bad: &ArmModels,
        seconds: f64,
    ) -> Option<f64> {
        if self.live(good, good_seconds).is_some() {
            return Some(0.0);
        }
        let phase = self.chance.random_range(0.0..POLL);
        self.pass(good, phase);
        self.pass(bad, POLL - phase);
        if self.poll() {
            return Some(POLL - phase);
        }
        self.live(bad, seconds).map(|more| POLL - phase + more)
    }
}

/// Runs releases 0..runs on two threads; each gets its own stream of chance, so threads change no result.
pub(crate) fn simulate<T: Send>(runs: u64, release: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let half = |from: u64| (from..runs).step_by(2).map(&release).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let mut all = half(0);
        all.extend(other.join().expect("the other half runs to its end"));
        all
    })
}

/// Median and 99th percentile; what was never found counts as infinite.
pub(crate) fn median_and_p99(delays: &[Option<f64>]) -> (f64, f64) {
    let mut sorted = delays
        .iter()
        .map(|delay| delay.unwrap_or(f64::INFINITY))
        .collect::<Vec<_>>();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[sorted.len() * 99 / 100])
}
