//! Clients that keep back what they owe, or do not take what they are given: they have no place at the arm, others are
//! served beside them, and no arm is charged for them.

use std::io::{Read, Write};
use std::sync::Arc as Shared;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use halftone_proxy::counters::{Arm, Outcome};
use halftone_proxy::settings::ClientTimeouts;
use serde_json::json;

use crate::support::{Backend, Client, PATIENCE, ProxyOptions, TestProxy, release};

const SHORT: Duration = Duration::from_millis(200);
pub(crate) const WEBSOCKET: &str = "GET /ws HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A backend that grants every WebSocket and answers everything else.
pub(crate) fn granting() -> Backend {
    Backend::start(|connection, _| {
        while let Some(request) = connection.request() {
            if request.get("upgrade").is_none() {
                connection.ok("ok");
                continue;
            }
            connection.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            );
            connection.ends();
            return;
        }
    })
}

/// Sends byte after byte, so far apart, for as long as the connection takes them.
pub(crate) fn drip(client: &Client, apart: Duration) -> JoinHandle<()> {
    let mut sender = client.stream().try_clone().unwrap();
    std::thread::spawn(move || {
        while sender.write_all(b"1").is_ok() {
            std::thread::sleep(apart);
        }
    })
}

/// With so many places for requests, and as many for tunnels.
fn with_places(backend: &Backend, places: u32) -> TestProxy {
    let arm = json!({"maxInFlight": places, "maxTunnels": places});
    TestProxy::start(&[release(
        &[backend.address],
        json!({"arms": {"stable": arm}}),
    )])
}

/// Asks until the status is as wanted; true once it was.
fn comes(proxy: &TestProxy, status: u16) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if proxy.client().get("/").status() == status {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[test]
fn clients_that_owe_their_body_have_no_place() {
    for (body, asked) in [
        ("Content-Length: 10\r\n\r\n1", false),
        ("Content-Length: 10\r\n\r\n", false),
        ("Content-Length: 1000000\r\n\r\n1", true),
        ("Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n", true),
        ("Content-Length: 10\r\nExpect: 100-continue\r\n\r\n", true),
    ] {
        let backend = Backend::answering("ok");
        let mut proxy = with_places(&backend, 2);
        let mut unfinished: Vec<Client> = (0..5).map(|_| proxy.client()).collect();
        for client in &mut unfinished {
            client.send(format!("POST / HTTP/1.1\r\nHost: shop\r\n{body}"));
        }
        proxy.expect_connections(&[5]);
        let deadline = Instant::now() + PATIENCE;
        while asked && backend.connections() < 5 {
            assert!(
                Instant::now() < deadline,
                "{body:?}: a long body goes on as it comes"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..3 {
            assert_eq!(proxy.client().get("/").status(), 200, "{body:?}");
        }
        // Each holds a connection to the backend: as many as may have requests there stay.
        let ended: &[_] = if asked {
            &[(Outcome::Refused408, 3)]
        } else {
            &[]
        };
        proxy.expect_outcomes(Arm::Stable, &[&[(Outcome::Status2xx, 3)], ended].concat());
        assert!(
            asked || backend.connections() <= 3,
            "no backend is asked for a part of a short request"
        );
    }
}

#[test]
fn a_short_body_is_received_before_a_backend_is_asked() {
    let backend = Backend::echo();
    let mut proxy = with_places(&backend, 1);
    let mut slow = proxy.client();
    slow.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 16384\r\n\r\n");
    for piece in 0..4 {
        assert_eq!(proxy.client().get("/").status(), 200);
        assert_eq!(backend.connections(), 1, "piece {piece}");
        slow.send([b'a' + piece; 4096]);
    }
    // The next request, sent ahead, is not taken for a part of this one.
    slow.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    let answer = slow.answer();
    assert_eq!((answer.status(), answer.body.len()), (200, 16384));
    assert_eq!(slow.answer().text(), "");
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Status2xx, 6)]);
}

#[test]
fn an_upload_that_keeps_coming_has_a_place_and_who_finds_none_beside_it_is_nobodys_fault() {
    const LENGTH: usize = 1 << 30;
    let (begun, told) = channel();
    let backend = Backend::start(move |connection, _| {
        while let Some(mut request) = connection.head() {
            if request.method() == "POST" {
                connection.reader.read_exact(&mut [0; 64 * 1024]).unwrap();
                begun.send(()).unwrap();
            }
            if request.read_body(&mut connection.reader, false).is_err() {
                return;
            }
            connection.ok("ok");
        }
    });
    let mut proxy = with_places(&backend, 1);
    let upload = proxy.client();
    let mut sender = upload.stream().try_clone().unwrap();
    let stop = Shared::new(AtomicBool::new(false));
    let stopped = Shared::clone(&stop);
    let sending = std::thread::spawn(move || {
        write!(
            sender,
            "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {LENGTH}\r\n\r\n"
        )
        .unwrap();
        while !stopped.load(Relaxed) {
            sender.write_all(&[7; 16 * 1024]).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    // A request that came before might have the one place.
    told.recv_timeout(PATIENCE).unwrap();
    assert!(comes(&proxy, 503), "the upload keeps the one place");
    stop.store(true, Relaxed);
    sending.join().unwrap();
    assert!(
        comes(&proxy, 200),
        "the client keeps the rest back, and with it no place"
    );
    let stable = proxy.counts()[&Arm::Stable].outcomes.clone();
    assert!(
        stable[&Outcome::Crowded] > 0 && !stable.contains_key(&Outcome::Overload),
        "{stable:?}"
    );
}

#[test]
fn a_client_that_does_not_take_its_answer_has_no_place() {
    let backend = Backend::start(|connection, _| {
        while let Some(request) = connection.request() {
            if request.target() == "/large" {
                connection.ok(vec![7; 64 << 20]);
            } else {
                connection.ok("ok");
            }
        }
    });
    let proxy = with_places(&backend, 1);
    let mut lazy = proxy.client();
    assert_eq!(lazy.get_head("/large").status(), 200);
    assert!(comes(&proxy, 200));
    // Its answer goes on all the same.
    assert_eq!(lazy.bytes(64 << 20).len(), 64 << 20);
}

#[test]
fn tunnels_are_limited_by_themselves() {
    let backend = granting();
    let mut proxy = with_places(&backend, 1);
    let mut open = proxy.client();
    assert_eq!(open.send(WEBSOCKET).answer().status(), 101);
    assert_eq!(
        proxy.client().get("/").status(),
        200,
        "an open tunnel takes no request's place"
    );
    let mut second = proxy.client();
    assert_eq!(second.send(WEBSOCKET).answer().status(), 503);
    open.abort();
    let deadline = Instant::now() + PATIENCE;
    while second.send(WEBSOCKET).answer().status() != 101 {
        assert!(
            Instant::now() < deadline,
            "a closed tunnel leaves its place"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let stable = proxy.counts()[&Arm::Stable].outcomes.clone();
    assert!(
        stable[&Outcome::Crowded] > 0 && !stable.contains_key(&Outcome::Overload),
        "{stable:?}"
    );
}

/// A backend that gives a body so much time in all, as many servers do, and then resets the connection.
fn impatient() -> Backend {
    Backend::start(|connection, _| {
        connection.head();
        std::thread::sleep(Duration::from_secs(3));
        connection.reset();
    })
}

#[test]
fn a_backend_that_gives_up_on_an_unfinished_request_is_not_charged_for_it() {
    let backend = impatient();
    let mut proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000000\r\n\r\n1");
    assert_eq!(client.answer().status(), 408);
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Refused408, 1)]);
}

#[test]
fn whoever_waits_to_be_asked_in_vain_is_asked_by_the_proxy() {
    let backend = Backend::start(|connection, _| {
        while let Some(mut request) = connection.head() {
            request.read_body(&mut connection.reader, false).unwrap();
            // Too late: the proxy has said it.
            connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            connection.ok(request.body);
        }
    });
    let mut proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send(
            "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
        );
        assert_eq!(client.answer().status(), 100);
        assert_eq!(
            client.send("body").answer().text(),
            "body",
            "one 100 and no other"
        );
    }
    assert_eq!(backend.connections(), 1);
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Status2xx, 2)]);
}

#[test]
fn whoever_keeps_silent_after_it_was_asked_is_the_one_that_is_waited_for() {
    let backend = Backend::start(|connection, _| {
        while let Some(mut request) = connection.head() {
            if request.read_body(&mut connection.reader, false).is_err() {
                return;
            }
            connection.ok("ok");
        }
    });
    let timeouts = json!({"arms": {"stable": {"timeouts": {"responseHeadMs": 1500}}}});
    let client = ClientTimeouts {
        body: SHORT * 10,
        ..ClientTimeouts::default()
    };
    let options = ProxyOptions {
        client,
        ..ProxyOptions::default()
    };
    let mut proxy = TestProxy::with(options, &[release(&[backend.address], timeouts)]);
    let mut client = proxy.client();
    client
        .send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer().status(), 100);
    assert_eq!(client.answer().status(), 408);
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Refused408, 1)]);
}

#[test]
fn a_backend_that_gives_up_on_a_body_that_comes_in_drops_is_not_charged_for_it() {
    let backend = impatient();
    let mut proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000000\r\n\r\n");
    let dripping = drip(&client, Duration::from_millis(200));
    assert_eq!(client.answer().status(), 408);
    drop(client);
    dripping.join().unwrap();
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Refused408, 1)]);
}

#[test]
fn a_tunnel_that_is_asked_for_has_its_place_before_it_is_granted() {
    let backend = Backend::start(|connection, _| {
        // Neither granted nor refused.
        connection.request();
        assert!(connection.ends());
    });
    let arm = json!({"maxInFlight": 100, "maxTunnels": 2});
    let proxy = TestProxy::start(&[release(
        &[backend.address],
        json!({"arms": {"stable": arm}}),
    )]);
    let mut asked: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
    for client in &mut asked {
        client.send(WEBSOCKET);
        backend.seen();
    }
    assert_eq!(proxy.client().send(WEBSOCKET).answer().status(), 503);
}
