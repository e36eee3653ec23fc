//! The field reference as a page, from the schema of the CRD: one section for each object, one row for each field.

use std::{collections::VecDeque, fmt::Write};

use serde_json::Value;

const RATIO: &str = r"^(100|[0-9]{1,2}(\.[0-9]{1,4})?)%$";
const DURATION: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";
const FACTOR: &str = r"^[0-9]{1,3}(\.[0-9]{1,3})?$";

const HEAD: &str = "# Fields of a GrayRelease

<!-- Made from the types in api/src/spec; `UPDATE_DOCS=1 cargo test -p halftone-rollout --test documentation` writes it again. -->

`kubectl explain grayrelease.spec` shows the same. [examples/everything.yaml](../examples/everything.yaml) has every \
field of `spec` in one manifest. A field without a default may be left out unless it says *required*.

| type | written as |
|---|---|
| percent | an integer from 0 to 100, or a string such as `\"12.5%\"` with at most four decimals |
| duration | `500ms`, `30s`, `1m30s`, `1h` |
| factor | a string such as `\"1.5\"` |
| time | RFC 3339, as in `2026-11-21T12:00:00Z` |
";

/// An object with a section of its own.
struct Section<'a> {
    path: String,
    schema: &'a Value,
}

pub(crate) fn page() -> String {
    let crd = serde_json::to_value(halftone_api::crd()).unwrap();
    let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let mut page = HEAD.to_owned();
    let mut described: Vec<Section<'_>> = Vec::new();
    for part in ["spec", "status"] {
        let mut queue = VecDeque::from([Section {
            path: part.to_owned(),
            schema: &root[part],
        }]);
        while let Some(section) = queue.pop_front() {
            if let Some(same) = same(&described, section.schema) {
                write_reference(&mut page, &section, same);
            } else {
                write_section(&mut page, &section);
                queue.extend(children(&section));
                described.push(section);
            }
        }
    }
    page
}

/// The objects inside of an object, required ones first: what `stable` and `gray` share is described at `stable`.
fn children<'a>(section: &Section<'a>) -> Vec<Section<'a>> {
    let properties = section.schema["properties"].as_object().unwrap();
    let required = required(section.schema);
    let child = |(name, schema): (&String, &'a Value)| {
        let (schema, suffix) = element(schema);
        let is_object = schema["properties"].is_object();
        is_object.then(|| {
            (
                !required.contains(&name.as_str()),
                Section {
                    path: format!("{}.{name}{suffix}", section.path),
                    schema,
                },
            )
        })
    };
    let mut children: Vec<_> = properties.iter().filter_map(child).collect();
    children.sort_by_key(|(optional, _)| *optional);
    children.into_iter().map(|(_, section)| section).collect()
}

fn required(schema: &Value) -> Vec<&str> {
    schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The schema of a list's elements, or the schema itself.
fn element(schema: &Value) -> (&Value, &'static str) {
    if schema["items"].is_object() {
        (&schema["items"], "[]")
    } else {
        (schema, "")
    }
}

/// The section that describes the same fields.
fn same<'a>(described: &'a [Section<'_>], schema: &Value) -> Option<&'a Section<'a>> {
    described
        .iter()
        .find(|section| section.schema["properties"] == schema["properties"])
}

fn write_head(page: &mut String, section: &Section<'_>) {
    write!(page, "\n## `{}`\n\n", section.path).unwrap();
    if let Some(description) = section.schema["description"].as_str() {
        write!(page, "{}\n\n", one_line(description)).unwrap();
    }
}

fn write_reference(page: &mut String, section: &Section<'_>, same: &Section<'_>) {
    write_head(page, section);
    writeln!(page, "It has the fields of {}.", link(&same.path)).unwrap();
}

fn link(path: &str) -> String {
    let anchor = path.to_lowercase().replace(['.', '[', ']'], "");
    format!("[{path}](#{anchor})")
}

fn write_section(page: &mut String, section: &Section<'_>) {
    let schema = section.schema;
    write_head(page, section);
    page.push_str("| field | type | default | meaning |\n|---|---|---|---|\n");
    let required = required(schema);
    for (name, field) in schema["properties"].as_object().unwrap() {
        let default = default(field);
        let needed = if required.contains(&name.as_str()) && section.path.starts_with("spec") {
            "required"
        } else {
            ""
        };
        let cell = default
            .as_ref()
            .map_or_else(|| needed.to_owned(), |default| format!("`{default}`"));
        let row = format!(
            "`{name}` | {} | {cell} | {}",
            kind(&format!("{}.{name}", section.path), field),
            meaning(field, default)
        );
        writeln!(page, "| {row} |").unwrap();
    }
    let checks = messages(schema);
    if !checks.is_empty() {
        page.push_str("\nChecked:\n");
        for check in checks {
            writeln!(page, "- {check}").unwrap();
        }
    }
}

fn kind(path: &str, schema: &Value) -> String {
    let (inner, suffix) = element(schema);
    let kind = if inner["properties"].is_object() {
        link(&format!("{path}{suffix}"))
    } else {
        scalar(inner)
    };
    if suffix.is_empty() {
        kind
    } else {
        format!("list of {kind}")
    }
}

fn scalar(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .filter_map(Value::as_str)
            .map(|value| format!("`{value}`"))
            .collect();
        return values.join(" ");
    }
    let whole = schema["x-kubernetes-int-or-string"] == true;
    match (schema["pattern"].as_str(), schema["format"].as_str()) {
        (Some(RATIO), _) => "percent".into(),
        (Some(DURATION), _) => "duration".into(),
        (Some(FACTOR), _) => "factor".into(),
        (_, Some("date-time")) => "time".into(),
        _ if whole => "integer or string".into(),
        _ => schema["type"].as_str().unwrap_or("object").into(),
    }
}

fn default(schema: &Value) -> Option<String> {
    match schema.get("default")? {
        Value::String(text) if text.is_empty() => Some("\"\"".into()),
        Value::String(text) => Some(text.clone()),
        Value::Object(_) => None,
        Value::Array(list) if list.iter().any(Value::is_object) => None,
        other => Some(other.to_string()),
    }
}

fn meaning(schema: &Value, default: Option<String>) -> String {
    let text = one_line(schema["description"].as_str().unwrap_or_default());
    // The column says it.
    let said = default.map(|default| format!(" Default: {default}."));
    let text = said
        .and_then(|said| text.strip_suffix(&said).map(str::to_owned))
        .unwrap_or(text);
    let (inner, _) = element(schema);
    let mut parts = vec![text];
    parts.extend(bounds(schema));
    if !inner["properties"].is_object() {
        parts.extend(
            messages(inner)
                .into_iter()
                .map(|check| format!("Checked: {check}.")),
        );
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" ").replace('|', "\\|")
}

/// Bounds that the description does not say.
fn bounds(schema: &Value) -> Option<String> {
    let number = |key: &str| schema[key].as_u64();
    match (number("minItems"), number("maxItems")) {
        (Some(least), Some(most)) => Some(format!("{least} to {most} items.")),
        (None, Some(most)) => Some(format!("At most {most} items.")),
        _ if is_text(schema) => {
            number("maxLength").map(|most| format!("At most {most} characters."))
        }
        _ => None,
    }
}

fn is_text(schema: &Value) -> bool {
    schema["enum"].is_null() && scalar(schema) == "string"
}

fn messages(schema: &Value) -> Vec<String> {
    let rules = schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten();
    rules
        .filter_map(|rule| rule["message"].as_str())
        .map(one_line)
        .collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
