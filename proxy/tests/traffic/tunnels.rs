//! WebSockets: granted, refused, spoken over both ways, and closed when their time is over.

use std::io::Read;
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use halftone_proxy::counters::{Arm, Outcome};
use halftone_routing::overlay::{GrayPaths, Overlay};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::support::{Backend, Client, Incoming, PATIENCE, ProxyOptions, TestProxy, release};

const ASK: &str = concat!(
    "GET /chat HTTP/1.1\r\nHost: shop\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
);
const GRANT: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Grants every tunnel and sends back whatever comes through it.
fn echoing(connection: &mut Incoming) {
    if connection.request().is_none() {
        return;
    }
    connection.send(GRANT);
    let mut piece = [0; 4096];
    while let Ok(n @ 1..) = connection.reader.read(&mut piece) {
        connection.send(&piece[..n]);
    }
}

#[test]
fn a_websocket_that_is_asked_for_with_an_empty_body_is_granted() {
    let backend = Backend::start(|connection, _| echoing(connection));
    let proxy = TestProxy::to(backend.address);
    for empty in [
        "Content-Length: 0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut client = proxy.client();
        client.send(ASK.replace("\r\n\r\n", &format!("\r\n{empty}")));
        assert_eq!(client.head().unwrap().unwrap().status(), 101, "{empty:?}");
        let request = backend.seen();
        assert_eq!(request.get("upgrade"), Some("websocket"), "{empty:?}");
        assert_eq!(
            (
                request.get("content-length"),
                request.get("transfer-encoding")
            ),
            (None, None)
        );
        client.send("through");
        assert_eq!(client.bytes(7), b"through");
    }
}

/// Sends the second part byte by byte. Whatever the proxy would do of what has come, it can do before the next one.
fn send_apart(client: &mut Client, head: &str, rest: &str) {
    client.send(head);
    for byte in rest.bytes() {
        std::thread::sleep(Duration::from_millis(5));
        // Where it does too early what it should not, it may have closed.
        let _ = client.try_send([byte]);
    }
}

#[test]
fn a_websocket_whose_empty_body_comes_byte_by_byte_is_granted() {
    let backend = Backend::start(|connection, _| echoing(connection));
    let proxy = TestProxy::to(backend.address);
    for begun in 0..5 {
        let (come, to_come) = "0\r\n\r\n".split_at(begun);
        let head = ASK.replace(
            "\r\n\r\n",
            &format!("\r\nTransfer-Encoding: chunked\r\n\r\n{come}"),
        );
        let mut client = proxy.client();
        send_apart(&mut client, &head, &format!("{to_come}through"));
        assert_eq!(
            client.head().unwrap().unwrap().status(),
            101,
            "after {come:?}"
        );
        let request = backend.seen();
        assert_eq!(
            (request.get("upgrade"), request.get("transfer-encoding")),
            (Some("websocket"), None)
        );
        assert_eq!(client.bytes(7), b"through");
    }
}

#[test]
fn a_body_in_chunks_that_is_not_empty_goes_on_without_the_upgrade_however_it_comes() {
    let backend = Backend::echo();
    let proxy = TestProxy::to(backend.address);
    let head = ASK.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (body, read) in [
        ("3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("03\r\nabc\r\n0\r\n\r\n", "abc"),
        ("0\r\nA: b\r\n\r\n", ""),
    ] {
        let mut client = proxy.client();
        send_apart(&mut client, &head, body);
        assert_eq!(client.answer().text(), read, "{body:?}");
        assert_eq!(backend.seen().get("upgrade"), None, "{body:?}");
    }
}

#[test]
fn a_websocket_carries_messages_both_ways() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = TestProxy::to(listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            socket.send(Frame::text("welcome")).await.unwrap();
            while let Some(Ok(frame)) = socket.next().await {
                if frame.is_close() {
                    break;
                }
                socket.send(frame).await.unwrap();
            }
        });
        let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/", proxy.address))
            .await
            .unwrap();
        assert_eq!(
            socket.next().await.unwrap().unwrap(),
            Frame::text("welcome")
        );
        for size in [1, 1_000, 100_000, 1_000_000] {
            let frame = Frame::binary(vec![7u8; size]);
            socket.send(frame.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), frame);
        }
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
        server.await.unwrap();
    });
}

#[test]
fn the_request_goes_on_as_an_upgrade_and_is_counted_when_it_is_granted() {
    let backend = Backend::start(|connection, _| echoing(connection));
    let mut proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    assert_eq!(client.send(ASK).answer().get("upgrade"), Some("websocket"));
    let request = backend.seen();
    assert_eq!(
        (request.get("upgrade"), request.get("connection")),
        (Some("websocket"), Some("Upgrade"))
    );
    assert!(request.get("sec-websocket-key").is_some());
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Status2xx, 1)]);
    client.send("still open");
    assert_eq!(client.bytes(10), b"still open");
}

#[test]
fn what_a_client_sends_ahead_goes_into_the_tunnel() {
    let backend = Backend::start(|connection, _| echoing(connection));
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send(format!("{ASK}sent ahead"));
    assert_eq!(client.answer().status(), 101);
    assert_eq!(client.bytes(10), b"sent ahead");
}

#[test]
fn what_a_backend_sends_with_the_grant_goes_to_the_client() {
    let backend = Backend::start(|connection, _| {
        connection.request();
        connection.send(format!("{GRANT}at once"));
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    assert_eq!(client.send(ASK).answer().status(), 101);
    assert_eq!(client.bytes(7), b"at once");
}

#[test]
fn after_a_refusal_what_was_sent_ahead_is_the_next_request() {
    let backend = Backend::answering("no tunnel");
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send(format!("{ASK}GET /next HTTP/1.1\r\nHost: shop\r\n\r\n"));
    assert_eq!(client.answer().text(), "no tunnel");
    assert_eq!(backend.seen().target(), "/chat");
    assert_eq!(client.answer().text(), "no tunnel");
    assert_eq!(backend.seen().target(), "/next");
}

#[test]
fn other_upgrades_go_on_as_plain_requests() {
    let backend = Backend::answering("plain");
    let proxy = TestProxy::to(backend.address);
    for (method, upgrade, framing) in [
        ("GET", "h2c", ""),
        ("POST", "websocket", ""),
        ("GET", "websocket", "Content-Length: 0\r\n"),
    ] {
        let mut client = proxy.client();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n{framing}\r\n"
        ));
        assert_eq!(client.answer().text(), "plain");
        let request = backend.seen();
        if upgrade == "h2c" || method == "POST" {
            assert_eq!(
                (request.get("upgrade"), request.get("connection")),
                (None, None)
            );
        }
    }
}

#[test]
fn one_side_may_end_its_sending_while_the_other_goes_on() {
    let backend = Backend::start(|connection, _| {
        connection.request();
        connection.send(GRANT);
        let mut all = Vec::new();
        connection.reader.read_to_end(&mut all).unwrap();
        all.reverse();
        connection.send(all);
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    assert_eq!(client.send(ASK).answer().status(), 101);
    client.send("abc").end_sending();
    assert_eq!(client.rest().unwrap(), b"cba");
}

#[test]
fn a_tunnel_without_a_byte_is_closed_after_its_time() {
    let backend = Backend::start(|connection, _| echoing(connection));
    let timeouts = json!({"arms": {"stable": {"timeouts": {"tunnelMs": 200}}}});
    let proxy = TestProxy::start(&[release(&[backend.address], timeouts)]);
    let mut client = proxy.client();
    assert_eq!(client.send(ASK).answer().status(), 101);
    client.assert_closed();
}

fn with_gray(stable: &Backend, gray: &Backend, more: Value) -> Value {
    let mut document = release(
        &[stable.address],
        json!({
            "state": "Active",
            "ratio": 1_000_000,
            "arms": {"gray": {"addresses": [gray.address], "version": "v2"}},
            "identity": {"from": [{"clientIp": {}}]},
        }),
    );
    document
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    document
}

#[test]
fn a_rollback_closes_grays_tunnels_and_nobody_elses() {
    let (stable, gray) = (
        Backend::start(|c, _| echoing(c)),
        Backend::start(|c, _| echoing(c)),
    );
    let back = [
        json!({"state": "RolledBack", "ratio": 0}),
        json!({"force": "Stable"}),
    ];
    for how in back {
        let mut proxy = TestProxy::start(&[with_gray(&stable, &gray, json!({}))]);
        let mut on_gray = proxy.client();
        assert_eq!(
            on_gray.send(ASK).answer().get("x-halftone-version"),
            Some("v2")
        );
        proxy.apply(&[with_gray(
            &stable,
            &gray,
            json!({"revision": 2, "ratio": 0}),
        )]);
        let mut on_stable = proxy.client();
        assert_eq!(
            on_stable.send(ASK).answer().get("x-halftone-version"),
            Some("v1")
        );
        on_gray.send("open");
        assert_eq!(
            on_gray.bytes(4),
            b"open",
            "a lower ratio moves nobody's tunnel"
        );
        let mut document = with_gray(&stable, &gray, how);
        document["revision"] = 3.into();
        proxy.apply(&[document]);
        on_gray.assert_closed();
        on_stable.send("open");
        assert_eq!(on_stable.bytes(4), b"open");
        assert_eq!(proxy.drain().cut, 0, "tunnels have no end to wait for");
    }
}

#[test]
fn an_overlay_that_recalls_closes_grays_tunnels_and_one_that_closes_leaves_them() {
    let (stable, gray) = (
        Backend::start(|c, _| echoing(c)),
        Backend::start(|c, _| echoing(c)),
    );
    let proxy = TestProxy::start(&[with_gray(&stable, &gray, json!({}))]);
    let mut on_gray = proxy.client();
    let version = |client: &mut Client| {
        let answer = client.send(ASK).answer();
        answer.get("x-halftone-version").map(str::to_owned)
    };
    assert_eq!(version(&mut on_gray).as_deref(), Some("v2"));
    let closed = Overlay {
        open: GrayPaths::NONE,
        ..Overlay::OPEN
    };
    proxy.overlay(closed);
    let mut on_stable = proxy.client();
    assert_eq!(version(&mut on_stable).as_deref(), Some("v1"));
    on_gray.send("open");
    assert_eq!(on_gray.bytes(4), b"open", "what lasts goes on");
    proxy.overlay(Overlay {
        recall: true,
        ..closed
    });
    on_gray.assert_closed();
    on_stable.send("open");
    assert_eq!(on_stable.bytes(4), b"open");
    proxy.overlay(Overlay::OPEN);
    assert_eq!(version(&mut proxy.client()).as_deref(), Some("v2"));
}

#[test]
fn a_rollback_closes_tunnels_one_by_one_over_the_grace() {
    let (stable, gray) = (
        Backend::start(|c, _| echoing(c)),
        Backend::start(|c, _| echoing(c)),
    );
    let options = ProxyOptions {
        tunnel_grace: Duration::from_secs(2),
        ..ProxyOptions::default()
    };
    let mut proxy = TestProxy::with(options, &[with_gray(&stable, &gray, json!({}))]);
    let (closed, told) = channel();
    let mut tunnels: Vec<_> = (0..30).map(|_| proxy.client()).collect();
    for (number, tunnel) in tunnels.iter_mut().enumerate() {
        assert_eq!(
            tunnel.send(ASK).answer().get("x-halftone-version"),
            Some("v2")
        );
        let (stream, closed) = (tunnel.stream().try_clone().unwrap(), closed.clone());
        std::thread::spawn(move || {
            // The end, without taking a byte from the test.
            let ended = stream.peek(&mut [0]).unwrap() == 0;
            closed.send((number, ended)).unwrap();
        });
    }
    proxy.apply(&[with_gray(
        &stable,
        &gray,
        json!({"revision": 2, "state": "RolledBack", "ratio": 0}),
    )]);
    let (first, ended) = told.recv_timeout(PATIENCE).unwrap();
    assert!(ended);
    // Thirty users do not come back at once: others of them still have their tunnels, which still carry.
    let open = tunnels
        .iter_mut()
        .enumerate()
        .filter(|(number, _)| *number != first);
    let carries = |tunnel: &mut Client| {
        tunnel.try_send("open").is_ok() && matches!(tunnel.stream().peek(&mut [0]), Ok(1))
    };
    assert!(open.into_iter().any(|(_, tunnel)| carries(tunnel)));
    for mut tunnel in tunnels {
        let rest = tunnel.rest().unwrap_or_default();
        assert!(rest.is_empty() || rest == b"open");
    }
    proxy.expect_connections(&[0]);
}

/// A backend whose answers begin and do not end.
fn events() -> Backend {
    Backend::start(|connection, _| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        assert!(connection.ends());
    })
}

#[test]
fn an_answer_that_has_become_long_ends_with_a_rollback() {
    let stable = Backend::answering("stable");
    let gray = events();
    let options = ProxyOptions {
        tunnel_grace: Duration::from_millis(100),
        ..ProxyOptions::default()
    };
    let mut proxy = TestProxy::with(options, &[with_gray(&stable, &gray, json!({}))]);
    let mut client = proxy.client();
    client.send("GET /events HTTP/1.1\r\nHost: shop\r\n\r\n");
    client.head().unwrap();
    let back = with_gray(
        &stable,
        &gray,
        json!({"state": "RolledBack", "ratio": 0, "revision": 2}),
    );
    proxy.apply(std::slice::from_ref(&back));
    assert_eq!(proxy.client().get("/").text(), "stable");
    // Ten seconds, then the end: the chunked answer gets no last chunk.
    let rest = client.rest().unwrap();
    assert!(rest.ends_with(b"data: 1\n\n\r\n"), "{rest:?}");
    proxy.wait_for("the cut answer", |counts| {
        counts
            .get(&Arm::Gray)
            .is_some_and(|counts| counts.outcomes.get(&Outcome::Shutdown) == Some(&1))
    });
}

#[test]
fn a_long_answer_of_the_arm_that_helps_out_is_not_grays() {
    let stable = events();
    let gray = Backend::answering("gray");
    let mut proxy = TestProxy::start(&[with_gray(&stable, &gray, json!({}))]);
    for (_, table) in proxy.tables().all() {
        if table.ready() == [gray.address] {
            table.replace(&[]);
        }
    }
    let mut client = proxy.client();
    assert_eq!(
        client.get_head("/events").get("x-halftone-version"),
        Some("v1")
    );
    // It becomes long after ten seconds.
    std::thread::sleep(Duration::from_millis(10_500));
    proxy.apply(&[with_gray(
        &stable,
        &gray,
        json!({"state": "RolledBack", "ratio": 0, "revision": 2}),
    )]);
    assert_eq!(proxy.open_long(), 0, "nobody is on gray");
}
