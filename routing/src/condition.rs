//! Conditions ready to be asked: which part of the request, which pattern, and whether it must not hold. Of a part
//! with several values (repeated fields, cookies) one suffices, and for a negated operator none may match; a
//! missing value so satisfies every negated one. Once a request has had its effort no condition holds, negated or not.

use std::{io::Write, net::IpAddr, sync::Arc};

use crate::{
    document::{
        rule::{AllOf, MatchCondition, Source},
        units::InvalidValue,
    },
    effort::Effort,
    expression::Budget,
    facts::RequestFacts,
    pattern::{Interner, Pattern},
};

/// A condition ready to be asked.
#[derive(Debug)]
pub(crate) struct CompiledCondition {
    source: Source,
    pattern: Arc<Pattern>,
    negated: bool,
}

/// Any of these, each of which is all of those.
pub(crate) type AnyOf = Box<[Box<[CompiledCondition]>]>;

/// Compiles conditions; the error is told with the place below `any_of`: (alternative, condition). `budget` is that of
/// the document.
pub(crate) fn compile(
    any_of: &[AllOf],
    interner: &mut Interner,
    budget: &mut Budget,
) -> Result<AnyOf, (usize, usize, InvalidValue)> {
    let mut one = |condition: &MatchCondition| {
        Ok(CompiledCondition {
            source: condition.source().clone(),
            pattern: interner.pattern(condition, budget)?,
            negated: condition.operator().is_negated(),
        })
    };
    let all_of = |(outer, all): (usize, &AllOf)| {
        let conditions = all.conditions().iter().enumerate();
        conditions
            .map(|(inner, condition)| one(condition).map_err(|why| (outer, inner, why)))
            .collect()
    };
    any_of.iter().enumerate().map(all_of).collect()
}

/// Whether one of the alternatives holds as a whole.
pub(crate) fn holds(any_of: &AnyOf, facts: &RequestFacts<'_, '_>) -> bool {
    any_of
        .iter()
        .any(|all| all.iter().all(|condition| condition.holds(facts)))
}

impl CompiledCondition {
    fn holds(&self, facts: &RequestFacts<'_, '_>) -> bool {
        if !facts.effort.spend(self.finding(facts)) {
            return false;
        }
        let matches = |value: &[u8]| self.pattern.matches(value, &facts.effort);
        let request = facts.request;
        let found = match &self.source {
            Source::Identity => facts.identity().is_some_and(matches),
            Source::Header(name) => {
                facts.may_have(name.as_str()) && request.field_values(name.as_str()).any(matches)
            }
            Source::Cookie(name) => {
                facts.may_have("cookie") && request.cookie_values(name.as_str()).any(matches)
            }
            Source::Query(name) => request
                .query_values(name.as_str())
                .any(|value| matches(&value)),
            Source::Path => matches(request.path),
            Source::Method => matches(request.method.as_bytes()),
            Source::Host => matches(request.host.as_bytes()),
            Source::ClientIp => self.matches_address(facts.client_ip(), &facts.effort),
        };
        !facts.effort.is_spent() && found != self.negated
    }

    /// Steps that finding the values takes, before any is compared.
    fn finding(&self, facts: &RequestFacts<'_, '_>) -> u64 {
        match &self.source {
            Source::Cookie(_) if facts.may_have("cookie") => 1 + facts.cookie_bytes(),
            Source::Query(_) => 1 + facts.request.query.map_or(0, |query| query.len() as u64),
            _ => 1,
        }
    }

    fn matches_address(&self, address: IpAddr, effort: &Effort) -> bool {
        if let Pattern::Networks(networks) = &*self.pattern {
            return networks.contains(address);
        }
        let mut text = [0; 45];
        let mut rest = &mut text[..];
        // 45 characters hold every address, so that nothing is cut.
        let _ = write!(rest, "{address}");
        let unused = rest.len();
        self.pattern.matches(&text[..text.len() - unused], effort)
    }
}

impl MatchCondition {
    /// Whether it holds for a request that has this one value and no other: for checks ahead of traffic.
    ///
    /// # Errors
    /// An expression that does not compile.
    pub fn holds_for(&self, value: &[u8]) -> Result<bool, InvalidValue> {
        let pattern = Interner::default().pattern(self, &mut Budget::default())?;
        Ok(pattern.matches(value, &Effort::new()) != self.operator().is_negated())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        document::identity::{IdentityForm, IdentitySource},
        field::Field,
        identity::Sources,
        request::Request,
    };

    fn any_of(when: &Value) -> AnyOf {
        let alternatives: Vec<AllOf> =
            serde_json::from_value(when.clone()).expect("good conditions");
        compile(
            &alternatives,
            &mut Interner::default(),
            &mut Budget::default(),
        )
        .expect("compiles")
    }

    fn holds_for(when: &Value, fields: &[(&str, &str)]) -> bool {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| Field {
                name: name.as_bytes(),
                value: value.as_bytes(),
            })
            .collect();
        let peer = "10.1.2.3".parse().expect("an address");
        let from = [IdentitySource::Query("user".parse().expect("a name"))].into();
        let sources = Sources {
            from,
            form: IdentityForm::One,
        };
        let (path, query) = (&b"/api/v2"[..], Some(&b"city=s%7A&user=lin"[..]));
        let request = Request {
            method: "POST",
            host: "shop.example.com",
            path,
            query,
            fields: &fields,
            peer,
        };
        holds(&any_of(when), &RequestFacts::new(&request, &[], &sources))
    }

    fn one(condition: &Value, fields: &[(&str, &str)]) -> bool {
        holds_for(&json!([{"all": [condition]}]), fields)
    }

    #[test]
    fn every_source_is_compared() {
        for (source, name, value) in [
            ("Identity", None, "lin"),
            ("Header", Some("x-city"), "SZ"),
            ("Cookie", Some("city"), "gz"),
            ("Query", Some("city"), "sz"),
            ("Path", None, "/api/v2"),
            ("Method", None, "POST"),
            ("Host", None, "shop.example.com"),
            ("ClientIp", None, "10.1.2.3"),
        ] {
            let mut condition =
                json!({"source": source, "operator": "In", "values": ["other", value]});
            if let Some(name) = name {
                condition["name"] = name.into();
            }
            let fields = [("X-City", "SZ"), ("Cookie", "a=b; city=gz")];
            assert!(one(&condition, &fields), "{source} is {value}");
            condition["values"] = json!(["other"]);
            assert!(!one(&condition, &fields), "{source} is not other");
            condition["operator"] = "NotIn".into();
            assert!(one(&condition, &fields), "{source} is none of other");
        }
    }

    #[test]
    fn every_operator_compares_in_its_way() {
        type Case = (
            &'static str,
            &'static [&'static str],
            &'static [&'static str],
            &'static [&'static str],
        );
        let cases: &[Case] = &[
            ("In", &["a", "b"], &["a", "b"], &["", "c", "ab", "A"]),
            (
                "Prefix",
                &["ab", "x"],
                &["ab", "abc", "x1"],
                &["", "a", "cab"],
            ),
            ("Suffix", &[".csv"], &["a.csv", ".csv"], &["csv", "a.csv2"]),
            ("Contains", &["bot"], &["bot", "a bot!"], &["", "bo t"]),
            (
                "Regex",
                &["^v[0-9]+$", "beta"],
                &["v12", "my-beta-2"],
                &["v", "xv1", ""],
            ),
            (
                "Gt",
                &["10"],
                &["10.5", "11", " 1e3 "],
                &["10", "9", "x", "", "nan", "inf"],
            ),
            ("Lt", &["-1.5"], &["-2"], &["-1.5", "0", "x"]),
            (
                "InCidr",
                &["10.0.0.0/8", "fd00::/8"],
                &["10.9.9.9", "::ffff:10.1.1.1", "fd00::1"],
                &["11.0.0.1", "x", ""],
            ),
        ];
        for (operator, values, matching, other) in cases {
            let condition = |operator: &str| json!({"source": "Header", "name": "X", "operator": operator, "values": values});
            let negated = format!("Not{operator}");
            let has_negation = !matches!(*operator, "Gt" | "Lt");
            for (value, expected) in matching
                .iter()
                .map(|v| (v, true))
                .chain(other.iter().map(|v| (v, false)))
            {
                assert_eq!(
                    one(&condition(operator), &[("X", value)]),
                    expected,
                    "{value:?} {operator} {values:?}"
                );
                if has_negation {
                    assert_eq!(
                        one(&condition(&negated), &[("X", value)]),
                        !expected,
                        "{value:?} {negated} {values:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_missing_value_satisfies_exactly_the_negated_operators() {
        for (operator, values, expected) in [
            ("Exists", json!([]), false),
            ("DoesNotExist", json!([]), true),
            ("In", json!(["a"]), false),
            ("NotIn", json!(["a"]), true),
            ("Prefix", json!(["a"]), false),
            ("NotPrefix", json!(["a"]), true),
            ("Suffix", json!(["a"]), false),
            ("NotSuffix", json!(["a"]), true),
            ("Contains", json!(["a"]), false),
            ("NotContains", json!(["a"]), true),
            ("Regex", json!([".*"]), false),
            ("NotRegex", json!([".*"]), true),
            ("Gt", json!(["0"]), false),
            ("Lt", json!(["0"]), false),
            ("InCidr", json!(["0.0.0.0/0"]), false),
            ("NotInCidr", json!(["0.0.0.0/0"]), true),
        ] {
            for source in ["Header", "Cookie", "Query"] {
                let condition = json!({"source": source, "name": "absent", "operator": operator, "values": values});
                assert_eq!(one(&condition, &[]), expected, "{source} {operator}");
            }
        }
        assert!(
            one(
                &json!({"source": "Header", "name": "X", "operator": "Exists"}),
                &[("x", "")]
            ),
            "empty is present"
        );
    }

    #[test]
    fn of_several_values_one_suffices_and_none_may_match_a_negation() {
        let fields = [("X", "a"), ("x", "b")];
        let condition = |operator| json!({"source": "Header", "name": "X", "operator": operator, "values": ["b"]});
        assert!(one(&condition("In"), &fields));
        assert!(!one(&condition("NotIn"), &fields));
    }

    #[test]
    fn alternatives_are_or_and_conditions_and() {
        let header = |name: &str| json!({"source": "Header", "name": name, "operator": "Exists"});
        let when = json!([{"all": [header("A"), header("B")]}, {"all": [header("C")]}]);
        for (fields, expected) in [
            (&[("A", "")][..], false),
            (&[("A", ""), ("B", "")], true),
            (&[("C", "")], true),
            (&[("B", "")], false),
        ] {
            assert_eq!(holds_for(&when, fields), expected, "{fields:?}");
        }
    }

    proptest! {
        #[test]
        fn a_negated_operator_holds_exactly_where_the_other_does_not(
            operator in prop::sample::select(vec!["In", "Prefix", "Suffix", "Contains", "Regex"]),
            value in "[ab]{1,3}", given in prop::collection::vec("[ab]{0,4}", 0..3),
        ) {
            let fields: Vec<_> = given.iter().map(|value| ("X", value.as_str())).collect();
            let condition = |operator: String| json!({"source": "Header", "name": "X", "operator": operator, "values": [value]});
            prop_assert_ne!(one(&condition(operator.into()), &fields), one(&condition(format!("Not{operator}")), &fields));
        }
    }
}
