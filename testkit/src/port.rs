//! Ports for servers that cannot choose one themselves and say which.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

/// A free port of loopback that nobody else is given meanwhile: below those that the kernel chooses from.
///
/// # Panics
/// There is none left.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    let mut ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, SeqCst));
    ports
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .unwrap()
}
