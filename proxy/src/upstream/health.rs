//! Active checks, once per process: each ready endpoint of an arm with a `healthCheck` is asked at intervals, and its
//! table told when it fails or recovers. Runs on the control thread; workers only see the tables change.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use halftone_routing::document::arm::HealthCheck;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::endpoints::{Table, Tables};

/// Endpoints of one table asked at the same time.
const AT_ONCE: usize = 32;

/// The running checks. Dropping them ends all.
#[derive(Debug, Default)]
pub struct HealthChecker(HashMap<u32, ActiveCheck>);

#[derive(Debug)]
struct ActiveCheck(AbortHandle);

impl Drop for ActiveCheck {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HealthChecker {
    /// Starts the checks of new tables and ends those of tables that are gone. To be called within a tokio runtime
    /// whenever the arms have changed.
    pub fn follow(&mut self, tables: &Tables) {
        let checked = tables.checked().into_iter();
        let checked: HashMap<u32, _> = checked
            .map(|(check, table)| (table.id, (check, table)))
            .collect();
        self.0.retain(|id, _| checked.contains_key(id));
        for (id, (check, table)) in checked {
            self.0.entry(id).or_insert_with(|| {
                ActiveCheck(tokio::spawn(run(check, Arc::downgrade(&table))).abort_handle())
            });
        }
    }
}

/// Checks one table until it is gone.
async fn run(check: HealthCheck, table: Weak<Table>) {
    let mut found: HashMap<SocketAddr, EndpointHealth> = HashMap::new();
    let interval = check.interval_ms.duration();
    // Many proxies start at once after a rollout; their first checks must not meet.
    tokio::time::sleep(interval.mul_f64(rand::random())).await;
    let mut all_failed = false;
    while let Some(table) = table.upgrade() {
        let ready = table.ready();
        found.retain(|address, _| ready.contains(address));
        let check = &check;
        let mut answers = stream::iter(ready)
            .map(|address| async move { (address, is_healthy(address, check).await) })
            .buffer_unordered(AT_ONCE);
        while let Some((address, healthy)) = answers.next().await {
            let health = found.entry(address).or_default();
            let before = *health;
            *health = before.step(
                healthy,
                check.unhealthy_after.get(),
                check.healthy_after.get(),
            );
            table.set_failing(address, health.failing);
            match (before.failing, health.failing) {
                (false, true) => {
                    tracing::warn!(%address, path = check.path.as_str(), "endpoint fails its health check")
                }
                (true, false) => {
                    tracing::info!(%address, path = check.path.as_str(), "endpoint is healthy again")
                }
                _ => {}
            }
        }
        drop(answers);
        let all_fail = table.load().all_fail;
        if all_fail && !all_failed {
            tracing::warn!(
                path = check.path.as_str(),
                "every endpoint fails its health check; a stable version is asked all the same, a gray one has no \
                 endpoint"
            );
        }
        all_failed = all_fail;
        drop(table);
        tokio::time::sleep(jittered(interval)).await;
    }
}

/// The interval, up to a tenth shorter or longer.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * rand::random::<f64>())
}

/// Asks once. A time-out, a failed connection or another status than 2xx and 3xx is a failure.
async fn is_healthy(address: SocketAddr, check: &HealthCheck) -> bool {
    let asked = tokio::time::timeout(check.timeout_ms.duration(), ask(address, check));
    matches!(asked.await, Ok(Ok(status)) if status.is_success() || status.is_redirection())
}

async fn ask(
    address: SocketAddr,
    check: &HealthCheck,
) -> Result<hyper::StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(check.path.as_str())
        .header(hyper::header::HOST, address.to_string())
        .header(
            hyper::header::USER_AGENT,
            concat!("halftone-proxy/", env!("CARGO_PKG_VERSION")),
        )
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let asking = sender.send_request(request);
    // A connection may end in the very step that brings the answer; only the request knows whether it got one.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = asking => Ok(answer?.status()),
        never = driven => match never {},
    }
}

/// What was found of one endpoint. New ones count as healthy until proven otherwise: their source calls them ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct EndpointHealth {
    failing: bool,
    /// Answers in a row that speak against the present state.
    against: u8,
}

impl EndpointHealth {
    fn step(self, healthy: bool, unhealthy_after: u8, healthy_after: u8) -> Self {
        if healthy != self.failing {
            return Self { against: 0, ..self };
        }
        let against = self.against + 1;
        let needed = if self.failing {
            healthy_after
        } else {
            unhealthy_after
        };
        if against >= needed {
            Self {
                failing: !self.failing,
                against: 0,
            }
        } else {
            Self { against, ..self }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers: &[bool]) -> bool {
        answers
            .iter()
            .fold(EndpointHealth::default(), |health, &healthy| {
                health.step(healthy, 3, 2)
            })
            .failing
    }

    #[test]
    fn an_endpoint_fails_and_recovers_only_after_answers_in_a_row() {
        for (answers, failing) in [
            (&[][..], false),
            (&[false, false], false),
            (&[false, false, false], true),
            (&[false, false, true, false, false], false),
            (&[false, false, false, true], true),
            (&[false, false, false, true, false, true], true),
            (&[false, false, false, true, true], false),
            (&[false, false, false, true, true, false, false], false),
        ] {
            assert_eq!(after(answers), failing, "{answers:?}");
        }
    }
}
