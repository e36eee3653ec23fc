//! What `halftone run` tells its view of each turn.

use halftone_rollout::clock::Now;
use halftone_rollout::events::Event;
use halftone_routing::document::arm::Arm;

use crate::engine::EngineObserver;
use crate::engine::release::LocalRelease;
use crate::engine::traffic::ArmFigures;
use crate::next_step::next;
use crate::view::{EventLine, ReleaseView, View};

impl EngineObserver for View {
    fn turned(&mut self, release: &LocalRelease, events: &[Event], now: Now) {
        let shown = shown(release, now);
        for event in events {
            let (severity, reason) = (event.reason.severity(), event.reason.to_string());
            self.happened(
                &shown,
                &EventLine {
                    severity,
                    reason,
                    message: event.message.clone(),
                },
                now,
            );
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

fn shown(release: &LocalRelease, now: Now) -> ReleaseView {
    let plan = release.progress().plan();
    let version = |arm| match arm {
        Arm::Stable => plan.map(|plan| plan.stable.version.to_string()),
        Arm::Gray => plan.and_then(|plan| Some(plan.gray.as_ref()?.arm.version.to_string())),
    };
    let arms = Arm::ALL.into_iter().filter_map(|arm| {
        Some((
            arm.name(),
            version(arm)?,
            figures(release.traffic().figures(arm)),
        ))
    });
    let object = release.object();
    let next = next(&object, now);
    ReleaseView {
        name: release.name().to_owned(),
        status: object.status.unwrap_or_default(),
        arms: arms.collect(),
        next,
    }
}

/// Name and version of the arm included, it is 79 columns wide at most while there are fewer than 10 000 requests a
/// second.
fn figures(figures: ArmFigures) -> String {
    let [errors, p50, p95, p99] = figures.text();
    format!(
        "{:>6.1}/s  errors {errors:>6}  p50 {p50:>7}  p95 {p95:>7}  p99 {p99:>7}",
        figures.requests_per_second
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_an_arm_fits_a_terminal_of_80_columns() {
        let busy = ArmFigures {
            requests_per_second: 9_999.94,
            error_percent: Some(100.0),
            p50_ms: Some(999.94),
            p95_ms: Some(59_994.0),
            p99_ms: Some(59_994.0),
        };
        assert_eq!(
            "  stable v1.2.34 ".len() + figures(busy).len(),
            79,
            "{}",
            figures(busy)
        );
        assert!(figures(ArmFigures::default()).contains("p99       -"));
    }
}
