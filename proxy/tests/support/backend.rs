//! A backend that does exactly what its script says, one thread per connection.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::PATIENCE;
use super::message::{Message, Reader};

/// A listening backend. Its accepting thread ends with the test's process.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Mutex<Receiver<Message>>,
    failed: Arc<AtomicBool>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        assert!(std::thread::panicking() || !self.failed.load(Relaxed), "a backend's script failed");
    }
}

impl Backend {
    /// Runs `script` on every connection, with its number counted from 0.
    pub(crate) fn start(script: impl Fn(&mut Incoming, usize) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub(crate) fn on(
        listener: TcpListener,
        script: impl Fn(&mut Incoming, usize) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (sender, seen) = channel();
        let script = Arc::new(script);
        let count = Arc::clone(&connections);
        let failed = Arc::new(AtomicBool::new(false));
        let fails = Arc::clone(&failed);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (script, sender, fails) = (Arc::clone(&script), sender.clone(), Arc::clone(&fails));
                let number = count.fetch_add(1, Relaxed);
                std::thread::spawn(move || {
                    let mut connection = Incoming::new(stream, sender);
                    let run = AssertUnwindSafe(|| script(&mut connection, number));
                    // Before the connection closes: whoever then sees its end sees the failure too.
                    fails.fetch_or(catch_unwind(run).is_err(), Relaxed);
                });
            }
        });
        Self { address, connections, seen: Mutex::new(seen), failed }
    }

    /// Answers every request with 200 and this body, keeping connections open.
    pub(crate) fn answering(body: &'static str) -> Self {
        Self::start(move |connection, _| {
            while connection.request().is_some() {
                connection.ok(body);
            }
        })
    }

    /// Answers every request with 200 and the request's own body.
    pub(crate) fn echo() -> Self {
        Self::start(|connection, _| {
            while let Some(request) = connection.request() {
                connection.ok(request.body);
            }
        })
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// The next request that a script read with [`Incoming::request`], oldest first.
    pub(crate) fn seen(&self) -> Message {
        self.seen.lock().unwrap().recv_timeout(PATIENCE).expect("a request reaches the backend")
    }

    /// Whether requests were read that no test has asked for yet.
    pub(crate) fn has_seen_more(&self) -> bool {
        self.seen.lock().unwrap().try_recv().is_ok()
    }
}

/// One connection from the proxy.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) reader: Reader,
    seen: Sender<Message>,
}

impl Incoming {
    fn new(stream: TcpStream, seen: Sender<Message>) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { reader: BufReader::with_capacity(64 * 1024, stream), seen }
    }

    /// The next request, whole; `None` when the connection ends, orderly or not.
    pub(crate) fn request(&mut self) -> Option<Message> {
        let mut request = self.head()?;
        request.read_body(&mut self.reader, false).ok()?;
        let _ = self.seen.send(request.clone());
        Some(request)
    }

    /// The next request's head.
    pub(crate) fn head(&mut self) -> Option<Message> {
        Message::read_head(&mut self.reader).ok().flatten()
    }

    /// Whether anything else than silence is there: an end, an error, or a byte.
    pub(crate) fn ends(&mut self) -> bool {
        !matches!(self.reader.read(&mut [0]), Ok(1..))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A proxy that has gone is what some tests are about.
        let _ = self.try_send(bytes);
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// Answers 200 with this body.
    pub(crate) fn ok(&mut self, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(body);
        self.send(answer);
    }

    /// Closes with a reset.
    pub(crate) fn reset(&mut self) {
        socket2::SockRef::from(self.reader.get_ref()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}
