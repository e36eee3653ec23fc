//! `halftone demo`: three releases of a small service, with its users, in this process and under a minute: one that
//! goes well, one that begins to fail on its way, one that is only slow. Engine and proxy are those of `run`.

mod service;
mod users;

use std::fmt::Display;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use halftone_rollout::clock::Now;
use halftone_rollout::events::Event;
use halftone_rollout::progress::State;
use halftone_routing::config::arm::Arm;
use halftone_routing::config::units::Ratio;
use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use self::service::{Fault, Service};
use self::users::Users;
use crate::args::DemoArguments;
use crate::engine::release::Release;
use crate::engine::{Ask, Audience, Engine, Options};
use crate::output::{self, Failure};

/// No release may take longer; all three end well before.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of the three.
struct Scene {
    name: &'static str,
    tells: &'static str,
    expected: Outcome,
    /// What goes wrong with gray, and from which ratio on.
    fault: Option<(Fault, Ratio)>,
}

/// How a release ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Outcome {
    Promoted,
    RolledBack,
    /// Neither within [`PATIENCE`].
    Unfinished,
}

/// What `--json` says of a release.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    release: &'static str,
    expected: Outcome,
    outcome: Outcome,
    fault_to_zero_seconds: Option<f64>,
    requests_hit: u64,
    users_hit: usize,
}

/// `halftone demo`
pub(crate) fn run(arguments: &DemoArguments) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let percent = |percent: u32| Ratio::from_millionths(percent * 10_000).expect("at most 100 percent");
    let scenes = [
        Scene {
            name: "good",
            tells: "a version that is as good as the old one",
            expected: Outcome::Promoted,
            fault: None,
        },
        Scene {
            name: "failing",
            tells: "a version that begins to answer half its requests with 500",
            expected: Outcome::RolledBack,
            fault: Some((Fault::Errors, percent(25))),
        },
        Scene {
            name: "slow",
            tells: "a version that answers well, but takes 400 ms",
            expected: Outcome::RolledBack,
            fault: Some((Fault::Slow, percent(10))),
        },
    ];
    let mut as_announced = true;
    for scene in scenes {
        let told = runtime.block_on(play(&scene, arguments.json))?;
        as_announced &= told.outcome == told.expected;
        let mut out = output::stdout();
        if arguments.json {
            writeln!(out, "{}", serde_json::to_string(&told).map_err(std::io::Error::from)?)?;
        } else {
            tell(&mut out, &told)?;
        }
        out.flush()?;
    }
    Ok(if as_announced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play(scene: &Scene, json: bool) -> Result<Told, Failure> {
    let dir = Directory::new(scene.name)?;
    let stable = Service::start(Duration::from_millis(8)).await?;
    let gray = Service::start(Duration::from_millis(7)).await?;
    let file = dir.0.join("release.yaml");
    std::fs::write(&file, manifest(scene.name, stable.address(), gray.address()))
        .map_err(|error| not_set_up(&file.display(), &error))?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut engine = Engine::start(&Options {
        files: vec![file],
        state: dir.0.join("state"),
        listen: any,
        admin: any,
        fleet: None,
        workers: None,
    })?;
    let address = engine.address().expect("a proxy that runs has an address");
    let users = Users::arrive(address);
    let (tell_end, mut end) = watch::channel(false);
    let mut stage = Stage::new(scene, &gray, &users, tell_end, json);
    // Nobody steers a demo.
    let (_asks, mut inbox) = mpsc::channel::<Ask>(1);
    let over = async {
        // The end, or its time: both end it.
        let _ = tokio::time::timeout(PATIENCE, end.wait_for(|ended| *ended)).await;
    };
    engine.run(&mut stage, &mut inbox, over).await;
    let told = stage.tell();
    users.leave().await;
    engine.drain().await;
    Ok(told)
}

/// What the demo needs and cannot have.
fn not_set_up(what: &dyn Display, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot set up the demo: {what}: {error}"))
        .advise("it needs a directory to write in (TMPDIR names another one) and free ports on 127.0.0.1")
}

fn manifest(name: &str, stable: SocketAddr, gray: SocketAddr) -> String {
    format!(
        r#"apiVersion: halftone.dev/v1alpha1
kind: GrayRelease
metadata: {{name: {name}, namespace: demo}}
spec:
  hosts: ["*"]
  stable: {{addresses: ["{stable}"], version: v1}}
  gray: {{addresses: ["{gray}"], version: v2}}
  targetRatio: 100
  steps:
    - {{ratio: 10, hold: 2s}}
    - {{ratio: 25, hold: 2s}}
    - {{ratio: 50, hold: 2s}}
    - {{ratio: 100, hold: 2s}}
  health:
    maxErrorRate: "5%"
    maxLatency: {{p99: 250ms}}
    minRequests: 40
    warmup: 500ms
"#
    )
}

/// What the audience sees, and the hand that breaks gray.
struct Stage<'a> {
    scene: &'a Scene,
    gray: &'a Service,
    users: &'a Users,
    bar: ProgressBar,
    /// Where no bar is drawn, what happens is told line by line; programs are told the end alone.
    lines: bool,
    end: watch::Sender<bool>,
    broken_at: Option<Instant>,
    zero_after: Option<Duration>,
    outcome: Outcome,
}

impl<'a> Stage<'a> {
    fn new(
        scene: &'a Scene,
        gray: &'a Service,
        users: &'a Users,
        end: watch::Sender<bool>,
        json: bool,
    ) -> Self {
        let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(100) };
        let style = "{prefix:>8} {bar:40.cyan/dim} {pos:>3}% of users on v2  {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("a template by its letters"));
        bar.set_prefix(scene.name);
        let lines = !json && !output::redraws(&std::io::stderr());
        let outcome = Outcome::Unfinished;
        let stage = Self { scene, gray, users, bar, lines, end, broken_at: None, zero_after: None, outcome };
        stage.say(&format!("{}: {}", scene.name.bold(), scene.tells));
        stage
    }

    fn say(&self, line: &str) {
        if self.lines {
            // Who reads has gone: the demo goes on.
            let _ = writeln!(anstream::stdout().lock(), "{line}");
        } else {
            self.bar.println(line);
        }
    }

    fn tell(self) -> Told {
        self.bar.finish_and_clear();
        let (requests_hit, users_hit) = self.users.hit();
        Told {
            release: self.scene.name,
            expected: self.scene.expected,
            outcome: self.outcome,
            fault_to_zero_seconds: self
                .zero_after
                .map(|after| (after.as_secs_f64() * 1000.0).round() / 1000.0),
            requests_hit,
            users_hit,
        }
    }
}

impl Audience for Stage<'_> {
    fn turned(&mut self, release: &Release, events: &[Event], _now: Now) {
        let progress = release.progress();
        let status = progress.status();
        let acknowledged =
            status.proxies.as_ref().is_some_and(|proxies| proxies.acknowledged == proxies.ready);
        self.bar.set_position(u64::from(progress.ratio().millionths()) / 10_000);
        let gray = release.traffic().figures(Arm::Gray);
        self.bar.set_message(format!(
            "{:.0} req/s, {:.1}% errors, p99 {:.0} ms",
            gray.requests_per_second,
            gray.error_percent.unwrap_or_default(),
            gray.p99_ms.unwrap_or_default()
        ));
        for event in events {
            self.say(&format!("  {} {}", event.reason.cyan(), event.message));
        }
        if let Some((fault, from)) = self.scene.fault
            && self.broken_at.is_none()
            && progress.ratio() >= from
            && acknowledged
        {
            self.gray.breaks(fault);
            self.users.watch_for(fault);
            self.broken_at = Some(Instant::now());
            self.say(&format!("  {} v2 is broken now", "fault".red()));
        }
        match progress.state() {
            State::Promoted { .. } => self.outcome = Outcome::Promoted,
            State::RolledBack(_) if acknowledged => {
                self.outcome = Outcome::RolledBack;
                self.zero_after = self.broken_at.map(|at| at.elapsed());
            }
            _ => return,
        }
        self.end.send_replace(true);
    }

    fn withdrawn(&mut self, _name: &str) {}

    fn note(&mut self, message: &str) {
        self.say(message);
    }
}

fn tell(out: &mut impl Write, told: &Told) -> std::io::Result<()> {
    let outcome = format!("{:?}", told.outcome);
    let outcome =
        if told.outcome == told.expected { outcome.green().to_string() } else { outcome.red().to_string() };
    write!(out, "{}: {outcome}", told.release.bold())?;
    match told.fault_to_zero_seconds {
        Some(seconds) => writeln!(
            out,
            ", {seconds:.1} s from the fault to ratio 0; {} requests of {} users were hit\n",
            told.requests_hit, told.users_hit
        ),
        None => writeln!(out, ", everyone is on v2; {} requests were hit\n", told.requests_hit),
    }
}

/// A directory that goes when it is dropped.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Result<Self, Failure> {
        // A process of the same number may have left its own.
        let unique = format!("halftone-demo-{name}-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir(&path).map_err(|error| not_set_up(&path.display(), &error))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What stays is small, and the system clears it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
