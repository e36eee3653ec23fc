//! Runs the CEL rules of the generated schema, each on objects that it accepts and on one that it refuses.

use std::collections::BTreeSet;

use kube_cel::{CompiledSchema, apply_defaults, compile_schema, validate_compiled};
use serde_json::{Value, json};

use crate::{crd::schema, structural};

thread_local! {
    /// Compiling takes longer than a thousand evaluations.
    static COMPILED: CompiledSchema = compile_schema(schema());
}

/// What the API server has to say of an object: the messages of what it refuses.
pub(super) fn refusals(object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut refusals: Vec<String> =
        structural::check(&object["spec"], &schema()["properties"]["spec"], "spec")
            .iter()
            .map(ToString::to_string)
            .collect();
    let errors = COMPILED.with(|compiled| {
        validate_compiled(compiled, &defaulted(object), old.map(defaulted).as_ref()).err()
    });
    let errors = errors
        .into_iter()
        .flat_map(kube_cel::ValidationErrors::into_vec);
    refusals.extend(errors.map(|error| error.message));
    refusals
}

/// The object as the API server stores it: defaults filled in, also inside of what a default has made.
pub(super) fn defaulted(object: &Value) -> Value {
    let mut object = object.clone();
    loop {
        let next = apply_defaults(schema(), &object);
        if next == object {
            return object;
        }
        object = next;
    }
}

pub(super) fn object(spec: &Value) -> Value {
    json!({"metadata": {"name": "checkout"}, "spec": spec})
}

/// The example that has every field.
pub(super) fn everything() -> Value {
    let text = include_str!("../../../examples/everything.yaml");
    let example: Value = serde_saphyr::from_str(text).unwrap();
    object(&example["spec"])
}

/// The same with the value at `pointer`, below the spec, replaced; null removes it.
pub(super) fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match object["spec"].pointer_mut(parent) {
        Some(Value::Object(map)) if value.is_null() => {
            map.remove(name);
        }
        Some(Value::Object(map)) => {
            map.insert(name.to_owned(), value);
        }
        Some(Value::Array(items)) => {
            if let Some(item) = items.get_mut(name.parse::<usize>().unwrap()) {
                *item = value;
            }
        }
        _ => {}
    }
    object
}

fn messages(schema: &Value, found: &mut BTreeSet<String>) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        found.insert(rule["message"].as_str().unwrap().to_owned());
    }
    for property in schema["properties"]
        .as_object()
        .into_iter()
        .flat_map(|properties| properties.values())
    {
        messages(property, found);
    }
    if let Some(items) = schema.get("items") {
        messages(items, found);
    }
}

/// The cases that the API server accepts, or refuses: `at`, `value` and, where refused, words of the `message`.
fn cases(of: &str) -> Vec<Value> {
    let mut cases: Value = serde_saphyr::from_str(include_str!("cases.yaml")).unwrap();
    serde_json::from_value(cases[of].take()).unwrap()
}

#[test]
fn every_rule_accepts_what_is_right() {
    assert_eq!(
        refusals(&everything(), Some(&everything())),
        Vec::<String>::new()
    );
    for case in cases("accepted") {
        let pointer = case["at"].as_str().unwrap();
        let object = with(everything(), pointer, case["value"].clone());
        assert_eq!(
            refusals(&object, Some(&object)),
            Vec::<String>::new(),
            "{pointer}: {object}"
        );
    }
    let plain = with(
        with(everything(), "/gray", Value::Null),
        "/targetRatio",
        Value::Null,
    );
    assert_eq!(refusals(&plain, None), Vec::<String>::new());
}

#[test]
fn every_rule_refuses_what_is_wrong_and_says_so() {
    let mut untested = BTreeSet::new();
    messages(schema(), &mut untested);
    assert!(untested.len() > 20, "{untested:?}");
    for case in cases("refused") {
        let (pointer, message) = (
            case["at"].as_str().unwrap(),
            case["message"].as_str().unwrap(),
        );
        let object = with(everything(), pointer, case["value"].clone());
        let old = everything();
        let refusals = refusals(&object, Some(&old));
        assert!(
            refusals.len() == 1 && refusals[0].contains(message),
            "{pointer} should meet {message}: {refusals:?}"
        );
        untested.retain(|rule| !rule.contains(message));
    }
    let force = with(
        with(
            with(everything(), "/gray", Value::Null),
            "/targetRatio",
            Value::Null,
        ),
        "/force",
        json!("Gray"),
    );
    assert!(refusals(&force, None)[0].contains("force: Gray needs a gray arm"));
    untested.retain(|rule| !rule.contains("force: Gray needs a gray arm"));
    let cookie = json!([{"generated": {"domain": "co.uk"}}]);
    let shared = with(
        with(everything(), "/hosts", json!(["shop.co.uk"])),
        "/identity/from",
        cookie,
    );
    assert!(refusals(&shared, None)[0].contains("belongs to many"));
    untested.retain(|rule| !rule.contains("belongs to many"));
    assert_eq!(untested, BTreeSet::new(), "rules that no example breaks");
}

#[test]
fn reading_applies_the_defaults_of_the_schema() {
    let minimal: Value =
        serde_saphyr::from_str(include_str!("../../../examples/minimal.yaml")).unwrap();
    for spec in [
        minimal["spec"].clone(),
        everything()["spec"].clone(),
        sparse(),
    ] {
        let stored = defaulted(&object(&spec));
        let read =
            |spec: &Value| serde_json::from_value::<crate::GrayReleaseSpec>(spec.clone()).unwrap();
        let written = serde_json::to_value(read(&spec)).unwrap();
        assert_eq!(read(&spec), read(&stored["spec"]));
        // Defaults inside lists are not in the schema, so what was read has more than what is stored, never less.
        assert_eq!(missing(&stored["spec"], &written), Vec::<String>::new());
    }
}

/// Has each optional object with as little in it as it takes.
fn sparse() -> Value {
    json!({
        "hosts": ["*"],
        "stable": {"service": {"name": "a", "port": 80}, "version": "1", "healthCheck": {"path": "/"}, "timeouts": {}},
        "debug": {"value": "x"},
        "identity": {"salt": "s"},
        "health": {"maxLatency": {}, "versusStable": {"p99": "2"}},
        "versionHeader": {},
        "onOperatorLost": {"action": "Stable"},
    })
}

/// The paths of what `stored` has and `read` has not, or has otherwise.
fn missing(stored: &Value, read: &Value) -> Vec<String> {
    match (stored, read) {
        (Value::Object(stored), Value::Object(read)) => stored
            .iter()
            .flat_map(|(name, value)| match read.get(name) {
                Some(read) => missing(value, read)
                    .into_iter()
                    .map(|path| format!("{name}.{path}"))
                    .collect(),
                None if value.as_array().is_some_and(Vec::is_empty) => Vec::new(),
                None => vec![name.clone()],
            })
            .collect(),
        (Value::Array(stored), Value::Array(read)) if stored.len() == read.len() => stored
            .iter()
            .zip(read)
            .flat_map(|(stored, read)| missing(stored, read))
            .collect(),
        _ if stored == read => Vec::new(),
        _ => vec![format!("{stored} is read as {read}")],
    }
}
