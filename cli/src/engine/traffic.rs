//! What both arms of one release did in the last seconds, for people: rates and percentiles. The judge has its own.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use halftone_routing::document::arm::{Arm, PerArm};
use halftone_routing::report::Counts;
use serde::{Deserialize, Serialize};

/// Long enough for a p99 that stands still, short enough to see a fault.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// The polls of the last seconds.
#[derive(Debug, Default)]
pub(crate) struct TrafficWindow {
    polls: VecDeque<TrafficSample>,
}

#[derive(Debug)]
struct TrafficSample {
    at: Instant,
    seconds: f64,
    arms: PerArm<Counts>,
}

/// One arm over the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ArmFigures {
    /// Requests per second.
    pub(crate) requests_per_second: f64,
    /// Share of requests charged to the arm that were errors, in percent.
    pub(crate) error_percent: Option<f64>,
    /// Median latency to the answer's head, in milliseconds.
    pub(crate) p50_ms: Option<f64>,
    /// The same for the slowest twentieth.
    pub(crate) p95_ms: Option<f64>,
    /// The same for the slowest hundredth.
    pub(crate) p99_ms: Option<f64>,
}

impl ArmFigures {
    /// Share of errors, p50, p95 and p99 as people read them; `-` where nothing was measured.
    pub(crate) fn text(&self) -> [String; 4] {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let time = |milliseconds: Option<f64>| {
            or_none(milliseconds.map(|ms| match ms {
                ..1000.0 => format!("{ms:.1}ms"),
                _ => format!("{:.2}s", ms / 1000.0),
            }))
        };
        let errors = self.error_percent.map(|percent| match percent {
            100.0.. => format!("{percent:.0}%"),
            _ => format!("{percent:.2}%"),
        });
        [
            or_none(errors),
            time(self.p50_ms),
            time(self.p95_ms),
            time(self.p99_ms),
        ]
    }
}

impl TrafficWindow {
    /// Takes what a poll has added.
    pub(crate) fn add<'a>(
        &mut self,
        at: Instant,
        seconds: f64,
        added: impl IntoIterator<Item = (Arm, &'a Counts)>,
    ) {
        let mut arms = PerArm::<Counts>::default();
        for (arm, counts) in added {
            arms.get_mut(arm).merge(counts);
        }
        self.polls.push_back(TrafficSample { at, seconds, arms });
        while self
            .polls
            .front()
            .is_some_and(|poll| at.duration_since(poll.at) >= WINDOW)
        {
            self.polls.pop_front();
        }
    }

    /// What an arm did in the window.
    pub(crate) fn figures(&self, arm: Arm) -> ArmFigures {
        let mut sum = Counts::default();
        let mut seconds = 0.0;
        for poll in &self.polls {
            sum.merge(poll.arms.get(arm));
            seconds += poll.seconds;
        }
        let (requests, charged) = (sum.requests(), sum.charged());
        let milliseconds = |share| {
            sum.latency
                .quantile(share)
                .map(|latency| latency.as_secs_f64() * 1e3)
        };
        ArmFigures {
            requests_per_second: if seconds > 0.0 {
                requests as f64 / seconds
            } else {
                0.0
            },
            error_percent: (charged > 0).then(|| 100.0 * sum.errors() as f64 / charged as f64),
            p50_ms: milliseconds(0.5),
            p95_ms: milliseconds(0.95),
            p99_ms: milliseconds(0.99),
        }
    }
}
