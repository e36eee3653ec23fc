//! The documents of a manifest: a Kubernetes List is unpacked, and what is no YAML becomes a problem with its place.

use halftone_routing::document::parse::tree::{self, YamlNode};
pub(crate) use halftone_routing::document::parse::tree::{PlacedDocument, SourceMap};
use serde_json::Value;
use serde_saphyr::{Spanned, UserMessageFormatter};

use crate::{finding::Position, problem::Problem};

/// All documents of a text; empty ones are left out, and a Kubernetes List counts as its items.
///
/// # Errors
/// What makes it no YAML, and where; also a key that is there twice.
pub(crate) fn parse(text: &str) -> Result<Vec<PlacedDocument>, (Position, Problem)> {
    let nodes = tree::nodes(text).map_err(|error| malformed(&error))?;
    let lines: Vec<&str> = text.lines().collect();
    let mut documents = Vec::new();
    nodes
        .into_iter()
        .for_each(|node| unpack(node, &lines, &mut documents));
    Ok(documents)
}

/// Adds a document, or each item of a List such as `kubectl get -o yaml` prints.
fn unpack(node: Spanned<YamlNode>, lines: &[&str], documents: &mut Vec<PlacedDocument>) {
    match into_items(node.value) {
        Ok(items) => items
            .into_iter()
            .for_each(|item| unpack(item, lines, documents)),
        Err(value) => documents.push(PlacedDocument::new(Spanned { value, ..node }, lines)),
    }
}

/// The items of a List; anything else comes back as it was.
fn into_items(node: YamlNode) -> Result<Vec<Spanned<YamlNode>>, YamlNode> {
    let YamlNode::Map(mut entries) = node else {
        return Err(node);
    };
    let is_list = entries.iter().any(|(key, node)| {
        let kind =
            matches!(&node.value, YamlNode::Scalar(Value::String(kind)) if kind.ends_with("List"));
        key.value == "kind" && kind
    });
    let items = entries
        .iter()
        .position(|(key, node)| key.value == "items" && matches!(node.value, YamlNode::List(_)))
        .filter(|_| is_list);
    let Some(items) = items else {
        return Err(YamlNode::Map(entries));
    };
    match entries.swap_remove(items).1.value {
        YamlNode::List(items) => Ok(items),
        other => Err(other),
    }
}

fn malformed(error: &serde_saphyr::Error) -> (Position, Problem) {
    let start = Position { line: 1, column: 1 };
    let position = error.location().map_or(start, Position::of);
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
