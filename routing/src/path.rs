//! The normal form of a path, for matching by releases and rules: unreserved percent-escapes decoded, the hex of
//! the others in capitals, dot segments resolved. `%2F`, `%5C` and `//` stay, since backends tell them from `/`.
//! The proxy calls it for every target, documents for their `paths`.

use std::borrow::Cow;

mod hidden;

pub use self::hidden::has_hidden_dot_segments;
use crate::hex::digit;

/// Why a path is refused; for a request each is a 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not starting with `/`.
    #[error("does not start with /")]
    NoSlash,
    /// A `%` without two hex digits.
    #[error("has a % without two hex digits")]
    BadEscape,
    /// `%00`, which ends the string in many a backend.
    #[error("has %00")]
    Nul,
    /// A `#`: fragments are not sent.
    #[error("has a #")]
    Fragment,
    /// More `..` than segments before them.
    #[error("climbs above the root with ..")]
    AboveRoot,
}

/// The normal form of a target's path, given without the query. Borrows when the path is in normal form already.
///
/// # Errors
/// What a path in a request must not have.
pub fn normalise(path: &[u8]) -> Result<Cow<'_, [u8]>, PathError> {
    if path.first() != Some(&b'/') {
        return Err(PathError::NoSlash);
    }
    // Most paths have none of these, and one look at them is enough; one without branches, which the compiler makes a look
    // at sixteen bytes at a time.
    let is_special = |byte: &u8| (*byte == b'#') | (*byte == b'%') | (*byte == b'.');
    if !path
        .iter()
        .fold(false, |seen, byte| seen | is_special(byte))
    {
        return Ok(Cow::Borrowed(path));
    }
    if memchr::memchr(b'#', path).is_some() {
        return Err(PathError::Fragment);
    }
    if memchr::memchr(b'%', path).is_none() && memchr::memmem::find(path, b"/.").is_none() {
        return Ok(Cow::Borrowed(path));
    }
    resolve_dots(decode_unreserved(path)?)
}

fn decode_unreserved(path: &[u8]) -> Result<Cow<'_, [u8]>, PathError> {
    if memchr::memchr(b'%', path).is_none() {
        return Ok(Cow::Borrowed(path));
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = memchr::memchr(b'%', rest) {
        decoded.extend_from_slice(&rest[..at]);
        let [high, low] = *rest
            .get(at + 1..at + 3)
            .and_then(<[u8]>::as_array)
            .ok_or(PathError::BadEscape)?;
        match digit(high)
            .zip(digit(low))
            .map(|(high, low)| high << 4 | low)
            .ok_or(PathError::BadEscape)?
        {
            0 => return Err(PathError::Nul),
            byte if is_unreserved(byte) => decoded.push(byte),
            _ => decoded.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
        }
        rest = &rest[at + 3..];
    }
    decoded.extend_from_slice(rest);
    Ok(if decoded == path {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(decoded)
    })
}

/// RFC 3986 section 5.2.4, except that climbing above the root is an error and not silently the root.
fn resolve_dots(path: Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>, PathError> {
    if !has_dots(&path) {
        return Ok(path);
    }
    let mut resolved: Vec<u8> = Vec::with_capacity(path.len());
    let mut segments = path[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." => {}
            b".." => {
                let parent = memchr::memrchr(b'/', &resolved).ok_or(PathError::AboveRoot)?;
                resolved.truncate(parent);
            }
            _ => {
                resolved.push(b'/');
                resolved.extend_from_slice(segment);
                continue;
            }
        }
        if last {
            resolved.push(b'/');
        }
    }
    Ok(Cow::Owned(resolved))
}

/// Whether a path as received has dot segments, which the normal form resolves: `.` or `..`, dots escaped or not.
pub fn has_dot_segments(path: &[u8]) -> bool {
    decode_unreserved(path).is_ok_and(|decoded| has_dots(&decoded))
}

fn has_dots(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/')
        .any(|segment| matches!(segment, b"." | b".."))
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_has_one_normal_form() {
        for (given, normal) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a//b", "/a//b"),
            ("/%7Euser/%61", "/~user/a"),
            ("/a%2fb%5c", "/a%2Fb%5C"),
            ("/%E4%b8%ad", "/%E4%B8%AD"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a//../b", "/a/b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/..b/...", "/a/..b/..."),
            ("/%252e", "/%252e"),
        ] {
            let normal: &[u8] = normal.as_bytes();
            assert_eq!(
                normalise(given.as_bytes()).as_deref(),
                Ok(normal),
                "{given}"
            );
        }
    }

    #[test]
    fn a_path_in_normal_form_is_borrowed() {
        for path in ["/", "/a/b//c", "/a%2Fb", "/.well-known"] {
            assert!(
                matches!(normalise(path.as_bytes()), Ok(Cow::Borrowed(_))),
                "{path}"
            );
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for (given, why) in [
            ("", PathError::NoSlash),
            ("a", PathError::NoSlash),
            ("*", PathError::NoSlash),
            ("/%", PathError::BadEscape),
            ("/%4", PathError::BadEscape),
            ("/%zz", PathError::BadEscape),
            ("/a%00", PathError::Nul),
            ("/a#b", PathError::Fragment),
            ("/..", PathError::AboveRoot),
            ("/a/../..", PathError::AboveRoot),
            ("/%2e%2e/etc", PathError::AboveRoot),
        ] {
            assert_eq!(normalise(given.as_bytes()), Err(why), "{given}");
        }
    }

    #[test]
    fn dot_segments_are_seen_however_they_are_written() {
        for (path, has) in [
            ("/a/b", false),
            ("/a/..b/.c", false),
            ("/a/.", true),
            ("/a//../b", true),
            ("/a/%2e%2E/b", true),
            ("/a/.%2e", true),
            ("/a%2F../b", false),
        ] {
            assert_eq!(has_dot_segments(path.as_bytes()), has, "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_of_a_normal_form_is_itself(path in "/([a./]|%2[eEfF]|%6[1-9]){0,20}") {
            if let Ok(normal) = normalise(path.as_bytes()) {
                let again = normalise(&normal).map(|path| path.into_owned());
                prop_assert_eq!(again.as_deref(), Ok(&*normal));
                let has_dots = normal.split(|&byte| byte == b'/').any(|part| part == b"." || part == b"..");
                prop_assert!(!has_dots);
            }
        }

        #[test]
        fn no_bytes_panic(path in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = normalise(&path);
        }
    }
}
