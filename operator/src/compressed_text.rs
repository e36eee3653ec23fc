//! JSON that is kept between turns, compressed. Releases differ in little, so each is compressed by what a typical one looks
//! like: names, hosts, times and digests are nearly all that is left of it.

use std::sync::Arc;

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};

/// Three releases at rest, as `serde_json` writes them. Text that is no longer like it takes more room and nothing else.
const DICTIONARY: &[u8] = include_bytes!("compressed_text/dictionary.txt");

/// A text, compressed. Two are equal if the texts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressedText(Arc<[u8]>);

impl CompressedText {
    /// Compresses a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(compress_prepend_size_with_dict(text.as_bytes(), DICTIONARY).into())
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        let text = decompress_size_prepended_with_dict(&self.0, DICTIONARY);
        String::from_utf8(text.expect("it was compressed here")).expect("it was a text")
    }

    /// How many bytes the text has.
    #[must_use]
    pub fn text_len(&self) -> usize {
        let length = self.0.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        length.unwrap_or_default() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_out_as_they_went_in() {
        for text in ["", "{}", "no JSON ü", &"x".repeat(100_000)] {
            let compressed = CompressedText::of(text);
            assert_eq!(
                (compressed.text().as_str(), compressed.text_len()),
                (text, text.len())
            );
        }
    }
}
