//! Which arm and which endpoint answer while some of them are dead, fail their check, or fail their requests.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc as Shared;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use halftone_proxy::counters::{Arm, Outcome};
use serde_json::{Value, json};

use crate::support::{Backend, Message, PATIENCE, TestProxy, release};

/// Addresses where nobody listens, at ports that the kernel gives nobody.
fn nobody(port: u16) -> SocketAddr {
    ([127, 9, 9, 9], port).into()
}

/// Everyone is on gray.
fn both(stable: SocketAddr, gray: &[SocketAddr], more: Value) -> Value {
    let gray = json!({"addresses": gray, "version": "v2", "pathPrefix": "/new"});
    let mut document = release(
        &[stable],
        json!({"state": "Active", "ratio": 1_000_000, "arms": {"gray": gray, "stable": {"pathPrefix": "/old"}}}),
    );
    document
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    document
}

fn ask(proxy: &TestProxy) -> Message {
    let mut client = proxy.client();
    client.send("GET /x?y=/new HTTP/1.1\r\nHost: shop\r\nX-User-Name: lin\r\n\r\n");
    client.answer()
}

#[test]
fn a_gray_that_takes_no_connections_is_replaced_and_charged() {
    let stable = Backend::echo();
    let mut proxy = TestProxy::start(&[both(stable.address, &[nobody(1), nobody(2)], json!({}))]);
    for _ in 0..10 {
        assert_eq!(ask(&proxy).status(), 200);
        let seen = stable.seen();
        assert_eq!(
            (seen.target(), seen.all("x-halftone-version")),
            ("/old/x?y=/new", vec!["v1"])
        );
        let mut client = proxy.client();
        client.send(
            "POST /x HTTP/1.1\r\nHost: shop\r\nX-User-Name: lin\r\nContent-Length: 4\r\n\r\nbody",
        );
        let answer = client.answer();
        assert_eq!(
            (answer.text(), answer.get("x-halftone-version")),
            ("body", Some("v1"))
        );
        stable.seen();
    }
    proxy.expect_outcomes(Arm::Gray, &[(Outcome::NoEndpoint, 20)]);
    let counts = proxy.counts();
    assert_eq!(counts[&Arm::Gray].fallbacks, 20);
    assert!(
        !counts.contains_key(&Arm::Stable),
        "charged once, to the arm that was meant"
    );
}

#[test]
fn a_gray_that_takes_no_connections_answers_for_itself_where_nobody_may_replace_it() {
    let stable = Backend::answering("stable");
    let fail = json!({"onUnavailable": "Fail"});
    let mut proxy = TestProxy::start(&[both(stable.address, &[nobody(1)], fail)]);
    assert_eq!((ask(&proxy).status(), ask(&proxy).status()), (502, 502));
    proxy.expect_outcomes(Arm::Gray, &[(Outcome::ConnectFailure, 2)]);
    // Nor where nobody can.
    let mut proxy = TestProxy::start(&[both(nobody(2), &[nobody(1)], json!({}))]);
    assert_eq!(ask(&proxy).status(), 502);
    proxy.expect_outcomes(Arm::Gray, &[(Outcome::NoEndpoint, 1)]);
}

#[test]
fn a_gray_that_takes_connections_again_is_asked_again() {
    let stable = Backend::answering("stable");
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = TestProxy::start(&[both(stable.address, &[address], json!({}))]);
    assert_eq!(ask(&proxy).text(), "stable");
    let _gray = Backend::on(TcpListener::bind(address).unwrap(), |connection, _| {
        while connection.request().is_some() {
            connection.ok("gray");
        }
    });
    let deadline = Instant::now() + PATIENCE;
    while ask(&proxy).text() != "gray" {
        assert!(Instant::now() < deadline, "gray listens, and is not asked");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_check_that_all_endpoints_fail_is_ignored_only_for_the_arm_that_everyone_depends_on() {
    let (stable, gray) = (Backend::answering("stable"), Backend::answering("gray"));
    let fail = |proxy: &TestProxy| {
        for (_, table) in proxy.tables().all() {
            table
                .ready()
                .into_iter()
                .for_each(|address| table.set_failing(address, true));
        }
    };
    let mut proxy = TestProxy::start(&[both(stable.address, &[gray.address], json!({}))]);
    assert_eq!(ask(&proxy).text(), "gray");
    fail(&proxy);
    assert_eq!(
        ask(&proxy).text(),
        "stable",
        "gray has no endpoint, stable's check is ignored"
    );
    proxy.expect_outcomes(
        Arm::Gray,
        &[(Outcome::Status2xx, 1), (Outcome::NoEndpoint, 1)],
    );
    let more = json!({"revision": 2, "onUnavailable": "Fail"});
    proxy.apply(&[both(stable.address, &[gray.address], more)]);
    assert_eq!(ask(&proxy).status(), 503);
    let more = json!({"revision": 3, "state": "Promoted"});
    proxy.apply(&[both(stable.address, &[gray.address], more)]);
    assert_eq!(
        ask(&proxy).text(),
        "gray",
        "a promoted gray has stable's part"
    );
}

#[test]
fn an_endpoint_that_fails_again_and_again_is_left_out_while_another_does_well() {
    let well = Shared::new(AtomicBool::new(true));
    let asked = Shared::new(AtomicU64::new(0));
    let (is_well, counts) = (Shared::clone(&well), Shared::clone(&asked));
    let bad = Backend::start(move |connection, _| {
        while connection.request().is_some() {
            counts.fetch_add(1, Relaxed);
            connection.send("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let good = Backend::start(move |connection, _| {
        while connection.request().is_some() {
            let status = if is_well.load(Relaxed) { 200 } else { 503 };
            connection.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let mut proxy = TestProxy::start(&[release(&[good.address, bad.address], json!({}))]);
    let mut client = proxy.client();
    let deadline = Instant::now() + PATIENCE;
    while asked.load(Relaxed) < 5 {
        assert!(Instant::now() < deadline, "both are asked");
        client.get("/");
    }
    assert!(
        (0..20).all(|_| client.get("/").status() == 200),
        "it is left out"
    );
    assert_eq!(asked.load(Relaxed), 5);
    proxy.wait_for("each failure charged", |counts| {
        counts[&Arm::Stable].outcomes.get(&Outcome::ErrorStatus) == Some(&5)
    });
    well.store(false, Relaxed);
    let deadline = Instant::now() + PATIENCE;
    while asked.load(Relaxed) == 5 {
        assert!(
            Instant::now() < deadline,
            "while every endpoint fails none is left out"
        );
        client.get("/");
    }
}

#[test]
fn an_endpoint_is_not_left_out_for_what_clients_ask_of_it() {
    for status in [501, 505] {
        let (asked, served) = (
            Shared::new(AtomicU64::new(0)),
            Shared::new(AtomicU64::new(0)),
        );
        let (counts, serves) = (Shared::clone(&asked), Shared::clone(&served));
        let strict = Backend::start(move |connection, _| {
            while let Some(request) = connection.request() {
                if request.method() == "GET" {
                    serves.fetch_add(1, Relaxed);
                    connection.ok("ok");
                    continue;
                }
                counts.fetch_add(1, Relaxed);
                connection.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
            }
        });
        let good = Backend::answering("ok");
        let proxy = TestProxy::start(&[release(&[good.address, strict.address], json!({}))]);
        let mut client = proxy.client();
        let deadline = Instant::now() + PATIENCE;
        while asked.load(Relaxed) < 8 {
            assert!(Instant::now() < deadline, "both are asked");
            client.send("FOO / HTTP/1.1\r\nHost: shop\r\n\r\n").answer();
        }
        assert!((0..60).all(|_| client.get("/").status() == 200));
        assert!(
            served.load(Relaxed) > 0,
            "{status} is about the request, and this endpoint is asked on"
        );
    }
}

#[test]
fn a_gray_that_closes_on_one_request_unanswered_keeps_all_others() {
    let stable = Backend::answering("stable");
    let gray = Backend::start(|connection, _| {
        while let Some(request) = connection.request() {
            if request.target().ends_with("/closes") {
                return;
            }
            connection.ok("gray");
        }
    });
    let mut proxy = TestProxy::start(&[both(stable.address, &[gray.address], json!({}))]);
    for _ in 0..3 {
        let post = "POST /closes HTTP/1.1\r\nHost: shop\r\nX-User-Name: x\r\nContent-Length: 0\r\n";
        let mut stranger = proxy.client();
        stranger.send(format!("{post}\r\n"));
        assert_eq!(stranger.answer().status(), 502);
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.1\r\nHost: shop\r\nX-User-Name: lin\r\n\r\n");
        assert_eq!(client.answer().text(), "gray", "gray takes connections");
        assert_eq!(ask(&proxy).text(), "gray");
    }
    proxy.wait_for("every request counted", |counts| {
        let outcomes = &counts[&Arm::Gray].outcomes;
        outcomes.get(&Outcome::Status2xx) == Some(&6) && outcomes.get(&Outcome::Reset) == Some(&3)
    });
    assert_eq!(proxy.counts()[&Arm::Gray].fallbacks, 0);
}
