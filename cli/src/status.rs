//! What `halftone status`, `get` and `history` print of a release, wherever it comes from. Pure: from objects to text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::Table;
use halftone_api::GrayRelease;
use halftone_api::spec::{
    ArmSpec, GrayReleaseStatus, IncludedTraffic, IntOrString, OpenEnum, RequestResult,
};
use halftone_rollout::clock::Now;
use jiff::Timestamp;
use owo_colors::OwoColorize;
use serde::Serialize;
use serde_json::{Value, json};

use crate::attention::AttentionLevel;
use crate::engine::traffic::{ArmFigures, WINDOW};
use crate::next_step::next;
use crate::output::{self, span};
use crate::summary::name_of;
use crate::summary::{condition, phase, standing};
use crate::view::ReleaseView;

/// In the place of a phase.
const UNREADABLE: &str = "Unreadable";
/// So many releases need no sum.
const FEW: usize = 10;

/// Releases, as many as were found.
#[derive(Debug, Default)]
pub(crate) struct ReleaseList {
    /// Those that can be read, in the order of the API server.
    pub(crate) releases: Vec<GrayRelease>,
    /// The others.
    pub(crate) unreadable: Vec<UnreadableRelease>,
}

/// An object that this version cannot read: what it was written for is newer, or it was written around the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnreadableRelease {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// What is wrong with it.
    pub(crate) why: String,
}

impl UnreadableRelease {
    /// `NAMESPACE/NAME`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The same in a sentence.
    pub(crate) fn sentence(&self) -> String {
        format!("this halftone cannot read it: {}", self.why)
    }
}

impl ReleaseList {
    pub(crate) fn is_empty(&self) -> bool {
        self.releases.is_empty() && self.unreadable.is_empty()
    }

    /// What programs read: the releases as they are, and of the others what is known.
    pub(crate) fn json(&self) -> Vec<Value> {
        let readable = self.releases.iter().map(|release| json!(release));
        let others = self.unreadable.iter().map(|object| {
            json!({
                "metadata": {"namespace": object.namespace, "name": object.name},
                "unreadable": object.why,
            })
        });
        readable.chain(others).collect()
    }
}

/// All releases with what is said of them, those first that want to be looked at, and how many there are of each phase.
pub(crate) fn overview(listing: &ReleaseList, wide: bool) -> String {
    let mut releases: Vec<&GrayRelease> = listing.releases.iter().collect();
    releases.sort_by_key(|release| {
        release
            .status
            .as_ref()
            .map_or(AttentionLevel::Moving, AttentionLevel::of)
    });
    let mut phases: BTreeMap<String, usize> = BTreeMap::new();
    for release in &releases {
        *phases
            .entry(phase(&release.status.clone().unwrap_or_default()))
            .or_default() += 1;
    }
    if !listing.unreadable.is_empty() {
        phases.insert(UNREADABLE.to_owned(), listing.unreadable.len());
    }
    let mut text = table(&releases, &listing.unreadable, wide).trim_fmt();
    let all: usize = phases.values().sum();
    // A few are seen at a glance.
    if all > FEW {
        let each: Vec<String> = phases
            .iter()
            .map(|(phase, number)| format!("{number} {phase}"))
            .collect();
        text.push_str(&format!("\n{all} releases: {}", each.join(", ")));
    }
    text
}

/// The columns that `-o wide` adds.
const MORE: [&str; 5] = ["STABLE", "GRAY", "TARGET", "HOSTS", "CLASS"];

fn more(release: &GrayRelease) -> [String; 5] {
    let spec = &release.spec;
    let target = spec.target_ratio.as_ref().map(|ratio| match ratio {
        IntOrString::Int(percent) => format!("{percent}%"),
        IntOrString::String(text) => text.clone(),
    });
    [
        spec.stable.version.clone(),
        text(spec.gray.as_ref().map(|arm| arm.version.clone())),
        text(target),
        spec.hosts.join(","),
        spec.proxy_class.clone(),
    ]
}

/// A table with these columns, and with more where a person asks for them.
fn widened(header: &[&str], wide: bool) -> Table {
    let more: &[&str] = if wide { &MORE } else { &[] };
    output::table(&[header, more].concat())
}

/// The resource and name of each, as kubectl prints them with `-o name`.
pub(crate) fn names(listing: &ReleaseList) -> String {
    let readable = listing
        .releases
        .iter()
        .map(|release| release.metadata.name.clone().unwrap_or_default());
    let all = readable.chain(listing.unreadable.iter().map(|object| object.name.clone()));
    all.map(|name| format!("grayrelease.halftone.dev/{name}\n"))
        .collect()
}

fn table(releases: &[&GrayRelease], unreadable: &[UnreadableRelease], wide: bool) -> Table {
    let mut table = widened(
        &[
            "RELEASE", "PHASE", "STEP", "RATIO", "OBSERVED", "VERDICT", "WHY",
        ],
        wide,
    );
    for object in unreadable {
        table.add_row([
            &object.full_name(),
            UNREADABLE,
            "-",
            "-",
            "-",
            "-",
            &object.sentence(),
        ]);
    }
    for release in releases {
        let status = release.status.clone().unwrap_or_default();
        let ready = condition(&status, "Ready").map(|ready| ready.message.clone());
        let row = [
            name_of(release),
            phase(&status),
            text(status.step.map(|step| step.display)),
            text(status.ratio),
            text(status.observed.and_then(|observed| observed.ratio)),
            text(
                status
                    .verdict
                    .map(|verdict| format!("{:?}", verdict.result)),
            ),
            text(ready),
        ];
        table.add_row(
            row.into_iter()
                .chain(wide.then(|| more(release)).into_iter().flatten()),
        );
    }
    table
}

/// All releases with the columns that `kubectl get` shows.
pub(crate) fn columns(listing: &ReleaseList, now: Timestamp, wide: bool) -> Table {
    let header = [
        "NAMESPACE",
        "NAME",
        "PHASE",
        "STEP",
        "RATIO",
        "OBSERVED",
        "READY",
        "REASON",
        "AGE",
    ];
    let mut table = widened(&header, wide);
    for object in &listing.unreadable {
        table.add_row([
            &object.namespace,
            &object.name,
            UNREADABLE,
            "-",
            "-",
            "-",
            "-",
            &object.why,
            "-",
        ]);
    }
    for release in &listing.releases {
        let status = release.status.clone().unwrap_or_default();
        let ready = condition(&status, "Ready");
        let born = release.metadata.creation_timestamp.as_ref();
        let row = [
            release.metadata.namespace.clone().unwrap_or_default(),
            release.metadata.name.clone().unwrap_or_default(),
            phase(&status),
            text(status.step.as_ref().map(|step| step.display.clone())),
            text(status.ratio.clone()),
            text(
                status
                    .observed
                    .as_ref()
                    .and_then(|observed| observed.ratio.clone()),
            ),
            text(ready.map(|ready| ready.status.clone())),
            text(ready.map(|ready| ready.reason.clone())),
            text(born.map(|born| span(now.duration_since(born.0)))),
        ];
        table.add_row(
            row.into_iter()
                .chain(wide.then(|| more(release)).into_iter().flatten()),
        );
    }
    table
}

/// How the last releases of an object ended, and the one under way.
pub(crate) fn history(release: &GrayRelease, now: Timestamp) -> Table {
    let status = release.status.clone().unwrap_or_default();
    let mut table = output::table(&[
        "RELEASE", "VERSION", "OUTCOME", "REASON", "STARTED", "ENDED", "TOOK",
    ]);
    let over = |id: &str, started: Timestamp| {
        status
            .history
            .iter()
            .any(|entry| entry.id == id && entry.started_at == started)
    };
    if let Some(current) = status
        .release
        .as_ref()
        .filter(|current| !over(&current.id, current.started_at))
    {
        table.add_row([
            current.id.clone(),
            current.version.clone(),
            phase(&status),
            "-".to_owned(),
            whole(current.started_at),
            "-".to_owned(),
            span(now.duration_since(current.started_at)),
        ]);
    }
    for entry in &status.history {
        table.add_row([
            entry.id.clone(),
            entry.version.clone(),
            format!("{:?}", entry.outcome),
            text(Some(entry.reason.clone()).filter(|reason| !reason.is_empty())),
            whole(entry.started_at),
            whole(entry.ended_at),
            span(entry.ended_at.duration_since(entry.started_at)),
        ]);
    }
    table
}

/// What the arms of a release did lately.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecentTraffic {
    /// Over how many seconds, the last ones.
    pub(crate) seconds: f64,
    /// The stable version.
    pub(crate) stable: ArmFigures,
    /// The gray version.
    pub(crate) gray: ArmFigures,
}

impl RecentTraffic {
    /// As a `halftone run` measures it.
    pub(crate) fn here([stable, gray]: &[ArmFigures; 2]) -> Self {
        Self {
            seconds: WINDOW.as_secs_f64(),
            stable: *stable,
            gray: *gray,
        }
    }

    fn line(&self, arm: &str) -> String {
        let figures = if arm == "gray" {
            &self.gray
        } else {
            &self.stable
        };
        let [errors, p50, p95, p99] = figures.text();
        format!(
            "{:.1} requests/s, {errors} errors, p50 {p50}, p95 {p95}, p99 {p99} over the last {:.0} s",
            figures.requests_per_second, self.seconds
        )
    }
}

/// What the counts of a step leave out, so that nobody looks for requests that are missing from them.
fn left_out(release: &GrayRelease) -> String {
    let health = &release.spec.health;
    let included = |traffic| health.include.contains(&traffic);
    let mut out = vec!["requests of the warm-up (error limits judge them)".to_owned()];
    if !release.spec.rules.is_empty() && !included(IncludedTraffic::Rule) {
        out.push("those sent by a rule".to_owned());
    }
    if !included(IncludedTraffic::Missing) {
        out.push("those without an identity".to_owned());
    }
    if !health.exclude.is_empty() {
        out.push("those that health.exclude matches".to_owned());
    }
    out.push("those that the client broke off or the proxy refused".to_owned());
    format!("leave out {}", out.join(", "))
}

/// Everything about one release.
pub(crate) fn detail(release: &GrayRelease, traffic: Option<&RecentTraffic>, now: Now) -> String {
    let status = release.status.clone().unwrap_or_default();
    let mut out = format!("{}  {}\n", name_of(release).bold(), standing(&status, now));
    for (arm, version, figures) in shown(release).arms {
        let spec = if arm == "gray" {
            release.spec.gray.as_ref()
        } else {
            Some(&release.spec.stable)
        };
        line(
            &mut out,
            arm,
            format!(
                "{version:<12} {:<24} {figures}",
                spec.map_or_else(String::new, place)
            )
            .trim_end(),
        );
        if let Some(traffic) = traffic {
            line(&mut out, "", &traffic.line(arm));
        }
    }
    if status.verdict.is_some() {
        line(&mut out, "counts", &left_out(release));
    }
    if let Some(current) = &status.release {
        let id = format!(
            "{}, attempt {}, since {}",
            current.id,
            current.attempt,
            whole(current.started_at)
        );
        line(&mut out, "release", &id);
    }
    if let Some(serving) = &status.serving {
        line(
            &mut out,
            "serving",
            &format!(
                "{} ({}) since {}",
                serving.version,
                serving.service,
                whole(serving.since)
            ),
        );
    }
    if let Some(proxies) = &status.proxies {
        let revision = status.revision.unwrap_or_default();
        let waits = match proxies.waiting_for.as_slice() {
            [] => String::new(),
            names => format!("; waits for {}", names.join(", ")),
        };
        line(
            &mut out,
            "proxies",
            &format!(
                "{} ready, {} have revision {revision}{waits}",
                proxies.ready, proxies.acknowledged
            ),
        );
    }
    if let Some(back) = &status.rollback {
        line(
            &mut out,
            "rollback",
            &format!("{} at {}: {}", back.reason, whole(back.at), back.message),
        );
    }
    if let Some(next) = next(release, now) {
        line(&mut out, "next", &next);
    }
    verdict(&mut out, &status);
    for condition in &status.conditions {
        let told = format!(
            "{:<14} {:<8} {}  {}",
            condition.type_, condition.status, condition.reason, condition.message
        );
        line(&mut out, "", told.trim_end());
    }
    if let Some(handled) = &status.last_handled_request {
        line(
            &mut out,
            "request",
            &format!(
                "{}: {}: {}",
                handled.request,
                result(&handled.result),
                handled.message
            ),
        );
    }
    out
}

fn verdict(out: &mut String, status: &GrayReleaseStatus) {
    let Some(verdict) = &status.verdict else {
        return;
    };
    line(
        out,
        "verdict",
        format!("{:?} {}", verdict.result, verdict.message).trim_end(),
    );
    if verdict.limits.is_empty() {
        return;
    }
    let mut limits = output::table(&["LIMIT", "AT", "STABLE", "GRAY", "REQUESTS", "EVIDENCE"]);
    for limit in &verdict.limits {
        limits.add_row([
            limit.name.clone(),
            limit.limit.clone(),
            text(limit.stable.clone()),
            text(limit.gray.clone()),
            limit.requests.to_string(),
            text(limit.evidence.clone()),
        ]);
    }
    limits
        .to_string()
        .lines()
        .for_each(|text| line(out, "", text.trim_end()));
}

/// A release as the live view shows it. The figures of a cluster's arms are those of the present stage.
pub(crate) fn shown(release: &GrayRelease) -> ReleaseView {
    let status = release.status.clone().unwrap_or_default();
    let figures = |requests: u64, errors: u64| match requests {
        0 => "no requests in this step yet".to_owned(),
        _ => {
            format!(
                "{requests} requests, {errors} errors ({:.2}%)",
                errors as f64 * 100.0 / requests as f64
            )
        }
    };
    let (stable, gray) = match &status.verdict {
        None => (String::new(), String::new()),
        Some(verdict) => {
            let totals = &verdict.totals;
            (
                figures(totals.stable_requests, totals.stable_errors),
                figures(totals.gray_requests, totals.gray_errors),
            )
        }
    };
    let mut arms = vec![("stable", release.spec.stable.version.clone(), stable)];
    arms.extend(
        release
            .spec
            .gray
            .as_ref()
            .map(|arm| ("gray", arm.version.clone(), gray)),
    );
    ReleaseView {
        name: name_of(release),
        status,
        arms,
        next: next(release, Now::at(Timestamp::now())),
    }
}

/// The result of a request, in the colour of its meaning.
pub(crate) fn result(result: &OpenEnum<RequestResult>) -> String {
    let word = format!("{result:?}");
    match result.known() {
        Some(RequestResult::Done) => word.green().to_string(),
        Some(RequestResult::Stale | RequestResult::Refused) => word.red().to_string(),
        None => word,
    }
}

fn place(arm: &ArmSpec) -> String {
    match (&arm.service, &arm.addresses) {
        (Some(service), _) => {
            let port = match &service.port {
                IntOrString::Int(number) => number.to_string(),
                IntOrString::String(name) => name.clone(),
            };
            format!("{}:{port}", service.name)
        }
        (None, Some(addresses)) => addresses.join(","),
        (None, None) => String::new(),
    }
}

fn line(out: &mut String, name: &str, text: &str) {
    // A String takes everything.
    let _ = writeln!(out, "  {name:<8} {text}");
}

fn text(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// In whole seconds, which is all that people read.
fn whole(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(status: serde_json::Value) -> GrayRelease {
        let text = include_str!("../../examples/minimal.yaml");
        let mut release = halftone_api::manifest::read("minimal.yaml", text).manifests[0]
            .release
            .clone();
        release.metadata.creation_timestamp =
            Some(serde_json::from_value(json!("2026-11-21T08:00:00Z")).unwrap());
        release.status = Some(serde_json::from_value(status).unwrap());
        release
    }

    fn now() -> Now {
        Now::at("2026-11-21T10:00:00Z".parse().unwrap())
    }

    fn holding() -> GrayRelease {
        release(json!({
            "observedGeneration": 1, "phase": "Holding", "ratio": "10%", "revision": 14,
            "release": {"id": "3f2a000000000000", "version": "v2", "attempt": 1, "startedAt": "2026-11-21T09:00:00Z"},
            "step": {"index": 2, "count": 6, "display": "2/6", "startedAt": "2026-11-21T09:55:00Z",
                "holdEndsAt": "2026-11-21T10:02:00Z"},
            "observed": {"ratio": "9.97%", "requests": 1000, "grayRequests": 99},
            "proxies": {"ready": 3, "acknowledged": 2, "waitingFor": ["proxy-2"]},
            "verdict": {"result": "NeedMoreData", "reason": "TooFew", "message": "99 of 100 requests", "process": 1,
                "totals": {"grayRequests": 99, "stableRequests": 901, "grayErrors": 1, "stableErrors": 0},
                "limits": [{"name": "maxErrorRate", "limit": "5%", "gray": "1.01%", "requests": 99, "evidence": "3%"}]},
            "history": [{"id": "0011223344556677", "version": "v1", "outcome": "Promoted", "reason": "",
                "startedAt": "2026-11-20T08:00:00Z", "endedAt": "2026-11-20T09:30:00Z"}],
            "conditions": [{"type": "Ready", "status": "False", "reason": "WaitingForProxies",
                "message": "proxy-2 has not taken revision 14", "lastTransitionTime": "2026-11-21T09:56:00Z"}]
        }))
    }

    fn busy() -> RecentTraffic {
        let gray = ArmFigures {
            requests_per_second: 12.3,
            error_percent: Some(0.5),
            p50_ms: Some(8.0),
            p95_ms: Some(20.0),
            p99_ms: Some(1_250.0),
        };
        RecentTraffic::here(&[ArmFigures::default(), gray])
    }

    #[test]
    fn the_detail_of_a_release_tells_what_an_operator_of_it_asks() {
        let told =
            anstream::adapter::strip_str(&detail(&holding(), Some(&busy()), now())).to_string();
        for words in [
            "12.3 requests/s, 0.50% errors, p50 8.0ms, p95 20.0ms, p99 1.25s over the last 10 s",
            "next     99 of 100 requests to gray; about 10 more of all users at 10%",
            "counts   leave out requests of the warm-up (error limits judge them), those without an identity, those that",
            "shop/checkout  Holding step 2/6 at 10% (observed 9.97%), holds for 2m more",
            "stable   v1           checkout-v1:80           901 requests, 0 errors (0.00%)",
            "gray     v2           checkout-v2:80           99 requests, 1 errors (1.01%)",
            "3 ready, 2 have revision 14; waits for proxy-2",
            "NeedMoreData 99 of 100 requests",
            "maxErrorRate",
            "WaitingForProxies  proxy-2 has not taken revision 14",
        ] {
            assert!(told.contains(words), "{words}\nin\n{told}");
        }
    }

    #[test]
    fn a_release_that_nobody_has_seen_is_pending() {
        let release = release(json!({"observedGeneration": -1}));
        let told = anstream::adapter::strip_str(&detail(&release, None, now())).to_string();
        assert!(told.starts_with("shop/checkout  Pending\n"), "{told}");
        assert!(
            columns(
                &ReleaseList {
                    releases: vec![release],
                    ..ReleaseList::default()
                },
                now().wall,
                false
            )
            .to_string()
            .contains("2h")
        );
    }

    #[test]
    fn history_tells_the_one_under_way_first() {
        let told = history(&holding(), now().wall).to_string();
        let lines: Vec<&str> = told.lines().collect();
        assert!(
            lines[1].contains("3f2a000000000000")
                && lines[1].contains("Holding")
                && lines[1].contains("1h")
        );
        assert!(
            lines[2].contains("Promoted") && lines[2].contains("1h30m"),
            "{told}"
        );
    }
}
