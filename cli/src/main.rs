//! `halftone`: the command line. Parses the arguments, runs one command, turns its end into an exit code:
//! 0 done, 1 the answer is no (errors found, a release ended otherwise than announced), 2 wrong usage.
//! Each command lives in a file of its own; the engine lives in `routing`, `rollout` and `proxy`.

mod args;
mod explain;
mod fleet;
mod manifests;
mod output;
mod percent;
mod simulate;
mod split;

use std::io::Write;
use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser;
use output::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    output::choose_color(arguments.color);
    match run(&arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            failure.tell();
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Simulate(arguments) => simulate::run(arguments)?,
        Command::Explain(arguments) => explain::run(arguments)?,
        Command::Split(arguments) => split::run(arguments)?,
        Command::Crd => output::stdout().write_all(halftone_rollout::crd_yaml().as_bytes())?,
        Command::Completions { shell } => args::completions(*shell),
        _ => return Err(Failure::new("not yet")),
    }
    Ok(ExitCode::SUCCESS)
}
