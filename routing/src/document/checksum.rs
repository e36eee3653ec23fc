//! The checksum of a document: SHA-256 over its canonical JSON (RFC 8785), so that indentation, the order of keys
//! and the file format do not matter, while every field does, unknown ones included.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Checksum;

/// The checksum of a document, without its own `checksum` field.
pub fn checksum(mut document: Value) -> Checksum {
    if let Value::Object(fields) = &mut document {
        fields.remove("checksum");
    }
    let canonical = serde_json_canonicalizer::to_vec(&document).expect(
        "a JSON value has only text keys and finite numbers, which is all that RFC 8785 asks for",
    );
    Checksum::from_digest(Sha256::digest(canonical).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Computed with `sha256sum` over the canonical text, written by hand.
    #[test]
    fn checksums_never_change() {
        let document =
            json!({"b": [1, 2.5, "é"], "a": {"z": null, "y": true}, "checksum": "ignored"});
        assert_eq!(
            checksum(document).to_string(),
            "sha256:ebc208279181e829724cbb2f2408e10d859c61e154f23a2ed53e6511cc46ed06"
        );
    }

    #[test]
    fn the_order_of_keys_does_not_matter_and_an_unknown_field_does() {
        let [a, b, c] = [
            r#"{"a":1,"b":2}"#,
            r#"{"b":2, "a":1}"#,
            r#"{"b":2,"a":1,"c":null}"#,
        ]
        .map(|text| checksum(serde_json::from_str(text).unwrap()));
        assert_eq!(a, b);
        assert_ne!(a, c);
    }
}
