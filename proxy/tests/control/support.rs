//! Proxies, backends that say who they are and what they were asked, and clients under way without pause.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use halftone_proxy::report::Documents;
use halftone_proxy::run::{DocumentSource, Proxy};
use halftone_proxy::settings::Settings;
use halftone_proxy::source::{Content, SourceListing, files};
use halftone_routing::document::parse::Format;
use halftone_testkit::merge_patch::merge;
pub(crate) use halftone_testkit::{Backend, Client, Message, PATIENCE};
use serde_json::{Value, json};

/// Starts a backend that answers 200 with its name, the path it was asked for, and the version field it got.
pub(crate) fn backend(name: &'static str) -> SocketAddr {
    backend_with(name, |_| 200)
}

/// The same with a status that depends on the path.
pub(crate) fn backend_with(
    name: &'static str,
    status: impl Fn(&str) -> u16 + Send + Sync + 'static,
) -> SocketAddr {
    start_backend(name, status).address
}

/// The same with a backend that tells who is connected.
pub(crate) fn start_backend(
    name: &'static str,
    status: impl Fn(&str) -> u16 + Send + Sync + 'static,
) -> Backend {
    Backend::start(move |incoming, _| {
        while let Some(request) = incoming.request() {
            let path = request.target();
            let body = format!(
                "{name} {path} {}",
                request.get("x-halftone-version").unwrap_or_default()
            );
            let head = format!(
                "HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n",
                status(path),
                body.len()
            );
            incoming.send(head + &body);
        }
    })
}

/// A backend whose every answer breaks a rule.
pub(crate) fn breaking(answer: &'static str) -> SocketAddr {
    Backend::start(move |incoming, _| {
        incoming.head();
        incoming.send(answer);
    })
    .address
}

/// One GET on a connection of its own.
pub(crate) fn get(address: SocketAddr, target: &str) -> Message {
    // Without a token, admin pages answer to local names only.
    let path = target.split('?').next().unwrap();
    let is_page = ["/metrics", "/report", "/config", "/explain"].contains(&path);
    let host = if is_page {
        "localhost"
    } else {
        "shop.example.com"
    };
    Client::connect(address).with_host(host).get(target)
}

/// Asks again until the answer is as wanted.
pub(crate) fn until<T: std::fmt::Debug>(
    what: &str,
    mut ask: impl FnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let got = ask();
        if wanted(&got) {
            return got;
        }
        assert!(
            Instant::now() < deadline,
            "{what} did not come; there is {got:#?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Settings for a test: free ports on loopback, two workers.
pub(crate) fn settings() -> Settings {
    let any = "127.0.0.1:0".parse().unwrap();
    Settings {
        workers: NonZeroUsize::new(2).unwrap(),
        ..Settings::new(any, Some(any))
    }
}

/// A proxy that gets its documents from the test.
pub(crate) fn start(documents: &[(&str, &str)]) -> Proxy {
    Proxy::start(&settings(), DocumentSource::Memory(listing(documents))).unwrap()
}

pub(crate) fn listing(documents: &[(&str, &str)]) -> SourceListing {
    let texts = documents.iter().map(|(name, text)| {
        let format = if name.ends_with(".json") {
            Format::Json
        } else {
            Format::Yaml
        };
        (
            Arc::from(*name),
            Content::Text(format, text.as_bytes().into()),
        )
    });
    files::documents(texts.collect())
}

/// Waits for a future of a [`Proxy`].
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

pub(crate) fn apply(proxy: &Proxy, documents: &[(&str, &str)]) -> Documents {
    wait(proxy.apply(listing(documents))).expect("the proxy runs")
}

/// A release of every host that sends all identities to stable; `more` is merged into it.
#[allow(
    clippy::needless_pass_by_value,
    reason = "pieces of documents are written where they are passed"
)]
pub(crate) fn release(name: &str, revision: u64, stable: SocketAddr, more: Value) -> String {
    let mut document = json!({
        "schema": 1,
        "bucketing": "xxh3-1",
        "release": {
            "uid": format!("local/shop/{name}"),
            "namespace": "shop",
            "name": name,
            "id": "0123456789abcdef",
            "createdAt": "2026-11-01T00:00:00Z",
        },
        "revision": revision,
        "stage": 1,
        "state": "Plain",
        "ratio": 0,
        "hosts": ["*"],
        "arms": {"stable": {"addresses": [stable], "version": format!("r{revision}")}},
        "identity": {"from": [{"header": "X-User-Name"}]},
    });
    merge(&mut document, &more);
    document.to_string()
}

/// Clients that ask without pause until dropped, and check every answer.
#[derive(Debug)]
pub(crate) struct BackgroundLoad {
    stop: Arc<AtomicBool>,
    pub(crate) answers: Arc<AtomicU64>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl BackgroundLoad {
    /// `check` sees every answer, and what it is a client's second argument: a number of its own.
    pub(crate) fn start(
        clients: usize,
        address: SocketAddr,
        ask: impl Fn(&mut Client) + Send + Sync + 'static,
    ) -> Self {
        let (stop, answers, ask) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
            Arc::new(ask),
        );
        let clients = (0..clients).map(|_| {
            let (stop, answers, ask) = (Arc::clone(&stop), Arc::clone(&answers), Arc::clone(&ask));
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while !stop.load(SeqCst) {
                    ask(&mut client);
                    // New connections meet the swaps, too.
                    if answers.fetch_add(1, SeqCst) % 100 == 99 {
                        client = Client::connect(address);
                    }
                }
            })
        });
        let clients = clients.collect();
        Self {
            stop,
            answers,
            clients,
        }
    }

    /// Whether no client has failed.
    pub(crate) fn is_running(&self) -> bool {
        !self
            .clients
            .iter()
            .any(std::thread::JoinHandle::is_finished)
    }

    /// Ends the clients; their failed assertions fail the test.
    pub(crate) fn end(self) -> u64 {
        self.stop.store(true, SeqCst);
        for client in self.clients {
            client.join().expect("a client saw something wrong");
        }
        self.answers.load(SeqCst)
    }
}
