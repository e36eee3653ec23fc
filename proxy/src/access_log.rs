//! The access log: one JSON line per sampled request, off by default.
//!
//! Each worker writes lines into a buffer of its own and hands full buffers, or every 100 ms what is there, to one
//! writer thread over a bounded queue. When the queue is full the buffer is dropped and its lines are counted: a
//! slow disk or terminal never slows a request. Identities are logged as a keyed hash, queries not at all.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use halftone_routing::document::units::Ratio;
use halftone_routing::hex;
use jiff::Timestamp;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::counters::{Arm, ChosenBy, Outcome};

/// A worker's buffer is handed over when it has grown to this many bytes.
const BUFFER: usize = 32 * 1024;
/// Buffers that may wait for the writer: some 2 MiB, a second or two of full load.
const QUEUE: usize = 64;

/// One request, when its outcome is known. Borrowed: nothing is copied unless the request is sampled.
#[derive(Clone, Copy, Debug)]
pub struct LogEntry<'a> {
    /// When the first byte of its head was received.
    pub started: Instant,
    /// Its method as received.
    pub method: &'a str,
    /// Its host in normal form; empty if it had none.
    pub host: &'a str,
    /// Its path as received, without the query.
    pub path: &'a str,
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
    /// The rule of HTTP that the request or the answer broke.
    pub rule: Option<&'a str>,
}

/// The log: its writer thread and what the workers' ends are made from.
#[derive(Debug)]
pub struct AccessLog {
    sample: Ratio,
    key: HashKey,
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
    writer: JoinHandle<()>,
}

/// Keys the hash of identities, so that a log does not give away who is behind it to somebody who can guess names.
#[derive(Clone)]
pub struct HashKey([u8; 32]);

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(..)")
    }
}

impl HashKey {
    /// The same for every proxy that has this secret, so that one user has one hash in all their logs.
    pub fn from_secret(secret: &str) -> Self {
        Self(
            Sha256::new()
                .chain_update(b"halftone access log\0")
                .chain_update(secret)
                .finalize()
                .into(),
        )
    }

    /// One for this process alone.
    pub fn random() -> Self {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        Self(key)
    }

    /// 64 bits in hex: enough to tell users apart.
    fn hash(&self, identity: &[u8]) -> String {
        let digest = Sha256::new()
            .chain_update(self.0)
            .chain_update(identity)
            .finalize();
        hex::encode(&digest[..8])
    }
}

impl AccessLog {
    /// Starts the writer. `out` may block; only the writer thread notices.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        sample: Ratio,
        key: HashKey,
        out: impl Write + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, buffers) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let writer = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&buffers, out, &lost))?;
        Ok(Self {
            sample,
            key,
            queue,
            dropped,
            writer,
        })
    }

    /// An end for one worker.
    pub fn worker(&self) -> WorkerLog {
        WorkerLog(Some(Box::new(Sampling {
            sample: self.sample,
            key: self.key.clone(),
            random: SmallRng::seed_from_u64(rand::rng().next_u64()),
            clock: LogClock::now(),
            buffer: Vec::new(),
            lines: 0,
            queue: self.queue.clone(),
            dropped: Arc::clone(&self.dropped),
        })))
    }

    /// Lines lost so far because the writer was behind or could not write.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Waits until everything handed over is written. Every [`WorkerLog`] must be gone by then.
    pub fn close(self) {
        drop(self.queue);
        let _ = self.writer.join();
    }
}

fn write_all(buffers: &Receiver<Vec<u8>>, mut out: impl Write, lost: &AtomicU64) {
    let mut failing = false;
    for buffer in buffers {
        let written = out.write_all(&buffer).and_then(|()| out.flush());
        if let Err(error) = &written {
            lost.fetch_add(memchr::memchr_iter(b'\n', &buffer).count() as u64, Relaxed);
            if !failing {
                tracing::error!(%error, "the access log cannot be written");
            }
        }
        failing = written.is_err();
    }
}

/// A worker's end of the access log.
#[derive(Debug)]
pub struct WorkerLog(Option<Box<Sampling>>);

#[derive(Debug)]
struct Sampling {
    sample: Ratio,
    key: HashKey,
    random: SmallRng,
    clock: LogClock,
    buffer: Vec<u8>,
    lines: u64,
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl WorkerLog {
    /// A log that wants nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Draws whether this request is logged. Ask once per request, when it ends; build the [`LogEntry`] only if true.
    pub fn wants(&mut self) -> bool {
        let Some(log) = &mut self.0 else { return false };
        log.sample == Ratio::FULL || log.random.random_range(0..1_000_000) < log.sample.millionths()
    }

    /// Writes a line into the worker's buffer; never blocks.
    pub fn write(&mut self, entry: &LogEntry<'_>) {
        let Some(log) = &mut self.0 else { return };
        let line = LogLine::of(entry, log);
        if serde_json::to_writer(&mut log.buffer, &line).is_ok() {
            log.buffer.push(b'\n');
            log.lines += 1;
        }
        if log.buffer.len() >= BUFFER {
            log.hand_over();
        }
    }

    /// Hands what is buffered to the writer. Called by the worker's 100 ms tick and at its end; never blocks.
    pub fn flush(&mut self) {
        if let Some(log) = &mut self.0 {
            log.hand_over();
            log.clock = LogClock::now();
        }
    }
}

impl Sampling {
    fn hand_over(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let full = std::mem::take(&mut self.buffer);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(full)
        {
            self.dropped.fetch_add(self.lines, Relaxed);
        }
        self.lines = 0;
    }
}

/// Turns instants into wall time. Taken anew with every flush, so that a corrected clock is followed.
#[derive(Clone, Copy, Debug)]
struct LogClock {
    steady: Instant,
    wall: Timestamp,
}

impl LogClock {
    fn now() -> Self {
        Self {
            steady: Instant::now(),
            wall: Timestamp::now(),
        }
    }

    fn at(self, instant: Instant) -> Timestamp {
        let since = instant.saturating_duration_since(self.steady);
        let before = self.steady.saturating_duration_since(instant);
        self.wall
            .saturating_add(since)
            .and_then(|at| at.saturating_sub(before))
            .unwrap_or(self.wall)
    }
}

/// What a line says, in its order. Times in milliseconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogLine<'a> {
    time: String,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    status: Option<u16>,
    outcome: &'a str,
    rule: Option<&'a str>,
    release: Option<&'a str>,
    revision: Option<u64>,
    arm: Option<&'a str>,
    chosen_by: Option<&'a str>,
    identity: Option<String>,
    fallback: bool,
    upstream: Option<SocketAddr>,
    request_bytes: u64,
    response_bytes: u64,
    wait_ms: Option<f64>,
    duration_ms: f64,
    retries: u32,
}

impl<'a> LogLine<'a> {
    fn of(entry: &LogEntry<'a>, log: &Sampling) -> Self {
        Self {
            time: format!("{:.3}", log.clock.at(entry.started)),
            method: entry.method,
            host: entry.host,
            path: entry.path,
            status: entry.status,
            outcome: entry.outcome.name(),
            rule: entry.rule,
            release: entry.release,
            revision: entry.revision,
            arm: entry.arm.map(Arm::name),
            chosen_by: entry.chosen_by.map(ChosenBy::name),
            identity: entry.identity.map(|identity| log.key.hash(identity)),
            fallback: entry.fallback,
            upstream: entry.upstream,
            request_bytes: entry.request_bytes,
            response_bytes: entry.response_bytes,
            wait_ms: entry.wait.map(millis),
            duration_ms: millis(entry.duration),
            retries: entry.retries,
        }
    }
}

/// Milliseconds with three decimals.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::sync::{Mutex, PoisonError};

    /// What the writer wrote, for a test to read.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn lines(&self) -> Vec<serde_json::Value> {
            let bytes = self.0.lock().unwrap().clone();
            let text = String::from_utf8(bytes).unwrap();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }
    }

    fn entry(identity: &[u8]) -> LogEntry<'_> {
        LogEntry {
            started: Instant::now(),
            method: "GET",
            host: "shop.example.com",
            path: "/a\"b",
            release: Some("shop/checkout"),
            revision: Some(7),
            arm: Some(Arm::Gray),
            chosen_by: Some(ChosenBy::Split),
            identity: Some(identity),
            fallback: false,
            upstream: Some("127.0.0.1:9001".parse().unwrap()),
            status: Some(200),
            request_bytes: 0,
            response_bytes: 12,
            wait: Some(Duration::from_micros(1500)),
            duration: Duration::from_micros(2500),
            retries: 1,
            outcome: Outcome::Status2xx,
            rule: None,
        }
    }

    #[test]
    fn a_line_tells_the_request_and_not_the_user() {
        let sink = Sink::default();
        let log = AccessLog::start(Ratio::FULL, HashKey::from_secret("s"), sink.clone()).unwrap();
        let mut worker = log.worker();
        for user in ["lin", "wei", "lin"] {
            assert!(worker.wants());
            worker.write(&entry(user.as_bytes()));
        }
        worker.flush();
        drop(worker);
        log.close();
        let lines = sink.lines();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["path"], "/a\"b");
        assert_eq!(lines[0]["release"], "shop/checkout");
        assert_eq!(lines[0]["waitMs"], 1.5);
        assert_eq!(lines[0]["arm"], "gray");
        assert_eq!(lines[0]["identity"], lines[2]["identity"]);
        assert_ne!(lines[0]["identity"], lines[1]["identity"]);
        assert!(!lines.iter().any(|line| line.to_string().contains("lin")));
        let time: Timestamp = lines[0]["time"].as_str().unwrap().parse().unwrap();
        assert!((Timestamp::now() - time).abs().get_hours() < 1);
    }

    #[test]
    fn proxies_with_one_secret_hash_a_user_alike() {
        assert_eq!(
            HashKey::from_secret("a").hash(b"lin"),
            HashKey::from_secret("a").hash(b"lin")
        );
        assert_ne!(
            HashKey::from_secret("a").hash(b"lin"),
            HashKey::from_secret("b").hash(b"lin")
        );
        assert_ne!(
            HashKey::random().hash(b"lin"),
            HashKey::random().hash(b"lin")
        );
    }

    #[test]
    fn a_sample_is_about_its_share() {
        let log =
            AccessLog::start("10%".parse().unwrap(), HashKey::random(), Sink::default()).unwrap();
        let mut worker = log.worker();
        let wanted = (0..10_000).filter(|_| worker.wants()).count();
        // Six standard deviations of 30.
        assert!((820..1180).contains(&wanted), "{wanted}");
        assert!(!WorkerLog::off().wants());
    }

    #[test]
    fn a_writer_that_hangs_costs_lines_and_no_time() {
        struct Hanging(mpsc::Receiver<()>);
        impl Write for Hanging {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, hang) = mpsc::channel();
        let log = AccessLog::start(Ratio::FULL, HashKey::random(), Hanging(hang)).unwrap();
        let mut worker = log.worker();
        let written = (QUEUE as u64 + 10) * 2;
        for _ in 0..written / 2 {
            worker.write(&entry(b"lin"));
            worker.write(&entry(b"wei"));
            worker.flush();
        }
        let dropped = log.dropped().load(Relaxed);
        // One buffer is with the writer at most, the queue is full, all others are lost.
        assert!(
            dropped >= 9 * 2 && dropped < written,
            "{dropped} of {written}"
        );
        drop((release, worker));
        log.close();
    }
}
