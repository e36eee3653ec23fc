//! From a release as written to its plan: what is filled in, what is left out, what is refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

use std::time::Duration;

use halftone_api::{GrayRelease, Plan, Problems, health_limits::Limit};
use halftone_routing::document::{
    arm::Backend,
    identity::{IdentitySource, MissingIdentity},
};
use serde_json::{Value, json};

fn release(change: impl FnOnce(&mut Value)) -> GrayRelease {
    let mut release = json!({
        "apiVersion": "halftone.dev/v1alpha1",
        "kind": "GrayRelease",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {
            "hosts": ["shop.example.com"],
            "stable": {"service": {"name": "checkout-v1", "port": 80}, "version": "v1"},
            "gray": {"service": {"name": "checkout-v2", "port": "http"}, "version": "v2"},
            "targetRatio": 100,
        },
    });
    change(&mut release["spec"]);
    serde_json::from_value(release).unwrap()
}

fn planned(change: impl FnOnce(&mut Value)) -> Plan {
    Plan::try_from(&release(change)).unwrap()
}

fn refused(change: impl FnOnce(&mut Value)) -> Problems {
    Plan::try_from(&release(change)).unwrap_err()
}

/// Ratio in percent, hold in seconds, approval.
fn steps(plan: &Plan) -> Vec<(f64, u64, bool)> {
    let step = |step: &halftone_api::plan::Step| {
        (
            step.ratio.fraction() * 100.0,
            step.hold.as_secs(),
            step.approval,
        )
    };
    plan.steps().iter().map(step).collect()
}

#[test]
fn the_least_release_gets_every_default() {
    let plan = planned(|_| {});
    assert_eq!(plan.uid(), "local/shop/checkout");
    assert_eq!(plan.proxy_class, "default");
    assert_eq!(
        plan.paths
            .iter()
            .map(|path| path.as_str())
            .collect::<Vec<_>>(),
        ["/"]
    );
    let ramp = [1.0, 5.0, 10.0, 20.0, 50.0, 100.0].map(|ratio| (ratio, 300, false));
    assert_eq!(steps(&plan), ramp);
    assert_eq!(plan.identity.when_missing, MissingIdentity::Stable);
    assert_eq!(plan.identity.salt, None, "the release id then");
    let from = &plan.identity.from;
    assert!(matches!(&from[0], IdentitySource::Header(name) if name.as_str() == "X-User-Name"));
    assert!(
        matches!(&from[3], IdentitySource::Generated(cookie) if cookie.cookie.as_str() == "halftone_id")
    );
    let health = &plan.health;
    let limits = health.limits.as_ref().unwrap();
    assert_eq!((limits.min_requests, limits.confidence), (100, 999_000));
    assert_eq!(
        limits.limits,
        [
            Limit::ErrorRate { max: 50_000 },
            Limit::RelativeErrorRate {
                factor: 2.0,
                floor: 1_000
            },
            Limit::RelativeClientErrorRate {
                factor: 2.0,
                floor: 10_000
            },
        ]
    );
    assert_eq!(
        (health.warmup, health.patience),
        (Duration::from_secs(10), Duration::from_secs(3600))
    );
    assert!(plan.schedule.is_none() && plan.rules.is_empty() && !plan.paused);
}

#[test]
fn a_service_is_of_the_namespace_of_its_release() {
    let Backend::Service(service) = planned(|_| {}).gray.unwrap().arm.backend else {
        panic!("a Service")
    };
    assert_eq!(
        (service.namespace.as_str(), service.name.as_str()),
        ("shop", "checkout-v2")
    );
}

#[test]
fn the_way_ends_at_the_target() {
    let way = |target: &str, written: Value| {
        steps(&planned(|spec| {
            spec["targetRatio"] = target.into();
            spec["steps"] = written;
        }))
    };
    let rising = json!([{"ratio": 1, "hold": "1m"}, {"ratio": "12.5%", "hold": "2m", "approval": true}, {"ratio": 50}]);
    assert_eq!(
        way("20%", rising.clone()),
        [(1.0, 60, false), (12.5, 120, true), (20.0, 300, false)]
    );
    assert_eq!(
        way("12.5%", rising.clone()),
        [(1.0, 60, false), (12.5, 120, true)],
        "with its own hold"
    );
    assert_eq!(
        way("0.5%", rising),
        [(0.5, 300, false)],
        "what is above it is ignored"
    );
    assert_eq!(way("0%", Value::Null), [(0.0, 300, false)]);
}

#[test]
fn without_gray_there_is_no_way_and_no_rule_to_it() {
    let rule = |name: &str, to: &str| json!({"name": name, "to": to, "when": [{"all": [{"source": "Identity", "operator": "Exists"}]}]});
    let plan = planned(|spec| {
        let fields = spec.as_object_mut().unwrap();
        fields.remove("gray");
        fields.remove("targetRatio");
        spec["rules"] = json!([rule("in", "Gray"), rule("out", "Stable")]);
        spec["identity"] = json!({"from": [{"header": "A"}], "whenMissing": "Gray"});
    });
    assert!(plan.gray.is_none() && plan.steps().is_empty());
    assert_eq!(plan.target().millionths(), 0);
    assert_eq!(
        plan.rules
            .iter()
            .map(|rule| rule.name.as_str())
            .collect::<Vec<_>>(),
        ["out"]
    );
    assert_eq!(plan.identity.when_missing, MissingIdentity::Stable);
}

#[test]
fn health_that_is_off_leaves_nothing_to_judge_by() {
    let plan =
        planned(|spec| spec["health"] = json!({"enabled": false, "maxLatency": {"p99": "1s"}}));
    assert!(plan.health.limits.is_none() && plan.health.counting.latency.is_empty());
    let absolute = planned(|spec| spec["health"] = json!({"versusStable": {"enabled": false}}));
    assert_eq!(
        absolute.health.limits.unwrap().limits,
        [Limit::ErrorRate { max: 50_000 }]
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_path() {
    let problems = refused(|spec| {
        spec["gray"]["version"] = "v1".into();
        spec["steps"] = json!([{"ratio": 10}, {"ratio": 5}]);
        spec["schedule"] = json!({"timeZone": "Mars/Base", "windows": []});
        spec["health"] = json!({"confidence": "40%", "patience": "soon"});
        spec["rules"] = json!([{"name": "r", "to": "Gray", "when": [
            {"all": [{"source": "Path", "operator": "Regex", "values": ["("]}]},
        ]}]);
    });
    let paths: Vec<&str> = problems
        .list()
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "spec.gray.version",
            "spec.health.confidence",
            "spec.health.patience",
            "spec.rules[0].when[0].all[0].values[0]",
            "spec.schedule.timeZone",
            "spec.steps",
        ]
    );
    assert!(
        problems
            .list()
            .iter()
            .all(|problem| !problem.what.is_empty() && !problem.advice.is_empty())
    );
}

#[test]
fn what_belongs_together_is_refused_alone() {
    for (change, path) in [
        (json!({"targetRatio": null}), "spec.targetRatio"),
        (
            json!({"gray": null, "targetRatio": null, "force": "Gray"}),
            "spec.force",
        ),
        (
            json!({"gray": {"service": {"name": "checkout-v1", "port": 80}, "version": "v2"}}),
            "spec.gray",
        ),
        (json!({"stable": {"version": "v1"}}), "spec.stable"),
        (
            json!({"identity": {"from": [{"generated": {}}, {"header": "A"}]}}),
            "spec.identity.from",
        ),
        (
            json!({"versionHeader": {"request": "Host", "response": "X-V"}}),
            "spec.versionHeader.request",
        ),
    ] {
        let problems = refused(|spec| {
            for (name, value) in change.as_object().unwrap() {
                spec[name] = value.clone();
            }
        });
        let paths: Vec<&str> = problems
            .list()
            .iter()
            .map(|problem| problem.path.as_str())
            .collect();
        assert_eq!(paths, [path], "{change}");
    }
}

/// A rule to stable for each list of regular expressions.
fn rules_by_expression(lists: &[Vec<String>]) -> Value {
    let rule = |(at, values): (usize, &Vec<String>)| {
        let when = json!([{"all": [{"source": "Header", "name": "User-Agent", "operator": "Regex", "values": values}]}]);
        json!({"name": format!("r{at}"), "to": "Stable", "when": when})
    };
    lists.iter().enumerate().map(rule).collect()
}

#[test]
fn the_regular_expressions_of_a_release_are_bounded_together_before_anything_is_written() {
    let many = |count: usize| {
        let all: Vec<String> = (0..count)
            .map(|n| format!("agent-{n}/[0-9]+; Linux"))
            .collect();
        rules_by_expression(&all.chunks(256).map(<[String]>::to_vec).collect::<Vec<_>>())
    };
    planned(|spec| spec["rules"] = many(512));
    let problems = refused(|spec| spec["rules"] = many(513)).to_string();
    assert!(
        problems.contains("spec.rules[2].when[0].all[0].values[0]"),
        "{problems}"
    );
    assert!(
        problems.contains("more than the 512") && problems.contains("compare fixed texts"),
        "{problems}"
    );
    let large: Vec<String> = (0..200).map(|n| format!(r"{n}\w{{3}}")).collect();
    let problems = refused(|spec| spec["rules"] = rules_by_expression(&[large])).to_string();
    assert!(
        problems.contains("more than 1048576 bytes compiled"),
        "{problems}"
    );
}

#[test]
fn what_a_plan_allows_proxies_apply() {
    let shared: Vec<String> = (0..200).map(|n| format!("(?i)^a{n}[0-9]")).collect();
    let exclude = json!([{"all": [{"source": "Path", "operator": "Regex", "values": shared}]}]);
    let plan = planned(|spec| {
        spec["rules"] = rules_by_expression(&[shared.clone(), shared.clone(), shared.clone()]);
        spec["health"] = json!({"exclude": exclude});
    });
    assert_eq!(plan.rules.len(), 3, "what is written twice counts once");
}
