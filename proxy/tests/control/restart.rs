//! What a proxy keeps over a restart, and what it does while its documents are away.

use std::fs;
use std::path::Path;

use halftone_proxy::run::{DocumentSource, Proxy, StartError};
use halftone_proxy::settings::Settings;
use halftone_routing::report::TrafficReport;
use serde_json::json;

use super::support::{Client, backend, get, listing, release, settings, until, wait};

fn with_state(dir: &Path) -> Settings {
    Settings {
        state: Some(dir.to_owned()),
        ..settings()
    }
}

fn report(proxy: &Proxy) -> TrafficReport {
    TrafficReport::parse(
        get(proxy.admin_address().unwrap(), "/report")
            .text()
            .as_bytes(),
    )
    .unwrap()
}

#[test]
fn a_restarted_proxy_serves_what_it_kept_until_its_source_answers() {
    let (state, config) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (settings, away) = (with_state(state.path()), config.path().join("away"));
    let stable = backend("stable");
    let [checkout, pay] = ["checkout", "pay"].map(|name| {
        release(
            name,
            3,
            stable,
            json!({"hosts": [if name == "pay" { "pay.example.com" } else { "*" }]}),
        )
    });
    let first = listing(&[
        ("checkout.yaml", &checkout),
        ("pay.yaml", &pay),
        ("fleet.yaml", "schema: 1\nrevision: 2\n"),
    ]);
    let proxy = Proxy::start(&settings, DocumentSource::Memory(first)).unwrap();
    assert_eq!(get(proxy.addresses()[0], "/x").into_text(), "stable /x r3");
    assert!(!report(&proxy).stale);
    assert_eq!(wait(proxy.drain()).unwrap().cut, 0);

    let proxy = Proxy::start(&settings, DocumentSource::Directory(away.clone())).unwrap();
    assert_eq!(
        get(proxy.admin_address().unwrap(), "/readyz").status(),
        503,
        "the source has a few seconds"
    );
    assert_eq!(
        get(proxy.addresses()[0], "/x").into_text(),
        "stable /x r3",
        "a client waits as long, and is served"
    );
    until(
        "readiness",
        || get(proxy.admin_address().unwrap(), "/readyz").status(),
        |status| *status == 200,
    );
    let kept = report(&proxy);
    assert!(kept.stale);
    assert_eq!(
        kept.applied
            .iter()
            .map(|document| document.revision.get())
            .collect::<Vec<_>>(),
        [3, 3]
    );
    assert_eq!(kept.fleet.unwrap().revision.get(), 2);

    // The first list decides what exists: one document has gone on, the other is no more.
    fs::create_dir(&away).unwrap();
    fs::write(
        away.join("checkout.yaml"),
        release("checkout", 4, stable, json!({})),
    )
    .unwrap();
    let now = until("the list", || report(&proxy), |report| !report.stale);
    let applied = |report: &TrafficReport| {
        report
            .applied
            .iter()
            .map(|document| (document.uid.to_string(), document.revision.get()))
            .collect::<Vec<_>>()
    };
    assert_eq!(applied(&now), [("local/shop/checkout".to_owned(), 4)]);
    assert_eq!(now.fleet, None);
    drop(proxy);

    let proxy = Proxy::start(
        &settings,
        DocumentSource::Directory(config.path().join("gone")),
    )
    .unwrap();
    let kept = until(
        "what was kept",
        || report(&proxy),
        |report| !report.applied.is_empty(),
    );
    assert_eq!(applied(&kept), [("local/shop/checkout".to_owned(), 4)]);
    assert_eq!(kept.fleet, None);
    assert_ne!(kept.epoch, now.epoch);
}

#[test]
fn an_older_document_than_the_one_kept_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let stable = backend("stable");
    let document = |revision| release("checkout", revision, stable, json!({}));
    let start = |revision| {
        Proxy::start(
            &with_state(state.path()),
            DocumentSource::Memory(listing(&[("a.yaml", &document(revision))])),
        )
        .unwrap()
    };
    drop({
        let proxy = start(7);
        get(proxy.addresses()[0], "/x");
        proxy
    });
    let proxy = start(6);
    assert_eq!(get(proxy.addresses()[0], "/x").into_text(), "stable /x r7");
    assert_eq!(report(&proxy).rejected[0].reason, "OlderRevision");
}

#[test]
fn a_damaged_state_is_left_out_and_the_proxy_starts() {
    let state = tempfile::tempdir().unwrap();
    let stable = backend("stable");
    let document = listing(&[("a.yaml", &release("checkout", 1, stable, json!({})))]);
    let proxy = Proxy::start(
        &with_state(state.path()),
        DocumentSource::Memory(document.clone()),
    )
    .unwrap();
    get(proxy.addresses()[0], "/x");
    drop(proxy);
    for file in fs::read_dir(state.path().join("documents")).unwrap() {
        fs::write(file.unwrap().path(), "{\"sha256\": 1").unwrap();
    }
    let proxy = Proxy::start(&with_state(state.path()), DocumentSource::Memory(document)).unwrap();
    assert_eq!(get(proxy.addresses()[0], "/x").into_text(), "stable /x r1");
}

#[test]
fn a_proxy_that_cannot_work_does_not_start_and_says_why() {
    let start = |settings: &Settings, source| Proxy::start(settings, source).map(drop).unwrap_err();
    let memory = || DocumentSource::Memory(listing(&[]));
    let everywhere = Settings {
        admin: Some("0.0.0.0:0".parse().unwrap()),
        ..settings()
    };
    assert!(matches!(
        start(&everywhere, memory()),
        StartError::TokenNeeded(_)
    ));
    let nowhere = Settings {
        listen: Vec::new(),
        ..settings()
    };
    assert!(matches!(
        start(&nowhere, memory()),
        StartError::NothingToListenOn
    ));
    let missing = start(
        &settings(),
        DocumentSource::Directory("/nonexistent".into()),
    );
    assert!(missing.to_string().contains("/nonexistent"), "{missing}");
    let no_state = start(&with_state(Path::new("/proc/state")), memory());
    assert!(matches!(no_state, StartError::State { .. }), "{no_state}");
    let no_token = Settings {
        token_file: Some("/nonexistent".into()),
        ..settings()
    };
    assert!(matches!(start(&no_token, memory()), StartError::Tokens(_)));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = Settings {
        admin: taken.local_addr().ok(),
        ..settings()
    };
    assert!(matches!(start(&admin, memory()), StartError::Admin { .. }));
    let listen = Settings {
        listen: vec![taken.local_addr().unwrap()],
        ..settings()
    };
    assert!(matches!(
        start(&listen, memory()),
        StartError::Listen { .. }
    ));
}

#[test]
fn a_moving_release_goes_to_stable_when_no_operator_speaks_and_back_when_one_does() {
    let (stable, gray) = (backend("stable"), backend("gray"));
    let more = json!({
        "state": "Active",
        "moving": true,
        "ratio": 1_000_000,
        "arms": {"gray": {"addresses": [gray], "version": "r2"}},
        "onOperatorLost": {"action": "Stable", "afterMs": 1000},
    });
    let proxy = super::support::start(&[("a.json", &release("checkout", 1, stable, more))]);
    let ask = || {
        Client::connect(proxy.addresses()[0])
            .get_with("/x", &[("X-User-Name", "lin")])
            .into_text()
    };
    let spoken_to = || {
        proxy.report(None);
        ask()
    };
    until("gray, while an operator speaks", spoken_to, |body| {
        body == "gray /x r2"
    });
    until("stable, in silence", ask, |body| body == "stable /x r1");
    // Whoever asks is told the same.
    let page = |target: &str| get(proxy.admin_address().unwrap(), target);
    let applied = &page("/config").json()["applied"][0];
    assert_eq!(
        (&applied["operatorLost"], &applied["ratioInEffect"]),
        (&json!(true), &json!(0))
    );
    let host = &applied["document"]["hosts"][0];
    let explained = page(&format!("/explain?host={}&path=/x", host.as_str().unwrap())).json();
    assert_eq!(
        (&explained["arm"], &explained["operatorLost"]),
        (&json!("stable"), &json!(true))
    );
    assert!(
        page("/metrics")
            .into_text()
            .lines()
            .any(|line| line.starts_with("halftone_ratio_target{") && line.ends_with(" 0.0"))
    );
    until("gray again", spoken_to, |body| body == "gray /x r2");
}
