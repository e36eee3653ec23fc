//! A short request body that has not come with its head: it is received before the request is decided. Meanwhile it
//! costs its own bytes and no buffer, and the slowest leave when all together hold too much.

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::exchange::ClientConnection;
use crate::local::Local;
use crate::local::capacity::SlowClient;
use crate::local::tick::Tick;
use crate::outcome::Ending;
use crate::stream::Stream;

/// Waits until the client's buffer holds a head and its body, of this length together.
///
/// # Errors
/// The client does not send it.
pub(super) async fn body<C: Stream>(
    worker: &Local,
    client: &mut ClientConnection<C>,
    length: usize,
) -> Result<(), Ending> {
    let since = worker.ticker.now();
    poll_fn(|cx| poll(worker, client, length, since, cx)).await
}

fn poll<C: Stream>(
    worker: &Local,
    client: &mut ClientConnection<C>,
    length: usize,
    since: Tick,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Ending>> {
    let buffers = &worker.buffers;
    while client.input.len() < length {
        match buffers.poll_read(&mut client.input, &mut client.stream, cx) {
            Poll::Pending => break,
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Ending::ClientGone)),
            Poll::Ready(Ok(_)) => {}
        }
    }
    if client.input.len() >= length {
        return Poll::Ready(Ok(()));
    }
    if !worker.phase().exchange_may_go_on() {
        return Poll::Ready(Err(Ending::Shutdown));
    }
    // In all: whoever sends it byte by byte is as slow as who keeps it back.
    let due = since.after(worker.limits().client.body);
    if due <= worker.ticker.now() || client.timer.is_leaving() {
        return Poll::Ready(Err(Ending::ClientTimeout));
    }
    client.timer.set(due);
    buffers.shrink(&mut client.input);
    worker.wait_for(
        &client.timer,
        SlowClient::unsent(since, client.input.held()),
    );
    Poll::Pending
}
