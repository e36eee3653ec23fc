//! How much memory the traffic path and the admin pages hold, measured on the whole process with the allocator that the
//! proxy is built with. One test at a time, and nothing else in this program, since all of it is measured.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]
#![allow(
    clippy::print_stdout,
    reason = "measured figures are part of what the test says"
)]

#[path = "../support/kit.rs"]
mod support;

mod pages;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use support::{Backend, Client, ProxyOptions, TestProxy, release};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tells a copy of this program to be the clients of the proxy at that address.
const CLIENTS_OF: &str = "HALFTONE_TEST_CLIENTS_OF";
const IDLE: usize = 10_000;
/// What such a client sends instead of a whole request, if anything.
const SENDS: &str = "HALFTONE_TEST_UNFINISHED";
/// What a connection with an unfinished request may cost beside the bytes that it has sent.
const BYTES_PER_UNFINISHED: usize = 8 * 1024;
/// What an idle connection may cost.
const BYTES_PER_IDLE: usize = 4 * 1024;

const LARGE: usize = 1_200 << 20;
/// What moving a large body may cost: two buffers, and what the allocator and the test's own threads need.
const BYTES_FOR_LARGE: usize = 8 << 20;

/// What searching for every regular expression of a document may cost with [`SEARCHERS`] workers: 8 MiB of automata for
/// each, what the allocator rounds up, and the document.
const BYTES_FOR_SEARCHES: usize = 72 << 20;
const SEARCHERS: usize = 4;

/// Clients that never end their heads of 31 KiB: 93 MiB.
const UNFINISHED: usize = 3_000;
/// What such heads may hold, and what they may cost with buffers kept for later and the connections themselves.
const HEAD_BYTES: usize = 32 << 20;
const BYTES_FOR_HEADS: usize = 72 << 20;

fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .unwrap();
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim()
        .trim_end_matches(" kB")
        .parse::<usize>()
        .unwrap()
        * 1024
}

#[test]
fn an_idle_connection_costs_little() {
    if let Ok(address) = std::env::var(CLIENTS_OF) {
        return be_idle_clients(address.parse().unwrap());
    }
    let each = cost_of_each("an_idle_connection_costs_little", "");
    assert!(each <= BYTES_PER_IDLE, "{each} bytes per idle connection");
}

#[test]
fn an_unfinished_request_costs_little() {
    if let Ok(address) = std::env::var(CLIENTS_OF) {
        return be_idle_clients(address.parse().unwrap());
    }
    let name = "an_unfinished_request_costs_little";
    let part = "x".repeat(6_000);
    for request in [
        "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 16000\r\n\r\n1".to_owned(),
        format!("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 16000\r\n\r\n{part}"),
        format!("GET / HTTP/1.1\r\nHost: shop\r\nX-Part: {part}"),
    ] {
        let each = cost_of_each(name, &request);
        let most = BYTES_PER_UNFINISHED + request.len();
        assert!(
            each <= most,
            "{each} bytes for each {} of an unfinished request",
            request.len()
        );
    }
}

/// What each of many connections costs that send this and no more; nothing: they are idle after a request.
fn cost_of_each(test: &str, sends: &str) -> usize {
    let _alone = alone();
    let backend = Backend::answering("ok");
    let proxy = TestProxy::to(backend.address);
    // What the first connections make once and for all is not theirs.
    let mut warm: Vec<_> = (0..100).map(|_| proxy.client()).collect();
    warm.iter_mut()
        .for_each(|client| assert_eq!(client.get("/").status(), 200));
    drop(warm);
    while proxy.connections() > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let before = resident();
    let mut clients = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CLIENTS_OF, proxy.address.to_string())
        .env(SENDS, sends)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(clients.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap() == "idle"),
        "the clients got their answers"
    );
    // Answered after all that has come before.
    assert_eq!(proxy.client().get("/").status(), 200);
    let each = resident().saturating_sub(before) / IDLE;
    println!(
        "{each} bytes per connection that has sent {} bytes",
        sends.len()
    );
    drop(clients.stdin.take());
    assert!(clients.wait().unwrap().success());
    each
}

/// Opens connections, uses each once, and keeps them until standard input ends.
fn be_idle_clients(address: SocketAddr) {
    drop(alone());
    let unfinished = std::env::var(SENDS).unwrap();
    let clients: Vec<_> = (0..IDLE)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            if !unfinished.is_empty() {
                stream.write_all(unfinished.as_bytes()).unwrap();
                return stream;
            }
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
                .unwrap();
            let mut answer = [0; 512];
            let n = stream.read(&mut answer).unwrap();
            assert!(answer[..n].starts_with(b"HTTP/1.1 200"));
            stream
        })
        .collect();
    println!("\nidle");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(clients);
}

/// The most memory in use, beyond what was in use before, while `f` runs.
fn growth(f: impl FnOnce()) -> usize {
    /// Also where `f` panics, or its thread would be waited for without end.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    let before = resident();
    let most = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                most.fetch_max(resident(), Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let _over = Over(&over);
        f();
    });
    most.load(Relaxed).saturating_sub(before)
}

#[test]
fn a_body_of_more_than_a_gigabyte_passes_in_flat_memory() {
    let _alone = alone();
    let backend = Backend::start(|connection, _| {
        while let Some(request) = connection.head() {
            let mut piece = vec![7; 1 << 20];
            if request.method() == "GET" {
                connection.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"
                ));
                (0..LARGE / piece.len()).for_each(|_| connection.send(&piece));
                continue;
            }
            (0..LARGE / piece.len())
                .for_each(|_| connection.reader.read_exact(&mut piece).unwrap());
            connection.ok("all of it");
        }
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    let mut piece = vec![0; 1 << 20];
    assert_eq!(client.get_head("/warm-up").status(), 200);
    client.read_exact(&mut piece);
    let download = growth(|| (1..LARGE / piece.len()).for_each(|_| client.read_exact(&mut piece)));
    let upload = growth(|| {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {LARGE}\r\n\r\n"
        ));
        (0..LARGE / piece.len()).for_each(|_| {
            client.send(&piece);
        });
        assert_eq!(client.answer().text(), "all of it");
    });
    println!("{download} bytes more during the download, {upload} during the upload");
    assert!(
        download <= BYTES_FOR_LARGE && upload <= BYTES_FOR_LARGE,
        "{download}, {upload}"
    );
    let _: Client = client;
}

/// 500 expressions in 25 KB, each of which would build an automaton of hundreds of kilobytes.
fn hungry_document(backend: SocketAddr) -> Value {
    let values: Vec<_> = (0..500)
        .map(|n| format!("(?-u)[a-m][^{}]{{0,12}}[n-z]{n}$", ["a", "b", "c"][n % 3]))
        .collect();
    let rule = |(at, values): (usize, &[String])| {
        let condition =
            json!({"source": "Header", "name": "X-Text", "operator": "Regex", "values": values});
        json!({"name": format!("r{at}"), "to": "Stable", "when": [{"all": [condition]}]})
    };
    let rules: Vec<Value> = values.chunks(250).enumerate().map(rule).collect();
    release(&[backend], json!({"rules": rules}))
}

#[test]
fn a_document_full_of_regular_expressions_takes_little_memory_whatever_they_are_compared_with() {
    let _alone = alone();
    let backend = Backend::answering("ok");
    let options = ProxyOptions {
        workers: SEARCHERS,
        ..ProxyOptions::default()
    };
    let proxy = TestProxy::with(options, &[hungry_document(backend.address)]);
    let mut clients: Vec<_> = (0..2 * SEARCHERS).map(|_| proxy.client()).collect();
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.get("/warm-up").status(), 200));
    let mut seed = 1_u64;
    let mut letter = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + u8::try_from((seed >> 33) % 26).unwrap())
    };
    let searching = growth(|| {
        for _ in 0..6 {
            for client in &mut clients {
                let text: String = (0..1000).map(|_| letter()).collect();
                let request = format!("GET / HTTP/1.1\r\nHost: shop\r\nX-Text: {text}\r\n\r\n");
                assert_eq!(client.send(request).answer().status(), 200);
            }
        }
    });
    println!("{searching} bytes more for 500 regular expressions and {SEARCHERS} workers");
    assert!(searching <= BYTES_FOR_SEARCHES, "{searching}");
}

#[test]
fn heads_that_never_end_take_no_more_memory_than_they_may() {
    let _alone = alone();
    let backend = Backend::answering("ok");
    let options = ProxyOptions {
        max_held_bytes: HEAD_BYTES,
        ..ProxyOptions::default()
    };
    let proxy = TestProxy::with(options, &[release(&[backend.address], json!({}))]);
    assert_eq!(proxy.client().get("/warm-up").status(), 200);
    let head = format!(
        "GET / HTTP/1.1\r\nHost: shop\r\nX-Long: {}",
        "x".repeat(31 << 10)
    );
    let mut clients = Vec::with_capacity(UNFINISHED);
    let heads = growth(|| {
        for _ in 0..UNFINISHED {
            let mut client = std::net::TcpStream::connect(proxy.address).unwrap();
            // Some are ended already when the last are sent.
            let _ = client.write_all(head.as_bytes());
            clients.push(client);
        }
        assert_eq!(proxy.client().get("/others").status(), 200);
    });
    println!("{heads} bytes more for {UNFINISHED} unfinished heads");
    assert!(heads <= BYTES_FOR_HEADS, "{heads}");
}

/// Clients that take nothing of their answers, and what those may hold beside what each connection costs.
const LAZY: usize = 1_000;
const ANSWER_BYTES: usize = 16 << 20;
const BYTES_FOR_ANSWERS: usize = 40 << 20;

/// A backend of one thread, since a thread for each connection would cost more than what is measured. Each answer has
/// 8 MiB.
fn answering_all_at_once() -> SocketAddr {
    static PIECE: [u8; 1 << 20] = [7; 1 << 20];
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let mut open: Vec<(std::net::TcpStream, usize)> = Vec::new();
        loop {
            while let Ok((mut stream, _)) = listener.accept() {
                stream.read_exact(&mut [0; 16]).unwrap();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    8 * PIECE.len()
                );
                stream.write_all(head.as_bytes()).unwrap();
                stream.set_nonblocking(true).unwrap();
                open.push((stream, 0));
            }
            for (stream, sent) in &mut open {
                while *sent < 8 * PIECE.len()
                    && let Ok(n @ 1..) = stream.write(&PIECE[*sent % PIECE.len()..])
                {
                    *sent += n;
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    address
}

#[test]
fn answers_that_nobody_takes_hold_no_more_memory_than_they_may() {
    let _alone = alone();
    let address = answering_all_at_once();
    let options = ProxyOptions {
        max_held_bytes: ANSWER_BYTES,
        ..ProxyOptions::default()
    };
    let places = json!({"arms": {"stable": {"maxInFlight": 2 * LAZY}}});
    let proxy = TestProxy::with(options, &[release(&[address], places)]);
    assert_eq!(proxy.client().get_head("/warm-up").status(), 200);
    let mut clients = Vec::with_capacity(LAZY);
    let answers = growth(|| {
        for _ in 0..LAZY {
            let mut client = std::net::TcpStream::connect(proxy.address).unwrap();
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
                .unwrap();
            clients.push(client);
        }
        // Longer than it takes until they are known to take nothing.
        std::thread::sleep(Duration::from_secs(4));
        // The backend is one thread, and may be too busy with them to accept a connection in time.
        let served = (0..100).any(|_| proxy.client().get_head("/others").status() == 200);
        assert!(served, "others are served");
    });
    println!("{answers} bytes more for {LAZY} answers that nobody takes");
    assert!(answers <= BYTES_FOR_ANSWERS, "{answers}");
}

/// Requests whose clients send more ahead than a small buffer takes, and what that may hold beside what each costs.
const AHEAD: usize = 1_000;
const AHEAD_BYTES: usize = 8 << 20;
const BYTES_FOR_AHEAD: usize = 32 << 20;

/// A backend that takes every connection and never answers.
fn silent() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    address
}

#[test]
fn what_clients_send_ahead_holds_no_more_memory_than_it_may() {
    let _alone = alone();
    for method in ["GET", "PUT"] {
        let (backend, waiting) = (Backend::answering("ok"), silent());
        let options = ProxyOptions {
            max_held_bytes: AHEAD_BYTES,
            ..ProxyOptions::default()
        };
        let rest =
            json!({"release": {"uid": "local/shop/rest", "name": "rest"}, "hosts": ["others"]});
        let proxy = TestProxy::with(
            options,
            &[
                release(&[waiting], json!({})),
                release(&[backend.address], rest),
            ],
        );
        let others = "GET / HTTP/1.1\r\nHost: others\r\n\r\n";
        assert_eq!(proxy.client().send(others).answer().status(), 200);
        let length = if method == "PUT" { 60 << 10 } else { 0 };
        let sent = format!("{method} / HTTP/1.1\r\nHost: shop\r\nContent-Length: {length}\r\n\r\n");
        let sent = sent + &"x".repeat(60 << 10);
        let mut clients = Vec::with_capacity(AHEAD);
        let ahead = growth(|| {
            for _ in 0..AHEAD {
                let mut client = std::net::TcpStream::connect(proxy.address).unwrap();
                client.write_all(sent.as_bytes()).unwrap();
                clients.push(client);
            }
            assert_eq!(proxy.client().send(others).answer().status(), 200);
        });
        println!(
            "{ahead} bytes more for {AHEAD} times {} bytes of {method}",
            sent.len()
        );
        assert!(ahead <= BYTES_FOR_AHEAD, "{ahead} for {method}");
    }
}
