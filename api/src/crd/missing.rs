//! What a definition in a cluster lacks: it drops such fields without a word. Operator and `halftone check` ask alike.

use serde_json::Value;

/// No more than this many missing fields are named.
const NAMED: usize = 5;

/// The fields of spec and status that this version knows and `theirs`, the schema of GrayReleases in a cluster, does not.
/// Of a field that is missing its own are not named.
#[must_use]
pub fn missing(theirs: &Value) -> Vec<String> {
    missing_of(super::schema(), theirs)
}

/// The same in words: the first few by name, the rest by number.
#[must_use]
pub fn name_few(missing: &[String]) -> String {
    let named = missing
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match missing.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn missing_of(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for part in ["spec", "status"] {
        compare(
            &ours["properties"][part],
            &theirs["properties"][part],
            part,
            &mut found,
        );
    }
    found
}

fn compare(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    for (name, property) in ours["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match theirs["properties"].get(name) {
            Some(other) => compare(property, other, &path, found),
            None => found.push(path),
        }
    }
    if let Some(items) = ours.get("items") {
        compare(items, &theirs["items"], &format!("{path}[]"), found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_that_an_older_definition_lacks_are_named() {
        let schema =
            |spec: Value| json!({"properties": {"spec": {"properties": spec}, "status": {}}});
        let rule = |fields: Value| json!({"items": {"properties": fields}});
        let ours = schema(
            json!({"a": {"properties": {"b": {}, "c": {}}}, "rules": rule(json!({"x": {}, "y": {}}))}),
        );
        let older = schema(
            json!({"a": {"properties": {"b": {}}}, "rules": rule(json!({"x": {}})), "gone": {}}),
        );
        assert_eq!(missing_of(&ours, &older), ["spec.a.c", "spec.rules[].y"]);
        assert_eq!(missing_of(&ours, &ours), [] as [&str; 0]);
        assert_eq!(
            missing_of(&ours, &schema(json!({}))),
            ["spec.a", "spec.rules"]
        );
    }

    #[test]
    fn this_version_lacks_nothing_of_its_own_definition() {
        assert_eq!(missing(crate::crd::schema()), [] as [&str; 0]);
        assert!(missing(&json!({})).len() > 20);
    }

    #[test]
    fn many_fields_are_told_by_their_number() {
        let fields: Vec<String> = (1..=7).map(|number| format!("f{number}")).collect();
        assert_eq!(name_few(&fields), "f1, f2, f3, f4, f5 and 2 more");
        assert_eq!(name_few(&fields[..1]), "f1");
    }
}
