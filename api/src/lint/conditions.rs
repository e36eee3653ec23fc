//! Rules and conditions that cannot do what they seem to: never match, always match, are never reached.

use std::net::IpAddr;

use halftone_routing::path;

use super::{Notes, contradictions, expressions};
use crate::{
    manifest::Manifest,
    problem::{Problem, field, item},
    spec::{ConditionGroup, MatchCondition, Operator, RuleSpec, SourceKind, Target},
};

pub(super) fn notes(manifest: &Manifest) -> Notes {
    let spec = &manifest.release.spec;
    let mut notes = Notes::new();
    for (at, rule) in spec.rules.iter().enumerate() {
        let path = item("spec.rules", at);
        notes.extend(groups(&field(&path, "when"), &rule.when));
        if let Some(earlier) = spec.rules[..at]
            .iter()
            .find(|earlier| shadows(earlier, rule))
        {
            let what = format!(
                "rule {} before it matches whatever this one does, so it is never reached",
                earlier.name
            );
            notes.push((
                "RuleUnreachable",
                Problem::new(&path, what, "move it before that rule or remove it"),
            ));
        }
        if rule.keep_on_rollback && rule.to == Target::Stable {
            let what = "a rule to Stable holds after a rollback anyway";
            notes.push((
                "NoEffect",
                Problem::new(field(&path, "keepOnRollback"), what, "remove it"),
            ));
        }
    }
    notes.extend(groups("spec.health.exclude", &spec.health.exclude));
    notes
}

/// Whether `earlier` matches every request that `later` matches: each group of the later one has all the
/// conditions of some group of the earlier one.
fn shadows(earlier: &RuleSpec, later: &RuleSpec) -> bool {
    let covered = |group: &ConditionGroup| {
        earlier.when.iter().any(|other| {
            other
                .all
                .iter()
                .all(|condition| group.all.contains(condition))
        })
    };
    later.when.iter().all(covered)
}

fn groups(path: &str, groups: &[ConditionGroup]) -> Notes {
    let mut notes = Notes::new();
    for (at, group) in groups.iter().enumerate() {
        let path = field(&item(path, at), "all");
        for (at, condition) in group.all.iter().enumerate() {
            notes.extend(condition_notes(&item(&path, at), condition));
        }
        notes.extend(contradictions::notes(&path, &group.all));
    }
    notes
}

fn condition_notes(path: &str, condition: &MatchCondition) -> Notes {
    let mut notes = Notes::new();
    let always_there = matches!(
        condition.source,
        SourceKind::Path | SourceKind::Method | SourceKind::Host | SourceKind::ClientIp
    );
    match condition.operator {
        Operator::Exists if always_there => {
            let what = format!(
                "every request has a {:?}, so this always holds",
                condition.source
            );
            notes.push((
                "AlwaysMatches",
                Problem::new(path, what, "remove the condition"),
            ));
        }
        Operator::DoesNotExist if always_there => {
            let what = format!(
                "every request has a {:?}, so this never holds",
                condition.source
            );
            notes.push((
                "NeverMatches",
                Problem::new(path, what, "remove the condition"),
            ));
        }
        Operator::In | Operator::NotIn => {
            for (at, value) in condition.values.iter().enumerate() {
                if let Some((what, advice)) = impossible(condition.source, value) {
                    let path = item(&field(path, "values"), at);
                    notes.push(("NeverMatches", Problem::new(path, what, advice)));
                }
            }
        }
        Operator::InCidr | Operator::NotInCidr
            if matches!(condition.source, SourceKind::Path | SourceKind::Method) =>
        {
            let what = format!("a {:?} is no address", condition.source);
            notes.push((
                "NeverMatches",
                Problem::new(path, what, "compare it with In or Prefix"),
            ));
        }
        Operator::Gt | Operator::Lt if always_there && condition.source != SourceKind::Host => {
            let what = format!("a {:?} is no number", condition.source);
            notes.push((
                "NeverMatches",
                Problem::new(path, what, "compare it with In or Prefix"),
            ));
        }
        _ => {}
    }
    for (at, value) in condition.values.iter().enumerate() {
        if let Some((what, advice)) = never_part(condition, value) {
            let path = item(&field(path, "values"), at);
            notes.push(("NeverMatches", Problem::new(path, what, advice)));
        }
    }
    for (at, value) in condition.values.iter().enumerate() {
        if condition.values[..at].contains(value) {
            let path = item(&field(path, "values"), at);
            notes.push((
                "Repeated",
                Problem::new(path, format!("{value:?} is there already"), "remove it"),
            ));
        }
    }
    notes
}

/// Why no value of the source ever begins with, ends with, contains or matches this.
fn never_part(condition: &MatchCondition, value: &str) -> Option<(String, String)> {
    use Operator::{Contains, NotContains, NotPrefix, NotRegex, NotSuffix, Prefix, Regex, Suffix};
    let source = condition.source;
    match condition.operator {
        Regex | NotRegex => return expressions::never(source, value),
        Prefix | NotPrefix | Suffix | NotSuffix | Contains | NotContains => {}
        _ => return None,
    }
    let begins = matches!(condition.operator, Prefix | NotPrefix);
    match source {
        SourceKind::Path if begins && !value.starts_with('/') => Some((
            format!("every path begins with /, and {value:?} does not"),
            format!("write /{value}"),
        )),
        SourceKind::Path if value.contains(['?', '#']) => Some((
            format!("{value:?} has what no path has; the query is not part of it"),
            "compare the query by source: Query".to_owned(),
        )),
        SourceKind::Host if value.contains('*') => Some((
            format!("no host has the * of {value:?}"),
            "leave it out; Suffix means any beginning".to_owned(),
        )),
        SourceKind::Host if value.bytes().any(|byte| byte.is_ascii_uppercase()) => Some((
            format!("hosts are matched in lower case, and {value:?} is not"),
            format!("write {}", value.to_ascii_lowercase()),
        )),
        SourceKind::Method if begins && value.bytes().any(|byte| byte.is_ascii_lowercase()) => {
            Some((
                format!("methods are compared as they are sent, and none begins with {value:?}"),
                format!("write {}", value.to_uppercase()),
            ))
        }
        _ => None,
    }
}

/// Why the source can never be equal to the value.
fn impossible(source: SourceKind, value: &str) -> Option<(String, String)> {
    match source {
        SourceKind::Method if value.bytes().any(|byte| byte.is_ascii_lowercase()) => Some((
            format!("methods are compared as they are sent, and none is {value}"),
            format!("write {}", value.to_uppercase()),
        )),
        SourceKind::Host => {
            let normal: Option<halftone_routing::document::names::HostPattern> = value.parse().ok();
            match normal {
                Some(normal) if normal.as_str() == value && !value.starts_with('*') => None,
                Some(normal) if !value.starts_with('*') => Some((
                    format!("hosts are matched in lower case, and none is {value}"),
                    format!("write {normal}"),
                )),
                _ => Some((
                    format!("no host is {value}"),
                    "write a name without port; use Suffix for a domain".to_owned(),
                )),
            }
        }
        SourceKind::Path if !value.starts_with('/') => Some((
            format!("every path begins with /, and {value:?} does not"),
            format!("write /{value}"),
        )),
        SourceKind::Path => match path::normalise(value.as_bytes()) {
            Ok(normal) if *normal == *value.as_bytes() => None,
            Ok(normal) => {
                let normal = String::from_utf8_lossy(&normal);
                Some((
                    format!("paths are matched in normal form, and {value:?} is {normal}"),
                    format!("write {normal}"),
                ))
            }
            Err(error) => Some((
                format!("no path is {value:?}: {error}"),
                "correct it".to_owned(),
            )),
        },
        SourceKind::ClientIp if value.parse::<IpAddr>().is_err() => Some((
            format!("{value:?} is no address"),
            "use InCidr for networks".to_owned(),
        )),
        _ => None,
    }
}
