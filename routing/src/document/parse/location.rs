//! Line and column of a field named by its path. Only documents that are refused are read in this way.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

use super::{
    Format,
    tree::{self, PlacedDocument},
};

/// Where a field as `rules[0].when[1].all` begins, line and column from 1; where it does not exist, what would hold
/// it. None for a text that cannot be read that far.
pub(super) fn of_field(bytes: &[u8], format: Format, field: &str) -> Option<(usize, usize)> {
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|_| !field.is_empty())?;
    match format {
        Format::Json => in_json(text, field),
        Format::Yaml => in_yaml(text, field),
    }
}

fn in_json(text: &str, field: &str) -> Option<(usize, usize)> {
    let steps = field
        .split(['.', '['])
        .filter(|step| !step.is_empty())
        .map(|step| step.trim_end_matches(']'));
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

fn in_yaml(text: &str, field: &str) -> Option<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let node = tree::nodes(text).ok()?.into_iter().next()?;
    let at = PlacedDocument::new(node, &lines).places.of(field, false);
    let number = |number: u64| usize::try_from(number).ok();
    number(at.line).zip(number(at.column))
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
            ("rules", Some((2, 20)), Some((2, 1))),
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
