//! JSON merge patches (RFC 7386).

use serde_json::{Value, json};

/// Merges `patch` into a value: `null` removes a field, objects are merged, everything else is replaced.
pub fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        into.clone_from(patch);
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in fields {
        match into.as_object_mut() {
            Some(object) if value.is_null() => drop(object.remove(name)),
            _ => merge(&mut into[name], value),
        }
    }
}

/// Removes the fields that `earlier` has and `now` does not: what whoever applied both has given up.
pub(crate) fn remove_given_up(from: &mut Value, earlier: &Value, now: &Value) {
    let (Some(object), Value::Object(earlier)) = (from.as_object_mut(), earlier) else {
        return;
    };
    for (name, value) in earlier {
        match (object.get_mut(name), now.get(name)) {
            (Some(present), Some(now)) => remove_given_up(present, value, now),
            _ => drop(object.remove(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(mut into: Value, patch: &Value) -> Value {
        merge(&mut into, patch);
        into
    }

    #[test]
    fn a_patch_replaces_what_it_names_and_null_removes_it() {
        let object = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        assert_eq!(
            merged(object.clone(), &json!({"a": {"b": 2}})),
            json!({"a": {"b": 2, "c": [1, 2]}, "d": 1})
        );
        assert_eq!(
            merged(object.clone(), &json!({"a": {"c": [3]}, "d": null})),
            json!({"a": {"b": 1, "c": [3]}})
        );
        assert_eq!(
            merged(object, &json!({"d": {"e": {"f": null}}})["d"]),
            json!({"a": {"b": 1, "c": [1, 2]}, "d": 1, "e": {}})
        );
    }

    #[test]
    fn what_is_not_applied_again_is_removed_and_what_others_wrote_stays() {
        let mut object = json!({"data": {"a": 1, "b": 2, "theirs": 3}});
        remove_given_up(
            &mut object,
            &json!({"data": {"a": 1, "b": 2}}),
            &json!({"data": {"a": 4}}),
        );
        assert_eq!(object, json!({"data": {"a": 1, "theirs": 3}}));
    }
}
