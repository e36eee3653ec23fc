//! Who the client is, when proxies stand between it and us. Only a peer that the fleet trusts is believed, and each
//! address only as far as the one after it is trusted: the walk goes from the right, from us towards the client, and
//! ends at the first address that is nobody we trust. `clientIp` identities and `ClientIp` rules use the result.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::field::Field;

/// The client's address. IPv4-mapped IPv6 addresses count as IPv4, in every place.
///
/// A trusted peer's word is read from `X-Forwarded-For`, else from `Forwarded` (RFC 7239), else from `X-Real-IP`;
/// several lines of one field are one list. An element that is no address ends the walk at the last address before it.
pub fn client_address(peer: IpAddr, trusted: &[IpNet], fields: &[Field<'_>]) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let values = |name: &'static str| {
        fields
            .iter()
            .rev()
            .filter(move |field| field.is(name))
            .map(|field| field.value)
    };
    let has = |name| values(name).next().is_some();
    if has("x-forwarded-for") {
        walk(
            peer,
            trusted,
            values("x-forwarded-for").flat_map(|value| elements(value).map(plain_address)),
        )
    } else if has("forwarded") {
        walk(
            peer,
            trusted,
            values("forwarded").flat_map(|value| elements(value).map(forwarded_for)),
        )
    } else {
        values("x-real-ip")
            .next()
            .and_then(plain_address)
            .unwrap_or(peer)
    }
}

/// Whether an address is in one of the networks.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// From the right: on through trusted addresses, up to the first that is not, or the last that could be read.
fn walk(
    peer: IpAddr,
    trusted: &[IpNet],
    addresses: impl Iterator<Item = Option<IpAddr>>,
) -> IpAddr {
    let mut nearest = peer;
    for address in addresses {
        match address {
            Some(address) if is_trusted(address, trusted) => nearest = address,
            Some(address) => return address,
            None => break,
        }
    }
    nearest
}

/// The elements of a comma-separated list from the right. A comma between quotes separates as well: no address
/// holds one, so such an element is unreadable either way and ends the walk.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:443`.
fn plain_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, port) = rest.split_once(']')?;
            is_port_suffix(port)
                .then(|| inside.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6))
                .flatten()?
        }
        None => match text.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => IpAddr::V4(text.parse::<std::net::SocketAddrV4>().ok()?.ip().to_owned()),
        },
    };
    Some(address.to_canonical())
}

fn is_port_suffix(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok())
}

/// The `for` parameter of one forwarded-element; quoted where it has a colon. `unknown` and `_names` are no addresses.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut nodes = element.split(|&byte| byte == b';').filter_map(|pair| {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        pair[..at]
            .trim_ascii()
            .eq_ignore_ascii_case(b"for")
            .then(|| pair[at + 1..].trim_ascii())
    });
    let node = nodes.next()?;
    if nodes.next().is_some() {
        return None;
    }
    let node = node
        .strip_prefix(b"\"")
        .map_or(Some(node), |rest| rest.strip_suffix(b"\""))?;
    plain_address(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(peer: &str, trusted: &[&str], fields: &[(&str, &str)]) -> String {
        let trusted: Vec<IpNet> = trusted
            .iter()
            .map(|network| network.parse().unwrap())
            .collect();
        let fields: Vec<Field<'_>> = fields
            .iter()
            .map(|&(name, value)| Field {
                name: name.as_bytes(),
                value: value.as_bytes(),
            })
            .collect();
        client_address(peer.parse().unwrap(), &trusted, &fields).to_string()
    }

    #[test]
    fn a_peer_that_nobody_trusts_is_the_client_whatever_it_says() {
        let fields = [
            ("X-Forwarded-For", "1.1.1.1"),
            ("X-Real-IP", "1.1.1.1"),
            ("Forwarded", "for=1.1.1.1"),
        ];
        assert_eq!(client("203.0.113.9", &[], &fields), "203.0.113.9");
        assert_eq!(
            client("203.0.113.9", &["10.0.0.0/8"], &fields),
            "203.0.113.9"
        );
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_is_the_client() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "10.0.0.1"),
            (
                &[("X-Forwarded-For", "6.6.6.6, 203.0.113.9, 10.0.0.2")],
                "203.0.113.9",
            ),
            (
                &[
                    ("X-Forwarded-For", "6.6.6.6"),
                    ("x-forwarded-for", "203.0.113.9,10.0.0.2"),
                ],
                "203.0.113.9",
            ),
            (&[("X-Forwarded-For", "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            (
                &[("X-Forwarded-For", "203.0.113.9, nonsense, 10.0.0.2")],
                "10.0.0.2",
            ),
            (&[("X-Forwarded-For", "")], "10.0.0.1"),
            (&[("X-Forwarded-For", "203.0.113.9:4711")], "203.0.113.9"),
            (&[("X-Forwarded-For", "[2001:db8::7]:4711")], "2001:db8::7"),
            (&[("X-Forwarded-For", "2001:db8::7")], "2001:db8::7"),
            (&[("X-Forwarded-For", "::ffff:203.0.113.9")], "203.0.113.9"),
            (
                &[("X-Forwarded-For", "203.0.113.9, ::ffff:10.0.0.2")],
                "203.0.113.9",
            ),
            (
                &[(
                    "Forwarded",
                    "for=6.6.6.6, for=203.0.113.9;proto=https, For=\"10.0.0.2:80\"",
                )],
                "203.0.113.9",
            ),
            (
                &[("Forwarded", "proto=https;for=\"[2001:db8::7]:4711\"")],
                "2001:db8::7",
            ),
            (&[("Forwarded", "for=unknown, for=10.0.0.2")], "10.0.0.2"),
            (&[("Forwarded", "for=203.0.113.9;for=6.6.6.6")], "10.0.0.1"),
            (
                &[
                    ("Forwarded", "for=6.6.6.6"),
                    ("X-Forwarded-For", "203.0.113.9"),
                ],
                "203.0.113.9",
            ),
            (&[("X-Real-IP", "203.0.113.9")], "203.0.113.9"),
            (&[("X-Real-IP", "nonsense")], "10.0.0.1"),
        ];
        for (fields, expected) in cases {
            assert_eq!(
                client("10.0.0.1", &["10.0.0.0/8"], fields),
                *expected,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn a_mapped_peer_is_its_ipv4_address() {
        assert_eq!(
            client(
                "::ffff:10.0.0.1",
                &["10.0.0.0/8"],
                &[("X-Forwarded-For", "203.0.113.9")]
            ),
            "203.0.113.9"
        );
        assert_eq!(client("::ffff:203.0.113.9", &[], &[]), "203.0.113.9");
    }

    proptest! {
        #[test]
        fn no_bytes_make_an_untrusted_peer_believed_or_the_reader_stumble(value: Vec<u8>, name in prop::sample::select(vec!["X-Forwarded-For", "Forwarded", "X-Real-IP"])) {
            let fields = [Field { name: name.as_bytes(), value: &value }];
            let peer: IpAddr = "203.0.113.9".parse().unwrap();
            prop_assert_eq!(client_address(peer, &["10.0.0.0/8".parse().unwrap()], &fields), peer);
            client_address(peer, &["203.0.113.0/24".parse().unwrap()], &fields);
        }
    }
}
