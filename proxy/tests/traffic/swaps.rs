//! New documents under load: each request is decided by one of them as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::support::{Backend, Client, ProxyOptions, TestProxy, release};

#[test]
fn ten_thousand_new_documents_lose_no_request_and_mix_no_decision() {
    const SWAPS: u64 = 10_000;
    // The backend says which version and prefix the request came with; both must be of one document.
    let backend = Backend::start(|connection, _| {
        while let Some(mut request) = connection.head() {
            if request.get("expect").is_some() {
                connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            }
            request.read_body(&mut connection.reader, false).unwrap();
            connection.ok(format!(
                "{} {}",
                request.get("x-version").unwrap(),
                request.target()
            ));
        }
    });
    let document = |revision: u64| -> Value {
        let tag = revision % 7;
        let mut document = release(
            &[backend.address],
            json!({
                "revision": revision,
                "debug": {"header": "X-Debug", "value": "1"},
                "versionHeader": {"request": "X-Version", "response": "X-Version"},
            }),
        );
        document["arms"]["stable"]["version"] = format!("v{tag}").into();
        document["arms"]["stable"]["pathPrefix"] = format!("/v{tag}").into();
        document
    };
    let mut proxy = TestProxy::with(
        ProxyOptions {
            workers: 2,
            ..ProxyOptions::default()
        },
        &[document(1)],
    );
    let mut held = proxy.client();
    let over = Arc::new(AtomicBool::new(false));
    let answers = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (address, over, answers) = (proxy.address, Arc::clone(&over), Arc::clone(&answers));
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while !over.load(Relaxed) {
                    client.send("GET /x HTTP/1.1\r\nHost: shop\r\nX-Debug: 1\r\n\r\n");
                    let answer = client.answer();
                    let version = answer.get("x-version").unwrap();
                    assert_eq!(answer.text(), format!("{version} /{version}/x"));
                    let reason = answer.get("x-halftone-reason").unwrap();
                    let revision: u64 = reason.split([' ', ':']).nth(2).unwrap().parse().unwrap();
                    assert_eq!(version, format!("v{}", revision % 7));
                    answers.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    for revision in 2..SWAPS + 2 {
        held.send(
            "POST /x HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
        );
        assert_eq!(
            held.answer().status(),
            100,
            "it is at the backend when the next document comes"
        );
        proxy.apply(&[document(revision)]);
        let before = format!("v{}", (revision - 1) % 7);
        assert_eq!(
            held.send("x").answer().text(),
            format!("{before} /{before}/x")
        );
        // Each swap meets requests, however slow the machine is at them. A client that has ended has failed.
        while answers.load(Relaxed) < revision as usize
            && !threads.iter().any(JoinHandle::is_finished)
        {
            std::thread::yield_now();
        }
    }
    let by_worker = proxy.workers().connections();
    over.store(true, Relaxed);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert!(answers.load(Relaxed) >= SWAPS as usize, "{answers:?}");
    assert!(
        by_worker.iter().all(|connections| *connections > 0),
        "every worker had a part: {by_worker:?}"
    );
    println!(
        "{answers:?} requests through {SWAPS} swaps, one under way at each; by worker {by_worker:?}"
    );
    assert!(
        backend.connections() < 100,
        "connections survive new documents: {}",
        backend.connections()
    );
}
