//! Regular expressions that nothing matches: by themselves, or in what they are compared with.

use regex_syntax::{
    ParserBuilder,
    hir::{Hir, HirKind, Look, literal::Extractor},
};

use crate::spec::SourceKind;

/// Why the expression never matches a value of the source, and what to do. Sound, not complete: what is told here
/// never matches; of what is not told, some may never match either.
pub(super) fn never(source: SourceKind, expression: &str) -> Option<(String, String)> {
    let hir = ParserBuilder::new()
        .utf8(false)
        .build()
        .parse(expression)
        .ok()?;
    if is_void(&hir) {
        let what = format!("no text at all matches {expression:?}");
        return Some((
            what,
            "look at ^, $ and empty classes in the middle of it".to_owned(),
        ));
    }
    let begins = |odd: &dyn Fn(&[u8]) -> bool| begins_always(&hir, odd);
    match source {
        SourceKind::Path
            if is_anchored(&hir)
                && begins(&|text| text.first().is_some_and(|byte| *byte != b'/')) =>
        {
            Some((
                format!("every path begins with /, and what {expression:?} matches does not"),
                "write ^/".to_owned(),
            ))
        }
        SourceKind::Host if begins(&|text| text.iter().any(u8::is_ascii_uppercase)) => Some((
            format!("hosts are matched in lower case, and what {expression:?} matches is not"),
            "write it in lower case".to_owned(),
        )),
        SourceKind::Method
            if is_anchored(&hir) && begins(&|text| text.iter().any(u8::is_ascii_lowercase)) =>
        {
            Some((
                format!("methods are compared as they are sent, and none is like {expression:?}"),
                "write it in upper case".to_owned(),
            ))
        }
        _ => None,
    }
}

/// An empty class, a start after something or an end before something, on every way through.
fn is_void(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Literal(_) | HirKind::Look(_) => false,
        HirKind::Class(class) => class.is_empty(),
        HirKind::Repetition(repetition) => repetition.min > 0 && is_void(&repetition.sub),
        HirKind::Capture(capture) => is_void(&capture.sub),
        HirKind::Alternation(ways) => ways.iter().all(is_void),
        HirKind::Concat(parts) => parts.iter().any(is_void) || is_out_of_order(parts),
    }
}

fn is_out_of_order(parts: &[Hir]) -> bool {
    let takes = |part: &Hir| {
        part.properties()
            .minimum_len()
            .is_some_and(|length| length > 0)
    };
    parts.iter().enumerate().any(|(at, part)| {
        let looks = part.properties();
        looks.look_set_prefix().contains(Look::Start) && parts[..at].iter().any(takes)
            || looks.look_set_suffix().contains(Look::End) && parts[at + 1..].iter().any(takes)
    })
}

fn is_anchored(hir: &Hir) -> bool {
    hir.properties().look_set_prefix().contains(Look::Start)
}

/// Whether each match begins with one of a few texts, all of them odd.
fn begins_always(hir: &Hir, odd: &dyn Fn(&[u8]) -> bool) -> bool {
    let texts = Extractor::new().extract(hir);
    texts
        .literals()
        .is_some_and(|texts| !texts.is_empty() && texts.iter().all(|text| odd(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_matches_is_found_and_nothing_else() {
        for expression in [
            "[a&&b]",
            "a^b",
            "$a",
            "(a)(^b)",
            "x[^\\s\\S]?[a&&b]+",
            "a^|$b",
            "(?:a|b)^c",
            r"\z.",
        ] {
            assert!(
                never(SourceKind::Header, expression).is_some(),
                "{expression}"
            );
        }
        for expression in [
            "",
            "^$",
            "a*^b",
            "a|$b",
            "(?m)a$\n^b",
            "[a&&b]*",
            "[a&&b]|c",
            "^a?$",
            "$^",
            r"\ba",
        ] {
            assert!(
                never(SourceKind::Header, expression).is_none(),
                "{expression}"
            );
        }
    }

    #[test]
    fn paths_begin_with_a_slash_hosts_are_in_lower_case_and_methods_in_upper() {
        for (source, expression) in [
            (SourceKind::Path, "^api/"),
            (SourceKind::Path, "^(api|web)"),
            (SourceKind::Host, "Shop"),
            (SourceKind::Method, "^(get|post)$"),
        ] {
            assert!(never(source, expression).is_some(), "{expression}");
        }
        for (source, expression) in [
            (SourceKind::Path, "api/"),
            (SourceKind::Path, "^/api"),
            (SourceKind::Path, "^(/api|web)"),
            (SourceKind::Path, "^.*api"),
            (SourceKind::Host, "(?i)Shop"),
            (SourceKind::Host, "^[sS]hop"),
            (SourceKind::Method, "^(GET|POST)$"),
            (SourceKind::Method, "(?i)^get$"),
        ] {
            assert!(never(source, expression).is_none(), "{expression}");
        }
    }
}
