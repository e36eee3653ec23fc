//! Requests that one reader ends elsewhere than another: answered 400 and closed, or sent on in the one form that
//! every reader agrees on. The backend behind reads naively and tells how many requests it saw.

use halftone_proxy::counters::{Arm, Outcome};

use crate::support::{Backend, TestProxy};

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: shop\r\n\r\n";

fn post(fields: &str, body: &str) -> String {
    format!("POST /seen HTTP/1.1\r\nHost: shop\r\n{fields}\r\n{body}")
}

/// What each message is answered with.
fn refused() -> Vec<(u16, String)> {
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let framing = [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer-Encoding: chunked\x00\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        ": 5\r\n",
        "X: a\x00b\r\n",
        "X: a\rb\r\n",
        "X: y\nContent-Length: 5\r\n",
        "Host: other\r\n",
    ];
    let mut all: Vec<_> = framing
        .iter()
        .map(|fields| (400, post(fields, &format!("0\r\n\r\n{HIDDEN}"))))
        .collect();
    all.extend(
        [
            "5;\r\nhello\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5 hello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
            "8000000000000000\r\nhello\r\n",
            "\r\nhello\r\n0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "5;a=\nb\r\nhello\r\n0\r\n\r\n",
            "0\r\nBad Name: x\r\n\r\n",
            "0\r\nX: y\n\r\n",
        ]
        .map(|body| (400, chunked(&format!("{body}{HIDDEN}")))),
    );
    all.extend(
        [
            (400, "GET / HTTP/1.1\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: user@shop\r\n\r\n"),
            (400, "GET http://other/ HTTP/1.1\r\nHost: shop\r\n\r\n"),
            (400, "GET /a b HTTP/1.1\r\nHost: shop\r\n\r\n"),
            (400, "GET / HTTP/1.1\nHost: shop\n\n"),
            (505, "GET / HTTP/2.0\r\nHost: shop\r\n\r\n"),
            (400, "GET / HTTP/1.1 \r\nHost: shop\r\n\r\n"),
            (400, "GET\t/ HTTP/1.1\r\nHost: shop\r\n\r\n"),
            (400, "GET shop/ HTTP/1.1\r\nHost: shop\r\n\r\n"),
            (400, "GET /%00 HTTP/1.1\r\nHost: shop\r\n\r\n"),
            (400, "GET /../x HTTP/1.1\r\nHost: shop\r\n\r\n"),
            (400, "GET /#x HTTP/1.1\r\nHost: shop\r\n\r\n"),
            (
                400,
                "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
            (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            (400, "\x16\x03\x01\x02\x00\x01\r\n\r\n"),
            (405, "CONNECT shop:80 HTTP/1.1\r\nHost: shop\r\n\r\n"),
            (405, "TRACE / HTTP/1.1\r\nHost: shop\r\n\r\n"),
            (
                417,
                "POST / HTTP/1.1\r\nHost: shop\r\nExpect: tea\r\nContent-Length: 0\r\n\r\n",
            ),
        ]
        .map(|(status, text)| (status, text.to_owned())),
    );
    let long = |n: usize| "a".repeat(n);
    all.push((
        414,
        format!("GET /{} HTTP/1.1\r\nHost: shop\r\n\r\n", long(17_000)),
    ));
    all.push((
        431,
        format!(
            "GET / HTTP/1.1\r\nHost: shop\r\nX: {}\r\n\r\n",
            long(33_000)
        ),
    ));
    all.push((
        431,
        format!(
            "GET / HTTP/1.1\r\nHost: shop\r\n{}\r\n",
            "A: b\r\n".repeat(129)
        ),
    ));
    all.push((431, chunked(&format!("0\r\nX: {}\r\n\r\n", long(9_000)))));
    all
}

#[test]
fn ambiguous_requests_are_refused_and_nothing_behind_them_is_read() {
    let backend = Backend::answering("ok");
    let mut proxy = TestProxy::to(backend.address);
    for (status, message) in refused() {
        let mut client = proxy.client();
        // A request before it shows that the connection was in order until then.
        assert_eq!(client.get("/first").status(), 200);
        client.send(&message);
        let answer = client.answer();
        assert_eq!(
            (answer.status(), answer.get("connection")),
            (status, Some("close")),
            "{message:?}"
        );
        client.assert_closed();
        assert_eq!(backend.seen().target(), "/first");
        assert!(
            !backend.has_seen_more(),
            "something reached the backend: {message:?}"
        );
    }
    proxy.wait_for("nothing but the first requests", |counts| {
        let refused = |outcome| {
            matches!(
                outcome,
                &Outcome::Status2xx | &Outcome::Refused400 | &Outcome::Refused431
            )
        };
        counts[&Arm::Stable].outcomes.keys().all(refused)
    });
}

#[test]
fn a_bare_line_feed_is_refused_when_it_is_read() {
    let backend = Backend::answering("ok");
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    // No end of a head follows; the refusal must not wait for a time-out.
    client.send("GET / HTTP/1.1\nHost");
    assert_eq!(client.answer().status(), 400);
}

#[test]
fn what_may_go_on_goes_on_in_one_form() {
    let backend = Backend::echo();
    let proxy = TestProxy::to(backend.address);
    for (message, body) in [
        (
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
            "hello",
        ),
        (post("Content-Length: 5, 5\r\n", "hello"), "hello"),
        (post("Content-Length: 005\r\n", "hello"), "hello"),
        (
            post("transfer-encoding: CHUNKED\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            "hello",
        ),
        (
            post(
                "Transfer-Encoding: chunked\r\n",
                "005;x=\"y\"\r\nhello\r\n000\r\n\r\n",
            ),
            "hello",
        ),
        (
            post(
                "Transfer-Encoding: chunked\r\n",
                "2\r\nhe\r\n3 ;x\r\nllo\r\n0;last\r\nX: y\r\n\r\n",
            ),
            "hello",
        ),
        (
            post(
                "Connection: close, Content-Length\r\nContent-Length: 5\r\n",
                "hello",
            ),
            "hello",
        ),
        (
            post(
                "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
            "hello",
        ),
    ] {
        let mut client = proxy.client();
        client.send(&message);
        assert_eq!(client.answer().text(), body, "{message:?}");
        let request = backend.seen();
        assert_eq!(
            request.all("content-length").len() + request.all("transfer-encoding").len(),
            1,
            "{request:?}"
        );
        assert_eq!(request.text(), body);
        assert!(!backend.has_seen_more(), "{message:?}");
    }
}
