//! Heads as they leave the proxy: read back by the oracle they are exactly one message with the meaning
//! that came in, whatever came in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use halftone_proxy::{
    forwarded::{EdgePosition, Forwarding, forwarding},
    http1::{
        BodyLength, Delivery, HttpVersion, Method, ResponseContext, Strictness, deliver,
        write::{self, LocalReplyHead, PathRewrite, RequestRewrite, ResponseRewrite},
    },
};
use proptest::prelude::*;

use crate::{
    messages::{mutate, mutations, request_head},
    oracle,
    refusals::{GET, connection, with_request, with_response},
};

/// How requests are rewritten in these tests.
#[derive(Clone, Copy)]
pub(crate) struct Rewriting<'a> {
    pub(crate) path: PathRewrite<'a>,
    pub(crate) forwarding: Forwarding,
    pub(crate) peer: IpAddr,
    pub(crate) version_header: Option<(&'a str, &'a str)>,
    pub(crate) identity_fields: &'a [Box<str>],
    pub(crate) own_fields: &'a [Box<str>],
}

impl Default for Rewriting<'_> {
    fn default() -> Self {
        Self {
            path: PathRewrite::AsReceived,
            forwarding: forwarding(EdgePosition::Edge, false, false),
            peer: Ipv4Addr::new(192, 0, 2, 7).into(),
            version_header: None,
            identity_fields: &[],
            own_fields: &[],
        }
    }
}

impl Rewriting<'_> {
    pub(crate) fn request(&self, bytes: &str) -> Vec<u8> {
        self.try_request(bytes.as_bytes())
            .unwrap_or_else(|| panic!("refused: {bytes:?}"))
    }

    fn try_request(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let rewrite = RequestRewrite {
            path: self.path,
            forwarding: self.forwarding,
            peer: self.peer,
            local: (Ipv4Addr::new(10, 0, 0, 1), 8080).into(),
            version_header: self.version_header,
            identity_fields: self.identity_fields,
            own_fields: self.own_fields,
        };
        with_request(bytes, |head, _| {
            let mut out = Vec::new();
            write::request_head(&mut out, head, &rewrite);
            out
        })
        .ok()
        .flatten()
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The lines that every request gets under `Rewriting::default()`.
const OURS: &str = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 80\r\nX-Real-IP: 192.0.2.7\r\n";

#[test]
fn all_fields_that_connection_may_name_are_taken_out() {
    let fields: String = (0..40).map(|n| format!("X{n}: {n}\r\n")).collect();
    let left: String = (32..40).map(|n| format!("X{n}: {n}\r\n")).collect();
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}{fields}\r\n",
        connection(32)
    );
    let expected = format!("GET / HTTP/1.1\r\n{left}Host: a\r\n{OURS}\r\n");
    assert_eq!(text(&Rewriting::default().request(&head)), expected);
}

#[test]
fn a_request_goes_upstream_without_what_was_meant_for_us() {
    for (why, fields, expected) in [
        (
            "as it came",
            "X:  y \r\nCookie:c=d\r\n",
            "X:  y \r\nCookie:c=d\r\nHost: a\r\n{OURS}",
        ),
        (
            "hop-by-hop",
            "Connection: keep-alive, Upgrade\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTrailer: t\r\nUpgrade: h2c\r\n\
            Proxy-Authorization: p\r\nTE: gzip\r\n",
            "Host: a\r\n{OURS}",
        ),
        (
            "named by Connection",
            "Connection: X-A, x-b\r\nX-A: 1\r\nConnection: X-C\r\nX-B: 2\r\nX-C: 3\r\nX-D: 4\r\n",
            "X-D: 4\r\nHost: a\r\n{OURS}",
        ),
        (
            "named like the option that ends the connection",
            "Connection: close\r\nClose: 1\r\nX-D: 4\r\n",
            "X-D: 4\r\nHost: a\r\n{OURS}",
        ),
        (
            "never on its word",
            "Connection: host, Content-Length, authorization, cookie, X-User-Name, transfer-encoding\r\n\
            Authorization: s\r\nCookie: c\r\nX-User-Name: lin\r\nContent-Length: 3\r\n",
            "Authorization: s\r\nCookie: c\r\nX-User-Name: lin\r\nHost: a\r\n{OURS}Content-Length: 3\r\n",
        ),
        (
            "lengths become one",
            "Content-Length: 3\r\nContent-Length: 003\r\n",
            "Host: a\r\n{OURS}Content-Length: 3\r\n",
        ),
        (
            "chunks",
            "Transfer-Encoding: Chunked\r\nTrailer: t\r\n",
            "Trailer: t\r\nHost: a\r\n{OURS}Transfer-Encoding: chunked\r\n",
        ),
        (
            "expectation",
            "Expect: 100-Continue\r\nContent-Length: 3\r\n",
            "Expect: 100-Continue\r\nHost: a\r\n{OURS}Content-Length: 3\r\n",
        ),
        (
            "trailers wanted",
            "TE: gzip, trailers\r\n",
            "Host: a\r\n{OURS}Connection: TE\r\nTE: trailers\r\n",
        ),
        (
            "websocket",
            "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\nTE: trailers\r\nSec-WebSocket-Key: k\r\n",
            "Sec-WebSocket-Key: k\r\nHost: a\r\n{OURS}Connection: Upgrade\r\nUpgrade: websocket\r\n",
        ),
        (
            "ours alone",
            "X-Halftone-Version: 9\r\nx_halftone_anything: 9\r\nX-Halftone: stays\r\n",
            "X-Halftone: stays\r\nHost: a\r\n{OURS}",
        ),
    ] {
        let out = Rewriting {
            identity_fields: &["x-user-name".into()],
            ..Rewriting::default()
        }
        .request(&format!("GET /p?q HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(
            text(&out),
            format!(
                "GET /p?q HTTP/1.1\r\n{}\r\n",
                expected.replace("{OURS}", OURS)
            ),
            "{why}"
        );
    }
}

#[test]
fn a_name_with_underscores_is_none_of_ours() {
    let own = ["X-Release", "X-User-Name", "X_Canary"].map(Into::into);
    let rewriting = Rewriting {
        own_fields: &own,
        version_header: Some(("X-Release", "v2")),
        ..Rewriting::default()
    };
    for (name, goes_on) in [
        ("X_Release", false),
        ("x-user_name", false),
        ("X_USER_NAME", false),
        ("X-Real_IP", false),
        ("X_Real-IP", false),
        ("X_Forwarded-For", false),
        ("X_Forwarded_Anything_Else", false),
        ("X_Halftone-Version", false),
        ("Content_Length", false),
        ("Transfer_Encoding", false),
        ("Proxy_Authorization", false),
        ("X_Canary", true),
        ("X_canary", true),
        ("X_User_Names", true),
        ("X_Request_Id", true),
        ("_", true),
        ("X_Forwarded", true),
    ] {
        for forwarding in [
            forwarding(EdgePosition::Edge, false, false),
            forwarding(EdgePosition::Edge, true, true),
        ] {
            let out = Rewriting {
                forwarding,
                ..rewriting
            }
            .request(&format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{name}: evil\r\n\r\n"
            ));
            assert_eq!(text(&out).contains("evil"), goes_on, "{name}");
        }
    }
}

#[test]
fn a_name_that_the_release_spells_with_underscores_goes_where_the_field_that_it_reads_like_would() {
    let own = [
        "x_forwarded_user",
        "X_Real_IP",
        "x_halftone_group",
        "content_length",
        "transfer_encoding",
        "keep_alive",
    ]
    .map(Into::into);
    let edge = forwarding(EdgePosition::Edge, false, false);
    let behind = forwarding(EdgePosition::BehindProxy, false, false);
    let trusted = forwarding(EdgePosition::Edge, true, true);
    for (name, goes_on) in [
        ("X_Forwarded_User", [false, true, true]),
        ("x_real_ip", [false, true, true]),
        ("X_Halftone_Group", [false, false, true]),
        ("X-Forwarded_User", [false; 3]),
        ("X_Forwarded_For", [false; 3]),
        ("Content_Length", [false; 3]),
        ("Transfer_Encoding", [false; 3]),
        ("Keep_Alive", [false; 3]),
    ] {
        let found = [edge, behind, trusted].map(|forwarding| {
            let rewriting = Rewriting {
                own_fields: &own,
                forwarding,
                ..Rewriting::default()
            };
            let request = format!(
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: {name}\r\n{name}: chosen-by\r\n\r\n"
            );
            text(&rewriting.request(&request)).contains(&format!("{name}: chosen-by\r\n"))
        });
        assert_eq!(
            found, goes_on,
            "{name} at the edge, behind a proxy, from a trusted one"
        );
    }
}

#[test]
fn a_websockets_length_of_nothing_does_not_go_on() {
    let out = Rewriting::default().request(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(
        text(&out).ends_with("Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        "{}",
        text(&out)
    );
    assert!(!text(&out).contains("Content-Length"), "{}", text(&out));
}

#[test]
fn bytes_that_are_not_utf_8_go_on_in_a_target() {
    for (path, expected) in [
        (PathRewrite::AsReceived, &b"GET /\xd6\xd0?\xce"[..]),
        (PathRewrite::Under("/v1"), b"GET /v1/\xd6\xd0?\xce"),
    ] {
        let rewriting = Rewriting {
            path,
            ..Rewriting::default()
        };
        let out = rewriting
            .try_request(b"GET /\xd6\xd0?\xce HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        assert!(out.starts_with(expected), "{}", out.escape_ascii());
    }
}

#[test]
fn the_version_header_is_ours_under_whatever_name() {
    let rewriting = Rewriting {
        version_header: Some(("X-Release", "v2")),
        ..Rewriting::default()
    };
    let out = rewriting.request("GET / HTTP/1.1\r\nHost: a\r\nx-release: v1\r\n\r\n");
    assert_eq!(
        text(&out),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{OURS}X-Release: v2\r\n\r\n")
    );
}

#[test]
fn a_target_goes_upstream_as_received_but_normal_under_a_prefix() {
    let under = PathRewrite::Under("/v1");
    for (line, path, expected) in [
        (
            "GET /a/%7eb/../c?d=%7e",
            PathRewrite::AsReceived,
            "GET /a/%7eb/../c?d=%7e",
        ),
        (
            "GET /a/%7eb/../c?d=%7e",
            PathRewrite::WithoutDots,
            "GET /a/c?d=%7e",
        ),
        ("GET /a//%2E%2e/c", PathRewrite::WithoutDots, "GET /a/c"),
        ("GET /a//%7eb", PathRewrite::WithoutDots, "GET /a//%7eb"),
        ("GET /a/%7eb/../c?d=%7e", under, "GET /v1/a/c?d=%7e"),
        ("GET /a%2Fb//c", under, "GET /v1/a%2Fb//c"),
        ("GET /", under, "GET /v1/"),
        ("GET http://a/b?c", PathRewrite::AsReceived, "GET /b?c"),
        ("GET http://a", under, "GET /v1/"),
        ("OPTIONS *", under, "OPTIONS *"),
        ("OPTIONS http://a", under, "OPTIONS *"),
        ("OPTIONS http://a/", under, "OPTIONS /v1/"),
    ] {
        let rewriting = Rewriting {
            path,
            ..Rewriting::default()
        };
        let out = rewriting.request(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(
            text(&out).split(" HTTP/1.1\r\n").next(),
            Some(expected),
            "{line} {path:?}"
        );
    }
}

#[test]
fn a_client_of_1_0_gets_a_host_and_no_expectation() {
    let out = Rewriting::default()
        .request("GET / HTTP/1.0\r\nExpect: 100-continue\r\nTE: trailers\r\n\r\n");
    let ours = OURS
        .replace("Host: a", "Host: 10.0.0.1:8080")
        .replace("Port: 80\r", "Port: 8080\r");
    assert_eq!(
        text(&out),
        format!("GET / HTTP/1.1\r\nHost: 10.0.0.1:8080\r\n{ours}\r\n")
    );
}

#[test]
fn addresses_are_written_plainly() {
    for (peer, written) in [
        (IpAddr::from(Ipv4Addr::new(10, 0, 200, 3)), "10.0.200.3"),
        (
            Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped().into(),
            "10.1.2.3",
        ),
        (Ipv6Addr::LOCALHOST.into(), "::1"),
    ] {
        let out = Rewriting {
            peer,
            ..Rewriting::default()
        }
        .request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(
            text(&out).contains(&format!("X-Forwarded-For: {written}\r\n")),
            "{peer}"
        );
    }
}

/// An answer rewritten for a client of `version` that wants to keep its connection.
fn answer(bytes: &str, version: HttpVersion, request: ResponseContext) -> String {
    with_response(bytes.as_bytes(), request, |head, _| {
        let rewrite = ResponseRewrite {
            client: version,
            delivery: deliver(head.body, version, true),
            version_header: Some(("X-Halftone-Version", "v2")),
            reason: Some("Split"),
            set_cookie: Some("halftone_id=1; Path=/"),
            homeward: None,
        };
        let mut out = Vec::new();
        if head.is_interim() {
            write::interim_head(&mut out, head);
        } else {
            write::response_head(&mut out, head, &rewrite);
        }
        String::from_utf8(out).unwrap()
    })
    .unwrap()
    .unwrap()
}

const HEAD: ResponseContext = ResponseContext {
    method: Method::Head,
    websocket: false,
    strictness: Strictness::Strict,
};
const WEBSOCKET: ResponseContext = ResponseContext {
    method: Method::Get,
    websocket: true,
    strictness: Strictness::Strict,
};
const ADDED: &str =
    "X-Halftone-Version: v2\r\nX-Halftone-Reason: Split\r\nSet-Cookie: halftone_id=1; Path=/\r\n";

#[test]
fn an_answer_goes_to_the_client_framed_for_it() {
    use HttpVersion::{Http10, Http11};
    for (why, received, version, request, expected) in [
        (
            "length",
            "1.1 200 Fine|Content-Length: 3, 3|A:b",
            Http11,
            GET,
            "200 Fine|A:b|Content-Length: 3|+",
        ),
        (
            "space before a colon",
            "1.1 200 OK|A:b|B : c|Connection \t: x|D:  d|Content-Length: 3",
            Http11,
            GET,
            "200 OK|A: b|B: c|D: d|Content-Length: 3|+",
        ),
        (
            "length for 1.0",
            "1.1 200 OK|Content-Length: 3",
            Http10,
            GET,
            "200 OK|Content-Length: 3|Connection: keep-alive|+",
        ),
        (
            "chunks",
            "1.1 200 OK|Transfer-Encoding: chunked|Trailer: t",
            Http11,
            GET,
            "200 OK|Trailer: t|Transfer-Encoding: chunked|+",
        ),
        (
            "chunks for 1.0",
            "1.1 200 OK|Transfer-Encoding: chunked|Trailer: t",
            Http10,
            GET,
            "200 OK|Connection: close|+",
        ),
        (
            "no length",
            "1.0 200 OK|A: b",
            Http11,
            GET,
            "200 OK|A: b|Transfer-Encoding: chunked|+",
        ),
        (
            "no length for 1.0",
            "1.1 200 OK|A: b",
            Http10,
            GET,
            "200 OK|A: b|Connection: close|+",
        ),
        (
            "HEAD",
            "1.1 200 OK|Content-Length: 3",
            Http11,
            HEAD,
            "200 OK|Content-Length: 3|+",
        ),
        (
            "HEAD in chunks",
            "1.1 200 OK|Transfer-Encoding: chunked",
            Http11,
            HEAD,
            "200 OK|+",
        ),
        (
            "not modified",
            "1.1 304 Not Modified|Content-Length: 3|ETag: e",
            Http11,
            GET,
            "304 Not Modified|ETag: e|Content-Length: 3|+",
        ),
        (
            "no content",
            "1.1 204 No Content|Content-Length: 3",
            Http11,
            GET,
            "204 No Content|+",
        ),
        ("no reason", "1.1 200", Http11, HEAD, "200 |+"),
        (
            "hop-by-hop",
            "1.1 200 OK|Connection: close, X-A|X-A: 1|Keep-Alive: timeout=5|Proxy-Authenticate: x|Upgrade: h2|Content-Length: 0",
            Http11,
            GET,
            "200 OK|Content-Length: 0|+",
        ),
        (
            "never on Connection's word",
            "1.1 200 OK|Connection: Content-Length, Authorization|Authorization: a|Content-Length: 0",
            Http11,
            GET,
            "200 OK|Authorization: a|Content-Length: 0|+",
        ),
        (
            "ours alone",
            "1.1 200 OK|X-Halftone-Version: 9|x_halftone_reason: 9|Content-Length: 0",
            Http11,
            GET,
            "200 OK|Content-Length: 0|+",
        ),
        (
            "interim",
            "1.1 103 Early Hints|Link: l|Connection: x|X-Halftone-A: b|Content-Length: 5",
            Http11,
            GET,
            "103 Early Hints|Link: l",
        ),
        (
            "tunnel",
            "1.1 101 Switching Protocols|Upgrade: websocket|Connection: upgrade|Sec-WebSocket-Accept: k",
            Http11,
            WEBSOCKET,
            "101 Switching Protocols|Sec-WebSocket-Accept: k|Connection: Upgrade|Upgrade: websocket|+",
        ),
    ] {
        let bytes = format!("HTTP/{}\r\n\r\n", received.replace('|', "\r\n"));
        let lines = format!("HTTP/1.1 {}\r\n", expected.replace('|', "\r\n"));
        let expected = lines.replace("+\r\n", ADDED) + "\r\n";
        assert_eq!(answer(&bytes, version, request), expected, "{why}");
    }
}

#[test]
fn a_cookie_of_ours_never_enters_a_shared_cache() {
    for (cache_control, set) in [
        ("X: y", true),
        ("Cache-Control: private, max-age=5", true),
        ("Cache-Control: no-cache=\"public-stuff\"", true),
        ("Cache-Control: max-age=5, Public", false),
        (
            "Cache-Control: no-transform\r\nCache-Control: s-maxage=5",
            false,
        ),
    ] {
        let out = answer(
            &format!("HTTP/1.1 200 OK\r\n{cache_control}\r\n\r\n"),
            HttpVersion::Http11,
            GET,
        );
        assert_eq!(out.contains("Set-Cookie"), set, "{cache_control}");
    }
}

#[test]
fn a_connection_that_closes_is_said_to() {
    let out = with_response(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        GET,
        |head, _| {
            let delivery = Delivery {
                body: BodyLength::Length(0),
                keep_alive: false,
            };
            let rewrite = ResponseRewrite {
                client: HttpVersion::Http11,
                delivery,
                version_header: None,
                reason: None,
                set_cookie: None,
                homeward: None,
            };
            let mut out = Vec::new();
            write::response_head(&mut out, head, &rewrite);
            String::from_utf8(out).unwrap()
        },
    );
    let expected = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(out.unwrap().unwrap(), expected);
}

#[test]
fn our_own_answers_are_whole_messages() {
    let usual = LocalReplyHead {
        status: 404,
        date: "1994-11-06T08:49:37Z".parse().unwrap(),
        client: HttpVersion::Http11,
        keep_alive: true,
        fields: &[("X-Halftone-Reason", "NoRoute")],
        body: "no release takes this host",
        head_only: false,
    };
    let head = "HTTP/1.1 404 Not Found\r\nServer: halftone\r\nContent-Type: text/plain; charset=utf-8\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 27\r\n";
    for (why, answer, expected) in [
        (
            "usual",
            usual,
            format!("{head}X-Halftone-Reason: NoRoute\r\n\r\n{}\n", usual.body),
        ),
        (
            "to HEAD",
            LocalReplyHead {
                head_only: true,
                ..usual
            },
            format!("{head}X-Halftone-Reason: NoRoute\r\n\r\n"),
        ),
        (
            "closing",
            LocalReplyHead {
                keep_alive: false,
                fields: &[],
                ..usual
            },
            format!("{head}Connection: close\r\n\r\n{}\n", usual.body),
        ),
        (
            "to 1.0",
            LocalReplyHead {
                client: HttpVersion::Http10,
                fields: &[],
                ..usual
            },
            format!("{head}Connection: keep-alive\r\n\r\n{}\n", usual.body),
        ),
        (
            "405",
            LocalReplyHead {
                status: 405,
                fields: &[],
                ..usual
            },
            format!(
                "{}Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n\r\n{}\n",
                head.replace("404 Not Found", "405 Method Not Allowed"),
                usual.body
            ),
        ),
    ] {
        let mut out = Vec::new();
        write::write_local_reply(&mut out, &answer);
        assert_eq!(text(&out), expected, "{why}");
    }
}

#[test]
fn every_refusal_goes_out_with_the_phrase_of_its_status() {
    for error in halftone_proxy::http1::MessageError::ALL {
        let answer = LocalReplyHead {
            status: error.status(),
            date: "1994-11-06T08:49:37Z".parse().unwrap(),
            client: HttpVersion::Http11,
            keep_alive: false,
            fields: &[],
            body: error.text(),
            head_only: false,
        };
        let mut out = Vec::new();
        write::write_local_reply(&mut out, &answer);
        let (line, _) = text(&out)
            .split_once("\r\n")
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        assert!(line.len() > "HTTP/1.1 413 ".len(), "{line:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_rewritten_request_is_one_message_with_the_same_meaning(
        head in request_head(),
        changes in mutations(),
        prefix in prop::sample::select(vec!["", "/v1"]),
        trusted in any::<bool>(),
    ) {
        let bytes = mutate(head, &changes);
        let rewriting = Rewriting {
            path: if prefix.is_empty() { PathRewrite::AsReceived } else { PathRewrite::Under(prefix) },
            forwarding: forwarding(EdgePosition::Edge, trusted, trusted),
            version_header: Some(("X-Halftone-Version", "v2")),
            ..Rewriting::default()
        };
        let Some(out) = rewriting.try_request(&bytes) else { return Ok(()) };
        let sent = oracle::request(&out).expect("what we write is a request");
        prop_assert_eq!(sent.length, out.len(), "nothing stands after the head");
        prop_assert_eq!(sent.minor, 1);
        prop_assert!(sent.values("host").count() == 1);
        prop_assert!(sent.values("x-halftone-version").eq([&b"v2"[..]]));
        let received = oracle::request(&bytes).expect("what we accept is a request");
        prop_assert_eq!(&sent.method, &received.method);
        prop_assert!(sent.target == b"*" || sent.target.starts_with(prefix.as_bytes()) && sent.target[0] == b'/');
        same_framing(&received, &sent)?;
        prop_assert_eq!(end_to_end(&received), end_to_end(&sent));
        // Read by ourselves it means the same once more.
        let again = with_request(&out, |head, rest| (head.body, rest.len()));
        let first = with_request(&bytes, |head, _| (head.body, 0));
        prop_assert_eq!(again, first);
    }
}

fn same_framing(
    received: &oracle::OracleRequest,
    sent: &oracle::OracleRequest,
) -> Result<(), TestCaseError> {
    let chunked = |head: &oracle::OracleRequest| head.values("transfer-encoding").count();
    let lengths = |head: &oracle::OracleRequest| -> Vec<u64> {
        let mut lengths: Vec<u64> = head
            .values("content-length")
            .flat_map(|value| text(value).split(','))
            .map(|length| length.trim().parse().unwrap())
            .collect();
        lengths.dedup();
        lengths
    };
    prop_assert_eq!(chunked(received), chunked(sent));
    prop_assert_eq!(lengths(received), lengths(sent));
    prop_assert!(sent.values("content-length").count() + chunked(sent) <= 1);
    Ok(())
}

/// Fields that no rule of ours touches, in order.
fn end_to_end(head: &oracle::OracleRequest) -> Vec<(String, Vec<u8>)> {
    let ours = |name: &str| {
        let name = name.to_ascii_lowercase().replace('_', "-");
        let hop_by_hop = [
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "host",
            "content-length",
            "expect",
            "forwarded",
            "x-real-ip",
        ];
        hop_by_hop.contains(&name.as_str())
            || name.starts_with("x-forwarded-")
            || name.starts_with("x-halftone-")
            || name.starts_with("proxy-auth")
    };
    let named: Vec<String> = head
        .values("connection")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase())
        .filter(|name| !["cookie", "authorization"].contains(&name.as_str()))
        .collect();
    let stays = |name: &str| !ours(name) && !named.contains(&name.to_ascii_lowercase());
    head.fields
        .iter()
        .filter(|(name, _)| stays(name))
        .cloned()
        .collect()
}
