//! What deserves a warning in releases that are right as far as they go, what several releases of the same files
//! do to each other, and what a fleet does not allow them.

mod conditions;
mod contradictions;
mod cross_release;
mod expressions;
mod sources;

use std::collections::HashMap;

use halftone_routing::document::limits::Quantile;
use jiff::Timestamp;

pub use self::cross_release::duplicates;
use self::cross_release::{conflicts, shadows, shared_salts};
use crate::{
    duration,
    finding::{Finding, Severity},
    fleet::FleetDeclarations,
    manifest::{Manifest, ManifestFile},
    plan::{WindowState, quantile_limit, ratio},
    problem::{Problem, field, item},
    spec::{Initial, Target, WhenMissing},
};

/// All that there is to say of the files: what is wrong with each, and with all of them together. In the order of
/// files and lines. `fleets` are what the operator knows, if they are at hand.
pub fn lint(readings: &[ManifestFile], fleets: Option<&FleetDeclarations>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for reading in readings {
        findings.extend(reading.findings.iter().cloned());
        findings.extend(reading.manifests.iter().flat_map(warnings));
    }
    let manifests: Vec<&Manifest> = readings
        .iter()
        .flat_map(|reading| &reading.manifests)
        .collect();
    findings.extend(duplicates(manifests.iter().copied()));
    findings.extend(conflicts(&manifests, fleets));
    findings.extend(shadows(&manifests, fleets));
    findings.extend(shared_salts(&manifests));
    if let Some(fleets) = fleets {
        findings.extend(
            manifests
                .iter()
                .flat_map(|manifest| fleets.refusals(manifest)),
        );
    }
    let files: HashMap<&str, usize> = readings
        .iter()
        .enumerate()
        .map(|(at, reading)| (reading.file.as_str(), at))
        .collect();
    findings.sort_by_key(|finding| {
        (
            files.get(finding.file.as_str()).copied(),
            finding.position,
            finding.severity,
        )
    });
    findings
}

/// What is to be said: its code, and the problem.
type Notes = Vec<(&'static str, Problem)>;

fn warnings(manifest: &Manifest) -> Vec<Finding> {
    let mut notes = Notes::new();
    notes.extend(steps(manifest));
    notes.extend(schedule(manifest));
    notes.extend(latency(manifest));
    notes.extend(identity(manifest));
    notes.extend(without_gray(manifest));
    notes.extend(claims(manifest));
    notes.extend(checks(manifest));
    notes.extend(conditions::notes(manifest));
    notes
        .into_iter()
        .map(|(code, problem)| manifest.finding(Severity::Warning, code, problem))
        .collect()
}

fn steps(manifest: &Manifest) -> Notes {
    let (spec, target) = (&manifest.release.spec, manifest.plan.target());
    let Some(gray) = &manifest.plan.gray else {
        return Notes::new();
    };
    let mut notes = Notes::new();
    for (at, step) in spec.steps.iter().flatten().enumerate() {
        let path = item("spec.steps", at);
        if ratio(&step.ratio).is_some_and(|ratio| ratio > target) {
            let what = format!("this step is above the target of {target} and is ignored");
            notes.push((
                "StepIgnored",
                Problem::new(path, what, "remove it or raise targetRatio"),
            ));
        } else if manifest.plan.health.limits.is_some() && short(manifest, &step.hold) {
            let what = format!(
                "a hold of {} is over before its warm-up of {}",
                step.hold, spec.health.warmup
            );
            let advice = "hold it longer, since nothing in the warm-up counts for passing";
            notes.push((
                "HoldTooShort",
                Problem::new(field(&path, "hold"), what, advice),
            ));
        }
    }
    if gray.target.millionths() == 0 && spec.rules.iter().all(|rule| rule.to == Target::Stable) {
        let what = "the target is 0 and no rule sends anyone to gray, so nobody reaches it";
        notes.push((
            "NobodyReachesGray",
            Problem::new("spec.targetRatio", what, "raise it, or add a rule to gray"),
        ));
    }
    notes
}

fn short(manifest: &Manifest, hold: &str) -> bool {
    let hold = duration::parse(hold)
        .map(|hold| hold.duration())
        .unwrap_or_default();
    !hold.is_zero() && hold <= manifest.plan.health.warmup
}

fn schedule(manifest: &Manifest) -> Notes {
    let Some(schedule) = &manifest.plan.schedule else {
        return Notes::new();
    };
    let reversed = reversed_zone(manifest);
    // Windows come back every week, so any time will do.
    if schedule.at(Timestamp::UNIX_EPOCH) != (WindowState::Closed { opens: None }) {
        return reversed.into_iter().collect();
    }
    let what = "no window ever opens, so the ratio never rises";
    vec![(
        "ScheduleNeverOpens",
        Problem::new(
            "spec.schedule.windows",
            what,
            "add a window or remove the schedule",
        ),
    )]
}

/// POSIX counts hours to the west: Etc/GMT+2 is two hours behind UTC, and most who write it mean the opposite.
fn reversed_zone(manifest: &Manifest) -> Option<(&'static str, Problem)> {
    let zone = &manifest.release.spec.schedule.as_ref()?.time_zone;
    let hours: i32 = zone
        .strip_prefix("Etc/GMT")?
        .parse()
        .ok()
        .filter(|hours| *hours != 0)?;
    let side = if hours > 0 { "behind" } else { "ahead of" };
    let what = format!(
        "{zone} is {} h {side} UTC: the sign of these names is reversed",
        hours.abs()
    );
    let advice = "name a place instead, such as Europe/Berlin, unless this is what you mean";
    Some((
        "ReversedTimeZone",
        Problem::new("spec.schedule.timeZone", what, advice),
    ))
}

fn latency(manifest: &Manifest) -> Notes {
    let Some(latency) = &manifest.release.spec.health.max_latency else {
        return Notes::new();
    };
    let limit = |quantile| {
        let written = quantile_limit(latency, quantile)?;
        Some((quantile, duration::parse(written)?))
    };
    let limits: Vec<_> = Quantile::ALL.into_iter().filter_map(limit).collect();
    let falling = limits.windows(2).filter(|pair| pair[1].1 < pair[0].1);
    falling
        .map(|pair| {
            let (low, high) = (pair[0].0.name(), pair[1].0.name());
            let path = field("spec.health.maxLatency", high);
            let what = format!("{high} is below {low}, so {low} says nothing");
            (
                "LimitsOutOfOrder",
                Problem::new(
                    path,
                    what,
                    format!("write {high} at least as long as {low}"),
                ),
            )
        })
        .collect()
}

/// Browsers keep no cookie longer than this.
const LONGEST_COOKIE_DAYS: u64 = 400;

fn identity(manifest: &Manifest) -> Notes {
    let identity = &manifest.release.spec.identity;
    let mut notes = Notes::new();
    let generated = identity
        .from
        .iter()
        .any(|source| source.generated.is_some());
    if generated && identity.when_missing != WhenMissing::Stable {
        let what = "a generated cookie is in the list, so an identity is never missing";
        let advice = "remove whenMissing, or generated from spec.identity.from";
        notes.push((
            "NoEffect",
            Problem::new("spec.identity.whenMissing", what, advice),
        ));
    }
    if identity.reject_status != 403 && identity.when_missing != WhenMissing::Reject {
        let what = "nobody is rejected, so no request is answered with it";
        notes.push((
            "NoEffect",
            Problem::new(
                "spec.identity.rejectStatus",
                what,
                "write whenMissing: Reject, or remove it",
            ),
        ));
    }
    for (at, source) in identity.from.iter().enumerate() {
        let path = item("spec.identity.from", at);
        if identity.from[..at].contains(source) {
            notes.push((
                "NoEffect",
                Problem::new(&path, "this source is in the list already", "remove it"),
            ));
        }
        let days = source
            .generated
            .as_ref()
            .and_then(|cookie| duration::parse(&cookie.max_age));
        if days.is_some_and(|age| age.as_secs() > LONGEST_COOKIE_DAYS * 86_400) {
            let what = format!("browsers keep no cookie longer than {LONGEST_COOKIE_DAYS} days");
            let path = field(&field(&path, "generated"), "maxAge");
            notes.push((
                "CookieTooLong",
                Problem::new(path, what, "write at most 9600h"),
            ));
        }
    }
    notes.extend(sources::notes(manifest));
    notes
}

fn without_gray(manifest: &Manifest) -> Notes {
    let spec = &manifest.release.spec;
    if spec.gray.is_some() {
        return Notes::new();
    }
    let mut notes = Notes::new();
    let mut idle = |path: String, what: &str| {
        let advice = "add gray and targetRatio, or remove it";
        notes.push((
            "NoEffect",
            Problem::new(path, format!("{what} without a gray version"), advice),
        ));
    };
    if spec.initial == Initial::Gray {
        idle("spec.initial".to_owned(), "initial: Gray means Stable");
    }
    if spec.steps.is_some() {
        idle("spec.steps".to_owned(), "steps lead nowhere");
    }
    if spec.identity.when_missing == WhenMissing::Gray {
        idle(
            "spec.identity.whenMissing".to_owned(),
            "whenMissing: Gray means Stable",
        );
    }
    for (at, rule) in spec.rules.iter().enumerate() {
        if rule.to == Target::Gray {
            idle(item("spec.rules", at), "a rule to Gray is left out");
        }
    }
    notes
}

/// Hosts and paths that are not written as they are matched.
fn claims(manifest: &Manifest) -> Notes {
    let spec = &manifest.release.spec;
    let hosts = spec.hosts.iter().map(|host| {
        (
            host,
            host.parse()
                .ok()
                .map(|host: halftone_routing::document::names::HostPattern| host.to_string()),
        )
    });
    let paths = spec.paths.iter().map(|path| {
        (
            path,
            path.parse()
                .ok()
                .map(|path: halftone_routing::document::names::PathPrefix| path.to_string()),
        )
    });
    let mut notes = Notes::new();
    for (list, claims) in [
        ("spec.hosts", hosts.collect::<Vec<_>>()),
        ("spec.paths", paths.collect()),
    ] {
        for (at, (written, normal)) in claims.iter().enumerate() {
            let Some(normal) = normal else { continue };
            let earlier = claims[..at]
                .iter()
                .any(|(_, other)| other.as_ref() == Some(normal));
            if earlier {
                let what = format!("{written} claims the same as an item before it");
                notes.push(("Repeated", Problem::new(item(list, at), what, "remove it")));
            } else if normal != *written {
                let what = format!("{written} is matched as {normal}");
                notes.push((
                    "NotNormal",
                    Problem::new(item(list, at), what, format!("write {normal}")),
                ));
            }
        }
    }
    notes
}

fn checks(manifest: &Manifest) -> Notes {
    let spec = &manifest.release.spec;
    let arms = [
        ("spec.stable", Some(&spec.stable)),
        ("spec.gray", spec.gray.as_ref()),
    ];
    let checks = arms
        .into_iter()
        .filter_map(|(path, arm)| Some((path, arm?.health_check.as_ref()?)));
    checks
        .filter(|(_, check)| duration::parse(&check.timeout) > duration::parse(&check.interval))
        .map(|(path, check)| {
            let what = format!(
                "a check may take {} and the next is due after {}",
                check.timeout, check.interval
            );
            let path = format!("{path}.healthCheck.timeout");
            (
                "CheckOverlaps",
                Problem::new(path, what, "write a time-out below the interval"),
            )
        })
        .collect()
}
