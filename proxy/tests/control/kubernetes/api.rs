//! An API server as far as a proxy can tell: ConfigMaps and EndpointSlices with resource versions, lists in pages,
//! watches with bookmarks, and everything that goes wrong with them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http_body_util::StreamBody;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

type Answer = Response<BoxBody<Bytes, Infallible>>;
type Labels = Vec<(String, Option<String>)>;

/// Kind and namespace, as they are in a URL.
type Place = (&'static str, String);

pub(crate) const CONFIG_MAPS: &str = "configmaps";
pub(crate) const SLICES: &str = "endpointslices";

/// The server; on a thread of its own.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    switch: mpsc::UnboundedSender<(bool, oneshot::Sender<()>)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    version: u64,
    objects: BTreeMap<(Place, String), Value>,
    events: Vec<(u64, Place, Value)>,
    /// Watches from before this version are told 410.
    oldest: u64,
    /// Rises when all watches are to end; true: with an error 410 in the stream, else by a broken connection.
    cuts: (u64, bool),
    /// Requests of this kind are answered with this status.
    refused: Option<(&'static str, u16)>,
    /// Lists of this kind wait.
    held: Option<&'static str>,
    watches: usize,
}

impl Api {
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { state: Mutex::default(), changed: watch::Sender::new(0) });
        let (switch, switched) = mpsc::unbounded_channel();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            move || runtime.block_on(serve(listener, shared, switched))
        });
        Self { address, shared, switch, thread: Some(thread) }
    }

    /// Makes or changes an object.
    pub(crate) fn put(&self, kind: &'static str, namespace: &str, name: &str, mut object: Value) {
        self.change(|state| {
            let place = (kind, namespace.to_owned());
            object["metadata"]["name"] = name.into();
            object["metadata"]["namespace"] = namespace.into();
            object["metadata"]["resourceVersion"] = state.version.to_string().into();
            let old = state.objects.insert((place.clone(), name.to_owned()), object.clone());
            let event = if old.is_some() { "MODIFIED" } else { "ADDED" };
            state.events.push((state.version, place, json!({"type": event, "object": object})));
        });
    }

    pub(crate) fn delete(&self, kind: &'static str, namespace: &str, name: &str) {
        self.change(|state| {
            let place = (kind, namespace.to_owned());
            let Some(mut object) = state.objects.remove(&(place.clone(), name.to_owned())) else { return };
            object["metadata"]["resourceVersion"] = state.version.to_string().into();
            state.events.push((state.version, place, json!({"type": "DELETED", "object": object})));
        });
    }

    /// Forgets all events so far; watches end with 410, and those from before cannot be taken up again.
    pub(crate) fn compact(&self) {
        self.change(|state| {
            state.oldest = state.version;
            state.events.clear();
            state.cuts = (state.cuts.0 + 1, true);
        });
    }

    /// Breaks every watch; each can be taken up where it was.
    pub(crate) fn break_watches(&self) {
        self.change(|state| state.cuts = (state.cuts.0 + 1, false));
    }

    /// Answers every request of this kind with an error from now on; none: as usual.
    pub(crate) fn refuse(&self, refused: Option<(&'static str, u16)>) {
        self.change(|state| state.refused = refused);
    }

    /// Lets lists of this kind wait; none: lets them go.
    pub(crate) fn hold(&self, held: Option<&'static str>) {
        self.change(|state| state.held = held);
    }

    /// Every connection is closed, and so is each new one.
    pub(crate) fn down(&self) {
        self.turn(false);
    }

    pub(crate) fn up(&self) {
        self.turn(true);
    }

    /// Watches under way.
    pub(crate) fn watches(&self) -> usize {
        self.shared.lock().watches
    }

    fn turn(&self, on: bool) {
        let (done, turned) = oneshot::channel();
        self.switch.send((on, done)).unwrap();
        turned.blocking_recv().unwrap();
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.shared.lock();
        state.version += 1;
        change(&mut state);
        self.shared.changed.send_replace(state.version);
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // The thread ends with the channel.
        self.switch = mpsc::unbounded_channel().0;
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// While it is down it goes on listening, so that no other test gets the port, and closes what connects.
async fn serve(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    mut switched: mpsc::UnboundedReceiver<(bool, oneshot::Sender<()>)>,
) {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let (mut connections, mut up) = (tokio::task::JoinSet::new(), true);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                if up {
                    stream.set_nodelay(true).unwrap();
                    connections.spawn(connection(stream, Arc::clone(&shared)));
                }
            }
            switch = switched.recv() => {
                let Some((turn, done)) = switch else { return };
                up = turn;
                connections.shutdown().await;
                shared.lock().watches = 0;
                done.send(()).unwrap();
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, std::io::Error> {
    let path: Vec<&str> = request.uri().path().split('/').skip(1).collect();
    let place = match path[..] {
        ["api", "v1", "namespaces", namespace, CONFIG_MAPS] => (CONFIG_MAPS, namespace.to_owned()),
        ["apis", "discovery.k8s.io", "v1", "namespaces", namespace, SLICES] => (SLICES, namespace.to_owned()),
        _ => return Ok(status(404, "NotFound")),
    };
    let query: BTreeMap<String, String> =
        form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let selector = selector(query.get("labelSelector").map_or("", String::as_str));
    let is_watch = query.get("watch").is_some_and(|watch| watch == "true");
    let mut changed = shared.changed.subscribe();
    while !is_watch && shared.lock().held == Some(place.0) {
        changed.changed().await.unwrap();
    }
    if let Some((kind, code)) = shared.lock().refused
        && kind == place.0
    {
        return Ok(status(code, if code == 403 { "Forbidden" } else { "InternalError" }));
    }
    if is_watch {
        let from = query["resourceVersion"].parse().unwrap();
        return Ok(watching(shared, place, selector, from));
    }
    Ok(page(&shared.lock(), &place, &selector, &query))
}

fn selector(text: &str) -> Labels {
    let labels = text.split(',').filter(|label| !label.is_empty());
    labels
        .map(|label| match label.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (label.to_owned(), None),
        })
        .collect()
}

fn matches(object: &Value, selector: &Labels) -> bool {
    selector.iter().all(|(key, wanted)| {
        let label = object["metadata"]["labels"].get(key).and_then(Value::as_str);
        label.is_some_and(|label| wanted.as_deref().is_none_or(|wanted| wanted == label))
    })
}

/// A page of at most two, so that every list of three has a second one.
fn page(state: &State, place: &Place, selector: &Labels, query: &BTreeMap<String, String>) -> Answer {
    let from: usize = query.get("continue").map_or(0, |from| from.parse().unwrap());
    let all = state.objects.iter().filter(|((at, _), object)| at == place && matches(object, selector));
    let all: Vec<_> = all.map(|(_, object)| object).collect();
    let until = all.len().min(from + 2);
    let mut metadata = json!({"resourceVersion": state.version.to_string()});
    if until < all.len() {
        metadata["continue"] = until.to_string().into();
    }
    body(200, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": all[from..until]}))
}

fn watching(shared: Arc<Shared>, place: Place, selector: Labels, from: u64) -> Answer {
    let (oldest, cuts) = {
        let mut state = shared.lock();
        state.watches += 1;
        (state.oldest, state.cuts.0)
    };
    let gone = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410}});
    let line = |event: &Value| Ok::<_, std::io::Error>(Frame::data(Bytes::from(format!("{event}\n"))));
    let changed = shared.changed.subscribe();
    let frames = stream::unfold((from, changed, from < oldest), move |(at, mut changed, expired)| {
        let (shared, place, selector, gone) =
            (Arc::clone(&shared), place.clone(), selector.clone(), gone.clone());
        async move {
            if at == u64::MAX {
                shared.lock().watches -= 1;
                return None;
            }
            if expired {
                return Some((vec![line(&gone)], (u64::MAX, changed, false)));
            }
            loop {
                changed.borrow_and_update();
                {
                    let state = shared.lock();
                    if state.cuts.0 != cuts {
                        let last = if state.cuts.1 { vec![line(&gone)] } else { Vec::new() };
                        return Some((last, (u64::MAX, changed, false)));
                    }
                    let news = state.events.iter().filter(|(version, at_place, event)| {
                        *version > at && *at_place == place && matches(&event["object"], &selector)
                    });
                    let mut news: Vec<_> = news.map(|(_, _, event)| line(event)).collect();
                    if state.version > at && news.is_empty() {
                        let version = state.version.to_string();
                        let kind = if place.0 == SLICES { "EndpointSlice" } else { "ConfigMap" };
                        news.push(line(
                            &json!({"type": "BOOKMARK", "object": {"kind": kind, "apiVersion": "v1",
                            "metadata": {"resourceVersion": version}}}),
                        ));
                    }
                    if !news.is_empty() {
                        return Some((news, (state.version, changed, false)));
                    }
                }
                changed.changed().await.ok()?;
            }
        }
    });
    let frames = frames.flat_map(stream::iter).map(|frame| Ok::<_, Infallible>(frame.unwrap()));
    Response::new(BodyExt::boxed(StreamBody::new(frames)))
}

fn status(code: u16, reason: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("the test says {reason}"), "reason": reason, "code": code});
    body(code, &status)
}

fn body(code: u16, value: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(value.to_string())).boxed());
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    answer
}
