//! A proxy in this process: documents read and compiled as the control side does it, real workers, real counters.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use halftone_proxy::access_log::{AccessLog, HashKey, WorkerLog};
use halftone_proxy::counters::{Arm, Outcome, WorkerCounters};
use halftone_proxy::drain::DrainSchedule;
use halftone_proxy::overlay::Overlays;
use halftone_proxy::report::{Documents, Reporter, ServedDocument};
use halftone_proxy::settings::ClientTimeouts;
use halftone_proxy::snapshot::{Publisher, Snapshot};
use halftone_proxy::upstream::endpoints::Tables;
use halftone_proxy::worker::{DrainResult, Listeners, WorkerResources, WorkerSettings, Workers};
use halftone_routing::document::names::Uid;
use halftone_routing::document::parse::Format;
use halftone_routing::document::units::Ratio;
use halftone_routing::overlay::Overlay;
use halftone_routing::report::{AppliedDocument, Counts, Epoch, ReportForm};
use halftone_routing::store::{Content, SourceDocument, Store};
use halftone_testkit::merge_patch::merge;
use serde_json::{Value, json};

use super::{Client, PATIENCE};

/// How a test's proxy differs from one with every default.
#[derive(Clone, Debug)]
pub(crate) struct ProxyOptions {
    pub(crate) workers: usize,
    pub(crate) client: ClientTimeouts,
    pub(crate) drain: DrainSchedule,
    pub(crate) tunnel_grace: Duration,
    pub(crate) max_connections: usize,
    pub(crate) max_held_bytes: usize,
    pub(crate) fleet: Option<Value>,
    /// Keeps an access log of every request, for [`TestProxy::finish`].
    pub(crate) log: bool,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            workers: 1,
            client: ClientTimeouts::default(),
            drain: DrainSchedule {
                delay: Duration::ZERO,
                timeout: Duration::from_secs(10),
            },
            tunnel_grace: Duration::ZERO,
            max_connections: 20_000,
            max_held_bytes: 256 << 20,
            fleet: None,
            log: false,
        }
    }
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct TestProxy {
    pub(crate) address: SocketAddr,
    workers: Option<Workers>,
    control: TestControl,
    publisher: Publisher,
    log: Option<(AccessLog, LogBuffer)>,
}

/// Where the access log goes.
#[derive(Clone, Debug, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the control thread has.
#[derive(Debug)]
struct TestControl {
    store: Store,
    reporter: Reporter,
    tables: Tables,
    overlays: Overlays,
    fleet: Option<Value>,
}

impl TestControl {
    /// The snapshot for these documents, made of the one before where there is one.
    fn snapshot(&mut self, before: Option<&Snapshot>, documents: &[Value]) -> Snapshot {
        let texts: Vec<_> = documents
            .iter()
            .map(|document| document.to_string())
            .collect();
        let names: Vec<_> = (0..texts.len())
            .map(|index| format!("{index}.json"))
            .collect();
        let found: Vec<_> = names
            .iter()
            .zip(&texts)
            .map(|(name, text)| in_json(name, text))
            .collect();
        let fleet = self.fleet.as_ref().map(Value::to_string);
        self.store.apply(
            &found,
            fleet.as_ref().map(|text| in_json("fleet.json", text)),
        );
        assert_eq!(
            self.store.rejected(),
            [],
            "the test's documents are in order"
        );
        let routes = Arc::clone(self.store.routes());
        let changed = self.store.take_changed_routes();
        let (tables, overlays) = (&self.tables, &mut self.overlays);
        match before {
            Some(before) => before.next(&routes, &changed, tables, overlays, &mut self.reporter),
            None => Snapshot::new(1, &routes, tables, overlays, &mut self.reporter),
        }
    }
}

fn in_json<'a>(source: &'a str, text: &'a str) -> SourceDocument<'a> {
    SourceDocument {
        source,
        content: Content::Text(Format::Json, text.as_bytes()),
    }
}

impl TestProxy {
    /// With every default.
    pub(crate) fn start(documents: &[Value]) -> Self {
        Self::with(ProxyOptions::default(), documents)
    }

    /// For one stable arm at this address.
    pub(crate) fn to(backend: SocketAddr) -> Self {
        Self::start(&[release(&[backend], json!({}))])
    }

    pub(crate) fn with(options: ProxyOptions, documents: &[Value]) -> Self {
        let ProxyOptions {
            workers,
            client,
            drain,
            tunnel_grace,
            max_connections,
            max_held_bytes,
            fleet,
            log,
        } = options;
        let mut control = TestControl {
            store: Store::new(),
            reporter: Reporter::new("test".into(), Epoch(1), workers),
            tables: Tables::new(workers),
            overlays: Overlays::default(),
            fleet,
        };
        let publisher = Publisher::new(control.snapshot(None, documents));
        let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()], workers).unwrap();
        let address = listeners.addresses()[0];
        let lines = LogBuffer::default();
        let log =
            log.then(|| AccessLog::start(Ratio::FULL, HashKey::random(), lines.clone()).unwrap());
        let own = (0..workers)
            .map(|worker| WorkerResources {
                snapshot: publisher.reader(),
                counters: WorkerCounters::new(worker),
                log: log.as_ref().map_or_else(WorkerLog::off, AccessLog::worker),
            })
            .collect();
        let limits = WorkerSettings {
            max_connections,
            max_held_bytes,
            tunnel_grace,
            drain,
            client,
        };
        let workers = Workers::start(listeners, limits, own).unwrap();
        Self {
            address,
            workers: Some(workers),
            control,
            publisher,
            log: log.map(|log| (log, lines)),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address).with_host("shop")
    }

    pub(crate) fn workers(&self) -> &Workers {
        self.workers.as_ref().unwrap()
    }

    /// Client connections open at present.
    pub(crate) fn connections(&self) -> usize {
        self.workers().connections().iter().sum()
    }

    /// Replaces the documents.
    pub(crate) fn apply(&mut self, documents: &[Value]) {
        let before = self.publisher.current().load_full();
        let snapshot = self.control.snapshot(Some(&before), documents);
        self.publisher.publish(snapshot);
    }

    /// Writes every release's overlay, behind the documents' back.
    pub(crate) fn overlay(&self, overlay: Overlay) {
        let snapshot = self.publisher.current().load_full();
        let indices = snapshot.routes.releases().map(|(index, _)| index);
        for (_, word) in indices.filter_map(|index| snapshot.overlay_word(index)) {
            word.store(overlay);
        }
        snapshot.flips.raise();
    }

    /// The tables of endpoints, to change them behind the documents' back.
    pub(crate) fn tables(&self) -> &Tables {
        &self.control.tables
    }

    /// Begins the drain and waits for its end.
    pub(crate) fn drain(mut self) -> DrainResult {
        let workers = self.workers.take().unwrap();
        workers.drain();
        workers.join()
    }

    /// Drains, and returns every line of the access log.
    pub(crate) fn finish(mut self) -> Vec<Value> {
        let (log, lines) = self.log.take().unwrap();
        self.drain();
        log.close();
        let bytes = lines.0.lock().unwrap();
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    /// Everything counted so far, by arm.
    pub(crate) fn counts(&mut self) -> BTreeMap<Arm, Counts> {
        let mut counts = BTreeMap::<Arm, Counts>::new();
        for entry in self.control.reporter.report(None, ReportForm::Two).entries {
            counts
                .entry(entry.key.charge.arm())
                .or_default()
                .merge(&entry.counts);
        }
        counts
    }

    /// What is open of gray's and has become long, as the report says it of a release that was taken back.
    pub(crate) fn open_long(&mut self) -> u64 {
        let uid: Uid = "local/shop/checkout".parse().unwrap();
        let document = AppliedDocument {
            uid: uid.clone(),
            revision: 2.try_into().unwrap(),
            checksum: format!("sha256:{}", "0".repeat(64)).try_into().unwrap(),
            ignored_fields: Vec::new(),
            open_long: 0,
        };
        let served = ServedDocument {
            document,
            gray_ended: true,
        };
        let applied = vec![(uid, Some(served))];
        self.control
            .reporter
            .change_documents(applied, Documents::default());
        self.control.reporter.report(None, ReportForm::Two).applied[0].open_long
    }

    /// Waits until the arm's outcomes are these: a client may have its answer before the worker has counted it.
    pub(crate) fn expect_outcomes(&mut self, arm: Arm, expected: &[(Outcome, u64)]) {
        let expected: BTreeMap<_, _> = expected.iter().copied().collect();
        self.wait_for(&format!("outcomes {expected:?}"), |counts| {
            counts
                .get(&arm)
                .map(|counts| counts.outcomes.clone())
                .unwrap_or_default()
                == expected
        });
    }

    /// Waits until so many client connections are open: a worker needs a moment to see one come or go.
    pub(crate) fn expect_connections(&self, by_worker: &[usize]) {
        let deadline = Instant::now() + PATIENCE;
        while self.workers().connections() != by_worker {
            assert!(
                Instant::now() < deadline,
                "{by_worker:?} did not come; there are {:?}",
                self.workers().connections()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the counts are as wanted.
    pub(crate) fn wait_for(&mut self, what: &str, wanted: impl Fn(&BTreeMap<Arm, Counts>) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counts = self.counts();
            if wanted(&counts) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what} did not come; there is {counts:#?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        if let Some(workers) = self.workers.take() {
            workers.stop();
            workers.join();
        }
    }
}

/// A routing document for every host with its stable arm at these addresses; `more` is merged into it.
#[allow(
    clippy::needless_pass_by_value,
    reason = "pieces of documents are written where they are passed"
)]
pub(crate) fn release(stable: &[SocketAddr], more: Value) -> Value {
    let mut document = json!({
        "schema": 1,
        "bucketing": "xxh3-1",
        "release": {
            "uid": "local/shop/checkout",
            "namespace": "shop",
            "name": "checkout",
            "id": "0123456789abcdef",
            "createdAt": "2026-11-21T00:00:00Z",
        },
        "revision": 1,
        "stage": 1,
        "state": "Plain",
        "ratio": 0,
        "hosts": ["*"],
        "arms": {"stable": {"addresses": stable, "version": "v1"}},
        "identity": {"from": [{"header": "X-User-Name"}]},
    });
    merge(&mut document, &more);
    document
}
