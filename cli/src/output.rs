//! What every command shares when it speaks: errors on standard error, JSON on standard output, colour only
//! where a person looks. Commands write through `anstream`, which strips colour from anything but a terminal.

use std::fmt;
use std::io::{self, BufWriter, Write};

use owo_colors::OwoColorize;
use serde::Serialize;

use crate::args::ColorChoice;

/// Why a command could not do its work: what happened, where, and what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    advice: Option<String>,
    quiet: bool,
}

impl Failure {
    /// A failure without advice.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), advice: None, quiet: false }
    }

    /// The same failure with what to do next.
    pub(crate) fn advise(mut self, advice: impl fmt::Display) -> Self {
        self.advice = Some(advice.to_string());
        self
    }

    /// What to do next, if anything is known.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    /// Tells it on standard error.
    pub(crate) fn tell(&self) {
        if self.quiet {
            return;
        }
        let mut err = anstream::stderr().lock();
        // Nobody is left to be told that standard error is gone.
        let _ = writeln!(err, "{} {}", "error:".red().bold(), self.message);
        if let Some(advice) = &self.advice {
            let _ = writeln!(err, "  {advice}");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Output that cannot be written. A reader that has seen enough (`halftone … | head`) is no failure worth words.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        Self { message: format!("cannot write the output: {error}"), advice: None, quiet }
    }
}

/// Standard output, buffered; colour is dropped where nobody sees it.
pub(crate) fn stdout() -> BufWriter<impl Write> {
    BufWriter::with_capacity(1 << 16, anstream::stdout().lock())
}

/// Writes a value as indented JSON with a line end.
pub(crate) fn json(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

/// Takes `--color` for the rest of the process.
pub(crate) fn choose_color(choice: ColorChoice) {
    match choice {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}
