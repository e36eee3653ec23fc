//! The documents that both benches work on: what a large team's releases look like.

use serde_json::{Value, json};

/// Ten rules as a team writes them: people by name, offices by network, regions by cookie, and expressions.
fn rules(release: usize) -> Value {
    let rule =
        |name: &str, to: &str, all: Value| json!({"name": name, "to": to, "when": [{"all": all}]});
    let header = |name: &str, operator: &str, values: &[&str]| json!([{"source": "Header", "name": name, "operator": operator, "values": values}]);
    json!([
        rule(
            "testers",
            "Gray",
            json!([{"source": "Identity", "operator": "In", "values": ["lin", "wei", "chen", "zhao"]}])
        ),
        rule(
            "office",
            "Gray",
            json!([{"source": "ClientIp", "operator": "InCidr", "values": ["10.1.0.0/16", "10.2.0.0/16", "fd00:1::/32"]}])
        ),
        rule(
            "city",
            "Gray",
            json!([{"source": "Cookie", "name": "city", "operator": "In", "values": ["sz", "gz"]}])
        ),
        rule(
            "bots",
            "Stable",
            header("User-Agent", "Regex", &["(?i)bot|spider|crawler"])
        ),
        rule("beta", "Gray", header("X-Beta", "Exists", &[])),
        rule(
            "old-apps",
            "Stable",
            header("X-App-Version", "Lt", &["500"])
        ),
        rule(
            "partners",
            "Stable",
            header("X-Partner", "Prefix", &["acme-", "globex-"])
        ),
        rule(
            "exports",
            "Stable",
            json!([{"source": "Path", "operator": "Suffix", "values": [".csv", ".xlsx"]}])
        ),
        rule(
            "preview",
            "Gray",
            json!([{"source": "Query", "name": "preview", "operator": "In", "values": ["1"]}])
        ),
        rule(
            "own",
            "Gray",
            header("X-Tenant", "In", &[&format!("tenant-{release}")])
        ),
    ])
}

/// The document of one of many releases, as JSON.
pub(crate) fn document(release: usize) -> String {
    let document = json!({
        "schema": 1,
        "bucketing": "xxh3-1",
        "release": {"uid": format!("uid-{release}"), "namespace": "shop", "name": format!("service-{release}"),
            "id": format!("{release:016x}"), "createdAt": "2026-01-02T03:04:05Z"},
        "revision": 3,
        "stage": 2,
        "state": "Active",
        "moving": true,
        "ratio": 125_000,
        "hosts": [format!("service-{release}.example.com"), format!("*.service-{release}.example.com")],
        "paths": ["/", "/api/v2"],
        "arms": {
            "stable": {"service": {"namespace": "shop", "name": format!("service-{release}-v1"), "port": 80}, "version": "v1"},
            "gray": {"service": {"namespace": "shop", "name": format!("service-{release}-v2"), "port": 80}, "version": "v2"},
        },
        "identity": {"from": [{"header": "X-User-Name"}, {"query": "user_name"}, {"cookie": "user_name"}]},
        "rules": rules(release),
        "limits": {"latency": {"p99": 500}},
    });
    document.to_string()
}
