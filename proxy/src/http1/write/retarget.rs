//! A request's head that was written for one arm, changed for the other: it differs in the path's prefix and in the
//! version's field alone.

/// What the head of a request bears of the arm that it goes to.
#[derive(Clone, Copy, Debug)]
pub struct ArmFields<'a> {
    /// Before the path; without a slash at its end.
    pub path_prefix: &'a str,
    /// Name and value of the version's field.
    pub version: Option<(&'a str, &'a str)>,
}

/// The head as [`super::request_head`] writes it for `to`, from what it wrote for `from`. What stands behind the head
/// stays as it is. `None`: the path went on as received and may climb out of the prefix that would come before it.
pub fn change_arm(written: &[u8], from: &ArmFields<'_>, to: &ArmFields<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(written.len() + to.path_prefix.len() + 64);
    let target = written
        .iter()
        .position(|byte| *byte == b' ')
        .map_or(0, |space| space + 1);
    let (method, rest) = written.split_at(target);
    if from.path_prefix.is_empty() && !to.path_prefix.is_empty() && !is_plain(rest) {
        return None;
    }
    out.extend_from_slice(method);
    if rest.starts_with(b"/") {
        out.extend_from_slice(to.path_prefix.as_bytes());
    }
    let rest = rest
        .strip_prefix(from.path_prefix.as_bytes())
        .unwrap_or(rest);
    // Ours is the last field.
    let end = memchr::memmem::find(rest, b"\r\n\r\n").map_or(rest.len(), |end| end + 2);
    let (head, behind) = rest.split_at(end);
    let line = |(name, value): (&str, &str)| format!("{name}: {value}\r\n").into_bytes();
    let before = from.version.map(line).unwrap_or_default();
    out.extend_from_slice(head.strip_suffix(&before[..]).unwrap_or(head));
    out.extend_from_slice(&to.version.map(line).unwrap_or_default());
    out.extend_from_slice(behind);
    Some(out)
}

/// Whether the path at the start of `target` can mean nothing but what it says, to any backend.
fn is_plain(target: &[u8]) -> bool {
    let end = target
        .iter()
        .position(|byte| matches!(byte, b'?' | b' '))
        .unwrap_or(target.len());
    let path = &target[..end];
    let odd = |byte: &u8| matches!(byte, b'%' | b'\\' | b';');
    !path.iter().any(odd) && !path.windows(2).any(|pair| matches!(pair, b"/." | b"//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_prefix_and_version_change() {
        let arm = |path_prefix, version| ArmFields {
            path_prefix,
            version: Some(("X-App-Version", version)),
        };
        let written = |target: &str, version: &str| {
            format!(
                "PUT {target} HTTP/1.1\r\nHost: shop\r\nX-App-Version: {version}\r\n\r\nbody\r\n\r\n"
            )
        };
        for (from, to, before, after) in [
            (
                arm("", "v2"),
                arm("", "v1"),
                ("/a?b=/c", "v2"),
                ("/a?b=/c", "v1"),
            ),
            (
                arm("/new", "v2"),
                arm("", "v1"),
                ("/new/a", "v2"),
                ("/a", "v1"),
            ),
            (
                arm("", "v2"),
                arm("/old", "1"),
                ("/new/a", "v2"),
                ("/old/new/a", "1"),
            ),
            (
                arm("/new", "v2"),
                arm("/old", "v1"),
                ("/new/new", "v2"),
                ("/old/new", "v1"),
            ),
            (
                arm("/new", "v2"),
                arm("/old", "v1"),
                ("*", "v2"),
                ("*", "v1"),
            ),
        ] {
            let changed = change_arm(written(before.0, before.1).as_bytes(), &from, &to).unwrap();
            assert_eq!(
                String::from_utf8(changed).unwrap(),
                written(after.0, after.1)
            );
        }
    }

    #[test]
    fn a_path_that_went_on_as_received_does_not_climb_out_of_a_prefix() {
        let (bare, old) = (
            ArmFields {
                path_prefix: "",
                version: None,
            },
            ArmFields {
                path_prefix: "/old",
                version: None,
            },
        );
        for path in ["/a/../b", "/.", "//a", "/a%2f..%2fb", "/a\\..\\b", "/..;/b"] {
            let head = format!("GET {path}?q=%2f HTTP/1.1\r\n\r\n");
            assert_eq!(change_arm(head.as_bytes(), &bare, &old), None, "{path}");
            assert!(
                change_arm(head.as_bytes(), &bare, &bare).is_some(),
                "{path}"
            );
        }
        assert!(change_arm(b"GET /a.b?q=/../%2f HTTP/1.1\r\n\r\n", &bare, &old).is_some());
    }
}
