//! How exchanges end otherwise than well: one side leaves, breaks off, or is too slow. Who is told what, and what is
//! counted.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halftone_proxy::counters::{Arm, Outcome, Quantile};
use halftone_proxy::settings::ClientTimeouts;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::support::{Backend, Client, PATIENCE, ProxyOptions, TestProxy, release};

const SHORT: Duration = Duration::from_millis(200);

/// A backend that reads each request and then does nothing until the connection ends, which it tells.
fn silent() -> (Backend, Receiver<()>) {
    let (ended, told) = channel();
    let ended = Mutex::new(ended);
    let backend = Backend::start(move |connection, _| {
        connection.request();
        assert!(connection.ends());
        let _ = ended.lock().unwrap().send(());
    });
    (backend, told)
}

fn with_timeouts(address: SocketAddr, timeouts: Value) -> Value {
    release(
        &[address],
        json!({"arms": {"stable": {"timeouts": timeouts}}}),
    )
}

fn client_timeouts(client: ClientTimeouts) -> ProxyOptions {
    ProxyOptions {
        client,
        ..ProxyOptions::default()
    }
}

#[test]
fn a_client_that_leaves_takes_its_request_with_it() {
    for half in [false, true] {
        let (backend, ended) = silent();
        let mut proxy = TestProxy::to(backend.address);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
        backend.seen();
        if half {
            client.end_sending();
            client.assert_closed();
        } else {
            client.abort();
        }
        ended.recv_timeout(crate::support::PATIENCE).unwrap();
        proxy.expect_outcomes(Arm::Stable, &[(Outcome::ClientAbort, 1)]);
    }
}

#[test]
fn a_client_that_was_kept_waiting_before_it_left_counts_against_the_arm() {
    let (backend, _ended) = silent();
    let mut proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    backend.seen();
    std::thread::sleep(Duration::from_millis(1_050));
    client.abort();
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Abandoned, 1)]);
}

#[test]
fn a_client_that_leaves_behind_a_large_upload_takes_its_request_with_it() {
    for size in [5_000, 20_000, 60_000, 300_000] {
        let (backend, told) = silent();
        let mut proxy = TestProxy::to(backend.address);
        let mut client = proxy.client();
        let head = format!("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {size}\r\n\r\n");
        client.send([head.into_bytes(), vec![7; size]].concat());
        backend.seen();
        client.abort();
        told.recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("behind {size} bytes nobody looks for the client"));
        proxy.expect_outcomes(Arm::Stable, &[(Outcome::ClientAbort, 1)]);
    }
}

#[test]
fn a_client_that_leaves_behind_its_upload_is_missed_while_an_early_answer_lasts() {
    let (events, told) = channel();
    let events = Mutex::new(events);
    let backend = Backend::start(move |connection, _| {
        let mut request = connection.head().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        request.read_body(&mut connection.reader, false).unwrap();
        events.lock().unwrap().send("read").unwrap();
        assert!(connection.ends());
        events.lock().unwrap().send("ended").unwrap();
    });
    let mut proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client
        .send("POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    assert_eq!(client.head().unwrap().unwrap().status(), 200);
    client.send("5\r\n-half\r\n0\r\n\r\n");
    assert_eq!(told.recv_timeout(PATIENCE), Ok("read"));
    // Until the proxy waits for both sides again.
    std::thread::sleep(SHORT / 4);
    client.abort();
    // Sooner than anything else wakes the exchange, which becomes long after ten seconds.
    assert_eq!(told.recv_timeout(Duration::from_secs(8)), Ok("ended"));
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::ClientAbort, 1)]);
}

#[test]
fn an_answer_that_waits_for_the_rest_of_its_request_does_not_stand_still() {
    let backend = Backend::start(|connection, _| {
        let mut request = connection.head().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
        request.read_body(&mut connection.reader, false).unwrap();
        connection.send("done");
    });
    let proxy = TestProxy::start(&[with_timeouts(backend.address, json!({"idleMs": 1_000}))]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut answer = client.head().unwrap().unwrap();
    for _ in 0..8 {
        std::thread::sleep(SHORT);
        client.send("1\r\nx\r\n");
    }
    client.send("0\r\n\r\n");
    client.body(&mut answer).unwrap();
    assert_eq!(answer.text(), "done");
}

#[test]
fn a_client_that_leaves_while_it_is_answered_is_its_own_affair() {
    let backend = Backend::start(|connection, _| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbeginning");
        assert!(connection.ends());
    });
    let mut proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    client.head().unwrap();
    client.abort();
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::ClientAbort, 1)]);
}

#[test]
fn an_answer_that_breaks_off_is_not_given_an_end() {
    for (head, version) in [
        ("Content-Length: 100\r\n", "1.1"),
        ("Content-Length: 100\r\n", "1.0"),
        ("Transfer-Encoding: chunked\r\n", "1.1"),
        ("Transfer-Encoding: chunked\r\n", "1.0"),
        ("", "1.1"),
        ("", "1.0"),
    ] {
        let backend = Backend::start(move |connection, _| {
            connection.request();
            connection.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n5\r\nhello\r\n"));
            // The reset must not overtake the bytes before it.
            std::thread::sleep(Duration::from_millis(50));
            connection.reset();
        });
        let mut proxy = TestProxy::to(backend.address);
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/{version}\r\nHost: shop\r\n\r\n"));
        let answer = client.head().unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        let rest = client.rest();
        if answer.get("content-length").is_some() {
            assert!(rest.unwrap().len() < 100, "{head} {version}");
        } else if answer.get("transfer-encoding").is_some() {
            assert!(!rest.unwrap().ends_with(b"0\r\n\r\n"), "{head} {version}");
        } else {
            assert!(
                rest.is_err(),
                "only a reset tells that a body without length is not whole: {head} {version}"
            );
        }
        proxy.expect_outcomes(Arm::Stable, &[(Outcome::BodyBrokenOff, 1)]);
    }
}

#[test]
fn an_idle_client_is_closed_without_a_word() {
    let backend = Backend::answering("ok");
    let options = client_timeouts(ClientTimeouts {
        idle: SHORT,
        ..ClientTimeouts::default()
    });
    let proxy = TestProxy::with(options, &[release(&[backend.address], json!({}))]);
    proxy.client().assert_closed();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    client.assert_closed();
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_a_408() {
    let backend = Backend::answering("ok");
    let options = client_timeouts(ClientTimeouts {
        head: SHORT,
        ..ClientTimeouts::default()
    });
    let proxy = TestProxy::with(options, &[release(&[backend.address], json!({}))]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: sh");
    let answer = client.answer();
    assert_eq!(
        (answer.status(), answer.get("connection")),
        (408, Some("close"))
    );
    client.assert_closed();
}

#[test]
fn an_empty_line_does_not_begin_a_request() {
    let backend = Backend::answering("ok");
    let options = client_timeouts(ClientTimeouts {
        idle: SHORT * 4,
        head: SHORT,
        ..ClientTimeouts::default()
    });
    let mut proxy = TestProxy::with(options, &[release(&[backend.address], json!({}))]);
    // Some clients put one behind a body. An answer that nobody asked for would be taken for the next one's.
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\nab\r\n");
    assert_eq!(client.answer().status(), 200);
    client.assert_closed();
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Status2xx, 1)]);
    let mut client = proxy.client();
    client.send("\r\nGET / HTTP/1.1\r\nHost: sh");
    assert_eq!(client.answer().status(), 408, "what follows it does");
}

#[test]
fn a_body_that_does_not_come_is_a_408() {
    let (backend, ended) = silent();
    let options = client_timeouts(ClientTimeouts {
        body: SHORT,
        ..ClientTimeouts::default()
    });
    let mut proxy = TestProxy::with(options, &[release(&[backend.address], json!({}))]);
    let websocket =
        "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    for (method, framing, connections) in [
        ("POST", "Content-Length: 10\r\n\r\nhalf", 0),
        ("GET", websocket, 0),
        ("POST", "Content-Length: 100000\r\n\r\npart", 1),
    ] {
        let mut client = proxy.client();
        client.send(format!("{method} / HTTP/1.1\r\nHost: shop\r\n{framing}"));
        let answer = client.answer();
        assert_eq!(
            (answer.status(), answer.get("connection")),
            (408, Some("close"))
        );
        assert_eq!(backend.connections(), connections, "{framing}");
    }
    ended.recv_timeout(crate::support::PATIENCE).unwrap();
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Refused408, 3)]);
}

#[test]
fn a_client_that_does_not_take_its_answer_is_closed() {
    let backend = Backend::start(|connection, _| {
        connection.request();
        connection.ok(vec![7; 64 << 20]);
    });
    let options = client_timeouts(ClientTimeouts {
        write: SHORT,
        ..ClientTimeouts::default()
    });
    let mut proxy = TestProxy::with(options, &[release(&[backend.address], json!({}))]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::ClientTimeout, 1)]);
}

#[test]
fn nothing_is_put_into_the_middle_of_an_interim_answer() {
    let hint = format!(
        "HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n",
        "x".repeat(32_600)
    );
    // As much as interim answers may be.
    let heads = hint.repeat(2);
    for (timeouts, outcome) in [
        // The client takes nothing in time, or the backend leaves while the client is still taking.
        (
            ClientTimeouts {
                write: SHORT,
                ..ClientTimeouts::default()
            },
            Outcome::ClientTimeout,
        ),
        (ClientTimeouts::default(), Outcome::Reset),
    ] {
        let sent = heads.clone();
        let backend = Backend::start(move |connection, _| {
            // An answer before it that leaves little room between proxy and client.
            connection.request();
            connection.ok("y".repeat(55_000));
            connection.request();
            connection.send(&sent);
            if outcome == Outcome::ClientTimeout {
                assert!(connection.ends());
            } else {
                // Until the proxy has read it all.
                std::thread::sleep(SHORT);
            }
        });
        let mut proxy = TestProxy::with(
            client_timeouts(timeouts),
            &[release(&[backend.address], json!({}))],
        );
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Small buffers at both ends.
        socket.set_tcp_mss(536).unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        // From an address of this process alone: of others the kernel remembers how much they take, and keeps as much.
        let own = Ipv4Addr::from_bits(0x7f40_0000 | std::process::id() & 0x3f_ffff);
        socket.bind(&SocketAddr::from((own, 0)).into()).unwrap();
        socket.connect(&proxy.address.into()).unwrap();
        let mut client = Client::over(socket.into());
        client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
        proxy.expect_outcomes(Arm::Stable, &[(Outcome::Status2xx, 1)]);
        client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
        proxy.expect_outcomes(Arm::Stable, &[(Outcome::Status2xx, 1), (outcome, 1)]);
        let mut received = Vec::new();
        let _ = client.read_on(&mut received);
        assert!(received.starts_with(b"HTTP/1.1 200"), "{outcome:?}");
        let hints = received
            .windows(12)
            .position(|bytes| bytes == b"HTTP/1.1 103")
            .unwrap_or(received.len());
        assert!(
            heads.as_bytes().starts_with(&received[hints..]),
            "{outcome:?}"
        );
    }
}

#[test]
fn an_answer_of_ours_follows_interim_answers_that_went_out_whole() {
    let (taken, first_taken) = channel();
    let first_taken = Mutex::new(first_taken);
    let backend = Backend::start(move |connection, _| {
        connection.request();
        connection.send("HTTP/1.1 103 Early Hints\r\n\r\n");
        first_taken.lock().unwrap().recv().unwrap();
        // In one segment: the second interim answer is not written yet when the exchange fails.
        connection.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 what?\r\n\r\n");
        connection.ends();
    });
    let mut proxy = TestProxy::start(&[release(&[backend.address], json!({}))]);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 103);
    taken.send(()).unwrap();
    assert_eq!(client.answer().status(), 502);
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::MalformedResponse, 1)]);
}

#[test]
fn a_timer_runs_only_against_the_side_that_is_waited_for() {
    const LARGE: usize = 32 << 20;
    let wait = SHORT * 3;
    let backend = Backend::start(move |connection, _| {
        let mut request = connection.head().unwrap();
        std::thread::sleep(wait);
        request.read_body(&mut connection.reader, false).unwrap();
        connection.ok(request.body);
    });
    let options = client_timeouts(ClientTimeouts {
        body: SHORT,
        ..ClientTimeouts::default()
    });
    let mut proxy = TestProxy::with(
        options,
        &[with_timeouts(backend.address, json!({"idleMs": 200}))],
    );
    let mut client = proxy.client();
    let mut sender = client.stream().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let head = format!("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {LARGE}\r\n\r\n");
        sender.write_all(head.as_bytes()).unwrap();
        // The backend is slow to take it, which is not the client's fault.
        sender.write_all(&vec![7; LARGE]).unwrap();
    });
    sending.join().unwrap();
    let answer = client.head().unwrap().unwrap();
    // The client is slow to take the answer, which is not the backend's fault.
    std::thread::sleep(wait);
    assert_eq!((answer.status(), client.bytes(LARGE).len()), (200, LARGE));
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Status2xx, 1)]);
}

/// An address that takes connections into a queue which is full, so that connecting hangs.
fn unreachable() -> (SocketAddr, Vec<TcpStream>, Socket) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        held.push(stream);
    }
    (address, held, socket)
}

#[test]
fn where_connecting_takes_too_long_another_endpoint_is_asked() {
    let (address, _held, _socket) = unreachable();
    let backend = Backend::answering("ok");
    let arms = json!({"arms": {"stable": {"timeouts": {"connectMs": 200}}}});
    let mut proxy = TestProxy::start(&[release(&[address], arms.clone())]);
    assert_eq!(proxy.client().get("/").status(), 502);
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::ConnectFailure, 1)]);
    let proxy = TestProxy::start(&[release(&[address, backend.address], arms)]);
    for _ in 0..5 {
        assert_eq!(proxy.client().get("/").text(), "ok");
    }
}

#[test]
fn an_answer_that_does_not_begin_is_a_504_and_not_asked_for_again() {
    let (backend, ended) = silent();
    let mut proxy = TestProxy::start(&[with_timeouts(
        backend.address,
        json!({"responseHeadMs": 200}),
    )]);
    let mut client = proxy.client();
    let answer = client.get("/");
    assert_eq!((answer.status(), answer.get("connection")), (504, None));
    ended.recv_timeout(crate::support::PATIENCE).unwrap();
    assert_eq!(backend.connections(), 1);
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::ResponseTimeout, 1)]);
}

#[test]
fn after_an_answer_that_did_not_come_idle_connections_are_not_trusted() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |connection, number| {
        while let Some(request) = connection.request() {
            match request.target() {
                "/hold" => wait.lock().unwrap().recv().unwrap(),
                "/hang" => return assert!(connection.ends()),
                _ => {}
            }
            connection.ok(number.to_string());
        }
    });
    let proxy = TestProxy::start(&[with_timeouts(
        backend.address,
        json!({"responseHeadMs": 400}),
    )]);
    let (mut one, mut two) = (proxy.client(), proxy.client());
    two.send("GET /hold HTTP/1.1\r\nHost: shop\r\n\r\n");
    backend.seen();
    assert_eq!(one.get("/").text(), "1", "the first connection is busy");
    go.send(()).unwrap();
    assert_eq!(two.answer().text(), "0");
    assert_eq!(
        one.get("/hang").status(),
        504,
        "on the connection used last"
    );
    assert_eq!(
        one.get("/").text(),
        "2",
        "and the other one is not used any more"
    );
}

#[test]
fn a_body_that_stands_still_is_cut() {
    let backend = Backend::start(|connection, _| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbeginning");
        connection.ends();
    });
    let mut proxy = TestProxy::start(&[with_timeouts(backend.address, json!({"idleMs": 200}))]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    client.head().unwrap();
    assert_eq!(client.rest().unwrap(), b"beginning");
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::BodyIdle, 1)]);
}

/// A backend that answers each request only when it is told to.
fn waiting() -> (Backend, Sender<()>) {
    let (go, wait) = channel();
    let wait = Arc::new(Mutex::new(wait));
    let backend = Backend::start(move |connection, _| {
        while connection.request().is_some() {
            wait.lock().unwrap().recv().unwrap();
            connection.ok("ok");
        }
    });
    (backend, go)
}

#[test]
fn a_client_that_is_slow_with_its_own_request_has_kept_itself_waiting() {
    let (backend, _ended) = silent();
    let mut proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\nbeginning");
    std::thread::sleep(Duration::from_millis(1_050));
    client.send("more");
    client.abort();
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::ClientAbort, 1)]);
}

#[test]
fn what_is_under_way_for_one_arm_is_no_limit_for_the_other_of_the_same_backend() {
    let (backend, go) = waiting();
    let force = |revision, force: &str| {
        let gray = json!({"addresses": [backend.address], "version": "v2", "maxInFlight": 1});
        release(
            &[backend.address],
            json!({
                "revision": revision, "state": "Active", "ratio": 500_000, "force": force,
                "arms": {"gray": gray},
            }),
        )
    };
    let mut proxy = TestProxy::start(&[force(1, "Stable")]);
    let mut busy = proxy.client();
    busy.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    backend.seen();
    proxy.apply(&[force(2, "Gray")]);
    let mut gray = proxy.client();
    gray.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    backend.seen();
    assert_eq!(
        proxy.client().get("/").status(),
        503,
        "the second one for gray"
    );
    go.send(()).unwrap();
    go.send(()).unwrap();
    for client in [&mut busy, &mut gray] {
        assert_eq!(client.answer().status(), 200);
    }
    proxy.expect_outcomes(
        Arm::Gray,
        &[(Outcome::Status2xx, 1), (Outcome::Overload, 1)],
    );
}

#[test]
fn requests_beyond_max_in_flight_are_refused_at_once() {
    let (backend, go) = waiting();
    let arms = json!({"arms": {"stable": {"maxInFlight": 2}}});
    let mut proxy = TestProxy::start(&[release(&[backend.address], arms)]);
    let mut busy = [proxy.client(), proxy.client()];
    for client in &mut busy {
        client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
        backend.seen();
    }
    let mut third = proxy.client();
    assert_eq!(third.get("/").status(), 503);
    go.send(()).unwrap();
    go.send(()).unwrap();
    for client in &mut busy {
        assert_eq!(client.answer().status(), 200);
    }
    go.send(()).unwrap();
    assert_eq!(
        third.get("/").status(),
        200,
        "the refused client keeps its connection"
    );
    proxy.expect_outcomes(
        Arm::Stable,
        &[(Outcome::Status2xx, 3), (Outcome::Overload, 1)],
    );
}

fn limited(address: SocketAddr, latency: Value) -> Value {
    release(&[address], json!({"limits": {"latency": latency}}))
}

fn events(proxy: &mut TestProxy, quantile: Quantile) -> (u64, u64) {
    let counts = proxy.counts();
    let events = counts
        .get(&Arm::Stable)
        .and_then(|counts| counts.limits.get(&quantile))
        .copied();
    events.map_or((0, 0), |events| (events.within, events.over))
}

#[test]
fn each_request_gives_one_event_for_each_limit() {
    let (backend, go) = waiting();
    let mut proxy =
        TestProxy::start(&[limited(backend.address, json!({"p50": 100, "p99": 60_000}))]);
    let mut client = proxy.client();
    go.send(()).unwrap();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(
        (
            events(&mut proxy, Quantile::P50),
            events(&mut proxy, Quantile::P99)
        ),
        ((1, 0), (1, 0))
    );
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    // Counted when the limit passes, not when the answer comes.
    proxy.wait_for("over", |counts| {
        counts[&Arm::Stable].limits[&Quantile::P50].over == 1
    });
    go.send(()).unwrap();
    assert_eq!(client.answer().status(), 200);
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Status2xx, 2)]);
    assert_eq!(
        (
            events(&mut proxy, Quantile::P50),
            events(&mut proxy, Quantile::P99)
        ),
        ((1, 1), (2, 0))
    );
}

#[test]
fn a_client_that_leaves_before_a_limit_gives_no_event_for_it() {
    let (backend, _ended) = silent();
    let mut proxy = TestProxy::start(&[limited(backend.address, json!({"p99": 60_000}))]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    backend.seen();
    client.abort();
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::ClientAbort, 1)]);
    assert_eq!(events(&mut proxy, Quantile::P99), (0, 0));
}

#[test]
fn statuses_are_counted_as_the_release_sees_them() {
    let backend = Backend::start(|connection, _| {
        while let Some(request) = connection.request() {
            let status = &request.target()[1..];
            connection.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let limits = json!({"limits": {"errorStatuses": ["500", "418"]}});
    let mut proxy = TestProxy::start(&[release(&[backend.address], limits)]);
    let mut client = proxy.client();
    for status in [200, 204, 302, 404, 429, 500, 418, 503] {
        assert_eq!(client.get(&format!("/{status}")).status(), status);
    }
    proxy.expect_outcomes(
        Arm::Stable,
        &[
            (Outcome::Status2xx, 2),
            (Outcome::Status3xx, 1),
            (Outcome::Status4xx, 1),
            (Outcome::Status429, 1),
            (Outcome::ErrorStatus, 2),
            (Outcome::Status5xx, 1),
        ],
    );
}

#[test]
fn failures_of_gray_tell_their_statuses_and_how_many_users_they_reached() {
    let backend = Backend::start(|connection, _| {
        while let Some(request) = connection.request() {
            let status = &request.target()[1..];
            connection.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let document = |revision, ratio| {
        let arms = json!({"gray": {"addresses": [backend.address], "version": "v2"}});
        let identity = json!({"from": [{"header": "X-User-Name"}]});
        let changes = json!({"revision": revision, "state": "Active", "ratio": ratio, "arms": arms, "identity": identity});
        release(&[backend.address], changes)
    };
    let mut proxy = TestProxy::start(&[document(1, 1_000_000)]);
    let mut client = proxy.client();
    let mut ask = |user: &str, status: u16| {
        client.send(format!(
            "GET /{status} HTTP/1.1\r\nHost: shop\r\nX-User-Name: {user}\r\n\r\n"
        ));
        assert_eq!(client.answer().status(), status);
    };
    for (user, status) in [
        ("lin", 500),
        ("lin", 503),
        ("wei", 503),
        ("lin", 200),
        ("ana", 200),
        ("bob", 404),
    ] {
        ask(user, status);
    }
    proxy.wait_for("two users met three failures", |counts| {
        counts.get(&Arm::Gray).is_some_and(|gray| {
            (&gray.error_statuses, gray.failed_users.estimate())
                == (&[(500, 1), (503, 2)].into(), 2)
                && gray.requests() == 6
        })
    });
    proxy.apply(&[document(2, 0)]);
    ask("lin", 500);
    proxy.wait_for(
        "stable's failures tell their status, and nobody they reached",
        |counts| {
            let stable = counts.get(&Arm::Stable);
            stable.is_some_and(|stable| {
                stable.error_statuses == [(500, 1)].into() && stable.failed_users.is_empty()
            })
        },
    );
}

#[test]
fn a_listener_is_not_shared_with_another_program() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, error) =
        halftone_proxy::worker::Listeners::bind(&[taken.local_addr().unwrap()], 2).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}
