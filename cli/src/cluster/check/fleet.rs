//! What is asked of one fleet: whether an operator leads it, may do its work and is known to the proxies, whether those are
//! ready, and whether a request comes through.

use std::time::Duration;

use halftone_daemon::log::with_causes;
use halftone_daemon::token::OperatorKeySet;
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;

use super::super::ClusterClient;
use super::super::operator_status::OperatorStatus;
use super::super::proxies::ProxyStatus;
use super::CheckResult;
use crate::output::CommandError;
use crate::status::ReleaseList;

const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// The field of a ConfigMap with keys.
const KEYS: &str = "keys.json";
const MAY_NOT: &str = "this needs leave to get pods/proxy there; from a pod, try halftone probe";
const SHUT_OUT: &str =
    "a network policy may keep the API server out; from a pod, try halftone probe";

/// A fleet that an operator has set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InstalledFleet {
    pub(super) class: String,
    pub(super) namespace: String,
}

impl InstalledFleet {
    /// The name of a check of this fleet.
    pub(super) fn of(&self, what: &str) -> String {
        format!("{what} of {}", self.class)
    }

    fn operators_logs(&self) -> String {
        format!(
            "kubectl logs -n {} -l app.kubernetes.io/name=halftone-operator",
            self.namespace
        )
    }
}

impl ClusterClient {
    /// Everything about one fleet; `releases` are those that could be listed.
    pub(super) async fn fleet_checks(
        &self,
        fleet: &InstalledFleet,
        releases: Option<&ReleaseList>,
    ) -> Vec<CheckResult> {
        let mut checks = self.operator_checks(fleet).await;
        checks.push(self.rights_of_operator(fleet, releases).await);
        let proxies = match self.proxies_of(&fleet.class, &fleet.namespace).await {
            Ok(proxies) => proxies,
            Err(failure) => {
                return [
                    checks,
                    vec![CheckResult::unknown(fleet.of("proxies"), &failure)],
                ]
                .concat();
            }
        };
        checks.push(proxies_ready(fleet, &proxies));
        checks.push(
            self.one_request(fleet, proxies.iter().find(|proxy| proxy.ready))
                .await,
        );
        checks
    }

    /// Who leads, and whether proxies know its key. Without a leader there is none to know.
    async fn operator_checks(&self, fleet: &InstalledFleet) -> Vec<CheckResult> {
        let told = match self
            .operator_status(&fleet.class, Some(&fleet.namespace))
            .await
        {
            Ok(told) => told,
            Err(failure) => return vec![CheckResult::unknown(fleet.of("operator"), &failure)],
        };
        let OperatorStatus {
            holder: Some(holder),
            alive: true,
            ..
        } = told
        else {
            return vec![CheckResult::failed(
                fleet.of("operator"),
                told.sentence,
                fleet.operators_logs(),
            )];
        };
        let found = format!("{holder} renews its Lease in namespace {}", fleet.namespace);
        let name = format!("halftone-keys-{}", fleet.class);
        let keys = match self
            .of_fleet::<ConfigMap>(Some(&fleet.namespace), &name)
            .await
        {
            Ok(objects) => keys_known(fleet, objects.first(), &holder),
            Err(failure) => CheckResult::unknown(fleet.of("keys"), &failure),
        };
        vec![CheckResult::passed(fleet.of("operator"), found), keys]
    }

    /// One request through a proxy, as a user's would come: any answer below 500 will do.
    async fn one_request(
        &self,
        fleet: &InstalledFleet,
        proxy: Option<&ProxyStatus>,
    ) -> CheckResult {
        let name = format!("a request through {}", fleet.class);
        let Some(proxy) = proxy else {
            let found = "there is no ready proxy to send it through";
            return CheckResult::failed(name, found, "see the check of its proxies");
        };
        let path = proxy.traffic_path();
        match tokio::time::timeout(ANSWERED_WITHIN, self.answer(&path)).await {
            Ok(Ok((code, text))) => answered(name, fleet, &proxy.name, code, &text),
            Ok(Err(why)) => CheckResult::unknown(name, &CommandError::new(why).advise(SHUT_OUT)),
            Err(_) => {
                let found =
                    format!("no answer within {ANSWERED_WITHIN:?} by way of the API server");
                CheckResult::unknown(name, &CommandError::new(found).advise(SHUT_OUT))
            }
        }
    }

    /// Status and text that a path of the API server answers with, whatever they are.
    async fn answer(&self, path: &str) -> Result<(u16, String), String> {
        let request = hyper::Request::get(path)
            .body(Body::empty())
            .map_err(|error| error.to_string())?;
        let answer = self
            .once
            .send(request)
            .await
            .map_err(|error| with_causes(&error))?;
        let code = answer.status().as_u16();
        let text = answer
            .into_body()
            .collect()
            .await
            .map_err(|error| with_causes(&error))?
            .to_bytes();
        Ok((code, String::from_utf8_lossy(&text).into_owned()))
    }
}

/// What an answer says of the proxy, if it is the proxy's and not the API server's own: that it does not know who asks,
/// that they may not, or that it does not reach the pod.
fn answered(
    name: String,
    fleet: &InstalledFleet,
    proxy: &str,
    code: u16,
    text: &str,
) -> CheckResult {
    let found = format!("{proxy} answers {code}");
    let not_reached = text.contains("error trying to reach service");
    match code {
        401 | 403 => CheckResult::unknown(
            name,
            &CommandError::new(format!("{found}: {text}")).advise(MAY_NOT),
        ),
        _ if not_reached => CheckResult::unknown(name, &CommandError::new(text).advise(SHUT_OUT)),
        500.. => {
            let look = format!(
                "its log says why: kubectl logs -n {} {proxy}",
                fleet.namespace
            );
            CheckResult::failed(name, found, look)
        }
        _ => CheckResult::passed(name, found),
    }
}

/// Proxies report to whoever signs with a key that they have read. The leader's is the newest, or it cannot write it.
fn keys_known(fleet: &InstalledFleet, object: Option<&ConfigMap>, leader: &str) -> CheckResult {
    let (name, place) = (
        fleet.of("keys"),
        format!("{}/halftone-keys-{}", fleet.namespace, fleet.class),
    );
    let failed = |found: String| {
        let advice = format!(
            "proxies refuse to report to an operator whose key they do not have. It publishes its key within seconds of \
             taking the Lease, and says why it cannot: {}",
            fleet.operators_logs()
        );
        CheckResult::failed(&name, found, advice)
    };
    let Some(object) = object else {
        return failed(format!("there is no ConfigMap {place}"));
    };
    let text = object
        .data
        .as_ref()
        .and_then(|data| data.get(KEYS))
        .map_or("", String::as_str);
    match OperatorKeySet::parse(text).map(|keys| keys.keys.into_iter().next()) {
        Err(why) => failed(format!("ConfigMap {place} holds no keys: {why}")),
        Ok(None) => failed(format!("ConfigMap {place} holds no key")),
        Ok(Some(newest)) if newest.holder != leader => failed(format!(
            "the newest key in ConfigMap {place} is that of {}, not of {leader}",
            newest.holder
        )),
        Ok(Some(_)) => CheckResult::passed(&name, format!("proxies are given that of {leader}")),
    }
}

fn proxies_ready(fleet: &InstalledFleet, proxies: &[ProxyStatus]) -> CheckResult {
    let InstalledFleet { class, namespace } = fleet;
    let name = fleet.of("proxies");
    let ready = proxies.iter().filter(|proxy| proxy.ready).count();
    let found = format!(
        "{ready} of {} ready in namespace {namespace}",
        proxies.len()
    );
    let look = format!(
        "kubectl get pods -n {namespace} -l app.kubernetes.io/name=halftone-proxy,halftone.dev/class={class}"
    );
    match (proxies.len(), ready) {
        (0, _) => CheckResult::failed(
            name,
            format!("there is none in namespace {namespace}"),
            look,
        ),
        (all, ready) if ready < all => CheckResult::failed(name, found, look),
        _ => CheckResult::passed(name, found),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::CheckStatus;
    use super::*;

    fn fleet() -> InstalledFleet {
        InstalledFleet {
            class: "default".into(),
            namespace: "halftone".into(),
        }
    }

    #[test]
    fn proxies_know_the_operator_that_leads_by_the_newest_key() {
        let keys = |holders: &[&str]| -> ConfigMap {
            let keys: Vec<_> = holders
                .iter()
                .map(|name| json!({"public": "00".repeat(32), "holder": name}))
                .collect();
            let text = json!({ "keys": keys }).to_string();
            serde_json::from_value(json!({"metadata": {}, "data": {"keys.json": text}})).unwrap()
        };
        for (object, words) in [
            (None, "there is no ConfigMap halftone/halftone-keys-default"),
            (Some(keys(&[])), "holds no key"),
            (Some(ConfigMap::default()), "holds no keys: "),
            (
                Some(keys(&["before", "leader"])),
                "is that of before, not of leader",
            ),
        ] {
            let check = keys_known(&fleet(), object.as_ref(), "leader");
            assert_eq!(check.result, CheckStatus::Failed);
            assert!(check.found.contains(words), "{}", check.found);
        }
        let check = keys_known(&fleet(), Some(&keys(&["leader", "before"])), "leader");
        assert_eq!(
            (check.result, check.name.as_str()),
            (CheckStatus::Passed, "keys of default")
        );
    }

    #[test]
    fn a_proxy_that_answers_with_a_failure_has_failed_and_one_that_is_not_reached_is_not_known() {
        for (code, text, result) in [
            (200, "hello", CheckStatus::Passed),
            (404, "no route", CheckStatus::Passed),
            (500, r#"{"error": "of a backend"}"#, CheckStatus::Failed),
            (503, "no endpoint is ready", CheckStatus::Failed),
            (
                503,
                "error trying to reach service: dial tcp 10.0.0.7:8080: i/o timeout",
                CheckStatus::Unknown,
            ),
            (403, "pods \"proxy-1\" is forbidden", CheckStatus::Unknown),
        ] {
            let check = answered("a request".into(), &fleet(), "proxy-1", code, text);
            assert_eq!(check.result, result, "{code} {text}");
        }
    }
}
