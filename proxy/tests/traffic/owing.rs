//! How much clients that are waited for can make the proxy and its backends hold, who of them leaves first, and that a
//! request whose body comes late is decided late.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use halftone_proxy::counters::{Arm, Outcome};
use halftone_proxy::settings::ClientTimeouts;
use serde_json::{Value, json};

use crate::support::{Backend, Client, PATIENCE, ProxyOptions, TestProxy, release};
use crate::unfinished::drip;

const LARGE: usize = 32 << 20;
const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000000\r\n\r\n";

fn places(places: u32) -> Value {
    json!({"arms": {"stable": {"maxInFlight": places}}})
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A backend that reads whole requests and counts the connections that are open to it.
fn counting() -> (Backend, Arc<AtomicUsize>) {
    let open = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&open);
    let backend = Backend::start(move |connection, _| {
        count.fetch_add(1, Relaxed);
        while let Some(request) = connection.request() {
            connection.ok(request.body);
        }
        count.fetch_sub(1, Relaxed);
    });
    (backend, open)
}

#[test]
fn clients_that_keep_their_bodies_back_hold_as_many_backend_connections_as_max_in_flight() {
    let (backend, open) = counting();
    let mut proxy = TestProxy::start(&[release(&[backend.address], places(4))]);
    let mut silent: Vec<Client> = Vec::new();
    for n in 0..20_usize {
        let mut client = proxy.client();
        client.send(UPLOAD).send("1");
        silent.push(client);
        until("each is connected to the backend", || {
            backend.connections() > n
        });
        // Longer than a tick, which tells who came first.
        std::thread::sleep(Duration::from_millis(300));
        if let Some(longest) = n.checked_sub(4) {
            assert_eq!(
                silent[longest].answer().status(),
                408,
                "{longest} is waited for the longest"
            );
        }
    }
    until("no more than may be", || open.load(Relaxed) <= 4);
    assert_eq!(proxy.client().get("/").status(), 200);
    let rest = vec![b'1'; 999_999];
    for client in &mut silent[16..] {
        client.send(&rest);
        assert_eq!(
            client.answer().body.len(),
            1_000_000,
            "who is left can still go on"
        );
    }
    proxy.expect_outcomes(
        Arm::Stable,
        &[(Outcome::Status2xx, 5), (Outcome::Refused408, 16)],
    );
}

#[test]
fn an_upload_that_moves_slowly_outlasts_all_that_do_not_move() {
    let (backend, _) = counting();
    let proxy = TestProxy::start(&[release(&[backend.address], places(16))]);
    let mut slow = proxy.client();
    let mut sender = slow.stream().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        sender
            .write_all(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 20000\r\n\r\n")
            .unwrap();
        for _ in 0..20 {
            sender.write_all(&[7; 1000]).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    until("it has begun", || backend.connections() == 1);
    let mut silent: Vec<Client> = Vec::new();
    while !sending.is_finished() {
        let mut client = proxy.client();
        client.send(UPLOAD).send("1");
        silent.push(client);
        std::thread::sleep(Duration::from_millis(30));
    }
    sending.join().unwrap();
    assert!(silent.len() > 16, "there was a crowd");
    assert_eq!(slow.answer().body.len(), 20_000);
}

/// Answers at once with a large body, without an end to wait for.
fn large() -> Backend {
    Backend::start(|connection, _| {
        while let Some(request) = connection.request() {
            if request.target() == "/large" {
                connection.ok(vec![7; LARGE]);
            } else {
                connection.ok("ok");
            }
        }
    })
}

/// A client that takes no more than the head of a large answer; asked for until there is a place.
fn lazy(proxy: &TestProxy) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = proxy.client();
        if client.get_head("/large").status() == 200 {
            return client;
        }
        assert!(
            Instant::now() < deadline,
            "a client that takes nothing gives its place up"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn answers_that_are_not_taken_are_bounded_and_the_longest_waited_for_ends_first() {
    let backend = large();
    let mut proxy = TestProxy::start(&[release(&[backend.address], places(2))]);
    let mut clients: Vec<Client> = (0..2).map(|_| lazy(&proxy)).collect();
    // Of those who have all just begun it would be the slowest.
    std::thread::sleep(Duration::from_secs(2));
    clients.extend((0..2).map(|_| lazy(&proxy)));
    proxy.wait_for("the first two end", |counts| {
        counts[&Arm::Stable].outcomes.get(&Outcome::ClientTimeout) == Some(&2)
    });
    for client in &mut clients[2..] {
        assert_eq!(client.bytes(LARGE).len(), LARGE, "the others go on");
    }
}

#[test]
fn answers_that_are_not_taken_share_a_bounded_memory() {
    let backend = large();
    let options = ProxyOptions {
        max_held_bytes: 150 << 10,
        ..ProxyOptions::default()
    };
    let mut proxy = TestProxy::with(options, &[release(&[backend.address], json!({}))]);
    let clients: Vec<Client> = (0..8).map(|_| lazy(&proxy)).collect();
    proxy.wait_for("some end", |counts| {
        counts[&Arm::Stable]
            .outcomes
            .get(&Outcome::ClientTimeout)
            .is_some_and(|ended| *ended >= 4)
    });
    assert_eq!(proxy.client().get("/").text(), "ok");
    drop(clients);
}

#[test]
fn a_full_proxy_frees_the_places_of_those_who_keep_their_bodies_back() {
    for body in [
        "Content-Length: 2\r\n\r\n1",
        "Content-Length: 1000000\r\n\r\n1",
    ] {
        let backend = Backend::answering("ok");
        let options = ProxyOptions {
            max_connections: 6,
            ..ProxyOptions::default()
        };
        let proxy = TestProxy::with(options, &[release(&[backend.address], json!({}))]);
        let mut unfinished: Vec<Client> = (0..6).map(|_| proxy.client()).collect();
        for client in &mut unfinished {
            client.send(format!("POST / HTTP/1.1\r\nHost: shop\r\n{body}"));
        }
        proxy.expect_connections(&[6]);
        let mut newcomers: Vec<_> = (0..3).map(|_| proxy.client()).collect();
        for client in &mut newcomers {
            assert_eq!(client.get("/").text(), "ok", "{body}");
        }
        let mut asked_to_leave = 0;
        for client in &mut unfinished {
            client
                .stream()
                .set_read_timeout(Some(Duration::from_millis(300)))
                .unwrap();
            asked_to_leave += usize::from(
                client
                    .try_answer()
                    .is_ok_and(|answer| answer.is_some_and(|answer| answer.status() == 408)),
            );
        }
        assert!((3..=6).contains(&asked_to_leave), "{asked_to_leave}");
    }
}

#[test]
fn a_short_body_has_one_time_limit_for_all_of_it() {
    let backend = Backend::answering("ok");
    let client = ClientTimeouts {
        body: Duration::from_millis(500),
        ..ClientTimeouts::default()
    };
    let options = ProxyOptions {
        client,
        ..ProxyOptions::default()
    };
    let mut proxy = TestProxy::with(options, &[release(&[backend.address], json!({}))]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n");
    let dripping = drip(&client, Duration::from_millis(100));
    assert_eq!(client.answer().status(), 408);
    drop(client);
    dripping.join().unwrap();
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Refused408, 1)]);
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_request_whose_body_comes_after_a_rollback_is_decided_after_it() {
    let (stable, gray) = (Backend::answering("stable"), Backend::answering("gray"));
    let arms = json!({"gray": {"addresses": [gray.address], "version": "v2"}});
    let identity = json!({"from": [{"clientIp": {}}]});
    let on_gray =
        json!({"state": "Active", "ratio": 1_000_000, "arms": arms, "identity": identity});
    let back = json!({"state": "RolledBack", "ratio": 0, "revision": 2, "arms": arms, "identity": identity});
    let mut proxy = TestProxy::start(&[release(&[stable.address], on_gray)]);
    assert_eq!(proxy.client().get("/").text(), "gray");
    let mut late = proxy.client();
    late.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\n12");
    // Later than the head was read: answered by the same worker.
    assert_eq!(proxy.client().get("/").text(), "gray");
    proxy.apply(&[release(&[stable.address], back)]);
    assert_eq!(late.send("345").answer().text(), "stable");
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Status2xx, 1)]);
}

#[test]
fn who_only_takes_a_moment_is_not_ended_for_those_who_last() {
    let (backend, _) = counting();
    let mut proxy = TestProxy::start(&[release(&[backend.address], places(3))]);
    let begun = "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 20000\r\n\r\n1";
    let mut silent: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut silent {
        client.send(begun);
    }
    until("the silent are connected to the backend", || {
        backend.connections() == 3
    });
    std::thread::sleep(Duration::from_millis(1500));
    let mut uploads: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut uploads {
        client.send(begun);
    }
    until("all are connected to the backend", || {
        backend.connections() == 6
    });
    std::thread::sleep(Duration::from_millis(300));
    for client in &mut uploads {
        client.send([b'1'; 19_999]);
        assert_eq!(client.answer().status(), 200);
    }
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Status2xx, 3)]);
}

#[test]
fn clients_that_come_anew_within_a_second_hold_no_more_backend_connections_than_others() {
    let (backend, open) = counting();
    let mut proxy = TestProxy::start(&[release(&[backend.address], places(4))]);
    let mut begun = std::collections::VecDeque::new();
    for n in 0..40 {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 20000\r\n\r\n");
        until("each is connected to the backend", || {
            backend.connections() > n
        });
        begun.push_back(client);
        if begun.len() > 10 {
            begun.pop_front().into_iter().for_each(Client::abort);
        }
    }
    proxy.wait_for("all but a few make room for others", |counts| {
        let outcomes = &counts[&Arm::Stable].outcomes;
        outcomes.values().sum::<u64>() >= 36
    });
    until("no more than may be", || open.load(Relaxed) <= 4);
    let outcomes = proxy.counts()[&Arm::Stable].outcomes.clone();
    assert!(
        outcomes.get(&Outcome::Refused408) >= Some(&10),
        "{outcomes:?}"
    );
}

#[test]
fn a_request_that_finds_no_place_at_its_end_is_not_carried_out() {
    for (head, rest) in [
        (
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "0\r\n\r\n",
        ),
        ("Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", "hello"),
    ] {
        let (over, ended) = channel();
        let (gate, opened) = channel::<()>();
        let (over, opened) = (std::sync::Mutex::new(over), std::sync::Mutex::new(opened));
        let backend = Backend::start(move |connection, _| {
            while let Some(request) = connection.request() {
                if request.target() == "/held" {
                    opened.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                }
                connection.ok(request.body);
            }
            over.lock().unwrap().send(()).unwrap();
        });
        let mut proxy = TestProxy::start(&[release(&[backend.address], places(1))]);
        let mut late = proxy.client();
        late.send(format!("POST /late HTTP/1.1\r\nHost: shop\r\n{head}"));
        until("it is connected to the backend", || {
            backend.connections() == 1
        });
        let mut held = proxy.client();
        held.send("GET /held HTTP/1.1\r\nHost: shop\r\n\r\n");
        assert_eq!(backend.seen().target(), "/held");
        late.send(rest);
        let answer =
            std::iter::repeat_with(|| late.answer().status()).find(|status| *status != 100);
        assert_eq!(answer, Some(503), "{head:?}");
        ended.recv_timeout(PATIENCE).unwrap();
        assert!(
            !backend.has_seen_more(),
            "the backend has not had it: {head:?}"
        );
        gate.send(()).unwrap();
        assert_eq!(held.answer().status(), 200);
        let expected = [(Outcome::Status2xx, 1), (Outcome::Overload, 1)];
        proxy.expect_outcomes(Arm::Stable, &expected);
        assert_eq!(
            late.get("/").status(),
            200,
            "its request was read to the end: {head:?}"
        );
    }
}

#[test]
fn a_backend_that_gives_up_on_a_client_that_did_not_read_is_not_charged() {
    let (gives_up, told) = channel();
    let backend = Backend::start(move |connection, _| {
        connection.request();
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            1_u64 << 40
        ));
        // Until it cannot write for a while, as servers with a write time-out do.
        connection
            .reader
            .get_ref()
            .set_write_timeout(Some(Duration::from_secs(3)))
            .unwrap();
        while connection.try_send([7; 64 << 10]).is_ok() {}
        gives_up.send(()).unwrap();
    });
    let mut proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    assert_eq!(client.get_head("/").status(), 200);
    told.recv_timeout(PATIENCE).unwrap();
    let _ = client.rest();
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::ClientTimeout, 1)]);
}

#[test]
fn an_error_that_is_told_about_a_body_kept_back_is_not_charged() {
    let backend = Backend::start(|connection, _| {
        connection.head();
        std::thread::sleep(Duration::from_millis(2500));
        connection
            .send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate");
        connection.ends();
    });
    let mut proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send(UPLOAD).send("1");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (500, "late"));
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::ClientTimeout, 1)]);
}

#[test]
fn places_that_slow_readers_keep_make_no_overload() {
    let backend = large();
    let mut proxy = TestProxy::start(&[release(&[backend.address], places(1))]);
    let mut slow = proxy.client();
    assert_eq!(slow.get_head("/large").status(), 200);
    let reading = std::thread::spawn(move || {
        for _ in 0..40 {
            slow.read_exact(&mut [0; 64 << 10]);
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let mut refused = 0;
    while !reading.is_finished() {
        refused += usize::from(proxy.client().get("/").status() == 503);
        std::thread::sleep(Duration::from_millis(10));
    }
    reading.join().unwrap();
    assert!(refused > 0, "the one place was kept for a while");
    // But for the moments in which the backend is waited for.
    let outcomes = proxy.counts()[&Arm::Stable].outcomes.clone();
    let count = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
    assert!(
        count(Outcome::Crowded) > 5 * count(Outcome::Overload),
        "{outcomes:?}"
    );
}

#[test]
fn an_interim_answer_other_than_100_does_not_ask_for_the_body() {
    let backend = Backend::start(|connection, _| {
        while let Some(mut request) = connection.head() {
            connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            request.read_body(&mut connection.reader, false).unwrap();
            connection.ok(request.body);
        }
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client
        .send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer().status(), 103);
    assert_eq!(
        client.answer().status(),
        100,
        "the proxy asks in the backend's place"
    );
    assert_eq!(client.send("body").answer().text(), "body");
}

#[test]
fn the_latency_of_an_early_answer_leaves_out_how_long_the_client_took() {
    let backend = Backend::start(|connection, _| {
        connection.head();
        connection.reader.read_exact(&mut [0]).unwrap();
        connection.send(
            "HTTP/1.1 422 Unprocessable Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        connection.ends();
    });
    let limits = json!({"limits": {"latency": {"p99": 1000}}});
    let mut proxy = TestProxy::start(&[release(&[backend.address], limits)]);
    let mut client = proxy.client();
    client.send(UPLOAD);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(client.send("1").answer().status(), 422);
    proxy.wait_for("it is within the limit", |counts| {
        counts.get(&Arm::Stable).is_some_and(|counts| {
            counts
                .limits
                .values()
                .map(|events| (events.within, events.over))
                .eq([(1, 0)])
        })
    });
}

#[test]
fn requests_that_were_never_made_are_not_charged_when_an_arm_has_no_endpoint() {
    let backend = Backend::answering("ok");
    let mut proxy = TestProxy::to(backend.address);
    let mut unsent: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut unsent {
        client.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n\r\n1");
    }
    proxy.expect_connections(&[3]);
    assert_eq!(proxy.client().get("/").status(), 200);
    proxy
        .tables()
        .all()
        .into_iter()
        .for_each(|(_, table)| table.replace(&[]));
    unsent.into_iter().for_each(Client::abort);
    proxy.wait_for("all are counted", |counts| {
        counts[&Arm::Stable].outcomes.get(&Outcome::ClientAbort) == Some(&3)
    });
    assert!(
        !proxy.counts()[&Arm::Stable]
            .outcomes
            .contains_key(&Outcome::NoEndpoint)
    );
}
