//! What searching for an expression takes at worst: how many of its places a search may stand at after each byte.
//! Counted where it is written, not in its automaton: a `\w` has hundreds of states there, of which one byte reaches
//! two.

use regex_syntax::hir::{Class, Hir, HirKind};

/// The places of an expression, at least 1.
pub(super) fn places(hir: &Hir) -> u64 {
    of(hir).max(1)
}

fn of(hir: &Hir) -> u64 {
    let sum = |parts: &[Hir]| parts.iter().map(of).fold(0_u64, u64::saturating_add);
    match hir.kind() {
        HirKind::Empty => 0,
        HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        // A character of several bytes has a place between them.
        HirKind::Class(Class::Unicode(class)) => 1 + u64::from(!class.is_ascii()),
        HirKind::Class(Class::Bytes(_)) => 1,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min.max(1));
            u64::from(times).saturating_mul(of(&repetition.sub).saturating_add(1))
        }
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Concat(parts) => sum(parts),
        HirKind::Alternation(parts) => sum(parts).saturating_add(parts.len() as u64),
    }
}

#[cfg(test)]
mod tests {
    use regex_automata::util::syntax;

    use super::*;

    #[test]
    fn places_follow_what_is_written() {
        for (text, expected) in [
            ("", 1),
            ("^/api/$", 7),
            (r"^\d+$", 5),
            (r"(?-u:\w)+@", 3),
            (r"\w+@\w+", 7),
            ("(?i)bot|spider", 12),
            ("a{0,100}b", 201),
            ("(a{100}){20}", 4020),
            ("a{3,}", 6),
            (".*.*", 6),
        ] {
            let hir = syntax::parse(text).unwrap();
            assert_eq!(places(&hir), expected, "{text}");
        }
    }
}
