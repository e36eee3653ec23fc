//! What comes next for a release: what it waits for, how long, and what a person can do. For `run`, `watch` and
//! `status` alike. Pure: from a release and the time to a sentence.

use halftone_api::plan::WindowState;
use halftone_api::spec::{Force, GrayReleaseStatus, OnInconclusive, Phase};
use halftone_api::{GrayRelease, Plan};
use halftone_rollout::clock::Now;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::args;
use crate::output::span;
use crate::summary::condition;
use crate::summary::name_of;

/// What the release waits for and what to do; none where nothing is to be said.
pub(crate) fn next(release: &GrayRelease, now: Now) -> Option<String> {
    let status = release.status.as_ref()?;
    let spec = &release.spec;
    Some(match status.phase.as_ref()?.known()? {
        Phase::AwaitingApproval => format!("waits for you: {}", command("approve", release)),
        Phase::AwaitingWindow => window(release, now)?,
        Phase::AwaitingTraffic => {
            let traffic = traffic(release).unwrap_or_else(|| "no verdict yet".to_owned());
            format!("{traffic}; {}", patience(release, now))
        }
        Phase::Holding => traffic(release)?,
        Phase::Pending => pending(status)?,
        Phase::Paused if spec.force != Force::None => {
            "spec.force sends everyone to one version; set it to None to go on".to_owned()
        }
        Phase::Paused if spec.paused => "spec.paused is true; set it to false to go on".to_owned(),
        Phase::Paused => {
            format!(
                "{} goes on, {} goes back",
                command("resume", release),
                command("rollback", release)
            )
        }
        Phase::Programming => format!("waits for {} to take the new document", proxies(status)),
        Phase::RollingBack if is_stranded(status) => format!(
            "everyone goes back once {} has a ready endpoint; until then nobody moves",
            spec.stable.version
        ),
        Phase::RollingBack => format!(
            "everyone goes back to {}; waits for {} to take the new document",
            spec.stable.version,
            proxies(status)
        ),
        Phase::RolledBack => format!(
            "a new gray version starts a new release; {} tries this one again",
            command("retry", release)
        ),
        Phase::Refused => format!("what is live stays as it is; {}", remedy(release, status)),
        Phase::Idle if spec.gray.is_some() => "raise targetRatio above 0 to begin".to_owned(),
        Phase::Idle | Phase::TargetReached | Phase::Promoted => return None,
    })
}

/// What it waits for before its first step, or in the middle of one where its users are not served.
fn pending(status: &GrayReleaseStatus) -> Option<String> {
    let ready = condition(status, "Ready").filter(|ready| ready.status == "False");
    let waits = ready.or_else(|| condition(status, "Progressing"))?;
    Some(format!(
        "goes on by itself once this is over: {}",
        waits.message
    ))
}

/// The proxies that have not taken the document, if they are named.
fn proxies(status: &GrayReleaseStatus) -> String {
    match status
        .proxies
        .as_ref()
        .map(|proxies| proxies.waiting_for.as_slice())
    {
        Some([first]) => format!("proxy {first}"),
        Some([first, rest @ ..]) => format!("proxy {first} and {} more", rest.len()),
        _ => "every proxy".to_owned(),
    }
}

/// Whether stable has no endpoint to go back to.
fn is_stranded(status: &GrayReleaseStatus) -> bool {
    condition(status, "Progressing").is_some_and(|moves| moves.reason == "StableUnavailable")
}

/// How an edit that is refused comes to be taken. Not always is it the manifest that is wrong.
fn remedy(release: &GrayRelease, status: &GrayReleaseStatus) -> String {
    let accepted = condition(status, "Accepted");
    match accepted.map_or("", |accepted| accepted.reason.as_str()) {
        "StableNotServing" if accepted.is_some_and(|accepted| accepted.message.contains("run rollback")) => {
            format!(
                "name the version that serves as stable, or {} goes back; then this edit is taken by itself",
                command("rollback", release)
            )
        }
        "StableNotServing" => {
            "name the version that serves as stable; then this edit is taken by itself".to_owned()
        }
        "HostConflict" | "HostShadowed" | "HostNotAllowed" | "ClassNotAllowed" | "AddressesNotAllowed" => {
            "correct the manifest, or have what stands in its way changed; then it is taken by itself"
                .to_owned()
        }
        _ => "correct the manifest".to_owned(),
    }
}

/// The command line for a verb, as this person calls it.
fn command(verb: &str, release: &GrayRelease) -> String {
    let name = name_of(release);
    match (args::is_plugin(), name.split_once('/')) {
        (true, Some((namespace, name))) => format!("kubectl halftone {verb} {name} -n {namespace}"),
        _ => format!("halftone {verb} {name}"),
    }
}

/// The requests that a step still needs, and how many of everybody's that makes at its ratio.
fn traffic(release: &GrayRelease) -> Option<String> {
    let status = release.status.as_ref()?;
    let verdict = status.verdict.as_ref()?;
    let (had, least) = (
        verdict.totals.gray_requests,
        u64::try_from(release.spec.health.min_requests).ok()?,
    );
    let ratio = status.ratio.as_ref()?;
    let share = ratio.trim_end_matches('%').parse::<f64>().ok()? / 100.0;
    let missing = least
        .checked_sub(had)
        .filter(|missing| *missing > 0 && share > 0.0)?;
    let all = (missing as f64 / share).ceil();
    Some(format!(
        "{had} of {least} requests to gray; about {all} more of all users at {ratio}"
    ))
}

/// How long a step without a verdict waits, and what follows.
fn patience(release: &GrayRelease, now: Now) -> String {
    let health = &release.spec.health;
    let then = match health.on_inconclusive {
        OnInconclusive::Wait => "goes on waiting",
        OnInconclusive::Pause => "pauses",
        OnInconclusive::Rollback => "goes back to stable",
    };
    let ends = release
        .status
        .as_ref()
        .and_then(|status| status.patience_ends_at);
    let promote = command("promote", release);
    match ends
        .map(|ends| ends.duration_since(now.steady))
        .filter(|left| left.is_positive())
    {
        Some(left) => format!("after {} without a verdict it {then}", span(up(left))),
        None if is_waiting_on(release.status.as_ref()) => {
            format!(
                "its patience of {} is over and it {then}; {promote} skips the wait",
                health.patience
            )
        }
        None => format!("without a verdict it {then}"),
    }
}

/// Whether a step had patience, which is over.
fn is_waiting_on(status: Option<&GrayReleaseStatus>) -> bool {
    status.is_some_and(|status| status.patience_ends_at.is_some())
}

/// When the schedule lets the ratio rise.
fn window(release: &GrayRelease, now: Now) -> Option<String> {
    let plan = Plan::try_from(release).ok()?;
    let promote = command("promote", release);
    Some(match plan.schedule?.at(now.wall) {
        WindowState::Open { .. } => {
            "the window is open; it goes on once every proxy has reported".to_owned()
        }
        WindowState::Closed { opens: None } => {
            format!("no window ever opens; {promote} goes on without one")
        }
        WindowState::Closed { opens: Some(opens) } => {
            format!(
                "the window opens {}, in {}",
                local(opens),
                span(up(opens.duration_since(now.wall)))
            )
        }
    })
}

/// What is left of a second counts as one.
fn up(left: SignedDuration) -> SignedDuration {
    left.saturating_add(SignedDuration::from_millis(999))
}

/// Day and time of day, as this machine has them.
fn local(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system())
        .strftime("%a %H:%M")
        .to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(status: Value, edit: impl FnOnce(&mut GrayRelease)) -> Option<String> {
        let text = include_str!("../../examples/minimal.yaml");
        let mut release = halftone_api::manifest::read("minimal.yaml", text).manifests[0]
            .release
            .clone();
        release.status = Some(serde_json::from_value(status).unwrap());
        edit(&mut release);
        next(&release, Now::at("2026-11-21T10:00:00Z".parse().unwrap()))
    }

    fn step(phase: &str, gray: u64) -> Value {
        json!({"phase": phase, "ratio": "10%", "patienceEndsAt": "2026-11-21T10:55:00Z",
            "verdict": {"result": "NeedMoreData", "process": 1, "totals": {
                "grayRequests": gray, "stableRequests": 45, "grayErrors": 0, "stableErrors": 0}}})
    }

    #[test]
    fn every_state_that_waits_says_for_what_and_what_to_do() {
        for (phase, words) in [
            ("AwaitingApproval", "halftone approve shop/checkout"),
            ("Paused", "halftone resume shop/checkout goes on"),
            ("RolledBack", "halftone retry shop/checkout"),
            ("Refused", "correct the manifest"),
            (
                "Holding",
                "5 of 100 requests to gray; about 950 more of all users at 10%",
            ),
            (
                "AwaitingTraffic",
                "about 950 more of all users at 10%; after 55m without a verdict it goes on waiting",
            ),
        ] {
            let said = said(step(phase, 5), |_| {}).unwrap();
            assert!(said.contains(words), "{phase}: {said}");
        }
        assert_eq!(said(step("Holding", 100), |_| {}), None);
        assert_eq!(said(step("Promoted", 5), |_| {}), None);
    }

    fn with(phase: &str, kind: &str, reason: &str, message: &str) -> Value {
        json!({"phase": phase, "proxies": {"ready": 2, "acknowledged": 1, "waitingFor": []}, "conditions": [{
            "type": kind, "status": "False", "reason": reason, "message": message,
            "lastTransitionTime": "2026-11-21T10:00:00Z"}]})
    }

    #[test]
    fn whoever_waits_for_others_says_for_whom() {
        let unavailable = "v1 (stable) has no ready endpoint";
        for (status, words) in [
            (
                with("Pending", "Ready", "StableUnavailable", unavailable),
                unavailable,
            ),
            (
                with(
                    "Pending",
                    "Progressing",
                    "NotPersisted",
                    "progress cannot be written",
                ),
                "cannot be written",
            ),
            (
                with(
                    "RollingBack",
                    "Progressing",
                    "StableUnavailable",
                    unavailable,
                ),
                "once v1 has a ready endpoint",
            ),
            (
                with("RollingBack", "Ready", "RolledBack", ""),
                "goes back to v1; waits for every proxy to take the new document",
            ),
            (
                with("Programming", "Ready", "Programming", ""),
                "waits for every proxy to take the new document",
            ),
        ] {
            let told = said(status, |_| {}).unwrap();
            assert!(told.contains(words), "{words} in {told}");
        }
    }

    #[test]
    fn an_edit_that_is_refused_is_told_what_has_it_taken() {
        let serves =
            "v2 serves 80%; name it stable, or run rollback; then this edit is taken by itself";
        let other = "v2 serves everyone; name it stable; then this edit is taken by itself";
        for (reason, message, words) in [
            (
                "StableNotServing",
                serves,
                "halftone rollback shop/checkout goes back",
            ),
            (
                "StableNotServing",
                other,
                "name the version that serves as stable; then",
            ),
            (
                "HostConflict",
                "shop/cart has it",
                "have what stands in its way changed",
            ),
            ("InvalidManifest", "", "correct the manifest"),
        ] {
            let told = said(with("Refused", "Accepted", reason, message), |_| {}).unwrap();
            assert!(
                told.starts_with("what is live stays as it is; ") && told.contains(words),
                "{told}"
            );
            assert_eq!(told.contains("rollback"), message == serves, "{told}");
        }
    }

    #[test]
    fn after_its_patience_it_says_that_it_goes_on_waiting() {
        let mut over = step("AwaitingTraffic", 5);
        over["patienceEndsAt"] = "2026-11-21T09:00:00Z".into();
        let told = said(over, |_| {}).unwrap();
        assert!(
            told.contains("its patience of 1h is over and it goes on waiting; halftone promote"),
            "{told}"
        );
    }

    #[test]
    fn a_closed_window_says_when_it_opens() {
        let schedule = |windows: Value| {
            let schedule =
                serde_json::from_value(json!({"timeZone": "UTC", "windows": windows})).unwrap();
            said(json!({"phase": "AwaitingWindow"}), |release| {
                release.spec.schedule = Some(schedule)
            })
            .unwrap()
        };
        let told = schedule(json!([{"days": ["Sat"], "from": "12:05", "to": "18:00"}]));
        assert!(told.ends_with("in 2h5m"), "{told}");
        assert!(schedule(json!([])).contains("no window ever opens"));
    }

    #[test]
    fn what_is_paused_by_its_spec_is_not_resumed_by_a_command() {
        let told = said(json!({"phase": "Paused"}), |release| {
            release.spec.paused = true
        })
        .unwrap();
        assert!(
            told.contains("spec.paused") && !told.contains("resume"),
            "{told}"
        );
        let told = said(json!({"phase": "Paused"}), |release| {
            release.spec.force = Force::Gray
        })
        .unwrap();
        assert!(told.contains("spec.force"), "{told}");
    }
}
