//! The API server and the plan refuse the same objects.

use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use super::cel::{everything, refusals, with};
use crate::{GrayRelease, Plan};

/// For each place below the spec, values that belong there and values that do not.
fn places() -> Vec<(&'static str, Vec<Value>)> {
    let durations = || {
        vec![
            json!("5m"),
            json!("0s"),
            json!("1h1m1s1ms"),
            json!("5"),
            json!(""),
            json!("100000s"),
            json!(5),
        ]
    };
    let ratios = || {
        vec![
            json!(0),
            json!(100),
            json!(101),
            json!(-1),
            json!("12.5%"),
            json!("100%"),
            json!("100.0%"),
            json!("12.5"),
            json!("1.00001%"),
            json!(12.5),
            json!("%"),
            Value::Null,
        ]
    };
    let factors = || {
        vec![
            json!("1"),
            json!("0.999"),
            json!("999.999"),
            json!("1000"),
            json!("1.2345"),
            json!(2),
            json!("x"),
        ]
    };
    let arms = || {
        vec![
            json!({"addresses": ["127.0.0.1:9001"], "version": "v1"}),
            json!({"addresses": ["127.0.0.1:9001", "[::1]:1"], "version": "v2"}),
            json!({"addresses": ["127.0.0.1:9001", "127.0.0.1:9001"], "version": "v3"}),
            json!({"addresses": [], "version": "v2"}),
            json!({"addresses": ["127.0.0.1:0"], "version": "v2"}),
            json!({"addresses": ["127.0.0.1:00080"], "version": "v2"}),
            json!({"addresses": ["127.0.0.1:000080"], "version": "v2"}),
            json!({"addresses": ["127.0.0.01:80"], "version": "v2"}),
            json!({"addresses": ["[::ffff:1.2.3.4]:80"], "version": "v2"}),
            json!({"addresses": ["[fe80::1%1]:80"], "version": "v2"}),
            json!({"addresses": ["[1.2.3.4]:80"], "version": "v2"}),
            json!({"addresses": ["::1:80"], "version": "v2"}),
            json!({"service": {"name": "a", "port": 80}, "version": "v1"}),
            json!({"service": {"name": "a", "port": 80}, "version": "v2"}),
            json!({"service": {"name": "a", "port": 80}, "version": "v2", "pathPrefix": "/x"}),
            json!({"service": {"name": "A", "port": 80}, "version": "v2"}),
            json!({"service": {"name": "a"}, "version": "v2"}),
            json!({"service": {"name": "a", "port": 0}, "version": "v2"}),
            json!({"service": {"name": "a", "port": "80"}, "version": "v2"}),
            json!({"service": {"name": "a", "port": "a-b"}, "version": "v2"}),
            json!({"service": {"name": "a", "port": "a.b"}, "version": "v2"}),
            json!({"service": {"name": "a", "port": "abcdefghijklmnop"}, "version": "v2"}),
            json!({"service": {"name": "a", "port": 80}, "addresses": ["127.0.0.1:80"], "version": "v2"}),
            json!({"service": {"name": "a", "port": 80}}),
            json!({"version": "v2"}),
            json!({"service": {"name": "b", "port": 80}, "version": "with space"}),
            Value::Null,
        ]
    };
    let prefixes = || {
        vec![
            json!("/"),
            json!("/a"),
            json!("/a/"),
            json!("a"),
            json!("/a?b"),
            json!("/.."),
            json!("/%00"),
            json!("/%2e"),
            json!("/%zz"),
            json!("/..."),
        ]
    };
    let conditions = || {
        let names = [
            json!({}),
            json!({"name": "n"}),
            json!({"name": "a b"}),
            json!({"name": ""}),
        ];
        let sources = ["Identity", "Header", "Cookie", "Query", "ClientIp", "Nose"];
        let operators = [
            "In",
            "NotIn",
            "Exists",
            "DoesNotExist",
            "Prefix",
            "NotContains",
            "Gt",
            "Lt",
            "Is",
        ];
        let values = [
            json!({}),
            json!({"values": []}),
            json!({"values": ["1"]}),
            json!({"values": ["1", "1"]}),
            json!({"values": [""]}),
            json!({"values": ["-1.5"]}),
            json!({"values": ["1."]}),
            json!({"values": [1]}),
        ];
        let mut all = Vec::new();
        for (at, name) in names.iter().enumerate() {
            for (source_at, source) in sources.iter().enumerate() {
                for (operator_at, operator) in operators.iter().enumerate() {
                    // A part of all combinations, every pair among them.
                    let value = &values[(at + source_at * 3 + operator_at * 5) % values.len()];
                    let mut condition = json!({"source": source, "operator": operator});
                    for part in [name, value] {
                        condition
                            .as_object_mut()
                            .unwrap()
                            .extend(part.as_object().unwrap().clone());
                    }
                    all.push(condition);
                }
            }
        }
        all
    };
    vec![
        (
            "/proxyClass",
            vec![
                json!("edge"),
                json!("Edge"),
                json!(""),
                json!("-a"),
                json!("a".repeat(64)),
            ],
        ),
        (
            "/hosts",
            [
                json!([]),
                json!(["a", "a"]),
                json!(["*"]),
                json!(["*."]),
                json!(["a.*"]),
                json!(["A"]),
                json!(["a:80"]),
                json!(["a."]),
                json!(["[::1]"]),
                json!(["[::ffff:1.2.3.4]"]),
                json!(["[1.2.3.4]"]),
                json!(["[::1"]),
                json!(["*.[::1]"]),
                json!(["10.0.0.1"]),
                json!(["-"]),
                json!(["a..b"]),
                json!(["https://a"]),
                json!(["[::1]:80"]),
                json!(["[::1]:"]),
                json!([":80"]),
                json!(["::1"]),
                json!(["a/b"]),
                json!(["a b"]),
                json!(["ü.example"]),
                json!(["[2001:DB8::1]"]),
                json!(["[]"]),
                json!(["["]),
                json!([""]),
                json!(["a".repeat(63)]),
                json!(["a".repeat(64)]),
                json!(["a".repeat(254)]),
                json!("a"),
                json!((0..65).map(|n| n.to_string()).collect::<Vec<_>>()),
            ]
            .into(),
        ),
        (
            "/paths",
            prefixes()
                .into_iter()
                .map(|path| json!([path]))
                .chain([json!([]), json!(["/a", "/a"]), json!(["/a", "/%61"])])
                .collect(),
        ),
        ("/stable", arms()),
        ("/gray", arms()),
        ("/stable/pathPrefix", prefixes()),
        ("/gray/pathPrefix", prefixes()),
        ("/gray/timeouts/connect", durations()),
        ("/stable/timeouts/tunnel", durations()),
        (
            "/stable/maxInFlight",
            vec![json!(1), json!(0), json!(1_000_001), json!("1"), json!(1.5)],
        ),
        (
            "/stable/lenient",
            vec![json!(true), json!(false), json!("true"), json!(1)],
        ),
        (
            "/maxBodyBytes",
            vec![
                json!(1),
                json!(0),
                json!(-1),
                json!(1_099_511_627_777_u64),
                json!("1"),
                json!(null),
            ],
        ),
        (
            "/stable/maxTunnels",
            vec![json!(1), json!(0), json!(1_000_001), json!("1"), json!(1.5)],
        ),
        ("/stable/healthCheck/path", prefixes()),
        (
            "/stable/healthCheck/interval",
            vec![json!("100ms"), json!("99ms"), json!("1")],
        ),
        (
            "/stable/healthCheck/unhealthyAfter",
            vec![json!(0), json!(100), json!(101), json!(-1)],
        ),
        (
            "/identity/from",
            vec![
                json!([]),
                json!([{"header": "a"}]),
                json!([{"header": "a"}, {"header": "a"}]),
                json!([{"header": ""}]),
                json!([{}]),
                json!([{"header": "a", "cookie": "b"}]),
                json!([{"generated": {}}]),
                json!([{"generated": {}}, {"header": "a"}]),
                json!([{"query": "a b"}]),
                json!([{"query": ""}]),
                json!([{"jwtClaim": {}}, {"jwtClaim": {"claim": "sub"}}]),
                json!([{"jwtClaim": {"claim": ""}}]),
                json!([{"jwtClaim": {"header": "a b"}}]),
                json!([{"clientIp": {}}]),
                json!([{"clientIp": {"v4Prefix": 0}}]),
                json!([{"clientIp": {"v6Prefix": 129}}]),
                json!([{"generated": {"cookie": "__HOST-x"}}]),
                json!([{"generated": {"maxAge": "999ms"}}]),
                json!([{"generated": {"maxAge": "1s"}}]),
                json!([{"header": "a", "decode": false}]),
                json!([{"jwtClaim": {}, "decode": false}]),
                json!([{"jwtClaim": {}, "decode": true}]),
                json!([{"generated": {"domain": "example.com", "secure": true}}]),
                json!([{"generated": {"domain": "shop.example.com"}}]),
                json!([{"generated": {"domain": "com"}}]),
                json!([{"generated": {"domain": "co.uk"}}]),
                json!([{"generated": {"domain": ".example.com"}}]),
                json!([{"generated": {"domain": "10.0.0.1"}}]),
                json!([{"generated": {"sameSite": "None"}}]),
                json!([{"generated": {"sameSite": "Strict", "partitioned": true}}]),
                json!([{"generated": {"sameSite": "lax"}}]),
            ],
        ),
        (
            "/identity/whenMissing",
            vec![
                json!("Stable"),
                json!("Gray"),
                json!("Reject"),
                json!("gray"),
                json!(1),
            ],
        ),
        (
            "/identity/rejectStatus",
            vec![json!(400), json!(399), json!(499), json!(500)],
        ),
        (
            "/identity/salt",
            vec![json!(""), json!("ü".repeat(63)), json!("a".repeat(64))],
        ),
        ("/targetRatio", ratios()),
        (
            "/steps",
            vec![
                json!([]),
                Value::Null,
                json!([{"ratio": 5}]),
                json!([{"ratio": 5}, {"ratio": "5.0%"}]),
                json!([{"ratio": 5}, {"ratio": "5.1%"}]),
                json!([{"ratio": 6}, {"ratio": 5}]),
                json!([{"hold": "5m"}]),
                json!([{"ratio": 5, "hold": "x"}]),
                json!([{"ratio": "9%"}, {"ratio": "10%"}]),
                json!([{"ratio": "x%"}, {"ratio": 5}]),
                json!((0..33).map(|n| json!({"ratio": n})).collect::<Vec<_>>()),
            ],
        ),
        (
            "/schedule",
            vec![
                Value::Null,
                json!({"timeZone": "UTC", "windows": []}),
                json!({"timeZone": "UTC"}),
                json!({"timeZone": "U T C", "windows": []}),
            ],
        ),
        (
            "/schedule/windows/0/days",
            vec![
                json!(["Mon"]),
                json!([]),
                json!(["Mon", "Mon"]),
                json!(["mon"]),
            ],
        ),
        (
            "/schedule/windows/0/from",
            vec![json!("00:00"), json!("24:00"), json!("9:00"), json!(900)],
        ),
        ("/health/enabled", vec![json!(false), json!("false")]),
        ("/health/maxErrorRate", ratios()),
        (
            "/health/errorStatuses",
            vec![
                json!([]),
                json!(["5xx", "404"]),
                json!(["5xx", "5xx"]),
                json!(["6xx"]),
                json!(["099"]),
                json!([503]),
            ],
        ),
        ("/health/maxLatency/p50", durations()),
        ("/health/maxLatency/p999", durations()),
        (
            "/health/include",
            vec![
                json!([]),
                json!(["Rule"]),
                json!(["Rule", "Rule"]),
                json!(["Split"]),
            ],
        ),
        (
            "/health/exclude/0/all",
            vec![json!([]), json!([{"source": "Path", "operator": "Exists"}])],
        ),
        ("/health/exclude/0/all/0", conditions()),
        ("/health/versusStable/errorRate", factors()),
        ("/health/versusStable/p99", factors()),
        ("/health/versusStable/floor", ratios()),
        ("/health/versusStable/enabled", vec![json!(false)]),
        (
            "/health/minRequests",
            vec![json!(0), json!(-1), json!(1_000_000_001_i64)],
        ),
        (
            "/health/confidence",
            vec![
                json!(50),
                json!(49),
                json!(99),
                json!(100),
                json!("99.9999%"),
                json!("100%"),
                json!("49.9%"),
                json!("50%"),
                json!("99.9"),
            ],
        ),
        ("/health/patience", durations()),
        ("/rules", vec![json!([]), Value::Null]),
        (
            "/rules/0/name",
            vec![
                json!("office"),
                json!("a"),
                json!(""),
                json!("a b"),
                json!("a".repeat(64)),
            ],
        ),
        ("/rules/0/to", vec![json!("Gray"), json!("gray")]),
        (
            "/rules/0/when",
            vec![json!([]), json!([{}]), json!([{"all": []}])],
        ),
        ("/rules/0/when/0/all/0", conditions()),
        ("/rules/1/when/0/all/0", conditions()),
        (
            "/debug",
            vec![
                Value::Null,
                json!({}),
                json!({"value": ""}),
                json!({"value": "a b"}),
                json!({"value": " a"}),
                json!({"value": "ü"}),
                json!({"header": "a b", "value": "x"}),
            ],
        ),
        (
            "/versionHeader/request",
            vec![json!("X-V"), json!("HOST"), json!(""), json!("a b")],
        ),
        (
            "/force",
            vec![json!("Gray"), json!("Stable"), json!("gray")],
        ),
        (
            "/onOperatorLost/after",
            vec![json!("30s"), json!("29s999ms"), json!("x")],
        ),
    ]
}

fn changes() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let change = select(places()).prop_flat_map(|(place, values)| (Just(place), select(values)));
    prop::collection::vec(change, 0..4)
}

/// Whether a plan can be made of what is written; what cannot even be read makes none.
fn plans(object: &Value) -> Result<Plan, String> {
    let release: GrayRelease =
        serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    Plan::try_from(&release).map_err(|problems| problems.to_string())
}

fn release(object: Value) -> Value {
    let head = json!({"apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease"});
    let mut release = object;
    release
        .as_object_mut()
        .unwrap()
        .extend(head.as_object().unwrap().clone());
    release
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]
    #[test]
    fn the_api_server_and_the_plan_accept_the_same_objects(changes in changes()) {
        let mut object = everything();
        for (place, value) in changes {
            object = with(object, place, value);
        }
        let (refused, plan) = (refusals(&object, None), plans(&release(object.clone())));
        prop_assert_eq!(refused.is_empty(), plan.is_ok(), "API server: {:?}\nplan: {:?}\n{}", refused, plan.err(), object["spec"]);
    }
}

#[test]
fn every_single_change_is_accepted_or_refused_by_both() {
    let (mut accepted, mut rejected) = (0, 0);
    for (place, values) in places() {
        for value in values {
            let object = with(everything(), place, value.clone());
            let (refused, plan) = (refusals(&object, None), plans(&release(object)));
            assert_eq!(
                refused.is_empty(),
                plan.is_ok(),
                "{place} = {value}\nAPI server: {refused:?}\nplan: {plan:?}"
            );
            *(if plan.is_ok() {
                &mut accepted
            } else {
                &mut rejected
            }) += 1;
        }
    }
    assert!(
        accepted > 50 && rejected > 100,
        "{accepted} accepted, {rejected} rejected"
    );
}
