//! Users who are known by more than one source keep their version, and preflights have none to keep.

use serde_json::{Value, json};

use super::{PEER, document, routes};
use crate::{
    decide::{Resolution, TraceEntry, all_open, decide, decide_traced},
    document::arm::Arm,
    field::Field,
    request::Request,
    routes::Routes,
};

const USERS: u32 = 400;

/// What a browser has and sends along.
#[derive(Clone, Debug, Default)]
struct Browser {
    method: Option<&'static str>,
    query: Option<String>,
    fields: Vec<(&'static str, String)>,
}

impl Browser {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    fn request<T>(&self, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|(name, value)| Field {
                name: name.as_bytes(),
                value: value.as_bytes(),
            })
            .collect();
        ask(&Request {
            method: self.method.unwrap_or("GET"),
            host: "shop.example.com",
            path: b"/",
            query: self.query.as_deref().map(str::as_bytes),
            fields: &fields,
            peer: PEER.parse().unwrap(),
        })
    }

    /// The arm, and the cookie that the answer sets. `seed` differs between users.
    fn asks(&self, routes: &Routes, seed: u128) -> (Arm, Option<String>) {
        self.request(
            |request| match decide(routes, all_open, request, &mut || seed) {
                Resolution::Decided(decision) => {
                    (decision.arm, decision.mint.map(|minted| minted.to_string()))
                }
                other => panic!("{other:?}"),
            },
        )
    }

    fn arm(&self, routes: &Routes) -> Arm {
        self.asks(routes, 0).0
    }
}

fn seed(user: u32) -> u128 {
    u128::from(user).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

fn kept(set: &str) -> String {
    set.split(';').next().unwrap().to_owned()
}

/// At 10 %, by header, query, cookie, else a generated cookie.
fn common(changes: &Value) -> Value {
    let from = json!([
        {"header": "X-User-Name"}, {"query": "user_name"}, {"cookie": "user_name"},
        {"generated": {"cookie": "halftone_id", "maxAgeMs": 2_592_000_000_u64}},
    ]);
    let mut document = document(json!({"ratio": 100_000, "identity": {"from": from}}));
    for (name, value) in changes.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

fn second_form(document: Value) -> Value {
    let mut document = document;
    document["requires"] = json!(["identity-2"]);
    document
}

/// How many of the users get another version when they log in.
fn moved_by_login(routes: &Routes) -> usize {
    let moves = |user: &u32| {
        let (before, set) = Browser::default().asks(routes, seed(*user));
        let anonymous = Browser::default().with("Cookie", kept(&set.unwrap()));
        assert_eq!(
            anonymous.asks(routes, 1),
            (before, None),
            "the cookie that comes back"
        );
        let known = anonymous.with("X-User-Name", format!("user{user}@example.com"));
        known.asks(routes, 2) != (before, None)
    };
    (0..USERS).filter(moves).count()
}

#[test]
fn nobody_gets_another_version_by_logging_in() {
    assert_eq!(
        moved_by_login(&routes(&[second_form(common(&json!({})))])),
        0
    );
    let shared = json!({"salt": "shop", "from": common(&json!({}))["identity"]["from"]});
    assert_eq!(
        moved_by_login(&routes(&[second_form(common(
            &json!({"identity": shared})
        ))])),
        0
    );
    let first = moved_by_login(&routes(&[common(&json!({}))]));
    assert!(
        first > 0,
        "a release of the first form decides as it always has"
    );
}

#[test]
fn who_is_encoded_in_a_query_and_in_a_cookie_is_one_user() {
    let routes = routes(&[second_form(common(&json!({})))]);
    for user in 0..1000 {
        let encoded = format!("first.last%2Bn{user}%40example.com");
        let page = Browser {
            query: Some(format!("a=b&user_name={encoded}")),
            ..Browser::default()
        };
        let api = Browser::default().with("Cookie", format!("theme=dark; user_name={encoded}"));
        let proxy =
            Browser::default().with("X-User-Name", format!("first.last+n{user}@example.com"));
        assert_eq!(
            [api.arm(&routes), proxy.arm(&routes)],
            [page.arm(&routes); 2],
            "{encoded}"
        );
    }
}

#[test]
fn only_the_cookie_of_the_running_release_decides() {
    let routes = routes(&[second_form(common(&json!({})))]);
    for user in 0..100 {
        let known = || Browser::default().with("X-User-Name", format!("user{user}"));
        let old = format!("halftone_id={user}; halftone_id_fedcba={user}");
        assert_eq!(
            known().with("Cookie", old.clone()).arm(&routes),
            known().arm(&routes)
        );
        let (_, set) = Browser::default()
            .with("Cookie", old)
            .asks(&routes, seed(user));
        assert!(
            set.unwrap().starts_with("halftone_id_012345="),
            "who has only old ones gets a new one"
        );
    }
}

#[test]
fn services_that_share_a_salt_share_the_generated_cookie() {
    let one = json!({"from": common(&json!({}))["identity"]["from"], "salt": "shop"});
    let mut other = common(&json!({"identity": one, "hosts": ["pay.example.com"]}));
    other["release"] = json!({"uid": "u-2", "namespace": "shop", "name": "pay", "id": "00000000000000ff",
        "createdAt": "2026-01-02T03:04:05Z"});
    let names = [common(&json!({"identity": one})), other].map(|document| {
        let routes = routes(&[second_form(document)]);
        routes
            .releases()
            .next()
            .unwrap()
            .1
            .generated()
            .unwrap()
            .cookie
            .to_string()
    });
    assert_eq!(names[0], names[1]);
}

#[test]
fn rules_see_who_the_user_is_now() {
    let rules = json!([{"name": "staff", "to": "Gray",
        "when": [{"all": [{"source": "Identity", "operator": "In", "values": ["lin@example.com"]}]}]}]);
    let routes = routes(&[second_form(common(&json!({"rules": rules, "ratio": 0})))]);
    let cookie = Browser::default().with("Cookie", "halftone_id_012345=0");
    assert_eq!(cookie.arm(&routes), Arm::Stable);
    assert_eq!(
        cookie.with("X-User-Name", "lin%40example.com").arm(&routes),
        Arm::Gray
    );
}

#[test]
fn explain_says_whose_place_a_user_has() {
    let routes = routes(&[second_form(common(&json!({})))]);
    let browser = Browser::default()
        .with("X-User-Name", "lin")
        .with("Cookie", "halftone_id_012345=0");
    let mut found = Vec::<TraceEntry>::new();
    browser.request(|request| {
        let resolution = decide_traced(&routes, all_open, request, &mut || 0, &mut found);
        let Resolution::Decided(decision) = resolution else {
            panic!("decided")
        };
        assert_eq!(
            decision.identity.as_deref(),
            Some(&b"lin"[..]),
            "the log says who it is"
        );
    });
    let said: Vec<&str> = found.iter().map(|finding| finding.said.as_str()).collect();
    assert!(
        said.iter()
            .any(|said| said.contains("lin") && said.contains("halftone_id_012345")),
        "{said:?}"
    );
}

#[test]
fn a_preflight_goes_to_stable_without_a_cookie_and_counts_as_missing() {
    let preflight = || {
        Browser {
            method: Some("OPTIONS"),
            ..Browser::default()
        }
        .with("Origin", "https://www.example.com")
        .with("Access-Control-Request-Method", "POST")
    };
    let said = |routes: &Routes, browser: &Browser| {
        browser.request(
            |request| match decide(routes, all_open, request, &mut || 0) {
                Resolution::Decided(decision) => {
                    format!(
                        "{} {} {}",
                        decision.arm.name(),
                        decision.chosen_by.name(),
                        decision.mint.is_some()
                    )
                }
                other => format!("{other:?}"),
            },
        )
    };
    let generated = common(&json!({"ratio": 1_000_000}));
    let header = |when_missing: &str| json!({"from": [{"header": "X-User-Name"}], "whenMissing": when_missing});
    let mut cases = vec![
        (generated.clone(), "stable Missing false"),
        (second_form(generated), "stable Missing false"),
    ];
    for when_missing in ["Stable", "Gray", "Split", "Reject"] {
        let document = common(&json!({"ratio": 1_000_000, "identity": header(when_missing)}));
        cases.push((document, "stable Missing false"));
    }
    cases.push((common(&json!({"state": "Promoted"})), "gray Missing false"));
    cases.push((
        common(&json!({"state": "RolledBack"})),
        "stable Missing false",
    ));
    for (document, expected) in cases {
        let routes = routes(std::slice::from_ref(&document));
        assert_eq!(said(&routes, &preflight()), expected, "{document}");
    }
    let routes = routes(&[common(&json!({"ratio": 1_000_000}))]);
    let known = Browser {
        query: Some("user_name=lin".into()),
        ..preflight()
    };
    assert_eq!(
        said(&routes, &known),
        "gray Split false",
        "an address can name a user in a preflight, too"
    );
    let plain = Browser {
        method: Some("OPTIONS"),
        ..Browser::default()
    }
    .with("Origin", "https://a.example");
    assert_eq!(
        said(&routes, &plain),
        "gray Split true",
        "not every OPTIONS is a preflight"
    );
}

#[test]
fn the_generated_cookie_has_the_attributes_that_are_chosen() {
    let cookie = json!({"cookie": "id", "maxAgeMs": 60_000, "domain": "example.com", "sameSite": "None",
        "secure": true, "partitioned": true});
    let document = common(
        &json!({"identity": {"from": [{"generated": cookie}]}, "requires": ["cookie-attributes"]}),
    );
    let (_, set) = Browser::default().asks(&routes(&[document]), 7);
    let wanted = "id=00000000000000000000000000000007; Max-Age=60; Path=/; HttpOnly; SameSite=None; \
                  Domain=example.com; Secure; Partitioned";
    assert_eq!(set.as_deref(), Some(wanted));
}
