//! After a 101: bytes both ways until both sides have closed, nothing has moved for too long, the release is taken
//! back, or the proxy drains.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Exchange;
use super::deadlines::ExpiredDeadline;
use super::flow::Flow;
use crate::http1::BodyLength;
use crate::local::buffers::{Buf, Buffers};
use crate::local::tick::Tick;
use crate::outcome::Ending;
use crate::stream::Stream;
use crate::upstream::BackendStream;

/// How far one direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HalfState {
    Open,
    /// Its source has closed; the sink is to be told.
    Ending,
    Closed,
}

impl<C: Stream> Exchange<'_, C> {
    /// Relays until the tunnel closes. What the client sent before the 101 and what the backend sent with it is in
    /// the buffers and goes first.
    pub(super) async fn tunnel(&mut self, backend: &mut BackendStream) -> Ending {
        let granted = Ending::Answered(101);
        self.order
            .count(&granted, self.order.meaning(&granted).counted);
        let now = self.worker.ticker.now();
        self.upload = Flow::new(Buf::default(), BodyLength::UntilClose, false, now);
        self.download.begin(BodyLength::UntilClose, false);
        // However many there are, and however little their clients take.
        self.upload.limit_reads(true);
        self.download.limit_reads(true);
        let mut halves = (HalfState::Open, HalfState::Open);
        poll_fn(|cx| self.poll_tunnel(&mut halves, backend, cx)).await
    }

    fn poll_tunnel(
        &mut self,
        (up, down): &mut (HalfState, HalfState),
        backend: &mut BackendStream,
        cx: &mut Context<'_>,
    ) -> Poll<Ending> {
        let now = self.worker.ticker.now();
        let buffers = &self.worker.buffers;
        let client = &mut *self.client;
        let (input, stream) = (&mut client.input, &mut client.stream);
        let up_broken = poll_half(
            up,
            &mut self.upload,
            buffers,
            input,
            stream,
            backend,
            now,
            cx,
        );
        let down_broken = poll_half(
            down,
            &mut self.download,
            buffers,
            &mut self.answer,
            backend,
            stream,
            now,
            cx,
        );
        let closed = *up == HalfState::Closed && *down == HalfState::Closed;
        if closed || up_broken.is_err() || down_broken.is_err() {
            return Poll::Ready(Ending::Answered(101));
        }
        let active = self.upload.progress().max(self.download.progress());
        match self.clock_in_tunnel(active) {
            Ok(()) => Poll::Pending,
            Err(ExpiredDeadline::Over(ending)) => Poll::Ready(ending),
            Err(_) => Poll::Ready(Ending::Answered(101)),
        }
    }
}

/// Moves what can be moved one way; an end is passed on as an end of writing, the other way stays open. `Err`: the
/// tunnel has broken.
#[expect(
    clippy::too_many_arguments,
    reason = "the two sides of a tunnel, borrowed apart"
)]
fn poll_half<R: Stream, W: Stream>(
    half: &mut HalfState,
    flow: &mut Flow,
    buffers: &Buffers,
    input: &mut Buf,
    from: &mut R,
    to: &mut W,
    now: Tick,
    cx: &mut Context<'_>,
) -> Result<(), ()> {
    if *half == HalfState::Open {
        match flow.poll(buffers, input, from, to, now, cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => *half = HalfState::Ending,
            Poll::Ready(Err(_)) => return Err(()),
        }
    }
    if *half == HalfState::Ending {
        match Pin::new(to).poll_shutdown(cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => *half = HalfState::Closed,
            Poll::Ready(Err(_)) => return Err(()),
        }
    }
    Ok(())
}
