//! `halftone`: the command line. Parses the arguments, runs one command, turns its end into an exit code:
//! 0 done, 1 the answer is no (errors found, a release ended otherwise than announced), 2 wrong usage.
//! Each command lives in a file of its own; the engine lives in `routing`, `rollout` and `proxy`.

mod args;
mod output;
mod percent;

use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::from(1)
        }
    }
}

fn run(command: Command) -> Result<ExitCode, output::Failure> {
    match command {
        Command::Completions { shell } => {
            args::completions(shell);
            Ok(ExitCode::SUCCESS)
        }
        Command::Crd => todo_crd(),
        _ => Ok(ExitCode::SUCCESS),
    }
}
