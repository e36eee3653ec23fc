//! What a reading does to what is applied: every way in which a document can be wrong leaves the routes alone.

mod changes;

use serde_json::{Value, json};

use super::*;
use crate::{routes::CompiledRelease, testing::document};

/// A directory: names and texts.
type SourceFiles = Vec<(&'static str, Vec<u8>)>;

fn text(changes: Value) -> Vec<u8> {
    document(changes).to_string().into_bytes()
}

fn apply(store: &mut Store, directory: &SourceFiles) -> StoreChange {
    store.apply(&found(directory), None)
}

fn found(directory: &SourceFiles) -> Vec<SourceDocument<'_>> {
    directory
        .iter()
        .map(|(source, bytes)| SourceDocument {
            source,
            content: Content::Text(Format::Json, bytes),
        })
        .collect()
}

fn uids(change: &[(Uid, Arc<str>)]) -> Vec<&str> {
    change.iter().map(|(uid, _)| uid.as_str()).collect()
}

fn reasons(store: &Store) -> Vec<(&str, &str)> {
    store
        .rejected()
        .iter()
        .map(|rejected| (rejected.source.as_str(), rejected.reason.as_str()))
        .collect()
}

fn ratio(store: &Store, host: &str) -> Option<u32> {
    let routes = store.routes();
    routes
        .find(host, b"/")
        .map(|index| routes.release(index).config().ratio.millionths())
}

const HOST: &str = "shop.example.com";

fn another(uid: &str, changes: &Value) -> Value {
    let mut document =
        json!({"release": {"uid": uid, "name": uid}, "hosts": [format!("{uid}.example.com")]});
    document
        .as_object_mut()
        .expect("an object")
        .extend(changes.as_object().expect("an object").clone());
    document
}

#[test]
fn a_good_document_is_applied_once() {
    let mut store = Store::new();
    let directory = vec![("a.json", text(json!({})))];
    assert_eq!(uids(&apply(&mut store, &directory).applied), ["u-1"]);
    let routes = Arc::clone(store.routes());
    assert!(apply(&mut store, &directory).is_nothing());
    assert!(
        Arc::ptr_eq(&routes, store.routes()),
        "the same reading makes no new routes"
    );
    let applied: Vec<_> = store.applied().collect();
    assert_eq!(
        (applied[0].uid.as_str(), applied[0].revision.get()),
        ("u-1", 3)
    );
}

#[test]
fn a_bad_document_leaves_the_last_good_one_in_force() {
    let good = || ("a.json", text(json!({})));
    let with = |changes| text(document_of_next_revision(changes));
    let zeros = format!("sha256:{}", "0".repeat(64));
    let mut deep = json!(1);
    (0..64).for_each(|_| deep = json!([deep]));
    let regex = |expression: &str| {
        json!({"rules": [{"name": "r", "to": "Gray", "when": [{"all": [
        {"source": "Path", "operator": "Regex", "values": [expression]}]}]}]})
    };
    for (what, bytes, reason) in [
        ("truncated", text(json!({}))[..200].to_vec(), "Malformed"),
        ("empty", Vec::new(), "Malformed"),
        (
            "invalid UTF-8",
            [&text(json!({}))[..], b"\xff"].concat(),
            "Malformed",
        ),
        ("deep nesting", with(json!({"unknown": deep})), "Malformed"),
        (
            "1 MiB",
            [text(json!({})), vec![b' '; 1 << 20]].concat(),
            "TooLarge",
        ),
        (
            "wrong checksum",
            with(json!({"checksum": zeros})),
            "ChecksumMismatch",
        ),
        (
            "unknown required feature",
            with(json!({"requires": ["telepathy"]})),
            "UnknownFeature",
        ),
        (
            "unknown schema",
            with(json!({"schema": 2})),
            "UnknownSchema",
        ),
        (
            "out of bounds",
            with(json!({"ratio": 1_000_001})),
            "Invalid",
        ),
        (
            "a version header that frames",
            with(json!({"versionHeader": {"request": "Transfer-Encoding"}})),
            "Invalid",
        ),
        ("no gray", with(json!({"arms": {"gray": null}})), "Invalid"),
        ("exploding regex", with(regex(r"(\w{100}){100}")), "Invalid"),
        ("broken regex", with(regex("(")), "Invalid"),
        (
            "older revision",
            text(json!({"revision": 2, "ratio": 0})),
            "OlderRevision",
        ),
        (
            "same revision, other content",
            text(json!({"ratio": 0})),
            "RevisionConflict",
        ),
    ] {
        let mut store = Store::new();
        apply(&mut store, &vec![good()]);
        let routes = Arc::clone(store.routes());
        assert!(
            apply(&mut store, &vec![("a.json", bytes)]).is_nothing(),
            "{what}"
        );
        assert_eq!(reasons(&store), [("a.json", reason)], "{what}");
        assert!(
            Arc::ptr_eq(&routes, store.routes()),
            "{what}: the routes are untouched"
        );
        let rejected = &store.rejected()[0];
        assert_eq!(
            rejected.uid.as_ref().map(Uid::as_str),
            Some("u-1"),
            "{what}: whose it is can still be told"
        );
        assert_eq!(store.orphaned().count(), 0, "{what}: broken is not absent");
        assert!(!rejected.message.is_empty());
        apply(&mut store, &vec![good()]);
        assert_eq!(store.rejected(), [], "{what}: repaired");
    }
}

fn document_of_next_revision(mut changes: Value) -> Value {
    changes["revision"] = 4.into();
    changes
}

#[test]
fn an_unknown_optional_field_is_applied_and_listed() {
    let mut store = Store::new();
    apply(
        &mut store,
        &vec![("a.json", text(json!({"mirror": {"to": "x"}})))],
    );
    let applied: Vec<_> = store.applied().collect();
    assert_eq!(applied[0].ignored_fields, ["mirror"]);
    assert_eq!(store.rejected(), []);
}

#[test]
fn a_higher_revision_replaces_and_shares_what_did_not_change() {
    let mut store = Store::new();
    let directory = |ratio: u32, revision: u32| {
        vec![
            (
                "a.json",
                text(json!({"ratio": ratio, "revision": revision})),
            ),
            ("b.json", text(another("u-2", &json!({})))),
        ]
    };
    apply(&mut store, &directory(0, 3));
    let release = |store: &Store| -> Arc<CompiledRelease> {
        let routes = store.routes();
        Arc::clone(routes.release(routes.find("u-2.example.com", b"/").expect("routed")))
    };
    let before = release(&store);
    assert_eq!(uids(&apply(&mut store, &directory(7, 9)).applied), ["u-1"]);
    assert_eq!(ratio(&store, HOST), Some(7));
    assert!(Arc::ptr_eq(&before, &release(&store)));
}

#[test]
fn of_two_documents_of_one_release_the_one_applied_before_stays() {
    let mut store = Store::new();
    apply(&mut store, &vec![("b.json", text(json!({})))]);
    let both = vec![
        ("a.json", text(json!({"revision": 9, "ratio": 0}))),
        ("b.json", text(json!({}))),
    ];
    assert!(apply(&mut store, &both).is_nothing());
    assert_eq!(reasons(&store), [("a.json", "DuplicateRelease")]);
    let mut fresh = Store::new();
    apply(&mut fresh, &both);
    assert_eq!(
        (ratio(&fresh, HOST), reasons(&fresh)),
        (Some(0), vec![("b.json", "DuplicateRelease")])
    );
}

#[test]
fn a_renamed_document_stays_applied() {
    let mut store = Store::new();
    apply(&mut store, &vec![("a.json", text(json!({})))]);
    assert!(apply(&mut store, &vec![("b.json", text(json!({})))]).is_nothing());
    assert_eq!((store.orphaned().count(), store.rejected().len()), (0, 0));
}

#[test]
fn only_a_withdrawal_ends_a_route() {
    let mut store = Store::new();
    apply(&mut store, &vec![("a.json", text(json!({})))]);
    assert!(apply(&mut store, &Vec::new()).is_nothing());
    assert_eq!(
        store.orphaned().map(Uid::as_str).collect::<Vec<_>>(),
        ["u-1"]
    );
    assert_eq!(
        ratio(&store, HOST),
        Some(500_000),
        "a document that vanished goes on routing"
    );

    let withdrawn = vec![("a.json", text(json!({"state": "Withdrawn", "revision": 4})))];
    assert_eq!(uids(&apply(&mut store, &withdrawn).applied), ["u-1"]);
    assert_eq!((ratio(&store, HOST), store.orphaned().count()), (None, 0));
    assert_eq!(
        store.applied().count(),
        1,
        "the withdrawal is acknowledged as long as its document is there"
    );
    assert_eq!(apply(&mut store, &Vec::new()).dropped.len(), 1);
    assert_eq!(store.applied().count(), 0);
}

#[test]
fn another_uid_of_the_same_object_takes_over() {
    let newer = json!({"release": {"uid": "u-2", "createdAt": "2026-02-02T00:00:00Z"}, "ratio": 7, "revision": 1});
    let replacing =
        json!({"release": {"uid": "u-2"}, "replaces": "u-1", "ratio": 7, "revision": 1});
    for successor in [newer, replacing] {
        let old = ("old.json", text(json!({})));
        let mut store = Store::new();
        apply(&mut store, &vec![old.clone()]);
        let change = apply(
            &mut store,
            &vec![("new.json", text(successor.clone())), old.clone()],
        );
        assert_eq!(uids(&change.applied), ["u-2"]);
        assert_eq!(
            change.dropped.iter().map(Uid::as_str).collect::<Vec<_>>(),
            ["u-1"]
        );
        assert_eq!(ratio(&store, HOST), Some(7));
        let again = apply(
            &mut store,
            &vec![("new.json", text(successor.clone())), old.clone()],
        );
        assert!(again.is_nothing(), "{again:?}");
        assert_eq!(reasons(&store), [("old.json", "Superseded")]);
        let mut fresh = Store::new();
        let change = apply(&mut fresh, &vec![old, ("new.json", text(successor))]);
        assert_eq!(
            (uids(&change.applied), ratio(&fresh, HOST)),
            (vec!["u-2"], Some(7))
        );
    }
}

#[test]
fn a_broken_successor_takes_nothing_over() {
    let mut store = Store::new();
    let old = ("old.json", text(json!({})));
    apply(&mut store, &vec![old.clone()]);
    let rules = json!([{"name": "r", "to": "Gray", "when": [{"all": [{"source": "Path", "operator": "Regex", "values": ["("]}]}]}]);
    let broken = text(json!({"release": {"uid": "u-2"}, "replaces": "u-1", "rules": rules}));
    assert!(apply(&mut store, &vec![("new.json", broken), old]).is_nothing());
    assert_eq!(
        (ratio(&store, HOST), reasons(&store)),
        (Some(500_000), vec![("new.json", "Invalid")])
    );
    let message = &store.rejected()[0].message;
    assert!(
        message.starts_with("line 1, column ")
            && message.contains("rules[0].when[0].all[0].values: "),
        "{message}"
    );
}

#[test]
fn the_first_reading_after_a_start_from_disk_decides_what_exists() {
    let mut store = Store::new();
    let saved = vec![
        ("a.json", text(json!({}))),
        ("b.json", text(another("u-2", &json!({})))),
        ("c.json", text(another("u-3", &json!({})))),
    ];
    store.restore(&found(&saved), None);
    assert!(store.is_stale());
    assert_eq!(store.routes().len(), 3);
    let change = apply(
        &mut store,
        &vec![("a.json", text(json!({}))), ("b.json", b"{broken".to_vec())],
    );
    assert_eq!(
        change.dropped.iter().map(Uid::as_str).collect::<Vec<_>>(),
        ["u-3"]
    );
    assert_eq!(store.orphaned().count(), 0);
    assert!(!store.is_stale());
    assert_eq!(
        store.routes().len(),
        2,
        "the broken one goes on with its last good version"
    );
    assert_eq!(reasons(&store), [("b.json", "Malformed")]);
}

#[test]
fn a_document_that_cannot_be_read_is_refused_and_goes_on() {
    let mut store = Store::new();
    apply(&mut store, &vec![("a.json", text(json!({})))]);
    let unreadable = SourceDocument {
        source: "a.json",
        content: Content::Unreadable("permission denied"),
    };
    assert!(store.apply(&[unreadable], None).is_nothing());
    assert_eq!(
        (reasons(&store), store.orphaned().count()),
        (vec![("a.json", "Unreadable")], 0)
    );
}

#[test]
fn a_fleet_document_is_applied_and_refused_like_a_release() {
    let fleet = |text: &'static str| {
        Some(SourceDocument {
            source: "fleet.yaml",
            content: Content::Text(Format::Yaml, text.as_bytes()),
        })
    };
    let trusted = |store: &Store| store.routes().fleet().trusted_proxies.len();
    let mut store = Store::new();
    assert_eq!((store.applied_fleet(), trusted(&store)), (None, 0));
    assert!(
        store
            .apply(
                &[],
                fleet("schema: 1\nrevision: 2\ntrustedProxies: [10.0.0.0/8]\n")
            )
            .fleet
    );
    assert_eq!(trusted(&store), 1);
    for (text, reason) in [
        ("schema: 1\nrevision: 1\n", "OlderRevision"),
        ("schema: 1\nrevision: 2\n", "RevisionConflict"),
        (
            "schema: 1\nrevision: 3\ntrustedProxies: [nonsense]\n",
            "Invalid",
        ),
        ("schema: 1\nrevision: [\n", "Malformed"),
    ] {
        assert!(store.apply(&[], fleet(text)).is_nothing(), "{text}");
        assert_eq!(
            (reasons(&store), trusted(&store)),
            (vec![("fleet.yaml", reason)], 1),
            "{text}"
        );
    }
    assert!(store.apply(&[], None).is_nothing());
    assert_eq!(
        store.applied_fleet().map(|fleet| fleet.revision.get()),
        Some(2),
        "a vanished document changes nothing"
    );
}

#[test]
fn of_two_releases_that_claim_one_host_and_path_the_older_has_it() {
    let younger = json!({"release": {"uid": "u-2", "name": "a", "createdAt": "2026-03-01T00:00:00Z"}, "ratio": 7,
        "hosts": ["shop.example.com", "b.example.com"]});
    let mut store = Store::new();
    apply(
        &mut store,
        &vec![("a.json", text(younger)), ("b.json", text(json!({})))],
    );
    assert_eq!(
        (ratio(&store, HOST), ratio(&store, "b.example.com")),
        (Some(500_000), Some(7))
    );
    let shadowed = store.routes().shadowed();
    assert_eq!((shadowed.len(), shadowed[0].host.as_str()), (1, HOST));
}

#[test]
fn of_two_releases_that_claim_one_host_and_path_who_has_served_it_longer_has_it() {
    let late = json!({"claims": [{"host": HOST, "path": "/", "since": "2026-06-01T00:00:00Z"}]});
    let younger = json!({"release": {"uid": "u-2", "name": "a", "createdAt": "2026-03-01T00:00:00Z"}, "ratio": 7});
    let mut store = Store::new();
    apply(
        &mut store,
        &vec![("a.json", text(younger)), ("b.json", text(late))],
    );
    assert_eq!(
        ratio(&store, HOST),
        Some(7),
        "the older object came to it later"
    );
    let shadowed = store.routes().shadowed();
    assert_eq!((shadowed.len(), shadowed[0].host.as_str()), (1, HOST));
}

#[test]
fn a_destination_keeps_its_number_while_its_servers_change() {
    let with = |port: u32, revision: u32| {
        text(
            json!({"revision": revision, "arms": {"gray": {"addresses": [format!("127.0.0.1:{port}")]}}}),
        )
    };
    let mut store = Store::new();
    let mut seen = std::collections::HashMap::new();
    for revision in 4..40 {
        let port = 9100 + revision % 5;
        apply(&mut store, &vec![("a.json", with(port, revision))]);
        let (_, release) = store.routes().releases().next().expect("a release");
        for (arm, id) in release.destinations() {
            assert_eq!(*seen.entry(id).or_insert(arm), arm);
        }
        assert_eq!((seen.len(), store.routes().destination_limit()), (2, 2));
    }
}

#[test]
fn a_fleet_document_that_is_gone_at_the_next_start_holds_no_longer() {
    let kept = SourceDocument {
        source: "fleet.yaml",
        content: Content::Text(Format::Yaml, b"schema: 1\nrevision: 2\n"),
    };
    let mut store = Store::new();
    store.apply(&[], Some(kept));
    assert!(
        store.apply(&[], None).is_nothing(),
        "while the proxy runs, it goes on"
    );
    let mut store = Store::new();
    store.restore(&[], Some(kept));
    assert!(store.applied_fleet().is_some());
    assert!(store.apply(&[], None).fleet);
    assert!(store.applied_fleet().is_none());
}

#[test]
fn the_settings_of_another_fleet_are_refused() {
    let other = SourceDocument {
        source: "fleet.yaml",
        content: Content::Text(Format::Yaml, b"schema: 1\nrevision: 2\n"),
    };
    let mut store = Store::for_class("web".parse().unwrap());
    assert!(store.apply(&[], Some(other)).is_nothing());
    assert_eq!(reasons(&store), [("fleet.yaml", "OtherClass")]);
}
