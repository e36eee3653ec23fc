//! Answers of our own, and closing so that they arrive.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::exchange::ClientConnection;
use crate::http1::write::{self, LocalReplyHead};
use crate::local::Local;
use crate::local::buffers::poll_write;
use crate::local::capacity::{ConnectionWait, SlowClient};
use crate::local::yielding;
use crate::stream::Stream;

/// How long a lingering close goes on reading what the client still sends. However much that is: an upload of 10 MB is
/// here in a fraction of it, and the reset that a close with bytes unread sends takes from the client what it has not
/// read yet of the answer.
const LINGER: Duration = Duration::from_secs(2);

/// Reads in one turn of a lingering close.
const READS: usize = 4;

/// Writes an answer of our own. False: the client did not take it.
pub(crate) async fn answer<C: Stream>(
    worker: &Local,
    client: &mut ClientConnection<C>,
    answer: &LocalReplyHead<'_>,
) -> bool {
    let mut out = worker.buffers.small();
    write::write_local_reply(out.vec(), answer);
    let since = worker.ticker.now();
    let deadline = since.after(worker.limits().client.write);
    let written = poll_fn(|cx| {
        if let Poll::Ready(written) = poll_write(&mut out, &mut client.stream, cx) {
            return Poll::Ready(written.is_ok());
        }
        if worker.ticker.now() >= deadline || !worker.phase().exchange_may_go_on() {
            return Poll::Ready(false);
        }
        if client.timer.is_leaving() {
            return Poll::Ready(false);
        }
        client.timer.set(deadline);
        worker.buffers.shrink(&mut out);
        worker.buffers.shrink(&mut client.input);
        worker.wait_for(
            &client.timer,
            SlowClient::unsent(since, out.held() + client.input.held()),
        );
        Poll::Pending
    })
    .await;
    client.timer.wait(ConnectionWait::No);
    worker.buffers.give_back(&mut out);
    written
}

/// Shuts down writing and discards what still arrives for a while. Closing with bytes unread makes the kernel send a
/// reset, and a client that is still sending then never sees the answer.
pub(crate) async fn linger<C: Stream>(worker: &Local, client: &mut ClientConnection<C>) {
    let deadline = worker.ticker.now().after(LINGER);
    let mut shut = false;
    poll_fn(|cx| {
        if let Poll::Ready(()) = poll_discard(worker, client, &mut shut, cx) {
            return Poll::Ready(());
        }
        if worker.ticker.now() >= deadline || !worker.phase().exchange_may_go_on() {
            return Poll::Ready(());
        }
        client.timer.set(deadline);
        Poll::Pending
    })
    .await;
}

fn poll_discard<C: Stream>(
    worker: &Local,
    client: &mut ClientConnection<C>,
    shut: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if !*shut {
        let Ok(()) = ready!(Pin::new(&mut client.stream).poll_shutdown(cx)) else {
            return Poll::Ready(());
        };
        *shut = true;
    }
    for _ in 0..READS {
        client.input.clear();
        if let Ok(0) | Err(_) = ready!(worker.buffers.poll_read(
            &mut client.input,
            &mut client.stream,
            cx
        )) {
            return Poll::Ready(());
        }
    }
    yielding::end(cx)
}
