//! The CustomResourceDefinition, generated from the types of `crate::spec`.
//!
//! kube derives it; what is left to do here is what its derive cannot say: no `nullable` (the API server then
//! takes an explicit null for an absent field, as a person means it), no defaults inside lists (they would show
//! as drift to whoever compares a live object with the one in Git), and descriptions without line breaks.
//! `crds/grayreleases.halftone.dev.yaml` is its text; `crate::structural` checks objects against its schema.

mod missing;

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value};

pub use self::missing::{missing, name_few};
use crate::spec::GrayRelease;

/// The CustomResourceDefinition of GrayRelease. Unlike [`GrayRelease::crd`] it is complete.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = serde_json::to_value(GrayRelease::crd()).expect("a CRD is plain data");
    let schema = crd
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .expect("the derive writes one version with a schema");
    finish(schema);
    shorten_defaults(&mut schema["properties"]["spec"]);
    loosen(&mut schema["properties"]["status"]);
    serde_json::from_value(crd).expect("finishing keeps the shape of a CRD")
}

/// The CustomResourceDefinition as YAML, as `crds/grayreleases.halftone.dev.yaml` holds it.
pub fn crd_yaml() -> String {
    let mut crd = serde_json::to_value(crd()).expect("a CRD is plain data");
    write_whole_numbers(&mut crd);
    serde_saphyr::to_string(&crd).expect("a CRD is plain data")
}

/// The schema of a whole GrayRelease, as the API server applies it.
pub(crate) fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let mut crd = serde_json::to_value(crd()).expect("a CRD is plain data");
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take()
    });
    &SCHEMA
}

/// Bounds are floats to the types of Kubernetes; people write and compare them as integers.
fn write_whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = number
                .as_f64()
                .filter(|number| number.fract() == 0.0 && number.abs() < 1e15)
            {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers),
        Value::Object(map) => map.values_mut().for_each(write_whole_numbers),
        _ => {}
    }
}

fn finish(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    map.remove("nullable");
    describe(map);
    for_each_property(map, finish);
    if let Some(items) = map.get_mut("items") {
        finish(items);
        drop_defaults(items);
    }
}

/// The longest word of a status whose words are listed in its description.
const LONGEST_WORD: u64 = 63;

/// What a later version writes into a status must be taken by the schema of an earlier one, which is what is installed
/// after `helm rollback`: no list of words and no field that has to be there, only lengths. Conditions are Kubernetes'
/// own type and stay as they are.
fn loosen(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    if map.contains_key("x-kubernetes-list-map-keys") {
        return;
    }
    map.remove("required");
    if let Some(Value::Array(words)) = map.remove("enum") {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        if let Some(Value::String(text)) = map.get_mut("description") {
            *text = format!(
                "{text} One of {}; later versions may write others.",
                words.join(", ")
            );
        }
        map.insert("maxLength".to_owned(), LONGEST_WORD.into());
    }
    for_each_property(map, loosen);
    if let Some(items) = map.get_mut("items") {
        loosen(items);
    }
}

/// Descriptions in one line, with range and default, which `kubectl explain` does not show otherwise.
fn describe(map: &mut Map<String, Value>) {
    let range = match (
        map.get("minimum").and_then(Value::as_f64),
        map.get("maximum").and_then(Value::as_f64),
    ) {
        (Some(least), Some(most)) if map.get("type").is_some() => format!(" {least} to {most}."),
        _ => String::new(),
    };
    let default = match map.get("default") {
        Some(Value::String(text)) if !text.is_empty() => format!(" Default: {text}."),
        Some(default @ (Value::Number(_) | Value::Bool(_))) => format!(" Default: {default}."),
        _ => String::new(),
    };
    if let Some(Value::String(text)) = map.get_mut("description") {
        let line = |paragraph: &str| paragraph.replace('\n', " ");
        *text = text
            .split("\n\n")
            .map(line)
            .collect::<Vec<_>>()
            .join("\n\n")
            + &range
            + &default;
    }
}

fn drop_defaults(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    map.remove("default");
    for_each_property(map, drop_defaults);
    if let Some(items) = map.get_mut("items") {
        drop_defaults(items);
    }
}

/// `{}` stands for an object whose fields have defaults of their own; each is then written once.
fn shorten_defaults(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    if let Some(Value::Object(default)) = map.get_mut("default") {
        default.clear();
    }
    for_each_property(map, shorten_defaults);
}

fn for_each_property(schema: &mut Map<String, Value>, change: fn(&mut Value)) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(change);
    }
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod cel;
#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crds/grayreleases.halftone.dev.yaml"
    );

    #[test]
    fn the_crd_in_the_repository_is_the_generated_one() {
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(FILE, crd_yaml()).unwrap();
        }
        let file = std::fs::read_to_string(FILE).unwrap_or_default();
        assert!(
            file == crd_yaml(),
            "crds/grayreleases.halftone.dev.yaml is out of date: run `make crd`, or this test with UPDATE=1"
        );
    }

    fn visit(
        schema: &Value,
        path: &str,
        within_list: bool,
        check: &mut dyn FnMut(&Value, &str, bool),
    ) {
        check(schema, path, within_list);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            visit(property, &format!("{path}.{name}"), within_list, check);
        }
        if let Some(items) = schema.get("items") {
            visit(items, &format!("{path}[]"), true, check);
        }
    }

    #[test]
    fn api_servers_take_the_schema_without_a_warning() {
        visit(schema(), "", false, &mut |schema, path, _| {
            assert_eq!(schema.get("nullable"), None, "{path}");
            let format = schema["format"].as_str();
            assert!(
                matches!(format, None | Some("int32" | "int64" | "date-time")),
                "{path}: format {format:?}"
            );
            let typed = schema.get("type").is_some();
            let int_or_string = schema["x-kubernetes-int-or-string"] == true;
            assert!(typed != int_or_string, "{path} has no type");
        });
    }

    #[test]
    fn a_status_that_a_later_version_writes_is_taken() {
        let (mut words, mut required) = (Vec::new(), Vec::new());
        visit(
            &schema()["properties"]["status"],
            "status",
            false,
            &mut |schema, path, _| {
                if path.starts_with("status.conditions") {
                    return;
                }
                words.extend(schema.get("enum").map(|_| path.to_owned()));
                required.extend(schema.get("required").map(|_| path.to_owned()));
            },
        );
        assert!(
            words.is_empty() && required.is_empty(),
            "enum: {words:?}, required: {required:?}"
        );
        let phase = &schema()["properties"]["status"]["properties"]["phase"];
        assert_eq!(phase["maxLength"], 63);
        assert!(
            phase["description"]
                .as_str()
                .unwrap()
                .contains("One of Pending, Programming"),
            "{phase}"
        );
    }

    #[test]
    fn every_field_of_the_spec_is_described_for_kubectl_explain() {
        visit(
            &schema()["properties"]["spec"],
            "spec",
            false,
            &mut |schema, path, _| {
                let described = schema["description"]
                    .as_str()
                    .is_some_and(|text| text.len() > 10 && !text.contains('\n'));
                assert!(
                    described || path.ends_with("[]"),
                    "{path} has no description in one line"
                );
            },
        );
    }

    #[test]
    fn every_list_and_string_of_the_spec_is_bounded() {
        visit(
            &schema()["properties"]["spec"],
            "spec",
            false,
            &mut |schema, path, _| match schema["type"].as_str() {
                Some("array") => {
                    assert!(
                        schema["maxItems"].is_u64() && schema["x-kubernetes-list-type"].is_string(),
                        "{path}"
                    );
                }
                Some("string") => assert!(
                    schema["maxLength"].is_u64() || schema["enum"].is_array(),
                    "{path}"
                ),
                Some("integer") => {
                    assert!(
                        schema["minimum"].is_number() && schema["maximum"].is_number(),
                        "{path}"
                    );
                }
                _ => {}
            },
        );
    }

    #[test]
    fn no_default_inside_a_list_shows_as_drift() {
        visit(schema(), "", false, &mut |schema, path, within_list| {
            assert!(!within_list || schema.get("default").is_none(), "{path}");
        });
    }

    #[test]
    fn a_new_object_looks_unseen() {
        assert_eq!(
            schema()["properties"]["status"]["default"],
            serde_json::json!({"observedGeneration": -1})
        );
    }
}
