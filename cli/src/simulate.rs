//! `halftone simulate`: one release, many times, in virtual time against a traffic model, through the same plan,
//! `advance` and judge as a real one. A shell like `run`, with a random generator where the proxies would be.

mod model;
mod release;
mod summary;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use halftone_api::Plan;
use halftone_api::spec::Force;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::model::{GrayLatency, Model};
use self::release::SimulationResult;
use self::summary::SimulationSummary;
use crate::args::SimulateArguments;
use crate::manifests;
use crate::output::{self, CommandError};

/// Runs the command.
pub(crate) fn run(arguments: &SimulateArguments) -> Result<(), CommandError> {
    let plan = prepare(manifests::one(
        &arguments.file,
        arguments.release.as_deref(),
    )?)?;
    let model = Model::new(arguments, GrayLatency::parse(&arguments.gray_latency)?);
    let summary = SimulationSummary::of(&all(&Arc::new(plan), &model, arguments));
    let mut out = output::stdout();
    match arguments.printed.is_data() {
        true => arguments.printed.write(&mut out, &summary),
        false => summary.tell(&mut out, arguments),
    }
}

/// What stands in the way of time is taken as granted: windows are open, and nobody has pressed pause.
fn prepare(plan: Plan) -> Result<Plan, CommandError> {
    if plan.target().millionths() == 0 {
        return Err(CommandError::new(
            "there is nothing to simulate: the release has no gray arm, or targetRatio is 0",
        ));
    }
    if plan.force != Force::None {
        return Err(
            CommandError::new("spec.force sends everyone to one arm; nothing moves")
                .advise("set force: None"),
        );
    }
    Ok(Plan {
        schedule: None,
        paused: false,
        ..plan
    })
}

/// Every run, on every core that this process may use. A run's chance depends on the seed and its number alone, so
/// the result is the same on any machine.
fn all(plan: &Arc<Plan>, model: &Model, arguments: &SimulateArguments) -> Vec<SimulationResult> {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, bar) = (AtomicU64::new(0), bar(arguments));
    let work = || {
        let mut ended = Vec::new();
        loop {
            let number = next.fetch_add(1, Relaxed);
            if number >= arguments.runs {
                return ended;
            }
            ended.push(release::run(plan, model, arguments.seed, number));
            bar.inc(1);
        }
    };
    let ended = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = workers
            .into_iter()
            .map(|worker| worker.join().expect("a run does not panic"));
        joined.flatten().collect()
    });
    bar.finish_and_clear();
    ended
}

/// Progress on standard error, if that is a terminal.
fn bar(arguments: &SimulateArguments) -> ProgressBar {
    let target = if arguments.printed.is_data() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} releases, {eta} left")
        .expect("a template of known keys");
    ProgressBar::with_draw_target(Some(arguments.runs), target).with_style(style)
}
