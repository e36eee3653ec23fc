//! Pulls the proxies' reports: round after round, quick while a release of the fleet is judged or a document is on its
//! way, seldom otherwise. A proxy that is slow to answer is waited for a moment and then holds nobody up; its answer
//! counts in a later round.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use halftone_daemon::log::with_causes;
use halftone_routing::report::{self, TrafficReport};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use halftone_rollout::advance::{BUSY, IDLE};
use halftone_rollout::events::{Event, EventReason};

use crate::clock::Clock;
use crate::cluster_cache::ClusterCache;
use crate::credentials::{Credentials, REPORT};
use crate::events::EventRecorder;
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::objects::FleetRef;
use crate::poll_error::{DEADLINE, PollError};
use crate::proxy_roster::{ProxyPod, ProxyRoster};

/// What people are told of a proxy without room.
const CROWDED: &str = "90 % of its places for client connections are taken: connections that send nothing are closed \
                       after 10 s, and when all are taken the longest idle make room; see who connects, add replicas, \
                       or raise maxConnections and the memory limit";
/// Within a round, slow proxies are waited for so long.
const PATIENCE: Duration = Duration::from_millis(250);
/// Reports at once; each may be large.
const AT_ONCE: usize = 32;
/// A refusal that says more than this is not read.
const WORDS: usize = 1024;
/// Connections are kept between the rounds of a busy fleet. Proxies close one after ten seconds without a request, which
/// is when an idle fleet is asked again: kept for as long, it would break under every other question.
const KEPT: Duration = Duration::from_secs(5);

/// How a fleet is asked.
#[derive(Debug)]
pub struct ReportCollector {
    fleet: FleetRef,
    credentials: Arc<Credentials>,
    world: Arc<ClusterCache>,
    roster: Arc<Mutex<ProxyRoster>>,
    pace: Arc<PollPace>,
    clock: Clock,
    metrics: Arc<Metrics>,
    events: EventRecorder,
    client: Client<HttpConnector, Empty<Bytes>>,
    slots: Arc<Semaphore>,
}

/// How often a fleet is asked.
#[derive(Debug, Default)]
pub struct PollPace {
    busy: AtomicBool,
    changed: Notify,
}

impl PollPace {
    /// Something is judged or on its way, or nothing is.
    pub fn set(&self, busy: bool) {
        if self.busy.swap(busy, Ordering::Relaxed) != busy {
            self.changed.notify_one();
        }
    }

    /// The next round is due now.
    pub fn poll_now(&self) {
        self.changed.notify_one();
    }

    fn pause(&self) -> Duration {
        if self.busy.load(Ordering::Relaxed) {
            BUSY
        } else {
            IDLE
        }
    }
}

/// What became of one request.
struct PollResult {
    pod: Arc<ProxyPod>,
    asked_at: Instant,
    report: Result<TrafficReport, PollError>,
}

impl ReportCollector {
    /// A collector of this fleet.
    #[must_use]
    pub fn new(
        fleet: FleetRef,
        credentials: Credentials,
        world: Arc<ClusterCache>,
        roster: Arc<Mutex<ProxyRoster>>,
        (clock, metrics, events): (Clock, Arc<Metrics>, EventRecorder),
    ) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(DEADLINE));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            .build(connector);
        let (pace, slots) = (Arc::default(), Arc::new(Semaphore::new(AT_ONCE)));
        let credentials = Arc::new(credentials);
        Self {
            fleet,
            credentials,
            world,
            roster,
            pace,
            clock,
            metrics,
            events,
            client,
            slots,
        }
    }

    /// How often it asks.
    #[must_use]
    pub fn pace(&self) -> Arc<PollPace> {
        Arc::clone(&self.pace)
    }

    /// Asks round after round until it is dropped; `rounds` hears of the end of each. What is counted for objects that
    /// nobody looks after is dropped.
    pub async fn run(
        &self,
        rounds: mpsc::Sender<()>,
        is_looked_after: impl Fn(&halftone_routing::document::names::Uid) -> bool,
    ) {
        let mut open = JoinSet::new();
        let mut asked: HashSet<String> = HashSet::new();
        let mut publishing = JoinSet::new();
        self.credentials.lead();
        loop {
            let began = Instant::now();
            self.publish(&mut publishing);
            self.ask(&mut open, &mut asked);
            self.gather(&mut open, &mut asked, began + PATIENCE).await;
            lock(&self.roster).end_round(Instant::now(), &is_looked_after);
            // One that is not heard yet says the same.
            let _ = rounds.try_send(());
            self.pause(began).await;
        }
    }

    /// Lets the proxies know our key, beside the rounds: proxies that have the bearer token answer without.
    fn publish(&self, publishing: &mut JoinSet<()>) {
        while publishing.try_join_next().is_some() {}
        if !publishing.is_empty() || !self.credentials.is_due() {
            return;
        }
        let (credentials, class) = (Arc::clone(&self.credentials), self.fleet.class.clone());
        publishing.spawn(async move {
            if let Err(error) = credentials.publish().await {
                tracing::warn!(fleet = %class, "our key is not published, and proxies may refuse us: {error}");
            }
        });
    }

    /// Waits for the next round. One that is wanted sooner still keeps its distance from the one before.
    async fn pause(&self, began: Instant) {
        loop {
            let due = began + self.pace.pause();
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                () = self.pace.changed.notified() => {
                    tokio::time::sleep_until(began + BUSY).await;
                    if began.elapsed() < self.pace.pause() {
                        return;
                    }
                }
            }
        }
    }

    fn ask(&self, open: &mut JoinSet<PollResult>, asked: &mut HashSet<String>) {
        let pods = self.world.pods(&self.fleet.class);
        let mut roster = lock(&self.roster);
        roster.follow(&pods);
        for pod in pods.into_iter().filter(|pod| pod.is_asked()) {
            let Some(admin) = pod.admin else { continue };
            if !asked.insert(pod.uid.clone()) {
                continue;
            }
            let request = request(
                admin,
                roster.since(&pod.uid).as_deref(),
                self.credentials.fields(&pod.uid),
            );
            let (client, slots) = (self.client.clone(), Arc::clone(&self.slots));
            open.spawn(async move {
                let _slot = slots.acquire_owned().await;
                let asked_at = Instant::now();
                let report =
                    tokio::time::timeout(DEADLINE, fetch(&client, request, &pod.uid)).await;
                PollResult {
                    pod,
                    asked_at,
                    report: report.unwrap_or(Err(PollError::Late)),
                }
            });
        }
    }

    async fn gather(
        &self,
        open: &mut JoinSet<PollResult>,
        asked: &mut HashSet<String>,
        until: Instant,
    ) {
        while let Ok(Some(answer)) = tokio::time::timeout_at(until, open.join_next()).await {
            let Ok(PollResult {
                pod,
                asked_at,
                report,
            }) = answer
            else {
                continue;
            };
            asked.remove(&pod.uid);
            let class = self.fleet.class.as_str();
            match report {
                Ok(report) => {
                    self.metrics.polled(class, asked_at.elapsed());
                    lock(&self.roster).answered(&pod.uid, &report, self.clock.steady(asked_at));
                    self.emit_crowded(&pod, &report);
                }
                Err(missed) => {
                    self.metrics.poll_failed(class, missed.kind());
                    if self.rejected_new_key(&missed) {
                        tracing::debug!(
                            fleet = class,
                            proxy = pod.name,
                            "it is asked again: {missed}"
                        );
                        continue;
                    }
                    // Not each time: a proxy that hangs is asked twice a second.
                    if lock(&self.roster).missed(&pod.uid) <= 1 {
                        tracing::warn!(
                            fleet = class,
                            proxy = pod.name,
                            "its report is missed: {missed}"
                        );
                    }
                }
            }
        }
    }

    /// Whether a proxy has refused us because our key is new. Such a proxy is not lost: it is asked again soon.
    fn rejected_new_key(&self, missed: &PollError) -> bool {
        let refused = matches!(missed, PollError::Refused(StatusCode::UNAUTHORIZED, _))
            && self.credentials.refused();
        if refused {
            self.pace.poll_now();
        }
        refused
    }
}

impl ReportCollector {
    /// The same is written once in ten minutes.
    fn emit_crowded(&self, pod: &ProxyPod, report: &TrafficReport) {
        if report.crowded {
            let event = Event::new(EventReason::ConnectionsScarce, CROWDED);
            self.events.emit_for_proxy(
                self.fleet.namespace.as_str(),
                pod,
                event,
                self.clock.now().wall,
            );
        }
    }
}

fn request(admin: SocketAddr, since: Option<&str>, fields: HeaderMap) -> Request<Empty<Bytes>> {
    let since = since.map_or_else(String::new, |since| format!("&since={since}"));
    let path = format!("{REPORT}?reads=2{since}");
    let uri = Uri::builder()
        .scheme("http")
        .authority(admin.to_string())
        .path_and_query(path);
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri
        .build()
        .expect("an address, an epoch and a number make a URI");
    *request.headers_mut() = fields;
    request
}

async fn fetch(
    client: &Client<HttpConnector, Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    uid: &str,
) -> Result<TrafficReport, PollError> {
    let answer = client
        .request(request)
        .await
        .map_err(|error| PollError::Unreachable(with_causes(&error)))?;
    if answer.status() != StatusCode::OK {
        return Err(refused(answer).await);
    }
    let body = Limited::new(answer.into_body(), report::MAX_BYTES)
        .collect()
        .await;
    let bytes = body
        .map_err(|error| PollError::Unreachable(error.to_string()))?
        .to_bytes();
    let report =
        TrafficReport::parse(&bytes).map_err(|error| PollError::Malformed(error.to_string()))?;
    if report.instance != uid {
        return Err(PollError::Stranger(report.instance));
    }
    Ok(report)
}

/// What a proxy says against us.
async fn refused(answer: Response<Incoming>) -> PollError {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), WORDS)
        .collect()
        .await
        .map(|body| body.to_bytes());
    let why = String::from_utf8_lossy(body.as_deref().unwrap_or_default())
        .trim()
        .to_owned();
    match why.starts_with("ClockSkew") {
        true => PollError::ClockSkew(why),
        false => PollError::Refused(status, why),
    }
}
