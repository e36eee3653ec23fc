//! How often the traffic path asks the allocator for memory: counted, so that a change that asks once more for each
//! request is seen, however fast the allocator is. The proxy's worker is the only thread here that allocates while
//! requests are counted; client and backend use what they have made before. One test, since the whole process is
//! counted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

#[path = "../support/kit.rs"]
mod support;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{TestProxy, release};

/// How often memory is asked for does not depend on whom it is asked from.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What was decided of it, its future, and its exchange: three pieces, since each is at most 1 KiB and the allocator hands
/// out such at once. They are a request's alone, so that an idle connection does without. Buffers are lent.
const PER_REQUEST: usize = 3;

/// Before counting: connections are made, buffers and tables have grown.
const WARM_UP: usize = 2_000;
const COUNTED: usize = 2_000;
/// What the first and the last request counted may owe to the one before, and timers: the slower the machine, the more
/// of them go off, so that several series are counted and one without disturbance is enough.
const SLACK: usize = 20;
const SERIES: usize = 3;

const BODY: usize = 16 << 10;
const ANSWER: usize = 1_024;

#[test]
fn a_request_over_open_connections_allocates_the_three_pieces_that_hold_it_and_no_more() {
    let [stable, gray] = [backend(), backend()];
    let proxy = TestProxy::start(&[release(
        &[stable],
        json!({
            "state": "Active",
            "moving": true,
            "ratio": 100_000,
            "arms": {"gray": {"addresses": [gray], "version": "v2"}},
            "identity": {"from": [
                {"header": "X-User-Name"},
                {"query": "user_name"},
                {"cookie": "user_name"},
                {"generated": {"cookie": "halftone_id", "maxAgeMs": 2_592_000_000_u64}},
            ]},
            "limits": {"latency": {"p99": 500}},
        }),
    )]);
    let mut client = TcpStream::connect(proxy.address).unwrap();
    client.set_nodelay(true).unwrap();
    for (what, requests) in [("GET", gets()), ("POST of 16 KiB", posts())] {
        ask(&mut client, &requests, WARM_UP);
        let counts = [(); SERIES].map(|()| allocations(&mut client, &requests));
        let is_expected = |&(made, grown): &(usize, usize)| {
            made.abs_diff(PER_REQUEST * COUNTED) <= SLACK && grown <= SLACK
        };
        assert!(
            counts.iter().any(is_expected),
            "{COUNTED} times {what}: (allocations, grown) {counts:?}; expected {PER_REQUEST} each"
        );
    }
}

/// How often `COUNTED` requests asked for memory, and for more of what they had.
fn allocations(client: &mut TcpStream, requests: &[Vec<u8>]) -> (usize, usize) {
    let region = Region::new(ALLOCATOR);
    ask(client, requests, COUNTED);
    let change = region.change();
    (change.allocations, change.reallocations)
}

/// The request of a browser, for each of some users.
fn users(request: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
    (0..50).map(|user| request(user).into_bytes()).collect()
}

fn fields(user: usize) -> String {
    format!(
        "Host: shop.example.com\r\nConnection: keep-alive\r\n\
         sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0.0.0 Safari/537.36\r\n\
         Accept: application/json, text/plain, */*\r\nX-User-Name: user-{user}\r\n\
         Sec-Fetch-Site: same-origin\r\nReferer: https://shop.example.com/checkout?step=2\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
         Cookie: session=6f1d7c0a8e5b4f6fa0b1c2d3e4f50617; theme=dark\r\n"
    )
}

fn gets() -> Vec<Vec<u8>> {
    users(|user| {
        format!(
            "GET /api/cart/items?page=1 HTTP/1.1\r\n{}\r\n",
            fields(user)
        )
    })
}

fn posts() -> Vec<Vec<u8>> {
    let body = "p".repeat(BODY);
    users(|user| {
        format!(
            "POST /api/cart/items HTTP/1.1\r\n{}Content-Length: {BODY}\r\n\r\n{body}",
            fields(user)
        )
    })
}

/// Sends `count` requests, each after the answer to the one before.
fn ask(client: &mut TcpStream, requests: &[Vec<u8>], count: usize) {
    let mut answer = [0; 4 * ANSWER];
    for request in requests.iter().cycle().take(count) {
        client.write_all(request).unwrap();
        let mut read = 0;
        let head = loop {
            read += client.read(&mut answer[read..]).unwrap();
            if let Some(end) = end_of_head(&answer[..read]) {
                break end;
            }
        };
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
        client.read_exact(&mut answer[read..head + ANSWER]).unwrap();
    }
}

/// Answers every request of every connection, without allocating once a connection is open.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || answer_all(stream));
        }
    });
    address
}

fn answer_all(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + ANSWER, b'a');
    let mut request = vec![0; 2 * BODY];
    let mut read = 0;
    while let Ok(count @ 1..) = stream.read(&mut request[read..]) {
        read += count;
        let Some(head) = end_of_head(&request[..read]) else {
            continue;
        };
        let body = if request.starts_with(b"POST ") {
            BODY
        } else {
            0
        };
        if read == head + body {
            stream.write_all(&answer).unwrap();
            read = 0;
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
}
