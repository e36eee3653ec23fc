//! A small API server in this process: objects with resourceVersions, watches that go on, and faults on demand.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use halftone_operator::rbac::PERMISSIONS;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

/// What is to go wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It never arrives, and is never answered.
    Lost,
    /// It is done, and the answer never comes.
    AnswerLost,
    /// It is refused as a conflict.
    Conflict,
    /// The server cannot at the moment.
    Unavailable,
    /// It may not be done, as a quota or a policy says.
    Forbidden,
}

/// `resource/namespace/name`
type Name = (String, String, String);
/// What changed: the version, the name, the object before and after.
type Change = (u64, Name, Option<Arc<Value>>, Option<Arc<Value>>);
type Plan = Box<dyn FnMut(&str) -> Option<Fault> + Send>;

#[derive(Default)]
struct State {
    objects: BTreeMap<Name, Arc<Value>>,
    log: Vec<Change>,
    /// `VERB resource/namespace/name`
    writes: Vec<String>,
    faults: Option<Plan>,
}

#[derive(Clone)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
    /// Writes come one after the other.
    writing: Arc<Mutex<()>>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

fn whole(object: &Value) -> UnsyncBoxBody<Bytes, Infallible> {
    Full::new(Bytes::from(object.to_string())).boxed_unsync()
}

struct Asked {
    verb: &'static str,
    name: Name,
    query: BTreeMap<String, String>,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), version: watch::Sender::new(1), writing: Arc::default() }
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        Client::new(
            tower::service_fn(move |request| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            }),
            "default",
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Plans what goes wrong from now on: `VERB resource/namespace/name` to a fault.
    pub(crate) fn faults(&self, plan: impl FnMut(&str) -> Option<Fault> + Send + 'static) {
        self.state().faults = Some(Box::new(plan));
    }

    pub(crate) fn no_faults(&self) {
        self.state().faults = None;
    }

    /// All writes of the operator so far, but for Leases, events and what was refused.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.state().writes.clone()
    }

    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let name = (resource.into(), namespace.into(), name.into());
        self.state().objects.get(&name).map(|object| Value::clone(object))
    }

    pub(crate) fn all(&self, resource: &str) -> Vec<Value> {
        let state = self.state();
        state
            .objects
            .iter()
            .filter(|((of, ..), _)| of == resource)
            .map(|(_, object)| Value::clone(object))
            .collect()
    }

    /// Shows each object of a kind, without copying it.
    #[allow(dead_code, reason = "for the measurement in benches/")]
    pub(crate) fn each(&self, resource: &str, mut show: impl FnMut(&Value)) {
        let state = self.state();
        state.objects.iter().filter(|((of, ..), _)| of == resource).for_each(|(_, object)| show(object));
    }

    #[allow(dead_code, reason = "for the measurement in benches/")]
    pub(crate) fn count(&self, resource: &str) -> usize {
        let mut count = 0;
        self.each(resource, |_| count += 1);
        count
    }

    /// Somebody else than the operator writes an object.
    pub(crate) fn put(&self, resource: &str, object: &Value) {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = (resource.to_owned(), text("/metadata/namespace"), text("/metadata/name"));
        self.store(&name, object.clone());
    }

    /// Somebody else changes an object.
    pub(crate) fn edit(&self, resource: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let name = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = Value::clone(&self.state().objects[&name]);
        edit(&mut object);
        self.store(&name, object);
    }

    pub(crate) fn remove(&self, resource: &str, namespace: &str, name: &str) {
        self.discard(&(resource.to_owned(), namespace.to_owned(), name.to_owned()));
    }

    fn store(&self, name: &Name, mut object: Value) -> Arc<Value> {
        let mut state = self.state();
        let version = *self.version.borrow() + 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let object = Arc::new(object);
        let before = state.objects.insert(name.clone(), Arc::clone(&object));
        state.log.push((version, name.clone(), before, Some(Arc::clone(&object))));
        // Under the lock: no two objects have the same version.
        self.version.send_replace(version);
        object
    }

    fn discard(&self, name: &Name) {
        let mut state = self.state();
        let version = *self.version.borrow() + 1;
        if let Some(mut before) = state.objects.remove(name) {
            Arc::make_mut(&mut before)["metadata"]["resourceVersion"] = json!(version.to_string());
            state.log.push((version, name.clone(), Some(before), None));
        }
        self.version.send_replace(version);
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        let mut asked = Asked::of(&request);
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if asked.verb == "create" {
            asked.name.2 = body["metadata"]["name"].as_str().unwrap().to_owned();
        }
        if !asked.is_permitted() {
            return refusal(StatusCode::FORBIDDEN);
        }
        let line = format!("{} {}/{}/{}", asked.verb, asked.name.0, asked.name.1, asked.name.2);
        let fault = self.state().faults.as_mut().and_then(|plan| plan(&line));
        match fault {
            Some(Fault::Lost) => return std::future::pending().await,
            Some(Fault::Conflict) => return refusal(StatusCode::CONFLICT),
            Some(Fault::Unavailable) => return refusal(StatusCode::SERVICE_UNAVAILABLE),
            Some(Fault::Forbidden) => return refusal(StatusCode::FORBIDDEN),
            _ => {}
        }
        let answer = match asked.verb {
            "watch" => return self.watch(&asked),
            "list" => return Response::new(self.list(&asked)),
            "get" => self.state().objects.get(&asked.name).cloned().ok_or(StatusCode::NOT_FOUND),
            _ => {
                let done = self.write(&asked, &body);
                let counts = !matches!(asked.name.0.as_str(), "leases" | "events");
                if done.is_ok() && counts {
                    self.state().writes.push(line);
                }
                done
            }
        };
        if fault == Some(Fault::AnswerLost) {
            return std::future::pending().await;
        }
        match answer {
            Ok(object) => Response::new(whole(&object)),
            Err(code) => refusal(code),
        }
    }

    fn write(&self, asked: &Asked, body: &Value) -> Result<Arc<Value>, StatusCode> {
        let _alone = self.writing.lock().unwrap();
        let before = self.state().objects.get(&asked.name).cloned();
        let named = body
            .pointer("/metadata/resourceVersion")
            .or_else(|| body.pointer("/preconditions/resourceVersion"));
        let present = before.as_ref().map(|before| before["metadata"]["resourceVersion"].clone());
        match (asked.verb, &present) {
            ("create", Some(_)) => return Err(StatusCode::CONFLICT),
            ("create", None) => {}
            (_, None) => return Err(StatusCode::NOT_FOUND),
            (_, Some(present)) if named.is_some_and(|named| named != present) => {
                return Err(StatusCode::CONFLICT);
            }
            _ => {}
        }
        let mut after = before.as_deref().cloned().unwrap_or_default();
        match asked.verb {
            // Everything that is applied names its kind.
            "patch" if body["kind"].is_null() => merge(&mut after, body),
            "create" | "update" | "patch" => after = body.clone(),
            "update/status" => after["status"] = seconds(body["status"].clone()),
            "delete" => {
                self.discard(&asked.name);
                return Ok(Arc::new(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})));
            }
            verb => panic!("{verb}"),
        }
        if before.as_deref().map(meaning) == Some(meaning(&after)) {
            return Ok(before.unwrap());
        }
        Ok(self.store(&asked.name, after))
    }

    /// A page of the listing: `limit` objects from `continue` on.
    fn list(&self, asked: &Asked) -> UnsyncBoxBody<Bytes, Infallible> {
        let number = |name: &str| asked.query.get(name).and_then(|text| text.parse::<usize>().ok());
        let (from, most) = (number("continue").unwrap_or(0), number("limit").unwrap_or(usize::MAX));
        let state = self.state();
        let matching = state.objects.iter().filter(|(name, object)| asked.covers(name, object));
        let mut items: Vec<&Value> =
            matching.skip(from).take(most.saturating_add(1)).map(|(_, object)| object.as_ref()).collect();
        let more = items.len() > most;
        items.truncate(most);
        let next = more.then(|| (from + most).to_string());
        let metadata = json!({"resourceVersion": self.version.borrow().to_string(), "continue": next});
        let list = json!({"kind": "List", "apiVersion": "v1", "metadata": metadata});
        // Written in parts: the objects are many and need not be copied.
        let items = serde_json::to_string(&items).unwrap();
        let text = list.to_string();
        let text = format!("{},\"items\":{items}}}", &text[..text.len() - 1]);
        Full::new(Bytes::from(text)).boxed_unsync()
    }

    fn watch(&self, asked: &Asked) -> Answer {
        let from: u64 = asked.query["resourceVersion"].parse().unwrap();
        let (resource, namespace, _) = asked.name.clone();
        let asked =
            Asked { verb: "watch", name: (resource, namespace, String::new()), query: asked.query.clone() };
        let (server, version) = (self.clone(), self.version.subscribe());
        let events = stream::unfold(
            (server, version, asked, from),
            |(server, mut version, asked, mut from)| async move {
                loop {
                    version.mark_unchanged();
                    let (last, lines) = server.since(&asked, from);
                    from = last;
                    if !lines.is_empty() {
                        let frame = Ok::<_, Infallible>(Frame::data(Bytes::from(lines)));
                        return Some((frame, (server, version, asked, from)));
                    }
                    version.changed().await.ok()?;
                }
            },
        );
        Response::new(StreamBody::new(events).boxed_unsync())
    }

    /// The lines of a watch after `from`, and the version of the last.
    fn since(&self, asked: &Asked, from: u64) -> (u64, String) {
        let state = self.state();
        let (mut last, mut lines) = (from, String::new());
        let news = state.log.partition_point(|(version, ..)| *version <= from);
        for (version, name, before, after) in &state.log[news..] {
            last = *version;
            let was = before.as_ref().filter(|before| asked.covers(name, before));
            let is = after.as_ref().filter(|after| asked.covers(name, after));
            let event = match (was, is) {
                (_, Some(is)) => {
                    json!({"type": if was.is_some() { "MODIFIED" } else { "ADDED" }, "object": is})
                }
                (Some(was), None) => json!({"type": "DELETED", "object": after.as_ref().unwrap_or(was)}),
                (None, None) => continue,
            };
            lines.push_str(&format!("{event}\n"));
        }
        (last, lines)
    }
}

/// A JSON merge patch (RFC 7386).
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *into = patch.clone();
        return;
    };
    for (name, value) in fields {
        match into.as_object_mut() {
            Some(object) if value.is_null() => drop(object.remove(name)),
            _ => merge(&mut into[name], value),
        }
    }
}

/// What of an object makes it another one.
fn meaning(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    object
}

/// Conditions keep whole seconds only, as the types of Kubernetes do.
fn seconds(mut status: Value) -> Value {
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        if let Some(at) = condition["lastTransitionTime"].as_str() {
            condition["lastTransitionTime"] = json!(format!("{}Z", &at[..19]));
        }
    }
    status
}

impl Asked {
    fn of(request: &Request<Body>) -> Self {
        let query = form_urlencoded(request.uri().query().unwrap_or_default());
        let mut parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
        parts.drain(..if parts[0] == "api" { 2 } else { 3 });
        let namespace = if parts[0] == "namespaces" { parts.drain(..2).nth(1).unwrap() } else { "" };
        let name = parts.get(1).copied().unwrap_or_default();
        let status = parts.get(2) == Some(&"status");
        let verb = match (request.method(), name.is_empty()) {
            (&Method::GET, true) if query.get("watch").is_some_and(|watch| watch == "true") => "watch",
            (&Method::GET, true) => "list",
            (&Method::GET, false) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) if status => "update/status",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, _) => "delete",
            other => panic!("{other:?}"),
        };
        let name = (parts[0].to_owned(), namespace.to_owned(), name.to_owned());
        Self { verb, name, query }
    }

    /// Whether the operator's role allows it.
    fn is_permitted(&self) -> bool {
        let (verb, subresource) =
            self.verb.split_once('/').map_or((self.verb, ""), |(verb, sub)| (verb, sub));
        let resource = [self.name.0.as_str(), subresource].join("/");
        let resource = resource.trim_end_matches('/');
        PERMISSIONS.iter().any(|allowed| allowed.resource == resource && allowed.verbs.contains(&verb))
    }

    fn covers(&self, (resource, namespace, _): &Name, object: &Value) -> bool {
        let selector = self.query.get("labelSelector").map(String::as_str).unwrap_or_default();
        let labels = &object["metadata"]["labels"];
        let has = |term: &str| match (term.split_once("!="), term.split_once('=')) {
            (Some((label, value)), _) => labels[label] != value,
            (None, Some((label, value))) => labels[label] == value,
            (None, None) => labels[term].is_string(),
        };
        *resource == self.name.0
            && (self.name.1.is_empty() || *namespace == self.name.1)
            && selector.split(',').filter(|pair| !pair.is_empty()).all(has)
    }
}

fn form_urlencoded(query: &str) -> BTreeMap<String, String> {
    let decoded =
        |text: &str| text.replace("%2F", "/").replace("%3D", "=").replace("%2C", ",").replace("%21", "!");
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn refusal(code: StatusCode) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
        "reason": code.canonical_reason().unwrap().replace(' ', ""), "message": "as planned",
    });
    let mut answer = Response::new(whole(&status));
    *answer.status_mut() = code;
    answer
}

/// Waits until something is there.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within 20 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
