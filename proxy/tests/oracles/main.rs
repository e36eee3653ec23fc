//! Real servers behind the proxy, and generated and mutated requests before it: each server must see exactly the
//! requests that the proxy counted as sent to it. One that sees another request reads a boundary elsewhere than we do,
//! which is what request smuggling is made of.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]
#![allow(
    clippy::print_stdout,
    reason = "measured figures are part of what the test says"
)]

mod corpus;
mod redirects;
mod servers;
#[path = "../support/kit.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use halftone_proxy::settings::ClientTimeouts;
use serde_json::json;

use self::servers::Server;
use self::support::{Client, PATIENCE, ProxyOptions, TestProxy, release};

const CASES: u64 = 2_500;
/// Requests that do not come to their end are given up after this.
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn nginx_sees_exactly_the_requests_that_were_counted() {
    agree(Server::nginx());
}

#[test]
fn haproxy_sees_exactly_the_requests_that_were_counted() {
    agree(Server::haproxy());
}

#[test]
fn pythons_http_server_sees_exactly_the_requests_that_were_counted() {
    agree(Server::python());
}

fn agree(server: Server) {
    let client = ClientTimeouts {
        idle: SHORT,
        head: SHORT,
        body: SHORT,
        write: PATIENCE,
    };
    let options = ProxyOptions {
        client,
        log: true,
        ..ProxyOptions::default()
    };
    let proxy = TestProxy::with(options, &[release(&[server.address], json!({}))]);
    drive(proxy.address);
    let counted = proxy.finish();
    let mut sent = BTreeMap::<String, OracleTally>::new();
    for line in &counted {
        if line["upstream"].is_null() {
            continue;
        }
        let name = format!(
            "{} {}",
            line["method"].as_str().unwrap(),
            line["path"].as_str().unwrap()
        );
        let tally = sent.entry(name).or_default();
        tally.sent += 1 + line["retries"].as_u64().unwrap();
        tally.answered += u64::from(line["status"] == 200 && line["outcome"] == "2xx");
    }
    let seen = server.requests();
    for (name, n) in &seen {
        let sent = sent.get(name).map_or(0, |tally| tally.sent);
        assert!(
            *n <= sent,
            "the server saw {n} times what was sent {sent} times: {name}"
        );
    }
    for (name, tally) in &sent {
        let n = seen.get(name).copied().unwrap_or(0);
        assert!(
            n >= tally.answered,
            "of {} requests the server saw {n}: {name}",
            tally.answered
        );
    }
    let answered: u64 = sent.values().map(|tally| tally.answered).sum();
    let refused = counted
        .iter()
        .filter(|line| line["upstream"].is_null())
        .count();
    println!("{answered} requests were answered, {refused} refused");
    assert!(
        answered > CASES / 2 && refused as u64 > CASES / 10,
        "the corpus tries both: {answered}, {refused}"
    );
}

/// What was sent under one method and path.
#[derive(Debug, Default)]
struct OracleTally {
    sent: u64,
    answered: u64,
}

/// Plays every case, each on a connection of its own, until the proxy closes it.
fn drive(proxy: SocketAddr) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Relaxed);
                    if case >= CASES {
                        return;
                    }
                    let mut client = Client::connect(proxy);
                    // A refusal may come, and the connection close, before all of it is sent.
                    let _ = client.try_send(corpus::case(case));
                    let _ = client.read_on(&mut Vec::new());
                }
            });
        }
    });
}
