//! Strict reading of routing and fleet documents, JSON or YAML. What is refused says where it is (line, column,
//! field) and why; optional fields that this build does not know are passed over and listed.
//!
//! First plain values are read, without duplicate keys, and `schema` and `requires` looked at, since a document from
//! the future is to be called that and not malformed; then the types. Only a document that fails is read again for
//! the place of the fault.

mod location;
pub mod tree;
mod unique;

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::unique::UniqueKeys;
use super::{Checksum, FEATURES, RoutingConfig, checksum::checksum};
use crate::fleet::FleetConfig;

/// The longest document, in bytes: what fits a ConfigMap (1 MiB) with room for its metadata.
pub const MAX_BYTES: usize = 900 * 1024;

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Format {
    /// JSON (RFC 8259).
    Json,
    /// YAML 1.2, one document.
    Yaml,
}

/// A document that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedDocument<T> {
    /// What it says.
    pub config: T,
    /// Of its content; equal to the one it names, if it names one.
    pub checksum: Checksum,
    /// Optional fields that this build does not know, by their paths.
    pub ignored: Vec<String>,
}

/// Why a document was refused, as a word that stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum DocumentErrorReason {
    /// Longer than [`MAX_BYTES`].
    TooLarge,
    /// Not JSON or YAML, not UTF-8, nested too deeply, or a key twice.
    Malformed,
    /// A field has a value it cannot have, or is missing.
    Invalid,
    /// Its `schema` is not the one this build reads.
    UnknownSchema,
    /// It requires a feature that this build does not have.
    UnknownFeature,
    /// Its content is not what its checksum was made of.
    ChecksumMismatch,
}

/// Why a document was refused: what is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DocumentError {
    /// The kind of fault.
    pub reason: DocumentErrorReason,
    /// Line and column from 1, where the fault has one.
    pub place: Option<(usize, usize)>,
    /// The field, as `arms.gray.version`; empty for the whole document.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl DocumentError {
    /// The error with the place of its field, where it has none yet; `bytes` are the document's.
    #[must_use]
    pub fn placed(self, bytes: &[u8], format: Format) -> Self {
        let place = self
            .place
            .or_else(|| location::of_field(bytes, format, &self.field));
        Self { place, ..self }
    }

    fn new(reason: DocumentErrorReason, field: &str, message: impl Into<String>) -> Self {
        Self {
            reason,
            place: None,
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

/// Reads a routing document.
///
/// # Errors
/// The first fault that was found.
pub fn routing(
    bytes: &[u8],
    format: Format,
) -> Result<ParsedDocument<RoutingConfig>, DocumentError> {
    let read = || {
        let mut parsed: ParsedDocument<RoutingConfig> = document(bytes, format)?;
        parsed.config.check()?;
        parsed.config.checksum = Some(parsed.checksum.clone());
        Ok(parsed)
    };
    read().map_err(|error: DocumentError| error.placed(bytes, format))
}

/// Reads a fleet document.
///
/// # Errors
/// The first fault that was found.
pub fn fleet(bytes: &[u8], format: Format) -> Result<ParsedDocument<FleetConfig>, DocumentError> {
    document(bytes, format).map_err(|error| error.placed(bytes, format))
}

/// Reads a document as plain values, whatever it may say. For what can still be told of one that was refused.
///
/// # Errors
/// Not UTF-8, not JSON or YAML, nested too deeply, too long, or a key twice.
pub fn value(bytes: &[u8], format: Format) -> Result<Value, DocumentError> {
    format.value(text(bytes)?)
}

fn document<T: DeserializeOwned>(
    bytes: &[u8],
    format: Format,
) -> Result<ParsedDocument<T>, DocumentError> {
    let text = text(bytes)?;
    let value = format.value(text)?;
    known(&value)?;
    let (config, mut ignored) = format.typed(text, &value)?;
    list_unknown_uses(&value, &mut ignored);
    let named = value
        .get("checksum")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let checksum = checksum(value);
    if named.is_some_and(|named| named != checksum.to_string()) {
        let message = format!(
            "the content's checksum is {checksum}; leave the field out of a document written by hand"
        );
        return Err(DocumentError::new(
            DocumentErrorReason::ChecksumMismatch,
            "checksum",
            message,
        ));
    }
    Ok(ParsedDocument {
        config,
        checksum,
        ignored,
    })
}

/// `uses` names features that are on by default. Unlike those of `requires`, one that is unknown here is only listed.
fn list_unknown_uses(value: &Value, ignored: &mut Vec<String>) {
    let Some(Value::Array(uses)) = value.get("uses") else {
        return;
    };
    ignored.retain(|field| field != "uses");
    let unknown = uses
        .iter()
        .filter_map(Value::as_str)
        .filter(|feature| !FEATURES.contains(feature));
    ignored.extend(unknown.map(|feature| format!("uses {}", feature.escape_debug())));
}

fn text(bytes: &[u8]) -> Result<&str, DocumentError> {
    if bytes.len() > MAX_BYTES {
        // Readers stop early: how large it really is need not be known here.
        let message =
            format!("the document has more than {MAX_BYTES} bytes, which is the most that fits");
        return Err(DocumentError::new(
            DocumentErrorReason::TooLarge,
            "",
            message,
        ));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line_start = before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        DocumentError {
            place: Some((line, before.len() - line_start + 1)),
            ..DocumentError::new(DocumentErrorReason::Malformed, "", "not UTF-8")
        }
    })
}

/// Whether this build can read the document at all.
fn known(value: &Value) -> Result<(), DocumentError> {
    let Value::Object(fields) = value else {
        return Err(DocumentError::new(
            DocumentErrorReason::Malformed,
            "",
            "not a map of fields",
        ));
    };
    match fields.get("schema") {
        None => {
            return Err(DocumentError::new(
                DocumentErrorReason::Invalid,
                "schema",
                "missing; write schema: 1",
            ));
        }
        Some(Value::Number(schema)) if schema.as_u64() != Some(1) => {
            let message = format!("schema {schema} is unknown here; this build reads schema 1");
            return Err(DocumentError::new(
                DocumentErrorReason::UnknownSchema,
                "schema",
                message,
            ));
        }
        Some(_) => {}
    }
    let required = fields
        .get("requires")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    match required
        .filter_map(Value::as_str)
        .find(|feature| !FEATURES.contains(feature))
    {
        Some(feature) => Err(DocumentError::new(
            DocumentErrorReason::UnknownFeature,
            "requires",
            format!(
                "\"{}\" is unknown here; this proxy is too old for the document",
                feature.escape_debug()
            ),
        )),
        None => Ok(()),
    }
}

impl Format {
    fn value(self, text: &str) -> Result<Value, DocumentError> {
        let seed = UniqueKeys::default();
        match self {
            Self::Json => {
                let mut deserializer = serde_json::Deserializer::from_str(text);
                let value = seed
                    .deserialize(&mut deserializer)
                    .and_then(|value| deserializer.end().map(|()| value));
                value.map_err(|error| json_error(&error, DocumentErrorReason::Malformed, ""))
            }
            Self::Yaml => serde_saphyr::with_deserializer_from_str(text, |deserializer| {
                seed.deserialize(deserializer)
            })
            .map_err(|error| yaml_error(&error, DocumentErrorReason::Malformed, "")),
        }
    }

    /// The types, and the fields that they do not have.
    fn typed<T: DeserializeOwned>(
        self,
        text: &str,
        value: &Value,
    ) -> Result<(T, Vec<String>), DocumentError> {
        let mut ignored = Vec::new();
        let mut note =
            |path: serde_ignored::Path<'_>| ignored.push(path.to_string().replace(".?", ""));
        let typed = match serde_ignored::deserialize(value, &mut note) {
            Ok(typed) => typed,
            Err(_) => {
                ignored.clear();
                self.typed_with_places(text, |path| {
                    ignored.push(path.to_string().replace(".?", ""))
                })?
            }
        };
        Ok((typed, ignored))
    }

    /// The same, slower, knowing where a fault is. What YAML leaves open, as whether `1.10` is a text, is settled
    /// here by the type.
    fn typed_with_places<T: DeserializeOwned>(
        self,
        text: &str,
        mut note: impl FnMut(serde_ignored::Path<'_>),
    ) -> Result<T, DocumentError> {
        let mut track = serde_path_to_error::Track::new();
        match self {
            Self::Json => {
                let mut deserializer = serde_json::Deserializer::from_str(text);
                let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
                let read = serde_ignored::deserialize(tracked, &mut note);
                read.map_err(|error| {
                    json_error(&error, DocumentErrorReason::Invalid, &field(track))
                })
            }
            Self::Yaml => {
                let read = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
                    let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
                    serde_ignored::deserialize(tracked, &mut note)
                });
                read.map_err(|error| {
                    yaml_error(&error, DocumentErrorReason::Invalid, &field(track))
                })
            }
        }
    }
}

fn field(track: serde_path_to_error::Track) -> String {
    let path = track.path().to_string();
    if path == "." { String::new() } else { path }
}

fn json_error(
    error: &serde_json::Error,
    reason: DocumentErrorReason,
    field: &str,
) -> DocumentError {
    let full = error.to_string();
    let place = (error.line() > 0).then(|| (error.line(), error.column()));
    let message = match place {
        Some((line, column)) => full
            .trim_end_matches(&format!(" at line {line} column {column}"))
            .to_owned(),
        None => full,
    };
    DocumentError {
        place,
        ..DocumentError::new(reason, field, message)
    }
}

fn yaml_error(
    error: &serde_saphyr::Error,
    reason: DocumentErrorReason,
    field: &str,
) -> DocumentError {
    let error = error.without_snippet();
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let place = error
        .location()
        .map(|at| (number(at.line()), number(at.column())));
    let full = error.to_string();
    let message = match place {
        Some((line, column)) => full
            .replace(&format!(" at line {line}, column {column}"), "")
            .trim_start_matches(&format!("line {line} column {column}: "))
            .to_owned(),
        None => full,
    };
    DocumentError {
        place,
        ..DocumentError::new(reason, field, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEAST: &str = r#"{
  "schema": 1,
  "bucketing": "xxh3-1",
  "release": {"uid": "u-1", "namespace": "shop", "name": "checkout", "id": "0123456789abcdef", "createdAt": "2026-01-02T03:04:05Z"},
  "revision": 3,
  "stage": 2,
  "state": "Active",
  "ratio": 125000,
  "hosts": ["shop.example.com"],
  "arms": {
    "stable": {"addresses": ["127.0.0.1:9001"], "version": "v1"},
    "gray": {"addresses": ["127.0.0.1:9002"], "version": "v2"}
  },
  "identity": {"from": [{"header": "X-User-Name"}]}
}"#;

    fn read(text: &str) -> Result<ParsedDocument<RoutingConfig>, DocumentError> {
        routing(text.as_bytes(), Format::Json)
    }

    fn with(from: &str, to: &str) -> String {
        assert!(LEAST.contains(from), "{from}");
        LEAST.replacen(from, to, 1)
    }

    #[test]
    fn a_feature_that_is_only_used_is_listed_where_it_is_unknown() {
        let parsed = read(&with(
            r#""revision": 3"#,
            r#""uses": ["telepathy"], "revision": 3"#,
        ))
        .unwrap();
        assert_eq!(parsed.ignored, ["uses telepathy"]);
    }

    #[test]
    fn the_least_document_is_read_and_written_and_read_again_the_same() {
        let parsed = read(LEAST).unwrap();
        assert_eq!(parsed.ignored, [] as [&str; 0]);
        let text = parsed.config.to_json().unwrap();
        let again = read(&text).unwrap();
        assert_eq!(again.checksum, parsed.config.content_checksum());
        assert_eq!(
            RoutingConfig {
                checksum: None,
                ..again.config
            },
            RoutingConfig {
                checksum: None,
                ..parsed.config
            }
        );
    }

    #[test]
    fn json_and_yaml_of_the_same_document_have_the_same_checksum() {
        let value: Value = serde_json::from_str(LEAST).unwrap();
        let yaml = serde_saphyr::to_string(&value).unwrap();
        assert_eq!(
            routing(yaml.as_bytes(), Format::Yaml).unwrap().checksum,
            read(LEAST).unwrap().checksum
        );
    }

    #[test]
    fn an_unknown_optional_field_is_passed_over_listed_and_part_of_the_checksum() {
        let parsed = read(&with(
            r#""version": "v2""#,
            r#""version": "v2", "colour": "gray""#,
        ))
        .unwrap();
        assert_eq!(parsed.ignored, ["arms.gray.colour"]);
        assert_ne!(parsed.checksum, read(LEAST).unwrap().checksum);
    }

    #[test]
    fn each_fault_is_refused_with_its_reason_field_and_place() {
        let deep = with(
            r#""revision": 3"#,
            &format!(
                r#""revision": 3, "x": {}{}"#,
                "[".repeat(40),
                "]".repeat(40)
            ),
        );
        let cases: &[(String, DocumentErrorReason, &str, Option<usize>)] = &[
            (
                LEAST[..LEAST.len() / 2].to_owned(),
                DocumentErrorReason::Malformed,
                "",
                Some(8),
            ),
            (deep, DocumentErrorReason::Malformed, "", Some(5)),
            (
                with(r#""stage": 2"#, r#""stage": 2, "stage": 3"#),
                DocumentErrorReason::Malformed,
                "",
                Some(6),
            ),
            (
                with(
                    r#""x": 1"#.replace("x", "schema").as_str(),
                    r#""schema": 2"#,
                ),
                DocumentErrorReason::UnknownSchema,
                "schema",
                Some(2),
            ),
            (
                with(
                    r#""revision": 3"#,
                    r#""requires": ["telepathy"], "revision": 3"#,
                ),
                DocumentErrorReason::UnknownFeature,
                "requires",
                Some(5),
            ),
            (
                with(
                    r#""revision": 3"#,
                    &format!(r#""checksum": "sha256:{}", "revision": 3"#, "0".repeat(64)),
                ),
                DocumentErrorReason::ChecksumMismatch,
                "checksum",
                Some(5),
            ),
            (
                with("125000", "1000001"),
                DocumentErrorReason::Invalid,
                "ratio",
                Some(8),
            ),
            (
                with(r#""revision": 3"#, r#""revision": 0"#),
                DocumentErrorReason::Invalid,
                "revision",
                Some(5),
            ),
            (
                with(r#""revision": 3"#, r#""revision": "3""#),
                DocumentErrorReason::Invalid,
                "revision",
                Some(5),
            ),
            (
                with("127.0.0.1:9002", "nowhere"),
                DocumentErrorReason::Invalid,
                "arms.gray",
                Some(12),
            ),
            (
                with(r#"["shop.example.com"]"#, r#"["a.b", "A.b"]"#),
                DocumentErrorReason::Invalid,
                "hosts[1]",
                Some(9),
            ),
            (
                with(r#"["shop.example.com"]"#, "[]"),
                DocumentErrorReason::Invalid,
                "hosts",
                Some(9),
            ),
            (
                with(r#""v2""#, r#""v1""#),
                DocumentErrorReason::Invalid,
                "arms.gray.version",
                Some(12),
            ),
            (
                with("Active", r#"Promoted", "moving": true, "x": ""#),
                DocumentErrorReason::Invalid,
                "moving",
                Some(7),
            ),
            (
                with("Active", "Plain").replace(
                    "},\n    \"gray\"",
                    "}}, \"force\": \"Gray\", \"x\": {\n \"gray\"",
                ),
                DocumentErrorReason::Invalid,
                "force",
                Some(11),
            ),
            ("[]".to_owned(), DocumentErrorReason::Malformed, "", None),
            (
                format!("\"{}\"", "x".repeat(1 << 20)),
                DocumentErrorReason::TooLarge,
                "",
                None,
            ),
        ];
        for (text, reason, field, line) in cases {
            let error = read(text).unwrap_err();
            let shown = &text[..text.len().min(600)];
            assert_eq!(
                (error.reason, error.place.map(|(line, _)| line)),
                (*reason, *line),
                "{error} in {shown}"
            );
            assert!(error.field.starts_with(field), "{error} in {shown}");
        }
    }

    #[test]
    fn invalid_utf8_is_refused_with_its_place() {
        let error = routing(b"{\n \xff}", Format::Json).unwrap_err();
        assert_eq!(
            (error.reason, error.place),
            (DocumentErrorReason::Malformed, Some((2, 2)))
        );
    }

    #[test]
    fn a_yaml_fault_says_its_line_and_field() {
        let value: Value = serde_json::from_str(&with("125000", "1000001")).unwrap();
        let yaml = serde_saphyr::to_string(&value).unwrap();
        let error = routing(yaml.as_bytes(), Format::Yaml).unwrap_err();
        let line = yaml
            .lines()
            .position(|line| line.starts_with("ratio"))
            .unwrap()
            + 1;
        assert_eq!(
            (
                error.reason,
                error.field.as_str(),
                error.place.map(|(line, _)| line)
            ),
            (DocumentErrorReason::Invalid, "ratio", Some(line)),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_stumble(bytes: Vec<u8>) {
            let _ = routing(&bytes, Format::Json);
            let _ = routing(&bytes, Format::Yaml);
            let _ = fleet(&bytes, Format::Yaml);
        }

        #[test]
        fn no_mutation_of_a_document_makes_the_reader_stumble(at in 0..LEAST.len(), take in 0_usize..9, put in prop::collection::vec(prop::sample::select(b"{}[]\",:0123456789-eE.truefalsn \n\\\xff*&!|>".to_vec()), 0..9)) {
            let mut bytes = LEAST.as_bytes().to_vec();
            bytes.splice(at..(at + take).min(LEAST.len()), put);
            for format in [Format::Json, Format::Yaml] {
                if let Ok(parsed) = routing(&bytes, format) {
                    let text = parsed.config.to_json().unwrap();
                    prop_assert!(routing(text.as_bytes(), Format::Json).is_ok(), "{}", text);
                }
            }
        }
    }
}
