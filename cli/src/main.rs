//! `halftone`: the command line. Parses the arguments, runs one command, turns its end into an exit code:
//! 0 done, 1 the answer is no (errors found, a release ended otherwise than announced), 2 wrong usage, 3 a time-out of
//! `watch`, 130 Ctrl-C.
//! Each command lives in a file of its own; the engine lives in `routing`, `rollout` and `proxy`.

mod args;
mod attention;
mod cluster;
mod complete;
mod demo;
mod engine;
mod explain;
mod fleet;
mod interrupt;
mod lint;
mod local_run;
mod manifests;
mod next_step;
mod output;
mod percent;
mod probe;
mod propagation;
mod release_commands;
mod run;
mod simulate;
mod socket;
mod split;
mod status;
mod summary;
mod view;

use std::io::Write;
use std::process::ExitCode;

use args::Command;
use halftone_rollout::command_request::ReleaseCommand as Verb;
use output::CommandError;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if args::is_completion() {
        let words: Vec<String> = std::env::args_os()
            .skip(1)
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let told = complete::complete(&args::command(), &words);
        return match output::stdout().write_all(told.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let arguments = args::parse();
    output::choose_color(arguments.color);
    match run(&arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            failure.tell();
            failure.code()
        }
    }
}

fn run(command: &Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::Simulate(arguments) => simulate::run(arguments)?,
        Command::Explain(arguments) => explain::run(arguments)?,
        Command::Split(arguments) => split::run(arguments)?,
        Command::Crd => output::stdout().write_all(halftone_api::crd_yaml().as_bytes())?,
        Command::Run(arguments) => return run::run(arguments),
        Command::Demo(arguments) => return demo::run(arguments),
        Command::Status(arguments) => return release_commands::status(arguments),
        Command::Get(arguments) => return release_commands::get(arguments),
        Command::Watch(arguments) => return release_commands::watch(arguments),
        Command::History(arguments) => return release_commands::history(arguments),
        Command::Events(arguments) => return cluster::events::run(arguments),
        Command::Config(arguments) => return cluster::config::run(arguments),
        Command::Proxies(arguments) => return cluster::proxies::run(arguments),
        Command::Version(arguments) => return cluster::version::run(arguments),
        Command::Check(arguments) => return cluster::check::run(arguments),
        Command::HandOver(arguments) => return cluster::hand_over::run(arguments),
        Command::Approve(arguments) => return release_commands::approve(arguments),
        Command::Promote(arguments) => return release_commands::request(arguments, Verb::Promote),
        Command::Rollback(arguments) => {
            return release_commands::request(arguments, Verb::Rollback);
        }
        Command::Retry(arguments) => return release_commands::request(arguments, Verb::Retry),
        Command::Pause(arguments) => return release_commands::request(arguments, Verb::Pause),
        Command::Resume(arguments) => return release_commands::request(arguments, Verb::Resume),
        Command::Completions { shell } => output::stdout().write_all(&args::completions(*shell))?,
        Command::Lint(arguments) => return lint::run(arguments),
        Command::Probe(arguments) => return probe::run(arguments),
    }
    Ok(ExitCode::SUCCESS)
}
