//! Who takes a connection in, and what happens when there are too many of them.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use halftone_proxy::settings::ClientTimeouts;
use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};

use crate::support::{Backend, Client, PATIENCE, ProxyOptions, TestProxy, release};
use crate::unfinished::{WEBSOCKET, granting};

/// Connects from a port of the client's own choice, 0 for a free one. The address is this process's own: at 127.0.0.1
/// thousands of ports are waited out by what other tests have closed.
fn connect_from(port: u16, to: SocketAddr) -> Client {
    let own = Ipv4Addr::from_bits(0x7f80_0000 | std::process::id() & 0x7f_ffff);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((own, port)).into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    Client::over(socket.into())
}

/// Ports from which connections arrive at the first worker: the kernel chooses by a hash of both ends, which is the
/// same every time.
fn ports_of_first_worker(proxy: &TestProxy, n: usize) -> Vec<u16> {
    let mut ports = Vec::new();
    while ports.len() < n {
        let client = connect_from(0, proxy.address);
        let port = client.stream().local_addr().unwrap().port();
        while proxy.connections() == 0 {
            std::thread::yield_now();
        }
        if proxy.workers().connections()[0] == 1 && !ports.contains(&port) {
            ports.push(port);
        }
        // A reset leaves the port free.
        client.abort();
        proxy.expect_connections(&[0, 0]);
    }
    ports
}

#[test]
fn a_worker_that_holds_too_many_connections_hands_them_over() {
    let backend = Backend::answering("ok");
    let document = release(&[backend.address], json!({}));
    let proxy = TestProxy::with(
        ProxyOptions {
            workers: 2,
            ..ProxyOptions::default()
        },
        &[document],
    );
    let ports = ports_of_first_worker(&proxy, 24);
    let mut clients: Vec<_> = ports
        .into_iter()
        .map(|port| connect_from(port, proxy.address))
        .collect();
    // What was sent before the socket changed hands is read all the same.
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer().text(), "ok");
        assert_eq!(client.get("/").text(), "ok");
    }
    let held = proxy.workers().connections();
    assert_eq!(held.iter().sum::<usize>(), clients.len());
    // 1.25 × the mean + 1, and the one that made it so many.
    assert!(
        held[0] as f64 <= 1.25 * clients.len() as f64 / 2.0 + 2.0,
        "{held:?}"
    );
    assert!(held[1] > 0, "{held:?}");
}

fn is_silent(client: &Client) -> bool {
    let stream = SockRef::from(client.stream());
    stream.set_nonblocking(true).unwrap();
    let peeked = client.stream().peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// A backend that keeps requests for `/held` under way until it is opened.
pub(crate) fn gated() -> (Backend, Gate) {
    let gate = Gate::default();
    let waited = gate.clone();
    let backend = Backend::start(move |connection, _| {
        while let Some(request) = connection.request() {
            if request.start.contains("/held") {
                waited.pass();
            }
            connection.ok("ok");
        }
    });
    (backend, gate)
}

#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let (open, opened) = &*self.0;
        drop(
            opened
                .wait_timeout_while(open.lock().unwrap(), PATIENCE, |open| !*open)
                .unwrap(),
        );
    }
}

fn held(backend: &Backend, proxy: &TestProxy) -> Client {
    let mut client = proxy.client();
    client.send("GET /held HTTP/1.1\r\nHost: shop\r\n\r\n");
    backend.seen();
    client
}

#[test]
fn beyond_max_connections_clients_wait_and_are_served_when_there_is_room() {
    let (backend, gate) = gated();
    let options = ProxyOptions {
        max_connections: 3,
        ..ProxyOptions::default()
    };
    let proxy = TestProxy::with(options, &[release(&[backend.address], json!({}))]);
    let mut held: Vec<_> = (0..3).map(|_| held(&backend, &proxy)).collect();
    let mut waiting: Vec<_> = (0..6).map(|_| proxy.client()).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    }
    for _ in 0..100 {
        assert_eq!(proxy.connections(), 3);
        assert!(waiting.iter().all(is_silent) && !backend.has_seen_more());
        std::thread::sleep(Duration::from_millis(5));
    }
    gate.open();
    held.iter_mut()
        .for_each(|client| assert_eq!(client.answer().text(), "ok"));
    held.truncate(1);
    // Each that is served makes room for the next.
    for mut client in waiting {
        assert_eq!(client.answer().text(), "ok");
    }
}

#[test]
fn when_all_places_are_taken_those_who_do_nothing_make_room_and_requests_under_way_do_not() {
    let (backend, gate) = gated();
    let options = ProxyOptions {
        max_connections: 10,
        ..ProxyOptions::default()
    };
    let proxy = TestProxy::with(options, &[release(&[backend.address], json!({}))]);
    let mut busy = held(&backend, &proxy);
    let mut idle: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    idle.iter_mut()
        .for_each(|client| assert_eq!(client.get("/").text(), "ok"));
    let silent: Vec<_> = (0..5).map(|_| proxy.client()).collect();
    proxy.expect_connections(&[10]);
    // One after the other, each of which stays.
    let mut newcomers: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    for client in &mut newcomers {
        assert_eq!(client.get("/").text(), "ok");
    }
    gate.open();
    assert_eq!(
        busy.answer().text(),
        "ok",
        "who waits for an answer keeps the place"
    );
    drop((idle, silent));
}

#[test]
fn a_full_proxy_frees_the_places_of_tunnels_idle_for_longest_when_there_is_nobody_else() {
    let backend = granting();
    let options = ProxyOptions {
        max_connections: 4,
        ..ProxyOptions::default()
    };
    let proxy = TestProxy::with(options, &[release(&[backend.address], json!({}))]);
    let mut tunnels: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut tunnels {
        assert_eq!(client.send(WEBSOCKET).answer().status(), 101);
    }
    assert_eq!(proxy.client().get("/").text(), "ok");
    tunnels[0].assert_closed();
    assert!(is_silent(&tunnels[3]), "the one that was opened last stays");
}

#[test]
fn unfinished_heads_share_a_bounded_memory_and_the_slowest_end_first() {
    let backend = Backend::answering("ok");
    let client = ClientTimeouts {
        head: Duration::from_secs(600),
        ..ClientTimeouts::default()
    };
    let options = ProxyOptions {
        max_held_bytes: 128 << 10,
        client,
        ..ProxyOptions::default()
    };
    let proxy = TestProxy::with(options, &[release(&[backend.address], json!({}))]);
    // Each takes 29 KiB of memory; four of them fit.
    let head = format!(
        "GET / HTTP/1.1\r\nHost: shop\r\n{}",
        "X-Pad: 0123456789012345678901234567890\r\n".repeat(120)
    );
    let filler = format!("X-Long: {}", "x".repeat(24 << 10));
    let mut clients = Vec::new();
    for n in 0..8_usize {
        let mut client = proxy.client();
        client.send(format!("{head}{filler}"));
        clients.push(client);
        if let Some(slowest) = n.checked_sub(4) {
            assert_eq!(clients[slowest].answer().status(), 408, "{slowest}");
        }
    }
    for client in &mut clients[4..] {
        assert_eq!(client.send("\r\n\r\n").answer().text(), "ok");
    }
}
