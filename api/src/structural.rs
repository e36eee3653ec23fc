//! Checks a document against a schema as the API server does, and tells everything that is wrong at once:
//! unknown and missing fields, types, enums, patterns, bounds, repetitions. CEL rules are not run here; `Plan`
//! decides the same things in Rust.
//!
//! The schema is the generated one, so that no bound is written twice.

pub(crate) mod advice;

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use crate::{
    problem::{Problem, field, item},
    spec::pattern::says,
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
    check_written(value, schema, path, &|_| None)
}

/// The same for a value that was read from a text: `written` knows how the text spells a number or boolean, which is
/// what its author means by it.
pub(crate) fn check_written<'a>(
    value: &'a Value,
    schema: &Value,
    path: &str,
    written: &dyn Fn(&str) -> Option<&'a str>,
) -> Vec<Problem> {
    let mut check = SchemaValidator {
        written,
        problems: Vec::new(),
    };
    check.visit(value, schema, path);
    check.problems
}

struct SchemaValidator<'a, 'w> {
    written: &'w dyn Fn(&str) -> Option<&'a str>,
    problems: Vec<Problem>,
}

impl SchemaValidator<'_, '_> {
    fn refuse(&mut self, path: &str, what: impl Into<String>, advice: impl Into<String>) {
        self.problems.push(Problem::new(path, what, advice));
    }

    fn visit(&mut self, value: &Value, schema: &Value, path: &str) {
        if let Some(wanted) = expected_type(value, schema) {
            let spelling = (self.written)(path).map_or_else(|| shown(value), str::to_owned);
            let advice = advice::on_type(value, &spelling, wanted, schema);
            self.refuse(path, format!("must be {wanted}, not {spelling}"), advice);
            return;
        }
        match value {
            Value::Object(map) => self.visit_object(map, schema, path),
            Value::Array(items) => self.visit_list(items, schema, path),
            Value::String(text) => self.problems.extend(check_text(text, schema, path)),
            Value::Number(_) => self.problems.extend(check_number(value, schema, path)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn visit_object(&mut self, map: &Map<String, Value>, schema: &Value, path: &str) {
        if schema["additionalProperties"].is_object() {
            for (name, value) in map {
                self.visit(value, &schema["additionalProperties"], &field(path, name));
            }
            return;
        }
        let Some(properties) = schema["properties"].as_object() else {
            return;
        };
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if map.get(name).is_none_or(Value::is_null) {
                let base = if path.is_empty() {
                    "the document"
                } else {
                    path
                };
                self.refuse(
                    path,
                    format!("{name} is missing"),
                    format!("add {name} to {base}"),
                );
            }
        }
        for (name, value) in map {
            match properties.get(name) {
                Some(_) if value.is_null() => {}
                Some(property) => self.visit(value, property, &field(path, name)),
                None => self.problems.push(unknown(name, properties, path)),
            }
        }
    }

    fn visit_list(&mut self, items: &[Value], schema: &Value, path: &str) {
        let count = items.len() as u64;
        if schema["minItems"]
            .as_u64()
            .is_some_and(|least| count < least)
        {
            self.refuse(
                path,
                "is an empty list",
                "write at least one item, or leave the field out",
            );
        }
        if let Some(most) = schema["maxItems"].as_u64().filter(|most| count > *most) {
            // The items are left alone: a list that is far too long would drown everything else.
            self.refuse(
                path,
                format!("has {count} items"),
                format!("write at most {most}"),
            );
            return;
        }
        let set = schema["x-kubernetes-list-type"] == "set";
        for (index, value) in items.iter().enumerate() {
            let here = item(path, index);
            if set && items[..index].contains(value) {
                self.refuse(
                    &here,
                    format!("is {} again", shown(value)),
                    "list each once",
                );
            }
            self.visit(value, &schema["items"], &here);
        }
    }
}

/// What the schema wants where `value` is of another type.
fn expected_type(value: &Value, schema: &Value) -> Option<&'static str> {
    let found = type_of(value);
    let whole = found == "integer";
    let (fits, wanted) = match schema["type"].as_str() {
        None if schema["x-kubernetes-int-or-string"] == true => {
            (whole || found == "string", advice::INTEGER_OR_STRING)
        }
        None => (true, ""),
        Some("integer") => (whole, advice::INTEGER),
        Some("number") => (whole || found == "number", "a number"),
        Some("string") => (found == "string", advice::STRING),
        Some("boolean") => (found == "boolean", advice::BOOLEAN),
        Some("array") => (found == "array", advice::LIST),
        Some(_) => (found == "object", advice::MAPPING),
    };
    (!fits).then_some(wanted)
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

fn unknown(name: &str, properties: &Map<String, Value>, path: &str) -> Problem {
    let what = format!("there is no field {name:?} here");
    let advice = if RESERVED.contains(&name) {
        "remove it; the name is reserved for a later version".to_owned()
    } else if let Some(near) = nearest(name, properties.keys().map(String::as_str)) {
        format!("did you mean {near}?")
    } else {
        let fields = properties
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        format!("remove it; the fields here are {fields}")
    };
    Problem {
        on_key: true,
        ..Problem::new(field(path, name), what, advice)
    }
}

/// The candidate that a slip of the pen would turn into `name`; none if two are as near. Of a short word each letter
/// counts: `Gte` is not a slip for `Gt`.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let distance = |candidate: &str| {
        strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase())
    };
    let mut near: Vec<_> = candidates
        .map(|candidate| (distance(candidate), candidate))
        .collect();
    near.sort_unstable();
    let (nearest, candidate) = *near.first()?;
    let alone = near.get(1).is_none_or(|(next, _)| *next > nearest);
    (alone && nearest <= name.chars().count().saturating_sub(1) / 3).then_some(candidate)
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
    if schema["minLength"]
        .as_u64()
        .is_some_and(|least| length < least)
    {
        return Some(Problem::new(
            path,
            "is empty",
            "write at least one character, or leave the field out",
        ));
    }
    if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
        let advice = format!("write at most {most}");
        return Some(Problem::new(
            path,
            format!("has {length} characters"),
            advice,
        ));
    }
    let pattern = schema["pattern"].as_str()?;
    (!matches(pattern, text)).then(|| {
        let what = says(pattern).map_or("is not written as it should be", |(what, _)| what);
        Problem::new(
            path,
            format!("{shown} {what}"),
            advice::on_text(text, schema),
        )
    })
}

fn check_number(value: &Value, schema: &Value, path: &str) -> Option<Problem> {
    let number = value.as_f64()?;
    let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    let outside =
        least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most);
    outside.then(|| {
        Problem::new(
            path,
            format!("is {value}"),
            advice::bounds(schema).unwrap_or_default(),
        )
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
    RegexBuilder::new(pattern)
        .unicode(false)
        .build()
        .expect("a pattern of the generated schema")
}
