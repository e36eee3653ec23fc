//! What `halftone lint` says: nothing of the examples, and of everything else what a person should change.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

use halftone_api::{
    finding::Finding,
    fleet::FleetDeclarations,
    lint::lint,
    manifest::{ManifestFile, read},
};

const FLEET: &str = include_str!("../../examples/operator/fleet.yaml");

fn example(name: &str) -> ManifestFile {
    let path = format!("{}/../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    read(name, &std::fs::read_to_string(path).unwrap())
}

#[test]
fn the_examples_are_right_and_deserve_no_warning() {
    let fleets = FleetDeclarations::read("fleet.yaml", FLEET).unwrap();
    for name in [
        "minimal.yaml",
        "everything.yaml",
        "frontend.yaml",
        "beta-users.yaml",
        "weekday-schedule.yaml",
        "slots.yaml",
        "fixed-roles.yaml",
    ] {
        let reading = example(name);
        assert_eq!(reading.manifests.len(), 1, "{name}: {:?}", reading.findings);
        let findings = lint(&[reading], Some(&fleets));
        assert_eq!(findings, [], "{name}");
    }
    let local = include_str!("../../examples/local/fleet.yaml");
    let fleets = FleetDeclarations::read("local/fleet.yaml", local).unwrap();
    assert_eq!(lint(&[example("local/local.yaml")], Some(&fleets)), []);
}

#[test]
fn each_example_is_tested() {
    let folder = format!("{}/../examples", env!("CARGO_MANIFEST_DIR"));
    assert_eq!(
        std::fs::read_dir(folder).unwrap().count(),
        10,
        "a new example belongs into the tests here"
    );
}

/// The releases of a cluster, as `kubectl apply -f examples/` finds them.
fn releases() -> Vec<ManifestFile> {
    let folder = format!("{}/../examples", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    let names = files
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name());
    names.map(|name| example(name.to_str().unwrap())).collect()
}

#[test]
fn the_examples_can_all_be_applied_together() {
    let fleets = FleetDeclarations::read("fleet.yaml", FLEET).unwrap();
    let readings = releases();
    let releases = readings.iter().flat_map(|reading| &reading.manifests);
    let mut names: Vec<_> = releases.map(|manifest| manifest.name()).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(
        (all, names.len()),
        (7, 7),
        "two examples of one name replace each other: {names:?}"
    );
    assert_eq!(lint(&readings, Some(&fleets)), []);
}

/// A release whose spec has these lines beside hosts and arms.
fn release(name: &str, more: &str) -> String {
    let more: String = more.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: halftone.dev/v1alpha1\nkind: GrayRelease\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         stable: {{service: {{name: a, port: 80}}, version: v1}}\n{more}"
    )
}

const GRAY: &str = "gray: {service: {name: b, port: 80}, version: v2}\ntargetRatio: 50\n";

/// Codes and paths of what is said of a release with gray and these lines.
fn said(more: &str) -> Vec<String> {
    let reading = read(
        "f.yaml",
        &release("checkout", &format!("hosts: ['*']\n{GRAY}{more}")),
    );
    assert!(reading.is_sound(), "{:?}", reading.findings);
    lint(&[reading], None)
        .iter()
        .map(|finding| format!("{} {}", finding.code, finding.path))
        .collect()
}

fn rule(conditions: &str) -> String {
    format!("rules: [{{name: r, to: Gray, when: [{{all: [{conditions}]}}]}}]")
}

#[test]
fn what_is_hardly_meant_is_warned_of() {
    for (more, warning) in [
        (
            "steps: [{ratio: 10}, {ratio: 60}]",
            "StepIgnored spec.steps[1]",
        ),
        (
            "steps: [{ratio: 10, hold: 5s}]",
            "HoldTooShort spec.steps[0].hold",
        ),
        (
            "schedule: {timeZone: UTC, windows: []}",
            "ScheduleNeverOpens spec.schedule.windows",
        ),
        (
            "schedule: {timeZone: Etc/GMT+2, windows: [{from: '09:00', to: '18:00'}]}",
            "ReversedTimeZone spec.schedule.timeZone",
        ),
        (
            "health: {maxLatency: {p50: 2s, p99: 1s}}",
            "LimitsOutOfOrder spec.health.maxLatency.p99",
        ),
        (
            "identity: {whenMissing: Gray}",
            "NoEffect spec.identity.whenMissing",
        ),
        (
            "identity: {rejectStatus: 404}",
            "NoEffect spec.identity.rejectStatus",
        ),
        (
            "identity: {from: [{header: A}, {header: A}]}",
            "NoEffect spec.identity.from[1]",
        ),
        (
            "identity: {from: [{generated: {maxAge: 9601h}}]}",
            "CookieTooLong spec.identity.from[0].generated.maxAge",
        ),
        (
            "identity: {from: [{header: A}, {cookie: b, decode: false}]}",
            "SourcesDisagree spec.identity.from",
        ),
        (
            "identity: {from: [{header: A}, {clientIp: {}}]}",
            "SourcesDisagree spec.identity.from[1].clientIp",
        ),
        ("paths: [/a/]", "NotNormal spec.paths[0]"),
        ("paths: [/a, /%61]", "Repeated spec.paths[1]"),
        (
            &rule("{source: Method, operator: In, values: [get]}"),
            "NeverMatches spec.rules[0].when[0].all[0].values[0]",
        ),
        (
            &rule("{source: Path, operator: In, values: [a]}"),
            "NeverMatches spec.rules[0].when[0].all[0].values[0]",
        ),
        (
            &rule("{source: Host, operator: In, values: ['a:80']}"),
            "NeverMatches spec.rules[0].when[0].all[0].values[0]",
        ),
        (
            &rule("{source: ClientIp, operator: In, values: [10.0.0.0/8]}"),
            "NeverMatches spec.rules[0].when[0].all[0].values[0]",
        ),
        (
            &rule("{source: Path, operator: Contains, values: ['?b=c']}"),
            "NeverMatches spec.rules[0].when[0].all[0].values[0]",
        ),
        (
            &rule("{source: Path, operator: In, values: [/a/../b]}"),
            "NeverMatches spec.rules[0].when[0].all[0].values[0]",
        ),
        (
            &rule("{source: Path, operator: Prefix, values: [/a, api]}"),
            "NeverMatches spec.rules[0].when[0].all[0].values[1]",
        ),
        (
            &rule("{source: Host, operator: Suffix, values: [.Example.com]}"),
            "NeverMatches spec.rules[0].when[0].all[0].values[0]",
        ),
        (
            &rule("{source: Host, operator: Suffix, values: ['*.example.com']}"),
            "NeverMatches spec.rules[0].when[0].all[0].values[0]",
        ),
        (
            &rule("{source: Host, operator: In, values: [Shop.example.com]}"),
            "NeverMatches spec.rules[0].when[0].all[0].values[0]",
        ),
        (
            &rule("{source: Path, operator: Regex, values: ['^api/']}"),
            "NeverMatches spec.rules[0].when[0].all[0].values[0]",
        ),
        (
            &rule("{source: Identity, operator: Regex, values: [a, 'b^c']}"),
            "NeverMatches spec.rules[0].when[0].all[0].values[1]",
        ),
        (
            &rule("{source: Path, operator: Gt, values: ['5']}"),
            "NeverMatches spec.rules[0].when[0].all[0]",
        ),
        (
            &rule("{source: Path, operator: Exists}"),
            "AlwaysMatches spec.rules[0].when[0].all[0]",
        ),
        (
            &rule("{source: Host, operator: DoesNotExist}"),
            "NeverMatches spec.rules[0].when[0].all[0]",
        ),
        (
            &rule("{source: Identity, operator: In, values: [a, a]}"),
            "Repeated spec.rules[0].when[0].all[0].values[1]",
        ),
        (
            "rules:\n- {name: a, to: Gray, when: [{all: [{source: Identity, operator: Exists}]}]}\n\
             - {name: b, to: Stable, keepOnRollback: true, when: [{all: [{source: Identity, operator: In, values: [x]}]}]}",
            "NoEffect spec.rules[1].keepOnRollback",
        ),
        (
            "rules:\n- {name: a, to: Gray, when: [{all: [{source: Identity, operator: Exists}]}]}\n\
             - {name: b, to: Stable, when: [{all: [{source: Path, operator: In, values: [/]}, {source: Identity, operator: Exists}]}]}",
            "RuleUnreachable spec.rules[1]",
        ),
    ] {
        assert_eq!(said(more), [warning], "{more}");
    }
    assert_eq!(said(""), Vec::<String>::new());
}

#[test]
fn a_generated_cookie_that_each_host_has_for_itself_is_warned_of() {
    let said = |hosts: &str, generated: &str| {
        let more = format!(
            "hosts: {hosts}\n{GRAY}identity: {{from: [{{header: A}}, {{generated: {generated}}}]}}"
        );
        lint(&[read("f.yaml", &release("checkout", &more))], None)
    };
    for hosts in ["[a.example.com, b.example.com]", "['*.example.com']"] {
        let findings = said(hosts, "{}");
        let [warning] = &findings[..] else {
            panic!("{hosts}: {findings:?}")
        };
        assert_eq!(
            (warning.code, &*warning.path),
            ("CookiePerHost", "spec.identity.from[1].generated.domain")
        );
        let told = warning.to_string();
        assert!(
            told.contains("another version on another host; write the domain"),
            "{told}"
        );
        assert_eq!(said(hosts, "{domain: example.com}"), [], "{hosts}");
    }
    assert_eq!(said("[a.example.com]", "{}"), []);
    let without_gray = "hosts: [a.example.com, b.example.com]\nidentity: {from: [{generated: {}}]}";
    let told = lint(&[read("f.yaml", &release("checkout", without_gray))], None);
    assert!(
        told.iter().all(|finding| finding.code != "CookiePerHost"),
        "{told:?}"
    );
}

#[test]
fn conditions_that_contradict_each_other_are_warned_of() {
    let pair = |one: &str, other: &str| said(&rule(&format!("{{{one}}}, {{{other}}}")));
    for (one, other) in [
        (
            "source: Identity, operator: In, values: [a, b]",
            "source: Identity, operator: NotIn, values: [b, a, c]",
        ),
        (
            "source: Identity, operator: In, values: [a]",
            "source: Identity, operator: In, values: [b]",
        ),
        (
            "source: Identity, operator: Regex, values: ['^x']",
            "source: Identity, operator: In, values: [a, b]",
        ),
        (
            "source: Header, name: A, operator: Exists",
            "source: Header, name: A, operator: DoesNotExist",
        ),
        (
            "source: Identity, operator: Gt, values: ['9']",
            "source: Identity, operator: Lt, values: ['9']",
        ),
        (
            "source: Path, operator: Prefix, values: [/a]",
            "source: Path, operator: Prefix, values: [/b]",
        ),
        (
            "source: Path, operator: Prefix, values: [/a/b]",
            "source: Path, operator: NotPrefix, values: [/a]",
        ),
        (
            "source: Header, name: A, operator: In, values: [x]",
            "source: Header, name: A, operator: NotContains, values: [x]",
        ),
        (
            "source: ClientIp, operator: InCidr, values: [10.1.0.0/16]",
            "source: ClientIp, operator: NotInCidr, values: [10.0.0.0/8]",
        ),
        (
            "source: ClientIp, operator: InCidr, values: [10.0.0.0/8]",
            "source: ClientIp, operator: InCidr, values: [192.168.0.0/16]",
        ),
    ] {
        assert_eq!(
            pair(one, other),
            ["NeverMatches spec.rules[0].when[0].all[1]"],
            "{one} {other}"
        );
        assert_eq!(
            pair(other, one),
            ["NeverMatches spec.rules[0].when[0].all[1]"],
            "{other} {one}"
        );
    }
    for (one, other) in [
        (
            "source: Identity, operator: In, values: [a, b]",
            "source: Identity, operator: NotIn, values: [b]",
        ),
        (
            "source: Header, name: A, operator: In, values: [a]",
            "source: Header, name: A, operator: In, values: [b]",
        ),
        (
            "source: Header, name: A, operator: Exists",
            "source: Header, name: B, operator: DoesNotExist",
        ),
        (
            "source: Identity, operator: Gt, values: ['8']",
            "source: Identity, operator: Lt, values: ['9']",
        ),
        (
            "source: Header, name: A, operator: Gt, values: ['9']",
            "source: Header, name: A, operator: Lt, values: ['9']",
        ),
        (
            "source: Identity, operator: In, values: [' ::ffff:10.1.1.1']",
            "source: Identity, operator: InCidr, values: [10.0.0.0/8]",
        ),
        (
            "source: Path, operator: Prefix, values: [/a]",
            "source: Path, operator: Prefix, values: [/a/b, /c]",
        ),
        (
            "source: Path, operator: Prefix, values: [/a]",
            "source: Path, operator: NotPrefix, values: [/a/b]",
        ),
        (
            "source: ClientIp, operator: InCidr, values: [10.0.0.0/8]",
            "source: ClientIp, operator: NotInCidr, values: [10.1.0.0/16]",
        ),
        (
            "source: Identity, operator: DoesNotExist",
            "source: Identity, operator: NotIn, values: [b]",
        ),
    ] {
        assert_eq!(pair(one, other), Vec::<String>::new(), "{one} {other}");
    }
}

#[test]
fn expressions_that_take_too_long_together_are_refused_with_the_bound_and_what_to_do() {
    let conditions =
        rule("{source: Path, operator: Regex, values: ['[ab]{3000}', '[bc]{3000}', '(a?){2000}']}");
    let reading = read(
        "f.yaml",
        &release("checkout", &format!("hosts: ['*']\n{GRAY}{conditions}")),
    );
    let told: Vec<_> = reading.findings.iter().map(ToString::to_string).collect();
    let [refusal] = &told[..] else {
        panic!("{told:?}")
    };
    for words in [
        "spec.rules[0].when[0].all[0].values[2]",
        "more than 16384 steps for each byte of a value",
        "compare fixed texts with In, Prefix, Suffix or Contains",
    ] {
        assert!(refusal.contains(words), "{words} in {refusal}");
    }
}

#[test]
fn what_needs_gray_is_warned_of_without_one() {
    let text = release(
        "a",
        "hosts: ['*']\nsteps: [{ratio: 1}]\nidentity: {from: [{header: A}], whenMissing: Gray}\n",
    );
    let findings = lint(&[read("f.yaml", &text)], None);
    let paths: Vec<&str> = findings
        .iter()
        .map(|finding| finding.path.as_str())
        .collect();
    assert_eq!(paths, ["spec.steps", "spec.identity.whenMissing"]);
}

fn two(first: &str, second: &str) -> Vec<Finding> {
    let (first, second) = (
        read("a.yaml", &release("a", first)),
        read("b.yaml", &release("b", second)),
    );
    lint(&[first, second], None)
}

#[test]
fn of_two_releases_that_claim_the_same_one_is_refused_and_nothing_is_said_of_ages_that_nobody_knows()
 {
    let findings = two("hosts: [a.x, b.x]", "hosts: [c.x, b.x]\npaths: [/, /b]");
    assert_eq!(
        findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "b.yaml:6:16: error: spec.hosts[1]: b.x/ is claimed by shop/a (a.yaml) as well; whichever serves it keeps it, and of \
          two new ones the first by name; claim another host or path, \
          or remove one of the two [HostConflict]"
        ]
    );
    assert_eq!(two("hosts: [x]", "hosts: [x]\npaths: [/b]"), []);
    assert_eq!(two("hosts: [x]", "hosts: [x]\nproxyClass: other"), []);
}

#[test]
fn a_place_inside_another_namespaces_is_told_unless_the_fleet_names_it() {
    let elsewhere =
        release("b", "hosts: [a.x, '*.x']").replace("namespace: shop", "namespace: other");
    let readings = [
        read("a.yaml", &release("a", "hosts: ['*.x']\npaths: [/]")),
        read("b.yaml", &elsewhere),
    ];
    let told = |readings: &[ManifestFile], fleets: Option<&str>| {
        let fleets = fleets.map(|allowed| {
            let text = format!("fleets: [{{class: default, allowAll: true, allowed: {allowed}}}]");
            FleetDeclarations::read("fleet.yaml", &text).unwrap()
        });
        let findings = lint(readings, fleets.as_ref());
        let shadows = findings
            .iter()
            .filter(|finding| finding.code == "HostShadowed");
        shadows.map(ToString::to_string).collect::<Vec<_>>()
    };
    let warning = "b.yaml:6:11: warning: spec.hosts[0]: a.x/ lies inside what shop/a of another namespace claims, which is \
                   refused once that one serves; claim another host or path, or have this one named in the fleet's allowed \
                   [HostShadowed]";
    assert_eq!(told(&readings, None), [warning]);
    assert_eq!(
        told(&readings, Some("[]")),
        [warning.replace("warning", "error")]
    );
    assert!(told(&readings, Some("[{namespaces: [other], hosts: [a.x]}]")).is_empty());
    let shadowed = told(
        &readings,
        Some("[{namespaces: [other], hosts: [a.x], paths: [/pay]}]"),
    );
    assert_eq!(shadowed.len(), 1, "it names another path");
    let kin = [
        read("a.yaml", &release("a", "hosts: ['*.x']")),
        read("b.yaml", &release("b", "hosts: [a.x]")),
    ];
    assert!(told(&kin, None).is_empty(), "the same namespace");
}

#[test]
fn a_release_that_a_fleet_refuses_takes_no_host_from_another() {
    let fleets = "fleets: [{class: default, allowed: [{namespaces: [shop], hosts: [b.x]}]}]";
    let fleets = FleetDeclarations::read("fleet.yaml", fleets).unwrap();
    let (a, b) = (
        release("a", "hosts: [a.x, b.x]"),
        release("b", "hosts: [b.x]"),
    );
    let findings = lint(&[read("a.yaml", &a), read("b.yaml", &b)], Some(&fleets));
    let told: Vec<_> = findings
        .iter()
        .map(|finding| (finding.file.as_str(), finding.code))
        .collect();
    assert_eq!(told, [("a.yaml", "HostNotAllowed")]);
}

#[test]
fn a_name_that_another_file_has_is_told_of() {
    let (a, b) = (release("a", "hosts: [a.x]"), release("a", "hosts: [b.x]"));
    let findings = lint(&[read("a.yaml", &a), read("b.yaml", &b)], None);
    assert_eq!(
        findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "b.yaml:3:18: error: metadata.name: shop/a is in a.yaml as well; keep one of the two [Duplicate]"
        ]
    );
}

#[test]
fn a_shared_salt_is_told_of() {
    let findings = two(
        "hosts: [a.x]\nidentity: {salt: s}",
        "hosts: [b.x]\nidentity: {salt: s}",
    );
    assert_eq!(findings[0].code, "SharedSalt");
}

#[test]
fn what_a_fleet_does_not_allow_is_an_error() {
    let fleets = FleetDeclarations::read("fleet.yaml", FLEET).unwrap();
    let codes = |more: &str| -> Vec<&str> {
        lint(&[read("f.yaml", &release("a", more))], Some(&fleets))
            .iter()
            .map(|finding| finding.code)
            .collect()
    };
    assert_eq!(
        codes("hosts: [shop.example.com, '*.eu.shop.example.com']"),
        Vec::<&str>::new()
    );
    assert_eq!(codes("hosts: [other.example.com]"), ["HostNotAllowed"]);
    assert_eq!(
        codes("hosts: [shop.example.com]\nproxyClass: edge"),
        ["ClassUnknown"]
    );
    let gray = "gray: {addresses: ['10.0.0.1:80'], version: v2}\ntargetRatio: 1";
    assert_eq!(
        codes(&format!("hosts: [shop.example.com]\n{gray}")),
        ["AddressesNotAllowed"]
    );
}
