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
use halftone_rollout::progress::RolloutState;
use halftone_routing::document::arm::Arm;
use halftone_routing::document::units::Ratio;
use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use self::service::{DemoFault, DemoService};
use self::users::DemoUsers;
use crate::args::DemoArguments;
use crate::engine::release::LocalRelease;
use crate::engine::{Engine, EngineCommand, EngineObserver, EngineOptions};
use crate::output::{self, CommandError};

/// No release may take longer; all three end well before.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of the three.
struct DemoScenario {
    name: &'static str,
    tells: &'static str,
    expected: DemoOutcome,
    /// What goes wrong with gray, and from which ratio on.
    fault: Option<(DemoFault, Ratio)>,
}

/// How a release ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum DemoOutcome {
    Promoted,
    RolledBack,
    /// Neither within [`PATIENCE`].
    Unfinished,
}

/// What `--json` says of a release.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DemoResult {
    release: &'static str,
    expected: DemoOutcome,
    outcome: DemoOutcome,
    fault_to_zero_seconds: Option<f64>,
    requests_hit: u64,
    users_hit: usize,
}

/// `halftone demo`
pub(crate) fn run(arguments: &DemoArguments) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::new(format!("cannot start: {error}")))?;
    let percent =
        |percent: u32| Ratio::from_millionths(percent * 10_000).expect("at most 100 percent");
    let scenes = [
        DemoScenario {
            name: "good",
            tells: "a version that is as good as the old one",
            expected: DemoOutcome::Promoted,
            fault: None,
        },
        DemoScenario {
            name: "failing",
            tells: "a version that begins to answer half its requests with 500",
            expected: DemoOutcome::RolledBack,
            fault: Some((DemoFault::Errors, percent(25))),
        },
        DemoScenario {
            name: "slow",
            tells: "a version that answers well, but takes 400 ms",
            expected: DemoOutcome::RolledBack,
            fault: Some((DemoFault::Slow, percent(10))),
        },
    ];
    let mut as_announced = true;
    for scene in scenes {
        let told = runtime.block_on(play(&scene, arguments.json))?;
        as_announced &= told.outcome == told.expected;
        let mut out = output::stdout();
        if arguments.json {
            writeln!(
                out,
                "{}",
                serde_json::to_string(&told).map_err(std::io::Error::from)?
            )?;
        } else {
            tell(&mut out, &told)?;
        }
        out.flush()?;
    }
    Ok(if as_announced {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn play(scene: &DemoScenario, json: bool) -> Result<DemoResult, CommandError> {
    let dir = TempDirectory::new(scene.name)?;
    let stable = DemoService::start(Duration::from_millis(8)).await?;
    let gray = DemoService::start(Duration::from_millis(7)).await?;
    let file = dir.0.join("release.yaml");
    std::fs::write(
        &file,
        manifest(scene.name, stable.address(), gray.address()),
    )
    .map_err(|error| not_set_up(&file.display(), &error))?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut engine = Engine::start(&EngineOptions {
        files: vec![file],
        state: dir.0.join("state"),
        listen: any,
        admin: any,
        fleet: None,
        workers: None,
    })?;
    let address = engine.address().expect("a proxy that runs has an address");
    let users = DemoUsers::arrive(address);
    let (tell_end, mut end) = watch::channel(false);
    let mut stage = DemoObserver::new(scene, &gray, &users, tell_end, json);
    // Nobody steers a demo.
    let (_asks, mut inbox) = mpsc::channel::<EngineCommand>(1);
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
fn not_set_up(what: &dyn Display, error: &std::io::Error) -> CommandError {
    CommandError::new(format!("cannot set up the demo: {what}: {error}")).advise(
        "it needs a directory to write in (TMPDIR names another one) and free ports on 127.0.0.1",
    )
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
struct DemoObserver<'a> {
    scene: &'a DemoScenario,
    gray: &'a DemoService,
    users: &'a DemoUsers,
    bar: ProgressBar,
    /// Where no bar is drawn, what happens is told line by line; programs are told the end alone.
    lines: bool,
    end: watch::Sender<bool>,
    broken_at: Option<Instant>,
    zero_after: Option<Duration>,
    outcome: DemoOutcome,
}

impl<'a> DemoObserver<'a> {
    fn new(
        scene: &'a DemoScenario,
        gray: &'a DemoService,
        users: &'a DemoUsers,
        end: watch::Sender<bool>,
        json: bool,
    ) -> Self {
        let bar = if json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(100)
        };
        let style = "{prefix:>8} {bar:40.cyan/dim} {pos:>3}% of users on v2  {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("a template by its letters"));
        bar.set_prefix(scene.name);
        let lines = !json && !output::redraws(&std::io::stderr());
        let outcome = DemoOutcome::Unfinished;
        let stage = Self {
            scene,
            gray,
            users,
            bar,
            lines,
            end,
            broken_at: None,
            zero_after: None,
            outcome,
        };
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

    fn tell(self) -> DemoResult {
        self.bar.finish_and_clear();
        let (requests_hit, users_hit) = self.users.hit();
        DemoResult {
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

impl EngineObserver for DemoObserver<'_> {
    fn turned(&mut self, release: &LocalRelease, events: &[Event], _now: Now) {
        let progress = release.progress();
        let status = progress.status();
        let acknowledged = status
            .proxies
            .as_ref()
            .is_some_and(|proxies| proxies.acknowledged == proxies.ready);
        self.bar
            .set_position(u64::from(progress.ratio().millionths()) / 10_000);
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
            RolloutState::Promoted { .. } => self.outcome = DemoOutcome::Promoted,
            RolloutState::RolledBack(_) if acknowledged => {
                self.outcome = DemoOutcome::RolledBack;
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

fn tell(out: &mut impl Write, told: &DemoResult) -> std::io::Result<()> {
    let outcome = format!("{:?}", told.outcome);
    let outcome = if told.outcome == told.expected {
        outcome.green().to_string()
    } else {
        outcome.red().to_string()
    };
    write!(out, "{}: {outcome}", told.release.bold())?;
    match told.fault_to_zero_seconds {
        Some(seconds) => writeln!(
            out,
            ", {seconds:.1} s from the fault to ratio 0; {} requests of {} users were hit\n",
            told.requests_hit, told.users_hit
        ),
        None => writeln!(
            out,
            ", everyone is on v2; {} requests were hit\n",
            told.requests_hit
        ),
    }
}

/// A directory that goes when it is dropped.
struct TempDirectory(std::path::PathBuf);

impl TempDirectory {
    fn new(name: &str) -> Result<Self, CommandError> {
        // A process of the same number may have left its own.
        let unique = format!("halftone-demo-{name}-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir(&path).map_err(|error| not_set_up(&path.display(), &error))?;
        Ok(Self(path))
    }
}

impl Drop for TempDirectory {
    fn drop(&mut self) {
        // What stays is small, and the system clears it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
