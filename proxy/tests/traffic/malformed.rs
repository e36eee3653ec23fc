//! Messages that break a rule: who is told which rule, when, and what a lenient arm takes all the same.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use halftone_proxy::counters::{Arm, Outcome};
use serde_json::{Value, json};

use crate::support::{Backend, ProxyOptions, TestProxy, release};

/// A backend that says this to each request and closes.
fn saying(answer: &'static str) -> Backend {
    Backend::start(move |connection, _| {
        if connection.request().is_some() {
            connection.send(answer);
        }
    })
}

fn logged() -> ProxyOptions {
    ProxyOptions {
        log: true,
        ..ProxyOptions::default()
    }
}

const BAD_FIRST_CHUNK: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\nhello\r\n0\r\n\r\n";

#[test]
fn a_malformed_first_chunk_is_a_502_with_its_rule_in_the_log() {
    let backend = saying(BAD_FIRST_CHUNK);
    let mut proxy = TestProxy::with(logged(), &[release(&[backend.address], json!({}))]);
    let answer = proxy.client().get("/");
    assert_eq!(
        (answer.status(), answer.get("transfer-encoding")),
        (502, None)
    );
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::MalformedResponse, 1)]);
    let lines = proxy.finish();
    assert_eq!(
        (&lines[0]["rule"], &lines[0]["status"]),
        (&json!("chunkSize"), &json!(502))
    );
}

#[test]
fn a_malformed_first_chunk_after_interim_answers_is_a_502_behind_them() {
    let backend = saying(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\nhello\r\n",
    );
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    let last = loop {
        let answer = client.answer();
        if answer.status() >= 200 {
            break answer;
        }
    };
    assert_eq!(last.status(), 502);
}

#[test]
fn a_chunk_that_is_malformed_later_breaks_the_answer_off_with_its_rule_in_the_log() {
    let (taken, first_taken) = channel();
    let first_taken = Mutex::new(first_taken);
    let backend = Backend::start(move |connection, _| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        first_taken.lock().unwrap().recv().unwrap();
        connection.send("5\r\nhello!!\r\n");
    });
    let mut proxy = TestProxy::with(logged(), &[release(&[backend.address], json!({}))]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert_eq!(client.head().unwrap().unwrap().status(), 200);
    assert_eq!(client.bytes(10), b"5\r\nhello\r\n");
    taken.send(()).unwrap();
    client.assert_closed();
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::BodyBrokenOff, 1)]);
    let lines = proxy.finish();
    assert_eq!(
        (&lines[0]["rule"], &lines[0]["status"]),
        (&json!("chunkEnd"), &json!(200))
    );
}

#[test]
fn a_clients_broken_rule_is_in_the_log_too() {
    let backend = Backend::answering("");
    let proxy = TestProxy::with(logged(), &[release(&[backend.address], json!({}))]);
    let mut client = proxy.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(client.answer().status(), 400);
    let lines = proxy.finish();
    assert_eq!(
        (&lines[0]["rule"], &lines[0]["outcome"]),
        (&json!("lengthAndCoding"), &json!("refused400"))
    );
}

#[test]
fn what_is_no_http_is_answered_when_its_first_line_is_whole() {
    let backend = Backend::answering("");
    let proxy = TestProxy::to(backend.address);
    for (line, status) in [
        ("SSH-2.0-OpenSSH_9.6\r\n", 400),
        ("EHLO mail.example.com\r\n", 400),
        ("GET /\r\n", 400),
        ("PRI * HTTP/2.0\r\n", 505),
    ] {
        let mut client = proxy.client();
        client.send(line);
        let answer = client.answer();
        assert_eq!(answer.status(), status, "{line}");
        let date = answer.get("date").expect("our own answers have a date");
        assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
        client.assert_closed();
    }
}

#[test]
fn a_lenient_arm_takes_what_is_beyond_doubt_and_nothing_else() {
    let fields = format!(
        "HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok",
        "X-A: b\r\n".repeat(1_000)
    );
    let fields: &'static str = fields.leak();
    let lenient: Value = json!({"arms": {"stable": {"lenient": true}}});
    for (answer, status, body) in [
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            200,
            "ok",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2     \r\nok\r\n0     \r\n\r\n",
            200,
            "ok",
        ),
        (
            "HTTP/1.1 999 Denied\r\nContent-Length: 2\r\n\r\nok",
            999,
            "ok",
        ),
        (fields, 200, "ok"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            502,
            "",
        ),
        (
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
            502,
            "",
        ),
        (BAD_FIRST_CHUNK, 502, ""),
    ] {
        let backend = saying(answer);
        let proxy = TestProxy::start(&[release(&[backend.address], lenient.clone())]);
        let seen = proxy.client().get("/");
        assert_eq!(seen.status(), status, "{answer}");
        assert!(status == 502 || seen.text() == body, "{answer}");
        let strict = TestProxy::start(&[release(&[backend.address], json!({}))]);
        assert_eq!(strict.client().get("/").status(), 502, "strictly: {answer}");
    }
}
