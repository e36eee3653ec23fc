//! Taking clients in: each worker accepts on listeners of its own and hands a connection over when it holds many more
//! than the others. Closing the listeners at the end of a drain loses nobody.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use halftone_daemon::listen;
use rustix::io::Errno;
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::handle;
use crate::local::Local;

/// Unaccepted connections that the kernel keeps per listener, if `net.core.somaxconn` allows.
const BACKLOG: i32 = 4096;
/// How long accepting pauses when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);
/// Between turning new connections away and closing the listener: handshakes under way come to their end.
const HANDSHAKES: Duration = Duration::from_millis(300);

/// Listeners on each of some addresses, one per worker, so that the kernel spreads connections over the workers.
#[derive(Debug)]
pub struct Listeners {
    /// By worker, then by address.
    pub(super) by_worker: Vec<Vec<StdListener>>,
    addresses: Vec<SocketAddr>,
}

impl Listeners {
    /// Listens on every address once per worker (SO_REUSEPORT). A port 0 is chosen once and then shared.
    ///
    /// # Errors
    /// Which address is taken by another program, or not ours.
    pub fn bind(addresses: &[SocketAddr], workers: usize) -> Result<Self, (SocketAddr, io::Error)> {
        let mut by_worker: Vec<Vec<StdListener>> = (0..workers).map(|_| Vec::new()).collect();
        let mut bound = Vec::new();
        for &wanted in addresses {
            // A listener without SO_REUSEPORT finds out whether the port is another program's: two proxies of one
            // user would else share it without a word, and each get half of the requests.
            let mut bind = || {
                if wanted.port() != 0 {
                    listen(wanted, false)?;
                }
                listen_for_each(wanted, &mut by_worker)
            };
            bound.push(bind().map_err(|error| (wanted, error))?);
        }
        Ok(Self {
            by_worker,
            addresses: bound,
        })
    }

    /// Where they listen, in the order given, with real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// One listener for each worker; the address with its real port.
fn listen_for_each(
    mut address: SocketAddr,
    by_worker: &mut [Vec<StdListener>],
) -> io::Result<SocketAddr> {
    for listeners in by_worker {
        let listener = listen(address, true)?;
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(address)
}

fn listen(address: SocketAddr, share: bool) -> io::Result<StdListener> {
    let socket = listen::socket(address)?;
    socket.set_reuse_port(share)?;
    // Accepted connections inherit it: an answer must not wait for an acknowledgement.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    if share {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

/// Where the workers take in what others hand over, by worker.
type Inboxes = Arc<[UnboundedSender<TransferredConnection>]>;

/// A connection on its way to another worker.
#[derive(Debug)]
pub(super) struct TransferredConnection {
    stream: StdStream,
    peer: SocketAddr,
}

/// Accepts until the drain closes the listener.
pub(super) async fn accept(worker: Rc<Local>, inboxes: Inboxes, listener: TcpListener) {
    let timer = worker.timer().await;
    loop {
        let accepted = std::future::poll_fn(|cx| {
            if !worker.phase().accepts() {
                return Poll::Ready(None);
            }
            listener.poll_accept(cx).map(Some)
        });
        match accepted.await {
            None => break,
            Some(Ok((stream, peer))) => dispatch(&worker, &inboxes, stream, peer),
            Some(Err(error)) if is_shortage(&error) => tokio::time::sleep(PAUSE).await,
            // The client gave up while it was queued.
            Some(Err(_)) => {}
        }
        while worker.common.is_full() && worker.phase().accepts() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    drop(timer);
    close(&worker, &inboxes, listener).await;
}

fn is_shortage(error: &io::Error) -> bool {
    let shortages =
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|code| shortages.contains(&code))
}

/// Closing a listener resets what its queue holds, and with SO_REUSEPORT the kernel goes on filling the queue of
/// whichever listener closes last. So first no SYN is taken any more by any of them (its sender repeats it a second
/// later and is then refused, or reaches another proxy), then the queues are emptied, then they close.
async fn close(worker: &Rc<Local>, inboxes: &Inboxes, listener: TcpListener) {
    if SockRef::from(&listener).attach_filter(&no_syn()).is_ok() {
        tokio::time::sleep(HANDSHAKES).await;
    }
    let mut queue = std::pin::pin!(tokio::task::coop::unconstrained(std::future::poll_fn(
        |cx| {
            while let Poll::Ready(accepted) = listener.poll_accept(cx) {
                match accepted {
                    Ok((stream, peer)) => dispatch(worker, inboxes, stream, peer),
                    Err(error) if is_shortage(&error) => break,
                    Err(_) => {}
                }
            }
            Poll::Ready(())
        }
    )));
    queue.as_mut().await;
}

/// A socket filter that drops segments with SYN and without ACK; what it sees begins with the TCP header.
fn no_syn() -> [SockFilter; 5] {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

/// Serves a connection here, or hands it to the worker that holds the fewest.
fn dispatch(worker: &Rc<Local>, inboxes: &Inboxes, stream: TcpStream, peer: SocketAddr) {
    // While the listeners close, the others may have ended already.
    let other = worker
        .common
        .loads
        .better_than(worker.index)
        .filter(|_| worker.phase().accepts());
    let Some(other) = other else {
        worker.common.loads.add(worker.index);
        serve(worker, stream, peer);
        return;
    };
    // A connection that cannot be handed over is one that has failed already.
    let Ok(stream) = stream.into_std() else {
        return;
    };
    worker.common.loads.add(other);
    if inboxes[other]
        .send(TransferredConnection { stream, peer })
        .is_err()
    {
        worker.common.loads.remove(other);
    }
}

/// Serves what other workers hand over.
pub(super) async fn receive(
    worker: Rc<Local>,
    mut inbox: UnboundedReceiver<TransferredConnection>,
) {
    while let Some(TransferredConnection { stream, peer }) = inbox.recv().await {
        match TcpStream::from_std(stream) {
            Ok(stream) => serve(&worker, stream, peer),
            Err(_) => worker.common.loads.remove(worker.index),
        }
    }
}

/// Its load is counted already.
fn serve(worker: &Rc<Local>, stream: TcpStream, peer: SocketAddr) {
    let open = OpenConnection::new(Rc::clone(worker));
    let Ok(local) = stream.local_addr() else {
        return;
    };
    tokio::task::spawn_local(async move {
        handle::serve(&open.0, stream, peer, local).await;
    });
}

/// A client connection, counted until dropped.
struct OpenConnection(Rc<Local>);

impl OpenConnection {
    fn new(worker: Rc<Local>) -> Self {
        worker.counters.connection_opened();
        Self(worker)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.counters.connection_closed();
        self.0.common.loads.remove(self.0.index);
    }
}
