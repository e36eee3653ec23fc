//! A client: sends requests at even distances, whatever the answers take, for users who take turns. It is bounded in
//! rate and time, and sends nothing until it is told to.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{
    backend::VERSION_FIELD,
    serve::{self, PeerResponse, listen, now_ms, refused, serve},
    tally::{ClientTally, RequestEnd},
};
use crate::wire::{LoadSpec, MOST_RATE, MOST_SECONDS};

#[derive(Default)]
struct LoadGenerator {
    tally: Mutex<ClientTally>,
    sending: Mutex<Option<JoinHandle<()>>>,
}

/// Serves the controls until SIGTERM.
///
/// # Errors
/// An address that cannot be listened on.
pub async fn run(control: SocketAddr) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let load = Arc::new(LoadGenerator::default());
    tokio::spawn(serve(listen(control).await?, move |request| {
        Arc::clone(&load).control(request)
    }));
    terminate.recv().await;
    Ok(())
}

impl LoadGenerator {
    fn tally(&self) -> MutexGuard<'_, ClientTally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn control(self: Arc<Self>, request: Request<Bytes>) -> PeerResponse {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/readyz") => serve::json(StatusCode::OK, &json!({})),
            (&Method::GET, "/window") => serve::json(StatusCode::OK, &self.tally().window()),
            (&Method::POST, "/window") => {
                let mut tally = self.tally();
                let closed = tally.window();
                tally.open(now_ms());
                serve::json(StatusCode::OK, &closed)
            }
            (&Method::POST, "/stop") => {
                self.replace(None);
                self.tally().end();
                serve::json(StatusCode::OK, &self.tally().window())
            }
            (&Method::POST, "/start") => match serde_json::from_slice::<LoadSpec>(request.body()) {
                Ok(order) => self.start(order),
                Err(error) => refused(StatusCode::BAD_REQUEST, &error.to_string()),
            },
            _ => refused(
                StatusCode::NOT_FOUND,
                "controls: GET /readyz, GET /window, POST /window, POST /start, POST /stop",
            ),
        }
    }

    fn start(self: Arc<Self>, order: LoadSpec) -> PeerResponse {
        let bounded = (1..=MOST_RATE).contains(&order.rate)
            && (1..=MOST_SECONDS).contains(&order.seconds)
            && order.users > 0;
        if !bounded {
            let bounds =
                format!("rate is 1 to {MOST_RATE}, seconds 1 to {MOST_SECONDS}, users at least 1");
            return refused(StatusCode::BAD_REQUEST, &bounds);
        }
        let answer = serve::json(StatusCode::OK, &order);
        self.replace(None);
        let number = self.tally().restart(now_ms());
        let sending = tokio::spawn(send(Arc::clone(&self), number, Arc::new(order)));
        self.replace(Some(sending));
        answer
    }

    fn replace(&self, sending: Option<JoinHandle<()>>) {
        let mut place = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = std::mem::replace(&mut *place, sending) {
            before.abort();
        }
    }
}

async fn send(load: Arc<LoadGenerator>, number: u64, order: Arc<LoadSpec>) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let period = Duration::from_secs(1) / order.rate;
    let mut ticks = interval_at(Instant::now(), period);
    // What a pause of the machine held back is sent at once: the rate is what was asked for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let total = u64::from(order.rate) * u64::from(order.seconds);
    for request in 0..total {
        ticks.tick().await;
        let user = u32::try_from(request % u64::from(order.users)).unwrap_or(0);
        let (load, order, client) = (Arc::clone(&load), Arc::clone(&order), client.clone());
        tokio::spawn(async move {
            let sent = now_ms();
            let ending = ask(&client, &order, user).await;
            load.tally().add(number, user, sent, ending);
        });
    }
    sleep(Duration::from_millis(order.timeout_ms)).await;
    load.tally().end();
}

async fn ask(
    client: &Client<HttpConnector, Empty<Bytes>>,
    order: &LoadSpec,
    user: u32,
) -> RequestEnd {
    let request = Request::get(format!("http://{}{}", order.address, order.path))
        .header(header::HOST, &order.host)
        .header("x-user-name", format!("user-{user}"))
        .body(Empty::new());
    let request = match request {
        Ok(request) => request,
        Err(error) => return RequestEnd::Unanswered(format!("not sent: {error}")),
    };
    let exchange = async {
        let answer = client
            .request(request)
            .await
            .map_err(|error| unanswered(&error))?;
        let status = answer.status().as_u16();
        let version = answer
            .headers()
            .get(VERSION_FIELD)
            .and_then(|version| version.to_str().ok());
        let version = version.unwrap_or_default().to_owned();
        answer
            .into_body()
            .collect()
            .await
            .map_err(|_| "body broke off".to_owned())?;
        Ok(RequestEnd::Answered { status, version })
    };
    match timeout(Duration::from_millis(order.timeout_ms), exchange).await {
        Ok(Ok(ending)) => ending,
        Ok(Err(why)) => RequestEnd::Unanswered(why),
        Err(_) => RequestEnd::Unanswered("timeout".to_owned()),
    }
}

fn unanswered(error: &hyper_util::client::legacy::Error) -> String {
    let kind = if error.is_connect() {
        "no connection"
    } else {
        "connection lost"
    };
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
    let mut cause = error.to_string();
    while let Some(inner) = source {
        cause = inner.to_string();
        source = inner.source();
    }
    format!("{kind}: {cause}")
}
