//! Bytes as hex digits, for checksums, keys, tokens and fingerprints.

use std::fmt::Write;

/// Two lower-case digits for each byte.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes every text");
            text
        })
}

/// The bytes of a text with exactly two digits for each; upper and lower case.
pub fn decode<const N: usize>(text: impl AsRef<[u8]>) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_ref().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// The value of one digit.
pub(crate) const fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_in_either_case(bytes: [u8; 7]) {
            let text = encode(bytes);
            prop_assert_eq!(decode(&text), Some(bytes));
            prop_assert_eq!(decode(text.to_uppercase()), Some(bytes));
        }
    }

    #[test]
    fn a_text_of_another_length_or_with_another_letter_is_not_read() {
        assert_eq!(encode([0x00, 0x0f, 0xa0]), "000fa0");
        for wrong in ["", "0", "000", "00000", "0g00", "+100", "é0"] {
            assert_eq!(decode::<2>(wrong), None, "{wrong}");
        }
    }
}
