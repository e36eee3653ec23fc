//! Whether proxies have taken up what a request changed. Pure: from a release's status before it was asked and now.

use halftone_api::GrayRelease;
use halftone_api::spec::{GrayReleaseStatus, HandledRequest, Phase, RequestResult};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

/// What proxies have of what a request changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// Nothing that proxies are told changed.
    NothingNew,
    /// Every ready proxy has it.
    Everywhere(String),
    /// Not every one yet: how many have, and for whom it waits.
    Waiting(String),
    /// None can have it: the routing document could not be written yet, in the API server's own words.
    Unwritten(String),
}

/// What became of a request.
#[derive(Debug, Clone)]
pub(crate) struct CommandOutcome {
    pub(crate) release: GrayRelease,
    pub(crate) handled: HandledRequest,
    /// None: nobody waited for proxies.
    pub(crate) taken: Option<Propagation>,
}

/// What `-o json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct CommandOutput<'a> {
    #[serde(flatten)]
    handled: &'a HandledRequest,
    /// Whether every ready proxy has what the request changed; left out where it changed nothing for them, or nobody
    /// waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged: Option<bool>,
}

impl Propagation {
    /// Of a request that was `handled` for a release that was as `before` and is as `now`.
    pub(crate) fn of(handled: &HandledRequest, before: &GrayRelease, now: &GrayRelease) -> Self {
        let revision =
            |release: &GrayRelease| release.status.as_ref().and_then(|status| status.revision);
        let status = now
            .status
            .as_ref()
            .filter(|_| handled.result == RequestResult::Done);
        match status {
            Some(status) if revision(before) != revision(now) => Self::by(status),
            _ => Self::NothingNew,
        }
    }

    /// Whether it may still change.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Waiting(_) | Self::Unwritten(_))
    }

    fn by(status: &GrayReleaseStatus) -> Self {
        let is_unwritten =
            |found: &&Condition| found.type_ == "Programmed" && found.reason == "NotPersisted";
        if let Some(unwritten) = status.conditions.iter().find(is_unwritten) {
            return Self::Unwritten(unwritten.message.clone());
        }
        let revision = status.revision.unwrap_or_default();
        let Some(proxies) = status.proxies.as_ref().filter(|proxies| proxies.ready > 0) else {
            return Self::Waiting(format!("no proxy is ready to take revision {revision}"));
        };
        let (have, ready) = (proxies.acknowledged, proxies.ready);
        let counted = format!("{have} of {ready} proxies have revision {revision}");
        let is_back = status
            .phase
            .as_ref()
            .is_some_and(|phase| *phase == Phase::RolledBack);
        if have >= ready || is_back {
            return Self::Everywhere(counted);
        }
        Self::Waiting(match proxies.waiting_for.as_slice() {
            [] => counted,
            names => format!("{counted}; it waits for {}", names.join(", ")),
        })
    }
}

impl CommandOutcome {
    pub(crate) fn printed(&self) -> CommandOutput<'_> {
        let acknowledged = match self.taken {
            None | Some(Propagation::NothingNew) => None,
            Some(Propagation::Everywhere(_)) => Some(true),
            Some(Propagation::Waiting(_) | Propagation::Unwritten(_)) => Some(false),
        };
        CommandOutput {
            handled: &self.handled,
            acknowledged,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn release(status: Value) -> GrayRelease {
        let text = include_str!("../../examples/minimal.yaml");
        let mut release = halftone_api::manifest::read("minimal.yaml", text).manifests[0]
            .release
            .clone();
        release.status = Some(serde_json::from_value(status).unwrap());
        release
    }

    fn taken(result: &str, now: Value) -> Propagation {
        let handled = json!({"request": "rollback@t", "result": result, "message": "", "time": "2026-11-21T10:00:00Z"});
        let before = json!({"revision": 14, "proxies": {"ready": 2, "acknowledged": 2}});
        Propagation::of(
            &serde_json::from_value(handled).unwrap(),
            &release(before),
            &release(now),
        )
    }

    #[test]
    fn only_what_is_new_to_proxies_is_waited_for_until_all_have_it() {
        let proxies = |acknowledged: i64, waiting: &[&str]| {
            json!({"revision": 15, "phase": "RollingBack",
                "proxies": {"ready": 2, "acknowledged": acknowledged, "waitingFor": waiting}})
        };
        let said = |text: &str| text.to_owned();
        for (now, expected) in [
            (
                proxies(2, &[]),
                Propagation::Everywhere(said("2 of 2 proxies have revision 15")),
            ),
            (
                proxies(1, &[]),
                Propagation::Waiting(said("1 of 2 proxies have revision 15")),
            ),
            (
                proxies(1, &["proxy-2"]),
                Propagation::Waiting(said(
                    "1 of 2 proxies have revision 15; it waits for proxy-2",
                )),
            ),
            (
                json!({"revision": 15}),
                Propagation::Waiting(said("no proxy is ready to take revision 15")),
            ),
            (
                json!({"revision": 14, "proxies": {"ready": 2, "acknowledged": 1}}),
                Propagation::NothingNew,
            ),
            (
                json!({"revision": 15, "proxies": {"ready": 2, "acknowledged": 0}, "conditions": [{
                    "type": "Programmed", "status": "False", "reason": "NotPersisted", "message": "exceeded quota",
                    "lastTransitionTime": "2026-11-21T10:00:00Z"}]}),
                Propagation::Unwritten(said("exceeded quota")),
            ),
            // A proxy that joined meanwhile has it from its start.
            (
                json!({"revision": 15, "phase": "RolledBack", "proxies": {"ready": 3, "acknowledged": 2}}),
                Propagation::Everywhere(said("2 of 3 proxies have revision 15")),
            ),
        ] {
            assert_eq!(taken("Done", now.clone()), expected, "{now}");
        }
        assert_eq!(taken("Refused", proxies(0, &[])), Propagation::NothingNew);
    }
}
