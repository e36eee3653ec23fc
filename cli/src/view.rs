//! What a person sees of releases as they move, in `halftone run` and `halftone watch`: on a terminal a block per
//! release that is redrawn, with events as lines above it; elsewhere one line for each change, as text or JSON.

mod screen;
mod wrap;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;

use halftone_api::spec::GrayReleaseStatus;
use halftone_rollout::clock::Now;
use halftone_rollout::events::EventType;
use jiff::Timestamp;
use owo_colors::OwoColorize;
use serde_json::{Value, json};

use self::screen::{Block, Screen};
use crate::attention::AttentionLevel;
use crate::output;
use crate::summary::{condition, phase, standing};

/// One release as it is shown.
pub(crate) struct ReleaseView {
    /// `NAMESPACE/NAME`.
    pub(crate) name: String,
    /// Where it stands.
    pub(crate) status: GrayReleaseStatus,
    /// A line for each arm: which, its version, its figures.
    pub(crate) arms: Vec<(&'static str, String, String)>,
    /// What it waits for, and what a person can do.
    pub(crate) next: Option<String>,
}

/// One thing that happened, for people.
pub(crate) struct EventLine {
    /// How much it matters.
    pub(crate) severity: EventType,
    /// What, in one word.
    pub(crate) reason: String,
    /// The same in a sentence.
    pub(crate) message: String,
}

/// Where releases are shown.
pub(crate) struct View {
    form: ViewMode,
    /// What was told last of each release.
    told: BTreeMap<String, ShownState>,
}

enum ViewMode {
    Live(Screen),
    Lines,
    Json,
}

/// What makes a line when it changes.
#[derive(PartialEq)]
struct ShownState {
    phase: String,
    ratio: Option<String>,
    verdict: Option<String>,
}

impl ShownState {
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
        let form = match (json, output::redraws(&io::stdout())) {
            (true, _) => ViewMode::Json,
            (false, true) => ViewMode::Live(Screen::new()),
            (false, false) => ViewMode::Lines,
        };
        Self {
            form,
            told: BTreeMap::new(),
        }
    }

    /// Sends what the proxy and the engine log to standard error, unless that would tear the live view apart.
    pub(crate) fn log(&self) {
        if matches!(self.form, ViewMode::Live(_)) {
            return;
        }
        let filter = tracing_subscriber::EnvFilter::try_from_env("HALFTONE_LOG_LEVEL")
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
        // A second one in the same process changes nothing.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .try_init();
    }

    pub(crate) fn started(&self, listen: Option<SocketAddr>, admin: Option<SocketAddr>) {
        let address = |address: Option<SocketAddr>| {
            address.map_or_else(String::new, |address| address.to_string())
        };
        let (listen, admin) = (address(listen), address(admin));
        match &self.form {
            ViewMode::Json => self.line(
                &json!({"time": Timestamp::now(), "listening": listen, "admin": admin}).to_string(),
            ),
            _ => self.line(&format!(
                "users at http://{listen}, admin pages at http://{admin}"
            )),
        }
    }

    pub(crate) fn draining(&self) {
        self.say("ending: requests under way finish first; a second signal ends at once");
    }

    pub(crate) fn cut(&self) {
        self.say("ended at once");
    }

    pub(crate) fn ended(&self) {
        if let ViewMode::Live(screen) = &self.form {
            screen.end();
        }
    }

    /// Something else to know.
    pub(crate) fn say(&self, message: &str) {
        match &self.form {
            ViewMode::Json => {
                self.line(&json!({"time": Timestamp::now(), "note": message}).to_string())
            }
            ViewMode::Lines => self.line(&format!("{} {message}", clock(Timestamp::now()))),
            ViewMode::Live(_) => self.line(message),
        }
    }

    fn line(&self, line: &str) {
        match &self.form {
            ViewMode::Live(screen) => screen.line(line),
            // Who reads has gone: the run goes on.
            _ => drop(writeln!(anstream::stdout().lock(), "{line}")),
        }
    }

    /// Something that happened to a release.
    pub(crate) fn happened(&self, shown: &ReleaseView, news: &EventLine, now: Now) {
        match &self.form {
            ViewMode::Json => {
                let mut line = summary(shown, now);
                line["event"] = json!({"reason": news.reason, "message": news.message});
                self.line(&line.to_string());
            }
            _ => {
                let reason = match news.severity {
                    EventType::Normal => news.reason.green().to_string(),
                    EventType::Warning => news.reason.yellow().to_string(),
                };
                self.line(&format!(
                    "{} {} {reason} {}",
                    clock(now.wall),
                    shown.name,
                    news.message
                ));
            }
        }
    }

    /// A release as it stands now. Without a live view it makes a line when it differs from what was told last, unless
    /// `silently` says that something else has told of it.
    pub(crate) fn show(&mut self, shown: &ReleaseView, silently: bool, now: Now) {
        let told = ShownState::of(&shown.status);
        let before = self.told.insert(shown.name.clone(), told);
        let changed = before.as_ref() != self.told.get(&shown.name);
        match &mut self.form {
            ViewMode::Json if changed && !silently => self.line(&summary(shown, now).to_string()),
            ViewMode::Lines if changed && !silently => {
                let stands = standing(&shown.status, now);
                let told = self.told.get(&shown.name);
                let verdict = match before
                    .is_none_or(|before| told.is_none_or(|now| now.verdict == before.verdict))
                {
                    true => String::new(),
                    false => verdict(&shown.status)
                        .map_or_else(String::new, |verdict| format!("; {verdict}")),
                };
                let next = shown
                    .next
                    .as_ref()
                    .map_or_else(String::new, |next| format!("; {next}"));
                self.line(&format!(
                    "{} {} {stands}{verdict}{next}",
                    clock(now.wall),
                    shown.name
                ));
            }
            // What happened was told; what to do about it was not.
            ViewMode::Lines if changed => {
                if let Some(next) = &shown.next {
                    self.line(&format!("{} {} {next}", clock(now.wall), shown.name));
                }
            }
            ViewMode::Json | ViewMode::Lines => {}
            ViewMode::Live(screen) => {
                let block = Block {
                    text: paint(shown, now),
                    phase: phase(&shown.status),
                    course: AttentionLevel::of(&shown.status),
                };
                screen.put(&shown.name, block);
            }
        }
    }

    /// A release is no more.
    pub(crate) fn gone(&mut self, name: &str, how: &str) {
        self.told.remove(name);
        if let ViewMode::Live(screen) = &mut self.form {
            screen.remove(name);
        }
        self.say(&format!("{name} is {how}"));
    }
}

/// The verdict in a sentence.
fn verdict(status: &GrayReleaseStatus) -> Option<String> {
    let verdict = status.verdict.as_ref()?;
    Some(format!("{:?}: {}", verdict.result, verdict.message))
}

/// The time of day, as this machine has it.
pub(crate) fn clock(time: Timestamp) -> String {
    time.to_zoned(jiff::tz::TimeZone::system())
        .strftime("%H:%M:%S")
        .to_string()
}

fn summary(shown: &ReleaseView, now: Now) -> Value {
    let status = &shown.status;
    json!({
        "time": now.wall,
        "release": shown.name,
        "phase": status.phase,
        "step": status.step.as_ref().map(|step| &step.display),
        "ratio": status.ratio,
        "observed": status.observed,
        "revision": status.revision,
        "verdict": status.verdict.as_ref().map(|verdict| json!({
            "result": verdict.result, "reason": verdict.reason, "message": verdict.message,
        })),
        "next": shown.next,
    })
}

/// The block of one release.
fn paint(shown: &ReleaseView, now: Now) -> String {
    let status = &shown.status;
    let mut text = format!("\n{}  {}", shown.name.bold(), standing(status, now));
    for (arm, version, figures) in &shown.arms {
        text.push_str(&format!("\n  {arm:<7}{version:<7} {figures}"));
    }
    if let Some(verdict) = verdict(status) {
        text.push_str(&format!("\n  {verdict}"));
    }
    if let Some(ready) = condition(status, "Ready") {
        text.push_str(&format!("\n  {}", ready.message.dimmed()));
    }
    if let Some(next) = &shown.next {
        text.push_str(&format!("\n  → {next}"));
    }
    text
}
