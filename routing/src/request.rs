//! What `decide` sees of a request: borrowed slices of the head as it was parsed, with host and path in normal
//! form. Also how to find fields, cookies and query parameters in it.

use std::{borrow::Cow, net::IpAddr};

use crate::{field::Field, hex::digit};

/// What `decide` sees of a request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method, as received.
    pub method: &'a str,
    /// The host in the normal form of [`crate::host::normalise`].
    pub host: &'a str,
    /// The path in the normal form of [`crate::path::normalise`].
    pub path: &'a [u8],
    /// What follows the first `?`, as received.
    pub query: Option<&'a [u8]>,
    /// The header fields in order.
    pub fields: &'a [Field<'a>],
    /// The other end of the connection.
    pub peer: IpAddr,
}

impl<'a> Request<'a> {
    /// Whether a browser asks here, by itself and without any credentials, if a page may send the request that it wants
    /// to (a CORS preflight; Fetch standard, section 4.8).
    pub fn is_preflight(&self) -> bool {
        let has = |name| self.field_values(name).next().is_some();
        self.method == "OPTIONS" && has("origin") && has("access-control-request-method")
    }

    /// The values of every field of this name, in order.
    pub fn field_values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields
            .iter()
            .filter(move |field| field.is(name))
            .map(|field| field.value)
    }

    /// The values of every cookie of this name, over all Cookie fields, in order, quotes around them removed
    /// (RFC 6265 section 4.1.1). A value may contain `=`.
    pub fn cookie_values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.raw_cookie_values(name).map(unquote)
    }

    /// The same as they came, with the quotes around them.
    pub fn raw_cookie_values<'n>(
        &self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.field_values("cookie").flat_map(move |field| {
            parts(field, b';').filter_map(move |pair| {
                let rest = pair.trim_ascii_start().strip_prefix(name.as_bytes())?;
                let value = rest.trim_ascii_start().strip_prefix(b"=")?;
                Some(value.trim_ascii())
            })
        })
    }

    /// The values of every query parameter of this name, in order, percent-decoded with `+` as a space
    /// (application/x-www-form-urlencoded). A `%` without two hex digits stands for itself.
    pub fn query_values<'n>(
        &self,
        name: &'n str,
    ) -> impl Iterator<Item = Cow<'a, [u8]>> + use<'a, 'n> {
        query_values(self.query.unwrap_or_default(), name)
    }

    /// The same as they came; only names are decoded.
    pub fn raw_query_values<'n>(
        &self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        raw_query_values(self.query.unwrap_or_default(), name)
    }
}

/// The values of every parameter of this name in a query; see [`Request::query_values`].
pub fn query_values<'a, 'n>(
    query: &'a [u8],
    name: &'n str,
) -> impl Iterator<Item = Cow<'a, [u8]>> + use<'a, 'n> {
    raw_query_values(query, name).map(form_decode)
}

fn raw_query_values<'a, 'n>(
    query: &'a [u8],
    name: &'n str,
) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
    parts(query, b'&').filter_map(move |pair| {
        let equals = memchr::memchr(b'=', pair);
        let (key, value) = equals.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
        (*form_decode(key) == *name.as_bytes()).then_some(value)
    })
}

/// What stands between separators. As `slice::split`, with a search that takes 32 bytes at a time: cookies are long
/// and asked for often.
fn parts(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr::memchr(separator, text);
        rest = end.map(|end| &text[end + 1..]);
        Some(end.map_or(text, |end| &text[..end]))
    })
}

/// The value without a pair of quotes around it.
pub(crate) fn unquote(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

fn form_decode(text: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memchr2(b'%', b'+', text) {
        Some(_) => Cow::Owned(decode(text, b' ')),
        None => Cow::Borrowed(text),
    }
}

/// The text with every `%` and two hex digits as the byte that they stand for. `+` stands for itself: in headers and
/// cookies nobody means a space by it.
pub(crate) fn percent_decode(text: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memchr(b'%', text) {
        Some(_) => Cow::Owned(decode(text, b'+')),
        None => Cow::Borrowed(text),
    }
}

fn decode(text: &[u8], plus: u8) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => digit(*high)
                .zip(digit(*low))
                .map(|(high, low)| high << 4 | low),
            _ => None,
        };
        decoded.push(escaped.unwrap_or(if *first == b'+' { plus } else { *first }));
        rest = if escaped.is_some() { &rest[3..] } else { tail };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn request<'a>(query: Option<&'a [u8]>, fields: &'a [Field<'a>]) -> Request<'a> {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Request {
            method: "GET",
            host: "shop",
            path: b"/",
            query,
            fields,
            peer,
        }
    }

    #[test]
    fn a_cookie_is_found_in_every_cookie_field() {
        let fields = [
            Field {
                name: b"Cookie",
                value: b"a=1; token=x=y==;empty=",
            },
            Field {
                name: b"cookie",
                value: b" q = \"quoted\" ;a=2; broken",
            },
            Field {
                name: b"X-Cookie",
                value: b"a=3",
            },
        ];
        let request = request(None, &fields);
        let cookies = |name: &str| {
            request
                .cookie_values(name)
                .map(<[u8]>::to_vec)
                .collect::<Vec<_>>()
        };
        assert_eq!(cookies("a"), [b"1", b"2"]);
        assert_eq!(cookies("token"), [b"x=y=="]);
        assert_eq!(cookies("empty"), [b""]);
        assert_eq!(cookies("q"), [b"quoted"]);
        assert!(cookies("broken").is_empty() && cookies("A").is_empty());
    }

    #[test]
    fn a_query_parameter_is_decoded() {
        let found = |query: &str, name: &str| -> Vec<String> {
            let request = request(Some(query.as_bytes()), &[]);
            let values = request.query_values(name);
            values
                .map(|value| String::from_utf8_lossy(&value).into_owned())
                .collect()
        };
        assert_eq!(found("user=lin", "user"), ["lin"]);
        assert_eq!(
            found("a=1&user=%E6%9E%97+x&user=2", "user"),
            ["\u{6797} x", "2"]
        );
        assert_eq!(found("us%65r=a%3Db", "user"), ["a=b"]);
        assert_eq!(found("user", "user"), [""]);
        assert_eq!(found("user=100%&user=%zz", "user"), ["100%", "%zz"]);
        assert!(found("users=1&xuser=2", "user").is_empty());
    }
}
