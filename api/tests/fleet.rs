//! The declaration of fleets as a person writes it: what is taken, and what is refused with its place.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

use std::time::Duration;

use halftone_api::fleet::FleetDeclarations;
use halftone_api::manifest;
use halftone_routing::fleet::EdgePosition;

const EXAMPLE: &str = include_str!("../../examples/operator/fleet.yaml");

/// What is wrong with a declaration.
fn findings(text: &str) -> Vec<String> {
    let findings = FleetDeclarations::read("fleet.yaml", text)
        .err()
        .unwrap_or_default();
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn the_example_is_read_with_everything_it_says() {
    let fleets = FleetDeclarations::read("fleet.yaml", EXAMPLE).unwrap();
    let fleet = fleets.find("default").unwrap();
    assert_eq!(fleet.config.position, EdgePosition::BehindProxy);
    assert_eq!(
        fleet.config.trusted_proxies,
        ["10.0.0.0/8".parse().unwrap()]
    );
    assert!(fleet.config.default_backend.is_some());
    assert_eq!(fleet.times.withdraw_after, Duration::from_secs(60));
    assert_eq!(fleet.times.host_reserve, Duration::from_secs(600));
    assert!(fleets.find("edge").is_none());
}

#[test]
fn the_least_declaration_is_a_class() {
    let fleets = FleetDeclarations::read("fleet.yaml", "fleets: [{class: edge}]").unwrap();
    let fleet = fleets.find("edge").unwrap();
    assert_eq!(fleet.config.position, EdgePosition::Edge);
    assert!(!fleet.allow_all && !fleet.allow_addresses);
}

#[test]
fn the_routing_document_of_a_fleet_is_taken_and_forbids_nothing() {
    let text = "schema: 1\nclass: edge\nposition: BehindProxy\ntrustedProxies: [10.0.0.0/8]\n";
    let fleets = FleetDeclarations::read("fleet.yaml", text).unwrap();
    let fleet = fleets.find("edge").unwrap();
    assert_eq!(fleet.config.position, EdgePosition::BehindProxy);
    assert!(fleet.allow_all && fleet.allow_addresses);
    let wrong = findings("schema: 1\nposition: Outside\n");
    assert!(
        wrong[0].starts_with("fleet.yaml:2:11: error: position: "),
        "{wrong:?}"
    );
    let unknown = findings("schema: 1\ntrusted: []\n");
    assert!(
        unknown[0].contains("error: trusted: there is no such field"),
        "{unknown:?}"
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let text = r#"fleets:
  - class: Default
    allowall: true
    allowed:
      - {namespaces: [Shop], hosts: ["a:80"]}
    trustedProxies: [10.0.0.1/8, nowhere]
    position: Outside
  - class: edge
    withdrawAfter: soon
    stragglerTimeout: 5 min
    hostReserve: 10 minutes
    defaultBackend: {service: {namespace: shop, name: sorry, port: 0}}
  - class: inner
    defaultBackend: {addresses: ["localhost:80"]}
  - class: inner
    defaultBackend: {}
"#;
    let told = findings(text);
    let expected = [
        "fleet.yaml:2:12: error: fleets[0].class: \"Default\" is no name; ",
        "fleet.yaml:3:5: error: fleets[0].allowall: there is no field \"allowall\" here; did you mean allowAll?",
        "fleet.yaml:5:23: error: fleets[0].allowed[0].namespaces[0]: \"Shop\" is no namespace; ",
        "fleet.yaml:7:15: error: fleets[0].position: is \"Outside\", which it cannot be; ",
        "fleet.yaml:9:20: error: fleets[1].withdrawAfter: \"soon\" is no duration; ",
        "fleet.yaml:10:23: error: fleets[1].stragglerTimeout: \"5 min\" is no duration; ",
        "fleet.yaml:11:18: error: fleets[1].hostReserve: \"10 minutes\" is no duration; ",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}");
    }
    let written_right = text
        .replace("Default", "default")
        .replace("allowall", "allowAll")
        .replace("Shop", "shop")
        .replace("Outside", "Edge")
        .replace("soon", "1m")
        .replace("5 min", "5m")
        .replace("10 minutes", "0s");
    let told = findings(&written_right);
    let expected = [
        "fleet.yaml:5:38: error: fleets[0].allowed[0].hosts[0]: ",
        "fleet.yaml:6:22: error: fleets[0].trustedProxies[0]: 10.0.0.1/8 has bits beyond its prefix; write 10.0.0.0/8",
        "fleet.yaml:6:34: error: fleets[0].trustedProxies[1]: \"nowhere\" is no network; write 10.1.0.0/16",
        "fleet.yaml:12:68: error: fleets[1].defaultBackend.service.port: is no port; ",
        "fleet.yaml:14:34: error: fleets[2].defaultBackend.addresses[0]: ",
        "fleet.yaml:15:12: error: fleets[3].class: inner is declared twice; ",
        "fleet.yaml:16:5: error: fleets[3].defaultBackend: ",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn what_is_no_declaration_says_what_it_should_be() {
    for (text, says) in [
        (
            "",
            "fleet.yaml:1:1: error: declares no fleet; write one document with fleets:",
        ),
        ("fleets: []", "fleets: is an empty list"),
        (
            "fleets: [{class: a}]\n---\nfleets: [{class: b}]",
            "fleet.yaml:3:1: error: a second document begins here",
        ),
        (
            "apiVersion: halftone.dev/v1alpha1\nkind: GrayRelease",
            "is a GrayRelease, and no fleets; write fleets:",
        ),
        ("fleets: [", "error: cannot be read"),
        (
            "fleets: [{class: a}]\nschema: 1",
            "there is no field \"schema\"",
        ),
    ] {
        let told = findings(text);
        assert!(told[0].contains(says), "{text}: {told:?}");
    }
}

#[test]
fn on_one_machine_the_fleet_must_be_there_and_its_default_backend_an_address() {
    let fleets = FleetDeclarations::read("fleet.yaml", EXAMPLE).unwrap();
    let told = fleets.without_cluster("default").unwrap_err().to_string();
    assert!(
        told.contains(": error: fleets[0].defaultBackend: there is no cluster here"),
        "{told}"
    );
    assert!(told.contains("write addresses instead"), "{told}");
    let told = fleets.without_cluster("edge").unwrap_err().to_string();
    assert!(
        told.contains("there is no fleet of class \"edge\""),
        "{told}"
    );
    let text = "fleets: [{class: edge, defaultBackend: {addresses: ['127.0.0.1:9001']}}]";
    let fleets = FleetDeclarations::read("fleet.yaml", text).unwrap();
    assert!(
        fleets
            .without_cluster("edge")
            .unwrap()
            .config
            .default_backend
            .is_some()
    );
}

#[test]
fn paths_of_an_entry_of_allowed_limit_it_to_these_prefixes_by_whole_segments() {
    let allowed = "[{namespaces: [shop], hosts: [x.example, '*.x.example'], paths: [/pay, /api/v2/]}, \
                   {namespaces: [shop], hosts: [y.example]}]";
    let text = format!("fleets: [{{class: default, allowed: {allowed}}}]");
    let fleets = FleetDeclarations::read("fleet.yaml", &text).unwrap();
    for (hosts, paths, allowed) in [
        ("x.example", "/pay", true),
        ("x.example", "/pay/now", true),
        ("x.example", "/pay, /api/v2/users", true),
        ("x.example", "/payments", false),
        ("x.example", "/", false),
        ("x.example", "/pay, /other", false),
        ("a.x.example", "/pay", true),
        ("a.x.example", "/", false),
        ("y.example", "/", true),
        ("x.example, y.example", "/pay", true),
        ("x.example, y.example", "/", false),
    ] {
        let release = format!(
            "{{apiVersion: halftone.dev/v1alpha1, kind: GrayRelease, metadata: {{name: a, namespace: shop}},\n spec: \
             {{hosts: [{hosts}], paths: ['{}'], stable: {{service: {{name: a, port: 80}}, version: v1}}}}}}",
            paths.replace(", ", "', '")
        );
        let reading = manifest::read("f.yaml", &release);
        assert!(reading.is_sound(), "{:?}", reading.findings);
        let refused = fleets
            .forbids(&reading.manifests[0].plan)
            .map(|obstacle| obstacle.reason);
        let expected = (!allowed).then(|| "HostNotAllowed".to_owned());
        assert_eq!(refused, expected, "{hosts} {paths}");
    }
    let wrong =
        findings("fleets: [{class: a, allowed: [{namespaces: [shop], hosts: [x], paths: [pay]}]}]");
    assert!(
        wrong[0].contains("fleets[0].allowed[0].paths[0]"),
        "{wrong:?}"
    );
}

#[test]
fn an_operator_needs_to_know_where_the_proxies_are() {
    let text = "watchNamespaces: [shop]\nfleets:\n- {class: a, namespace: halftone, podSelector: {app: x}}\n- {class: b}\n";
    let fleets = FleetDeclarations::read("operator.yaml", text).unwrap();
    assert_eq!(fleets.watch_namespaces[0].as_str(), "shop");
    let missing: Vec<String> = fleets
        .in_cluster()
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        missing[0].starts_with("operator.yaml:4:3: error: fleets[1].namespace: is missing; "),
        "{missing:?}"
    );
    assert!(
        missing[1].contains("fleets[1].podSelector: is missing"),
        "{missing:?}"
    );
}

#[test]
fn the_chart_takes_for_a_network_what_proxies_take() {
    let schema = include_str!("../../charts/halftone/values.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let pattern =
        regex::Regex::new(schema["definitions"]["cidr"]["pattern"].as_str().unwrap()).unwrap();
    for address in [
        "::",
        "::1",
        "2001:db8::",
        "1::8",
        "1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8",
        "1::3:4:5:6:7:8",
        "fe80::ABCD",
        "::ffff:10.0.0.0",
        "64:ff9b::192.0.2.1",
        "1:2:3:4:5:6:1.2.3.4",
        "1:2:3:4:5::1.2.3.4",
        ":::::",
        ":::",
        ":",
        "1:2",
        "1::2::3",
        "12345::",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4::5:6:7:8",
        "::1.2.3",
        "::1.2.3.4:5",
        "1:2:3:4:5:6:7:1.2.3.4",
        "::256.0.0.1",
        "g::",
        "1:2:3:4:5:6:7:",
        ":2:3:4:5:6:7:8",
    ] {
        let valid = address.parse::<std::net::Ipv6Addr>().is_ok();
        assert_eq!(
            pattern.is_match(&format!("{address}/64")),
            valid,
            "{address}"
        );
        assert!(!pattern.is_match(address), "{address} is no network");
    }
    assert!(pattern.is_match("::/128") && !pattern.is_match("::/129"));
}
