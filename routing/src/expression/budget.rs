//! What the regular expressions of one document may take together. A proxy asks while it compiles a document, `Plan`
//! before the document is written: both in the same words.

use std::collections::HashSet;

use crate::{config::units::Invalid, pattern::TextTest};

/// Different regular expressions of one document.
pub const MOST: usize = 512;
/// What the compiled expressions of one document may take together, in bytes.
pub const MOST_BYTES: usize = 1 << 20;

/// The regular expressions of one document that were counted so far.
#[derive(Debug, Default)]
pub struct Budget {
    counted: HashSet<Box<str>>,
    bytes: usize,
}

impl Budget {
    /// Compiles one more expression, and drops it again: for checks ahead of traffic.
    ///
    /// # Errors
    /// It does not compile, is too large, or makes the document's expressions too many or too large in sum.
    pub fn check(&mut self, text: &str) -> Result<(), Invalid> {
        let test = TextTest::expression(text)?;
        self.charge(text, test.size())
    }

    /// Counts an expression that takes so many bytes compiled. One that was counted before costs nothing.
    ///
    /// # Errors
    /// With it the document's expressions are too many, or too large in sum.
    pub(crate) fn charge(&mut self, text: &str, bytes: usize) -> Result<(), Invalid> {
        if !self.counted.insert(text.into()) {
            return Ok(());
        }
        self.bytes += bytes;
        let shown = text.escape_debug();
        if self.counted.len() > MOST {
            return Err(Invalid::new(format!(
                "\"{shown}\" is one regular expression more than the {MOST} that one release may have; compare \
                 fixed texts with In, Prefix, Suffix or Contains, and join others with |"
            )));
        }
        if self.bytes > MOST_BYTES {
            return Err(Invalid::new(format!(
                "with \"{shown}\" the regular expressions of this release take more than {MOST_BYTES} bytes \
                 compiled; make their repetitions smaller, and write [0-9A-Za-z_] for \\w where ASCII is enough"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_expression_that_is_too_much_is_refused_and_repetitions_cost_nothing() {
        let mut budget = Budget::default();
        for n in 0..MOST {
            budget.check(&format!("^v{n}[0-9]$")).expect("fits");
        }
        budget.check("^v0[0-9]$").expect("was counted");
        let error = budget.check("^v[0-9]$").expect_err("one too many").to_string();
        assert!(error.contains("512") && error.contains("; compare fixed texts"), "{error}");
    }

    #[test]
    fn expressions_that_fit_one_by_one_may_be_too_large_together() {
        let mut budget = Budget::default();
        let large = |n: usize| format!(r"^{n}(\w{{3}}|x)$");
        let fitting = (0..MOST).take_while(|&n| budget.check(&large(n)).is_ok()).count();
        assert!((2..64).contains(&fitting), "{fitting} expressions fit");
        let error = budget.check(&large(MOST)).expect_err("too large").to_string();
        assert!(error.contains("1048576 bytes compiled; make"), "{error}");
    }
}
