//! A connection that notes when bytes last went either way, and since when an answer has been on its way out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use std::sync::Arc;

/// What a connection does.
#[derive(Debug)]
pub(super) struct Activity(Mutex<ActivityTimes>);

#[derive(Clone, Copy, Debug)]
struct ActivityTimes {
    /// When a byte last went either way.
    touched: Instant,
    /// Since when an answer is being written.
    writing: Option<Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new(ActivityTimes {
            touched: Instant::now(),
            writing: None,
        }))
    }
}

impl Activity {
    /// Notes that a byte went.
    pub(super) fn touch(&self) {
        self.change(|times| times.touched = Instant::now());
    }

    /// For how long nothing has happened.
    pub(super) fn still(&self) -> Duration {
        self.times().touched.elapsed()
    }

    /// Returns when nothing has happened for `still`, or one answer has taken longer than `whole`.
    pub(super) async fn ends(&self, still: Duration, whole: Duration) {
        loop {
            let times = self.times();
            let end = times.writing.map_or(times.touched + still, |since| {
                (times.touched + still).min(since + whole)
            });
            if end <= Instant::now() {
                return;
            }
            // An answer that begins meanwhile may have to end sooner.
            tokio::time::sleep_until(end.min(Instant::now() + still.min(whole))).await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut ActivityTimes)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn times(&self) -> ActivityTimes {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct ActivityStream {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl ActivityStream {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }

    fn begins_writing(&self) {
        self.activity
            .change(|times| _ = times.writing.get_or_insert_with(Instant::now));
    }
}

impl AsyncRead for ActivityStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        if buf.filled().len() > before {
            this.activity.touch();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for ActivityStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begins_writing();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, slices));
        if matches!(written, Ok(1..)) {
            this.activity.touch();
        }
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper asks for it when it has written all that it had.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.activity.change(|times| times.writing = None);
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
