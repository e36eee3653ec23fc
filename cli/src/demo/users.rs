//! The demo's users: a few hundred requests a second from a thousand people who keep their names.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::service::DemoFault;

const USERS: usize = 1000;
/// Connections, each of which carries the requests of `USERS / CONNECTIONS` users in turn.
const CONNECTIONS: usize = 50;
/// From one request of a connection to its next: 400 requests a second in all.
const PACE: Duration = Duration::from_millis(125);
/// An answer that takes longer was hit by a slow version.
const LATE: Duration = Duration::from_millis(250);

/// Users who come and go on asking until they leave.
#[derive(Debug)]
pub(super) struct DemoUsers {
    tally: Arc<Mutex<UserTally>>,
    stop: watch::Sender<bool>,
    connections: JoinSet<()>,
}

/// What users suffered.
#[derive(Debug, Default)]
struct UserTally {
    /// Latency counts only where slowness is the fault: this machine may be slow by itself.
    fault: Option<DemoFault>,
    requests: u64,
    users: BTreeSet<usize>,
}

impl DemoUsers {
    pub(super) fn arrive(proxy: SocketAddr) -> Self {
        let tally = Arc::new(Mutex::new(UserTally::default()));
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        for number in 0..CONNECTIONS {
            connections.spawn(ask(number, proxy, Arc::clone(&tally), stopped.clone()));
        }
        Self {
            tally,
            stop,
            connections,
        }
    }

    /// Says what is going to be wrong.
    pub(super) fn watch_for(&self, fault: DemoFault) {
        lock(&self.tally).fault = Some(fault);
    }

    /// How many requests, and how many users, did not get what they came for.
    pub(super) fn hit(&self) -> (u64, usize) {
        let tally = lock(&self.tally);
        (tally.requests, tally.users.len())
    }

    pub(super) async fn leave(mut self) {
        self.stop.send_replace(true);
        while self.connections.join_next().await.is_some() {}
    }
}

fn lock(tally: &Mutex<UserTally>) -> std::sync::MutexGuard<'_, UserTally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn ask(
    number: usize,
    proxy: SocketAddr,
    tally: Arc<Mutex<UserTally>>,
    mut stopped: watch::Receiver<bool>,
) {
    // Spread over the pace, so that they do not all come at once.
    let mut due = Instant::now() + PACE.mul_f64(number as f64 / CONNECTIONS as f64);
    let mut connection = None;
    for user in (number..USERS).step_by(CONNECTIONS).cycle() {
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        // Who waited long skips what was due meanwhile, as people do.
        due = (due + PACE).max(Instant::now());
        let began = Instant::now();
        let status = request(&mut connection, proxy, user).await;
        let good = status.is_some_and(|status| status.is_success());
        let mut tally = lock(&tally);
        let late = tally.fault == Some(DemoFault::Slow) && began.elapsed() > LATE;
        if !good || late {
            tally.requests += 1;
            tally.users.insert(user);
        }
    }
}

async fn request(
    connection: &mut Option<SendRequest<Empty<Bytes>>>,
    proxy: SocketAddr,
    user: usize,
) -> Option<StatusCode> {
    let mut sender = match connection.take().filter(|sender| !sender.is_closed()) {
        Some(sender) => sender,
        None => connect(proxy).await?,
    };
    let request = Request::get("/")
        .header("Host", "demo.example.com")
        .header("X-User-Name", format!("user-{user}"))
        .body(Empty::new())
        .ok()?;
    let response = sender.send_request(request).await.ok()?;
    let status = response.status();
    response.into_body().collect().await.ok()?;
    sender.ready().await.ok()?;
    *connection = Some(sender);
    Some(status)
}

async fn connect(proxy: SocketAddr) -> Option<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(proxy).await.ok()?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}
