//! Dot segments that only some backends see. The normal form keeps `%2F`, `%5C`, `\` and `;`, since many a backend
//! tells them from `/`; others do not, and to them `/pub/..%2Fsecret` is `/secret`. A release that has only part of a
//! host's paths, or puts a prefix before them, refuses such paths: nobody may leave its part through a `..` that the
//! proxy reads as a name.

use crate::hex::digit;

/// Whether some backend may find a `..` in this path that its normal form does not resolve.
///
/// The path is read as the most generous backend would: percent-escapes decoded as often as there are any (a gateway
/// behind us may decode once and the server behind it once more), the overlong UTF-8 forms of ASCII taken for ASCII
/// (CVE-2008-2938), `/ \ ; ? #` all ending a segment, and white space and control characters around a segment ignored,
/// as Windows and some frameworks do.
pub fn has_hidden_dot_segments(path: &[u8]) -> bool {
    let suspicious = |byte: &u8| matches!(byte, b'%' | b'\\' | b';' | 0xc0 | 0xc1 | 0xe0);
    path.iter().any(suspicious) && decode_fully(path).split(ends_segment).any(is_parent)
}

fn ends_segment(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\' | b';' | b'?' | b'#')
}

fn is_parent(segment: &[u8]) -> bool {
    let blank = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
    let start = segment
        .iter()
        .position(|byte| !blank(byte))
        .unwrap_or(segment.len());
    let end = segment
        .iter()
        .rposition(|byte| !blank(byte))
        .map_or(start, |last| last + 1);
    &segment[start..end] == b".."
}

/// Decodes until nothing is left to decode, in one pass: what a decoded byte completes is decoded with it. Dots and
/// separators never complete anything, so that each one that some number of passes would bring to light is there.
fn decode_fully(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    for byte in path {
        decoded.push(*byte);
        while let Some((length, byte)) = last_escape(&decoded) {
            decoded.truncate(decoded.len() - length);
            decoded.push(byte);
        }
    }
    decoded
}

/// The escape that these bytes end with: its length, and what it stands for.
fn last_escape(bytes: &[u8]) -> Option<(usize, u8)> {
    match *bytes {
        [.., b'%', high, low] => Some((3, digit(high)? << 4 | digit(low)?)),
        [.., lead @ 0xc0..=0xc1, last @ 0x80..=0xbf] => Some((2, (lead & 1) << 6 | last & 0x3f)),
        [.., 0xe0, middle @ 0x80..=0x81, last @ 0x80..=0xbf] => {
            Some((3, (middle & 1) << 6 | last & 0x3f))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dots_behind_whatever_a_backend_may_take_for_a_separator_are_found() {
        for path in [
            "/pub/..%2Fsecret",
            "/pub/..%2f..%2fsecret",
            "/pub%2F..%2Fsecret",
            "/pub%2F..",
            "/pub/..%5Csecret",
            "/pub/..%5csecret",
            "/pub/..\\secret",
            "/pub\\..\\secret",
            "/pub/\\../secret",
            "/pub/..;/secret",
            "/pub/..;x=1/secret",
            "/pub/..%3B/secret",
            "/pub/;../secret",
            "/pub/%2e%2e;/secret",
            "/pub/%2E.%5C",
            "/pub/%252e%252e/secret",
            "/pub/..%252fsecret",
            "/pub/.%252e%255csecret",
            "/pub/%25%32%65%25%32%65/secret",
            "/pub/%2525252e%252e/secret",
            "/pub/..%3Fx",
            "/pub/..%23x",
            "/pub/..%20/secret",
            "/pub/%09../secret",
            "/pub/..%0D%0A/secret",
            "/pub/%C0%AE%C0%AE/secret",
            "/pub/..%C0%AFsecret",
            "/pub/..%c1%9csecret",
            "/pub/%E0%80%AE%E0%80%AE/secret",
        ] {
            assert!(has_hidden_dot_segments(path.as_bytes()), "{path}");
        }
        assert!(
            has_hidden_dot_segments(b"/pub/..\xc0\xafsecret"),
            "raw overlong forms"
        );
    }

    #[test]
    fn names_with_dots_and_escapes_are_names() {
        for path in [
            "/",
            "/pub/a%2Fb",
            "/pub/a%2F.b%2Fc",
            "/pub/a..%2Fb",
            "/pub/..a%2Fb",
            "/pub/...%2Fb",
            "/pub/a;v=1..2",
            "/pub/a;v=../b",
            "/pub/.%2Fb",
            "/pub/100%25",
            "/pub/%E4%B8%AD%2F%E6%96%87",
            "/pub/what..%3F",
            "/pub/a\\b",
            "/pub/%25zz..",
        ] {
            assert!(!has_hidden_dot_segments(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_path_of_nothing_but_escapes_of_escapes_costs_one_pass() {
        let deep = format!("/{}2e%2e/", "%25".repeat(5_000));
        assert!(!has_hidden_dot_segments(deep.as_bytes()));
        let deep = format!("/%{}2e%2e/", "25".repeat(8_000));
        assert!(has_hidden_dot_segments(deep.as_bytes()));
    }

    /// One round of decoding, as a server does it.
    fn decode_once(path: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        let mut rest = path;
        while let [first, tail @ ..] = rest {
            let escaped = match rest {
                [b'%', high, low, ..] => digit(*high)
                    .zip(digit(*low))
                    .map(|(high, low)| high << 4 | low),
                _ => None,
            };
            decoded.push(escaped.unwrap_or(*first));
            rest = if escaped.is_some() { &rest[3..] } else { tail };
        }
        decoded
    }

    proptest! {
        #[test]
        fn dots_that_any_number_of_rounds_brings_to_light_are_found(
            path in r"/(\.|\.\.|/|a|;|%2[eEfF]|%5[cC]|%25|2|5|[eEfF]|%3[bB]){0,16}", rounds in 0..4,
        ) {
            let mut seen = path.clone().into_bytes();
            for _ in 0..rounds {
                seen = decode_once(&seen);
            }
            let climbs = seen.split(|byte| matches!(byte, b'/' | b'\\' | b';')).any(|part| part == b"..");
            let hidden = path.contains(['%', ';', '\\']);
            prop_assert!(!climbs || !hidden || has_hidden_dot_segments(path.as_bytes()), "{path}");
        }

        #[test]
        fn no_bytes_panic(path in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = has_hidden_dot_segments(&path);
        }
    }
}
