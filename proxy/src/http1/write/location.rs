//! Where a backend says that things are, as its clients are to see it. A backend knows the paths under the arm's
//! `pathPrefix`, and its own address; clients know neither. So the prefix is taken off again in references to the same
//! host, and the backend's own host and port are left out, which makes the reference one to the host that was asked.
//!
//! A reference to the client's host on the backend's port counts as the backend's own: nginx and others put the port
//! that they listen on behind the host that they were asked for. A client that asked without a port, or for 80 or 443,
//! asked by a default port; which of the two, only whoever ends TLS knows, and frameworks write down what they guess
//! (`https://shop:80/`). So with such a client both ports and none are its own.

use std::net::SocketAddr;

use halftone_routing::document::arm::{ServicePort, ServiceRef};

use super::super::FieldKind;

/// Both ends of an answer: what the backend may say, and what the client asked.
#[derive(Clone, Copy, Debug)]
pub struct LocationContext<'a> {
    /// The arm's `pathPrefix`, without a slash at its end; empty for none.
    pub prefix: &'a str,
    /// Host and port that the client asked for, as received; empty where HTTP/1.0 named none.
    pub asked: &'a [u8],
    /// The endpoint that answers.
    pub backend: SocketAddr,
    /// The Service it belongs to, if it belongs to one.
    pub service: Option<&'a ServiceRef>,
}

/// Whose host and port a reference names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReferenceOwner {
    Client,
    Backend,
    Other,
}

/// A reference in pieces: `origin` is `scheme://authority`, `//authority`, or empty.
struct Reference<'v> {
    origin: &'v [u8],
    authority: Option<&'v [u8]>,
    /// What the scheme means without a port; unknown where there is no scheme.
    default_port: Option<u16>,
    /// Path, query and fragment.
    rest: &'v [u8],
}

impl LocationContext<'_> {
    /// The value that the client gets in place of this one; `None`: it gets this one.
    pub(super) fn rewritten(&self, kind: FieldKind, value: &[u8]) -> Option<Vec<u8>> {
        match kind {
            FieldKind::Location | FieldKind::ContentLocation => self.reference(value),
            FieldKind::Refresh => {
                let (start, end) = refresh_reference(value)?;
                let reference = self.reference(&value[start..end])?;
                Some([&value[..start], &reference, &value[end..]].concat())
            }
            FieldKind::SetCookie if !self.prefix.is_empty() => self.cookie(value),
            _ => None,
        }
    }

    fn reference(&self, value: &[u8]) -> Option<Vec<u8>> {
        let reference = Reference::parse(value)?;
        let whose = reference
            .authority
            .map_or(ReferenceOwner::Client, |authority| {
                self.whose(authority, reference.default_port)
            });
        let path = self.without_prefix(reference.rest, b"/?#;");
        match whose {
            ReferenceOwner::Other => None,
            ReferenceOwner::Client if reference.origin.is_empty() => path.map(guarded),
            ReferenceOwner::Client => path.map(|path| [reference.origin, &path].concat()),
            ReferenceOwner::Backend => {
                Some(guarded(path.unwrap_or_else(|| rooted(reference.rest))))
            }
        }
    }

    fn whose(&self, authority: &[u8], default_port: Option<u16>) -> ReferenceOwner {
        let (Some((host, port)), Some((asked_host, asked_port))) =
            (split(authority), split(self.asked))
        else {
            return ReferenceOwner::Other;
        };
        let effective = port.or(default_port);
        let asked_host =
            !host.is_empty() && absolute(host).eq_ignore_ascii_case(absolute(asked_host));
        let same_port = match asked_port {
            Some(asked) if !is_default(asked) => effective == Some(asked),
            _ => port.is_none_or(is_default),
        };
        if asked_host && same_port {
            return ReferenceOwner::Client;
        }
        let at_backend = effective == Some(self.backend.port());
        let own = at_backend && (asked_host || self.is_backend(host))
            || self.service.is_some_and(|service| {
                is_service(host, service)
                    && (at_backend || port.is_none() || is_number(&service.port, port))
            });
        if own {
            ReferenceOwner::Backend
        } else {
            ReferenceOwner::Other
        }
    }

    /// Whether a host is the endpoint's address.
    fn is_backend(&self, host: &[u8]) -> bool {
        let ip = self.backend.ip().to_canonical();
        let bare = host
            .strip_prefix(b"[")
            .and_then(|host| host.strip_suffix(b"]"))
            .unwrap_or(host);
        let named = std::str::from_utf8(bare)
            .ok()
            .and_then(|host| host.parse::<std::net::IpAddr>().ok());
        named.is_some_and(|named| named.to_canonical() == ip)
            || ip.is_loopback() && host.eq_ignore_ascii_case(b"localhost")
    }

    /// A path without the prefix, if it has it as whole segments; `ends` are what may follow the last one.
    fn without_prefix(&self, path: &[u8], ends: &[u8]) -> Option<Vec<u8>> {
        let rest = path
            .strip_prefix(self.prefix.as_bytes())
            .filter(|_| !self.prefix.is_empty())?;
        rest.first()
            .is_none_or(|next| ends.contains(next))
            .then(|| rooted(rest))
    }

    /// A cookie whose Path attributes lose the prefix.
    fn cookie(&self, value: &[u8]) -> Option<Vec<u8>> {
        let mut changed = false;
        let attributes = value
            .split(|byte| *byte == b';')
            .enumerate()
            .map(|(index, attribute)| {
                let path = path_attribute(attribute).filter(|_| index > 0)?;
                let shorter = self.without_prefix(&attribute[path..], b"/ \t")?;
                changed = true;
                Some([&attribute[..path], &shorter].concat())
            });
        let attributes: Vec<_> = attributes.collect();
        let received = value.split(|byte| *byte == b';');
        let parts: Vec<_> = received
            .zip(&attributes)
            .map(|(old, new)| new.as_deref().unwrap_or(old))
            .collect();
        changed.then(|| parts.join(&b';'))
    }
}

impl<'v> Reference<'v> {
    /// `None`: it is relative to the path that was asked for, or leads out of HTTP.
    fn parse(value: &'v [u8]) -> Option<Self> {
        let schemes = [(80, &b"http://"[..]), (443, b"https://")];
        let scheme = schemes.into_iter().find(|(_, scheme)| {
            value
                .get(..scheme.len())
                .is_some_and(|given| given.eq_ignore_ascii_case(scheme))
        });
        let (default_port, skipped) = match scheme {
            Some((port, scheme)) => (Some(port), scheme.len()),
            None if value.starts_with(b"//") => (None, 2),
            None if value.starts_with(b"/") => {
                return Some(Self {
                    origin: b"",
                    authority: None,
                    default_port: None,
                    rest: value,
                });
            }
            None => return None,
        };
        let after = &value[skipped..];
        let end = after
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\'))
            .unwrap_or(after.len());
        let (origin, rest) = value.split_at(skipped + end);
        Some(Self {
            origin,
            authority: Some(&after[..end]),
            default_port,
            rest,
        })
    }
}

/// Whether `http` or `https` means this port where none is named.
fn is_default(port: u16) -> bool {
    matches!(port, 80 | 443)
}

/// A host without the dot at its end, which says only that nothing is to be put behind it.
fn absolute(host: &[u8]) -> &[u8] {
    host.strip_suffix(b".").unwrap_or(host)
}

/// Host and port of an authority; `None` where it has user information or no such form.
pub(super) fn split(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    if authority.contains(&b'@') {
        return None;
    }
    let from = memchr::memrchr(b']', authority).unwrap_or(0);
    let Some(colon) = memchr::memchr(b':', &authority[from..]).map(|at| at + from) else {
        return Some((authority, None));
    };
    let digits = std::str::from_utf8(&authority[colon + 1..]).ok()?;
    let port = if digits.is_empty() {
        None
    } else {
        Some(digits.parse().ok()?)
    };
    Some((&authority[..colon], port))
}

/// Whether a host is one of the names that a Service has in its cluster.
fn is_service(host: &[u8], service: &ServiceRef) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let mut labels = host.trim_end_matches('.').split('.');
    let is = |label: Option<&str>, name: &str| {
        label.is_some_and(|label| label.eq_ignore_ascii_case(name))
    };
    // A Service's name is one label, a namespace's as well.
    is(labels.next(), service.name.as_str())
        && match labels.next() {
            None => true,
            namespace => {
                is(namespace, service.namespace.as_str())
                    && labels.next().is_none_or(|label| label == "svc")
            }
        }
}

/// Whether a Service has its port by this number.
fn is_number(port: &ServicePort, number: Option<u16>) -> bool {
    matches!(port, ServicePort::Number(known) if Some(known.get()) == number)
}

/// With the slash that a path begins with.
fn rooted(path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") {
        path.to_vec()
    } else {
        [b"/", path].concat()
    }
}

/// A path that stands for itself. One that begins with `//` or `/\` would be read as a host, and whoever makes a
/// backend redirect to `/v1//evil.example` would send users there; behind `/.` it is a path (RFC 3986 §4.2).
fn guarded(path: Vec<u8>) -> Vec<u8> {
    if path
        .get(1)
        .is_some_and(|second| matches!(second, b'/' | b'\\'))
    {
        [b"/.", &*path].concat()
    } else {
        path
    }
}

/// Where the value of a Path attribute begins.
fn path_attribute(attribute: &[u8]) -> Option<usize> {
    let equals = memchr::memchr(b'=', attribute)?;
    let is_path = attribute[..equals]
        .trim_ascii()
        .eq_ignore_ascii_case(b"path");
    let spaces = attribute[equals + 1..]
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    is_path.then_some(equals + 1 + spaces)
}

/// Where the reference of a Refresh value begins and ends: `5; url=/next`, the reference in quotes or not.
fn refresh_reference(value: &[u8]) -> Option<(usize, usize)> {
    let skip = |from: usize, skipped: &[u8]| {
        from + value[from..]
            .iter()
            .take_while(|byte| skipped.contains(byte))
            .count()
    };
    let name = skip(memchr::memchr2(b';', b',', value)?, b";, \t");
    let is_url = value
        .get(name..name + 3)
        .is_some_and(|given| given.eq_ignore_ascii_case(b"url"));
    let equals = skip(name + 3 * usize::from(is_url), b" \t");
    if !is_url || value.get(equals) != Some(&b'=') {
        return None;
    }
    let start = skip(equals + 1, b" \t");
    match value.get(start) {
        Some(quote @ (b'\'' | b'"')) => {
            let end = memchr::memchr(*quote, &value[start + 1..])
                .map_or(value.len(), |at| start + 1 + at);
            Some((start + 1, end))
        }
        _ => Some((start, value.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: LocationContext<'static> = LocationContext {
        prefix: "/v1",
        asked: b"shop.example.com",
        backend: SocketAddr::new(
            std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5)),
            8080,
        ),
        service: None,
    };

    /// What the client gets.
    fn seen(home: &LocationContext<'_>, kind: FieldKind, value: &str) -> String {
        let rewritten = home.rewritten(kind, value.as_bytes());
        rewritten.map_or_else(
            || value.to_owned(),
            |value| String::from_utf8(value).unwrap(),
        )
    }

    #[test]
    fn the_prefix_is_taken_off_references_to_the_same_host() {
        for (said, expected) in [
            ("/v1/a?b#c", "/a?b#c"),
            ("/v1", "/"),
            ("/v1/", "/"),
            ("/v1?a", "/?a"),
            ("/v1;jsessionid=5", "/;jsessionid=5"),
            ("/v10/a", "/v10/a"),
            ("/other", "/other"),
            ("http://shop.example.com/v1/a", "http://shop.example.com/a"),
            (
                "https://Shop.Example.com/v1/a",
                "https://Shop.Example.com/a",
            ),
            (
                "http://shop.example.com:80/v1",
                "http://shop.example.com:80/",
            ),
            (
                "https://shop.example.com:443/v1/a",
                "https://shop.example.com:443/a",
            ),
            ("//shop.example.com/v1/a", "//shop.example.com/a"),
            ("a/b", "a/b"),
            ("../v1/a", "../v1/a"),
            ("?v1", "?v1"),
            ("", ""),
            ("mailto:a@b", "mailto:a@b"),
            (
                "https://elsewhere.example/v1/a",
                "https://elsewhere.example/v1/a",
            ),
            ("//elsewhere.example/v1/a", "//elsewhere.example/v1/a"),
            (
                "http://shop.example.com@elsewhere.example/v1/a",
                "http://shop.example.com@elsewhere.example/v1/a",
            ),
            (
                "http://shop.example.com:81/v1/a",
                "http://shop.example.com:81/v1/a",
            ),
            (
                "http://shop.example.com:x/v1/a",
                "http://shop.example.com:x/v1/a",
            ),
        ] {
            assert_eq!(seen(&V1, FieldKind::Location, said), expected, "{said}");
            assert_eq!(
                seen(&V1, FieldKind::ContentLocation, said),
                expected,
                "{said}"
            );
        }
    }

    /// Spring's and Tomcat's `sendRedirect` and JAX-RS's `UriInfo` are absolute: scheme, host and port as the request, the
    /// connector or X-Forwarded-* gave them, a default port written down or not.
    #[test]
    fn a_default_port_is_the_clients_own_whether_it_is_written_or_not() {
        for asked in ["shop", "shop:80", "shop:443", "shop.", "SHOP"] {
            let home = LocationContext {
                asked: asked.as_bytes(),
                ..V1
            };
            for origin in [
                "http://shop",
                "http://shop:80",
                "http://shop:",
                "https://shop",
                "https://shop:443",
                "HTTPS://Shop:443",
                "//shop",
                "//shop:80",
                "//shop:443",
                // Behind whoever ends TLS: the scheme of one side with the port of the other.
                "https://shop:80",
                "http://shop:443",
                "https://shop.:443",
            ] {
                for kind in [FieldKind::Location, FieldKind::ContentLocation] {
                    let seen = seen(&home, kind, &format!("{origin}/v1/login;jsessionid=5?a"));
                    assert_eq!(
                        seen,
                        format!("{origin}/login;jsessionid=5?a"),
                        "asked as {asked}"
                    );
                }
            }
            for other in [
                "http://shop:8443/v1/a",
                "https://shop:8443/v1/a",
                "//shop:81/v1/a",
                "http://shop2:80/v1/a",
            ] {
                assert_eq!(
                    seen(&home, FieldKind::Location, other),
                    other,
                    "asked as {asked}"
                );
            }
        }
        let other_port = LocationContext {
            asked: b"shop:8443",
            ..V1
        };
        for (said, expected) in [
            ("https://shop:8443/v1/a", "https://shop:8443/a"),
            ("https://shop:443/v1/a", "https://shop:443/v1/a"),
            ("http://shop/v1/a", "http://shop/v1/a"),
        ] {
            assert_eq!(
                seen(&other_port, FieldKind::Location, said),
                expected,
                "{said}"
            );
        }
    }

    #[test]
    fn the_backends_own_host_and_port_are_left_out() {
        let service = ServiceRef {
            namespace: "shop".parse().unwrap(),
            name: "checkout-v1".parse().unwrap(),
            port: ServicePort::Number(std::num::NonZeroU16::new(80).unwrap()),
            port_name: None,
        };
        let bare = LocationContext { prefix: "", ..V1 };
        let of_service = LocationContext {
            service: Some(&service),
            ..bare
        };
        let local = LocationContext {
            backend: "127.0.0.1:9001".parse().unwrap(),
            asked: b"127.0.0.1:8080",
            ..bare
        };
        let six = LocationContext {
            backend: "[fd00::5]:8080".parse().unwrap(),
            asked: b"[fd00::1]:80",
            ..bare
        };
        for (home, said, expected) in [
            (&bare, "http://10.0.0.5:8080/a?b", "/a?b"),
            (&V1, "http://10.0.0.5:8080/v1/a?b", "/a?b"),
            (&V1, "http://10.0.0.5:8080/x", "/x"),
            (&V1, "http://10.0.0.5:8080", "/"),
            (&V1, "http://10.0.0.5:8080?a", "/?a"),
            // nginx with its own port, Tomcat asked by its own address.
            (&V1, "http://shop.example.com:8080/v1/dir/", "/dir/"),
            (&bare, "https://shop.example.com:8080/dir/", "/dir/"),
            (&bare, "//10.0.0.5:8080/a", "/a"),
            (&bare, "http://10.0.0.5/a", "http://10.0.0.5/a"),
            (&bare, "http://10.0.0.6:8080/a", "http://10.0.0.6:8080/a"),
            (&bare, "http://checkout-v1/a", "http://checkout-v1/a"),
            (&of_service, "http://checkout-v1/a", "/a"),
            (&of_service, "http://checkout-v1.shop/a", "/a"),
            (
                &of_service,
                "http://checkout-v1.shop.svc.cluster.local:80/a",
                "/a",
            ),
            (&of_service, "http://checkout-v1.shop:8080/a", "/a"),
            (
                &of_service,
                "http://checkout-v1.shop:9090/a",
                "http://checkout-v1.shop:9090/a",
            ),
            (
                &of_service,
                "http://checkout-v1.other/a",
                "http://checkout-v1.other/a",
            ),
            (
                &of_service,
                "http://checkout-v1.shop.example.com/a",
                "http://checkout-v1.shop.example.com/a",
            ),
            (&local, "http://localhost:9001/a", "/a"),
            (&local, "http://127.0.0.1:8080/a", "http://127.0.0.1:8080/a"),
            (&six, "http://[fd00::5]:8080/a", "/a"),
            (&six, "http://[fd00:0::5]:8080/a", "/a"),
            (&six, "http://[fd00::1]/a", "http://[fd00::1]/a"),
        ] {
            assert_eq!(seen(home, FieldKind::Location, said), expected, "{said}");
        }
    }

    #[test]
    fn no_backend_is_made_to_send_users_elsewhere() {
        for (said, expected) in [
            ("/v1//evil.example/", "/.//evil.example/"),
            ("/v1/\\evil.example/", "/./\\evil.example/"),
            ("http://10.0.0.5:8080//evil.example", "/.//evil.example"),
            ("http://10.0.0.5:8080/v1//evil.example", "/.//evil.example"),
            (
                "http://shop.example.com/v1//evil.example",
                "http://shop.example.com//evil.example",
            ),
            (
                "http://10.0.0.5:8080\\@evil.example/v1",
                "/./\\@evil.example/v1",
            ),
        ] {
            let seen = seen(&V1, FieldKind::Location, said);
            assert_eq!(seen, expected, "{said}");
            assert!(
                !seen.starts_with("//") && !seen.starts_with("/\\"),
                "{seen}"
            );
        }
    }

    #[test]
    fn a_refresh_loses_the_prefix_of_what_it_leads_to() {
        for (said, expected) in [
            ("5; url=/v1/a", "5; url=/a"),
            ("5;URL='/v1/a'", "5;URL='/a'"),
            (
                "0, url = \"http://10.0.0.5:8080/v1/a\" ",
                "0, url = \"/a\" ",
            ),
            ("5", "5"),
            ("5; /v1/a", "5; /v1/a"),
            ("5; url", "5; url"),
            ("5; url='/v1/a", "5; url='/a"),
            (
                "5; url=https://elsewhere.example/v1/a",
                "5; url=https://elsewhere.example/v1/a",
            ),
        ] {
            assert_eq!(seen(&V1, FieldKind::Refresh, said), expected, "{said}");
        }
    }

    #[test]
    fn a_cookie_of_a_path_loses_the_prefix() {
        for (said, expected) in [
            ("a=b; Path=/v1/x; Secure", "a=b; Path=/x; Secure"),
            ("a=b;path=/v1", "a=b;path=/"),
            ("a=b; PATH = /v1/ ; HttpOnly", "a=b; PATH = / ; HttpOnly"),
            ("a=b; Path=/v10", "a=b; Path=/v10"),
            ("a=b; Path=/", "a=b; Path=/"),
            ("path=/v1/x; Secure", "path=/v1/x; Secure"),
            ("a=b", "a=b"),
            ("a=b; Path", "a=b; Path"),
        ] {
            assert_eq!(seen(&V1, FieldKind::SetCookie, said), expected, "{said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
            for kind in [FieldKind::Location, FieldKind::Refresh, FieldKind::SetCookie] {
                let _ = V1.rewritten(kind, &value);
            }
        }
    }
}
