//! A proxy, two backends that say who they are and what they were asked, and a client that reads the answers.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use halftone_proxy::report::Documents;
use halftone_proxy::run::{Proxy, Source};
use halftone_proxy::settings::Settings;
use halftone_proxy::source::{Content, Listing, files};
use halftone_routing::config::parse::Format;
use serde_json::{Value, json};

/// Far longer than anything here takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a backend that answers 200 with its name, the path it was asked for, and the version field it got.
pub(crate) fn backend(name: &'static str) -> SocketAddr {
    backend_with(name, |_| 200)
}

/// The same with a status that depends on the path.
pub(crate) fn backend_with(
    name: &'static str,
    status: impl Fn(&str) -> u16 + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let status = Arc::new(status);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let status = Arc::clone(&status);
            std::thread::spawn(move || answer(stream, name, &*status));
        }
    });
    address
}

fn answer(stream: TcpStream, name: &str, status: &dyn Fn(&str) -> u16) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    while let Some((start, fields)) = head(&mut reader) {
        let path = start.split(' ').nth(1).unwrap_or_default();
        let body = format!("{name} {path} {}", field(&fields, "x-halftone-version").unwrap_or_default());
        let status = status(path);
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

type Fields = Vec<(String, String)>;

/// The next head: its first line, its fields with names in lower case. None: the connection has ended.
fn head(reader: &mut BufReader<TcpStream>) -> Option<(String, Fields)> {
    let mut line = || {
        let mut line = String::new();
        (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
    };
    let start = line()?;
    let mut fields = Fields::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { return Some((start, fields)) };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    fields: Fields,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }
}

/// One keep-alive connection.
#[derive(Debug)]
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn get(&mut self, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.send("GET", target, fields)
    }

    pub(crate) fn send(&mut self, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        // Without a token, admin pages answer to local names only.
        let path = target.split('?').next().unwrap();
        let is_page = ["/metrics", "/report", "/config", "/explain"].contains(&path);
        let host = if is_page { "localhost" } else { "shop.example.com" };
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        fields.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        request.push_str("\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        self.read(method != "HEAD")
    }

    /// The next answer, whole.
    pub(crate) fn answer(&mut self) -> Answer {
        self.read(true)
    }

    /// Whether the other end has closed it.
    pub(crate) fn has_ended(&self) -> bool {
        let stream = self.0.get_ref();
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        !matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    fn read(&mut self, has_body: bool) -> Answer {
        let (start, fields) = head(&mut self.0).expect("an answer");
        let length = field(&fields, "content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; if has_body { length } else { 0 }];
        self.0.read_exact(&mut body).unwrap();
        let status = start.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, fields, body: String::from_utf8(body).unwrap() }
    }
}

/// One GET on a connection of its own.
pub(crate) fn get(address: SocketAddr, target: &str) -> Answer {
    Client::connect(address).get(target, &[])
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
        assert!(Instant::now() < deadline, "{what} did not come; there is {got:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Settings for a test: free ports on loopback, two workers.
pub(crate) fn settings() -> Settings {
    let any = "127.0.0.1:0".parse().unwrap();
    Settings { workers: NonZeroUsize::new(2).unwrap(), ..Settings::new(any, Some(any)) }
}

/// A proxy that gets its documents from the test.
pub(crate) fn start(documents: &[(&str, &str)]) -> Proxy {
    Proxy::start(&settings(), Source::Memory(listing(documents))).unwrap()
}

pub(crate) fn listing(documents: &[(&str, &str)]) -> Listing {
    let texts = documents.iter().map(|(name, text)| {
        let format = if name.ends_with(".json") { Format::Json } else { Format::Yaml };
        (Arc::from(*name), Content::Text(format, text.as_bytes().into()))
    });
    files::documents(texts.collect())
}

/// Waits for a future of a [`Proxy`].
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) fn apply(proxy: &Proxy, documents: &[(&str, &str)]) -> Documents {
    wait(proxy.apply(listing(documents))).expect("the proxy runs")
}

/// A release of every host that sends all identities to stable; `more` is merged into it.
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
    merge(&mut document, more);
    document.to_string()
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// Clients that ask without pause until dropped, and check every answer.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    pub(crate) answers: Arc<AtomicU64>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    /// `check` sees every answer, and what it is a client's second argument: a number of its own.
    pub(crate) fn start(
        clients: usize,
        address: SocketAddr,
        ask: impl Fn(&mut Client) + Send + Sync + 'static,
    ) -> Self {
        let (stop, answers, ask) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(ask));
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
        Self { stop, answers, clients }
    }

    /// Whether no client has failed.
    pub(crate) fn is_running(&self) -> bool {
        !self.clients.iter().any(std::thread::JoinHandle::is_finished)
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
