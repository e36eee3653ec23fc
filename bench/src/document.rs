//! The routing documents that Halftone is measured with: every default as it stands, nothing switched off.

use serde_json::{Value, json};
use std::net::SocketAddr;

/// The release under measurement: 10 % of the users to gray, identity from header, query, cookie, else a generated
/// cookie, a latency limit beside the default error limits.
pub(crate) fn release(arms: [SocketAddr; 2]) -> Value {
    document(0, "shop.example.com", arms)
}

/// Another release of the same kind for a host of its own, with ten rules, as a proxy that serves many teams has
/// them. `number` starts from 1.
pub(crate) fn neighbour(number: usize, arms: [SocketAddr; 2]) -> Value {
    let mut document = document(number, &format!("service-{number}.example.com"), arms);
    document["rules"] = (0..10).map(rule).collect();
    document
}

fn document(number: usize, host: &str, arms: [SocketAddr; 2]) -> Value {
    json!({
        "schema": 1,
        "bucketing": "xxh3-1",
        "release": {
            "uid": format!("local/bench/release-{number}"),
            "namespace": "bench",
            "name": format!("release-{number}"),
            "id": format!("{number:016x}"),
            "createdAt": "2026-01-01T00:00:00Z",
        },
        "revision": 1,
        "stage": 1,
        "state": "Active",
        "moving": true,
        "ratio": 100_000,
        "hosts": [host],
        "arms": {
            "stable": {"addresses": [arms[0]], "version": "v1"},
            "gray": {"addresses": [arms[1]], "version": "v2"},
        },
        "identity": {"from": [
            {"header": "X-User-Name"},
            {"query": "user_name"},
            {"cookie": "user_name"},
            {"generated": {"cookie": "halftone_id", "maxAgeMs": 2_592_000_000_u64}},
        ]},
        "limits": {"latency": {"p99": 500}},
    })
}

fn rule(number: usize) -> Value {
    let condition = match number % 3 {
        0 => {
            json!({"source": "Cookie", "name": "city", "operator": "In", "values": [format!("city-{number}")]})
        }
        1 => {
            json!({"source": "Header", "name": "X-Tenant", "operator": "Prefix", "values": [format!("tenant-{number}-")]})
        }
        _ => {
            json!({"source": "ClientIp", "operator": "InCidr", "values": [format!("10.{number}.0.0/16")]})
        }
    };
    json!({"name": format!("rule-{number}"), "to": "Gray", "when": [{"all": [condition]}]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use halftone_routing::document::RoutingConfig;

    #[test]
    fn the_documents_are_routing_documents() {
        let arms = [
            SocketAddr::from(([127, 0, 0, 1], 1)),
            SocketAddr::from(([127, 0, 0, 1], 2)),
        ];
        let release: RoutingConfig = serde_json::from_value(release(arms)).unwrap();
        assert_eq!(release.ratio.fraction(), 0.1);
        let neighbour: RoutingConfig = serde_json::from_value(neighbour(7, arms)).unwrap();
        assert_eq!(neighbour.rules.len(), 10);
    }
}
