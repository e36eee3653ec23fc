//! Whose forwarding fields are believed: a row for every standing of fleet and peer, and what a backend
//! then reads.

use halftone_proxy::forwarded::{EdgePosition, forwarding};

use crate::{oracle, rewriting::Rewriting};

/// What a client that lies, or a proxy that does not, may send.
const SENT: &str = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX_Forwarded_Host: evil\r\n\
    X-Forwarded-Prefix: /p\r\nForwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\
    X-Halftone-Trace: t\r\n";

/// The forwarding fields as the backend reads them.
fn received(position: EdgePosition, any_trusted: bool, peer_trusted: bool, sent: &str) -> String {
    let out = Rewriting {
        forwarding: forwarding(position, any_trusted, peer_trusted),
        ..Rewriting::default()
    }
    .request(&format!("GET / HTTP/1.1\r\nHost: shop\r\n{sent}\r\n"));
    let seen = oracle::request(&out).expect("what we write is a request");
    let mut lines: Vec<String> = seen
        .fields
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("host"))
        .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
        .collect();
    lines.sort();
    lines.join(" ")
}

#[test]
fn forwarding_fields_are_believed_from_trusted_peers_alone() {
    let replaced = "X-Forwarded-For=192.0.2.7 X-Forwarded-Host=shop X-Forwarded-Port=80 X-Forwarded-Proto=http X-Real-IP=192.0.2.7";
    let kept = "Forwarded=for=1.1.1.1 X-Forwarded-For=1.1.1.1, 2.2.2.2, 192.0.2.7 X-Forwarded-Prefix=/p \
        X-Forwarded-Proto=https X-Halftone-Trace=t X-Real-IP=1.1.1.1";
    let appended = "Forwarded=for=1.1.1.1 X-Forwarded-For=1.1.1.1, 2.2.2.2, 192.0.2.7 X-Forwarded-Host=shop \
        X-Forwarded-Port=443 X-Forwarded-Prefix=/p X-Forwarded-Proto=https X-Real-IP=1.1.1.1";
    for (why, position, any_trusted, peer_trusted, expected) in [
        (
            "edge, nobody trusted",
            EdgePosition::Edge,
            false,
            false,
            replaced,
        ),
        (
            "edge, another trusted",
            EdgePosition::Edge,
            true,
            false,
            replaced,
        ),
        (
            "edge, this peer trusted",
            EdgePosition::Edge,
            true,
            true,
            kept,
        ),
        (
            "behind a proxy, no list",
            EdgePosition::BehindProxy,
            false,
            false,
            appended,
        ),
        (
            "behind a proxy, not in the list",
            EdgePosition::BehindProxy,
            true,
            false,
            replaced,
        ),
        (
            "behind a proxy, in the list",
            EdgePosition::BehindProxy,
            true,
            true,
            kept,
        ),
    ] {
        assert_eq!(
            received(position, any_trusted, peer_trusted, SENT),
            expected,
            "{why}"
        );
    }
}

#[test]
fn absent_forwarding_fields_are_set_unless_a_trusted_peer_left_them_out() {
    let all = "X-Forwarded-For=192.0.2.7 X-Forwarded-Host=shop X-Forwarded-Port=80 X-Forwarded-Proto=http \
        X-Real-IP=192.0.2.7";
    for (position, trusted, expected) in [
        (EdgePosition::Edge, false, all),
        (EdgePosition::BehindProxy, false, all),
        (EdgePosition::Edge, true, "X-Forwarded-For=192.0.2.7"),
    ] {
        assert_eq!(
            received(position, trusted, trusted, ""),
            expected,
            "{position:?} {trusted}"
        );
    }
}

#[test]
fn backends_read_the_port_that_the_client_used_and_not_the_port_that_we_listen_on() {
    for (host, sent, expected) in [
        ("shop", "", "80"),
        ("shop:8443", "", "8443"),
        ("[2001:db8::1]", "", "80"),
        ("[2001:db8::1]:8000", "", "8000"),
        ("shop:", "", "80"),
        ("shop", "X-Forwarded-Proto: https\r\n", "443"),
        ("shop:8443", "X-Forwarded-Proto: HTTPS\r\n", "8443"),
        (
            "shop",
            "X-Forwarded-Proto: https\r\nX-Forwarded-Port: 9443\r\n",
            "9443",
        ),
    ] {
        let out = Rewriting {
            forwarding: forwarding(EdgePosition::BehindProxy, false, false),
            ..Rewriting::default()
        }
        .request(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n{sent}\r\n"));
        let seen = oracle::request(&out).expect("what we write is a request");
        let ports = seen
            .fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-port"));
        let ports: Vec<_> = ports
            .map(|(_, value)| String::from_utf8_lossy(value))
            .collect();
        assert_eq!(ports, [expected], "{host} {sent}");
    }
}
