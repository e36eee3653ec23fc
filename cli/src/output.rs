//! What every command shares when it speaks: errors on standard error, JSON on standard output, colour only
//! where a person looks. Commands write through `anstream`, which strips colour from anything but a terminal.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use comfy_table::Table;
use jiff::SignedDuration;
use owo_colors::OwoColorize;
use serde::Serialize;

/// Values of `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// Colour on a terminal only.
    Auto,
    /// Colour always.
    Always,
    /// Never colour.
    Never,
}

/// Why a command could not do its work: what happened, where, and what to do next.
#[derive(Debug)]
pub(crate) struct CommandError {
    message: String,
    advice: Option<String>,
    quiet: bool,
    code: u8,
}

impl CommandError {
    /// A failure without advice.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            advice: None,
            quiet: false,
            code: 1,
        }
    }

    /// The same failure with what to do next.
    pub(crate) fn advise(mut self, advice: impl fmt::Display) -> Self {
        self.advice = Some(advice.to_string());
        self
    }

    /// The same failure with an exit code of its own.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The exit code that it ends the process with.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
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
        for (at, line) in self.message.lines().enumerate() {
            let _ = match (is_placed(line), at) {
                (true, _) => writeln!(err, "{}", line.red()),
                (false, 0) => writeln!(err, "{} {line}", "error:".red().bold()),
                (false, _) => writeln!(err, "{line}"),
            };
        }
        if let Some(advice) = &self.advice {
            let _ = writeln!(err, "  {advice}");
        }
    }
}

/// Whether a line is a finding, `FILE:LINE:COLUMN: error: …`, which says itself that it is an error.
fn is_placed(line: &str) -> bool {
    let Some((place, _)) = line.split_once(": error: ") else {
        return false;
    };
    let mut parts = place.rsplitn(3, ':');
    let mut number = || parts.next().is_some_and(|part| part.parse::<u32>().is_ok());
    number() && number() && parts.next().is_some()
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Output that cannot be written. A reader that has seen enough (`halftone … | head`) is no failure worth words.
impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        Self {
            quiet,
            ..Self::new(format!("cannot write the output: {error}"))
        }
    }
}

/// Standard output, buffered; colour is dropped where nobody sees it.
pub(crate) fn stdout() -> BufWriter<impl Write> {
    BufWriter::with_capacity(1 << 16, anstream::stdout().lock())
}

/// Writes a value as indented JSON with a line end.
pub(crate) fn json(out: &mut impl Write, value: &impl Serialize) -> Result<(), CommandError> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

/// Something to know that is no output.
pub(crate) fn note(message: &str) {
    // Nobody is left to be told that standard error is gone.
    let _ = writeln!(anstream::stderr().lock(), "{message}");
}

/// A table without lines, as kubectl prints it; `trim_fmt` leaves no blanks at the ends.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.to_vec());
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

/// A length of time in its two largest units: `45s`, `1h30m`, `12d`.
pub(crate) fn span(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let two = |large: i64, unit: &str, small: i64, smaller: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{smaller}"),
    };
    match (days, hours, minutes) {
        (10.., _, _) => format!("{days}d"),
        (1.., _, _) => two(days, "d", hours, "h"),
        (0, 1.., _) => two(hours, "h", minutes, "m"),
        (0, 0, 1..) => two(minutes, "m", seconds % 60, "s"),
        _ => format!("{seconds}s"),
    }
}

/// Whether this output is a terminal on which lines can be drawn over: `TERM=dumb`, as editors set it, says no.
pub(crate) fn redraws(output: &impl IsTerminal) -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    output.is_terminal() && !dumb
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_an_error_once() {
        for (line, placed) in [
            ("f.yaml:8:16: error: spec.targetRatio: is 101", true),
            ("C:/f.yaml:8:16: error: a", true),
            ("f.yaml: there is no such file", false),
            ("the API server says: error: no", false),
            ("8:16: error: no", false),
        ] {
            assert_eq!(is_placed(line), placed, "{line}");
        }
    }

    #[test]
    fn a_length_of_time_is_told_in_two_units() {
        for (seconds, text) in [
            (-5, "0s"),
            (45, "45s"),
            (120, "2m"),
            (5_400, "1h30m"),
            (90_000, "1d1h"),
            (1_000_000, "11d"),
        ] {
            assert_eq!(span(SignedDuration::from_secs(seconds)), text);
        }
    }
}
