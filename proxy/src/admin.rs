//! The admin pages: probes, metrics, reports, what is applied, and why a request goes where it goes. They change
//! nothing. Served by hyper on the control thread's runtime, so that no page costs a worker anything.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use halftone_daemon::pages::{
    self, OPENMETRICS, PageBody, PageCache, PageResponse, TEXT, page, shared_page, unless_read,
};
use halftone_routing::document::arm::PerArm;
use halftone_routing::report::ReportForm;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use hyper::{Request, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

use crate::applier::lock;
use crate::counters::Observer;
use crate::report::{ReportCursor, Reporter};
use crate::snapshot::Snapshot;

pub mod config_page;
pub mod explain;
pub(crate) mod guard;
mod local_origin;
pub mod metrics;
pub mod tokens;
pub(crate) mod work_limiter;

use self::guard::{AccessDenied, Guard, PageRequest};
use self::metrics::{ArmSample, ReleaseSample, Scrape};
use self::work_limiter::WorkLimiter;

/// Admin connections at once: probes, a few scrapers, an operator and its predecessor.
const CONNECTIONS: usize = 256;
/// Pages that are made at once, beside those that are shared.
const AT_ONCE: usize = 4;
/// Scrapes within this time get the same page.
const SCRAPES_SHARED: Duration = Duration::from_secs(1);
const JSON: &str = "application/json";

/// What the pages read. Nothing of it belongs to a page: all is made and changed elsewhere.
#[derive(Debug)]
pub(crate) struct AdminState {
    pub(crate) reporter: Arc<Mutex<Reporter>>,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) observers: Vec<Observer>,
    /// Who may read the protected pages.
    pub(crate) guard: Arc<Guard>,
    pub(crate) log_dropped: Option<Arc<AtomicU64>>,
    /// Client connections that may be open at once.
    pub(crate) max_connections: usize,
    pub(crate) standing: Mutex<ReadinessReport>,
}

/// Whether this proxy wants requests, and can read its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadinessReport {
    /// Why `/readyz` says no, if it does.
    pub(crate) not_ready: Option<String>,
    /// Why documents cannot be read at present, if they cannot.
    pub(crate) source_trouble: Option<String>,
    /// Which endpoints that documents name are not known yet, if any are not.
    pub(crate) endpoints_missing: Option<String>,
}

impl ReadinessReport {
    /// That of a proxy that has not looked for documents yet.
    pub(crate) fn starting() -> Self {
        Self {
            not_ready: Some("starting".to_owned()),
            source_trouble: None,
            endpoints_missing: None,
        }
    }
}

/// Accepts until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, pages: Arc<AdminState>) {
    let desk = Arc::new(PageQueue::new(pages));
    let answer = move |request| {
        let desk = Arc::clone(&desk);
        async move { desk.answer(request).await }
    };
    pages::serve(listener, CONNECTIONS, "the admin address", answer).await;
}

/// Where requests for pages wait their turn. A page over ten thousand releases takes time and memory: it is made off
/// this thread, a few at once, and shared where it is the same for all.
struct PageQueue {
    pages: Arc<AdminState>,
    metrics: PageCache,
    config: PageCache,
    config_in_full: PageCache,
    turns: WorkLimiter,
}

impl PageQueue {
    fn new(pages: Arc<AdminState>) -> Self {
        Self {
            pages,
            metrics: PageCache::shared_for(SCRAPES_SHARED),
            config: PageCache::shared_for(Duration::ZERO),
            config_in_full: PageCache::shared_for(Duration::ZERO),
            turns: WorkLimiter::new(AT_ONCE),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> PageResponse {
        if let Some(refused) = unless_read(request.method()) {
            return not_stored(refused);
        }
        match AdminPage::at(request.uri().path()) {
            Some(AdminPage::Alive) => text(StatusCode::OK, "ok\n"),
            Some(AdminPage::Ready) => self.pages.readiness(),
            Some(page) => match self.pages.refusal(page, &request).await {
                Some(refused) => refused,
                None => {
                    self.make(page, request.uri().query().unwrap_or_default().to_owned())
                        .await
                }
            },
            None => text(
                StatusCode::NOT_FOUND,
                "pages: /livez /readyz /metrics /report /config /explain\n",
            ),
        }
    }

    async fn make(&self, page: AdminPage, query: String) -> PageResponse {
        match page {
            AdminPage::Alive | AdminPage::Ready => self.pages.readiness(),
            AdminPage::Metrics => {
                self.shared(&self.metrics, OPENMETRICS, AdminState::metrics)
                    .await
            }
            AdminPage::Config if is_full(&query) => {
                self.shared(&self.config_in_full, JSON, |pages| pages.config(true))
                    .await
            }
            AdminPage::Config => {
                self.shared(&self.config, JSON, |pages| pages.config(false))
                    .await
            }
            AdminPage::Report => self.in_turn(move |pages| pages.report(&query)).await,
            AdminPage::Explain => self.in_turn(move |pages| pages.explain(&query)).await,
        }
    }

    async fn shared(
        &self,
        rendering: &PageCache,
        content_type: &'static str,
        make: fn(&AdminState) -> Bytes,
    ) -> PageResponse {
        let pages = Arc::clone(&self.pages);
        let make = move || async move {
            spawn_blocking(move || make(&pages))
                .await
                .unwrap_or_default()
        };
        not_stored(shared_page(content_type, rendering.get(make).await))
    }

    async fn in_turn(
        &self,
        make: impl FnOnce(&AdminState) -> PageResponse + Send + 'static,
    ) -> PageResponse {
        let pages = Arc::clone(&self.pages);
        self.turns
            .take(move || make(&pages))
            .await
            .unwrap_or_else(PageResponse::from)
    }
}

/// What can be read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AdminPage {
    Alive,
    Ready,
    Metrics,
    Report,
    Config,
    Explain,
}

impl AdminPage {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/livez" => Self::Alive,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/report" => Self::Report,
            "/config" => Self::Config,
            "/explain" => Self::Explain,
            _ => return None,
        })
    }

    fn is_protected(self) -> bool {
        matches!(self, Self::Report | Self::Config | Self::Explain)
    }
}

/// Whether the protected pages may be open without a token at this address.
pub(crate) fn is_open_without_token(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl AdminState {
    /// Why this page is not for whoever asks, if it is not.
    async fn refusal(&self, page: AdminPage, request: &Request<Incoming>) -> Option<PageResponse> {
        if self.guard.is_open() {
            return (!local_origin::is_meant(request))
                .then(|| text(StatusCode::MISDIRECTED_REQUEST, local_origin::ADVICE));
        }
        if !page.is_protected() {
            return None;
        }
        match self.guard.admit(PageRequest::of(request)).await {
            Ok(()) => None,
            Err(AccessDenied::Unauthorized(why)) => Some(unauthorized(&why)),
            Err(AccessDenied::Unchecked(undone)) => Some(undone.into()),
        }
    }

    fn standing(&self) -> ReadinessReport {
        self.standing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn readiness(&self) -> PageResponse {
        match self.standing().not_ready {
            None => text(StatusCode::OK, "ok\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    }

    fn report(&self, query: &str) -> PageResponse {
        let (since, reads) = match since(query).and_then(|since| Ok((since, reads(query)?))) {
            Ok(wanted) => wanted,
            Err(why) => return text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        };
        let mut reporter = lock(&self.reporter);
        if !self.guard.is_open() {
            reporter.note_operator_contact(Timestamp::now());
        }
        let report = reporter.report(since, reads);
        drop(reporter);
        json(&report)
    }

    fn config(&self, full: bool) -> Bytes {
        let (standing, snapshot) = (self.standing(), self.snapshot.load_full());
        let documents = lock(&self.reporter).documents().clone();
        let standing = config_page::ControlSnapshot {
            not_ready: standing.not_ready.as_deref(),
            source_trouble: standing.source_trouble.as_deref(),
        };
        let page = serde_json::to_vec(&config_page::page(&snapshot, &documents, &standing, full));
        page.inspect_err(|error| tracing::error!(%error, "/config cannot be made"))
            .unwrap_or_default()
            .into()
    }

    fn explain(&self, query: &str) -> PageResponse {
        match query.parse() {
            Ok(question) => json(&explain::explain(
                &self.snapshot.load(),
                &question,
                rand::random,
            )),
            Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        }
    }

    fn metrics(&self) -> Bytes {
        let page = metrics::page(self.scrape());
        page.inspect_err(|error| tracing::error!(%error, "/metrics cannot be made"))
            .unwrap_or_default()
            .into()
    }

    fn scrape(&self) -> Scrape {
        let (snapshot, standing) = (self.snapshot.load_full(), self.standing());
        let reporter = lock(&self.reporter);
        let documents = reporter.documents();
        let releases = snapshot.routes.releases().filter_map(|(index, release)| {
            let config = release.config();
            let ledger = reporter.ledgers().get(&config.release.uid)?;
            let arm = |arm| ArmSample {
                counts: ledger.total(arm),
                open_long: ledger.open_long(arm),
                malformed: snapshot.arm_counters(index, arm).violations.by_rule(),
                endpoints: snapshot.usable(release, arm),
            };
            Some(ReleaseSample {
                namespace: config.release.namespace.to_string(),
                name: config.release.name.to_string(),
                ratio_target: release.ratio_in_effect(snapshot.overlay(index)).fraction(),
                ratio_observed: ledger.observed_ratio(),
                revision: config.revision.get(),
                stage: config.stage.get(),
                arms: PerArm::from_fn(arm),
            })
        });
        let mut scrape = Scrape {
            releases: releases.collect(),
            connections: self.observers.iter().map(Observer::connections_open).sum(),
            connections_accepted: self
                .observers
                .iter()
                .map(Observer::connections_accepted)
                .sum(),
            closed_for_room: self.observers.iter().map(Observer::closed_for_room).sum(),
            max_connections: self.max_connections,
            fleet_revision: documents.fleet.as_ref().map(|fleet| fleet.revision.get()),
            rejected: documents.rejected.len(),
            orphaned: documents.orphaned.len(),
            stale: documents.stale,
            ready: standing.not_ready.is_none(),
            swaps: snapshot.generation,
            operator_last_heard: reporter
                .operator_last_heard()
                .map(|at| at.as_millisecond() as f64 / 1000.0),
            log_dropped: self
                .log_dropped
                .as_ref()
                .map_or(0, |dropped| dropped.load(Relaxed)),
            ..Scrape::default()
        };
        self.observers
            .iter()
            .for_each(|observer| observer.add_unrouted_to(&mut scrape.unrouted));
        scrape
    }
}

fn is_full(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "full")
}

/// `since=EPOCH/SEQUENCE`; a full report without.
fn since(query: &str) -> Result<Option<ReportCursor>, String> {
    let Some((_, since)) =
        form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "since")
    else {
        return Ok(None);
    };
    let wrong = || {
        format!(
            "since \"{since}\" is none; write since=EPOCH/SEQUENCE as the last report gave them"
        )
    };
    let (epoch, sequence) = since.split_once('/').ok_or_else(wrong)?;
    Ok(Some((
        epoch.parse().map_err(|_| wrong())?,
        sequence.parse().map_err(|_| wrong())?,
    )))
}

/// `reads=N`: the newest form that the asker understands; 0.1's without.
fn reads(query: &str) -> Result<ReportForm, String> {
    let reads = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "reads");
    reads.map_or(Ok(ReportForm::default()), |(_, reads)| reads.parse())
}

fn unauthorized(why: &str) -> PageResponse {
    let mut answer = text(StatusCode::UNAUTHORIZED, format!("{why}\n"));
    answer
        .headers_mut()
        .insert(WWW_AUTHENTICATE, "Bearer".parse().expect("visible ASCII"));
    answer
}

fn json(value: &impl Serialize) -> PageResponse {
    match serde_json::to_vec(value) {
        Ok(body) => answer(StatusCode::OK, JSON, body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<PageBody>) -> PageResponse {
    answer(status, TEXT, body)
}

fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<PageBody>,
) -> PageResponse {
    not_stored(page(status, content_type, body))
}

fn not_stored(mut answer: PageResponse) -> PageResponse {
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, "no-store".parse().expect("visible ASCII"));
    answer
}

#[cfg(test)]
mod tests {
    use halftone_routing::report::Epoch;

    use super::*;

    #[test]
    fn since_names_a_report_or_is_refused() {
        assert_eq!(since("").unwrap(), None);
        assert_eq!(
            since("since=00000000000000ff/12").unwrap(),
            Some((Epoch(255), 12))
        );
        assert_eq!(
            since("since=00000000000000ff%2F12").unwrap(),
            Some((Epoch(255), 12))
        );
        for wrong in [
            "since=",
            "since=12",
            "since=ff/12",
            "since=00000000000000ff/-1",
            "since=00000000000000ff/x",
        ] {
            assert!(
                since(wrong).unwrap_err().contains("EPOCH/SEQUENCE"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn who_does_not_say_what_it_reads_is_taken_for_0_1() {
        assert_eq!(reads("since=00000000000000ff/12"), Ok(ReportForm::One));
        assert_eq!(
            reads("reads=2&since=00000000000000ff/12"),
            Ok(ReportForm::Two)
        );
        assert!(reads("reads=x").is_err());
    }

    #[test]
    fn only_loopback_is_open_without_a_token() {
        for (address, open) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
        ] {
            assert_eq!(
                is_open_without_token(address.parse().unwrap()),
                open,
                "{address}"
            );
        }
    }
}
