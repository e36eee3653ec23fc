//! Ctrl-C for the commands that follow something until a person ends them.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::output::CommandError;

/// The exit code of a command that Ctrl-C ended, as shells have it: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// Does the work until it ends or Ctrl-C comes. Listens before the work begins, so that Ctrl-C counts from the first
/// line that it prints.
///
/// # Errors
/// Those of the work, or the signal cannot be listened to.
pub(crate) async fn or_interrupted(
    work: impl Future<Output = Result<ExitCode, CommandError>>,
) -> Result<ExitCode, CommandError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(ExitCode::from(INTERRUPTED)),
        ended = work => ended,
    }
}
