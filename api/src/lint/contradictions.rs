//! Two conditions of one `all` that no request meets together.

use halftone_routing::document::network;

use super::Notes;
use crate::{
    plan,
    problem::{Problem, item},
    spec::{MatchCondition, Operator, SourceKind},
};

/// Says of each condition which earlier one it contradicts.
pub(super) fn notes(path: &str, all: &[MatchCondition]) -> Notes {
    let mut notes = Notes::new();
    for (at, later) in all.iter().enumerate() {
        let same =
            |earlier: &MatchCondition| earlier.source == later.source && earlier.name == later.name;
        let clash = all[..at].iter().enumerate().find_map(|(index, earlier)| {
            let why = same(earlier)
                .then(|| clash(earlier, later).or_else(|| clash(later, earlier)))??;
            Some((index, why))
        });
        if let Some((index, why)) = clash {
            let what = format!("with {} this never holds: {why}", item("all", index));
            let advice = "put one of the two into a group of its own, or remove it";
            notes.push(("NeverMatches", Problem::new(item(path, at), what, advice)));
        }
    }
    notes
}

/// Why no request meets both. A field, cookie or parameter may come twice, with a value for each condition; then
/// only negations count, which speak of all values.
fn clash(one: &MatchCondition, other: &MatchCondition) -> Option<String> {
    use Operator::{
        Contains, DoesNotExist, Exists, Gt, In, InCidr, Lt, NotContains, NotInCidr, NotPrefix,
        NotRegex, NotSuffix, Prefix, Regex, Suffix,
    };
    let single = !matches!(
        one.source,
        SourceKind::Header | SourceKind::Cookie | SourceKind::Query
    );
    let every = |fits: fn(&str, &str) -> bool| {
        one.values
            .iter()
            .all(|mine| other.values.iter().any(|theirs| fits(mine, theirs)))
    };
    let none = |fits: fn(&str, &str) -> bool| {
        !one.values.iter().any(|mine| {
            other
                .values
                .iter()
                .any(|theirs| fits(mine, theirs) || fits(theirs, mine))
        })
    };
    let excluded = || Some("what the one asks for the other excludes".to_owned());
    match (one.operator, other.operator) {
        (DoesNotExist, Exists | In | Prefix | Suffix | Contains | Regex | Gt | Lt | InCidr) => {
            Some("the one wants it missing, the other there".to_owned())
        }
        (In, operator) if operator != DoesNotExist => {
            let other =
                plan::condition(other).filter(|other| single || other.operator().is_negated())?;
            let may_fit = |value: &String| other.holds_for(value.as_bytes()).unwrap_or(true);
            let misfits = !one.values.iter().any(may_fit);
            misfits.then(|| format!("none of {} fits", one.values.join(", ")))
        }
        (Gt, Lt) if single => {
            let (low, high) = (number(one)?, number(other)?);
            (low >= high).then(|| format!("no number is above {low} and below {high}"))
        }
        (Prefix, NotPrefix) if every(|mine, theirs| mine.starts_with(theirs)) => excluded(),
        (Suffix, NotSuffix) if every(|mine, theirs| mine.ends_with(theirs)) => excluded(),
        (Contains, NotContains) if every(|mine, theirs| mine.contains(theirs)) => excluded(),
        (Regex, NotRegex) if every(|mine, theirs| mine == theirs) => excluded(),
        (InCidr, NotInCidr) if every(is_within) => excluded(),
        (Prefix, Prefix) if single && none(|mine, theirs| mine.starts_with(theirs)) => {
            Some("nothing begins with both".to_owned())
        }
        (Suffix, Suffix) if single && none(|mine, theirs| mine.ends_with(theirs)) => {
            Some("nothing ends with both".to_owned())
        }
        (InCidr, InCidr) if single && none(is_within) => Some("no address is in both".to_owned()),
        _ => None,
    }
}

fn number(condition: &MatchCondition) -> Option<f64> {
    condition.values.first()?.parse().ok()
}

/// Whether the one network is part of the other.
fn is_within(inner: &str, outer: &str) -> bool {
    matches!((network(inner), network(outer)), (Ok(inner), Ok(outer)) if outer.contains(&inner))
}
