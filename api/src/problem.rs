//! What is wrong with a document: where, what, and what to do about it. `structural`, `Plan` and the lints all
//! answer in these; a shell adds file, line and column (`manifest`) or makes a condition of them.

pub(crate) use halftone_routing::document::parse::tree::{field, item};
use std::fmt;

/// One thing wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The path of the field, such as `spec.steps[2].ratio`.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub advice: String,
    /// Whether it is the field's name that is wrong, not its value.
    pub(crate) on_key: bool,
}

impl Problem {
    pub(crate) fn new(
        path: impl Into<String>,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            what: what.into(),
            advice: advice.into(),
            on_key: false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.what, self.advice)
    }
}

/// All that is wrong with a document; at least one, in the order of their paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `Ok` without problems.
    pub(crate) fn none_or(mut problems: Vec<Problem>) -> Result<(), Self> {
        problems.sort();
        problems.dedup();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self(problems))
        }
    }

    /// The problems, in the order of their paths.
    pub fn list(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
