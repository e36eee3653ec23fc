//! Runs the CEL rules of the generated schema, each on objects that it accepts and on one that it refuses.

use std::collections::BTreeSet;

use kube_cel::{CompiledSchema, apply_defaults, compile_schema, validate_compiled};
use serde_json::{Value, json};

use crate::{crd::schema, structural};

thread_local! {
    /// Compiling takes longer than a thousand evaluations.
    static COMPILED: CompiledSchema = compile_schema(schema());
}

/// What the API server has to say of an object: the messages of what it refuses.
pub(super) fn refusals(object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut refusals: Vec<String> =
        structural::check(&object["spec"], &schema()["properties"]["spec"], "spec")
            .iter()
            .map(ToString::to_string)
            .collect();
    let errors = COMPILED
        .with(|compiled| validate_compiled(compiled, &defaulted(object), old.map(defaulted).as_ref()).err());
    let errors = errors.into_iter().flat_map(kube_cel::ValidationErrors::into_vec);
    refusals.extend(errors.map(|error| error.message));
    refusals
}

/// The object as the API server stores it: defaults filled in, also inside of what a default has made.
pub(super) fn defaulted(object: &Value) -> Value {
    let mut object = object.clone();
    loop {
        let next = apply_defaults(schema(), &object);
        if next == object {
            return object;
        }
        object = next;
    }
}

pub(super) fn object(spec: &Value) -> Value {
    json!({"metadata": {"name": "checkout"}, "spec": spec})
}

/// The example that has every field.
pub(super) fn everything() -> Value {
    let text = include_str!("../../../examples/everything.yaml");
    let example: Value = serde_saphyr::from_str(text).unwrap();
    object(&example["spec"])
}

/// The same with the value at `pointer`, below the spec, replaced; null removes it.
pub(super) fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match object["spec"].pointer_mut(parent) {
        Some(Value::Object(map)) if value.is_null() => {
            map.remove(name);
        }
        Some(Value::Object(map)) => {
            map.insert(name.to_owned(), value);
        }
        Some(Value::Array(items)) => {
            if let Some(item) = items.get_mut(name.parse::<usize>().unwrap()) {
                *item = value;
            }
        }
        _ => {}
    }
    object
}

fn messages(schema: &Value, found: &mut BTreeSet<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        found.insert(rule["message"].as_str().unwrap().to_owned());
    }
    for property in schema["properties"].as_object().into_iter().flat_map(|properties| properties.values()) {
        messages(property, found);
    }
    if let Some(items) = schema.get("items") {
        messages(items, found);
    }
}

#[test]
fn every_rule_accepts_what_is_right() {
    assert_eq!(refusals(&everything(), Some(&everything())), Vec::<String>::new());
    for (pointer, value) in [
        ("/hosts", json!(["*", "*.a_b.example", "127.0.0.1", "[2001:db8::1]", "localhost"])),
        ("/paths", json!(["/", "/a//b", "/a%2Fb", "/.well-known", "/...", "/a/"])),
        ("/stable", json!({"addresses": ["127.0.0.1:9001", "[::1]:65535", "10.0.0.1:1"], "version": "v1"})),
        ("/stable/service/port", json!(65535)),
        ("/stable/timeouts/connect", json!("1ms")),
        ("/gray/service", json!({"name": "checkout-v1", "port": "http"})),
        ("/gray/healthCheck", json!({"path": "/x", "interval": "100ms"})),
        ("/identity/from", json!([{"generated": {"cookie": "id", "maxAge": "1s"}}])),
        ("/identity/from", json!([{"header": "X-A"}, {"header": "X-A"}])),
        ("/targetRatio", json!(0)),
        ("/targetRatio", json!("100%")),
        ("/targetRatio", json!("0.0001%")),
        (
            "/steps",
            json!([{"ratio": 0}, {"ratio": "0.5%"}, {"ratio": 9}, {"ratio": "9.5%"}, {"ratio": "100%"}]),
        ),
        ("/health/confidence", json!(50)),
        ("/health/confidence", json!("99.9999%")),
        ("/health/versusStable/errorRate", json!("1")),
        ("/health/versusStable/p99", json!("1.001")),
        ("/force", json!("Gray")),
        ("/onOperatorLost/after", json!("30s")),
        ("/versionHeader/request", json!("X-Version")),
        (
            "/rules/0/when/0/all/0",
            json!({"source": "Query", "name": "a b", "operator": "DoesNotExist", "values": []}),
        ),
        ("/rules/0/when/0/all/0", json!({"source": "Path", "operator": "In", "values": [""]})),
        (
            "/rules/0/when/0/all/0",
            json!({"source": "Cookie", "name": "n", "operator": "Lt", "values": ["-0.5"]}),
        ),
    ] {
        let object = with(everything(), pointer, value);
        assert_eq!(refusals(&object, Some(&object)), Vec::<String>::new(), "{pointer}: {object}");
    }
    let plain = with(with(everything(), "/gray", Value::Null), "/targetRatio", Value::Null);
    assert_eq!(refusals(&plain, None), Vec::<String>::new());
}

#[test]
fn every_rule_refuses_what_is_wrong_and_says_so() {
    let mut untested = BTreeSet::new();
    messages(schema(), &mut untested);
    assert!(untested.len() > 20, "{untested:?}");
    for (pointer, value, message) in [
        ("/targetRatio", Value::Null, "targetRatio is required exactly when gray is present"),
        ("/gray", Value::Null, "targetRatio is required exactly when gray is present"),
        ("/gray/version", json!("v1"), "gray.version must differ"),
        (
            "/gray",
            json!({"service": {"name": "checkout-v1", "port": "http"}, "pathPrefix": "/v1", "version": "2"}),
            "the same backend",
        ),
        ("/hosts", json!(["[10.0.0.1]"]), "brackets hold an IPv6 address"),
        ("/hosts", json!(["[::ffff:10.0.0.1]"]), "brackets hold an IPv6 address"),
        ("/hosts", json!(["[1:2]"]), "brackets hold an IPv6 address"),
        ("/paths", json!(["/a/../b"]), "a path has no %00"),
        ("/paths", json!(["/a/%2E"]), "a path has no %00"),
        ("/paths", json!(["/a%00"]), "a path has no %00"),
        ("/stable/pathPrefix", json!("/.."), "a path has no %00"),
        ("/stable/addresses", json!(["127.0.0.1:80"]), "exactly one of service and addresses"),
        ("/gray/service", Value::Null, "exactly one of service and addresses"),
        ("/gray", json!({"addresses": ["127.0.0.1"], "version": "2"}), "an address is IP:PORT"),
        ("/gray", json!({"addresses": ["127.0.0.1:0"], "version": "2"}), "an address is IP:PORT"),
        ("/gray", json!({"addresses": ["127.0.0.1:65536"], "version": "2"}), "an address is IP:PORT"),
        ("/gray", json!({"addresses": ["::1:80"], "version": "2"}), "an address is IP:PORT"),
        ("/gray", json!({"addresses": ["[127.0.0.1]:80"], "version": "2"}), "an address is IP:PORT"),
        ("/gray", json!({"addresses": ["shop.example.com:80"], "version": "2"}), "an address is IP:PORT"),
        ("/gray/service/port", json!("80"), "is no port"),
        ("/gray/timeouts", json!({"idle": "0s"}), "must be longer than 0s"),
        ("/health/maxLatency/p99", json!("0ms"), "must be longer than 0s"),
        ("/stable/healthCheck/interval", json!("99ms"), "must be at least 100ms"),
        ("/identity/from/0", json!({"header": "X-A", "query": "a"}), "exactly one of header, query"),
        ("/identity/from/0", json!({}), "exactly one of header, query"),
        ("/identity/from/0", json!({"generated": {}}), "generated is always found"),
        ("/identity/from", json!([{"generated": {}}, {"generated": {}}]), "generated is always found"),
        ("/identity/from", json!([{"generated": {"cookie": "__Host-id"}}]), "browsers refuse a cookie"),
        ("/identity/from", json!([{"generated": {"cookie": "__secure-id"}}]), "browsers refuse a cookie"),
        ("/identity/from", json!([{"generated": {"maxAge": "999ms"}}]), "must be at least 1s"),
        ("/steps", json!([{"ratio": 5}, {"ratio": "5%"}]), "ratios must rise"),
        ("/steps", json!([{"ratio": "10.5%"}, {"ratio": 10}]), "ratios must rise"),
        ("/health/confidence", json!("49.9%"), "confidence is at least 50%"),
        ("/health/confidence", json!("100%"), "confidence is at least 50%"),
        ("/health/versusStable/errorRate", json!("0.9"), "a factor is at least"),
        ("/rules/1/name", json!("robots"), "two rules have the same name"),
        (
            "/rules/0/when/0/all/0",
            json!({"source": "Path", "name": "x", "operator": "Exists"}),
            "name is required exactly",
        ),
        (
            "/rules/0/when/0/all/0",
            json!({"source": "Header", "operator": "Exists"}),
            "name is required exactly",
        ),
        (
            "/rules/0/when/0/all/0",
            json!({"source": "Header", "name": "a b", "operator": "Exists"}),
            "is no name of a header or cookie",
        ),
        (
            "/rules/0/when/0/all/0",
            json!({"source": "Path", "operator": "In"}),
            "has values that its operator does not take",
        ),
        (
            "/rules/0/when/0/all/0",
            json!({"source": "Path", "operator": "Exists", "values": ["/"]}),
            "has values that its operator",
        ),
        (
            "/rules/0/when/0/all/0",
            json!({"source": "Path", "operator": "Gt", "values": ["1", "2"]}),
            "Gt and Lt compare with one number",
        ),
        (
            "/rules/0/when/0/all/0",
            json!({"source": "Path", "operator": "Lt", "values": ["1e5"]}),
            "Gt and Lt compare with one number",
        ),
        (
            "/health/exclude/0/all/0",
            json!({"source": "Path", "operator": "Prefix", "values": ["/a", ""]}),
            "every text begins and ends",
        ),
        ("/versionHeader/response", json!("Set-Cookie"), "HTTP itself uses this header"),
        ("/onOperatorLost/after", json!("29s"), "must be at least 30s"),
        ("/proxyClass", json!("other"), "proxyClass cannot be changed"),
    ] {
        let object = with(everything(), pointer, value);
        let old = everything();
        let refusals = refusals(&object, Some(&old));
        assert!(
            refusals.len() == 1 && refusals[0].contains(message),
            "{pointer} should meet {message}: {refusals:?}"
        );
        untested.retain(|rule| !rule.contains(message));
    }
    let force = with(
        with(with(everything(), "/gray", Value::Null), "/targetRatio", Value::Null),
        "/force",
        json!("Gray"),
    );
    assert!(refusals(&force, None)[0].contains("force: Gray needs a gray arm"));
    untested.retain(|rule| !rule.contains("force: Gray needs a gray arm"));
    assert_eq!(untested, BTreeSet::new(), "rules that no example breaks");
}

#[test]
fn reading_applies_the_defaults_of_the_schema() {
    let minimal: Value = serde_saphyr::from_str(include_str!("../../../examples/minimal.yaml")).unwrap();
    for spec in [minimal["spec"].clone(), everything()["spec"].clone(), sparse()] {
        let stored = defaulted(&object(&spec));
        let read = |spec: &Value| serde_json::from_value::<crate::GrayReleaseSpec>(spec.clone()).unwrap();
        let written = serde_json::to_value(read(&spec)).unwrap();
        assert_eq!(read(&spec), read(&stored["spec"]));
        // Defaults inside lists are not in the schema, so what was read has more than what is stored, never less.
        assert_eq!(missing(&stored["spec"], &written), Vec::<String>::new());
    }
}

/// Has each optional object with as little in it as it takes.
fn sparse() -> Value {
    json!({
        "hosts": ["*"],
        "stable": {"service": {"name": "a", "port": 80}, "version": "1", "healthCheck": {"path": "/"}, "timeouts": {}},
        "debug": {"value": "x"},
        "identity": {"salt": "s"},
        "health": {"maxLatency": {}, "versusStable": {"p99": "2"}},
        "versionHeader": {},
        "onOperatorLost": {"action": "Stable"},
    })
}

/// The paths of what `stored` has and `read` has not, or has otherwise.
fn missing(stored: &Value, read: &Value) -> Vec<String> {
    match (stored, read) {
        (Value::Object(stored), Value::Object(read)) => stored
            .iter()
            .flat_map(|(name, value)| match read.get(name) {
                Some(read) => missing(value, read).into_iter().map(|path| format!("{name}.{path}")).collect(),
                None if value.as_array().is_some_and(Vec::is_empty) => Vec::new(),
                None => vec![name.clone()],
            })
            .collect(),
        (Value::Array(stored), Value::Array(read)) if stored.len() == read.len() => {
            stored.iter().zip(read).flat_map(|(stored, read)| missing(stored, read)).collect()
        }
        _ if stored == read => Vec::new(),
        _ => vec![format!("{stored} is read as {read}")],
    }
}
