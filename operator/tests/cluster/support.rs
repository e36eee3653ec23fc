//! A cluster of one fleet with one proxy, which has every document as soon as it is there, and operators that can be
//! started, ended and killed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halftone_api::fleet::FleetDeclarations;
use halftone_daemon::token::{self, OperatorKeySet, TokenClaims};
use halftone_operator::rbac::PERMISSIONS;
use halftone_operator::run::{self, OperatorOptions};
use halftone_routing::document::FEATURES;
use halftone_testkit::{ApiServer, Client, Message, service};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

pub(crate) use halftone_testkit::InjectedFault;

const CONFIG: &str = "
fleets:
- class: default
  namespace: halftone
  podSelector: {app: proxy}
  allowed: [{namespaces: [shop], hosts: ['shop.example.com', '*.shop.example.com']}]
  withdrawAfter: 1s
  hostReserve: 0s
";

/// Beyond what a busy machine needs; only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something is there.
pub(crate) async fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(what, PATIENCE, look).await
}

/// The same for what takes longer.
pub(crate) async fn eventually_within<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what}: not within {patience:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether the operator's role allows it.
fn is_permitted(verb: &str, resource: &str) -> bool {
    PERMISSIONS
        .iter()
        .any(|allowed| allowed.resource == resource && allowed.verbs.contains(&verb))
}

fn client_of(server: ApiServer) -> kube::Client {
    let answer = move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    };
    kube::Client::new(tower::service_fn(answer), "default")
}

pub(crate) struct FakeCluster {
    pub(crate) server: ApiServer,
    pub(crate) proxy: FakeProxy,
    tokens: tempfile::TempDir,
}

/// A proxy, as far as an operator can tell.
#[derive(Clone)]
pub(crate) struct FakeProxy(Arc<Mutex<ProxyState>>, &'static str);

#[derive(Default)]
struct ProxyState {
    sequence: u64,
    /// Takes up nothing new.
    pub(crate) stopped: Option<Vec<Value>>,
    takes: Duration,
    /// `[requests, errors]` of gray.
    gray: [u64; 2],
    stable: u64,
    keys: Option<OperatorKeySet>,
    refused: usize,
    clock: i64,
    crowded: bool,
}

pub(crate) struct TestOperator {
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<()>,
    pub(crate) pages: SocketAddr,
}

impl FakeCluster {
    pub(crate) async fn new() -> Self {
        // What the operators say; shown when a test fails.
        let _ = tracing_subscriber::fmt()
            .with_test_writer()
            .with_env_filter("info,halftone_operator=debug")
            .try_init();
        let tokens = tempfile::tempdir().unwrap();
        let server = ApiServer::new();
        server.role(is_permitted);
        let proxy = FakeProxy::start(&server, "halftone").await;
        let cluster = Self {
            server,
            proxy,
            tokens,
        };
        cluster.service("one", "10.0.0.1");
        cluster.service("two", "10.0.0.2");
        cluster
    }

    pub(crate) fn service(&self, name: &str, address: &str) {
        let metadata = json!({"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": name}});
        let service = json!({"metadata": metadata, "spec": {"ports": [{"port": 80}]}});
        self.server.put("services", service);
        let slice = json!({
            "metadata": metadata, "addressType": "IPv4", "ports": [{"name": "", "port": 8080}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        });
        self.server.put("endpointslices", slice);
    }

    /// Creates a release with these hosts; the uid is also its age.
    pub(crate) fn release(&self, name: &str, uid: u32, host: &str) {
        let object = json!({
            "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease",
            "metadata": {
                "name": name, "namespace": "shop", "uid": format!("uid-{uid}"), "generation": 1,
                "creationTimestamp": format!("2026-11-21T10:00:{uid:02}Z"),
            },
            "spec": {
                "hosts": [host], "targetRatio": 100,
                "stable": {"service": {"name": "one", "port": 80}, "version": "v1"},
                "gray": {"service": {"name": "two", "port": 80}, "version": "v2"},
                "steps": [{"ratio": 10, "hold": "1h"}],
            },
            "status": {"observedGeneration": -1},
        });
        self.server.put("grayreleases", object);
    }

    pub(crate) fn operator(&self, identity: &str) -> TestOperator {
        TestOperator::start(
            &self.server,
            self.tokens.path().to_owned(),
            identity,
            CONFIG,
        )
    }

    /// One with this in its configuration for that.
    pub(crate) fn operator_with(&self, edits: &[(&str, &str)]) -> TestOperator {
        let edit = |config: String, (from, to): &(&str, &str)| config.replace(from, to);
        let config = edits.iter().fold(CONFIG.to_owned(), edit);
        TestOperator::start(&self.server, self.tokens.path().to_owned(), "a", &config)
    }

    /// One of the installation `id`, whose fleet of this class is in `namespace`.
    pub(crate) fn operator_of(&self, id: &str, namespace: &str, class: &str) -> TestOperator {
        let config = CONFIG.replace("namespace: halftone", &format!("namespace: {namespace}"));
        let config = config.replace("class: default", &format!("class: {class}"));
        let config = format!("{config}installation: {id}\n");
        TestOperator::start(&self.server, self.tokens.path().to_owned(), id, &config)
    }

    pub(crate) fn status(&self, name: &str) -> Value {
        self.server
            .get("grayreleases", "shop", name)
            .map(|release| release["status"].clone())
            .unwrap_or_default()
    }

    pub(crate) fn condition(&self, name: &str, kind: &str) -> Option<(String, String)> {
        let status = self.status(name);
        let found = status["conditions"]
            .as_array()?
            .iter()
            .find(|condition| condition["type"] == kind)?
            .clone();
        Some((
            found["status"].as_str()?.to_owned(),
            found["reason"].as_str()?.to_owned(),
        ))
    }

    /// How often something was told by an event.
    pub(crate) fn events(&self, reason: &str) -> usize {
        self.server
            .all("events")
            .iter()
            .filter(|event| event["reason"] == reason)
            .count()
    }

    /// Asks for something with the present token.
    pub(crate) fn ask(&self, name: &str, verb: &str) {
        let token = self.status(name)["requestToken"]
            .as_str()
            .unwrap()
            .to_owned();
        self.server.edit("grayreleases", "shop", name, |object| {
            object["metadata"]["annotations"] =
                json!({"halftone.dev/request": format!("{verb}@{token}")});
        });
    }

    /// The document in the ConfigMap of this object.
    pub(crate) fn document(&self, uid: u32) -> Option<Value> {
        let object = self
            .server
            .get("configmaps", "halftone", &format!("gr-uid-{uid}"))?;
        serde_json::from_str(object["data"]["routing.json"].as_str()?).ok()
    }

    /// Waits until a release has this phase, and returns its status.
    pub(crate) async fn reaches(&self, name: &str, phase: &str) -> Value {
        let mut last = Value::Null;
        let wanted = async {
            loop {
                last = self.status(name);
                if last["phase"] == phase {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, wanted).await;
        assert!(reached.is_ok(), "{name} is not {phase}: {last:#}");
        last
    }

    /// Waits until nothing has been written for a while.
    pub(crate) async fn rest(&self) {
        let (mut writes, mut since) = (self.server.writes().len(), tokio::time::Instant::now());
        eventually("rest", || {
            if self.server.writes().len() != writes {
                (writes, since) = (self.server.writes().len(), tokio::time::Instant::now());
            }
            (since.elapsed().as_millis() > 1500).then_some(())
        })
        .await;
    }
}

impl TestOperator {
    fn start(server: &ApiServer, token_dir: PathBuf, identity: &str, config: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = mpsc::channel(1);
        let (server, identity, config) = (server.clone(), identity.to_owned(), config.to_owned());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let pages = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let fleets = FleetDeclarations::read("operator.yaml", &config).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            let options = OperatorOptions {
                fleets,
                token_dir,
                identity,
            };
            run::run(client_of(server), options, listener, async {
                drop(stopped.await)
            })
            .await;
            end.send(()).await.unwrap();
        });
        Self {
            runtime: Some(runtime),
            stop: Some(stop),
            ended,
            pages,
        }
    }

    /// One of its pages, such as `/metrics`.
    pub(crate) fn page(&self, path: &str) -> Message {
        Client::connect(self.pages).get(path)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(mut self) {
        drop(self.stop.take());
        self.ended.recv().await.unwrap();
    }

    /// As `kill -9` does.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for TestOperator {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// Traffic that fails.
pub(crate) struct FailingTraffic(tokio::task::JoinHandle<()>);

impl Drop for FailingTraffic {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl FakeProxy {
    /// One of the fleet in `namespace`.
    pub(crate) async fn start(server: &ApiServer, namespace: &'static str) -> Self {
        let proxy = Self(Arc::default(), namespace);
        let address = proxy.serve(server.clone()).await;
        server.put(
            "pods",
            json!({
                "metadata": {"name": "proxy-0", "namespace": namespace, "uid": proxy.instance(), "labels": {"app": "proxy"}},
                "spec": {"containers": [{"name": "proxy", "ports": [{"name": "admin", "containerPort": address.port()}]}]},
                "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
            }),
        );
        proxy
    }

    fn instance(&self) -> String {
        format!("uid-proxy-{}", self.1)
    }

    async fn serve(&self, server: ApiServer) -> SocketAddr {
        let proxy = self.clone();
        service::serve(move |request: Request<Incoming>| {
            let (answer, takes) = (
                proxy.answer(&server, &request),
                proxy.0.lock().unwrap().takes,
            );
            async move {
                tokio::time::sleep(takes).await;
                answer
            }
        })
        .await
    }

    /// It takes so long for each answer from now on.
    pub(crate) fn take(&self, time: Duration) {
        self.0.lock().unwrap().takes = time;
    }

    /// It takes up nothing new from now on, or goes on.
    pub(crate) fn stop(&self, server: &ApiServer, stop: bool) {
        self.0.lock().unwrap().stopped = stop.then(|| applied(server, self.1));
    }

    /// Half of what it sends to gray fails from now on, until the answer is dropped.
    pub(crate) fn fail_gray(&self) -> FailingTraffic {
        let proxy = self.clone();
        FailingTraffic(tokio::spawn(async move {
            loop {
                proxy.serve_requests([5, 5], 90);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }))
    }

    /// It serves so many more requests.
    pub(crate) fn serve_requests(&self, gray: [u64; 2], stable: u64) {
        let mut state = self.0.lock().unwrap();
        state.gray = [state.gray[0] + gray[0], state.gray[1] + gray[1]];
        state.stable += stable;
    }

    /// It takes this for the keys of its operators from now on; none is what the API server has.
    pub(crate) fn know(&self, keys: Option<OperatorKeySet>) {
        self.0.lock().unwrap().keys = keys;
    }

    /// How many requests it has refused.
    pub(crate) fn refused(&self) -> usize {
        self.0.lock().unwrap().refused
    }

    /// Its clock goes ahead by so many seconds.
    pub(crate) fn set_clock(&self, ahead: i64) {
        self.0.lock().unwrap().clock = ahead;
    }

    /// Most of its places for client connections are taken from now on.
    pub(crate) fn fill(&self) {
        self.0.lock().unwrap().crowded = true;
    }

    fn check(&self, server: &ApiServer, request: &Request<Incoming>) -> Result<(), String> {
        let mut state = self.0.lock().unwrap();
        let known = state
            .keys
            .clone()
            .or_else(|| keys_in(server, self.1))
            .unwrap_or_default();
        let claim = TokenClaims {
            class: "default",
            instance: &self.instance(),
            path: request.uri().path(),
        };
        let given = request.headers().get(token::HEADER).ok_or("no token")?;
        let now = Timestamp::now().as_second() + state.clock;
        token::verify(known.public(), &claim, given.as_bytes(), now).map_err(|refused| {
            state.refused += 1;
            refused.to_string()
        })
    }

    fn answer(&self, server: &ApiServer, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if let Err(why) = self.check(server, request) {
            let mut refused = Response::new(Full::new(why.into()));
            *refused.status_mut() = StatusCode::UNAUTHORIZED;
            return refused;
        }
        let mut state = self.0.lock().unwrap();
        state.sequence += 1;
        let applied = state
            .stopped
            .clone()
            .unwrap_or_else(|| applied(server, self.1));
        let (mut keys, mut entries) = (Vec::new(), Vec::new());
        for document in documents(server, self.1) {
            for (arm, [good, bad]) in [("gray", state.gray), ("stable", [state.stable, 0])] {
                let key = json!({
                    "uid": document["release"]["uid"], "release": document["release"]["id"],
                    "stage": document["stage"], "arm": arm, "chosenBy": "Split",
                });
                let mut entry = key.clone();
                entry["outcomes"] = json!({"2xx": good, "errorStatus": bad});
                keys.push(key);
                entries.push(entry);
            }
        }
        let report = json!({
            "instance": self.instance(), "epoch": "0000000000000001", "sequence": state.sequence, "version": "0",
            "features": FEATURES, "applied": applied, "fleet": fleet(server, self.1), "keys": keys, "entries": entries,
            "crowded": state.crowded,
        });
        Response::new(Full::new(report.to_string().into()))
    }
}

/// The keys that operators have published.
pub(crate) fn keys(server: &ApiServer) -> Option<OperatorKeySet> {
    keys_in(server, "halftone")
}

fn keys_in(server: &ApiServer, namespace: &str) -> Option<OperatorKeySet> {
    let object = server.get("configmaps", namespace, "halftone-keys-default")?;
    assert_eq!(
        object["metadata"]["labels"],
        json!({"halftone.dev/fleet": "default", "halftone.dev/kind": "Keys"})
    );
    OperatorKeySet::parse(object["data"]["keys.json"].as_str()?).ok()
}

fn documents(server: &ApiServer, namespace: &str) -> Vec<Value> {
    let texts = server
        .all("configmaps")
        .into_iter()
        .filter(|object| object["metadata"]["namespace"] == namespace)
        .filter_map(|object| Some(object["data"]["routing.json"].as_str()?.to_owned()));
    texts
        .filter_map(|text| serde_json::from_str(&text).ok())
        .collect()
}

fn applied(server: &ApiServer, namespace: &str) -> Vec<Value> {
    let named = |document: Value| json!({"uid": document["release"]["uid"], "revision": document["revision"], "checksum": document["checksum"]});
    documents(server, namespace)
        .into_iter()
        .map(named)
        .collect()
}

fn fleet(server: &ApiServer, namespace: &str) -> Option<Value> {
    let object = server.get("configmaps", namespace, "halftone-fleet-default")?;
    let config: Value = serde_json::from_str(object["data"]["fleet.json"].as_str()?).ok()?;
    Some(json!({"revision": config["revision"], "checksum": config["checksum"]}))
}
