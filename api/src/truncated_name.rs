//! Names made of other names, where something allows fewer characters than both together have: a uid of a release
//! outside of any cluster, the name of a file.

use halftone_routing::hex;
use sha2::{Digest, Sha256};

/// `text`, or if it has more than `most` bytes its beginning and 32 hex digits of its SHA-256, `most` bytes together.
/// `text` is ASCII and `most` at least 40.
#[must_use]
pub fn shorten(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let digest = Sha256::digest(text.as_bytes());
    let kept = text.get(..most.saturating_sub(33)).unwrap_or_default();
    format!("{kept}-{}", hex::encode(&digest[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_stays_and_what_is_long_stays_its_own() {
        assert_eq!(shorten("shop/checkout", 200), "shop/checkout");
        let (one, other) = (
            shorten(&format!("{}b", "a".repeat(300)), 200),
            shorten(&"a".repeat(301), 200),
        );
        assert_eq!((one.len(), other.len()), (200, 200));
        assert_ne!(one, other);
        assert!(one.starts_with("aaa"));
    }
}
