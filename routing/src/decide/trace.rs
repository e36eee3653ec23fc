//! How `halftone explain` and `/explain` listen in on a decision. A request passes `()`, for which the compiler
//! leaves nothing of it in the code.

use serde::Serialize;

/// A point of the decision, in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Point {
    /// Which release has this host and path.
    Host,
    /// Whether everyone is sent to one arm.
    Force,
    /// Whether a rule matches.
    Rules,
    /// Who the user is.
    Identity,
    /// On which side of the ratio.
    Split,
    /// Whether the request is left out of judgement.
    Exclude,
}

/// What one point said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceEntry {
    /// The point.
    pub point: Point,
    /// What it said, for people.
    pub said: String,
}

/// Hears what each point of a decision says, in order. Points that the decision does not come to say nothing.
pub trait Trace {
    /// Takes what a point says; the text is made only if somebody wants it.
    fn says(&mut self, point: Point, said: impl FnOnce() -> String);
}

impl Trace for () {
    #[inline]
    fn says(&mut self, _: Point, _: impl FnOnce() -> String) {}
}

impl Trace for Vec<TraceEntry> {
    fn says(&mut self, point: Point, said: impl FnOnce() -> String) {
        self.push(TraceEntry {
            point,
            said: said(),
        });
    }
}
