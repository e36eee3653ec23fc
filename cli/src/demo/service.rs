//! One version of the demo's service: a small HTTP server that can be told to break.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::not_set_up;
use crate::output::CommandError;

/// How much longer a slow answer takes.
const SLOWER: Duration = Duration::from_millis(400);

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DemoFault {
    /// Every other answer is a 500.
    Errors,
    /// Every answer is late.
    Slow,
}

/// A running version. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct DemoService {
    address: SocketAddr,
    behaviour: Arc<Behaviour>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Behaviour {
    latency: Duration,
    fault: AtomicU8,
    answered: AtomicU64,
}

impl Drop for DemoService {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl DemoService {
    pub(super) async fn start(latency: Duration) -> Result<Self, CommandError> {
        let failed = |error: io::Error| not_set_up(&"a port of 127.0.0.1", &error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let behaviour = Arc::new(Behaviour {
            latency,
            fault: AtomicU8::new(0),
            answered: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&behaviour))).abort_handle();
        Ok(Self {
            address,
            behaviour,
            accepting,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn breaks(&self, fault: DemoFault) {
        let fault = match fault {
            DemoFault::Errors => 1,
            DemoFault::Slow => 2,
        };
        self.behaviour.fault.store(fault, Relaxed);
    }
}

async fn accept(listener: TcpListener, behaviour: Arc<Behaviour>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&behaviour)));
    }
}

async fn serve(stream: TcpStream, behaviour: Arc<Behaviour>) {
    let service = service_fn(|_: Request<Incoming>| answer(&behaviour));
    // A client that breaks off is no news here.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(behaviour: &Behaviour) -> Result<Response<Full<Bytes>>, Infallible> {
    let number = behaviour.answered.fetch_add(1, Relaxed);
    let fault = behaviour.fault.load(Relaxed);
    let latency = if fault == 2 {
        behaviour.latency + SLOWER
    } else {
        behaviour.latency
    };
    tokio::time::sleep(latency).await;
    let mut response = Response::new(Full::new(Bytes::from_static(b"hello\n")));
    if fault == 1 && number.is_multiple_of(2) {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(response)
}
