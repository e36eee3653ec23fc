//! YAML or JSON as a tree that knows where each value stands, for whoever has to point at a field: manifests and
//! fleet files (`api`), documents that are refused. Scalars are typed as the API server's reader types them, so that
//! an unquoted `1.10` is a number here, too, and not a version.

use std::{collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

/// A place in a file, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

/// A value with its place, and so are all inside it.
pub enum YamlNode {
    /// Null, or nothing.
    Null,
    /// A text, number or boolean.
    Scalar(Value),
    /// A list.
    List(Vec<Spanned<YamlNode>>),
    /// Keys and values in the order of the file.
    Map(Vec<(Spanned<String>, Spanned<YamlNode>)>),
}

/// One document: its values, and where each stands.
#[derive(Clone, Debug)]
pub struct PlacedDocument {
    /// The values. A field whose value is null is left out, as the API server does.
    pub value: Value,
    /// Where they stand.
    pub places: SourceMap,
}

/// Where the fields of a document stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceMap {
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

/// All documents of a text.
///
/// # Errors
/// What makes it no YAML, and where; also a key that is there twice.
pub fn nodes(text: &str) -> Result<Vec<Spanned<YamlNode>>, serde_saphyr::Error> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options)
}

impl PlacedDocument {
    /// A document of a text; `lines` are all lines of it.
    pub fn new(node: Spanned<YamlNode>, lines: &[&str]) -> Self {
        let mut places = SourceMap {
            start: Some(Position::of(node.referenced)),
            ..SourceMap::default()
        };
        let value = value(node.value, "", lines, &mut places);
        Self { value, places }
    }
}

impl SourceMap {
    /// How the file spells the number or boolean at `path`.
    pub fn written(&self, path: &str) -> Option<&str> {
        self.fields.get(path)?.written.as_deref()
    }

    /// Where the value at `path` stands; where it is missing, the nearest that is there and would hold it.
    pub fn of(&self, path: &str, on_key: bool) -> Position {
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

impl Position {
    /// Where the reader says something stands.
    pub fn of(location: Location) -> Self {
        Self {
            line: location.line().max(1),
            column: location.column().max(1),
        }
    }
}

/// The number or boolean that stands at a location, as it is spelt.
fn spelling(node: &Spanned<YamlNode>, lines: &[&str]) -> Option<String> {
    if !matches!(
        node.value,
        YamlNode::Scalar(Value::Number(_) | Value::Bool(_))
    ) {
        return None;
    }
    let Position { line, column } = Position::of(node.defined);
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
                let here = Position::of(node.referenced);
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
                let at = Position::of(key.referenced);
                // What a mapping or list is about, its name says, and it may begin lines below.
                let nested = matches!(
                    node.value,
                    YamlNode::Map(_) | YamlNode::List(_) | YamlNode::Null
                );
                let here = if nested {
                    at
                } else {
                    Position::of(node.referenced)
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

/// The path of a field of the object at `base`.
pub fn field(base: &str, name: &str) -> String {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    match (plain, base.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{base}.{name}"),
        (false, _) => format!("{base}[{name}]"),
    }
}

/// The path of an item of the list at `base`.
pub fn item(base: &str, index: usize) -> String {
    format!("{base}[{index}]")
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
