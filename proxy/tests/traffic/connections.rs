//! Which connections are used again, which requests are sent again, and which endpoints are asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use halftone_proxy::counters::{Arm, Outcome};
use halftone_proxy::upstream::endpoints::Endpoint;
use serde_json::json;

use crate::support::{Backend, Incoming, PATIENCE, TestProxy, release};

/// Addresses where nobody listens, at ports that the kernel gives nobody.
fn nobody(port: u16) -> SocketAddr {
    ([127, 9, 9, 9], port).into()
}

#[test]
fn a_connection_is_not_used_again_after_an_answer_that_leaves_it_in_doubt() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and more",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=1\r\n\r\nok",
    ] {
        let backend = Backend::start(move |connection, _| {
            while connection.request().is_some() {
                connection.send(answer);
            }
        });
        let proxy = TestProxy::to(backend.address);
        let mut client = proxy.client();
        for n in 1..4 {
            assert_eq!(client.get("/").text(), "ok");
            assert_eq!(backend.connections(), n, "{answer}");
        }
    }
}

#[test]
fn a_connection_that_was_reset_while_idle_does_not_spoil_the_answer_on_the_next() {
    let backend = Backend::start(|connection, _| match connection.request() {
        Some(request) if request.target() == "/until-close" => {
            connection.send("HTTP/1.1 200 OK\r\n\r\nall of it");
        }
        Some(_) => {
            connection.ok("first");
            connection.reset();
        }
        None => {}
    });
    let proxy = TestProxy::to(backend.address);
    // The reset is to come after the proxy has looked at the connection and before it writes to it: some do.
    for _ in 0..500 {
        let mut client = proxy.client();
        client.send(
            "GET / HTTP/1.1\r\nHost: shop\r\n\r\nGET /until-close HTTP/1.1\r\nHost: shop\r\n\r\n",
        );
        assert_eq!(client.answer().text(), "first");
        assert_eq!(client.answer().text(), "all of it");
    }
}

/// A backend that gives an answer that nobody asked for, on its first connection, each time that it is told to.
fn outspoken() -> (Backend, impl Fn()) {
    let (speak, spoken) = (channel::<()>(), channel::<()>());
    let wait = std::sync::Mutex::new((speak.1, spoken.0));
    let backend = Backend::start(move |connection, number| {
        while connection.request().is_some() {
            connection.ok("asked for");
            if number == 0 {
                let wait = wait.lock().unwrap();
                wait.0.recv().unwrap();
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nunasked");
                wait.1.send(()).unwrap();
            }
        }
    });
    let speak = move || {
        speak.0.send(()).unwrap();
        spoken.1.recv().unwrap();
    };
    (backend, speak)
}

#[test]
fn a_stray_answer_is_not_taken_by_a_request_behind_many_others() {
    // One read and 127 answers are what a task may do in one turn.
    const OTHERS: usize = 127;
    for _ in 0..5 {
        let (backend, speak) = outspoken();
        let proxy = TestProxy::start(&[release(&[backend.address], json!({"hosts": ["shop"]}))]);
        let mut client = proxy.client();
        assert_eq!(client.get("/").text(), "asked for");
        speak();
        let others = "GET / HTTP/1.1\r\nHost: unknown\r\n\r\n".repeat(OTHERS);
        client.send(others + "GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
        for _ in 0..OTHERS {
            assert_eq!(client.answer().status(), 404);
        }
        assert_eq!(client.answer().text(), "asked for");
    }
}

#[test]
fn a_connection_to_a_backend_that_no_document_names_any_more_is_not_kept() {
    let (go, wait) = channel::<()>();
    let (release_held, hold) = channel::<()>();
    let (closed, told) = channel::<()>();
    let all = std::sync::Mutex::new((Some(wait), Some(hold), Some(closed)));
    let old = Backend::start(move |connection, _| {
        let request = connection.request().unwrap();
        if request.target() == "/hold" {
            let hold = all.lock().unwrap().1.take().unwrap();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegin");
            let _ = hold.recv();
            connection.send("-end");
        } else {
            let (wait, closed) = {
                let mut all = all.lock().unwrap();
                (all.0.take().unwrap(), all.2.take().unwrap())
            };
            wait.recv().unwrap();
            connection.ok("waited");
            assert!(connection.ends());
            let _ = closed.send(());
        }
    });
    let new = Backend::answering("new");
    let mut proxy = TestProxy::to(old.address);
    let mut holding = proxy.client();
    holding.get_head("/hold");
    let mut waiting = proxy.client();
    waiting.send("GET /wait HTTP/1.1\r\nHost: shop\r\n\r\n");
    old.seen();
    old.seen();
    proxy.apply(&[release(&[new.address], json!({"revision": 2}))]);
    let deadline = std::time::Instant::now() + PATIENCE;
    while proxy.client().get("/").text() != "new" {
        assert!(
            std::time::Instant::now() < deadline,
            "the new document is not applied"
        );
    }
    go.send(()).unwrap();
    assert_eq!(waiting.answer().text(), "waited");
    told.recv_timeout(PATIENCE)
        .expect("it would stay open for as long as another request lasts");
    release_held.send(()).unwrap();
}

#[test]
fn a_body_behind_an_answer_that_has_none_is_never_taken_for_the_next_answer() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nContent-Length: 40\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 40\r\n\r\n",
        ),
    ] {
        let backend = Backend::start(move |connection, _| {
            while let Some(request) = connection.request() {
                if request.target() != "/odd" {
                    connection.ok("right");
                    continue;
                }
                connection.send(head);
                // The body comes only once the next request is under way.
                std::thread::sleep(Duration::from_millis(20));
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
            }
        });
        let proxy = TestProxy::to(backend.address);
        let mut client = proxy.client();
        for _ in 0..3 {
            client.send(format!("{method} /odd HTTP/1.1\r\nHost: shop\r\n\r\n"));
            client.head().unwrap().unwrap();
            assert_eq!(client.get("/").text(), "right", "{method} {head:?}");
        }
    }
}

#[test]
fn a_connection_that_stays_silent_behind_an_answer_to_head_is_used_again() {
    let backend = Backend::start(|connection, _| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n");
        }
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    let mut asked = 0;
    let deadline = std::time::Instant::now() + PATIENCE;
    while asked == backend.connections() {
        assert!(
            std::time::Instant::now() < deadline,
            "{asked} requests on as many connections"
        );
        client.send("HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n");
        client.head().unwrap().unwrap();
        asked += 1;
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn connections_that_have_to_be_silent_first_take_no_place_from_those_at_hand() {
    let gate = Arc::new(Barrier::new(301));
    let passed = Arc::clone(&gate);
    let backend = Backend::start(move |connection, _| {
        while let Some(request) = connection.request() {
            if request.target() == "/held" {
                passed.wait();
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
            if request.method() == "GET" {
                connection.send("ok");
            }
        }
    });
    let proxy = TestProxy::to(backend.address);
    // All at once, so that each has a connection of its own.
    let mut clients: Vec<_> = (0..300).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("HEAD /held HTTP/1.1\r\nHost: shop\r\n\r\n");
    }
    gate.wait();
    for client in &mut clients {
        client.head().unwrap().unwrap();
    }
    let before = backend.connections();
    for _ in 0..20 {
        assert_eq!(clients[0].get("/").text(), "ok");
    }
    assert!(
        backend.connections() <= before + 1,
        "{} more",
        backend.connections() - before
    );
}

#[test]
fn a_backend_of_1_0_is_kept_if_it_says_so() {
    let backend = Backend::start(|connection, _| {
        while connection.request().is_some() {
            connection
                .send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok");
        }
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn bytes_that_come_on_an_idle_connection_are_never_taken_for_an_answer() {
    let (backend, speak) = outspoken();
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "asked for");
    speak();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "asked for");
    }
    assert_eq!(backend.connections(), 2);
}

/// A backend that closes every connection right after its answer without having said so.
fn forgetful() -> Backend {
    Backend::start(|connection, _| {
        connection.request();
        connection.ok("ok");
    })
}

#[test]
fn a_backend_that_closes_idle_connections_causes_no_502() {
    let backend = forgetful();
    let mut proxy = TestProxy::to(backend.address);
    let mut clients: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    for _ in 0..100 {
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.answer().status(), 200);
        }
    }
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Status2xx, 800)]);
}

#[test]
fn a_post_meets_no_connection_that_the_backend_has_closed_already() {
    let backend = forgetful();
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    for _ in 0..50 {
        client.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.answer().status(), 200);
        // The close has arrived by now, since the backend's end of the exchange is complete.
        assert_eq!(backend.seen().text(), "body");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn a_post_takes_only_a_connection_used_within_the_last_second() {
    let backend = Backend::answering("ok");
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    let mut post = || {
        client
            .send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n")
            .answer()
            .status()
    };
    assert_eq!((post(), post(), backend.connections()), (200, 200, 1));
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    assert_eq!((post(), backend.connections()), (200, 2));
}

#[test]
fn a_kept_connection_is_closed_before_most_backends_would() {
    let (closed, told) = channel();
    let closed = std::sync::Mutex::new(closed);
    let backend = Backend::start(move |connection, _| {
        connection.request();
        connection.ok("ok");
        assert!(connection.ends());
        closed.lock().unwrap().send(()).unwrap();
    });
    let proxy = TestProxy::to(backend.address);
    assert_eq!(proxy.client().get("/").text(), "ok");
    told.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_408_on_a_kept_connection_is_a_connection_that_was_closing() {
    let backend = Backend::start(|connection, number| {
        connection.request();
        connection.ok("first");
        if number == 0 {
            connection.request();
            connection.send(
                "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    });
    let mut proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.get("/").status(), 200);
    proxy.wait_for("one retry", |counts| counts[&Arm::Stable].retries == 1);
}

#[test]
fn a_408_on_a_fresh_connection_or_to_a_post_is_an_answer() {
    let backend = Backend::start(|connection, _| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 408);
    client.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().status(), 408);
}

#[test]
fn a_request_whose_connection_is_lost_is_sent_once_more_if_that_can_do_no_harm() {
    for (method, body, sent) in [
        ("GET", "", 2),
        ("PUT", "short", 2),
        ("DELETE", "", 2),
        ("POST", "short", 1),
        ("PATCH", "short", 1),
        ("MKCOL", "", 1),
    ] {
        let backend = Backend::start(|connection, _| {
            connection.request();
            connection.reset();
        });
        let mut proxy = TestProxy::to(backend.address);
        let mut client = proxy.client();
        let length = body.len();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: shop\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        let answer = client.answer();
        assert_eq!(
            (answer.status(), backend.connections()),
            (502, sent),
            "{method}"
        );
        proxy.expect_outcomes(Arm::Stable, &[(Outcome::Reset, 1)]);
        assert_eq!(proxy.counts()[&Arm::Stable].retries, sent as u64 - 1);
    }
}

#[test]
fn the_second_try_carries_the_same_request() {
    let backend = Backend::start(|connection, number| {
        while let Some(request) = connection.request() {
            if number == 0 {
                return;
            }
            connection.ok(request.body);
        }
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    for (framing, body) in [
        ("Content-Length: 5", "hello"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        client.send(format!(
            "PUT /x HTTP/1.1\r\nHost: shop\r\nX-A: b\r\n{framing}\r\n\r\n{body}"
        ));
        assert_eq!(client.answer().text(), "hello");
    }
    let (first, second) = (backend.seen(), backend.seen());
    assert_eq!(first, second);
}

#[test]
fn nothing_is_sent_again_after_a_byte_of_the_answer() {
    let backend = Backend::start(|connection, _| {
        connection.request();
        connection.send("HTTP/1.1 20");
    });
    let mut proxy = TestProxy::to(backend.address);
    assert_eq!(proxy.client().get("/").status(), 502);
    assert_eq!(backend.connections(), 1);
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Reset, 1)]);
}

#[test]
fn where_nobody_listens_other_endpoints_are_asked_whatever_the_method() {
    let backend = Backend::echo();
    let proxy = TestProxy::start(&[release(&[nobody(1), nobody(2), backend.address], json!({}))]);
    for n in 0..20 {
        let mut client = proxy.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\n{n:02}"
        ));
        assert_eq!(client.answer().text(), format!("{n:02}"));
    }
}

#[test]
fn an_arm_where_nobody_listens_is_a_502_charged_once() {
    let mut proxy = TestProxy::start(&[release(
        &[nobody(1), nobody(2), nobody(3), nobody(4)],
        json!({}),
    )]);
    let answer = proxy.client().get("/");
    assert_eq!(answer.status(), 502);
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::ConnectFailure, 1)]);
    assert_eq!(proxy.counts()[&Arm::Stable].retries, 2);
}

#[test]
fn a_try_that_is_not_made_is_not_counted() {
    let mut proxy = TestProxy::to(nobody(1));
    assert_eq!(proxy.client().get("/").status(), 502);
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::ConnectFailure, 1)]);
    assert_eq!(proxy.counts()[&Arm::Stable].retries, 0);
}

#[test]
fn an_endpoint_that_was_found_dead_is_left_alone_for_a_while() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&attempts);
    let dying = Backend::start(move |connection: &mut Incoming, _| {
        count.fetch_add(1, Relaxed);
        connection.head();
        connection.reset();
    });
    let living = Backend::answering("ok");
    let proxy = TestProxy::start(&[release(&[dying.address, living.address], json!({}))]);
    let mut client = proxy.client();
    for _ in 0..200 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert!(
        attempts.load(Relaxed) <= 2,
        "{attempts:?} of 200 requests went to a dead endpoint"
    );
}

#[test]
fn requests_are_spread_over_the_endpoints() {
    let backends = [(); 3].map(|()| Backend::answering("ok"));
    let proxy = TestProxy::start(&[release(
        &backends.each_ref().map(|backend| backend.address),
        json!({}),
    )]);
    let mut clients: Vec<_> = (0..12).map(|_| proxy.client()).collect();
    for _ in 0..20 {
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
        }
        for client in &mut clients {
            client.answer();
        }
    }
    for backend in &backends {
        let mut requests = 0;
        while backend.has_seen_more() {
            requests += 1;
        }
        assert!(
            (40..=120).contains(&requests),
            "{requests} of 240 requests at one of three"
        );
    }
}

#[test]
fn an_endpoint_that_is_no_longer_listed_gets_no_more_requests() {
    let (old, new) = (Backend::answering("old"), Backend::answering("new"));
    let mut proxy = TestProxy::start(&[release(&[old.address], json!({}))]);
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "old");
    proxy.apply(&[release(&[new.address], json!({"revision": 2}))]);
    assert_eq!(client.get("/").text(), "new");
}

#[test]
fn an_arm_without_endpoints_is_replaced_by_the_other_and_charged() {
    let (stable, gray) = (Backend::answering("stable"), Backend::answering("gray"));
    let both = |more| {
        let mut document = release(
            &[stable.address],
            json!({
                "state": "Active",
                "ratio": 1_000_000,
                "arms": {"gray": {"addresses": [gray.address], "version": "v2"}},
            }),
        );
        document.as_object_mut().unwrap().extend(more);
        document
    };
    let mut proxy = TestProxy::start(&[both(serde_json::Map::new())]);
    let ask = |proxy: &TestProxy| {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: shop\r\nX-User-Name: lin\r\n\r\n");
        client.answer()
    };
    assert_eq!(ask(&proxy).text(), "gray");
    let set_gray = |proxy: &TestProxy, endpoints: &[Endpoint]| {
        let tables = proxy.tables().all();
        let (_, table) = tables
            .iter()
            .find(|(_, table)| table.ready() == [gray.address])
            .unwrap();
        table.replace(endpoints);
    };
    set_gray(&proxy, &[]);
    let answer = ask(&proxy);
    assert_eq!(
        (answer.text(), answer.get("x-halftone-version")),
        ("stable", Some("v1"))
    );
    proxy.expect_outcomes(
        Arm::Gray,
        &[(Outcome::Status2xx, 1), (Outcome::NoEndpoint, 1)],
    );
    let counts = proxy.counts();
    assert_eq!(counts[&Arm::Gray].fallbacks, 1);
    assert!(
        !counts.contains_key(&Arm::Stable),
        "charged once, to the arm that was meant"
    );

    let more = json!({"revision": 2, "onUnavailable": "Fail"});
    proxy.apply(&[both(more.as_object().unwrap().clone())]);
    assert_eq!(ask(&proxy).status(), 503);
    proxy.expect_outcomes(
        Arm::Gray,
        &[(Outcome::Status2xx, 1), (Outcome::NoEndpoint, 2)],
    );
}
