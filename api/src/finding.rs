//! What reading and linting have to say of files: how bad, where, what and what to do. For people as a line that
//! editors can jump to, for programs as JSON.

use std::fmt;

pub use halftone_routing::document::parse::tree::Position;
use serde::Serialize;

use crate::problem::Problem;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is refused.
    Error,
    /// It is taken, and is hardly what was meant.
    Warning,
}

/// One thing to say of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The kind of thing in one CamelCase word; the reason of the condition where a cluster would set one.
    pub code: &'static str,
    /// The file, as it was named.
    pub file: String,
    /// Where in the file.
    #[serde(flatten)]
    pub position: Position,
    /// The field, such as `spec.steps[2].ratio`; empty for the whole file.
    pub path: String,
    /// What there is to say.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

impl Finding {
    pub(crate) fn new(
        severity: Severity,
        code: &'static str,
        file: &str,
        position: Position,
        problem: Problem,
    ) -> Self {
        let Problem {
            path, what, advice, ..
        } = problem;
        Self {
            severity,
            code,
            file: file.to_owned(),
            position,
            path,
            message: what,
            advice,
        }
    }

    /// An error of a whole file, such as one that cannot be read.
    pub fn of_file(code: &'static str, file: &str, message: &str, advice: &str) -> Self {
        let start = Position { line: 1, column: 1 };
        Self::new(
            Severity::Error,
            code,
            file,
            start,
            Problem::new("", message, advice),
        )
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// `FILE:LINE:COLUMN: error: FIELD: MESSAGE; ADVICE [CODE]`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            file,
            position: Position { line, column },
            path,
            message,
            advice,
            ..
        } = self;
        let severity = if self.is_error() { "error" } else { "warning" };
        write!(f, "{file}:{line}:{column}: {severity}: ")?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        write!(f, "{message}; {advice} [{code}]")
    }
}
