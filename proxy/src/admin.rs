//! The admin pages: probes, metrics, reports, what is applied, and why a request goes where it goes. They change
//! nothing. Served by hyper on the control thread's runtime, so that no page costs a worker anything.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use halftone_daemon::pages::{self, Answer, OPENMETRICS, TEXT, page, unless_read};
use halftone_routing::config::arm::Arm;
use halftone_routing::report::Reads;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use hyper::{Request, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::apply::lock;
use crate::counters::Observer;
use crate::report::{Position, Reporter};
use crate::snapshot::Snapshot;

pub mod config;
pub mod explain;
pub mod metrics;
pub mod tokens;

use self::metrics::{ArmSample, ReleaseSample, Scrape};
use self::tokens::Tokens;

/// Admin connections at once: probes, a few scrapers, an operator and its predecessor.
const CONNECTIONS: usize = 256;
const JSON: &str = "application/json";

/// What the pages read. Nothing of it belongs to a page: all is made and changed elsewhere.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) reporter: Arc<Mutex<Reporter>>,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) observers: Vec<Observer>,
    /// None: the protected pages are open, which the settings allow on loopback only.
    pub(crate) tokens: Option<Tokens>,
    pub(crate) log_dropped: Option<Arc<AtomicU64>>,
    pub(crate) standing: Mutex<Standing>,
}

/// Whether this proxy wants requests, and can read its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Why `/readyz` says no, if it does.
    pub(crate) not_ready: Option<String>,
    /// Why documents cannot be read at present, if they cannot.
    pub(crate) source_trouble: Option<String>,
    /// Which endpoints that documents name are not known yet, if any are not.
    pub(crate) endpoints_missing: Option<String>,
}

impl Standing {
    /// That of a proxy that has not looked for documents yet.
    pub(crate) fn starting() -> Self {
        Self { not_ready: Some("starting".to_owned()), source_trouble: None, endpoints_missing: None }
    }
}

/// Accepts until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, pages: Arc<Pages>) {
    let answer = move |request| answer_off_thread(Arc::clone(&pages), request);
    pages::serve(listener, CONNECTIONS, "the admin address", answer).await;
}

/// A page over ten thousand releases takes its time, and probes must not wait for it.
async fn answer_off_thread(pages: Arc<Pages>, request: Request<Incoming>) -> Answer {
    if matches!(request.uri().path(), "/livez" | "/readyz") {
        return pages.answer(&request);
    }
    let answer = tokio::task::spawn_blocking(move || pages.answer(&request)).await;
    answer.unwrap_or_else(|error| text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))
}

/// Whether the protected pages may be open without a token at this address.
pub(crate) fn is_open_without_token(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl Pages {
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        if let Some(refused) = unless_read(request.method()) {
            return not_stored(refused);
        }
        let query = request.uri().query().unwrap_or_default();
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readiness(),
            "/metrics" => self.metrics(),
            "/report" | "/config" | "/explain" if !self.allows(request) => unauthorized(),
            "/report" => self.report(query),
            "/config" => self.config(query),
            "/explain" => self.explain(query),
            _ => text(StatusCode::NOT_FOUND, "pages: /livez /readyz /metrics /report /config /explain\n"),
        }
    }

    fn allows(&self, request: &Request<Incoming>) -> bool {
        let authorization = request.headers().get(AUTHORIZATION).map(hyper::header::HeaderValue::as_bytes);
        self.tokens.as_ref().is_none_or(|tokens| tokens.allow(authorization))
    }

    fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn readiness(&self) -> Answer {
        match self.standing().not_ready {
            None => text(StatusCode::OK, "ok\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    }

    fn report(&self, query: &str) -> Answer {
        let (since, reads) = match since(query).and_then(|since| Ok((since, reads(query)?))) {
            Ok(wanted) => wanted,
            Err(why) => return text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        };
        let mut reporter = lock(&self.reporter);
        if self.tokens.is_some() {
            reporter.heard_operator(Timestamp::now());
        }
        let report = reporter.report(since, reads);
        drop(reporter);
        json(&report)
    }

    fn config(&self, query: &str) -> Answer {
        let full = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "full");
        let (standing, snapshot) = (self.standing(), self.snapshot.load_full());
        let documents = lock(&self.reporter).documents().clone();
        let standing = config::Standing {
            not_ready: standing.not_ready.as_deref(),
            source_trouble: standing.source_trouble.as_deref(),
        };
        json(&config::page(&snapshot, &documents, &standing, full))
    }

    fn explain(&self, query: &str) -> Answer {
        match query.parse() {
            Ok(question) => json(&explain::explain(&self.snapshot.load(), &question, rand::random)),
            Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        }
    }

    fn metrics(&self) -> Answer {
        match metrics::page(self.scrape()) {
            Ok(page) => answer(StatusCode::OK, OPENMETRICS, page),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
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
                endpoints: snapshot.table(index, arm).map(|table| table.load().as_ref().into()),
            };
            Some(ReleaseSample {
                namespace: config.release.namespace.to_string(),
                name: config.release.name.to_string(),
                ratio_target: config.ratio.fraction(),
                ratio_observed: ledger.observed_ratio(),
                revision: config.revision.get(),
                stage: config.stage.get(),
                arms: [arm(Arm::Stable), arm(Arm::Gray)],
            })
        });
        let mut scrape = Scrape {
            releases: releases.collect(),
            connections: self.observers.iter().map(Observer::connections_open).sum(),
            connections_accepted: self.observers.iter().map(Observer::connections_accepted).sum(),
            fleet_revision: documents.fleet.as_ref().map(|fleet| fleet.revision.get()),
            rejected: documents.rejected.len(),
            orphaned: documents.orphaned.len(),
            stale: documents.stale,
            ready: standing.not_ready.is_none(),
            swaps: snapshot.generation,
            operator_last_heard: reporter.operator_last_heard().map(|at| at.as_millisecond() as f64 / 1000.0),
            log_dropped: self.log_dropped.as_ref().map_or(0, |dropped| dropped.load(Relaxed)),
            ..Scrape::default()
        };
        self.observers.iter().for_each(|observer| observer.add_unrouted_to(&mut scrape.unrouted));
        scrape
    }
}

/// `since=EPOCH/SEQUENCE`; a full report without.
fn since(query: &str) -> Result<Option<Position>, String> {
    let Some((_, since)) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "since") else {
        return Ok(None);
    };
    let wrong =
        || format!("since \"{since}\" is none; write since=EPOCH/SEQUENCE as the last report gave them");
    let (epoch, sequence) = since.split_once('/').ok_or_else(wrong)?;
    Ok(Some((epoch.parse().map_err(|_| wrong())?, sequence.parse().map_err(|_| wrong())?)))
}

/// `reads=N`: the newest form that the asker understands; 0.1's without.
fn reads(query: &str) -> Result<Reads, String> {
    let reads = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "reads");
    reads.map_or(Ok(Reads::default()), |(_, reads)| reads.parse())
}

fn unauthorized() -> Answer {
    let mut answer = text(StatusCode::UNAUTHORIZED, "this page needs a bearer token of --token-file\n");
    answer.headers_mut().insert(WWW_AUTHENTICATE, "Bearer".parse().expect("visible ASCII"));
    answer
}

fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => answer(StatusCode::OK, JSON, body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, TEXT, body)
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    not_stored(page(status, content_type, body))
}

fn not_stored(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CACHE_CONTROL, "no-store".parse().expect("visible ASCII"));
    answer
}

#[cfg(test)]
mod tests {
    use halftone_routing::report::Epoch;

    use super::*;

    #[test]
    fn since_names_a_report_or_is_refused() {
        assert_eq!(since("").unwrap(), None);
        assert_eq!(since("since=00000000000000ff/12").unwrap(), Some((Epoch(255), 12)));
        assert_eq!(since("since=00000000000000ff%2F12").unwrap(), Some((Epoch(255), 12)));
        for wrong in
            ["since=", "since=12", "since=ff/12", "since=00000000000000ff/-1", "since=00000000000000ff/x"]
        {
            assert!(since(wrong).unwrap_err().contains("EPOCH/SEQUENCE"), "{wrong}");
        }
    }

    #[test]
    fn who_does_not_say_what_it_reads_is_taken_for_0_1() {
        assert_eq!(reads("since=00000000000000ff/12"), Ok(Reads::One));
        assert_eq!(reads("reads=2&since=00000000000000ff/12"), Ok(Reads::Two));
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
            assert_eq!(is_open_without_token(address.parse().unwrap()), open, "{address}");
        }
    }
}
