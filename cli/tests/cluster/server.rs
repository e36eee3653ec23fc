//! A small API server on loopback: lists with selectors, watches that go on, merge patches that mind the
//! resourceVersion, refusals, and an operator that answers requests when one is wanted.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Resource, namespace, name.
type Name = (String, String, String);
/// What an operator makes of an object that was patched.
type Operator = Box<dyn FnMut(Value) -> Option<Value> + Send>;

#[derive(Default)]
struct State {
    objects: BTreeMap<Name, Value>,
    log: Vec<(u64, Name, Value)>,
    version: u64,
    forbidden: Vec<String>,
    patches: Vec<Value>,
    pages: BTreeMap<String, (u16, String)>,
    conflicts: u32,
    operator: Option<Operator>,
}

impl State {
    fn store(&mut self, name: Name, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.log.push((self.version, name.clone(), object.clone()));
        self.objects.insert(name, object);
    }
}

/// The server; it ends with the test process.
#[derive(Clone)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    pub(crate) address: SocketAddr,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl Server {
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { state: Arc::default(), changed: watch::Sender::new(0), address };
        let serving = server.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serving.serve(listener));
        });
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Writes an object, as somebody else than the command does.
    pub(crate) fn put(&self, resource: &str, object: Value) {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = (resource.to_owned(), text("/metadata/namespace"), text("/metadata/name"));
        let mut state = self.state();
        state.store(name, object);
        self.changed.send_replace(state.version);
    }

    /// Refuses `VERB RESOURCE`, and `VERB RESOURCE *` in all namespaces only.
    pub(crate) fn forbid(&self, what: &str) {
        self.state().forbidden.push(what.to_owned());
    }

    /// Answers a path with a text, as a proxy's pages come through the API server.
    pub(crate) fn page(&self, path: &str, text: &str) {
        self.failing_page(path, 200, text);
    }

    /// The same with another status than 200.
    pub(crate) fn failing_page(&self, path: &str, code: u16, text: &str) {
        self.state().pages.insert(path.to_owned(), (code, text.to_owned()));
    }

    /// Answers so many patches with a conflict.
    pub(crate) fn conflicts(&self, times: u32) {
        self.state().conflicts = times;
    }

    /// What becomes of an object that is patched.
    pub(crate) fn operator(&self, operator: impl FnMut(Value) -> Option<Value> + Send + 'static) {
        self.state().operator = Some(Box::new(operator));
    }

    /// The patches that were taken.
    pub(crate) fn patches(&self) -> Vec<Value> {
        self.state().patches.clone()
    }

    async fn serve(self, listener: std::net::TcpListener) {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let server = self.clone();
            let answer = service_fn(move |request| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if let Some((code, page)) = self.state().pages.get(request.uri().path()) {
            let body = Full::new(Bytes::from(page.clone())).boxed_unsync();
            return Response::builder().status(*code).body(body).unwrap();
        }
        let asked = Asked::of(&request);
        if let Some(refused) = self.refused(&asked) {
            return refused;
        }
        if asked.verb != "patch" {
            return match asked.verb {
                "get" => match self.state().objects.get(&asked.name) {
                    Some(object) => whole(200, object),
                    None => no(404, "NotFound", &format!("{} not found", asked.name.2)),
                },
                "list" => self.list(&asked),
                _ => self.watch(asked),
            };
        }
        let patch = request.into_body().collect().await.unwrap().to_bytes();
        self.patch(asked.name, serde_json::from_slice(&patch).unwrap())
    }

    fn refused(&self, asked: &Asked) -> Option<Answer> {
        let what = format!("{} {}", asked.verb, asked.name.0);
        let everywhere = asked.name.1.is_empty().then(|| format!("{what} *"));
        let forbidden = &self.state().forbidden;
        let refused = forbidden.contains(&what) || everywhere.is_some_and(|what| forbidden.contains(&what));
        refused.then(|| no(403, "Forbidden", &format!("{} is forbidden: User \"lin\" may not", asked.name.0)))
    }

    fn list(&self, asked: &Asked) -> Answer {
        let state = self.state();
        if asked.name.0 == "grayreleases" && state.forbidden.iter().any(|what| what == "no CRD") {
            return no(404, "NotFound", "the server could not find the requested resource");
        }
        let wanted = |(name, object): &(&Name, &Value)| asked.takes(name, object);
        let all = || state.objects.iter().filter(wanted).map(|(_, object)| object);
        let items: Vec<&Value> = all().skip(asked.page.0).take(asked.page.1).collect();
        let end = asked.page.0 + items.len();
        let more = if all().count() > end { end.to_string() } else { String::new() };
        let metadata = json!({"resourceVersion": state.version.to_string(), "continue": more});
        whole(200, &json!({"metadata": metadata, "items": items}))
    }

    fn patch(&self, name: Name, patch: Value) -> Answer {
        let mut state = self.state();
        let Some(mut object) = state.objects.get(&name).cloned() else {
            return no(404, "NotFound", "not found");
        };
        let version = &patch["metadata"]["resourceVersion"];
        if state.conflicts > 0 || (!version.is_null() && *version != object["metadata"]["resourceVersion"]) {
            state.conflicts = state.conflicts.saturating_sub(1);
            return no(409, "Conflict", "the object has been modified");
        }
        merge(&mut object, &patch);
        state.patches.push(patch);
        state.store(name.clone(), object);
        let written = state.objects[&name].clone();
        let answered = state.operator.as_mut().and_then(|operator| operator(written.clone()));
        if let Some(answered) = answered {
            state.store(name, answered);
        }
        self.changed.send_replace(state.version);
        whole(200, &written)
    }

    fn watch(&self, asked: Asked) -> Answer {
        let (state, changed) = (Arc::clone(&self.state), self.changed.subscribe());
        let start = (asked.since, changed, asked);
        let frames = stream::unfold(start, move |(since, mut changed, asked)| {
            let state = Arc::clone(&state);
            async move {
                loop {
                    let next = state.lock().unwrap().log.iter().find(|(at, ..)| *at > since).cloned();
                    match next {
                        Some((at, name, object)) if asked.takes(&name, &object) => {
                            let line = format!("{}\n", json!({"type": "MODIFIED", "object": object}));
                            let frame = Ok::<_, Infallible>(Frame::data(Bytes::from(line)));
                            return Some((frame, (at, changed, asked)));
                        }
                        Some((at, ..)) => return Some((Ok(Frame::data(Bytes::new())), (at, changed, asked))),
                        None => changed.changed().await.ok()?,
                    }
                }
            }
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

struct Asked {
    verb: &'static str,
    name: Name,
    fields: Vec<(String, String)>,
    labels: Vec<(String, String)>,
    since: u64,
    /// From where, and how many.
    page: (usize, usize),
}

impl Asked {
    fn of(request: &Request<Incoming>) -> Self {
        let path: Vec<&str> = request.uri().path().split('/').filter(|part| !part.is_empty()).collect();
        // /api/v1/… or /apis/GROUP/VERSION/…
        let rest = if path[0] == "api" { &path[2..] } else { &path[3..] };
        let (namespace, rest) =
            if rest[0] == "namespaces" && rest.len() > 2 { (rest[1], &rest[2..]) } else { ("", rest) };
        let query: BTreeMap<String, String> = request.uri().query().map(decode).unwrap_or_default();
        let pairs = |name: &str| query.get(name).map(|text| selector(text)).unwrap_or_default();
        let number = |name: &str| query.get(name).and_then(|text| text.parse().ok());
        let verb = match (request.method(), rest.len(), query.get("watch").map(String::as_str)) {
            (&Method::PATCH, ..) => "patch",
            (_, _, Some("true" | "1")) => "watch",
            (_, 1, _) => "list",
            _ => "get",
        };
        Self {
            verb,
            name: (rest[0].into(), namespace.into(), rest.get(1).copied().unwrap_or_default().into()),
            fields: pairs("fieldSelector"),
            labels: pairs("labelSelector"),
            page: (number("continue").unwrap_or(0), number("limit").unwrap_or(usize::MAX)),
            since: query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default(),
        }
    }

    fn takes(&self, name: &Name, object: &Value) -> bool {
        let field = |(path, value): &(String, String)| {
            object.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_str) == Some(value)
        };
        let label =
            |(key, value): &(String, String)| object["metadata"]["labels"][key].as_str() == Some(value);
        name.0 == self.name.0
            && (self.name.1.is_empty() || name.1 == self.name.1)
            && self.fields.iter().all(field)
            && self.labels.iter().all(label)
    }
}

fn selector(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| part.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    text.split(',').filter_map(pair).collect()
}

fn decode(query: &str) -> BTreeMap<String, String> {
    let text =
        |text: &str| text.replace("%3D", "=").replace("%2F", "/").replace("%2C", ",").replace('+', " ");
    let pair = |part: &str| part.split_once('=').map(|(key, value)| (text(key), text(value)));
    query.split('&').filter_map(pair).collect()
}

fn merge(object: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            if !object.is_object() {
                *object = json!({});
            }
            match value {
                Value::Null => drop(object.as_object_mut().unwrap().remove(name)),
                value => merge(&mut object[name], value),
            }
        }),
        other => *object = other.clone(),
    }
}

fn whole(code: u16, value: &Value) -> Answer {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

fn no(code: u16, reason: &str, message: &str) -> Answer {
    whole(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
            "message": message}),
    )
}
