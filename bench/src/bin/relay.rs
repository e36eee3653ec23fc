//! The yardstick: a TCP relay on one tokio thread that maps each connection to one backend connection and
//! copies both ways. It reads nothing and decides nothing, so what a proxy costs beyond it is the price of
//! knowing what passes. `relay LISTEN BACKEND`.

use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// One read should take what a socket holds: a head with a body of 16 KiB, an answer of 64 KiB.
const TO_BACKEND: usize = 32 * 1024;
const TO_CLIENT: usize = 64 * 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut addresses = std::env::args()
        .skip(1)
        .map(|address| address.parse::<SocketAddr>());
    let (Some(listen), Some(backend)) = (addresses.next(), addresses.next()) else {
        return Err("usage: relay LISTEN BACKEND".into());
    };
    let (listen, backend) = (listen?, backend?);
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(serve(listen, backend))?;
    Ok(())
}

async fn serve(listen: SocketAddr, backend: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        // Either side may break off at any time; that ends this connection and nothing else.
        tokio::spawn(async move { relay(client, backend).await.ok() });
    }
}

async fn relay(mut client: TcpStream, backend: SocketAddr) -> io::Result<()> {
    let mut upstream = TcpStream::connect(backend).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, TO_BACKEND, TO_CLIENT)
        .await?;
    Ok(())
}
