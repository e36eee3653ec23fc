//! What a person sees of a run: on a terminal a block per release that is redrawn, with events as lines above it;
//! elsewhere one line for each change, as text or JSON.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use halftone_rollout::clock::Now;
use halftone_rollout::events::{Event, Severity};
use halftone_rollout::spec::GrayReleaseStatus;
use halftone_routing::config::arm::Arm;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use owo_colors::OwoColorize;
use serde_json::{Value, json};

use crate::engine::Audience;
use crate::engine::release::Release;
use crate::engine::traffic::ArmFigures;

/// Redraws per second at most.
const REDRAWS: u8 = 4;

/// Where the run is shown.
pub(crate) struct View {
    form: Form,
    /// What was told last of each release.
    told: BTreeMap<String, Told>,
}

enum Form {
    Live { screen: MultiProgress, blocks: BTreeMap<String, ProgressBar> },
    Lines,
    Json,
}

/// What makes a line when it changes.
#[derive(PartialEq)]
struct Told {
    phase: String,
    ratio: Option<String>,
    verdict: Option<String>,
}

impl Told {
    fn of(status: &GrayReleaseStatus) -> Self {
        Self {
            phase: phase(status),
            ratio: status.ratio.clone(),
            verdict: status
                .verdict
                .as_ref()
                .map(|verdict| format!("{:?} {}", verdict.result, verdict.reason)),
        }
    }
}

impl View {
    pub(crate) fn new(json: bool) -> Self {
        let form = match (json, io::stdout().is_terminal()) {
            (true, _) => Form::Json,
            (false, true) => {
                let target = ProgressDrawTarget::stdout_with_hz(REDRAWS);
                Form::Live { screen: MultiProgress::with_draw_target(target), blocks: BTreeMap::new() }
            }
            (false, false) => Form::Lines,
        };
        Self { form, told: BTreeMap::new() }
    }

    /// Sends what the proxy and the engine log to standard error, unless that would tear the live view apart.
    pub(crate) fn log(&self) {
        if matches!(self.form, Form::Live { .. }) {
            return;
        }
        let filter = tracing_subscriber::EnvFilter::try_from_env("HALFTONE_LOG_LEVEL")
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
        // A second one in the same process changes nothing.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).try_init();
    }

    pub(crate) fn started(&self, listen: Option<SocketAddr>, admin: Option<SocketAddr>) {
        let address =
            |address: Option<SocketAddr>| address.map_or_else(String::new, |address| address.to_string());
        let (listen, admin) = (address(listen), address(admin));
        match &self.form {
            Form::Json => {
                self.line(&json!({"time": Timestamp::now(), "listening": listen, "admin": admin}).to_string())
            }
            _ => self.line(&format!("users at http://{listen}, admin pages at http://{admin}")),
        }
    }

    pub(crate) fn draining(&self) {
        self.say("ending: requests under way finish first; a second signal ends at once");
    }

    pub(crate) fn cut(&self) {
        self.say("ended at once");
    }

    pub(crate) fn ended(&self) {
        if let Form::Live { blocks, .. } = &self.form {
            blocks.values().for_each(|block| block.abandon());
        }
    }

    fn say(&self, message: &str) {
        match &self.form {
            Form::Json => self.line(&json!({"time": Timestamp::now(), "note": message}).to_string()),
            Form::Lines => self.line(&format!("{} {message}", clock(Timestamp::now()))),
            Form::Live { .. } => self.line(message),
        }
    }

    fn line(&self, line: &str) {
        // Who reads has gone: the run goes on.
        let _ = match &self.form {
            Form::Live { screen, .. } => screen.println(line),
            _ => writeln!(anstream::stdout().lock(), "{line}"),
        };
    }

    fn event(&self, name: &str, event: &Event, status: &GrayReleaseStatus, now: Now) {
        match &self.form {
            Form::Json => {
                let mut line = summary(name, status, now);
                line["event"] = json!({"reason": event.reason.to_string(), "message": event.message});
                self.line(&line.to_string());
            }
            _ => {
                let reason = match event.reason.severity() {
                    Severity::Normal => event.reason.green().to_string(),
                    Severity::Warning => event.reason.yellow().to_string(),
                };
                self.line(&format!("{} {name} {reason} {}", clock(now.wall), event.message));
            }
        }
    }

    fn changed(&self, release: &Release, status: &GrayReleaseStatus, now: Now) {
        match &self.form {
            Form::Json => self.line(&summary(release.name(), status, now).to_string()),
            Form::Lines => {
                let line = format!("{} {} {}", clock(now.wall), release.name(), standing(status, now));
                self.line(&line);
            }
            Form::Live { .. } => {}
        }
    }
}

impl Audience for View {
    fn turned(&mut self, release: &Release, events: &[Event], now: Now) {
        let status = release.progress().status();
        for event in events {
            self.event(release.name(), event, &status, now);
        }
        let told = Told::of(&status);
        let before = self.told.insert(release.name().to_owned(), told);
        if events.is_empty() && before.as_ref() != self.told.get(release.name()) {
            self.changed(release, &status, now);
        }
        if let Form::Live { screen, blocks } = &mut self.form {
            let block = blocks.entry(release.name().to_owned()).or_insert_with(|| {
                let style = ProgressStyle::with_template("{msg}").expect("a template by its letters");
                screen.add(ProgressBar::new_spinner().with_style(style))
            });
            block.set_message(paint(release, &status, now));
        }
    }

    fn withdrawn(&mut self, name: &str) {
        self.told.remove(name);
        if let Form::Live { blocks, .. } = &mut self.form
            && let Some(block) = blocks.remove(name)
        {
            block.finish_and_clear();
        }
        self.say(&format!("{name} is withdrawn"));
    }

    fn note(&mut self, message: &str) {
        self.say(message);
    }
}

fn phase(status: &GrayReleaseStatus) -> String {
    status.phase.map_or_else(|| "Pending".to_owned(), |phase| format!("{phase:?}"))
}

fn clock(time: Timestamp) -> String {
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string()
}

fn summary(name: &str, status: &GrayReleaseStatus, now: Now) -> Value {
    json!({
        "time": now.wall,
        "release": name,
        "phase": status.phase,
        "step": status.step.as_ref().map(|step| &step.display),
        "ratio": status.ratio,
        "observed": status.observed,
        "revision": status.revision,
        "verdict": status.verdict.as_ref().map(|verdict| json!({
            "result": verdict.result, "reason": verdict.reason, "message": verdict.message,
        })),
    })
}

/// Phase, step, ratio, and how long it stays so.
fn standing(status: &GrayReleaseStatus, now: Now) -> String {
    let mut text = phase(status);
    if let Some(step) = &status.step {
        text.push_str(&format!(" step {}", step.display));
    }
    if let Some(ratio) = &status.ratio {
        text.push_str(&format!(" at {ratio}"));
    }
    if let Some(seen) = status.observed.as_ref().and_then(|observed| observed.ratio.as_ref()) {
        text.push_str(&format!(" (observed {seen})"));
    }
    if let Some(left) = left(status, now) {
        text.push_str(&format!(", {left}"));
    }
    text
}

fn left(status: &GrayReleaseStatus, now: Now) -> Option<String> {
    let rest = |ends: Option<Timestamp>, what: &str| {
        let rest = Duration::try_from(ends?.duration_since(now.steady)).ok()?;
        Some(format!("{what} {}s more", rest.as_secs() + 1))
    };
    let step = status.step.as_ref();
    let stands = || Some(format!("hold stands with {} left", step?.hold_left.as_ref()?));
    rest(step.and_then(|step| step.hold_ends_at), "holds for")
        .or_else(|| stands().filter(|text| !text.contains(" 0s ") && !text.contains(" 0ms ")))
        .or_else(|| rest(status.patience_ends_at, "waits for a verdict for"))
        .or_else(|| rest(status.watch_ends_at, "watched for"))
}

/// The block of one release.
fn paint(release: &Release, status: &GrayReleaseStatus, now: Now) -> String {
    let mut text = format!("\n{}  {}", release.name().bold(), standing(status, now));
    let plan = release.progress().plan();
    for arm in Arm::ALL {
        let (name, version) = match arm {
            Arm::Stable => ("stable", plan.map(|plan| plan.stable.version.to_string())),
            Arm::Gray => ("gray", plan.and_then(|plan| Some(plan.gray.as_ref()?.arm.version.to_string()))),
        };
        if let Some(version) = version {
            let figures = figures(release.traffic().figures(arm));
            text.push_str(&format!("\n  {name:<7}{version:<12}{figures}"));
        }
    }
    if let Some(verdict) = &status.verdict {
        text.push_str(&format!("\n  {:?} {}", verdict.result, verdict.message));
    }
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    if let Some(ready) = ready {
        text.push_str(&format!("\n  {}", ready.message.dimmed()));
    }
    text
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
