//! The end of a proxy under load: nobody who was let in is let down.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use halftone_proxy::drain::{DrainPhase, DrainSchedule};
use serde_json::{Value, json};

use crate::support::{Backend, Client, PATIENCE, ProxyOptions, TestProxy, release};

fn draining(delay: u64, timeout: u64, backend: SocketAddr) -> TestProxy {
    draining_with(delay, timeout, &[release(&[backend], json!({}))])
}

fn draining_with(delay: u64, timeout: u64, documents: &[Value]) -> TestProxy {
    let drain = DrainSchedule {
        delay: Duration::from_millis(delay),
        timeout: Duration::from_millis(timeout),
    };
    TestProxy::with(
        ProxyOptions {
            workers: 2,
            drain,
            ..ProxyOptions::default()
        },
        documents,
    )
}

/// Asks until the proxy is gone: a connection that stands must bring an answer to each request sent on it, unless the
/// answer before said that it would close.
fn ask_on(address: SocketAddr, per_connection: usize, answers: &AtomicUsize) {
    loop {
        let stream = match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
            Err(error) => panic!("{error}"),
        };
        let mut client = Client::over(stream);
        for _ in 0..per_connection {
            let answer = client.get("/");
            assert_eq!(answer.text(), "ok");
            answers.fetch_add(1, Relaxed);
            if answer.get("connection") == Some("close") {
                break;
            }
        }
    }
}

#[test]
fn a_drain_under_load_loses_nothing() {
    for round in 0..3 {
        let backend = Backend::answering("ok");
        let proxy = draining(0, 10_000, backend.address);
        let answers = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..16)
            .map(|n| {
                let (address, answers) = (proxy.address, Arc::clone(&answers));
                std::thread::spawn(move || {
                    ask_on(address, if n % 2 == 0 { 1 } else { 1_000_000 }, &answers)
                })
            })
            .collect();
        while answers.load(Relaxed) < 500 + 100 * round {
            std::thread::sleep(Duration::from_millis(1));
        }
        let drained = proxy.drain();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(drained.cut, 0);
    }
}

#[test]
fn connections_that_were_never_accepted_are_served_before_the_listeners_close() {
    // Without a release: the answers are the proxy's own, for so many at a time are more than our backends take.
    let proxy = draining_with(0, 10_000, &[]);
    let address = proxy.address;
    let gone = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let gone = Arc::clone(&gone);
            std::thread::spawn(move || {
                let mut burst = Vec::new();
                while !gone.load(Relaxed) && burst.len() < 400 {
                    // The kernel accepts for us; whether anybody takes the connection is what this is about.
                    let Ok(stream) =
                        TcpStream::connect_timeout(&address, Duration::from_millis(50))
                    else {
                        break;
                    };
                    let mut client = Client::over(stream);
                    // At once: without a request a connection is closed after a second.
                    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
                    burst.push(client);
                }
                burst
                    .iter_mut()
                    .map(|client| assert_eq!(client.answer().status(), 404))
                    .count()
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(5));
    proxy.drain();
    gone.store(true, Relaxed);
    let answered: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert!(answered > 0);
}

#[test]
fn before_the_listeners_close_balancers_have_time_to_notice() {
    let backend = Backend::answering("ok");
    let proxy = draining(600_000, 10_000, backend.address);
    let mut kept = proxy.client();
    assert_eq!(kept.get("/").get("connection"), None);
    proxy.workers().drain();
    assert_eq!(proxy.workers().phase(), DrainPhase::Announcing);
    std::thread::sleep(Duration::from_millis(250));
    for client in [&mut kept, &mut proxy.client()] {
        assert_eq!(client.get("/").get("connection"), Some("close"));
        client.assert_closed();
    }
}

#[test]
fn an_idle_connection_is_still_answered_for_a_second() {
    let backend = Backend::answering("ok");
    let proxy = draining(0, 10_000, backend.address);
    let (mut asks, mut idles) = (proxy.client(), proxy.client());
    assert_eq!(
        (asks.get("/").status(), idles.get("/").status()),
        (200, 200)
    );
    proxy.workers().drain();
    std::thread::sleep(Duration::from_millis(250));
    assert_eq!(asks.get("/").get("connection"), Some("close"));
    idles.assert_closed();
}

#[test]
fn what_is_not_finished_in_time_is_cut_and_counted_as_ours() {
    let backend = Backend::start(|connection, _| {
        connection.request();
        assert!(connection.ends());
    });
    let proxy = draining(0, 400, backend.address);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    backend.seen();
    let drained = proxy.drain();
    assert_eq!(drained.cut, 1);
    assert_eq!(client.answer().status(), 503);
}

#[test]
fn an_exchange_that_finishes_in_time_is_not_cut() {
    let backend = Backend::start(|connection, _| {
        connection.request();
        std::thread::sleep(Duration::from_millis(1_500));
        connection.ok("late");
    });
    let proxy = draining(0, 10_000, backend.address);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    backend.seen();
    assert_eq!(proxy.drain().cut, 0);
    assert_eq!(client.answer().text(), "late");
}

#[test]
fn a_second_signal_ends_everything_at_once() {
    let backend = Backend::start(|connection, _| {
        connection.request();
        connection.ends();
    });
    let proxy = draining(600_000, 600_000, backend.address);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    backend.seen();
    proxy.workers().drain();
    drop(proxy);
    assert!(matches!(client.try_answer(), Ok(None) | Err(_)));
}

#[test]
fn the_health_path_of_the_fleet_is_answered_here_on_every_host_until_the_drain() {
    let backend = Backend::answering("ok");
    let fleet = Some(json!({"schema": 1, "revision": 1, "healthPath": "/healthz"}));
    let drain = DrainSchedule {
        delay: Duration::from_secs(600),
        timeout: Duration::from_secs(1),
    };
    let proxy = TestProxy::with(
        ProxyOptions {
            fleet,
            drain,
            ..ProxyOptions::default()
        },
        &[release(&[backend.address], json!({}))],
    );
    let mut client = proxy.client();
    let answer = client.get("/healthz");
    assert_eq!((answer.status(), answer.text()), (200, "ok\n"));
    for (request, status) in [
        ("GET /healthz?deep HTTP/1.1\r\nHost: 10.0.0.7:8080", 200),
        ("GET /%68ealthz HTTP/1.1\r\nHost: any.example", 200),
        (
            "HEAD /healthz HTTP/1.1\r\nHost: any.example\r\nConnection: close",
            200,
        ),
    ] {
        let mut client = proxy.client();
        assert_eq!(
            client
                .send(format!("{request}\r\n\r\n"))
                .head()
                .unwrap()
                .unwrap()
                .status(),
            status,
            "{request}"
        );
    }
    assert!(
        !backend.has_seen_more(),
        "none of it is a request of a release"
    );
    for path in ["/healthz/", "/healthz/deep", "/health"] {
        assert_eq!(client.get(path).text(), "ok", "{path}");
        assert!(backend.seen().start.contains(path));
    }
    let post = "POST /healthz HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        client.send(post).answer().text(),
        "ok",
        "another method is the release's"
    );
    proxy.workers().drain();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let answer = proxy.client().get("/healthz");
        if answer.status() == 503 {
            assert_eq!(answer.text(), "the proxy is draining\n");
            break;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "the drain is not told"
        );
    }
    assert_eq!(
        proxy.client().get("/").text(),
        "ok",
        "requests are served all the same"
    );
}
