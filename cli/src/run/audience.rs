//! What `halftone run` tells its view of each turn.

use halftone_rollout::clock::Now;
use halftone_rollout::events::Event;
use halftone_routing::config::arm::Arm;

use crate::engine::Audience;
use crate::engine::release::Release;
use crate::engine::traffic::ArmFigures;
use crate::view::{News, Shown, View};

impl Audience for View {
    fn turned(&mut self, release: &Release, events: &[Event], now: Now) {
        let shown = shown(release);
        for event in events {
            let (severity, reason) = (event.reason.severity(), event.reason.to_string());
            self.happened(&shown, &News { severity, reason, message: event.message.clone() }, now);
        }
        self.show(&shown, !events.is_empty(), now);
    }

    fn withdrawn(&mut self, name: &str) {
        self.gone(name, "withdrawn");
    }

    fn note(&mut self, message: &str) {
        self.say(message);
    }
}

fn shown(release: &Release) -> Shown {
    let plan = release.progress().plan();
    let version = |arm| match arm {
        Arm::Stable => plan.map(|plan| plan.stable.version.to_string()),
        Arm::Gray => plan.and_then(|plan| Some(plan.gray.as_ref()?.arm.version.to_string())),
    };
    let arms = Arm::ALL
        .into_iter()
        .filter_map(|arm| Some((arm.name(), version(arm)?, figures(release.traffic().figures(arm)))));
    Shown { name: release.name().to_owned(), status: release.progress().status(), arms: arms.collect() }
}

fn figures(figures: ArmFigures) -> String {
    let milliseconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
    let errors = figures.error_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.2}%"));
    format!(
        "{:>8.1} req/s  errors {errors:>7}  p50 {:>9}  p99 {:>9}",
        figures.requests_per_second,
        milliseconds(figures.p50_ms),
        milliseconds(figures.p99_ms)
    )
}
