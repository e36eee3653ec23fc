//! Answers of every shape reach clients of either version in a form they can read.

use halftone_proxy::counters::{Arm, Outcome};
use halftone_proxy::upstream::endpoints::Endpoint;
use serde_json::{Value, json};

use crate::support::{Backend, Client, ProxyOptions, TestProxy, release};

/// A backend that answers each request with the same bytes and keeps the connection.
fn saying(answer: &'static str) -> Backend {
    Backend::start(move |connection, _| {
        while connection.request().is_some() {
            connection.send(answer);
        }
    })
}

/// A backend that answers one request per connection with these bytes and closes.
fn saying_once(answer: &'static str) -> Backend {
    Backend::start(move |connection, _| {
        if connection.request().is_some() {
            connection.send(answer);
        }
    })
}

#[test]
fn a_get_is_answered_over_kept_connections() {
    let backend = Backend::answering("hello");
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    for _ in 0..3 {
        let answer = client.get("/a?b=c");
        assert_eq!((answer.status(), answer.text()), (200, "hello"));
        let request = backend.seen();
        assert_eq!(request.start, "GET /a?b=c HTTP/1.1");
        assert_eq!(request.all("host"), ["shop"]);
        assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn answers_without_a_body_are_not_waited_for() {
    for (request, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n",
        ),
    ] {
        let backend = saying(head);
        let proxy = TestProxy::to(backend.address);
        let mut client = proxy.client();
        for _ in 0..2 {
            client.send(format!("{request} / HTTP/1.1\r\nHost: shop\r\n\r\n"));
            let answer = client.head().unwrap().unwrap();
            assert_eq!(answer.start, head.lines().next().unwrap());
        }
        // A connection that may still bring the body that the head declares is not used again at once.
        let most = if head.contains("Length") || head.contains("chunked") {
            2
        } else {
            1
        };
        assert!(backend.connections() <= most, "{request} {head}");
    }
}

#[test]
fn a_chunked_answer_goes_on_in_chunks_of_our_own_with_its_trailers() {
    let backend = saying(concat!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n",
        "3;ext=1\r\nabc\r\n0000a\r\n0123456789\r\n0\r\nX-Sum: 13\r\nX-Halftone-Arm: gray\r\n\r\n"
    ));
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(answer.text(), "abc0123456789");
        assert_eq!(answer.trailers, [("x-sum".to_owned(), "13".to_owned())]);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn an_answer_that_only_the_close_ends_is_chunked_for_a_client_of_1_1() {
    let backend = saying_once("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(answer.get("transfer-encoding"), Some("chunked"));
        assert_eq!(answer.text(), "until the end");
    }
}

#[test]
fn a_client_of_1_0_gets_answers_it_can_read() {
    let unknown_length = [
        "HTTP/1.1 200 OK\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\nX-Sum: 1\r\n\r\n",
    ];
    for head in unknown_length {
        let backend = saying_once(head);
        let proxy = TestProxy::to(backend.address);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.answer();
        assert_eq!(
            (answer.text(), answer.get("transfer-encoding")),
            ("body", None)
        );
        assert_eq!(answer.get("connection"), Some("close"));
        client.assert_closed();
    }
}

#[test]
fn a_client_of_1_0_is_kept_only_if_it_asks() {
    let backend = Backend::answering("known length");
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.answer();
        assert_eq!(
            (answer.text(), answer.get("connection")),
            ("known length", Some("keep-alive"))
        );
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().text(), "known length");
    client.assert_closed();
    let named = backend.seen();
    assert_eq!(
        named.all("host"),
        [proxy.address.to_string()],
        "a host is named for who named none"
    );
}

#[test]
fn interim_answers_go_to_clients_of_1_1_alone() {
    let backend = saying(concat!(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    ));
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    let hints = client.answer();
    assert_eq!((hints.status(), hints.get("link")), (103, Some("</a.css>")));
    assert_eq!(client.answer().status(), 102);
    assert_eq!(client.answer().text(), "ok");
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn interim_answers_go_on_for_as_long_as_the_backend_works() {
    let backend = Backend::start(|connection, _| {
        connection.request();
        for _ in 0..500 {
            connection.send(
                "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n",
            );
        }
        connection.ok("done");
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    for _ in 0..500 {
        assert_eq!(
            [client.answer().status(), client.answer().status()],
            [102, 103]
        );
    }
    assert_eq!(client.answer().text(), "done");
}

#[test]
fn interim_answers_are_passed_on_before_the_final_one_has_come() {
    let backend = Backend::start(|connection, _| {
        connection.head();
        connection.send("HTTP/1.1 103 Early Hints\r\n\r\n");
        // Only a client that has the hints asks for more.
        let mut next = [0; 4];
        std::io::Read::read_exact(&mut connection.reader, &mut next).ok();
        connection.ok(next);
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 20000\r\n\r\n");
    assert_eq!(client.answer().status(), 103);
    client.send("more");
    assert_eq!(client.answer().text(), "more");
}

#[test]
fn a_backend_that_breaks_the_rules_of_http_is_a_502() {
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(2_400).leak() as &str;
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 777 Odd\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\nhello\r\n0\r\n\r\n",
        interim,
    ] {
        let backend = saying_once(answer);
        let mut proxy = TestProxy::to(backend.address);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
        let last = loop {
            let answer = client.answer();
            if answer.status() >= 200 {
                break answer;
            }
        };
        assert_eq!(last.status(), 502, "{answer}");
        proxy.expect_outcomes(Arm::Stable, &[(Outcome::MalformedResponse, 1)]);
    }
}

#[test]
fn a_head_beyond_its_bounds_is_a_502() {
    let backend = Backend::start(|connection, _| {
        connection.request();
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nA: {}\r\n\r\n",
            "a".repeat(40_000)
        ));
    });
    let proxy = TestProxy::to(backend.address);
    assert_eq!(proxy.client().get("/").status(), 502);
}

#[test]
fn requests_sent_ahead_are_answered_in_order_one_at_a_time() {
    let backend = Backend::start(|connection, _| {
        while let Some(request) = connection.request() {
            connection.ok(request.target());
        }
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    let requests: String = (0..200)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: shop\r\n\r\n"))
        .collect();
    client.send(requests);
    for n in 0..200 {
        assert_eq!(client.answer().text(), format!("/{n}"));
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn large_answers_arrive_whole_in_every_framing() {
    const SIZE: usize = 3_000_000;
    let body = |n: usize| (n as u8).wrapping_mul(31);
    let backend = Backend::start(move |connection, _| {
        while let Some(request) = connection.request() {
            let bytes: Vec<u8> = (0..SIZE).map(body).collect();
            if request.target() == "/length" {
                connection.ok(&bytes);
                continue;
            }
            let chunked = request.target() == "/chunked";
            let framing = if chunked {
                "Transfer-Encoding: chunked\r\n"
            } else {
                ""
            };
            connection.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n"));
            for piece in bytes.chunks(7_777) {
                if chunked {
                    connection.send(format!("{:x}\r\n", piece.len()));
                }
                connection.send(piece);
                if chunked {
                    connection.send("\r\n");
                }
            }
            if !chunked {
                return;
            }
            connection.send("0\r\n\r\n");
        }
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    for path in ["/length", "/chunked", "/close", "/length"] {
        let answer = client.get(path);
        assert_eq!(answer.body.len(), SIZE, "{path}");
        assert!(
            answer
                .body
                .iter()
                .enumerate()
                .all(|(n, byte)| *byte == body(n)),
            "{path}"
        );
    }
}

#[test]
fn the_path_prefix_goes_before_the_path_and_dots_do_not_climb_out_of_it() {
    let backend = Backend::answering("");
    let arms = json!({"arms": {"stable": {"pathPrefix": "/v1"}}});
    let proxy = TestProxy::start(&[release(&[backend.address], arms)]);
    let mut client = proxy.client();
    for (path, upstream) in [
        ("/a?x=/../b", "/v1/a?x=/../b"),
        ("/a/../b", "/v1/b"),
        ("/%61%2f", "/v1/a%2F"),
    ] {
        client.get(path);
        assert_eq!(backend.seen().target(), upstream);
    }
}

#[test]
fn fields_of_ours_are_nobody_elses_to_set() {
    let backend = saying(concat!(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Halftone-Reason: none of yours\r\n",
        "X-Halftone-Version: forged\r\nServer: theirs\r\n\r\n"
    ));
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: shop\r\nX-Halftone-Version: v9\r\nX_Halftone_Arm: gray\r\n\r\n",
    );
    let answer = client.answer();
    assert_eq!(answer.all("x-halftone-version"), ["v1"]);
    assert_eq!(
        (answer.get("x-halftone-reason"), answer.get("server")),
        (None, Some("theirs"))
    );
    let request = backend.seen();
    assert_eq!(request.all("x-halftone-version"), ["v1"]);
    assert_eq!(request.get("x_halftone_arm"), None);
}

#[test]
fn who_sends_the_debug_field_is_told_why() {
    let backend = Backend::answering("");
    let debug = json!({"debug": {"header": "X-Halftone-Debug", "value": "tell me"}});
    let proxy = TestProxy::start(&[release(&[backend.address], debug)]);
    let ask = |value: &str| {
        let mut client = proxy.client();
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: shop\r\nX-Halftone-Debug: {value}\r\n\r\n"
        ));
        client.answer()
    };
    let told = ask("tell me");
    assert!(
        told.get("x-halftone-reason")
            .unwrap()
            .starts_with("shop/checkout revision 1: stable by "),
        "{told:?}"
    );
    assert_eq!(ask("tell").get("x-halftone-reason"), None);
}

#[test]
fn a_user_without_identity_gets_a_cookie_unless_the_answer_is_public() {
    let backend = Backend::start(|connection, _| {
        while let Some(request) = connection.request() {
            let caching = if request.target() == "/public" {
                "public, max-age=60"
            } else {
                "private"
            };
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nCache-Control: {caching}\r\nContent-Length: 0\r\n\r\n"
            ));
        }
    });
    let gray = Backend::answering("");
    let proxy = TestProxy::start(&[release(
        &[backend.address],
        json!({
            "state": "Active",
            "ratio": 0,
            "arms": {"gray": {"addresses": [gray.address], "version": "v2"}},
            "identity": {"from": [{"generated": {"cookie": "halftone_id", "maxAgeMs": 3_600_000}}]},
        }),
    )]);
    let mut client = proxy.client();
    let cookie = client.get("/private").get("set-cookie").unwrap().to_owned();
    assert!(
        cookie.starts_with("halftone_id=") && cookie.contains("HttpOnly"),
        "{cookie}"
    );
    assert_eq!(client.get("/public").get("set-cookie"), None);
    let back = cookie.split(';').next().unwrap();
    client.send(format!(
        "GET /private HTTP/1.1\r\nHost: shop\r\nCookie: {back}\r\n\r\n"
    ));
    assert_eq!(client.answer().get("set-cookie"), None);
}

#[test]
fn a_fallback_answer_brings_the_cookie_of_the_arm_that_was_meant() {
    let backend = Backend::start(|connection, _| {
        while let Some(request) = connection.request() {
            let caching = if request.target() == "/public" {
                "public"
            } else {
                "no-store"
            };
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nCache-Control: {caching}\r\nContent-Length: 6\r\n\r\nstable"
            ));
        }
    });
    let gray = Backend::answering("gray");
    let proxy = TestProxy::start(&[release(
        &[backend.address],
        json!({
            "state": "Active",
            "ratio": 1_000_000,
            "arms": {"gray": {"addresses": [gray.address], "version": "v2"}},
            "identity": {"from": [{"generated": {"cookie": "halftone_id", "maxAgeMs": 3_600_000}}]},
        }),
    )]);
    let tables = proxy.tables().all();
    let (_, table) = tables
        .iter()
        .find(|(_, table)| table.ready() == [gray.address])
        .unwrap();
    table.replace(&[]);
    let mut client = proxy.client();
    let answer = client.get("/");
    assert_eq!(
        (answer.text(), answer.get("x-halftone-version")),
        ("stable", Some("v1"))
    );
    let cookie = answer
        .get("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(client.get("/public").get("set-cookie"), None);
    table.replace(&[Endpoint::ready(gray.address)]);
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: shop\r\nCookie: {cookie}\r\n\r\n"
    ));
    let back = client.answer();
    assert_eq!((back.text(), back.get("set-cookie")), ("gray", None));
}

#[test]
fn who_a_client_is_is_believed_from_trusted_proxies_alone() {
    let (stable, gray) = (Backend::answering("stable"), Backend::answering("gray"));
    let document = release(
        &[stable.address],
        json!({
            "state": "Active",
            "arms": {"gray": {"addresses": [gray.address], "version": "v2"}},
            "rules": [{"name": "office", "to": "Gray", "when": [
                {"all": [{"source": "ClientIp", "operator": "InCidr", "values": ["192.0.2.0/24"]}]}]}],
        }),
    );
    let ask = |fleet: Option<Value>| {
        let options = ProxyOptions {
            fleet,
            ..ProxyOptions::default()
        };
        let proxy = TestProxy::with(options, std::slice::from_ref(&document));
        let mut client = proxy.client();
        client.send(concat!(
            "GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n",
            "X-Halftone-Trace: 1\r\n\r\n"
        ));
        let arm = client.answer().text().to_owned();
        let seen = if arm == "gray" {
            gray.seen()
        } else {
            stable.seen()
        };
        let told = ["x-forwarded-for", "x-forwarded-proto", "x-halftone-trace"]
            .map(|name| seen.get(name).unwrap_or("-").to_owned());
        (arm, told.join(" "))
    };
    assert_eq!(
        ask(None),
        ("stable".to_owned(), "127.0.0.1 http -".to_owned())
    );
    let elsewhere = json!({"schema": 1, "trustedProxies": ["10.0.0.0/8"]});
    assert_eq!(
        ask(Some(elsewhere)),
        ("stable".to_owned(), "127.0.0.1 http -".to_owned())
    );
    let here = json!({"schema": 1, "trustedProxies": ["127.0.0.0/8"]});
    assert_eq!(
        ask(Some(here)),
        ("gray".to_owned(), "192.0.2.7, 127.0.0.1 https 1".to_owned())
    );
}

#[test]
fn a_host_that_no_release_claims_is_a_404_and_the_connection_goes_on() {
    let backend = Backend::answering("mine");
    let proxy = TestProxy::start(&[release(&[backend.address], json!({"hosts": ["shop"]}))]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: other\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status(), 404);
    assert!(answer.text().contains("no release"), "{answer:?}");
    client.send("POST / HTTP/1.1\r\nHost: other\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.answer().status(), 404);
    client.send("HEAD / HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(client.head().unwrap().unwrap().status(), 404);
    assert_eq!(client.get("/").text(), "mine");
}

#[test]
fn the_default_backend_takes_what_no_release_claims() {
    let (backend, default) = (Backend::answering("mine"), Backend::answering("default"));
    let options = ProxyOptions {
        fleet: Some(json!({"schema": 1, "defaultBackend": {"addresses": [default.address]}})),
        ..ProxyOptions::default()
    };
    let proxy = TestProxy::with(
        options,
        &[release(&[backend.address], json!({"hosts": ["shop"]}))],
    );
    let mut client: Client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: other\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.text(), answer.get("x-halftone-version")),
        ("default", None)
    );
    assert_eq!(client.get("/").text(), "mine");
}
