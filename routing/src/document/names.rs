//! Names and texts of a routing document: who a release is, which hosts and paths it claims, which fields it
//! reads. Hosts and paths are brought to the normal form in which requests are compared.

use std::borrow::Cow;

use super::units::text;
use crate::{host, path};

/// Longest text of a name that we do not interpret.
const LONGEST: usize = 253;

text!(
    /// Identifies one object for its whole life. The API server's uid, or `local/<namespace>/<name>`: letters,
    /// digits, `-._/`, 1 to 512 of them.
    Uid,
    |text| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
        if (1..=512).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Cow::Borrowed(text))
        } else {
            Err("is no uid; it has 1 to 512 letters, digits and -._/".into())
        }
    }
);

text!(
    /// A Kubernetes name: lower-case letters, digits, `-` and `.`, starting and ending with one of the former, at
    /// most 253 (RFC 1123 subdomain). Also used for namespaces, which are stricter where they are made.
    ObjectName,
    |text| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        let outer = |byte: Option<u8>| byte.is_some_and(|byte| inner(byte) && !b"-.".contains(&byte));
        let ends = outer(text.bytes().next()) && outer(text.bytes().last());
        if ends && text.len() <= LONGEST && text.bytes().all(inner) {
            Ok(Cow::Borrowed(text))
        } else {
            Err("is no Kubernetes name; it has lower-case letters, digits, - and ., at most 253, \
                 and starts and ends with a letter or digit"
                .into())
        }
    }
);

text!(
    /// What a version is called, as people know it and the version header carries it: 1 to 128 visible ASCII
    /// characters.
    Version,
    |text| {
        if (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Cow::Borrowed(text))
        } else {
            Err("is no version; it has 1 to 128 visible ASCII characters without spaces".into())
        }
    }
);

text!(
    /// Name of a header field or cookie (RFC 9110 token), spelled as given and compared without regard to case
    /// for fields, exactly for cookies.
    Token,
    |text| {
        if is_token(text) && text.len() <= LONGEST {
            Ok(Cow::Borrowed(text))
        } else {
            Err("is no name of a field or cookie; it has 1 to 253 letters, digits and !#$%&'*+-.^_`|~".into())
        }
    }
);

/// Fields that HTTP itself reads, in lower case. One of ours under such a name would change what a message is.
pub const TAKEN_FIELDS: [&str; 13] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "expect",
    "cookie",
    "set-cookie",
    "authorization",
];

text!(
    /// Name of a header field that proxies set: a [`Token`] other than [`TAKEN_FIELDS`].
    OwnField,
    |text| {
        if TAKEN_FIELDS.contains(&text.to_ascii_lowercase().as_str()) {
            return Err("is a header that HTTP itself uses; choose another name, such as X-Version".into());
        }
        if is_token(text) && text.len() <= LONGEST {
            Ok(Cow::Borrowed(text))
        } else {
            Err("is not a header name; it has 1 to 253 letters, digits and !#$%&'*+-.^_`|~".into())
        }
    }
);

text!(
    /// Name of a query parameter, decoded: 1 to 253 bytes.
    QueryName,
    |text| {
        if (1..=LONGEST).contains(&text.len()) {
            Ok(Cow::Borrowed(text))
        } else {
            Err("is no name of a query parameter; it has 1 to 253 bytes".into())
        }
    }
);

text!(
    /// Text that goes into a header field: visible ASCII and inner spaces, 1 to 1024 characters.
    FieldText,
    |text| {
        let inner = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if inner && (1..=1024).contains(&text.len()) && text.trim() == text {
            Ok(Cow::Borrowed(text))
        } else {
            Err("cannot stand in a header field; use 1 to 1024 visible ASCII characters, spaces inside only".into())
        }
    }
);

text!(
    /// A host that a release claims, in normal form: `shop.example.com`; `*.example.com` for one or more labels
    /// before it, but not for `example.com` itself; `*` for any host.
    HostPattern,
    |text| {
        if text == "*" {
            return Ok(Cow::Borrowed(text));
        }
        let (star, rest) = text.strip_prefix("*.").map_or(("", text), |rest| ("*.", rest));
        if rest.contains('*') {
            return Err("has a * that is not its whole first label; write *.example.com".into());
        }
        if !rest.starts_with('[') && rest.contains(':') {
            return Err("has a port; hosts are matched without it, so leave it out".into());
        }
        if rest.starts_with('[') && !rest.ends_with(']') {
            return Err("has something after its brackets; leave it out".into());
        }
        let normal = host::normalise(rest.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Cow::Owned(format!("{star}{normal}")))
    }
);

impl HostPattern {
    /// The part after `*.`, if the pattern has one.
    pub fn wildcard_suffix(&self) -> Option<&str> {
        self.as_str().strip_prefix("*.")
    }

    /// Whether it stands for every host.
    pub fn is_any(&self) -> bool {
        self.as_str() == "*"
    }
}

text!(
    /// A path prefix by whole segments, in normal form and without a trailing `/` unless it is `/`: `/checkout`
    /// covers `/checkout` and `/checkout/pay`, not `/checkouts`.
    PathPrefix,
    |text| {
        if text.len() > 1024 {
            return Err("is longer than 1024 bytes".into());
        }
        if let Some(byte) = text.bytes().find(|byte| !byte.is_ascii_graphic() || *byte == b'?') {
            let shown = char::from(byte).escape_default();
            return Err(format!("has '{shown}', which no path has; write it percent-encoded"));
        }
        let normal = path::normalise(text.as_bytes()).map_err(|error| error.to_string())?;
        let normal = String::from_utf8_lossy(&normal).into_owned();
        let cut = normal.trim_end_matches('/');
        Ok(Cow::Owned(if cut.is_empty() { "/".into() } else { cut.to_owned() }))
    }
);

impl PathPrefix {
    /// `/`, which covers every path.
    pub fn root() -> Self {
        Self("/".into())
    }
}

text!(
    /// The path that a load balancer in front asks on the clients' port: in normal form, without a query, at most 1024
    /// bytes. Every host has it, so it is no path of any release.
    HealthPath,
    |text| {
        if text == "/" {
            return Err("is what every host's front page is called; write a path of its own, such as /healthz".into());
        }
        let path: PathPrefix = text.parse().map_err(|_| NO_HEALTH_PATH)?;
        if path.as_str() != text {
            return Err(NO_HEALTH_PATH.into());
        }
        Ok(Cow::Borrowed(text))
    }
);

/// What is wrong with most.
const NO_HEALTH_PATH: &str = "is not a path that is compared as it is written; write one such as /healthz, without \
                              query, . or .., or a / at its end";

fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_paths_are_kept_in_normal_form() {
        let host = |text: &str| text.parse::<HostPattern>().map(|host| host.to_string());
        assert_eq!(host("Shop.Example.com."), Ok("shop.example.com".into()));
        assert_eq!(host("*.Example.com"), Ok("*.example.com".into()));
        assert_eq!(host("*"), Ok("*".into()));
        assert_eq!(host("[::0:1]"), Ok("[::1]".into()));
        for wrong in [
            "", "*.", "a.*.b", "*x", "**", "shop:80", "[::1]:80", "*.*", "a b", "u@h",
        ] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
        let path = |text: &str| text.parse::<PathPrefix>().map(|path| path.to_string());
        assert_eq!(path("/"), Ok("/".into()));
        assert_eq!(path("/a/"), Ok("/a".into()));
        assert_eq!(path("/%61/./b"), Ok("/a/b".into()));
        for wrong in ["", "a", "/a b", "/a?b", "/a#b", "/..", "/%", "/\u{e9}"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_bounded() {
        assert!("local/shop/checkout".parse::<Uid>().is_ok());
        assert!("".parse::<Uid>().is_err() && "a b".parse::<Uid>().is_err());
        assert!("checkout-v1.x".parse::<ObjectName>().is_ok());
        for wrong in ["", "-a", "a-", "A", "a_b", "a/b", &"a".repeat(254)] {
            assert!(wrong.parse::<ObjectName>().is_err(), "{wrong}");
        }
        assert!("X-User-Name".parse::<Token>().is_ok());
        assert!("X User".parse::<Token>().is_err() && "".parse::<Token>().is_err());
        assert!(
            "X-Version".parse::<OwnField>().is_ok() && "X Version".parse::<OwnField>().is_err()
        );
        for taken in ["Transfer-Encoding", "content-length", "HOST", "Set-Cookie"] {
            let error = taken.parse::<OwnField>().expect_err(taken).to_string();
            assert!(error.contains("HTTP itself uses; choose"), "{error}");
        }
        assert!(
            "/healthz".parse::<HealthPath>().is_ok()
                && "/-/health%2Fz".parse::<HealthPath>().is_ok()
        );
        for wrong in ["", "/", "healthz", "/a/", "/a/../b", "/%61", "/a?b", "/a b"] {
            assert!(wrong.parse::<HealthPath>().is_err(), "{wrong}");
        }
        assert!("two words".parse::<FieldText>().is_ok());
        assert!("line\nbreak".parse::<FieldText>().is_err() && " x".parse::<FieldText>().is_err());
    }
}
