//! What is kept for clients whose backends are waited for costs nobody else anything, however much it is.

use std::time::Duration;

use serde_json::json;

use crate::accepting::gated;
use crate::support::{Client, ProxyOptions, TestProxy, release};

/// More than a small buffer, and less than is read at once.
const PART: usize = 40 << 10;

/// So many bytes may be held in all.
fn with_memory(bytes: usize, backend: std::net::SocketAddr) -> TestProxy {
    TestProxy::with(
        ProxyOptions {
            max_held_bytes: bytes,
            ..ProxyOptions::default()
        },
        &[release(&[backend], json!({}))],
    )
}

fn under_way(proxy: &TestProxy, requests: usize, sent: &str) -> Vec<Client> {
    let mut clients: Vec<_> = (0..requests).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(sent);
    }
    clients
}

#[test]
fn requests_under_way_end_nobody_who_is_waited_for() {
    let part = "x".repeat(PART);
    for (what, sent) in [
        (
            "nothing more",
            "GET /held HTTP/1.1\r\nHost: shop\r\n\r\n".to_owned(),
        ),
        (
            "bytes sent ahead",
            format!("GET /held HTTP/1.1\r\nHost: shop\r\n\r\n{part}"),
        ),
        (
            "a body that is not sent again",
            format!("POST /held HTTP/1.1\r\nHost: shop\r\nContent-Length: {PART}\r\n\r\n{part}"),
        ),
        (
            "a body that may be sent again",
            format!("PUT /held HTTP/1.1\r\nHost: shop\r\nContent-Length: {PART}\r\n\r\n{part}"),
        ),
    ] {
        let (backend, gate) = gated();
        let proxy = with_memory(256 << 10, backend.address);
        let mut held = under_way(&proxy, 24, &sent);
        for _ in &held {
            backend.seen();
        }
        // A little less than half of it.
        let mut far = under_way(
            &proxy,
            4,
            &format!("GET / HTTP/1.1\r\nX-Long: {}", "x".repeat(24 << 10)),
        );
        let mut upload = proxy.client();
        upload.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\n1");
        // Until the proxy waits for the rest of all.
        std::thread::sleep(Duration::from_millis(300));
        for client in &mut far {
            assert_eq!(
                client.send("\r\nHost: shop\r\n\r\n").answer().status(),
                200,
                "{what}"
            );
        }
        assert_eq!(upload.send("2").answer().status(), 200, "{what}");
        gate.open();
        for client in &mut held {
            assert_eq!(client.answer().text(), "ok", "{what}");
        }
    }
}

#[test]
fn what_is_sent_ahead_is_dropped_where_too_much_is_kept_but_for_little() {
    let (backend, gate) = gated();
    let proxy = with_memory(256 << 10, backend.address);
    let ahead = format!(
        "GET /held HTTP/1.1\r\nHost: shop\r\n\r\nGET / HTTP/1.1\r\nX: {}",
        "x".repeat(PART)
    );
    let mut greedy = under_way(&proxy, 100, &ahead);
    for _ in &greedy {
        backend.seen();
    }
    let request = "GET /held HTTP/1.1\r\nHost: shop\r\n\r\n";
    let mut modest = under_way(&proxy, 1, &request.repeat(3)).remove(0);
    backend.seen();
    gate.open();
    let closes = |client: &mut Client| client.answer().get("connection") == Some("close");
    assert!(
        greedy.iter_mut().any(closes),
        "what they sent ahead is not kept for all"
    );
    for _ in 0..3 {
        let answer = modest.answer();
        assert_eq!((answer.text(), answer.get("connection")), ("ok", None));
    }
}
