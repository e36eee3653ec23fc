//! `spec.health` as the text from which `status.basis.health` is made. Its words are those that 0.1 wrote, whatever
//! the types are called by now: a text that changed with an upgrade would look like an edit of `health`, and the judge
//! would start again in the middle of a release.

use std::fmt::{Debug, Formatter, Result};

use halftone_api::{health_limits::HealthLimits, plan::Health};
use halftone_routing::document::{
    limits::LimitsConfig,
    rule::{AllOf, MatchCondition},
};

/// The text. Fields are named one by one, so that a new one does not get in unnoticed: add it only where it is set.
pub(super) fn text(health: &Health) -> String {
    format!("{:?}", Text(health))
}

/// A value in 0.1's words.
struct Text<'a, T: ?Sized>(&'a T);

impl Debug for Text<'_, Health> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Health {
            limits,
            counting,
            include,
            warmup,
            on_failure,
            on_inconclusive,
            patience,
            watch,
        } = self.0;
        f.debug_struct("Health")
            .field("limits", &limits.as_ref().map(Text))
            .field("counting", &Text(counting))
            .field("include", include)
            .field("warmup", warmup)
            .field("on_failure", on_failure)
            .field("on_inconclusive", on_inconclusive)
            .field("patience", patience)
            .field("watch", watch)
            .finish()
    }
}

impl Debug for Text<'_, HealthLimits> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let HealthLimits {
            confidence,
            min_requests,
            limits,
        } = self.0;
        f.debug_struct("Limits")
            .field("confidence", confidence)
            .field("min_requests", min_requests)
            .field("limits", limits)
            .finish()
    }
}

impl Debug for Text<'_, LimitsConfig> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let LimitsConfig {
            error_statuses,
            latency,
            exclude,
        } = self.0;
        let exclude: Vec<_> = exclude.iter().map(Text).collect();
        f.debug_struct("Limits")
            .field("error_statuses", error_statuses)
            .field("latency", latency)
            .field("exclude", &exclude)
            .finish()
    }
}

impl Debug for Text<'_, AllOf> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let conditions: Vec<_> = self.0.conditions().iter().map(Text).collect();
        f.debug_tuple("AllOf").field(&conditions).finish()
    }
}

impl Debug for Text<'_, MatchCondition> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Condition")
            .field("source", self.0.source())
            .field("operator", &self.0.operator())
            .field("values", &self.0.values())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use halftone_api::manifest;

    /// As 0.1 wrote it. Never to be changed: it is in the status of releases under way.
    const WRITTEN: &str = "Health { limits: Some(Limits { confidence: 999000, min_requests: 20, limits: \
        [ErrorRate { max: 10000 }, Latency { quantile: 990000, max: 300ms }, \
        RelativeErrorRate { factor: 2.0, floor: 1000 }, RelativeClientErrorRate { factor: 2.0, floor: 10000 }] }), \
        counting: Limits { error_statuses: ErrorStatuses { bits: [0, 0, 0, 0, 0, 0, 524288, 0], written: [\"503\"] }, \
        latency: {P99: Positive(Millis(300))}, exclude: [AllOf([Condition { source: Header(Token(\"x-probe\")), \
        operator: Exists, values: [] }])] }, include: [Rule], warmup: 10s, on_failure: Pause, \
        on_inconclusive: Pause, patience: 60s, watch: 0ns }";

    #[test]
    fn health_is_written_in_the_words_of_0_1() {
        let text =
            "{apiVersion: halftone.dev/v1alpha1, kind: GrayRelease, metadata: {name: shop}, spec: {
            hosts: [shop.example], stable: {version: v1, service: {name: s, port: 80}},
            targetRatio: 50, gray: {version: v2, service: {name: g, port: 80}},
            health: {maxErrorRate: 1%, maxLatency: {p99: 300ms}, minRequests: 20,
                     errorStatuses: ['503'], warmup: 10s, patience: 1m, watch: 0s,
                     include: [Rule], onFailure: Pause, onInconclusive: Pause,
                     exclude: [{all: [{source: Header, name: x-probe, operator: Exists}]}]}}}";
        let read = manifest::read("test.yaml", text);
        assert_eq!(read.findings, [], "a sound manifest");
        assert_eq!(super::text(&read.manifests[0].plan.health), WRITTEN);
    }
}
