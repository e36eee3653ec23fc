//! Checks a document against a schema as the API server does, and tells everything that is wrong at once:
//! unknown and missing fields, types, enums, patterns, bounds, repetitions. CEL rules are not run here; `Plan`
//! decides the same things in Rust.
//!
//! The schema is the generated one, so that no bound is written twice.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use crate::{
    problem::{Problem, field, item},
    spec::schema::says,
};

/// Fields that later versions will have. Whoever writes one today should hear that it is known and not there yet.
const RESERVED: [&str; 12] = [
    "valuesFrom",
    "bindings",
    "gate",
    "regions",
    "mirror",
    "faults",
    "shield",
    "fuse",
    "lane",
    "assets",
    "versionCookie",
    "notify",
];

/// Everything in which `value`, found at `path`, differs from `schema`. An explicit null counts as absent.
pub(crate) fn check(value: &Value, schema: &Value, path: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    visit(value, schema, path, &mut problems);
    problems
}

fn visit(value: &Value, schema: &Value, path: &str, problems: &mut Vec<Problem>) {
    if let Some(problem) = check_type(value, schema, path) {
        problems.push(problem);
        return;
    }
    match value {
        Value::Object(map) => visit_object(map, schema, path, problems),
        Value::Array(items) => visit_list(items, schema, path, problems),
        Value::String(text) => problems.extend(check_text(text, schema, path)),
        Value::Number(_) => problems.extend(check_number(value, schema, path)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_type(value: &Value, schema: &Value, path: &str) -> Option<Problem> {
    let found = type_of(value);
    let whole = found == "integer";
    let (fits, wanted) = match schema["type"].as_str() {
        None if schema["x-kubernetes-int-or-string"] == true => {
            (whole || found == "string", "an integer or a text")
        }
        None => (true, ""),
        Some("integer") => (whole, "an integer"),
        Some("number") => (whole || found == "number", "a number"),
        Some("string") => (found == "string", "a text"),
        Some("boolean") => (found == "boolean", "true or false"),
        Some("array") => (found == "array", "a list"),
        Some(_) => (found == "object", "a mapping"),
    };
    (!fits).then(|| {
        let what = format!("is {}, not {wanted}", shown(value));
        Problem::new(path, what, type_advice(value, wanted))
    })
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn type_advice(value: &Value, wanted: &str) -> String {
    match (value, wanted) {
        (Value::Number(number), "an integer or a text") => match number.as_f64() {
            Some(whole) if whole.fract() == 0.0 => format!("write {whole}"),
            _ => format!("write it as a text, such as \"{number}%\""),
        },
        (Value::Number(_) | Value::Bool(_), "a text") => format!("put it in quotes: \"{value}\""),
        (Value::String(text), "an integer" | "true or false") if !text.is_empty() => {
            format!("write {wanted} without quotes")
        }
        (_, "a list") => "begin each item with - or write [item, item]".to_owned(),
        (_, "a mapping") => "write its fields as name: value".to_owned(),
        _ => format!("write {wanted}"),
    }
}

/// A value as messages show it: short, and never a whole mapping.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "a mapping".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Null => "empty".to_owned(),
        Value::String(text) if text.chars().count() > 60 => {
            format!("{:?}…", text.chars().take(60).collect::<String>())
        }
        other => other.to_string(),
    }
}

fn visit_object(map: &Map<String, Value>, schema: &Value, path: &str, problems: &mut Vec<Problem>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if map.get(name).is_none_or(Value::is_null) {
            let base = if path.is_empty() { "the document" } else { path };
            let advice = format!("add {name} to {base}");
            problems.push(Problem::new(path, format!("{name} is missing"), advice));
        }
    }
    for (name, value) in map {
        let here = field(path, name);
        match properties.get(name) {
            Some(_) if value.is_null() => {}
            Some(property) => visit(value, property, &here, problems),
            None => problems.push(unknown(name, properties, path)),
        }
    }
}

fn unknown(name: &str, properties: &Map<String, Value>, path: &str) -> Problem {
    let what = format!("there is no field {name:?} here");
    let advice = if RESERVED.contains(&name) {
        "remove it; the name is reserved for a later version".to_owned()
    } else if let Some(near) = nearest(name, properties.keys().map(String::as_str)) {
        format!("did you mean {near}?")
    } else {
        let fields = properties.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        format!("remove it; the fields here are {fields}")
    };
    Problem { on_key: true, ..Problem::new(field(path, name), what, advice) }
}

/// The candidate that a slip of the pen would turn into `name`.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance =
        |candidate: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase());
    let (distance, candidate) = candidates.map(|candidate| (distance(candidate), candidate)).min()?;
    (distance <= (name.chars().count() / 3).max(1)).then_some(candidate)
}

fn visit_list(items: &[Value], schema: &Value, path: &str, problems: &mut Vec<Problem>) {
    let count = items.len() as u64;
    if schema["minItems"].as_u64().is_some_and(|least| count < least) {
        problems.push(Problem::new(
            path,
            "is an empty list",
            "write at least one item, or leave the field out",
        ));
    }
    if let Some(most) = schema["maxItems"].as_u64().filter(|most| count > *most) {
        // The items are left alone: a list that is far too long would drown everything else.
        problems.push(Problem::new(path, format!("has {count} items"), format!("write at most {most}")));
        return;
    }
    let set = schema["x-kubernetes-list-type"] == "set";
    for (index, value) in items.iter().enumerate() {
        let here = item(path, index);
        if set && items[..index].contains(value) {
            problems.push(Problem::new(&here, format!("is {} again", shown(value)), "list each once"));
        }
        visit(value, &schema["items"], &here, problems);
    }
}

fn check_text(text: &str, schema: &Value, path: &str) -> Option<Problem> {
    let shown = shown(&Value::from(text));
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return (!words.contains(&text)).then(|| {
            let advice = match nearest(text, words.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("write one of {}", words.join(", ")),
            };
            Problem::new(path, format!("is {shown}, which it cannot be"), advice)
        });
    }
    let length = text.chars().count() as u64;
    if schema["minLength"].as_u64().is_some_and(|least| length < least) {
        return Some(Problem::new(path, "is empty", "write at least one character, or leave the field out"));
    }
    if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
        let advice = format!("write at most {most}");
        return Some(Problem::new(path, format!("has {length} characters"), advice));
    }
    let pattern = schema["pattern"].as_str()?;
    (!matches(pattern, text)).then(|| {
        let (what, advice) =
            says(pattern).unwrap_or(("is not written as it should be", "see the documentation"));
        Problem::new(path, format!("{shown} {what}"), advice)
    })
}

fn check_number(value: &Value, schema: &Value, path: &str) -> Option<Problem> {
    let number = value.as_f64()?;
    let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    let outside = least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most);
    outside.then(|| {
        let bound = |bound: Option<f64>| bound.map_or_else(String::new, |bound| bound.to_string());
        let advice = format!("write {} to {}", bound(least), bound(most));
        Problem::new(path, format!("is {value}"), advice)
    })
}

/// Patterns are few and the same for every object, so each is compiled once.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if !compiled.contains_key(pattern) {
        compiled.insert(pattern.to_owned(), compile(pattern));
    }
    compiled[pattern].is_match(text)
}

/// Classes are ASCII, as they are to API servers.
fn compile(pattern: &str) -> Regex {
    RegexBuilder::new(pattern).unicode(false).build().expect("a pattern of the generated schema")
}
