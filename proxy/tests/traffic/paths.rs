//! Paths on their way through: what goes on, what does not, and what backends make of it.

use halftone_routing::document::arm::Arm;
use serde_json::json;

use crate::support::{Backend, ProxyOptions, TestProxy, release};

#[test]
fn dots_that_only_backends_see_are_refused_where_a_release_has_part_of_the_paths() {
    let backend = Backend::answering("");
    let prefix = json!({"arms": {"stable": {"pathPrefix": "/app"}}});
    let options = ProxyOptions {
        log: true,
        ..ProxyOptions::default()
    };
    for part in [json!({"paths": ["/pub"]}), prefix] {
        let mut proxy = TestProxy::with(
            options.clone(),
            &[release(&[backend.address], part.clone())],
        );
        for path in [
            "/pub/..%2f..%2fsecret",
            "/pub/..%5Csecret",
            "/pub/..\\secret",
            "/pub/..;/secret",
            "/pub/..%252fx",
        ] {
            let answer = proxy.client().get(path);
            assert_eq!(answer.status(), 400, "{path} under {part}");
            assert!(answer.text().contains("hides a .."), "{}", answer.text());
        }
        assert!(!backend.has_seen_more(), "under {part}");
        assert_eq!(
            proxy.client().get("/pub/a%2Fb;v=1").status(),
            200,
            "under {part}"
        );
        backend.seen();
        proxy.expect_outcomes(
            Arm::Stable,
            &[(halftone_routing::report::Outcome::Status2xx, 1)],
        );
        let lines = proxy.finish();
        assert_eq!(lines[0]["release"], "shop/checkout");
        assert_eq!(lines[0]["outcome"], "refused400");
    }
}

#[test]
fn who_has_all_paths_gets_them_as_they_were_sent() {
    let backend = Backend::answering("");
    let proxy = TestProxy::to(backend.address);
    let mut client = proxy.client();
    for path in ["/pub/..%2f..%2fsecret", "/pub/..;/x", "/a//../b"] {
        assert_eq!(client.get(path).status(), 200, "{path}");
        assert_eq!(backend.seen().target(), path);
    }
}

#[test]
fn a_backend_that_takes_two_slashes_for_one_is_led_to_no_other_place() {
    let backend = Backend::answering("");
    let proxy = TestProxy::start(&[release(&[backend.address], json!({"paths": ["/pub"]}))]);
    let mut client = proxy.client();
    for (path, upstream) in [
        ("/pub//../x", "/pub/x"),
        ("/pub//x%7e", "/pub//x%7e"),
        ("/x/../pub/%2e/y", "/pub/y"),
    ] {
        client.get(path);
        assert_eq!(backend.seen().target(), upstream, "{path}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_go_through_and_into_the_log() {
    let backend = Backend::answering("");
    let options = ProxyOptions {
        log: true,
        ..ProxyOptions::default()
    };
    let rule = json!({"rules": [{"name": "gbk", "to": "Stable", "when": [{"all": [
        {"source": "Path", "operator": "Regex", "values": ["^/b.*"]},
    ]}]}]});
    let proxy = TestProxy::with(options, &[release(&[backend.address], rule)]);
    let mut client = proxy.client();
    client.send(b"GET /b\xd6\xd0\xce\xc4?q=\xb5 HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    // The scripted backend reads lines as Latin-1.
    assert_eq!(
        backend.seen().target(),
        "/b\u{d6}\u{d0}\u{ce}\u{c4}?q=\u{b5}"
    );
    let lines = proxy.finish();
    assert_eq!(
        (&lines[0]["path"], &lines[0]["chosenBy"]),
        (&json!("/b%D6%D0%CE%C4"), &json!("Rule"))
    );
}
