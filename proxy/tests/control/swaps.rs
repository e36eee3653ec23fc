//! Ten thousand swaps of the configuration under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use serde_json::json;

use super::support::{BackgroundLoad, Client, apply, backend, get, release, start, until};

const SWAPS: u64 = 10_000;

#[test]
fn ten_thousand_swaps_lose_no_request_and_mix_no_two_revisions() {
    let (stable, gray) = (backend("stable"), backend("gray"));
    // Each revision sends everyone to the other arm, under another version and path prefix: a request that saw two
    // revisions would show it in one of the four.
    let document = |revision: u64| {
        let arm = |name: &str, address| json!({"addresses": [address], "version": format!("{name}-{revision}"), "pathPrefix": format!("/{name}-{revision}")});
        let more = json!({
            "state": "Active",
            "stage": revision / 2,
            "ratio": if revision % 2 == 1 { 1_000_000 } else { 0 },
            "arms": {"stable": arm("stable", stable), "gray": arm("gray", gray)},
        });
        release("checkout", revision, stable, more)
    };
    let proxy = start(&[("checkout.json", &document(1))]);
    let acknowledged = Arc::new(AtomicU64::new(1));
    let load = BackgroundLoad::start(4, proxy.addresses()[0], {
        let acknowledged = Arc::clone(&acknowledged);
        move |client| ask(client, acknowledged.load(SeqCst))
    });
    for revision in 2..=SWAPS {
        let documents = apply(&proxy, &[("checkout.json", &document(revision))]);
        assert_eq!(documents.rejected, []);
        acknowledged.store(revision, SeqCst);
        // Each swap meets requests, however slow the machine is at them.
        while load.answers.load(SeqCst) < revision && load.is_running() {
            std::thread::yield_now();
        }
    }
    let answers = load.end();
    let admin = proxy.admin_address().unwrap();
    let metrics = || get(admin, "/metrics").into_text();
    until(
        "the sum of all counts",
        || counted(&metrics()),
        |counted| *counted == answers,
    );
    assert!(metrics().contains(&format!("halftone_configuration_swaps_total {SWAPS}\n")));
    println!("{answers} requests through {SWAPS} swaps");
}

/// Every request is counted once, whatever became of its stage.
fn counted(metrics: &str) -> u64 {
    let requests = metrics
        .lines()
        .filter(|line| line.starts_with("halftone_requests_total{"));
    requests
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

fn ask(client: &mut Client, acknowledged: u64) {
    let answer = client.get_with("/x", &[("X-User-Name", "lin")]);
    assert_eq!(answer.status(), 200, "{answer:?}");
    let version = answer.get("x-halftone-version").unwrap();
    let (arm, revision) = version.split_once('-').unwrap();
    assert_eq!(
        answer.text(),
        format!("{arm} /{version}/x {version}"),
        "one revision decides everything"
    );
    let revision: u64 = revision.parse().unwrap();
    assert_eq!(arm, if revision % 2 == 1 { "gray" } else { "stable" });
    assert!(
        revision >= acknowledged,
        "{revision} decided a request that came after {acknowledged} was acknowledged"
    );
}
