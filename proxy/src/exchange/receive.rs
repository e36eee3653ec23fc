//! A short request body that has not come yet: it is received before any backend is asked, so that however many clients
//! keep theirs back, no backend sees one of them. Meanwhile the request costs its own bytes and no buffer, and
//! the memory of all such requests is bounded together with that of unfinished heads.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::Exchange;
use crate::http1::Body;
use crate::outcome::Ending;
use crate::stream::Stream;
use crate::worker::buffers::SMALL;
use crate::worker::room::Waiting;
use crate::worker::tick::Tick;

impl<C: Stream> Exchange<'_, C> {
    /// The length of a body that is to be received first: a short one, not here yet, whose client waits for nothing.
    pub(super) fn awaited(&self) -> Option<usize> {
        let Body::Length(length) = self.order.body else { return None };
        let length = usize::try_from(length).ok().filter(|length| *length <= SMALL)?;
        (length > self.client.input.len() && !self.order.expect_continue).then_some(length)
    }

    /// Receives it. `Err`: the client does not send it.
    pub(super) async fn receive(&mut self, length: usize) -> Result<(), Ending> {
        let mut progress = self.worker.ticker.now();
        poll_fn(|cx| self.poll_receive(length, &mut progress, cx)).await?;
        self.client.timer.wait(Waiting::No);
        let now = self.worker.ticker.now();
        self.upload.received(now);
        self.clock.body_received(now);
        Ok(())
    }

    fn poll_receive(
        &mut self,
        length: usize,
        progress: &mut Tick,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Ending>> {
        let (buffers, now) = (&self.worker.buffers, self.worker.ticker.now());
        while self.client.input.len() < length {
            match buffers.poll_read(&mut self.client.input, &mut self.client.stream, cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Ending::ClientGone)),
                Poll::Ready(Ok(_)) => *progress = now,
            }
        }
        if self.client.input.len() >= length {
            return Poll::Ready(Ok(()));
        }
        self.upload.slim(buffers);
        buffers.shrink(&mut self.client.input);
        match self.clock_while_receiving(*progress) {
            Ok(due) => {
                let held = self.client.input.held() + self.upload.held();
                self.client.timer.wait(Waiting::Head(due, held));
                self.worker.bound_heads();
                Poll::Pending
            }
            Err(ending) => Poll::Ready(Err(ending)),
        }
    }
}
