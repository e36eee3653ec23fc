//! `/explain`: where a request given as parameters would go, and what each point of the decision said. It decides
//! with the routes and endpoints in force and touches no counter.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use halftone_routing::decide::{
    CLIMBS, Decision, Resolution, ServingArm, TraceEntry, decide_traced, serve,
};
use halftone_routing::document::arm::Arm;
use halftone_routing::field::Field;
use halftone_routing::fleet::HEALTH;
use halftone_routing::report::ChosenBy;
use halftone_routing::request::{Request, query_values};
use halftone_routing::{host, path};
use serde::Serialize;

use crate::snapshot::Snapshot;

/// The request to decide, as its parameters say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExplainQuery {
    method: String,
    host: String,
    path: Vec<u8>,
    query: Option<Vec<u8>>,
    headers: Vec<(String, String)>,
    peer: IpAddr,
}

/// How to ask, for whoever asked wrongly.
pub(crate) const USAGE: &str = "parameters: host (required), path (default /, may have a query), method (default GET), \
     header=NAME: VALUE, cookie=NAME=VALUE and query=NAME=VALUE (each any number of times), peer=ADDRESS";

impl FromStr for ExplainQuery {
    type Err = String;

    /// Reads the query of `/explain?…`.
    fn from_str(parameters: &str) -> Result<Self, String> {
        let (mut method, mut authority) = ("GET".to_owned(), None);
        let (mut headers, mut cookies, mut query) = (Vec::new(), Vec::new(), Vec::new());
        let mut peer = IpAddr::from([127, 0, 0, 1]);
        for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
            let value = value.into_owned();
            match &*name {
                "method" => method = value,
                "host" => authority = Some(value),
                // Read as bytes below: a target need not be UTF-8.
                "path" => {}
                "header" => headers.push(header(&value)?),
                "cookie" => cookies.push(value),
                "query" => query.push(pair(&value)?),
                "peer" => {
                    peer = value
                        .parse()
                        .map_err(|_| format!("peer \"{value}\" is no address"))?
                }
                other => return Err(format!("unknown parameter \"{other}\"; {USAGE}")),
            }
        }
        let authority = authority.ok_or_else(|| format!("no host; {USAGE}"))?;
        let host = host::normalise(authority.as_bytes())
            .map_err(|error| format!("host {error}"))?
            .into_owned();
        if !cookies.is_empty() {
            headers.push(("Cookie".to_owned(), cookies.join("; ")));
        }
        let target = query_values(parameters.as_bytes(), "path")
            .last()
            .unwrap_or(Cow::Borrowed(b"/"));
        let (path, in_target) = match memchr::memchr(b'?', &target) {
            Some(at) => (&target[..at], Some(&target[at + 1..])),
            None => (&*target, None),
        };
        let encoded = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(query)
            .finish();
        let parts: Vec<_> = in_target
            .into_iter()
            .chain(Some(encoded.as_bytes()).filter(|text| !text.is_empty()))
            .collect();
        let query = (!parts.is_empty()).then(|| parts.join(&b'&'));
        let path = path::normalise(path)
            .map_err(|error| format!("path {error}"))?
            .into_owned();
        Ok(Self {
            method,
            host,
            path,
            query,
            headers,
            peer,
        })
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("header \"{text}\" has no colon"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("query \"{text}\" has no ="))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The decision. Fields that do not apply are null.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    /// `Decided`, `Rejected`, `Refused`, `DefaultBackend`, `NoRoute` or `HealthPath`.
    result: &'static str,
    /// `namespace/name`.
    release: Option<String>,
    revision: Option<u64>,
    arm: Option<Arm>,
    chosen_by: Option<ChosenBy>,
    reason: String,
    identity: Option<String>,
    bucket: Option<u32>,
    excluded: bool,
    /// The arm whose endpoints would get it now; null: none has any.
    served: Option<Arm>,
    /// The release sends everyone to stable, since no operator has been heard for as long as `onOperatorLost` waits.
    operator_lost: bool,
    trace: Vec<TraceEntry>,
}

/// Decides the request. `chance` is asked as by a real one, so that two askings of a request without identity may
/// differ.
pub(crate) fn explain(
    snapshot: &Snapshot,
    question: &ExplainQuery,
    mut chance: impl FnMut() -> u128,
) -> Explanation {
    let fields: Vec<_> = question
        .headers
        .iter()
        .map(|(name, value)| Field {
            name: name.as_bytes(),
            value: value.as_bytes(),
        })
        .collect();
    let request = Request {
        method: &question.method,
        host: &question.host,
        path: &question.path,
        query: question.query.as_deref(),
        fields: &fields,
        peer: question.peer,
    };
    if snapshot.routes.fleet().answers_itself(&request) {
        return Explanation {
            result: "HealthPath",
            reason: HEALTH.to_owned(),
            ..Explanation::default()
        };
    }
    let mut trace = Vec::new();
    let explanation = match decide_traced(
        &snapshot.routes,
        |release| snapshot.overlay(release),
        &request,
        &mut chance,
        &mut trace,
    ) {
        Resolution::Decided(decision) => decided(snapshot, &decision),
        Resolution::DefaultBackend(_) => Explanation {
            result: "DefaultBackend",
            reason: "no release claims this host and path".to_owned(),
            ..Explanation::default()
        },
        Resolution::NoRoute => Explanation {
            result: "NoRoute",
            reason:
                "no release claims this host and path, and the fleet has no default backend: 404"
                    .to_owned(),
            ..Explanation::default()
        },
        Resolution::Climbs { release } => {
            let config = snapshot.routes.release(release).config();
            Explanation {
                result: "Refused",
                release: Some(format!(
                    "{}/{}",
                    config.release.namespace, config.release.name
                )),
                revision: Some(config.revision.get()),
                reason: format!("{CLIMBS}: 400"),
                ..Explanation::default()
            }
        }
        Resolution::Rejected { release, status } => {
            let config = snapshot.routes.release(release).config();
            Explanation {
                result: "Rejected",
                release: Some(format!(
                    "{}/{}",
                    config.release.namespace, config.release.name
                )),
                revision: Some(config.revision.get()),
                reason: format!("no identity: {status}"),
                ..Explanation::default()
            }
        }
    };
    Explanation {
        trace,
        ..explanation
    }
}

fn decided(snapshot: &Snapshot, decision: &Decision<'_, '_>) -> Explanation {
    let release = snapshot.routes.release(decision.release);
    let config = release.config();
    let any = |arm| snapshot.has_endpoint(release, arm);
    Explanation {
        result: "Decided",
        release: Some(format!(
            "{}/{}",
            config.release.namespace, config.release.name
        )),
        revision: Some(config.revision.get()),
        arm: Some(decision.arm),
        chosen_by: Some(decision.chosen_by),
        reason: match decision.overlay.is_operator_lost() {
            true => format!(
                "{}: no operator is heard (onOperatorLost: Stable)",
                decision.reason
            ),
            false => decision.reason.to_string(),
        },
        operator_lost: decision.overlay.is_operator_lost(),
        identity: decision
            .identity
            .as_deref()
            .map(|identity| String::from_utf8_lossy(identity).into_owned()),
        bucket: decision.bucket.map(|bucket| bucket.get()),
        excluded: decision.excluded,
        served: match serve(release, decision.overlay, decision.arm, any) {
            ServingArm::Intended(arm) | ServingArm::Fallback(arm) => Some(arm),
            ServingArm::Unavailable => None,
        },
        trace: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_make_a_request() {
        let asked = "host=Shop.Example.com:80&path=/a/../b%3Fx=1&method=POST&header=X-User-Name:%20lin\
                     &cookie=city=sz&cookie=a=b&query=user=%E6%9E%97&peer=10.1.2.3";
        let question: ExplainQuery = asked.parse().unwrap();
        assert_eq!(question.host, "shop.example.com");
        assert_eq!(question.path, b"/b");
        assert_eq!(question.query.as_deref(), Some(&b"x=1&user=%E6%9E%97"[..]));
        assert_eq!(
            question.headers[0],
            ("X-User-Name".to_owned(), "lin".to_owned())
        );
        assert_eq!(
            question.headers[1],
            ("Cookie".to_owned(), "city=sz; a=b".to_owned())
        );
        assert_eq!(
            (question.method.as_str(), question.peer),
            ("POST", IpAddr::from([10, 1, 2, 3]))
        );
    }

    #[test]
    fn a_path_need_not_be_utf_8() {
        let question: ExplainQuery = "host=a&path=/%D6%D0%3Fq=%D6".parse().unwrap();
        assert_eq!(
            (&*question.path, question.query.as_deref()),
            (&b"/\xd6\xd0"[..], Some(&b"q=\xd6"[..]))
        );
    }

    #[test]
    fn wrong_parameters_say_what_is_wrong() {
        for (asked, why) in [
            ("path=/", "no host"),
            ("host=a&header=x", "no colon"),
            ("host=a&query=x", "no ="),
            ("host=a&peer=x", "no address"),
            ("host=a&path=x", "start with /"),
            ("host=a@b", "user information"),
            ("host=a&verbose=1", "unknown parameter"),
        ] {
            let error = asked.parse::<ExplainQuery>().unwrap_err();
            assert!(error.contains(why), "{asked}: {error}");
        }
    }
}
