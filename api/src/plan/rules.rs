//! From rules and conditions as written to those of the routing document.

use halftone_routing::document::{
    network,
    rule::{AllOf, MatchCondition, Operator, Rule, Source, SourceKind, Target},
};

use super::reader::{SpecReader, distinct};
use crate::{
    problem::field,
    spec::{
        self, ConditionGroup, RuleSpec,
        pattern::{NUMBER, TOKEN},
        rules::{self, ValidationRule as Check},
    },
    structural::matches,
};

/// The rules in order. Without gray those to gray are left out: there is nobody to send to.
pub(super) fn read(
    reader: &mut SpecReader,
    path: &str,
    rules: &[RuleSpec],
    has_gray: bool,
) -> Option<Vec<Rule>> {
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    let differ = names
        .iter()
        .enumerate()
        .all(|(at, name)| !names[..at].contains(name));
    reader.require(differ, path, rules::RULE_NAMES_DIFFER);
    let read = reader.each(path, rules, rule);
    let rules = read?
        .into_iter()
        .filter(|rule| has_gray || rule.to == Target::Stable)
        .collect();
    differ.then_some(rules)
}

fn rule(reader: &mut SpecReader, path: &str, rule: &RuleSpec) -> Option<Rule> {
    let name = reader.text(&field(path, "name"), &rule.name);
    let when = groups(reader, &field(path, "when"), &rule.when);
    Some(Rule {
        name: name?,
        to: rule.to,
        keep_on_rollback: rule.keep_on_rollback,
        when: when?,
    })
}

/// Groups of conditions, as in `when` and `health.exclude`.
pub(super) fn groups(
    reader: &mut SpecReader,
    path: &str,
    groups: &[ConditionGroup],
) -> Option<Vec<AllOf>> {
    reader.each(path, groups, |reader, path, group| {
        let path = field(path, "all");
        let conditions = reader.each(&path, &group.all, condition)?;
        reader.valid(&path, AllOf::try_from(conditions))
    })
}

/// One condition of a spec that is sound.
pub(crate) fn parse(condition: &spec::MatchCondition) -> Option<MatchCondition> {
    self::condition(&mut SpecReader::default(), "", condition)
}

fn condition(
    reader: &mut SpecReader,
    path: &str,
    condition: &spec::MatchCondition,
) -> Option<MatchCondition> {
    let sound = check(reader, path, condition);
    let source = source(reader, path, condition);
    let operator = condition.operator;
    if matches!(operator, Operator::Regex | Operator::NotRegex) {
        compile(reader, &field(path, "values"), &condition.values)?;
    }
    sound?;
    reader.valid(
        path,
        MatchCondition::new(source?, operator, distinct(condition.values.clone())),
    )
}

/// What the CEL rules of a condition say.
fn check(reader: &mut SpecReader, path: &str, condition: &spec::MatchCondition) -> Option<()> {
    use Operator::{
        Contains, DoesNotExist, Exists, Gt, InCidr, Lt, NotContains, NotInCidr, NotPrefix,
        NotSuffix, Prefix, Suffix,
    };
    let spec::MatchCondition {
        source,
        name,
        operator,
        values,
    } = condition;
    let named = matches!(
        source,
        SourceKind::Header | SourceKind::Cookie | SourceKind::Query
    );
    let token = matches!(source, SourceKind::Header | SourceKind::Cookie);
    let checks: [(bool, Check); 5] = [
        (name.is_some() == named, rules::NAME_BY_SOURCE),
        (
            !token || name.as_ref().is_none_or(|name| matches(TOKEN, name)),
            rules::NAME_IS_TOKEN,
        ),
        (
            matches!(operator, Exists | DoesNotExist) == values.is_empty(),
            rules::VALUES_BY_OPERATOR,
        ),
        (
            !matches!(operator, Gt | Lt)
                || values.is_empty()
                || values.len() == 1 && matches(NUMBER, &values[0]),
            rules::ONE_NUMBER,
        ),
        (
            !matches!(
                operator,
                Prefix | NotPrefix | Suffix | NotSuffix | Contains | NotContains
            ) || !values.iter().any(String::is_empty),
            rules::NOT_EMPTY,
        ),
    ];
    let broken: Vec<Check> = checks
        .into_iter()
        .filter(|(holds, _)| !holds)
        .map(|(_, check)| check)
        .collect();
    for check in &broken {
        reader.refuse(path, check.what, check.advice);
    }
    let networks = matches!(operator, InCidr | NotInCidr)
        .then(|| networks(reader, &field(path, "values"), values));
    (broken.is_empty() && networks != Some(None)).then_some(())
}

fn networks(reader: &mut SpecReader, path: &str, values: &[String]) -> Option<()> {
    reader.each(path, values, |reader, path, value| {
        reader.valid(path, network(value))
    })?;
    Some(())
}

fn source(reader: &mut SpecReader, path: &str, condition: &spec::MatchCondition) -> Option<Source> {
    let path = field(path, "name");
    let name = condition.name.as_deref();
    Some(match condition.source {
        SourceKind::Identity => Source::Identity,
        SourceKind::Header => Source::Header(reader.text(&path, name?)?),
        SourceKind::Cookie => Source::Cookie(reader.text(&path, name?)?),
        SourceKind::Query => Source::Query(reader.text(&path, name?)?),
        SourceKind::Path => Source::Path,
        SourceKind::Method => Source::Method,
        SourceKind::Host => Source::Host,
        SourceKind::ClientIp => Source::ClientIp,
    })
}

/// Each expression with its place, as proxies will compile it; all of the release share one budget.
fn compile(reader: &mut SpecReader, path: &str, patterns: &[String]) -> Option<()> {
    reader.each(path, patterns, |reader, path, pattern| {
        let checked = reader.expressions.check(pattern);
        reader.valid(path, checked)
    })?;
    Some(())
}
