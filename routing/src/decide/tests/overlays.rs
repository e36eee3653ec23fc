//! What an overlay closes, point by point.

use super::*;
use crate::overlay::GrayPaths;

fn with(open: GrayPaths, cap: u32) -> Overlay {
    let cap = Ratio::from_millionths(cap).expect("no more than everybody");
    Overlay {
        open,
        cap,
        ..Overlay::OPEN
    }
}

fn of(changes: Value, overlay: Overlay, fields: &[(&str, &str)]) -> String {
    let routes = routes(&[document(changes)]);
    ask_with(&routes, overlay, &TestRequest { fields, ..PLAIN })
}

#[test]
fn what_is_closed_lets_nobody_pass() {
    let (none, rules) = (
        with(GrayPaths::NONE, 1_000_000),
        with(GrayPaths::RULES, 1_000_000),
    );
    let stable = json!({"rules": [rule("to-stable", "Stable", "X-R")]});
    let gray = json!({"rules": [rule("to-gray", "Gray", "X-R")]});
    let missing = json!({"identity": {"whenMissing": "Gray"}});
    let by_chance = json!({"identity": {"whenMissing": "Split"}});
    let (user, in_rule) = ([("X-User-Name", user(Arm::Gray))], [("X-R", "1")]);
    for (what, changes, overlay, fields, expected) in [
        (
            "the split",
            &json!({}),
            rules,
            &user,
            "stable Split gray is closed",
        ),
        ("rules", &gray, none, &in_rule, "stable Missing no identity"),
        (
            "rules that are left open",
            &gray,
            rules,
            &in_rule,
            "gray Rule rule to-gray",
        ),
        (
            "rules to stable",
            &stable,
            none,
            &in_rule,
            "stable Rule rule to-stable",
        ),
        (
            "whenMissing: Gray",
            &missing,
            rules,
            &in_rule,
            "stable Missing no identity",
        ),
        (
            "chance",
            &by_chance,
            rules,
            &in_rule,
            "stable Split gray is closed",
        ),
        (
            "force",
            &json!({"force": "Gray"}),
            none,
            &user,
            "gray Force forced to gray",
        ),
    ] {
        assert_eq!(of(changes.clone(), overlay, fields), expected, "{what}");
    }
}

#[test]
fn a_cap_keeps_the_lowest_buckets() {
    let changes = json!({"identity": {"salt": "3f2a9c0d1e4b5a67"}});
    for (cap, expected) in [
        (301_985, "stable Split bucket 301985 not below 301985"),
        (301_986, "gray Split bucket 301985 below 301986"),
        (900_000, "gray Split bucket 301985 below 500000"),
    ] {
        let overlay = with(GrayPaths::ALL, cap);
        assert_eq!(
            of(changes.clone(), overlay, &[("X-User-Name", "lin")]),
            expected
        );
    }
}

#[test]
fn a_gray_that_is_closed_does_not_stand_in_for_stable() {
    let routes = routes(&[document(json!({}))]);
    let release = routes.release(ReleaseIndex::FIRST);
    for (overlay, expected) in [
        (Overlay::OPEN, ServingArm::Fallback(Arm::Gray)),
        (with(GrayPaths::RULES, 1_000_000), ServingArm::Unavailable),
    ] {
        let served = serve(release, overlay, Arm::Stable, |arm| arm == Arm::Gray);
        assert_eq!(served, expected, "{overlay:?}");
    }
}

proptest! {
    #[test]
    fn no_overlay_sends_anybody_to_gray(word: u64, name in "[a-z]{1,8}", in_rule: bool, missing: bool) {
        let document = document(json!({"rules": [rule("to-gray", "Gray", "X-R")], "identity": {"whenMissing": "Gray"}}));
        let routes = routes(&[document]);
        let fields: Vec<_> = [("X-User-Name", &*name, !missing), ("X-R", "1", in_rule)]
            .into_iter()
            .filter_map(|(name, value, sent)| sent.then_some((name, value)))
            .collect();
        let asked = TestRequest { fields: &fields, ..PLAIN };
        let (open, under) = (ask(&routes, &asked), ask_with(&routes, Overlay::decode(word), &asked));
        prop_assert!(open.starts_with("gray") || under.starts_with("stable"), "{open} {under}");
    }
}
