//! Line and column of a field named by its path. Only documents that are refused are read in this way.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_saphyr::Spanned;

use super::Format;

/// Where a field as `rules[0].when[1].all` begins, line and column from 1; where it does not exist, what would hold
/// it. None for a text that cannot be read that far.
pub(super) fn of_field(bytes: &[u8], format: Format, field: &str) -> Option<(usize, usize)> {
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|_| !field.is_empty())?;
    let steps = field
        .split(['.', '['])
        .filter(|step| !step.is_empty())
        .map(|step| step.trim_end_matches(']'));
    match format {
        Format::Json => in_json(text, steps),
        Format::Yaml => in_yaml(text, steps),
    }
}

fn in_json<'s>(text: &str, steps: impl Iterator<Item = &'s str>) -> Option<(usize, usize)> {
    let mut found: &RawValue = serde_json::from_str(text).ok()?;
    for step in steps {
        let inner = match step.parse::<usize>() {
            Ok(index) => serde_json::from_str::<Vec<&RawValue>>(found.get())
                .ok()?
                .get(index)
                .copied(),
            Err(_) => serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(found.get())
                .ok()?
                .get(step)
                .copied(),
        };
        let Some(inner) = inner else { break };
        found = inner;
    }
    let before = &text[..found
        .get()
        .as_ptr()
        .addr()
        .checked_sub(text.as_ptr().addr())?];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Some((
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    ))
}

fn in_yaml<'s>(text: &str, steps: impl Iterator<Item = &'s str>) -> Option<(usize, usize)> {
    let document: Spanned<SpannedNode> = serde_saphyr::from_str(text).ok()?;
    let mut found = &document;
    for step in steps {
        let inner = match (&found.value, step.parse::<usize>()) {
            (SpannedNode::List(items), Ok(index)) => items.get(index),
            (SpannedNode::Map(fields), _) => fields.get(step),
            _ => None,
        };
        let Some(inner) = inner else { break };
        found = inner;
    }
    let number = |number: u64| usize::try_from(number).ok();
    number(found.referenced.line()).zip(number(found.referenced.column()))
}

/// A value of which only the places matter.
enum SpannedNode {
    Map(BTreeMap<String, Spanned<SpannedNode>>),
    List(Vec<Spanned<SpannedNode>>),
    Leaf,
}

impl<'de> Deserialize<'de> for SpannedNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpannedNodeVisitor;

        impl<'de> Visitor<'de> for SpannedNodeVisitor {
            type Value = SpannedNode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E>(self, _: bool) -> Result<SpannedNode, E> {
                Ok(SpannedNode::Leaf)
            }

            fn visit_i64<E>(self, _: i64) -> Result<SpannedNode, E> {
                Ok(SpannedNode::Leaf)
            }

            fn visit_u64<E>(self, _: u64) -> Result<SpannedNode, E> {
                Ok(SpannedNode::Leaf)
            }

            fn visit_f64<E>(self, _: f64) -> Result<SpannedNode, E> {
                Ok(SpannedNode::Leaf)
            }

            fn visit_str<E>(self, _: &str) -> Result<SpannedNode, E> {
                Ok(SpannedNode::Leaf)
            }

            fn visit_unit<E>(self) -> Result<SpannedNode, E> {
                Ok(SpannedNode::Leaf)
            }

            fn visit_none<E>(self) -> Result<SpannedNode, E> {
                Ok(SpannedNode::Leaf)
            }

            fn visit_some<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<SpannedNode, D::Error> {
                SpannedNode::deserialize(deserializer)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<SpannedNode, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(SpannedNode::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<SpannedNode, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some(key) = access.next_key()? {
                    fields.insert(key, access.next_value()?);
                }
                Ok(SpannedNode::Map(fields))
            }
        }

        deserializer.deserialize_any(SpannedNodeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_path_in_both_formats() {
        let json = "{\n  \"é\": 1, \"rules\": [\n    {\"to\": \"x\"},\n    {\"to\": [1,\n 2]}]}";
        let yaml = "é: 1\nrules:\n  - to: x\n  - to:\n    - 1\n    - 2\n";
        for (field, in_json, in_yaml) in [
            ("rules[1].to[1]", Some((5, 2)), Some((6, 7))),
            ("rules[0].to", Some((3, 12)), Some((3, 9))),
            ("rules", Some((2, 20)), Some((3, 3))),
            ("rules[0].when[3]", Some((3, 5)), Some((3, 5))),
            ("nowhere", Some((1, 1)), Some((1, 1))),
            ("", None, None),
        ] {
            assert_eq!(
                of_field(json.as_bytes(), Format::Json, field),
                in_json,
                "{field} in JSON"
            );
            assert_eq!(
                of_field(yaml.as_bytes(), Format::Yaml, field),
                in_yaml,
                "{field} in YAML"
            );
        }
        assert_eq!(of_field(b"{", Format::Json, "rules"), None);
    }
}
