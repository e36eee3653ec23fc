//! Selectors by label and by field.

use serde_json::Value;

/// What a list or a watch is limited to.
#[derive(Debug)]
pub(super) struct Selector {
    labels: Vec<Label>,
    /// Path and value.
    fields: Vec<(String, String)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Label {
    Is(String, String),
    IsNot(String, String),
    IsThere(String),
}

impl Selector {
    pub(super) fn of(labels: &str, fields: &str) -> Self {
        let field = |part: &str| {
            part.split_once('=')
                .map(|(path, value)| (path.replace('.', "/"), value.to_owned()))
        };
        Self {
            labels: labels
                .split(',')
                .filter(|part| !part.is_empty())
                .map(Label::of)
                .collect(),
            fields: fields.split(',').filter_map(field).collect(),
        }
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let field = |(path, value): &(String, String)| {
            object.pointer(&format!("/{path}")).and_then(Value::as_str) == Some(value)
        };
        self.labels.iter().all(|label| label.matches(labels)) && self.fields.iter().all(field)
    }
}

impl Label {
    fn of(term: &str) -> Self {
        let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        match (
            term.split_once("!=").map(pair),
            term.split_once('=').map(pair),
        ) {
            (Some((key, value)), _) => Self::IsNot(key, value),
            (None, Some((key, value))) => Self::Is(key, value),
            (None, None) => Self::IsThere(term.to_owned()),
        }
    }

    fn matches(&self, labels: &Value) -> bool {
        match self {
            Self::Is(key, value) => labels[key] == **value,
            Self::IsNot(key, value) => labels[key] != **value,
            Self::IsThere(key) => labels[key].is_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_fields_limit_what_is_seen() {
        let object = json!({"metadata": {"name": "one", "labels": {"a.b/c": "x", "d": ""}}});
        for (labels, fields, matches) in [
            ("", "", true),
            ("a.b/c=x", "", true),
            ("a.b/c=y", "", false),
            ("a.b/c!=y,d", "", true),
            ("a.b/c!=x", "", false),
            ("other!=x", "", true),
            ("other", "", false),
            ("d=", "metadata.name=one", true),
            ("", "metadata.name=two", false),
            ("", "metadata.name=one,metadata.namespace=shop", false),
        ] {
            assert_eq!(
                Selector::of(labels, fields).matches(&object),
                matches,
                "{labels} {fields}"
            );
        }
    }
}
