//! Who takes a connection in, and what happens when there are too many of them.

use std::io::ErrorKind;
use std::net::SocketAddr;

use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};

use crate::support::{Backend, Client, Options, PATIENCE, Proxy, release};

/// Connects from a port of the client's own choice.
fn connect_from(port: u16, to: SocketAddr) -> std::io::Result<Client> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(Client::over(socket.into()))
}

/// Ports from which connections arrive at the first worker: the kernel chooses by a hash of both ends, which is the
/// same every time.
fn ports_of_first_worker(proxy: &Proxy, n: usize) -> Vec<u16> {
    let mut ports = Vec::new();
    while ports.len() < n {
        let client = proxy.client();
        let port = client.stream().local_addr().unwrap().port();
        while proxy.connections() == 0 {
            std::thread::yield_now();
        }
        if proxy.workers().connections()[0] == 1 {
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
    let ports = ports_of_first_worker(&proxy, 96);
    // Another program may have taken a port meanwhile.
    let mut clients: Vec<_> =
        ports.into_iter().filter_map(|port| connect_from(port, proxy.address).ok()).take(24).collect();
    assert!(clients.len() >= 12);
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
