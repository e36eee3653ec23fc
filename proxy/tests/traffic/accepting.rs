//! Who takes a connection in, and what happens when there are too many of them.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};

use crate::support::{Backend, Client, Options, PATIENCE, Proxy, release};

/// Connects from a port of the client's own choice, 0 for a free one. The address is this process's own: at 127.0.0.1
/// thousands of ports are waited out by what other tests have closed.
fn connect_from(port: u16, to: SocketAddr) -> Client {
    let own = Ipv4Addr::from_bits(0x7f80_0000 | std::process::id() & 0x7f_ffff);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((own, port)).into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    Client::over(socket.into())
}

/// Ports from which connections arrive at the first worker: the kernel chooses by a hash of both ends, which is the
/// same every time.
fn ports_of_first_worker(proxy: &Proxy, n: usize) -> Vec<u16> {
    let mut ports = Vec::new();
    while ports.len() < n {
        let client = connect_from(0, proxy.address);
        let port = client.stream().local_addr().unwrap().port();
        while proxy.connections() == 0 {
            std::thread::yield_now();
        }
        if proxy.workers().connections()[0] == 1 && !ports.contains(&port) {
            ports.push(port);
        }
        // A reset leaves the port free.
        client.abort();
        proxy.expect_connections(&[0, 0]);
    }
    ports
}

#[test]
fn a_worker_that_holds_too_many_connections_hands_them_over() {
    let backend = Backend::answering("ok");
    let document = release(&[backend.address], json!({}));
    let proxy = Proxy::with(Options { workers: 2, ..Options::default() }, &[document]);
    let ports = ports_of_first_worker(&proxy, 24);
    let mut clients: Vec<_> = ports.into_iter().map(|port| connect_from(port, proxy.address)).collect();
    // What was sent before the socket changed hands is read all the same.
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer().text(), "ok");
        assert_eq!(client.get("/").text(), "ok");
    }
    let held = proxy.workers().connections();
    assert_eq!(held.iter().sum::<usize>(), clients.len());
    // 1.25 × the mean + 1, and the one that made it so many.
    assert!(held[0] as f64 <= 1.25 * clients.len() as f64 / 2.0 + 2.0, "{held:?}");
    assert!(held[1] > 0, "{held:?}");
}

fn is_silent(client: &Client) -> bool {
    let stream = SockRef::from(client.stream());
    stream.set_nonblocking(true).unwrap();
    let peeked = client.stream().peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn beyond_max_connections_clients_wait_and_are_served_when_there_is_room() {
    let backend = Backend::answering("ok");
    let options = Options { max_connections: 3, ..Options::default() };
    let proxy = Proxy::with(options, &[release(&[backend.address], json!({}))]);
    let mut held: Vec<_> = (0..3).map(|_| proxy.client()).collect();
    held.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "ok"));
    let mut waiting: Vec<_> = (0..6).map(|_| proxy.client()).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    }
    for _ in 0..100 {
        held.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "ok"));
    }
    assert_eq!(proxy.connections(), 3);
    assert!(waiting.iter().all(is_silent));
    held.truncate(1);
    // Each that is served makes room for the next.
    for mut client in waiting {
        assert_eq!(client.answer().text(), "ok");
    }
    assert_eq!(held[0].get("/").text(), "ok");
}
