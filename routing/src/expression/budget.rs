//! What the regular expressions of one document may take together. A proxy asks while it compiles a document, `Plan`
//! before the document is written: both in the same words.

use std::collections::HashSet;

use crate::document::units::InvalidValue;

/// Different regular expressions of one document.
pub const MOST: usize = 512;
/// What the compiled expressions of one document may take together, in bytes.
pub const MOST_BYTES: usize = 1 << 20;
/// Places that the expressions of one document may have together, one that is used twice counted twice: the steps that
/// searching one byte for all of them takes at worst. A request may take 256 times as many, so that values of 256 bytes
/// are always searched for all of them.
pub const MOST_PLACES: u64 = 16_384;

/// The regular expressions of one document that were counted so far.
#[derive(Debug, Default)]
pub struct Budget {
    counted: HashSet<Box<str>>,
    bytes: usize,
    places: u64,
}

impl Budget {
    /// Counts an expression of so many `bytes` and `places`. One that was counted before takes time once more, and nothing else.
    ///
    /// # Errors
    /// With it the document's expressions are too many, or too large in sum.
    pub(crate) fn charge(
        &mut self,
        text: &str,
        bytes: usize,
        places: u64,
    ) -> Result<(), InvalidValue> {
        self.charge_time(text, places)?;
        if !self.counted.insert(text.into()) {
            return Ok(());
        }
        self.bytes += bytes;
        let shown = text.escape_debug();
        if self.counted.len() > MOST {
            return Err(InvalidValue::new(format!(
                "\"{shown}\" is one regular expression more than the {MOST} that one release may have; compare \
                 fixed texts with In, Prefix, Suffix or Contains, and join others with |"
            )));
        }
        if self.bytes > MOST_BYTES {
            return Err(InvalidValue::new(format!(
                "with \"{shown}\" the regular expressions of this release take more than {MOST_BYTES} bytes \
                 compiled; make their repetitions smaller, and write [0-9A-Za-z_] for \\w where ASCII is enough"
            )));
        }
        Ok(())
    }

    fn charge_time(&mut self, text: &str, places: u64) -> Result<(), InvalidValue> {
        self.places = self.places.saturating_add(places);
        if self.places <= MOST_PLACES {
            return Ok(());
        }
        let shown = text.escape_debug();
        Err(InvalidValue::new(format!(
            "with \"{shown}\" searching for the regular expressions of this release takes more than {MOST_PLACES} \
             steps for each byte of a value; each character, class and repetition is one: write repetitions and \
             lists shorter, and compare fixed texts with In, Prefix, Suffix or Contains"
        )))
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
        let error = budget
            .check("^v[0-9]$")
            .expect_err("one too many")
            .to_string();
        assert!(
            error.contains("512") && error.contains("; compare fixed texts"),
            "{error}"
        );
    }

    #[test]
    fn expressions_that_would_be_searched_for_too_long_are_refused_also_where_one_is_used_again_and_again()
     {
        let mut budget = Budget::default();
        budget.check("[ab]{3000}").expect("fits");
        budget.check("[bc]{3000}").expect("fits");
        let error = budget
            .check("(a?){2000}")
            .expect_err("too long")
            .to_string();
        assert!(
            error.contains("16384 steps for each byte") && error.contains("In, Prefix"),
            "{error}"
        );
        let mut budget = Budget::default();
        let uses = (0..MOST)
            .take_while(|_| budget.check("x[ab]{100}").is_ok())
            .count();
        assert_eq!(uses, 81);
    }

    #[test]
    fn expressions_that_fit_one_by_one_may_be_too_large_together() {
        let mut budget = Budget::default();
        let large = |n: usize| format!(r"^{n}(\w{{3}}|x)$");
        let fitting = (0..MOST)
            .take_while(|&n| budget.check(&large(n)).is_ok())
            .count();
        assert!((2..64).contains(&fitting), "{fitting} expressions fit");
        let error = budget
            .check(&large(MOST))
            .expect_err("too large")
            .to_string();
        assert!(error.contains("1048576 bytes compiled; make"), "{error}");
    }
}
