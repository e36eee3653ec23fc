//! A Kubernetes API server in the test's process: objects with resourceVersions, lists in pages, watches that go on, and
//! everything that goes wrong with them.
//!
//! [`ApiServer::answer`] takes requests from a client in the same process; [`ApiServer::listen`] puts it on loopback.
//! It knows no kinds: what is put under a resource's name is that resource's.

mod endpoint;
mod fault_injection;
mod list;
mod objects;
mod request;
mod response;
mod selector;
#[cfg(test)]
mod tests;
mod watch_stream;
mod write;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Body;
use hyper::{Request, Response, StatusCode};
use serde_json::Value;
use tokio::sync::watch;

pub use endpoint::ApiEndpoint;
pub use fault_injection::InjectedFault;

use fault_injection::FaultInjector;
use objects::{ObjectKey, Objects};
use request::ApiRequest;
use response::{refusal, text, whole};

/// What an answer consists of.
pub type ApiBody = UnsyncBoxBody<Bytes, Infallible>;

/// What a controller makes of an object that was patched.
type Controller = Box<dyn FnMut(Value) -> Option<Value> + Send>;

/// The server. A copy is the same server.
#[derive(Clone)]
pub struct ApiServer(Arc<ApiServerInner>);

struct ApiServerInner {
    state: Mutex<ApiServerState>,
    /// Tells watches, and requests that are held up, to look again.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct ApiServerState {
    objects: Objects,
    faults: FaultInjector,
    /// `VERB resource/namespace/name`
    writes: Vec<String>,
    patches: Vec<Value>,
    /// Status and text by path.
    pages: BTreeMap<String, (StatusCode, String)>,
    controller: Option<Controller>,
    watches: watch_stream::WatchRegistry,
    listings: Vec<list::ListSnapshot>,
    /// The longest page of a list.
    longest_page: Option<usize>,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer")
            .field("writes", &self.state().writes)
            .finish_non_exhaustive()
    }
}

impl Default for ApiServer {
    fn default() -> Self {
        Self::new()
    }
}

/// What a test does with the server.
impl ApiServer {
    /// A server without any object.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(ApiServerInner {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        }))
    }

    fn state(&self) -> MutexGuard<'_, ApiServerState> {
        self.0.state.lock().unwrap()
    }

    /// Changes something that watches, and requests that are held up, want to see.
    fn change<T>(&self, change: impl FnOnce(&mut ApiServerState) -> T) -> T {
        let changed = change(&mut self.state());
        self.0.changed.send_replace(());
        changed
    }

    /// An object; none if there is none.
    #[must_use]
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let found = self
            .state()
            .objects
            .get(&ObjectKey::new(resource, namespace, name))?;
        Some(Value::clone(&found))
    }

    /// All objects of a resource, in the order of their names.
    #[must_use]
    pub fn all(&self, resource: &str) -> Vec<Value> {
        let mut all = Vec::new();
        self.each(resource, |object| all.push(object.clone()));
        all
    }

    /// Shows all objects of a resource without copying them.
    pub fn each(&self, resource: &str, show: impl FnMut(&Value)) {
        self.state().objects.of(resource).for_each(show);
    }

    /// Somebody else than the client writes an object, which names itself in its metadata.
    pub fn put(&self, resource: &str, object: Value) {
        let text = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let name = ObjectKey::new(
            resource,
            text("/metadata/namespace"),
            text("/metadata/name"),
        );
        self.change(|state| state.objects.store(&name, object));
    }

    /// Somebody else than the client changes an object.
    ///
    /// # Panics
    /// There is no such object.
    pub fn edit(&self, resource: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut edit = Some(edit);
        self.edit_all(resource, namespace, &[name], |_, object| {
            edit.take().unwrap()(object)
        });
    }

    /// Somebody else than the client changes several objects before anybody sees one of them changed.
    ///
    /// # Panics
    /// There is no such object.
    pub fn edit_all(
        &self,
        resource: &str,
        namespace: &str,
        names: &[&str],
        mut edit: impl FnMut(&str, &mut Value),
    ) {
        self.change(|state| {
            for name in names {
                let of = ObjectKey::new(resource, namespace, name);
                let mut object = Value::clone(&state.objects.get(&of).unwrap());
                edit(name, &mut object);
                state.objects.store(&of, object);
            }
        });
    }

    /// Somebody else than the client deletes an object.
    pub fn remove(&self, resource: &str, namespace: &str, name: &str) {
        self.change(|state| {
            state
                .objects
                .discard(&ObjectKey::new(resource, namespace, name))
        });
    }

    /// All writes so far as `VERB resource/namespace/name`, but for Leases, events and what was refused.
    #[must_use]
    pub fn writes(&self) -> Vec<String> {
        self.state().writes.clone()
    }

    /// All patches that were accepted so far.
    #[must_use]
    pub fn patches(&self) -> Vec<Value> {
        self.state().patches.clone()
    }

    /// Somebody who reacts to each patch: what becomes of an object once it is patched, if anything.
    pub fn controller(&self, controller: impl FnMut(Value) -> Option<Value> + Send + 'static) {
        self.state().controller = Some(Box::new(controller));
    }

    /// Answers a path with this text, whatever is asked of it: for reviews, versions and what comes through a proxy.
    pub fn page(&self, path: &str, text: &str) {
        self.failing_page(path, 200, text);
    }

    /// The same with another status than 200.
    ///
    /// # Panics
    /// There is no such status.
    pub fn failing_page(&self, path: &str, code: u16, text: &str) {
        let page = (StatusCode::from_u16(code).unwrap(), text.to_owned());
        self.state().pages.insert(path.to_owned(), page);
    }

    /// Gives lists in pages of at most so many objects, however many are asked for.
    pub fn limit_pages(&self, longest: usize) {
        self.state().longest_page = Some(longest);
    }
}

/// What goes wrong.
impl ApiServer {
    /// Plans what goes wrong from now on: from `VERB resource/namespace/name` to a fault. The verb of a status is
    /// `update/status`.
    pub fn faults(&self, plan: impl FnMut(&str) -> Option<InjectedFault> + Send + 'static) {
        self.change(|state| state.faults.plan(plan));
    }

    /// Nothing that was planned goes wrong any more.
    pub fn no_faults(&self) {
        self.change(|state| state.faults.end_plan());
    }

    /// Whether the client's role allows a verb on a resource; a status is `RESOURCE/status`.
    pub fn role(&self, allows: impl Fn(&str, &str) -> bool + Send + 'static) {
        self.state().faults.set_role(allows);
    }

    /// Forbids `VERB RESOURCE` from now on, and `VERB RESOURCE *` in all namespaces at once only.
    pub fn forbid(&self, what: &str) {
        self.state().faults.forbid(what);
    }

    /// Forgets all that has happened: watches end with 410, and those from before cannot be taken up again.
    pub fn compact(&self) {
        self.change(|state| state.objects.compact());
    }

    /// Breaks every watch; each can be taken up where it was.
    pub fn break_watches(&self) {
        self.change(|state| state.watches.break_all());
    }

    /// Tells watches that want it, by a bookmark, of each version that brought them nothing.
    pub fn send_bookmarks(&self) {
        self.change(|state| state.watches.send_bookmarks());
    }

    /// Watches under way.
    #[must_use]
    pub fn watches(&self) -> usize {
        self.state().watches.under_way()
    }
}

/// What a client gets.
impl ApiServer {
    /// Answers a request.
    ///
    /// # Panics
    /// The request is none that an API server knows.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<ApiBody>
    where
        B: Body,
        B::Error: std::fmt::Debug,
    {
        if let Some((code, page)) = self.state().pages.get(request.uri().path()) {
            return text(*code, page.clone());
        }
        let Some(mut asked) = ApiRequest::of(&request) else {
            return refusal(StatusCode::NOT_FOUND, "no such path");
        };
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        asked.take_name(&body);
        if !self.state().faults.allow(&asked) {
            let why = format!(
                "{} is forbidden: the role does not allow {}",
                asked.name.resource, asked.verb
            );
            return refusal(StatusCode::FORBIDDEN, &why);
        }
        let fault = self.fault(&asked.line()).await;
        if let Some(answer) = fault.and_then(InjectedFault::instead) {
            return answer.await;
        }
        let answer = self.carry_out(asked, &body);
        match fault {
            Some(InjectedFault::AnswerLost) => std::future::pending().await,
            _ => answer,
        }
    }

    /// What is planned for a request, once it is not held up any more.
    async fn fault(&self, line: &str) -> Option<InjectedFault> {
        let mut changed = self.0.changed.subscribe();
        loop {
            let planned = self.state().faults.planned(line);
            if planned != Some(InjectedFault::Held) {
                return planned;
            }
            changed.changed().await.unwrap();
        }
    }

    fn carry_out(&self, asked: ApiRequest, body: &Value) -> Response<ApiBody> {
        match asked.verb {
            "watch" => self.watch(asked),
            "list" => self.list(&asked),
            "get" => match self.state().objects.get(&asked.name) {
                Some(object) => whole(&object),
                None => refusal(
                    StatusCode::NOT_FOUND,
                    &format!("{} not found", asked.name.name),
                ),
            },
            _ => match self.write(&asked, body) {
                Ok(object) => whole(&object),
                Err((code, why)) => refusal(code, why),
            },
        }
    }
}
