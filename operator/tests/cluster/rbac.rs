//! The chart's roles and what the operator says that it asks of the API server: the same, verb by verb. The API server of
//! these tests refuses whatever is not said there.

use std::collections::BTreeSet;

use halftone_operator::rbac::{PERMISSIONS, PermissionScope};

const TEMPLATE: &str = include_str!("../../../charts/halftone/templates/rbac.yaml");

/// `group/resource verb`, each alone.
type Grants = BTreeSet<String>;

/// What the roles of the chart grant to one of its parts, in the order of the roles.
fn granted(part: &str) -> Vec<Grants> {
    TEMPLATE
        .split("\nrules:\n")
        .skip(1)
        .map(|rest| role(rest.split("\n---").next().unwrap(), part))
        .collect()
}

/// The rules of one role. Of the template they know one condition: which part it is about.
fn role(text: &str, part: &str) -> Grants {
    let (mut grants, mut group, mut resource) = (Grants::new(), "", "");
    let mut applies = vec![true];
    for line in text.lines().map(str::trim) {
        match line.trim_start_matches("{{- ").trim_end_matches(" }}") {
            condition if condition.starts_with("if eq $part ") => {
                applies.push(condition.ends_with(&format!("{part:?}")))
            }
            condition if condition.starts_with("if ") => {
                panic!("{condition}: teach this test what it means")
            }
            "else" => *applies.last_mut().unwrap() ^= true,
            block if block.starts_with("range ") || block.starts_with("with ") => {
                applies.push(true)
            }
            // What follows the rules may end what was begun before them.
            "end" if applies.len() > 1 => drop(applies.pop()),
            _ if applies.contains(&false) => {}
            rule => {
                let list = |name: &str| {
                    rule.strip_prefix(name)?
                        .strip_prefix(": [")?
                        .strip_suffix(']')
                };
                group = list("- apiGroups").unwrap_or(group);
                resource = list("resources").unwrap_or(resource);
                let verbs = list("verbs")
                    .into_iter()
                    .flat_map(|verbs| verbs.split(", "));
                grants.extend(
                    verbs.map(|verb| format!("{}/{resource} {verb}", group.trim_matches('"'))),
                );
            }
        }
    }
    grants
}

fn asked_for(scope: PermissionScope) -> Grants {
    let there = PERMISSIONS
        .iter()
        .filter(|permission| permission.scope == scope);
    there
        .flat_map(|permission| {
            permission
                .verbs
                .iter()
                .map(|verb| format!("{}/{} {verb}", permission.group, permission.resource))
        })
        .collect()
}

#[test]
fn the_charts_roles_grant_what_the_operator_asks_for_and_nothing_else() {
    let [releases, fleets, default_backends] = &granted("operator")[..] else {
        panic!("there are other roles")
    };
    assert_eq!(*releases, asked_for(PermissionScope::Releases));
    assert_eq!(*fleets, asked_for(PermissionScope::Fleets));
    assert!(default_backends.is_subset(releases), "{default_backends:?}");
    for grants in granted("proxy") {
        let reads = |grant: &String| {
            ["get", "list", "watch"]
                .iter()
                .any(|verb| grant.ends_with(&format!(" {verb}")))
        };
        assert!(
            !grants.is_empty() && grants.iter().all(reads),
            "a proxy only reads: {grants:?}"
        );
    }
}
