//! YAML or JSON as a tree that knows where each value stands. Scalars are typed as the API server's reader types
//! them, so that an unquoted `1.10` is a number here, too, and not a version.

use std::{collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned, UserMessageFormatter};

use crate::{
    finding::Position,
    problem::{Problem, field, item},
};

enum YamlNode {
    Null,
    Scalar(Value),
    List(Vec<Spanned<YamlNode>>),
    Map(Vec<(Spanned<String>, Spanned<YamlNode>)>),
}

/// One document: its values, and where each stands.
pub(crate) struct ManifestDocument {
    /// The values. A field whose value is null is left out, as the API server does.
    pub(crate) value: Value,
    /// Where they stand.
    pub(crate) places: SourceMap,
}

/// Where the fields of a document stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SourceMap {
    fields: HashMap<String, FieldLocation>,
    start: Option<Position>,
}

#[derive(Clone, Debug, PartialEq)]
struct FieldLocation {
    key: Position,
    value: Position,
    /// A number or boolean as the file spells it: `1.10` is a version to its author and 1.1 to YAML.
    written: Option<String>,
}

impl SourceMap {
    /// How the file spells the number or boolean at `path`.
    pub(crate) fn written(&self, path: &str) -> Option<&str> {
        self.fields.get(path)?.written.as_deref()
    }

    /// Where the value at `path` stands; where it is missing, the nearest that is there and would hold it.
    pub(crate) fn of(&self, path: &str, on_key: bool) -> Position {
        let mut path = path;
        loop {
            if let Some(place) = self.fields.get(path) {
                return if on_key { place.key } else { place.value };
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.start.unwrap_or(Position { line: 1, column: 1 }),
            }
        }
    }
}

/// All documents of a text; empty ones are left out, and a Kubernetes List counts as its items.
///
/// # Errors
/// What makes it no YAML, and where; also a key that is there twice.
pub(crate) fn parse(text: &str) -> Result<Vec<ManifestDocument>, (Position, Problem)> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    let nodes: Vec<Spanned<YamlNode>> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| malformed(&error))?;
    let lines: Vec<&str> = text.lines().collect();
    let mut documents = Vec::new();
    nodes
        .into_iter()
        .for_each(|node| unpack(node, &lines, &mut documents));
    Ok(documents)
}

/// Adds a document, or each item of a List such as `kubectl get -o yaml` prints.
fn unpack(node: Spanned<YamlNode>, lines: &[&str], documents: &mut Vec<ManifestDocument>) {
    match node.value.into_items() {
        Ok(items) => items
            .into_iter()
            .for_each(|item| unpack(item, lines, documents)),
        Err(value) => documents.push(document(Spanned { value, ..node }, lines)),
    }
}

impl YamlNode {
    /// The items of a List; anything else comes back as it was.
    fn into_items(self) -> Result<Vec<Spanned<Self>>, Self> {
        let Self::Map(mut entries) = self else {
            return Err(self);
        };
        let is_list = entries.iter().any(|(key, node)| {
            let kind =
                matches!(&node.value, Self::Scalar(Value::String(kind)) if kind.ends_with("List"));
            key.value == "kind" && kind
        });
        let items = entries
            .iter()
            .position(|(key, node)| key.value == "items" && matches!(node.value, Self::List(_)))
            .filter(|_| is_list);
        let Some(items) = items else {
            return Err(Self::Map(entries));
        };
        match entries.swap_remove(items).1.value {
            Self::List(items) => Ok(items),
            other => Err(other),
        }
    }
}

fn malformed(error: &serde_saphyr::Error) -> (Position, Problem) {
    let start = Position { line: 1, column: 1 };
    let position = error.location().map_or(start, position);
    let message = error
        .without_snippet()
        .render_with_formatter(&UserMessageFormatter);
    let message = message.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or(message);
    let advice = if message.starts_with("tabs ") {
        "indent by spaces"
    } else {
        "correct the YAML here"
    };
    (
        position,
        Problem::new("", format!("cannot be read: {message}"), advice),
    )
}

fn position(location: Location) -> Position {
    Position {
        line: location.line().max(1),
        column: location.column().max(1),
    }
}

fn document(node: Spanned<YamlNode>, lines: &[&str]) -> ManifestDocument {
    let mut places = SourceMap {
        start: Some(position(node.referenced)),
        ..SourceMap::default()
    };
    let value = value(node.value, "", lines, &mut places);
    ManifestDocument { value, places }
}

/// The number or boolean that stands at a location, as it is spelt.
fn spelling(node: &Spanned<YamlNode>, lines: &[&str]) -> Option<String> {
    if !matches!(
        node.value,
        YamlNode::Scalar(Value::Number(_) | Value::Bool(_))
    ) {
        return None;
    }
    let Position { line, column } = position(node.defined);
    let line = lines.get(usize::try_from(line).ok()?.checked_sub(1)?)?;
    let part = |letter: &char| letter.is_ascii_alphanumeric() || "+-._".contains(*letter);
    let text: String = line
        .chars()
        .skip(usize::try_from(column - 1).ok()?)
        .take_while(part)
        .collect();
    (!text.is_empty()).then_some(text)
}

fn value(node: YamlNode, path: &str, lines: &[&str], places: &mut SourceMap) -> Value {
    match node {
        YamlNode::Null => Value::Null,
        YamlNode::Scalar(value) => value,
        YamlNode::List(items) => {
            let item = |(at, node): (usize, Spanned<YamlNode>)| {
                let path = item(path, at);
                let here = position(node.referenced);
                let written = spelling(&node, lines);
                places.fields.insert(
                    path.clone(),
                    FieldLocation {
                        key: here,
                        value: here,
                        written,
                    },
                );
                value(node.value, &path, lines, places)
            };
            items.into_iter().enumerate().map(item).collect()
        }
        YamlNode::Map(entries) => {
            let mut map = Map::new();
            for (key, node) in entries {
                let path = field(path, &key.value);
                let at = position(key.referenced);
                // What a mapping or list is about, its name says, and it may begin lines below.
                let nested = matches!(
                    node.value,
                    YamlNode::Map(_) | YamlNode::List(_) | YamlNode::Null
                );
                let here = if nested {
                    at
                } else {
                    position(node.referenced)
                };
                let written = spelling(&node, lines);
                places.fields.insert(
                    path.clone(),
                    FieldLocation {
                        key: at,
                        value: here,
                        written,
                    },
                );
                let value = value(node.value, &path, lines, places);
                if !value.is_null() {
                    map.insert(key.value, value);
                }
            }
            Value::Object(map)
        }
    }
}

impl<'de> Deserialize<'de> for YamlNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlNodeVisitor)
    }
}

struct YamlNodeVisitor;

impl<'de> Visitor<'de> for YamlNodeVisitor {
    type Value = YamlNode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<YamlNode, E> {
        Ok(YamlNode::Null)
    }

    fn visit_none<E>(self) -> Result<YamlNode, E> {
        Ok(YamlNode::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<YamlNode, E> {
        Ok(YamlNode::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<YamlNode, E> {
        Ok(YamlNode::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<YamlNode, E> {
        Ok(YamlNode::Scalar(value.into()))
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<YamlNode, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<YamlNode, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E>(self, value: f64) -> Result<YamlNode, E> {
        // What is no JSON number is kept as text, so that a message can show it.
        Ok(YamlNode::Scalar(
            Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number),
        ))
    }

    fn visit_str<E>(self, value: &str) -> Result<YamlNode, E> {
        Ok(YamlNode::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<YamlNode, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(YamlNode::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<YamlNode, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(YamlNode::Map(map))
    }
}
