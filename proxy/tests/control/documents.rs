//! Documents that are wrong, given to a proxy with traffic on it: refused with a reason, and nobody notices.

use std::collections::BTreeMap;

use halftone_proxy::report::Documents;
use halftone_proxy::source::Content;
use halftone_routing::document::parse::Format;
use serde_json::{Value, json};

use super::support::{BackgroundLoad, apply, backend, get, listing, release, start, until, wait};

const NAME: &str = "checkout.json";

#[test]
fn whatever_is_wrong_with_a_document_traffic_stays_as_it_was() {
    let stable = backend("stable");
    let good = release("checkout", 5, stable, json!({}));
    let proxy = start(&[(NAME, &good)]);
    let admin = proxy.admin_address().unwrap();
    until(
        "readiness",
        || get(admin, "/readyz").status(),
        |status| *status == 200,
    );
    let load = BackgroundLoad::start(2, proxy.addresses()[0], |client| {
        let answer = client.get("/x");
        assert_eq!((answer.status(), answer.text()), (200, "stable /x r5"));
    });

    let with = |more: Value| release("checkout", 6, stable, more);
    let regex = json!([{"name": "r", "to": "Stable", "when": [{"all": [
        {"source": "Path", "operator": "Regex", "values": ["(((a{100}){100}){100}){100}"]}]}]}]);
    let too_long = with(json!({"debug": {"header": "X-Debug", "value": "x".repeat(1 << 20)}}));
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = format!(
        "{}, \"x\": {nested}}}",
        with(json!({})).trim_end_matches('}')
    );
    let bomb = (0..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        format!(
            "{text}a{}: &a{} [*a{n}, *a{n}, *a{n}, *a{n}]\n",
            n + 1,
            n + 1
        )
    });
    for (name, text, reason, told) in [
        (
            NAME,
            good[..good.len() / 2].to_owned(),
            "Malformed",
            "line 1",
        ),
        (NAME, String::new(), "Malformed", ""),
        (
            NAME,
            with(json!({"checksum": format!("sha256:{}", "0".repeat(64))})),
            "ChecksumMismatch",
            "checksum",
        ),
        (
            NAME,
            with(json!({"requires": ["telepathy"]})),
            "UnknownFeature",
            "telepathy",
        ),
        (NAME, with(json!({"schema": 2})), "UnknownSchema", "schema"),
        (NAME, with(json!({"ratio": 1_000_001})), "Invalid", "ratio"),
        (NAME, with(json!({"hosts": ["a..b"]})), "Invalid", "hosts"),
        (
            NAME,
            release("checkout", 4, stable, json!({})),
            "OlderRevision",
            "5",
        ),
        (
            NAME,
            release("checkout", 5, stable, json!({"hosts": ["a.example.com"]})),
            "RevisionConflict",
            "revision 6",
        ),
        (NAME, too_long, "TooLarge", "bytes"),
        (NAME, deep, "Malformed", ""),
        (NAME, with(json!({"rules": regex})), "Invalid", "rules[0]"),
        ("checkout.yaml", bomb, "Malformed", ""),
    ] {
        let documents = apply(&proxy, &[(NAME, &good), (name, &text)]);
        assert_refused(&documents, name, reason, told);
        assert_eq!(get(admin, "/readyz").status(), 200, "{reason}");
    }
    let mut invalid_utf8 = listing(&[(NAME, &good)]);
    let content = Content::Text(Format::Json, [good.as_bytes(), &[0xff]].concat().into());
    invalid_utf8.releases.insert(NAME.into(), content);
    assert_refused(
        &wait(proxy.apply(invalid_utf8)).unwrap(),
        NAME,
        "Malformed",
        "UTF-8",
    );
    let twin = apply(&proxy, &[(NAME, &good), ("twin.json", &good)]);
    assert_refused(&twin, "twin.json", "DuplicateRelease", NAME);
    let fleet = apply(
        &proxy,
        &[
            (NAME, &good),
            ("fleet.yaml", "schema: 1\nclass: other\nrevision: 1\n"),
        ],
    );
    assert_refused(&fleet, "fleet.yaml", "OtherClass", "--class");

    let page = get(admin, "/config").json();
    assert_eq!(
        page.pointer("/rejected/0/reason"),
        Some(&json!("OtherClass")),
        "{page:#}"
    );
    assert_eq!(
        page.pointer("/applied/0/document/revision"),
        Some(&json!(5))
    );
    assert_eq!(
        apply(&proxy, &[(NAME, &good)]).rejected,
        [],
        "a document that is put right is no longer refused"
    );
    assert!(load.end() > 0);
}

fn assert_refused(documents: &Documents, name: &str, reason: &str, told: &str) {
    let [rejected] = &documents.rejected[..] else {
        panic!("{reason}: {documents:#?}")
    };
    assert_eq!(
        (&*rejected.source, &*rejected.reason),
        (name, reason),
        "{rejected:#?}"
    );
    assert!(rejected.message.contains(told), "{rejected:#?}");
    let revisions: BTreeMap<_, _> = documents
        .applied
        .values()
        .map(|applied| {
            (
                applied.document.uid.as_str(),
                applied.document.revision.get(),
            )
        })
        .collect();
    assert_eq!(revisions, BTreeMap::from([("local/shop/checkout", 5)]));
}

#[test]
fn an_unknown_optional_field_is_applied_and_listed() {
    let stable = backend("stable");
    let proxy = start(&[(NAME, &release("checkout", 1, stable, json!({})))]);
    let more = json!({"sparkle": true, "arms": {"stable": {"glitter": 1}}});
    let documents = apply(&proxy, &[(NAME, &release("checkout", 2, stable, more))]);
    let applied = &documents.applied[&"local/shop/checkout".parse().unwrap()].document;
    assert_eq!(applied.revision.get(), 2);
    assert_eq!(applied.ignored_fields.len(), 2, "{applied:?}");
    assert_eq!(documents.rejected, []);
    assert_eq!(get(proxy.addresses()[0], "/x").into_text(), "stable /x r2");
    let page = get(proxy.admin_address().unwrap(), "/config").json();
    assert!(
        page.pointer("/applied/0/ignoredFields")
            .unwrap()
            .to_string()
            .contains("sparkle"),
        "{page:#}"
    );
}

#[test]
fn of_two_releases_of_one_host_the_older_has_it_and_the_page_says_so() {
    let (first, second) = (backend("first"), backend("second"));
    let younger = json!({"release": {"createdAt": "2026-11-02T00:00:00Z"}});
    let proxy = start(&[
        ("b.json", &release("b", 1, second, younger)),
        ("a.json", &release("a", 1, first, json!({}))),
    ]);
    assert_eq!(get(proxy.addresses()[0], "/x").into_text(), "first /x r1");
    let page = get(proxy.admin_address().unwrap(), "/config").json();
    let shadowed =
        json!([{"host": "*", "path": "/", "release": "local/shop/b", "by": "local/shop/a"}]);
    assert_eq!(page.pointer("/shadowed"), Some(&shadowed));
}

#[test]
fn a_document_that_vanishes_goes_on_and_one_that_is_withdrawn_does_not() {
    let stable = backend("stable");
    let document = |revision, state: &str| {
        release(
            "checkout",
            revision,
            stable,
            json!({"state": state, "hosts": ["shop.example.com"]}),
        )
    };
    let other = release("other", 1, backend("other"), json!({}));
    let proxy = start(&[(NAME, &document(1, "Plain")), ("other.json", &other)]);
    let body = || get(proxy.addresses()[0], "/x").into_text();
    assert_eq!(body(), "stable /x r1");
    let documents = apply(&proxy, &[("other.json", &other)]);
    assert_eq!(documents.orphaned, ["local/shop/checkout".parse().unwrap()]);
    assert_eq!(body(), "stable /x r1");
    apply(
        &proxy,
        &[(NAME, &document(2, "Withdrawn")), ("other.json", &other)],
    );
    assert_eq!(body(), "other /x r1");
}
