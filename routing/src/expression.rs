//! Regular expressions of rules and `exclude`: compiled for one question only, whether a value matches, and
//! bounded four ways. One expression may take [`MOST_BYTES_EACH`], those of a document together
//! [`MOST_BYTES`], [`MOST`] and [`MOST_PLACES`], and the automata that searches build as they go are bounded per thread
//! (`caches`), however many expressions and releases there are. How long a request is searched is `effort`'s matter.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use regex_automata::{
    Input, MatchKind,
    hybrid::dfa::DFA,
    nfa::thompson::{self, WhichCaptures, pikevm::PikeVM},
    util::{prefilter::Prefilter, syntax},
};

use crate::document::units::InvalidValue;

mod budget;
mod caches;
mod state_count;

pub use budget::{Budget, MOST, MOST_BYTES, MOST_PLACES};

/// What one compiled expression may take, in bytes. It holds every expression that people write;
/// `(\w{100}){100}` would take hundreds of megabytes.
pub const MOST_BYTES_EACH: usize = 256 << 10;

/// A compiled expression that is not a plain literal.
///
/// The `regex` crate would keep an automaton per direction, thread and expression, each as large as its limit:
/// gigabytes for a document of 100 KB. Only whether there is a match matters here, so one direction suffices, and
/// the automata live in `caches`.
#[derive(Debug)]
pub(crate) struct Expression {
    text: Box<str>,
    /// Its name in the caches; never given twice.
    id: u64,
    /// None: its smallest automaton is larger than a cache may be.
    automaton: Option<DFA>,
    /// Finds the same without a cache that grows, and more slowly.
    simulation: PikeVM,
    size: usize,
    places: u64,
}

impl Expression {
    /// Compiles an expression in the syntax of the `regex` crate.
    ///
    /// # Errors
    /// It is malformed, or takes more than [`MOST_BYTES_EACH`].
    pub(crate) fn compile(text: &str) -> Result<Self, InvalidValue> {
        let syntax = syntax::Config::new().utf8(false);
        let hir = syntax::parse_with(text, &syntax)
            .map_err(|error| malformed(text, &error.to_string()))?;
        let config = thompson::Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(MOST_BYTES_EACH));
        let nfa = thompson::Compiler::new()
            .configure(config)
            .build_from_hir(&hir)
            .map_err(|error| uncompiled(text, &error))?;
        // Where a match can only begin at the start there is nothing to look for further on.
        let searched = !nfa.is_always_start_anchored();
        let prefilter = searched
            .then(|| Prefilter::from_hir_prefix(MatchKind::LeftmostFirst, &hir))
            .flatten();
        let size = nfa.memory_usage() + prefilter.as_ref().map_or(0, Prefilter::memory_usage);
        let simulation = PikeVM::builder()
            .configure(PikeVM::config().prefilter(prefilter.clone()))
            .build_from_nfa(nfa.clone())
            .map_err(|error| uncompiled(text, &error))?;
        let config = DFA::config()
            .prefilter(prefilter)
            .unicode_word_boundary(true)
            .cache_capacity(caches::MOST_BYTES_EACH)
            .minimum_cache_clear_count(Some(3))
            .minimum_bytes_per_state(Some(10));
        let automaton = DFA::builder().configure(config).build_from_nfa(nfa).ok();
        Ok(Self {
            text: text.into(),
            id: next_id(),
            automaton,
            simulation,
            size,
            places: state_count::places(&hir),
        })
    }

    /// Whether it is found in the value.
    pub(crate) fn matches(&self, value: &[u8]) -> bool {
        caches::matches(self, &Input::new(value).earliest(true))
    }

    /// What it takes compiled, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Steps that searching one byte for it takes at worst.
    pub(crate) fn places(&self) -> u64 {
        self.places
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Relaxed)
}

fn malformed(text: &str, error: &str) -> InvalidValue {
    // The engine shows the expression with a mark below it before it says what is wrong, in the last line.
    let reason = error
        .lines()
        .last()
        .unwrap_or_default()
        .trim()
        .trim_start_matches("error: ");
    InvalidValue::new(format!(
        "\"{}\" is not a regular expression: {reason}; write it in the syntax of Rust's regex crate",
        text.escape_debug()
    ))
}

fn uncompiled(text: &str, error: &thompson::BuildError) -> InvalidValue {
    match error.size_limit() {
        Some(limit) => InvalidValue::new(format!(
            "\"{}\" takes more than {limit} bytes compiled; make its repetitions smaller, and write (?-u:\\w) for \
             \\w where ASCII is enough",
            text.escape_debug()
        )),
        None => malformed(text, &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compile(text: &str) -> Expression {
        Expression::compile(text).expect("compiles")
    }

    #[test]
    fn words_lines_cases_and_bytes_beside_utf8_are_matched_as_the_regex_crate_matches_them() {
        for text in [
            "(?i)bot|crawler|spider",
            "(?i)^desk$",
            r"\bcafé\b",
            r"^\d+(\.\d+)*$",
            "(?m)^b$",
            "(?s-u)a.b",
            "[^a-z]{2}$",
            "",
            "a*",
            r"(?-u:\xff)",
            "^$|^v[0-9]+$",
            r"\w+@\w+",
        ] {
            let (own, engine) = (
                compile(text),
                regex::bytes::Regex::new(text).expect("compiles"),
            );
            for value in [
                &b""[..],
                b"a",
                b"a\nb\nc",
                b"a\xffb",
                "au café.".as_bytes(),
                "caféine".as_bytes(),
                b"Googlebot/2.1",
                b"DES\xe2\x84\xaa",
                b"1.22.333",
                b"v12",
                b"lin@example",
            ] {
                assert_eq!(
                    own.matches(value),
                    engine.is_match(value),
                    "{text} in {}",
                    value.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn an_expression_without_an_automaton_is_simulated() {
        let large = Expression {
            automaton: None,
            ..compile(r"^\w{3,9}x$")
        };
        assert!(large.matches("größex".as_bytes()));
        assert!(!large.matches(b"no"));
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_the_regex_crate_finds(
            text in r"(\^|\(\?i\))?([ab.]|[ab][*+?]|\(a\|bc\)|\[\^a\]|\\b|\\d|é){0,6}\$?",
            values in prop::collection::vec("[abcA1é .]{0,12}", 1..6),
        ) {
            if let Ok(engine) = regex::bytes::Regex::new(&text) {
                let own = compile(&text);
                for value in values {
                    prop_assert_eq!(own.matches(value.as_bytes()), engine.is_match(value.as_bytes()), "{} in {}", text, value);
                }
            }
        }
    }
}
