//! The normal form of a host, the first point of `decide`: lower case, without port and one trailing dot, IPv6 in
//! brackets in its canonical spelling. The proxy calls it for the Host field and absolute-form targets, documents
//! for their `hosts`, so that both sides compare the same spelling.

use std::{borrow::Cow, net::Ipv6Addr};

/// Why an authority is refused; for a request each is a 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing before the port.
    #[error("is empty")]
    Empty,
    /// `user@host`: RFC 9110 section 4.2.4 forbids it, and it has been used to disguise hosts.
    #[error("has user information; leave out everything up to the @")]
    UserInfo,
    /// Longer than a DNS name can be.
    #[error("is longer than 255 bytes")]
    TooLong,
    /// A byte that no host name has.
    #[error("has a byte that no host name has")]
    BadByte,
    /// Two dots in a row, or a dot at the start.
    #[error("has an empty label")]
    EmptyLabel,
    /// Brackets without an IPv6 address.
    #[error("has no valid IPv6 address in its brackets")]
    BadIpv6,
    /// Something other than 0..=65535 after the colon.
    #[error("has no valid port after its colon")]
    BadPort,
}

/// The longest name that DNS can carry, with room for the trailing dot.
const LONGEST: usize = 255;

/// The normal form of `host[:port]`. Borrows from `authority` unless it has capitals or an IPv6 address.
///
/// # Errors
/// What makes it no authority of RFC 3986 section 3.2 without user information.
pub fn normalise(authority: &[u8]) -> Result<Cow<'_, str>, HostError> {
    // Most are a name alone, which has none of the bytes that the rest is about.
    if let Ok(name) = name(authority) {
        return Ok(name);
    }
    if authority.contains(&b'@') {
        return Err(HostError::UserInfo);
    }
    if let Some(rest) = authority.strip_prefix(b"[") {
        let end = memchr::memchr(b']', rest).ok_or(HostError::BadIpv6)?;
        check_port(&rest[end + 1..])?;
        return ipv6(&rest[..end]);
    }
    let (host, port) =
        authority.split_at(memchr::memchr(b':', authority).unwrap_or(authority.len()));
    check_port(port)?;
    name(host)
}

/// `""`, `:` and `:digits` up to 65535 are allowed; RFC 3986 lets the port be empty.
fn check_port(port: &[u8]) -> Result<(), HostError> {
    let Some((colon, digits)) = port.split_first() else {
        return Ok(());
    };
    let number = digits.iter().try_fold(0_u32, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| (sum * 10 + u32::from(byte - b'0')).min(65_536))
    });
    match number {
        Some(0..=65_535) if *colon == b':' => Ok(()),
        _ => Err(HostError::BadPort),
    }
}

fn ipv6(address: &[u8]) -> Result<Cow<'_, str>, HostError> {
    let text = std::str::from_utf8(address).map_err(|_| HostError::BadIpv6)?;
    let address: Ipv6Addr = text.parse().map_err(|_| HostError::BadIpv6)?;
    Ok(Cow::Owned(format!("[{address}]")))
}

fn name(host: &[u8]) -> Result<Cow<'_, str>, HostError> {
    let host = host.strip_suffix(b".").unwrap_or(host);
    if host.is_empty() {
        return Err(HostError::Empty);
    }
    if host.len() > LONGEST {
        return Err(HostError::TooLong);
    }
    // Without branches, since names are short and every request has one.
    let (mut seen, mut twice, mut before) = (0, 0, DOT);
    for byte in host {
        let class = CLASSES[usize::from(*byte)];
        seen |= class;
        twice |= class & before;
        before = class;
    }
    if seen & NONE != 0 {
        return Err(HostError::BadByte);
    }
    if (twice | before) & DOT != 0 {
        return Err(HostError::EmptyLabel);
    }
    let host = std::str::from_utf8(host).map_err(|_| HostError::BadByte)?;
    Ok(if seen & CAPITAL != 0 {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// What a byte can be to a host name, each a bit.
const NONE: u8 = 1;
const DOT: u8 = 2;
const CAPITAL: u8 = 4;
const OTHER: u8 = 8;

/// Unreserved characters and sub-delims of RFC 3986. Percent-encoding is left out: no client sends it, and two
/// spellings of one name would be two names to us and one to a backend.
const CLASSES: [u8; 256] = {
    let mut classes = [NONE; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'.' => DOT,
            b'A'..=b'Z' => CAPITAL,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => OTHER,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => OTHER,
            _ => NONE,
        };
        byte += 1;
    }
    classes
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_has_one_normal_form() {
        for (given, normal) in [
            ("shop.example.com", "shop.example.com"),
            ("Shop.Example.COM", "shop.example.com"),
            ("shop.example.com:8080", "shop.example.com"),
            ("shop.example.com:", "shop.example.com"),
            ("shop.example.com.", "shop.example.com"),
            ("shop.example.com.:80", "shop.example.com"),
            ("10.1.2.3:80", "10.1.2.3"),
            ("my_service", "my_service"),
            ("[::1]:8080", "[::1]"),
            ("[2001:DB8:0:0::1]", "[2001:db8::1]"),
            ("[::ffff:10.1.2.3]", "[::ffff:10.1.2.3]"),
        ] {
            assert_eq!(
                normalise(given.as_bytes()).as_deref(),
                Ok(normal),
                "{given}"
            );
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for (given, why) in [
            ("", HostError::Empty),
            (":80", HostError::Empty),
            (".", HostError::Empty),
            ("user@shop", HostError::UserInfo),
            ("user:pass@[::1]", HostError::UserInfo),
            ("a..b", HostError::EmptyLabel),
            (".a", HostError::EmptyLabel),
            ("a..", HostError::EmptyLabel),
            ("a b", HostError::BadByte),
            ("a/b", HostError::BadByte),
            ("a\0b", HostError::BadByte),
            ("sh%6Fp", HostError::BadByte),
            ("b\u{fc}cher.example", HostError::BadByte),
            ("[::1", HostError::BadIpv6),
            ("[]", HostError::BadIpv6),
            ("[1.2.3.4]", HostError::BadIpv6),
            ("[fe80::1%25eth0]", HostError::BadIpv6),
            ("[::1]x", HostError::BadPort),
            ("a:b", HostError::BadPort),
            ("a:65536", HostError::BadPort),
            ("a:99999999999999999999", HostError::BadPort),
            ("a:+80", HostError::BadPort),
            ("::1", HostError::BadPort),
        ] {
            assert_eq!(normalise(given.as_bytes()), Err(why), "{given}");
        }
        assert_eq!(
            normalise("a".repeat(256).as_bytes()),
            Err(HostError::TooLong)
        );
    }

    proptest! {
        #[test]
        fn the_normal_form_of_a_normal_form_is_itself(host in "[a-zA-Z0-9.:\\[\\]-]{0,40}") {
            if let Ok(normal) = normalise(host.as_bytes()) {
                let again = normalise(normal.as_bytes()).map(|host| host.to_string());
                prop_assert_eq!(again.as_deref(), Ok(&*normal));
            }
        }

        #[test]
        fn no_bytes_panic(host in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = normalise(&host);
        }
    }
}
