//! A backend that does exactly what its script says, one thread for each connection.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use crate::PATIENCE;
use crate::message::{ConnectionReader, Message};

/// A listening backend. Its accepting thread ends with the test's process.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    seen: Mutex<Receiver<Message>>,
    failed: Arc<AtomicBool>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        assert!(
            std::thread::panicking() || !self.failed.load(Relaxed),
            "a backend's script failed"
        );
    }
}

impl Backend {
    /// Runs `script` on every connection, with its number counted from 0.
    ///
    /// # Panics
    /// No port can be had.
    pub fn start(script: impl Fn(&mut Incoming, usize) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// The same on a listener that the test has made.
    ///
    /// # Panics
    /// The listener has no address.
    pub fn on(
        listener: TcpListener,
        script: impl Fn(&mut Incoming, usize) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (sender, seen) = channel();
        let script = Arc::new(script);
        let (count, open) = (Arc::clone(&connections), Arc::<AtomicUsize>::default());
        let now_open = Arc::clone(&open);
        let failed = Arc::new(AtomicBool::new(false));
        let fails = Arc::clone(&failed);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (script, sender, fails) =
                    (Arc::clone(&script), sender.clone(), Arc::clone(&fails));
                let number = count.fetch_add(1, Relaxed);
                let open = ConnectionGuard::new(&now_open);
                std::thread::spawn(move || {
                    let mut connection = Incoming::new(stream, sender);
                    let run = AssertUnwindSafe(|| script(&mut connection, number));
                    // Before the connection closes: whoever then sees its end sees the failure too.
                    fails.fetch_or(catch_unwind(run).is_err(), Relaxed);
                    drop((connection, open));
                });
            }
        });
        Self {
            address,
            connections,
            open,
            seen: Mutex::new(seen),
            failed,
        }
    }

    /// Answers every request with 200 and this body, keeping connections open.
    pub fn answering(body: &'static str) -> Self {
        Self::start(move |connection, _| {
            while connection.request().is_some() {
                connection.ok(body);
            }
        })
    }

    /// Answers every request with 200 and the request's own body.
    pub fn echo() -> Self {
        Self::start(|connection, _| {
            while let Some(request) = connection.request() {
                connection.ok(request.body);
            }
        })
    }

    /// How many connections were made to it.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.open.load(SeqCst)
    }

    /// The next request that a script read with [`Incoming::request`], oldest first.
    ///
    /// # Panics
    /// None comes.
    pub fn seen(&self) -> Message {
        self.seen
            .lock()
            .unwrap()
            .recv_timeout(PATIENCE)
            .expect("a request reaches the backend")
    }

    /// Whether requests were read that no test has asked for yet.
    ///
    /// # Panics
    /// Another thread has panicked while it asked.
    pub fn has_seen_more(&self) -> bool {
        self.seen.lock().unwrap().try_recv().is_ok()
    }
}

/// Counts a connection while it is open.
#[derive(Debug)]
struct ConnectionGuard(Arc<AtomicUsize>);

impl ConnectionGuard {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// One connection to a backend.
#[derive(Debug)]
pub struct Incoming {
    /// To read by hand.
    pub reader: ConnectionReader,
    seen: Sender<Message>,
}

impl Incoming {
    fn new(stream: TcpStream, seen: Sender<Message>) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            reader: BufReader::with_capacity(64 * 1024, stream),
            seen,
        }
    }

    /// The next request, whole; `None` when the connection ends, orderly or not.
    pub fn request(&mut self) -> Option<Message> {
        let mut request = self.head()?;
        request.read_body(&mut self.reader, false).ok()?;
        let _ = self.seen.send(request.clone());
        Some(request)
    }

    /// The next request's head.
    pub fn head(&mut self) -> Option<Message> {
        Message::read_head(&mut self.reader).ok().flatten()
    }

    /// Whether anything else than silence is there: an end, an error, or a byte.
    pub fn ends(&mut self) -> bool {
        !matches!(self.reader.read(&mut [0]), Ok(1..))
    }

    /// Sends these bytes, if somebody is still there.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A peer that has gone is what some tests are about.
        let _ = self.try_send(bytes);
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// They cannot be sent.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// Answers 200 with this body.
    pub fn ok(&mut self, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(body);
        self.send(answer);
    }

    /// Lets the connection close with a reset.
    ///
    /// # Panics
    /// The connection is gone.
    pub fn reset(&mut self) {
        socket2::SockRef::from(self.reader.get_ref())
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;

    #[test]
    fn a_backend_tells_who_is_connected_and_what_was_asked() {
        let backend = Backend::answering("hello");
        let mut client = Client::connect(backend.address).with_host("shop");
        assert_eq!(
            client.get_with("/x?y", &[("X-User-Name", "lin")]).text(),
            "hello"
        );
        assert_eq!(
            client.ask("HEAD", "/", &[]).get("content-length"),
            Some("5")
        );
        let seen = backend.seen();
        assert_eq!((seen.method(), seen.target()), ("GET", "/x?y"));
        assert_eq!(
            (seen.get("host"), seen.get("x-user-name")),
            (Some("shop"), Some("lin"))
        );
        assert_eq!((backend.connections(), backend.open_connections()), (1, 1));
    }

    #[test]
    fn a_script_that_fails_fails_the_test() {
        let backend = Backend::start(|_, _| panic!("on purpose"));
        let mut client = Client::connect(backend.address);
        client.assert_closed();
        assert!(client.has_ended());
        assert!(catch_unwind(AssertUnwindSafe(|| drop(backend))).is_err());
    }
}
