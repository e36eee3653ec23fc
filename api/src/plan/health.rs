//! From health as written to the limits that the judge needs and what proxies need to count.

use std::{collections::BTreeMap, time::Duration};

use halftone_routing::document::limits::{self as counting, LatencyLimit, Quantile};

use super::{reader::SpecReader, rules::groups};
use crate::{
    health_limits::{HealthLimits, Limit},
    problem::field,
    spec::{
        HealthSpec, IncludedTraffic, MaxLatencySpec, OnFailure, OnInconclusive, VersusStableSpec,
        rules,
    },
};

/// What health means, and what follows when gray is not healthy.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// What gray is judged by; none: the steps go by time only.
    pub limits: Option<HealthLimits>,
    /// What proxies need to count. Latency limits are here too, since each request gives an event for each.
    pub counting: counting::LimitsConfig,
    /// Traffic judged beside that of the split.
    pub include: Vec<IncludedTraffic>,
    /// So long after every proxy has a step, latency limits and the figures for passing leave its requests out.
    pub warmup: Duration,
    /// What follows when gray breaks a limit.
    pub on_failure: OnFailure,
    /// What follows when hold and patience are over without a verdict.
    pub on_inconclusive: OnInconclusive,
    /// How long a step may wait for a verdict after its hold.
    pub patience: Duration,
    /// So long after the target is reached the release is still judged.
    pub watch: Duration,
}

pub(super) fn read(reader: &mut SpecReader, path: &str, health: &HealthSpec) -> Option<Health> {
    let latency = latency(
        reader,
        &field(path, "maxLatency"),
        health.max_latency.as_ref(),
    );
    let limits = limits(reader, path, health, latency.as_ref());
    let statuses = reader.valid(
        &field(path, "errorStatuses"),
        health.error_statuses.clone().try_into(),
    );
    let exclude = groups(reader, &field(path, "exclude"), &health.exclude);
    let warmup = reader.duration(&field(path, "warmup"), &health.warmup);
    let patience = reader.duration(&field(path, "patience"), &health.patience);
    let watch = reader.duration(&field(path, "watch"), &health.watch);
    let latency = if health.enabled {
        latency?
    } else {
        BTreeMap::new()
    };
    let (limits, exclude) = (limits?, exclude?);
    Some(Health {
        limits: health.enabled.then_some(limits),
        counting: counting::LimitsConfig {
            error_statuses: statuses?,
            latency,
            exclude,
        },
        include: health.include.clone(),
        warmup: warmup?,
        on_failure: health.on_failure,
        on_inconclusive: health.on_inconclusive,
        patience: patience?,
        watch: watch?,
    })
}

type Latency = BTreeMap<Quantile, LatencyLimit>;

fn latency(
    reader: &mut SpecReader,
    path: &str,
    latency: Option<&MaxLatencySpec>,
) -> Option<Latency> {
    let written = latency.into_iter().flat_map(|latency| {
        Quantile::ALL
            .into_iter()
            .filter_map(|quantile| Some((quantile, quantile_limit(latency, quantile)?)))
    });
    let read: Vec<_> = written
        .map(|(quantile, text)| {
            Some((
                quantile,
                reader.positive(&field(path, quantile.name()), text)?,
            ))
        })
        .collect();
    read.into_iter().collect()
}

/// What `maxLatency` says of one quantile.
pub(crate) fn quantile_limit(latency: &MaxLatencySpec, quantile: Quantile) -> Option<&str> {
    match quantile {
        Quantile::P50 => latency.p50.as_deref(),
        Quantile::P90 => latency.p90.as_deref(),
        Quantile::P95 => latency.p95.as_deref(),
        Quantile::P99 => latency.p99.as_deref(),
        Quantile::P999 => latency.p999.as_deref(),
    }
}

/// The limits in the order in which they are shown.
fn limits(
    reader: &mut SpecReader,
    path: &str,
    health: &HealthSpec,
    latency: Option<&Latency>,
) -> Option<HealthLimits> {
    let max = reader.ratio(&field(path, "maxErrorRate"), &health.max_error_rate);
    let confidence = super::reader::ratio(&health.confidence)
        .map(|ratio| ratio.millionths())
        .filter(|confidence| (500_000..1_000_000).contains(confidence));
    reader.require(
        confidence.is_some(),
        &field(path, "confidence"),
        rules::CONFIDENCE,
    );
    let relative = relative(reader, &field(path, "versusStable"), &health.versus_stable);
    let mut limits = vec![Limit::ErrorRate {
        max: max?.millionths(),
    }];
    limits.extend(latency?.iter().map(|(quantile, limit)| Limit::Latency {
        quantile: millionths(*quantile),
        max: limit.duration(),
    }));
    let relative = relative?;
    if health.versus_stable.enabled {
        limits.extend(relative);
    }
    let min_requests = u64::try_from(health.min_requests).ok()?;
    Some(HealthLimits {
        confidence: confidence?,
        min_requests,
        limits,
    })
}

const fn millionths(quantile: Quantile) -> u32 {
    match quantile {
        Quantile::P50 => 500_000,
        Quantile::P90 => 900_000,
        Quantile::P95 => 950_000,
        Quantile::P99 => 990_000,
        Quantile::P999 => 999_000,
    }
}

fn relative(reader: &mut SpecReader, path: &str, versus: &VersusStableSpec) -> Option<Vec<Limit>> {
    let errors = reader.factor(&field(path, "errorRate"), &versus.error_rate);
    let client_errors = reader.factor(&field(path, "clientErrorRate"), &versus.client_error_rate);
    let floor = reader.ratio(&field(path, "floor"), &versus.floor);
    let client_floor = reader.ratio(&field(path, "clientErrorFloor"), &versus.client_error_floor);
    let p99 = match &versus.p99 {
        Some(factor) => reader.factor(&field(path, "p99"), factor).map(Some),
        None => Some(None),
    };
    let mut limits = vec![
        Limit::RelativeErrorRate {
            factor: errors?,
            floor: floor?.millionths(),
        },
        Limit::RelativeClientErrorRate {
            factor: client_errors?,
            floor: client_floor?.millionths(),
        },
    ];
    limits.extend(p99?.map(|factor| Limit::RelativeP99 { factor }));
    Some(limits)
}
