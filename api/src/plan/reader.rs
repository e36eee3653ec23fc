//! Reads single values and collects everything that is wrong with them, each with its path. Where a value is
//! missing from the result a problem stands in the list.

use std::{str::FromStr, time::Duration};

use halftone_routing::{
    document::{
        arm::Positive,
        units::{InvalidValue, Millis, Ratio},
    },
    expression::Budget,
};

use crate::{
    duration,
    problem::{Problem, item},
    spec::{
        IntOrString,
        pattern::{DURATION, FACTOR, RATIO, says},
        rules::{self, ValidationRule},
    },
    structural,
};

/// What is wrong so far.
#[derive(Default)]
pub(crate) struct SpecReader {
    pub(crate) problems: Vec<Problem>,
    /// What the regular expressions of the release take so far.
    pub(super) expressions: Budget,
}

impl SpecReader {
    pub(crate) fn refuse(
        &mut self,
        path: &str,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.problems.push(Problem::new(path, what, advice));
    }

    /// Refuses what breaks `rule`.
    pub(crate) fn require(&mut self, holds: bool, path: &str, rule: ValidationRule) -> Option<()> {
        if !holds {
            self.refuse(path, rule.what, rule.advice);
        }
        holds.then_some(())
    }

    pub(crate) fn mismatch(&mut self, path: &str, pattern: &str) {
        let (what, advice) = says(pattern).unwrap_or_default();
        self.refuse(path, what, advice);
    }

    /// Takes a value of the routing document's types, which check themselves.
    pub(crate) fn valid<T>(&mut self, path: &str, value: Result<T, InvalidValue>) -> Option<T> {
        value
            .map_err(|invalid| {
                let message = invalid.to_string();
                let (what, advice) = message
                    .rsplit_once("; ")
                    .unwrap_or((&message, "write another value"));
                self.refuse(path, what, advice);
            })
            .ok()
    }

    pub(crate) fn text<T: FromStr<Err = InvalidValue>>(
        &mut self,
        path: &str,
        text: &str,
    ) -> Option<T> {
        self.valid(path, text.parse())
    }

    pub(crate) fn millis(&mut self, path: &str, text: &str) -> Option<Millis> {
        let millis = duration::parse(text);
        if millis.is_none() {
            self.mismatch(path, DURATION);
        }
        millis
    }

    pub(crate) fn duration(&mut self, path: &str, text: &str) -> Option<Duration> {
        self.millis(path, text).map(Millis::duration)
    }

    /// A duration of at least `least` ms, else `rule` is broken.
    pub(crate) fn at_least(
        &mut self,
        path: &str,
        text: &str,
        least: u64,
        rule: ValidationRule,
    ) -> Option<Positive> {
        let millis = self.millis(path, text)?;
        self.require(millis.get() >= least, path, rule)?;
        self.valid(path, Positive::try_from(millis))
    }

    pub(crate) fn positive(&mut self, path: &str, text: &str) -> Option<Positive> {
        self.at_least(path, text, 1, rules::LONGER_THAN_ZERO)
    }

    pub(crate) fn ratio(&mut self, path: &str, value: &IntOrString) -> Option<Ratio> {
        let ratio = ratio(value);
        if ratio.is_none() {
            self.mismatch(path, RATIO);
        }
        ratio
    }

    /// A factor of at least 1.
    pub(crate) fn factor(&mut self, path: &str, text: &str) -> Option<f64> {
        let Some(factor) = text
            .parse::<f64>()
            .ok()
            .filter(|_| structural::matches(FACTOR, text))
        else {
            self.mismatch(path, FACTOR);
            return None;
        };
        self.require(factor >= 1.0, path, rules::FACTOR_AT_LEAST_ONE)?;
        Some(factor)
    }

    /// Reads every item, also after one that is wrong.
    pub(crate) fn each<T, U>(
        &mut self,
        path: &str,
        items: &[T],
        mut read: impl FnMut(&mut Self, &str, &T) -> Option<U>,
    ) -> Option<Vec<U>> {
        let read: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(at, one)| read(self, &item(path, at), one))
            .collect();
        read.into_iter().collect()
    }
}

/// A ratio or rate as GrayReleases write it: an integer 0 to 100, or a percentage with its sign.
pub(crate) fn ratio(value: &IntOrString) -> Option<Ratio> {
    match value {
        IntOrString::Int(percent) => u32::try_from(*percent)
            .ok()?
            .checked_mul(10_000)
            .and_then(Ratio::from_millionths),
        IntOrString::String(text) => text
            .parse()
            .ok()
            .filter(|_| structural::matches(RATIO, text)),
    }
}

/// Leaves out what has been there before.
pub(super) fn distinct<T: PartialEq>(items: Vec<T>) -> Vec<T> {
    let mut kept = Vec::with_capacity(items.len());
    for one in items {
        if !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}
