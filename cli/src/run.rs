//! `halftone run`: the engine, the socket that steers it, and the view of it.

mod observer;

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::args::RunArguments;
use crate::engine::{Engine, EngineOptions};
use crate::output::CommandError;
use crate::socket::ControlSocket;
use crate::view::View;

/// Runs until a signal ends it.
pub(crate) fn run(arguments: &RunArguments) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::new(format!("cannot start: {error}")))?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: &RunArguments) -> Result<ExitCode, CommandError> {
    if arguments
        .files
        .iter()
        .chain(&arguments.fleet)
        .any(|file| file == Path::new("-"))
    {
        return Err(
            CommandError::new("standard input cannot be watched for edits").advise("name a file"),
        );
    }
    let mut signals = Signals::new()?;
    let mut view = View::new(arguments.json);
    view.log();
    let mut engine = Engine::start(&EngineOptions {
        files: arguments.files.clone(),
        state: arguments.state.clone(),
        listen: arguments.listen,
        admin: arguments.admin,
        fleet: arguments.fleet.clone(),
        workers: arguments
            .workers
            .and_then(|workers| NonZeroUsize::new(workers.into())),
    })?;
    let socket = ControlSocket::open(&arguments.state)?;
    view.started(engine.address(), engine.admin());
    let (asks, mut inbox) = mpsc::channel(16);
    tokio::select! {
        () = engine.run(&mut view, &mut inbox, signals.first()) => {}
        () = socket.serve(&asks) => {}
    }
    drop(socket);
    view.draining();
    tokio::select! {
        () = engine.drain() => {}
        () = signals.first() => view.cut(),
    }
    view.ended();
    Ok(ExitCode::SUCCESS)
}

/// What ends a run.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, CommandError> {
        let open = |kind| {
            signal(kind)
                .map_err(|error| CommandError::new(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            terminate: open(SignalKind::terminate())?,
            interrupt: open(SignalKind::interrupt())?,
        })
    }

    async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
