//! The socket in `--state` over which `halftone status`, `approve` … speak to a running `halftone run`: one JSON
//! line asks, one JSON line answers. Mode 0600, so that who may steer is who runs it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use halftone_api::spec::HandledRequest;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader as AsyncBufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::engine::event_log::PastEvent;
use crate::engine::{EngineCommand, LocalConfig, MeasuredRelease};
use crate::output::CommandError;

/// A question is a name and a verb.
const LONGEST: u64 = 64 << 10;
/// A turn takes milliseconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum SocketRequest {
    /// How are the releases, or this one, doing?
    Status(Option<String>),
    /// What happened to this one?
    Events(String),
    /// What is the proxy told?
    Applied,
    /// Do this.
    #[serde(rename_all = "camelCase")]
    Request {
        /// The release.
        name: String,
        /// `VERB[/STEP]@TOKEN`.
        request: String,
    },
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum SocketResponse {
    /// The releases with their status, and what their arms did in the last seconds.
    Releases(Vec<MeasuredRelease>),
    /// What happened, the oldest first.
    Events(Vec<PastEvent>),
    /// What the proxy is told.
    Applied(Box<LocalConfig>),
    /// What became of the request.
    Handled(HandledRequest),
    /// Why not.
    Failed {
        /// What is wrong.
        message: String,
        /// What to do.
        advice: Option<String>,
    },
}

fn path(state: &Path) -> PathBuf {
    state.join("control.sock")
}

/// The listening end. The file goes when this is dropped.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // The next start removes it otherwise.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl ControlSocket {
    /// Opens the socket of a state directory that this process has locked: what lies there is a leftover.
    ///
    /// # Errors
    /// The path is too long for a socket, or cannot be used.
    pub(crate) fn open(state: &Path) -> Result<Self, CommandError> {
        let path = path(state);
        let open = || {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // From the first moment: a mode set afterwards would leave a gap.
            let before = rustix::process::umask(Mode::from_raw_mode(0o177));
            let listener = UnixListener::bind(&path);
            rustix::process::umask(before);
            listener
        };
        let listener = open().map_err(|error| {
            CommandError::new(format!("{}: {error}", path.display()))
                .advise("a socket's path has at most 107 bytes; --state DIR takes a shorter one")
        })?;
        Ok(Self { listener, path })
    }

    /// Answers until it is dropped.
    pub(crate) async fn serve(&self, asks: &mpsc::Sender<EngineCommand>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(answer(stream, asks.clone()))),
                Err(error) => {
                    tracing::warn!("{}: {error}", self.path.display());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn answer(mut stream: UnixStream, asks: mpsc::Sender<EngineCommand>) {
    let (reader, mut writer) = stream.split();
    let mut lines = AsyncBufReader::new(reader.take(LONGEST)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match serde_json::from_str(&line) {
            Ok(question) => ask(question, &asks)
                .await
                .unwrap_or_else(|failure| failed(&failure)),
            Err(error) => failed(&CommandError::new(format!(
                "no question that this halftone knows: {error}"
            ))),
        };
        let mut text = serde_json::to_vec(&answer).expect("answers are plain data");
        text.push(b'\n');
        if writer.write_all(&text).await.is_err() {
            return;
        }
    }
}

async fn ask(
    question: SocketRequest,
    asks: &mpsc::Sender<EngineCommand>,
) -> Result<SocketResponse, CommandError> {
    let ending = || CommandError::new("halftone run is ending");
    match question {
        SocketRequest::Status(name) => {
            let (answer, answered) = oneshot::channel();
            asks.send(EngineCommand::Status(name, answer))
                .await
                .map_err(|_| ending())?;
            answered
                .await
                .map_err(|_| ending())?
                .map(SocketResponse::Releases)
        }
        SocketRequest::Events(name) => {
            let (answer, answered) = oneshot::channel();
            asks.send(EngineCommand::Events(name, answer))
                .await
                .map_err(|_| ending())?;
            answered
                .await
                .map_err(|_| ending())?
                .map(SocketResponse::Events)
        }
        SocketRequest::Applied => {
            let (answer, answered) = oneshot::channel();
            asks.send(EngineCommand::Applied(answer))
                .await
                .map_err(|_| ending())?;
            answered
                .await
                .map(|applied| SocketResponse::Applied(Box::new(applied)))
                .map_err(|_| ending())
        }
        SocketRequest::Request { name, request } => {
            let (answer, answered) = oneshot::channel();
            asks.send(EngineCommand::Request(name, request, answer))
                .await
                .map_err(|_| ending())?;
            answered
                .await
                .map_err(|_| ending())?
                .map(SocketResponse::Handled)
        }
    }
}

fn failed(failure: &CommandError) -> SocketResponse {
    SocketResponse::Failed {
        message: failure.to_string(),
        advice: failure.advice().map(str::to_owned),
    }
}

/// Whether a `halftone run` listens in a state directory.
pub(crate) fn runs(state: &Path) -> bool {
    BlockingStream::connect(path(state)).is_ok()
}

/// Asks the `halftone run` of a state directory.
///
/// # Errors
/// Nothing runs there, it does not answer, or it says no.
pub(crate) fn question(
    state: &Path,
    question: &SocketRequest,
) -> Result<SocketResponse, CommandError> {
    let stream = BlockingStream::connect(path(state)).map_err(|error| nobody(state, &error))?;
    let talk = || -> io::Result<String> {
        stream.set_read_timeout(Some(ANSWERED_WITHIN))?;
        stream.set_write_timeout(Some(ANSWERED_WITHIN))?;
        let mut text = serde_json::to_vec(question)?;
        text.push(b'\n');
        (&stream).write_all(&text)?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        Ok(line)
    };
    let line = talk().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            CommandError::new("halftone run has not answered within 10 seconds")
                .advise("look with halftone status")
        }
        _ => CommandError::new(format!("halftone run broke off: {error}")),
    })?;
    match serde_json::from_str(&line) {
        Ok(SocketResponse::Failed { message, advice }) => {
            let failure = CommandError::new(message);
            Err(match advice {
                Some(advice) => failure.advise(advice),
                None => failure,
            })
        }
        Ok(answer) => Ok(answer),
        Err(_) if line.is_empty() => {
            Err(CommandError::new("halftone run ended before it answered"))
        }
        Err(error) => Err(CommandError::new(format!(
            "halftone run answered in words unknown here: {error}"
        ))
        .advise("use the same halftone for both")),
    }
}

fn nobody(state: &Path, error: &io::Error) -> CommandError {
    let failure = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => CommandError::new(format!(
            "no halftone run keeps its progress in {}",
            state.display()
        )),
        _ => CommandError::new(format!("{}: {error}", path(state).display())),
    };
    failure.advise("start one, or say with --state DIR where it is")
}
