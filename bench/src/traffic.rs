//! Both ends of a measurement on one core: clients and the two arms' backends share one thread and one epoll, so that
//! no thread switch and no runtime of the load side adds to what a proxy is measured by. When a client asks is `pace`'s.

mod arrivals;
pub(crate) mod backend;
pub(crate) mod client;
pub(crate) mod message;
mod open_loop;
mod pace;
pub(crate) mod sender;
pub(crate) mod tally;

use crate::Result;
use crate::request::RequestTemplate;
use backend::BackendConnection;
use client::{BenchClient, Received};
use pace::Pace;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};
use tally::LoadTally;

/// The letters that the stable and the gray arm fill their answers with.
pub(crate) const ARMS: [u8; 2] = [b's', b'g'];
/// Room for whole answers of the largest scenario in one read.
const READ_BUFFER: usize = 128 * 1024;

const LISTENERS: u64 = 1 << 32;
const BACKENDS: u64 = 2 << 32;
const CLIENTS: u64 = 3 << 32;

/// The load side: backends that listen all the time, clients that come and go.
pub(crate) struct BenchTraffic {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    buffer: Box<[u8]>,
    listeners: [TcpListener; 2],
    answers: [Vec<u8>; 2],
    body: usize,
    backends: Vec<Option<BackendConnection>>,
    clients: Vec<BenchClient>,
    proxy: Option<SocketAddr>,
    request: RequestTemplate,
    next_user: usize,
    pace: Pace,
    pub(crate) tally: LoadTally,
}

impl BenchTraffic {
    /// Opens the two arms' listeners on loopback.
    pub(crate) fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let listeners = [listen()?, listen()?];
        for (arm, listener) in listeners.iter().enumerate() {
            epoll::add(
                &epoll,
                listener,
                token(LISTENERS, arm),
                epoll::EventFlags::IN,
            )?;
        }
        let mut traffic = Self {
            epoll,
            events: Vec::with_capacity(1024),
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            listeners,
            answers: [Vec::new(), Vec::new()],
            body: 0,
            backends: Vec::new(),
            clients: Vec::new(),
            proxy: None,
            request: RequestTemplate::new(0),
            next_user: 0,
            pace: Pace::Silent,
            tally: LoadTally::new(),
        };
        traffic.exchange(0, 0);
        Ok(traffic)
    }

    /// Where the stable and the gray arm listen.
    pub(crate) fn arms(&self) -> Result<[SocketAddr; 2]> {
        Ok([
            self.listeners[0].local_addr()?,
            self.listeners[1].local_addr()?,
        ])
    }

    /// From now on: requests with `post` bytes of body (0: GET) and answers with `answer` bytes.
    pub(crate) fn exchange(&mut self, post: usize, answer: usize) {
        self.request = RequestTemplate::new(post);
        self.body = answer;
        self.answers = ARMS.map(|letter| {
            let mut bytes = format!(
                "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Sat, 21 Nov 2026 08:00:00 GMT\r\n\
                 Content-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: {answer}\r\n\r\n"
            )
            .into_bytes();
            bytes.resize(bytes.len() + answer, letter);
            bytes
        });
    }

    /// Opens `count` connections to a proxy that nobody has asked anything yet, and starts a new tally.
    pub(crate) fn connect(&mut self, proxy: SocketAddr, count: usize) -> Result<()> {
        self.disconnect();
        self.proxy = Some(proxy);
        self.tally = LoadTally::new();
        self.connect_more(count)
    }

    /// Opens `count` further connections to the same proxy.
    pub(crate) fn connect_more(&mut self, count: usize) -> Result<()> {
        let proxy = self.proxy.ok_or("connect() first")?;
        for _ in 0..count {
            let client = BenchClient::connect(proxy)?;
            self.watch(client.stream(), token(CLIENTS, self.clients.len()))?;
            self.clients.push(client);
        }
        Ok(())
    }

    /// Closes all clients' connections.
    pub(crate) fn disconnect(&mut self) {
        self.clients.clear();
    }

    fn turn(&mut self, at_most: Duration) -> Result<()> {
        let wait = Timespec::try_from(at_most)?;
        let mut events = std::mem::take(&mut self.events);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let (data, flags) = (event.data, event.flags);
            let (kind, index) = (data.u64() >> 32 << 32, (data.u64() & 0xffff_ffff) as usize);
            match kind {
                LISTENERS => self.accept(index)?,
                BACKENDS => self.backend(index, flags),
                _ => self.client(index, flags)?,
            }
        }
        self.events = events;
        Ok(())
    }

    fn watch(&self, socket: impl AsFd, token: epoll::EventData) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, token, flags)?)
    }

    fn accept(&mut self, arm: usize) -> io::Result<()> {
        while let Ok((stream, _)) = self.listeners[arm].accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let free = self.backends.iter().position(Option::is_none);
            let index = free.unwrap_or(self.backends.len());
            self.watch(&stream, token(BACKENDS, index))?;
            let connection = Some(BackendConnection::new(arm, stream));
            match free {
                Some(slot) => self.backends[slot] = connection,
                None => self.backends.push(connection),
            }
        }
        Ok(())
    }

    fn backend(&mut self, index: usize, flags: epoll::EventFlags) {
        let Some(connection) = &mut self.backends[index] else {
            return;
        };
        let answer = &self.answers[connection.arm];
        let alive = connection.writable(answer).is_ok()
            && (!flags.intersects(READ) || connection.readable(&mut self.buffer, answer));
        if !alive {
            self.backends[index] = None;
        }
    }

    fn client(&mut self, index: usize, flags: epoll::EventFlags) -> Result<()> {
        let Some(client) = self.clients.get_mut(index) else {
            return Ok(());
        };
        if client.writable().is_err() {
            return self.broken(index, "connection reset by the proxy");
        }
        if !flags.intersects(READ) {
            return Ok(());
        }
        let received = client.readable(&mut self.buffer);
        match (received, client.asked.take()) {
            (Received::Nothing, asked) => client.asked = asked,
            (Received::Broken(reason), _) => self.broken(index, reason)?,
            (Received::Answer(_), None) => {}
            (Received::Answer(message), Some((user, asked))) => {
                let now = Instant::now();
                self.tally.latencies.record(now - asked);
                if message.body == self.body {
                    self.tally.requests += 1;
                } else {
                    self.tally.error("answer of another length");
                }
                if message.body > 0 {
                    self.tally.met(user, message.mark);
                }
                self.go_on(index, now);
            }
        }
        Ok(())
    }

    fn broken(&mut self, index: usize, reason: &'static str) -> Result<()> {
        self.tally.error(reason);
        let proxy = self.proxy.ok_or("connect() first")?;
        let client = BenchClient::connect(proxy)?;
        self.watch(client.stream(), token(CLIENTS, index))?;
        self.clients[index] = client;
        self.go_on(index, Instant::now());
        Ok(())
    }
}

const READ: epoll::EventFlags = epoll::EventFlags::IN
    .union(epoll::EventFlags::HUP)
    .union(epoll::EventFlags::ERR);

fn token(kind: u64, index: usize) -> epoll::EventData {
    epoll::EventData::new_u64(kind | index as u64)
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    // The standard library's backlog of 128 would drop connections when 512 come at once.
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_gets_its_answer_and_gray_is_told_from_stable() {
        let mut traffic = BenchTraffic::new().unwrap();
        traffic.exchange(16 * 1024, 64 * 1024);
        let [_, gray] = traffic.arms().unwrap();
        traffic.connect(gray, 3).unwrap();
        traffic.ask_once(0).unwrap();
        assert_eq!(
            (traffic.tally.requests, traffic.tally.share(ARMS[1])),
            (3, 100.0)
        );
        assert!(traffic.tally.errors.is_empty());
    }

    #[test]
    fn a_proxy_that_hangs_up_is_an_error() {
        let mut traffic = BenchTraffic::new().unwrap();
        let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        traffic.connect(proxy.local_addr().unwrap(), 1).unwrap();
        drop(proxy.accept().unwrap());
        traffic.ask_once(0).unwrap();
        assert_eq!(
            (
                traffic.tally.requests,
                traffic.tally.errors.values().sum::<u64>()
            ),
            (0, 1)
        );
    }
}
