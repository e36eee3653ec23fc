//! The order of the decision as a table, and what each state of a release makes of its points.

use std::{net::IpAddr, time::Duration};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    field::Field,
    routes::Routes,
    testing::{document, routes},
};

mod identities;
mod overlays;

const PEER: &str = "203.0.113.9";

/// Users on either side of 50 % under the salt of the least document.
fn user(arm: Arm) -> &'static str {
    let salt = crate::bucket::Salt::new("0123456789abcdef");
    let half = Ratio::from_millionths(500_000).expect("a ratio");
    let users = ["lin", "wei", "chen", "zhao", "ana", "bob"];
    let found = users
        .into_iter()
        .find(|user| side(salt.bucket(user.as_bytes()), half) == arm);
    found.expect("one of six users is on each side")
}

struct TestRequest<'a> {
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    fields: &'a [(&'a str, &'a str)],
}

const PLAIN: TestRequest<'static> = TestRequest {
    host: "shop.example.com",
    path: "/",
    query: None,
    fields: &[],
};

/// Arm, what chose it, and the reason; or what else became of the request.
fn ask(routes: &Routes, asked: &TestRequest<'_>) -> String {
    ask_with(routes, Overlay::OPEN, asked)
}

fn ask_with(routes: &Routes, overlay: Overlay, asked: &TestRequest<'_>) -> String {
    let fields: Vec<_> = asked
        .fields
        .iter()
        .map(|(name, value)| Field {
            name: name.as_bytes(),
            value: value.as_bytes(),
        })
        .collect();
    let request = Request {
        method: "GET",
        host: asked.host,
        path: asked.path.as_bytes(),
        query: asked.query.map(str::as_bytes),
        fields: &fields,
        peer: PEER.parse::<IpAddr>().expect("an address"),
    };
    match decide(routes, |_| overlay, &request, &mut || 7) {
        Resolution::Decided(decision) => {
            format!(
                "{} {} {}",
                decision.arm.name(),
                decision.chosen_by.name(),
                decision.reason
            )
        }
        Resolution::DefaultBackend(_) => "default".into(),
        Resolution::NoRoute => "no route".into(),
        Resolution::Rejected { status, .. } => format!("rejected {status}"),
        Resolution::Climbs { .. } => "climbs".into(),
    }
}

fn of(changes: Value, fields: &[(&str, &str)]) -> String {
    ask(
        &routes(&[document(changes)]),
        &TestRequest { fields, ..PLAIN },
    )
}

fn rule(name: &str, to: &str, header: &str) -> Value {
    json!({"name": name, "to": to, "when": [{"all": [{"source": "Header", "name": header, "operator": "Exists"}]}]})
}

#[test]
fn the_points_are_asked_in_their_order() {
    let everything = json!({
        "force": "Gray",
        "rules": [rule("office", "Stable", "X-Office"), rule("beta", "Gray", "X-Office")],
    });
    let without_force = json!({"rules": everything["rules"]});
    let lin = [("X-Office", "1"), ("X-User-Name", user(Arm::Gray))];
    for (point, changes, fields, expected) in [
        (
            "force over rules",
            &everything,
            &lin[..],
            "gray Force forced to gray",
        ),
        (
            "the first rule over later ones and the split",
            &without_force,
            &lin[..],
            "stable Rule rule office",
        ),
        (
            "the split where no rule matches",
            &without_force,
            &lin[1..],
            "gray Split bucket 490900 below 500000",
        ),
        (
            "whenMissing last",
            &without_force,
            &[],
            "stable Missing no identity",
        ),
    ] {
        assert_eq!(of(changes.clone(), fields), expected, "{point}");
    }
}

#[test]
fn who_has_only_part_of_the_paths_is_not_left_through_hidden_dots() {
    let part = json!({"paths": ["/pub"]});
    let prefix = json!({"arms": {"gray": {"pathPrefix": "/app"}}});
    let root_prefix = json!({"arms": {"gray": {"pathPrefix": "/"}}});
    let also_root = json!({"paths": ["/pub", "/"]});
    for (changes, path, refused) in [
        (&part, "/pub/..%2Fsecret", true),
        (&part, "/pub/..;/secret", true),
        (&part, "/pub/a%2Fb;c", false),
        (&prefix, "/pub/..%5Csecret", true),
        (&prefix, "/pub/a", false),
        (&root_prefix, "/pub/..%2Fsecret", false),
        (&also_root, "/pub/..%2Fsecret", false),
        (&json!({}), "/pub/..%2Fsecret", false),
    ] {
        let answer = ask(
            &routes(&[document(changes.clone())]),
            &TestRequest { path, ..PLAIN },
        );
        assert_eq!(answer == "climbs", refused, "{path} {changes}: {answer}");
    }
}

#[test]
fn an_identity_goes_where_its_bucket_is() {
    for (ratio, expected) in [
        (0, "stable Split bucket 301985 not below 0"),
        (301_985, "stable Split bucket 301985 not below 301985"),
        (301_986, "gray Split bucket 301985 below 301986"),
        (1_000_000, "gray Split bucket 301985 below 1000000"),
    ] {
        let changes = json!({"ratio": ratio, "identity": {"salt": "3f2a9c0d1e4b5a67"}});
        assert_eq!(of(changes, &[("x-user-name", "lin")]), expected);
    }
}

#[test]
fn an_empty_identity_is_a_missing_one() {
    let sources = json!({"identity": {"from": [{"header": "X-User-Name"}, {"cookie": "user"}]}});
    assert_eq!(
        of(sources.clone(), &[("X-User-Name", "")]),
        "stable Missing no identity"
    );
    let second = of(sources, &[("X-User-Name", ""), ("Cookie", "user=lin")]);
    assert!(second.contains("Split bucket"), "{second}");
}

#[test]
fn a_missing_identity_is_treated_as_the_release_says() {
    for (when_missing, state, expected) in [
        (
            json!({"whenMissing": "Stable"}),
            "Active",
            "stable Missing no identity",
        ),
        (
            json!({"whenMissing": "Stable"}),
            "Promoted",
            "gray Missing no identity",
        ),
        (
            json!({"whenMissing": "Gray"}),
            "Active",
            "gray Missing no identity",
        ),
        (
            json!({"whenMissing": "Gray"}),
            "RolledBack",
            "stable Missing no identity",
        ),
        (
            json!({"whenMissing": "Split"}),
            "Active",
            "gray Split no identity, by chance 0 below 500000",
        ),
        (
            json!({"whenMissing": "Split"}),
            "RolledBack",
            "stable Split gray is closed",
        ),
        (json!({"whenMissing": "Reject"}), "Active", "rejected 403"),
        (
            json!({"whenMissing": "Reject", "rejectStatus": 401}),
            "RolledBack",
            "rejected 401",
        ),
    ] {
        let changes = json!({"identity": when_missing, "state": state, "ratio": ratio_in(state)});
        assert_eq!(of(changes, &[]), expected, "{when_missing} {state}");
    }
}

fn ratio_in(state: &str) -> u32 {
    match state {
        "Active" => 500_000,
        "Promoted" => 1_000_000,
        _ => 0,
    }
}

#[test]
fn each_state_opens_and_closes_rules_and_the_split() {
    let keep = |mut rule: Value| {
        rule["keepOnRollback"] = true.into();
        rule
    };
    let (gray, kept, stable) = (
        rule("to-gray", "Gray", "X-R"),
        keep(rule("kept", "Gray", "X-R")),
        rule("to-stable", "Stable", "X-R"),
    );
    let in_rule = [("X-R", "1"), ("X-User-Name", user(Arm::Gray))];
    for (state, rules, expected) in [
        ("Active", json!([gray]), "gray Rule rule to-gray"),
        ("RolledBack", json!([gray]), "stable Split gray is closed"),
        ("RolledBack", json!([gray, kept]), "gray Rule rule kept"),
        (
            "RolledBack",
            json!([gray, stable]),
            "stable Rule rule to-stable",
        ),
        ("Promoted", json!([stable]), "gray Rule rule to-stable"),
        ("Plain", json!([gray, kept]), "stable Split gray is closed"),
        ("Plain", json!([stable]), "stable Rule rule to-stable"),
    ] {
        let arms = if state == "Plain" {
            json!({"gray": null})
        } else {
            json!({})
        };
        let changes =
            json!({"state": state, "ratio": ratio_in(state), "rules": rules, "arms": arms});
        assert_eq!(of(changes, &in_rule), expected, "{state} {rules}");
    }
}

#[test]
fn force_holds_in_every_state() {
    for state in ["Active", "RolledBack", "Promoted"] {
        for (force, expected) in [
            ("Stable", "stable Force forced to stable"),
            ("Gray", "gray Force forced to gray"),
        ] {
            let changes = json!({"state": state, "ratio": ratio_in(state), "force": force});
            assert_eq!(of(changes, &[]), expected, "{state}");
        }
    }
}

#[test]
fn a_promoted_release_sends_every_identity_to_gray() {
    let changes = json!({"state": "Promoted", "ratio": 1_000_000});
    assert!(of(changes, &[("X-User-Name", user(Arm::Stable))]).starts_with("gray Split"));
}

#[test]
fn a_lost_operator_closes_gray() {
    let lost = json!({"moving": true, "onOperatorLost": {"action": "Stable", "afterMs": 1_000},
        "rules": [rule("to-gray", "Gray", "X-R")]});
    let routes = routes(&[document(lost)]);
    let overlay = Overlay::after_silence(
        routes.release(ReleaseIndex::FIRST).config(),
        Duration::from_secs(1),
    );
    let fields = [("X-R", "1"), ("X-User-Name", user(Arm::Gray))];
    let asked = TestRequest {
        fields: &fields,
        ..PLAIN
    };
    assert_eq!(
        ask_with(&routes, overlay, &asked),
        "stable Split gray is closed"
    );
}

#[test]
fn a_minted_cookie_decides_its_own_request() {
    let generated = json!({"identity": {"from": [
        {"header": "X-User-Name"}, {"generated": {"cookie": "halftone_id", "maxAgeMs": 2_592_000_000_u64}}],
        "whenMissing": "Reject"}});
    let all = routes(&[document(generated.clone())]);
    let decided = |fields: &[Field<'static>]| {
        let fields = fields.to_vec();
        let request = Request {
            method: "GET",
            host: "shop.example.com",
            path: b"/",
            query: None,
            fields: &fields,
            peer: PEER.parse().expect("an address"),
        };
        match decide(&all, all_open, &request, &mut || 0xabc) {
            Resolution::Decided(decision) => (
                decision.arm,
                decision.bucket,
                decision.mint.map(|minted| minted.to_string()),
            ),
            other => panic!("{other:?}"),
        }
    };
    let (arm, bucket, minted) = decided(&[]);
    let value = "00000000000000000000000000000abc";
    let set = format!("halftone_id={value}; Max-Age=2592000; Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(minted.as_deref(), Some(set.as_str()));
    let again = decided(&[Field {
        name: b"Cookie",
        value: b"halftone_id=00000000000000000000000000000abc",
    }]);
    assert_eq!(
        again,
        (arm, bucket, None),
        "the cookie that comes back decides alike, and no other is set"
    );
    let (_, _, minted) = decided(&[Field {
        name: b"X-User-Name",
        value: b"lin",
    }]);
    assert_eq!(minted, None);

    let mut closed = generated;
    closed["state"] = "RolledBack".into();
    assert_eq!(of(closed, &[]), "stable Split gray is closed");
}

#[test]
fn excluded_requests_are_marked_and_decided_alike() {
    let exclude = json!({"limits": {"exclude": [{"all": [{"source": "Path", "operator": "Prefix", "values": ["/export"]}]}]}});
    let all = routes(&[document(exclude)]);
    for (path, expected) in [("/export/x", true), ("/", false)] {
        let fields = [Field {
            name: b"X-User-Name",
            value: b"lin",
        }];
        let peer = PEER.parse().expect("an address");
        let request = Request {
            method: "GET",
            host: "shop.example.com",
            path: path.as_bytes(),
            query: None,
            fields: &fields,
            peer,
        };
        let Resolution::Decided(decision) = decide(&all, all_open, &request, &mut || 0) else {
            panic!("decided")
        };
        assert_eq!(
            (decision.excluded, decision.chosen_by),
            (expected, ChosenBy::Split)
        );
    }
}

/// An expression of 2 000 places that no automaton of a moderate size finds.
const HOSTILE: &str = "x(?-u:[ab]{1000})y";

#[test]
fn a_request_that_would_be_compared_for_too_long_is_left_to_the_split() {
    let path = |operator: &str, value: &str| json!([{"all": [{"source": "Path", "operator": operator, "values": [value]}]}]);
    let all = routes(&[document(json!({
        "rules": [
            {"name": "hostile", "to": "Stable", "when": path("Regex", HOSTILE)},
            {"name": "others", "to": "Gray", "when": path("NotRegex", "^/none[0-9]")},
        ],
        "limits": {"exclude": path("NotPrefix", "/none")},
    }))]);
    for (length, chosen_by, excluded, said) in [
        (2_000, ChosenBy::Rule, true, "others matches: to gray"),
        (2_200, ChosenBy::Split, false, TOO_LONG),
    ] {
        let path = format!("/{}", "xab".repeat(length / 3));
        let fields = [Field {
            name: b"X-User-Name",
            value: b"lin",
        }];
        let peer = PEER.parse().expect("an address");
        let (path, method) = (path.as_bytes(), "GET");
        let request = Request {
            method,
            host: "shop.example.com",
            path,
            query: None,
            fields: &fields,
            peer,
        };
        let mut told: Vec<TraceEntry> = Vec::new();
        let Resolution::Decided(decision) =
            decide_traced(&all, all_open, &request, &mut || 0, &mut told)
        else {
            panic!("decided")
        };
        assert_eq!(
            (decision.chosen_by, decision.excluded),
            (chosen_by, excluded),
            "{length}"
        );
        assert_eq!(
            told.iter()
                .find(|finding| finding.point == Point::Rules)
                .unwrap()
                .said,
            said
        );
    }
}

#[test]
fn looking_for_values_again_and_again_counts_like_comparing_them() {
    let rules: Vec<_> = (0..64)
        .map(|n| {
            let one = |at: usize| json!({"source": "Query", "name": format!("q{at}"), "operator": "DoesNotExist"});
            let all: Vec<_> = (0..16).map(one).collect();
            let never = json!({"all": [one(0), {"source": "Path", "operator": "In", "values": ["/never"]}]});
            let when: Vec<_> = (0..8).map(|_| never.clone()).chain([json!({"all": all})]).collect();
            json!({"name": format!("rule-{n}"), "to": "Gray", "when": if n < 63 { json!([never]) } else { json!(when) }})
        })
        .collect();
    let all = routes(&[document(json!({"rules": rules}))]);
    let user = [("X-User-Name", user(Arm::Stable))];
    let ask = |bytes: usize| {
        let query = "a=b&".repeat(bytes / 4);
        ask(
            &all,
            &TestRequest {
                query: Some(&query),
                fields: &user,
                ..PLAIN
            },
        )
    };
    assert_eq!(ask(32_000), "gray Rule rule rule-63");
    assert!(ask(64_000).starts_with("stable Split"));
}

#[test]
fn a_request_that_no_release_claims_goes_to_the_default_backend_or_nowhere() {
    let elsewhere = TestRequest {
        host: "other.example.com",
        ..PLAIN
    };
    assert_eq!(ask(&routes(&[document(json!({}))]), &elsewhere), "no route");
    let mut compiler = crate::routes::Compiler::default();
    let fleet: crate::fleet::FleetConfig = serde_json::from_value(
        json!({"schema": 1, "defaultBackend": {"addresses": ["127.0.0.1:9009"]}}),
    )
    .expect("a fleet");
    let routes = Routes::new(Vec::new(), std::sync::Arc::new(fleet), &mut compiler);
    assert_eq!(ask(&routes, &elsewhere), "default");
}

#[test]
fn what_is_told_is_what_was_decided() {
    let all = routes(&[document(
        json!({"rules": [rule("office", "Stable", "X-Office")]}),
    )]);
    let fields = [Field {
        name: b"X-User-Name",
        value: b"lin",
    }];
    let peer = PEER.parse().expect("an address");
    let request = Request {
        method: "GET",
        host: "shop.example.com",
        path: b"/a",
        query: None,
        fields: &fields,
        peer,
    };
    let mut told: Vec<TraceEntry> = Vec::new();
    let traced = decide_traced(&all, all_open, &request, &mut || 0, &mut told);
    assert_eq!(traced, decide(&all, all_open, &request, &mut || 0));
    let points: Vec<_> = told
        .iter()
        .map(|finding| (finding.point, finding.said.as_str()))
        .collect();
    let bucket = crate::bucket::Salt::new("0123456789abcdef").bucket(b"lin");
    let split = format!(
        "{}: to {}",
        RoutingReason::Bucket(bucket, Ratio::from_millionths(500_000).expect("a ratio")),
        side(bucket, Ratio::from_millionths(500_000).expect("a ratio")).name()
    );
    assert_eq!(
        points,
        [
            (Point::Host, "shop/checkout has shop.example.com/a"),
            (Point::Force, "none"),
            (Point::Rules, "none matches"),
            (Point::Identity, "\"lin\""),
            (Point::Split, split.as_str()),
        ]
    );
}

#[test]
fn an_arm_without_endpoints_is_replaced_where_that_is_allowed() {
    use ServingArm::{Fallback, Intended, Unavailable};
    let (s, g) = (Arm::Stable, Arm::Gray);
    let release = |changes| {
        routes(&[document(changes)])
            .release(ReleaseIndex::FIRST)
            .clone()
    };
    let active = release(json!({}));
    let fail = release(json!({"onUnavailable": "Fail"}));
    let rolled_back = release(json!({"state": "RolledBack", "ratio": 0}));
    let forced = release(json!({"force": "Stable"}));
    let plain = release(json!({"state": "Plain", "ratio": 0, "arms": {"gray": null}}));
    for (what, release, intended, alive, expected) in [
        ("both alive", &active, g, &[s, g][..], Intended(g)),
        ("gray empty", &active, g, &[s], Fallback(s)),
        ("stable empty", &active, s, &[g], Fallback(g)),
        ("both empty", &active, g, &[], Unavailable),
        ("gray empty, Fail", &fail, g, &[s], Unavailable),
        ("stable empty, Fail", &fail, s, &[g], Unavailable),
        (
            "stable empty, rolled back",
            &rolled_back,
            s,
            &[g],
            Unavailable,
        ),
        (
            "kept rule, gray empty, rolled back",
            &rolled_back,
            g,
            &[s],
            Fallback(s),
        ),
        (
            "stable empty, forced to stable",
            &forced,
            s,
            &[g],
            Unavailable,
        ),
        ("stable empty, plain", &plain, s, &[], Unavailable),
    ] {
        assert_eq!(
            serve(release, Overlay::OPEN, intended, |arm| alive.contains(&arm)),
            expected,
            "{what}"
        );
    }
}

proptest! {
    #[test]
    fn raising_the_ratio_only_adds_users(name in ".{1,20}", low in 0_u32..=1_000_000, high in 0_u32..=1_000_000) {
        prop_assume!(name.trim() == name);
        let (low, high) = (low.min(high), low.max(high));
        let arm = |ratio| of(json!({"ratio": ratio}), &[("X-User-Name", &name)]);
        prop_assert!(!(arm(low).starts_with("gray") && arm(high).starts_with("stable")));
    }

    #[test]
    fn no_request_panics(
        host in "[a-z.:\\[\\]*]{0,20}", path in prop::collection::vec(any::<u8>(), 0..40),
        query in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 4),
    ) {
        let sources = json!({"hosts": ["*", "*.a", "a.b"], "paths": ["/", "/a", "/a/b"], "identity": {"from": [
            {"jwtClaim": {"header": "Authorization", "claim": "sub"}}, {"query": "q"}, {"cookie": "c"}, {"clientIp": {}}]}});
        let all = routes(&[document(sources)]);
        let names = ["Authorization", "Cookie", "X-Forwarded-For", "Forwarded"];
        let fields: Vec<_> = names.iter().zip(&values).map(|(name, value)| Field { name: name.as_bytes(), value }).collect();
        let peer = "10.0.0.1".parse().expect("an address");
        let request = Request { method: "GET", host: &host, path: &path, query: query.as_deref(), fields: &fields, peer };
        let found = decide(&all, all_open, &request, &mut || 1);
        prop_assert!(matches!(found, Resolution::Decided(_) | Resolution::NoRoute));
    }
}
