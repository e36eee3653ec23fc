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

use crate::engine::past::Happened;
use crate::engine::{AppliedHere, Ask, Measured};
use crate::output::Failure;

/// A question is a name and a verb.
const LONGEST: u64 = 64 << 10;
/// A turn takes milliseconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Question {
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
pub(crate) enum Answer {
    /// The releases with their status, and what their arms did in the last seconds.
    Releases(Vec<Measured>),
    /// What happened, the oldest first.
    Events(Vec<Happened>),
    /// What the proxy is told.
    Applied(Box<AppliedHere>),
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
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The next start removes it otherwise.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Socket {
    /// Opens the socket of a state directory that this process has locked: what lies there is a leftover.
    ///
    /// # Errors
    /// The path is too long for a socket, or cannot be used.
    pub(crate) fn open(state: &Path) -> Result<Self, Failure> {
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
            Failure::new(format!("{}: {error}", path.display()))
                .advise("a socket's path has at most 107 bytes; --state DIR takes a shorter one")
        })?;
        Ok(Self { listener, path })
    }

    /// Answers until it is dropped.
    pub(crate) async fn serve(&self, asks: &mpsc::Sender<Ask>) {
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

async fn answer(mut stream: UnixStream, asks: mpsc::Sender<Ask>) {
    let (reader, mut writer) = stream.split();
    let mut lines = AsyncBufReader::new(reader.take(LONGEST)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match serde_json::from_str(&line) {
            Ok(question) => ask(question, &asks).await.unwrap_or_else(|failure| failed(&failure)),
            Err(error) => failed(&Failure::new(format!("no question that this halftone knows: {error}"))),
        };
        let mut text = serde_json::to_vec(&answer).expect("answers are plain data");
        text.push(b'\n');
        if writer.write_all(&text).await.is_err() {
            return;
        }
    }
}

async fn ask(question: Question, asks: &mpsc::Sender<Ask>) -> Result<Answer, Failure> {
    let ending = || Failure::new("halftone run is ending");
    match question {
        Question::Status(name) => {
            let (answer, answered) = oneshot::channel();
            asks.send(Ask::Status(name, answer)).await.map_err(|_| ending())?;
            answered.await.map_err(|_| ending())?.map(Answer::Releases)
        }
        Question::Events(name) => {
            let (answer, answered) = oneshot::channel();
            asks.send(Ask::Events(name, answer)).await.map_err(|_| ending())?;
            answered.await.map_err(|_| ending())?.map(Answer::Events)
        }
        Question::Applied => {
            let (answer, answered) = oneshot::channel();
            asks.send(Ask::Applied(answer)).await.map_err(|_| ending())?;
            answered.await.map(|applied| Answer::Applied(Box::new(applied))).map_err(|_| ending())
        }
        Question::Request { name, request } => {
            let (answer, answered) = oneshot::channel();
            asks.send(Ask::Request(name, request, answer)).await.map_err(|_| ending())?;
            answered.await.map_err(|_| ending())?.map(Answer::Handled)
        }
    }
}

fn failed(failure: &Failure) -> Answer {
    Answer::Failed { message: failure.to_string(), advice: failure.advice().map(str::to_owned) }
}

/// Whether a `halftone run` listens in a state directory.
pub(crate) fn runs(state: &Path) -> bool {
    BlockingStream::connect(path(state)).is_ok()
}

/// Asks the `halftone run` of a state directory.
///
/// # Errors
/// Nothing runs there, it does not answer, or it says no.
pub(crate) fn question(state: &Path, question: &Question) -> Result<Answer, Failure> {
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
            Failure::new("halftone run has not answered within 10 seconds")
                .advise("look with halftone status")
        }
        _ => Failure::new(format!("halftone run broke off: {error}")),
    })?;
    match serde_json::from_str(&line) {
        Ok(Answer::Failed { message, advice }) => {
            let failure = Failure::new(message);
            Err(match advice {
                Some(advice) => failure.advise(advice),
                None => failure,
            })
        }
        Ok(answer) => Ok(answer),
        Err(_) if line.is_empty() => Err(Failure::new("halftone run ended before it answered")),
        Err(error) => Err(Failure::new(format!("halftone run answered in words unknown here: {error}"))
            .advise("use the same halftone for both")),
    }
}

fn nobody(state: &Path, error: &io::Error) -> Failure {
    let failure = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Failure::new(format!("no halftone run keeps its progress in {}", state.display()))
        }
        _ => Failure::new(format!("{}: {error}", path(state).display())),
    };
    failure.advise("start one, or say with --state DIR where it is")
}
