//! Request bodies: every framing and size, answers that come before their end, clients that wait to be asked.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use halftone_proxy::counters::{Arm, Outcome};
use serde_json::json;

use crate::support::{Backend, Client, TestProxy, release};

fn bytes(n: usize) -> Vec<u8> {
    (0..n)
        .map(|i| (i as u8).wrapping_mul(31) ^ (i >> 8) as u8)
        .collect()
}

#[test]
fn bodies_of_every_size_arrive_whole_in_either_framing() {
    let backend = Backend::echo();
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    for n in [
        0, 1, 100, 16_000, 16_384, 16_500, 65_000, 65_536, 66_000, 200_000, 1_500_000,
    ] {
        let body = bytes(n);
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {n}\r\n\r\n"
            ))
            .send(&body);
        assert!(client.answer().body == body, "{n} bytes by length");
        assert_eq!(backend.seen().get("content-length"), Some(&*n.to_string()));
        client.send("POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in body.chunks(5_000) {
            client
                .send(format!("{:X};sig=\"x\"\r\n", piece.len()))
                .send(piece)
                .send("\r\n");
        }
        client.send("0\r\nX-Sum: 1\r\nAuthorization: no\r\n\r\n");
        assert!(client.answer().body == body, "{n} bytes in chunks");
        assert_eq!(
            backend.seen().trailers,
            [("x-sum".to_owned(), "1".to_owned())]
        );
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_body_that_comes_byte_by_byte_arrives_whole() {
    let backend = Backend::echo();
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    let message =
        b"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for byte in message {
        client.send([*byte]);
    }
    assert_eq!(client.answer().text(), "hello");
}

#[test]
fn a_request_behind_a_body_is_the_next_request() {
    let backend = Backend::echo();
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send(concat!(
        "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nfirst",
        "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nthird",
    ));
    for text in ["first", "second", "third"] {
        assert_eq!(client.answer().text(), text);
    }
}

#[test]
fn a_client_that_waits_to_be_asked_is_asked_by_the_backend() {
    let backend = Backend::start(|connection, _| {
        while let Some(mut request) = connection.head() {
            assert_eq!(request.get("expect"), Some("100-continue"));
            connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            request.read_body(&mut connection.reader, false).unwrap();
            connection.ok(request.body);
        }
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    // The backend is told that the client waits even where Connection claims that to be between the client and us.
    for fields in ["", "", "Connection: Expect\r\n"] {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: shop\r\n{fields}Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        ));
        assert_eq!(client.answer().status(), 100);
        assert_eq!(client.send("body").answer().text(), "body");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_client_that_is_refused_before_it_was_asked_need_not_send_its_body() {
    let backend = Backend::start(|connection, _| {
        connection.head();
        connection.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
        connection.ends();
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client
        .send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.status(), answer.get("connection")),
        (401, Some("close"))
    );
    client.assert_closed();
}

#[test]
fn a_backend_may_answer_while_it_still_reads() {
    let backend = Backend::start(|connection, _| {
        while connection.head().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
            let mut piece = vec![0; 1_000];
            for _ in 0..300 {
                connection.reader.read_exact(&mut piece).unwrap();
                connection.send(&piece);
            }
        }
    });
    let mut proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    let body = bytes(300_000);
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 300000\r\n\r\n");
        assert_eq!(client.head().unwrap().unwrap().status(), 200);
        for piece in body.chunks(10_000) {
            client.send(piece);
            assert!(
                client.bytes(10_000) == piece,
                "each piece comes back before the next is sent"
            );
        }
    }
    assert_eq!(
        backend.connections(),
        1,
        "both sides were complete, so both connections go on"
    );
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Status2xx, 2)]);
}

#[test]
fn a_backend_that_will_close_may_still_read_before_it_has_answered_to_the_end() {
    for (status, framing) in [
        (200, ""),
        (404, ""),
        (404, "Transfer-Encoding: chunked\r\n"),
    ] {
        let backend = Backend::start(move |connection, _| {
            let mut request = connection.head().unwrap();
            connection.send(format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\n{framing}\r\n"
            ));
            request.read_body(&mut connection.reader, false).unwrap();
            connection.send(if framing.is_empty() {
                "all of it"
            } else {
                "9\r\nall of it\r\n0\r\n\r\n"
            });
        });
        let proxy = TestProxy::to(backend.address);
        let mut client = proxy.client();
        client
            .send("POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n");
        let mut answer = client.head().unwrap().unwrap();
        assert_eq!(
            (answer.status(), answer.get("connection")),
            (status, Some("close"))
        );
        client
            .send("2\r\ndy\r\n0\r\n\r\n")
            .body(&mut answer)
            .unwrap();
        assert_eq!(answer.text(), "all of it");
    }
}

#[test]
fn uploading_clients_see_the_refusal_that_did_not_wait_for_them() {
    const CLIENTS: usize = 200;
    let backend = Backend::start(|connection, _| {
        connection.head();
        connection.send(
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\nConnection: close\r\n\r\nforbidden",
        );
    });
    let proxy = TestProxy::to(backend.address);
    let seen = Arc::new(AtomicUsize::new(0));
    let start = Arc::new(Barrier::new(20));
    let threads: Vec<_> = (0..20)
        .map(|_| {
            let (address, seen, start) = (proxy.address, Arc::clone(&seen), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                for _ in 0..CLIENTS / 20 {
                    let mut client = Client::connect(address);
                    client
                        .send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 100000000\r\n\r\n");
                    // Whatever becomes of the upload, the answer is to be read afterwards.
                    let _ = client.try_send(vec![b'x'; 200_000]);
                    let answer = client.try_answer();
                    seen.fetch_add(
                        usize::from(matches!(answer, Ok(Some(a)) if a.status() == 403)),
                        Relaxed,
                    );
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(seen.load(Relaxed), CLIENTS);
}

#[test]
fn uploading_clients_see_our_own_refusals_too() {
    let backend = Backend::echo();
    let proxy = TestProxy::start(&[release(&[backend.address], json!({"hosts": ["shop"]}))]);
    for _ in 0..50 {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: elsewhere\r\nContent-Length: 100000000\r\n\r\n");
        let _ = client.try_send(vec![b'x'; 100_000]);
        let answer = client.answer();
        assert_eq!(
            (answer.status(), answer.get("connection")),
            (404, Some("close"))
        );
    }
}

#[test]
fn a_body_that_breaks_off_reaches_the_backend_without_an_end() {
    let backend = Backend::start(|connection, _| {
        assert!(
            connection.request().is_none(),
            "the chunked body has no last chunk"
        );
    });
    let mut proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client
        .send("POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    client.end_sending();
    client.assert_closed();
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::ClientAbort, 1)]);
}

#[test]
fn a_malformed_chunk_is_a_400_and_the_backend_sees_no_end() {
    let backend = Backend::start(|connection, _| {
        assert!(
            connection.request().is_none(),
            "the chunked body has no last chunk"
        );
    });
    let mut proxy = TestProxy::to(backend.address);
    for late in [false, true] {
        let mut client = proxy.client();
        client.send(
            "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        );
        if late {
            std::thread::sleep(Duration::from_millis(20));
        }
        client.send("-1\r\n");
        let answer = client.answer();
        assert_eq!(
            (answer.status(), answer.get("connection")),
            (400, Some("close"))
        );
        client.assert_closed();
    }
    proxy.expect_outcomes(Arm::Stable, &[(Outcome::Refused400, 2)]);
}

#[test]
fn a_body_beyond_what_the_release_allows_is_a_413() {
    let backend = Backend::echo();
    let mut proxy = TestProxy::start(&[release(&[backend.address], json!({"maxBodyBytes": 10}))]);
    for (framing, status) in [
        ("Content-Length: 10\r\n\r\n0123456789", 200),
        (
            "Transfer-Encoding: chunked\r\n\r\n9\r\n012345678\r\n1\r\n9\r\n0\r\n\r\n",
            200,
        ),
        ("Content-Length: 11\r\n\r\n0123456789a", 413),
        ("Content-Length: 11\r\nExpect: 100-continue\r\n\r\n", 413),
        (
            "Transfer-Encoding: chunked\r\n\r\n9\r\n012345678\r\n2\r\n9a\r\n0\r\n\r\n",
            413,
        ),
    ] {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: shop\r\n{framing}"));
        assert_eq!(client.answer().status(), status, "{framing:?}");
    }
    proxy.expect_outcomes(
        Arm::Stable,
        &[(Outcome::Status2xx, 2), (Outcome::Refused413, 3)],
    );
    // What comes too late to be refused before it began.
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n012345678\r\n",
    );
    client.send("9\r\n012345678\r\n0\r\n\r\n");
    assert_eq!(client.answer().status(), 413);
    backend.seen();
    backend.seen();
    assert!(
        !backend.has_seen_more(),
        "no backend takes a part for the whole"
    );
}

#[test]
fn a_slow_reader_holds_its_backend_back() {
    const SIZE: usize = 256 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let backend = Backend::start(move |connection, _| {
        connection.head();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        let piece = vec![7; 1 << 20];
        for _ in 0..SIZE >> 20 {
            connection.send(&piece);
            count.fetch_add(1 << 20, Relaxed);
        }
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    client.head().unwrap();
    // Until the sockets between them are full and nothing moves any more.
    let mut before = usize::MAX;
    while sent.load(Relaxed) != before {
        before = sent.load(Relaxed);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(
        before < SIZE / 4,
        "{before} bytes were taken for a client that does not read"
    );
    let mut left = SIZE;
    while left > 0 {
        let n = left.min(1 << 20);
        assert!(client.bytes(n).iter().all(|byte| *byte == 7));
        left -= n;
    }
}

#[test]
fn a_backend_that_does_not_read_holds_its_client_back() {
    const SIZE: usize = 256 << 20;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::start(move |connection, _| {
        let mut request = connection.head().unwrap();
        wait.lock().unwrap().recv().unwrap();
        request.read_body(&mut connection.reader, false).unwrap();
        connection.ok(request.body.len().to_string());
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {SIZE}\r\n\r\n"
    ));
    let mut sender = client.stream().try_clone().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let thread = std::thread::spawn(move || {
        let piece = vec![7; 1 << 20];
        for _ in 0..SIZE >> 20 {
            std::io::Write::write_all(&mut sender, &piece).unwrap();
            count.fetch_add(1 << 20, Relaxed);
        }
    });
    let mut before = usize::MAX;
    while sent.load(Relaxed) != before {
        before = sent.load(Relaxed);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(
        before < SIZE / 4,
        "{before} bytes were taken for a backend that does not read"
    );
    go.send(()).unwrap();
    thread.join().unwrap();
    assert_eq!(client.answer().text(), SIZE.to_string());
}

#[test]
fn a_backend_may_take_its_time_to_read_an_upload() {
    const LARGE: usize = 32 << 20;
    let backend = Backend::start(|connection, _| {
        let mut request = connection.head().unwrap();
        // Longer than the kernel would wait for a backend that may be gone.
        std::thread::sleep(Duration::from_secs(13));
        request.read_body(&mut connection.reader, false).unwrap();
        connection.ok(request.body.len().to_string());
    });
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    let mut sender = client.stream().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let head = format!("PUT / HTTP/1.1\r\nHost: shop\r\nContent-Length: {LARGE}\r\n\r\n");
        sender
            .write_all(head.as_bytes())
            .and_then(|()| sender.write_all(&vec![7; LARGE]))
    });
    assert_eq!(client.answer().text(), LARGE.to_string());
    sending.join().unwrap().unwrap();
}
