//! Compiled values of conditions. Equal ones are shared by all releases; literals, prefixes, suffixes and
//! case-insensitive literals never reach the regular-expression engine, and what does is bounded in size.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use memchr::memmem::Finder;

use crate::{
    document::{
        network,
        rule::{MatchCondition, Operator},
        units::InvalidValue,
    },
    effort::Effort,
    expression::{Budget, Expression},
    networks::Networks,
    sweep::SweepSchedule,
};

/// What a value is compared with. Negation is the condition's business.
#[derive(Debug)]
pub(crate) enum Pattern {
    /// Any value at all.
    Present,
    /// One of these, sorted.
    Equal(Box<[Box<[u8]>]>),
    /// Any of these tests.
    Texts(Box<[TextTest]>),
    Greater(f64),
    Less(f64),
    Networks(Networks),
}

/// One test of a text.
pub(crate) enum TextTest {
    Equal(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Box<Finder<'static>>),
    EqualIgnoringCase(Box<[u8]>),
    PrefixIgnoringCase(Box<[u8]>),
    Expression(Box<Expression>),
}

impl Pattern {
    fn compile(
        operator: Operator,
        values: &[String],
        budget: &mut Budget,
    ) -> Result<Self, InvalidValue> {
        let texts = |test: fn(&[u8]) -> TextTest| {
            Self::Texts(values.iter().map(|value| test(value.as_bytes())).collect())
        };
        let number = || {
            let value = values.first().map_or("", String::as_str);
            value.parse().map_err(|_| {
                InvalidValue::new(format!("\"{}\" is no number", value.escape_debug()))
            })
        };
        Ok(match operator {
            Operator::Exists | Operator::DoesNotExist => Self::Present,
            Operator::In | Operator::NotIn => {
                let mut literals: Vec<Box<[u8]>> =
                    values.iter().map(|value| value.as_bytes().into()).collect();
                literals.sort_unstable();
                Self::Equal(literals.into())
            }
            Operator::Prefix | Operator::NotPrefix => texts(|value| TextTest::Prefix(value.into())),
            Operator::Suffix | Operator::NotSuffix => texts(|value| TextTest::Suffix(value.into())),
            Operator::Contains | Operator::NotContains => {
                texts(|value| TextTest::Contains(Box::new(Finder::new(value).into_owned())))
            }
            Operator::Regex | Operator::NotRegex => {
                let mut test = |value: &String| {
                    let test = TextTest::expression(value)?;
                    budget
                        .charge(value, test.size(), test.places())
                        .map(|()| test)
                };
                Self::Texts(values.iter().map(&mut test).collect::<Result<_, _>>()?)
            }
            Operator::Gt => Self::Greater(number()?),
            Operator::Lt => Self::Less(number()?),
            Operator::InCidr | Operator::NotInCidr => Self::Networks(
                values
                    .iter()
                    .map(|value| network(value))
                    .collect::<Result<_, _>>()?,
            ),
        })
    }

    /// What its expressions add to those of a document.
    fn charge(
        &self,
        operator: Operator,
        values: &[String],
        budget: &mut Budget,
    ) -> Result<(), InvalidValue> {
        match self {
            Self::Texts(tests) if matches!(operator, Operator::Regex | Operator::NotRegex) => {
                let mut each = values.iter().zip(tests);
                each.try_for_each(|(value, test)| budget.charge(value, test.size(), test.places()))
            }
            _ => Ok(()),
        }
    }

    /// Whether a value matches; nothing does once the effort is spent.
    pub(crate) fn matches(&self, value: &[u8], effort: &Effort) -> bool {
        let all_of_it = || effort.spend(value.len() as u64);
        match self {
            Self::Present => true,
            // Of a few, most differ in length already, which costs less than a search.
            Self::Equal(literals) if literals.len() <= 8 => {
                literals.iter().any(|literal| **literal == *value)
            }
            Self::Equal(literals) => literals
                .binary_search_by(|literal| (**literal).cmp(value))
                .is_ok(),
            Self::Texts(tests) => tests
                .iter()
                .any(|test| effort.spend(test.steps(value)) && test.matches(value)),
            Self::Greater(bound) => {
                all_of_it() && number(value).is_some_and(|number| number > *bound)
            }
            Self::Less(bound) => all_of_it() && number(value).is_some_and(|number| number < *bound),
            Self::Networks(networks) => std::str::from_utf8(value)
                .ok()
                .filter(|_| all_of_it())
                .and_then(|text| text.trim().parse().ok())
                .is_some_and(|address| networks.contains(address)),
        }
    }
}

fn number(value: &[u8]) -> Option<f64> {
    std::str::from_utf8(value)
        .ok()?
        .trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

impl TextTest {
    /// An expression, as the cheapest test that means the same.
    ///
    /// # Errors
    /// It is malformed, or too large.
    pub(crate) fn expression(expression: &str) -> Result<Self, InvalidValue> {
        match Self::literal(expression) {
            Some(test) => Ok(test),
            None => Ok(Self::Expression(Box::new(Expression::compile(expression)?))),
        }
    }

    /// What the compiled expression takes, in bytes; nothing worth counting where none was needed.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Expression(expression) => expression.size(),
            _ => 0,
        }
    }

    /// Steps that comparing one byte with it takes at worst, where it is searched for.
    pub(crate) fn places(&self) -> u64 {
        match self {
            Self::Expression(expression) => expression.places(),
            _ => 0,
        }
    }

    /// Steps that comparing a value with it takes at worst.
    fn steps(&self, value: &[u8]) -> u64 {
        let bytes = value.len() as u64;
        match self {
            Self::Expression(expression) => expression.places().saturating_mul(bytes + 1),
            Self::Contains(_) => bytes + 1,
            _ => 1,
        }
    }

    /// `^literal$`, `^literal`, `literal$`, `literal` and, for ASCII, `(?i)^literal$` and `(?i)^literal`.
    fn literal(expression: &str) -> Option<Self> {
        let (ignoring_case, rest) = match expression.strip_prefix("(?i)") {
            Some(rest) => (true, rest),
            None => (false, expression),
        };
        let (start, rest) = rest
            .strip_prefix('^')
            .map_or((false, rest), |rest| (true, rest));
        let (end, rest) = match rest.strip_suffix('$') {
            Some(rest) if !rest.ends_with('\\') => (true, rest),
            _ => (false, rest),
        };
        let literal = unescape(rest)?;
        Some(match (ignoring_case, start, end) {
            (false, true, true) => Self::Equal(literal.into()),
            (false, true, false) => Self::Prefix(literal.into()),
            (false, false, true) => Self::Suffix(literal.into()),
            (false, false, false) => Self::Contains(Box::new(Finder::new(&literal).into_owned())),
            // Unicode gives k and s a third case (Kelvin sign, long s), which only the engine knows.
            (true, true, _)
                if !literal.is_ascii() || literal.iter().any(|byte| b"kKsS".contains(byte)) =>
            {
                return None;
            }
            (true, true, true) => Self::EqualIgnoringCase(literal.into()),
            (true, true, false) => Self::PrefixIgnoringCase(literal.into()),
            (true, false, _) => return None,
        })
    }

    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Equal(literal) => **literal == *value,
            Self::Prefix(literal) => value.starts_with(literal),
            Self::Suffix(literal) => value.ends_with(literal),
            Self::Contains(finder) => finder.find(value).is_some(),
            Self::EqualIgnoringCase(literal) => literal.eq_ignore_ascii_case(value),
            Self::PrefixIgnoringCase(literal) => value
                .get(..literal.len())
                .is_some_and(|start| literal.eq_ignore_ascii_case(start)),
            Self::Expression(expression) => expression.matches(value),
        }
    }
}

/// The text that an expression without operators stands for; none if it has one.
fn unescape(expression: &str) -> Option<Vec<u8>> {
    let mut literal = Vec::with_capacity(expression.len());
    let mut chars = expression.chars();
    while let Some(char) = chars.next() {
        let plain = match char {
            '\\' => chars.next().filter(char::is_ascii_punctuation)?,
            '^' | '$' | '.' | '|' | '?' | '*' | '+' | '(' | ')' | '[' | ']' | '{' | '}' => {
                return None;
            }
            other => other,
        };
        literal.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(literal)
}

impl fmt::Debug for TextTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text) = match self {
            Self::Equal(text) => ("Equal", text.as_ref()),
            Self::Prefix(text) => ("Prefix", text.as_ref()),
            Self::Suffix(text) => ("Suffix", text.as_ref()),
            Self::Contains(finder) => ("Contains", finder.needle()),
            Self::EqualIgnoringCase(text) => ("EqualIgnoringCase", text.as_ref()),
            Self::PrefixIgnoringCase(text) => ("PrefixIgnoringCase", text.as_ref()),
            Self::Expression(expression) => ("Expression", expression.as_str().as_bytes()),
        };
        write!(f, "{kind}({})", text.escape_ascii())
    }
}

/// Compiled patterns by what they were compiled from; an entry lives as long as a release uses it.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    patterns: HashMap<(Operator, Box<[String]>), Weak<Pattern>>,
    sweeps: SweepSchedule,
}

impl Interner {
    /// The pattern of a condition. Its expressions count against the budget of its document, shared or not.
    pub(crate) fn pattern(
        &mut self,
        condition: &MatchCondition,
        budget: &mut Budget,
    ) -> Result<Arc<Pattern>, InvalidValue> {
        let (operator, values) = (condition.operator(), condition.values());
        let key = (operator, values.into());
        if let Some(pattern) = self.patterns.get(&key).and_then(Weak::upgrade) {
            pattern.charge(operator, values, budget)?;
            return Ok(pattern);
        }
        let pattern = Arc::new(Pattern::compile(operator, values, budget)?);
        if self.sweeps.is_due(self.patterns.len()) {
            self.forget_unused();
            self.sweeps.swept(self.patterns.len());
        }
        self.patterns.insert(key, Arc::downgrade(&pattern));
        Ok(pattern)
    }

    /// Forgets patterns that no release uses any more.
    fn forget_unused(&mut self) {
        self.patterns
            .retain(|_, pattern| pattern.strong_count() > 0);
    }
}

impl Budget {
    /// Compiles one more expression, and drops it again: for checks ahead of traffic.
    ///
    /// # Errors
    /// It does not compile, is too large, or makes the document's expressions too many or too large in sum.
    pub fn check(&mut self, text: &str) -> Result<(), InvalidValue> {
        let test = TextTest::expression(text)?;
        self.charge(text, test.size(), test.places())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn test(expression: &str) -> TextTest {
        TextTest::expression(expression).expect("compiles")
    }

    #[test]
    fn what_needs_no_engine_gets_none() {
        for (expression, expected) in [
            ("^lin$", "Equal(lin)"),
            ("^/api/", "Prefix(/api/)"),
            (r"\.csv$", "Suffix(.csv)"),
            ("bot", "Contains(bot)"),
            ("(?i)^iphone$", "EqualIgnoringCase(iphone)"),
            ("(?i)^bot", "PrefixIgnoringCase(bot)"),
            (r"^10\.1\.", "Prefix(10.1.)"),
            (r"a\$", "Contains(a$)"),
            ("(?i)bot", "Expression((?i)bot)"),
            ("(?i)^desk$", "Expression((?i)^desk$)"),
            ("^v[0-9]+$", "Expression(^v[0-9]+$)"),
            (r"^\d", r"Expression(^\\d)"),
        ] {
            assert_eq!(format!("{:?}", test(expression)), expected, "{expression}");
        }
    }

    #[test]
    fn an_expression_that_explodes_or_is_none_is_refused() {
        for (expression, why) in [
            (r"(\w{100}){100}", "takes more than"),
            ("((a{100}){100}){100}", "takes more than"),
            ("(", "is not a regular expression"),
            ("a{2,1}", "is not a regular expression"),
            (r"(?P<x>a)\1", "is not a regular expression"),
        ] {
            let error = TextTest::expression(expression)
                .expect_err(expression)
                .to_string();
            assert!(error.contains(why), "{expression}: {error}");
        }
    }

    #[test]
    fn equal_patterns_are_shared_and_forgotten_with_their_last_user() {
        let condition = |values: &[&str]| {
            let values = values.iter().map(|&value| value.to_owned()).collect();
            MatchCondition::new(crate::document::rule::Source::Path, Operator::In, values)
                .expect("good")
        };
        let mut interner = Interner::default();
        let mut pattern = |values: &[&str]| {
            interner
                .pattern(&condition(values), &mut Budget::default())
                .expect("compiles")
        };
        let (first, same, other) = (pattern(&["a"]), pattern(&["a"]), pattern(&["b"]));
        assert!(Arc::ptr_eq(&first, &same) && !Arc::ptr_eq(&first, &other));
        drop((first, same));
        interner.forget_unused();
        assert_eq!(interner.patterns.len(), 1);
    }

    proptest! {
        /// The short cuts have to mean what the engine means.
        #[test]
        fn a_short_cut_finds_what_the_engine_finds(
            fold in any::<bool>(), start in any::<bool>(), end in any::<bool>(), literal in "[abKsé.]{0,4}",
            value in "[abkKsSé.]{0,6}",
        ) {
            let fold = if fold { "(?i)" } else { "" };
            let (start, end) = (if start { "^" } else { "" }, if end { "$" } else { "" });
            let expression = format!("{fold}{start}{}{end}", regex::escape(&literal));
            let engine = regex::bytes::Regex::new(&expression).expect("compiles");
            prop_assert_eq!(test(&expression).matches(value.as_bytes()), engine.is_match(value.as_bytes()), "{}", expression);
        }

        #[test]
        fn no_expression_panics(expression in ".{0,30}", value in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(test) = TextTest::expression(&expression) {
                test.matches(&value);
            }
        }
    }
}
