//! Buffers of one thread. A read borrows one from the free list and gives it back when there was nothing to read, so
//! a connection that waits holds none; what must be kept while waiting is moved into the smaller kind.

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use tokio::io::AsyncReadExt;

use crate::stream::Stream;

/// What waits: a head that is not complete, a request kept for another try, bytes read ahead.
pub(crate) const SMALL: usize = 16 * 1024;
/// What moves: lent to each read, and kept only while its bytes are being written.
pub(crate) const LARGE: usize = 64 * 1024;
/// More memory than this beyond its bytes is taken from a buffer that may wait for long.
const SLACK: usize = 1024;
/// Free buffers kept, of each kind; beyond it they go back to the allocator.
const KEPT: usize = 32;

/// Bytes received and not yet used, or written and not yet sent. Without bytes it may hold no memory at all.
#[derive(Debug, Default)]
pub(crate) struct Buf {
    bytes: Vec<u8>,
    start: usize,
}

impl Buf {
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the first `n` unread bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start += n;
        debug_assert!(self.start <= self.bytes.len());
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Forgets everything, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// To append to; unread bytes may stand before.
    pub(crate) fn vec(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Moves `length` unread bytes at `from` (counted from the first unread one) down to `to`.
    pub(crate) fn shift(&mut self, from: usize, length: usize, to: usize) {
        let start = self.start;
        self.bytes
            .copy_within(start + from..start + from + length, start + to);
    }

    /// Forgets the unread bytes beyond the first `length`.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(self.start + length);
    }

    /// How much can be appended without moving what is there.
    pub(crate) fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// The memory that it holds, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    fn compact(&mut self) {
        if self.start > 0 {
            let length = self.len();
            self.bytes.copy_within(self.start.., 0);
            self.bytes.truncate(length);
            self.start = 0;
        }
    }

    /// Moves the unread bytes to an empty buffer and returns the old memory.
    fn move_into(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.extend_from_slice(self.unread());
        self.start = 0;
        std::mem::replace(&mut self.bytes, bytes)
    }
}

/// The free lists of one thread. Last in, first out: the buffer lent next is the one whose lines are still cached.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// An empty buffer for something that will wait.
    pub(crate) fn small(&self) -> Buf {
        Buf {
            bytes: take(&self.small, SMALL),
            start: 0,
        }
    }

    /// Takes the memory of a buffer whose bytes are no longer needed.
    #[inline]
    pub(crate) fn give_back(&self, buf: &mut Buf) {
        if buf.held() > 0 {
            buf.start = 0;
            self.put(std::mem::take(&mut buf.bytes));
        }
    }

    /// Reads once into `buf`, which must not be full. A buffer lent for it is taken back when nothing is there; what
    /// it held before is then kept in a small one if it fits.
    pub(crate) fn poll_read<S: Stream>(
        &self,
        buf: &mut Buf,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room(buf);
        let room = buf.room();
        let read = pin!(stream.read_buf(&mut (&mut buf.bytes).limit(room))).poll(cx);
        if read.is_pending() {
            self.settle(buf);
        }
        read
    }

    /// For a buffer whose owner begins to wait: empty, it is given back; else it shrinks to a small one if it can.
    pub(crate) fn settle(&self, buf: &mut Buf) {
        if buf.is_empty() {
            self.give_back(buf);
        } else if buf.bytes.capacity() > SMALL && buf.len() <= SMALL / 2 {
            let old = buf.move_into(take(&self.small, SMALL));
            self.put(old);
        }
    }

    /// Has the next read into an empty buffer take no more than a small one holds.
    pub(crate) fn lend_small(&self, buf: &mut Buf) {
        if buf.is_empty() && buf.bytes.capacity() != SMALL {
            self.give_back(buf);
            buf.bytes = take(&self.small, SMALL);
        }
    }

    /// For a buffer whose owner may wait for long: it keeps no more memory than its bytes need.
    pub(crate) fn shrink(&self, buf: &mut Buf) {
        if buf.is_empty() {
            self.give_back(buf);
        } else if buf.bytes.capacity() > buf.len() + SLACK {
            let old = buf.move_into(Vec::with_capacity(buf.len()));
            self.put(old);
        }
    }

    fn make_room(&self, buf: &mut Buf) {
        if buf.bytes.capacity() == 0 {
            buf.bytes = take(&self.large, LARGE);
        }
        if buf.room() == 0 {
            buf.compact();
        }
        if buf.room() == 0 {
            let old = buf.move_into(take(&self.large, LARGE));
            self.put(old);
        }
        debug_assert!(buf.room() > 0, "a full buffer cannot be read into");
    }

    fn put(&self, mut bytes: Vec<u8>) {
        let list = match bytes.capacity() {
            SMALL => &self.small,
            LARGE => &self.large,
            _ => return,
        };
        let mut list = list.borrow_mut();
        if list.len() < KEPT {
            bytes.clear();
            list.push(bytes);
        }
    }
}

fn take(list: &RefCell<Vec<Vec<u8>>>, capacity: usize) -> Vec<u8> {
    list.borrow_mut()
        .pop()
        .unwrap_or_else(|| Vec::with_capacity(capacity))
}

/// Writes once from `buf`.
pub(crate) fn poll_write<S: Stream>(
    buf: &mut Buf,
    stream: &mut S,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !buf.is_empty() {
        let n = ready!(std::pin::Pin::new(&mut *stream).poll_write(cx, buf.unread()))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        buf.consume(n);
    }
    Poll::Ready(Ok(()))
}
