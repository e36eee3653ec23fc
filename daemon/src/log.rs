//! The log of a process, on standard error.

use std::error::Error;
use std::io::IsTerminal;

use clap::error::ErrorKind;
use clap::{Args, Command, ValueEnum};
use tracing_subscriber::EnvFilter;

/// The client says of every attempt what we say once; who wants to hear it writes `kube=debug`.
const QUIET: &str = "kube_client=off,kube_runtime=off";

/// What is logged, and how.
#[derive(Args, Clone, Debug)]
pub struct LogFlags {
    /// Form of the process's own log, on standard error
    #[arg(
        long,
        value_name = "FORMAT",
        env = "HALFTONE_LOG_FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,

    /// What to log: error, warn, info, debug or trace, or directives as in `info,kube=debug`
    #[arg(
        long,
        value_name = "LEVEL",
        env = "HALFTONE_LOG_LEVEL",
        default_value = "info"
    )]
    pub log_level: String,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFlags {
    /// Logs from now on. Directives that do not parse are a bad flag of `command` like any other, and end the process.
    pub fn start(&self, command: &mut Command) {
        let level = &self.log_level;
        let directives = if level.contains("kube") {
            level.clone()
        } else {
            format!("{level},{QUIET}")
        };
        let filter = EnvFilter::try_new(directives).unwrap_or_else(|error| {
            command
                .error(
                    ErrorKind::ValueValidation,
                    format!("--log-level {level}: {error}"),
                )
                .exit()
        });
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        match self.log_format {
            LogFormat::Text => log.init(),
            LogFormat::Json => {
                log.json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false)
                    .init();
            }
        }
    }
}

/// An error in words, with its causes, each once.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(&format!(": {more}"));
        }
        cause = error.source();
    }
    text
}
