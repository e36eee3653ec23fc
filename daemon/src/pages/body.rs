//! What an answer carries: bytes of its own, or a copy of a page that many read at once. Such a copy can be taken from
//! its readers, in the middle of it and whether or not they read at that moment, so that its memory is free at once;
//! what they have got then has no end, and their connections are closed. It goes out in pieces that are copied, since a
//! piece that shares the page's memory would keep all of it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// Bytes that are handed to a connection at once.
const PIECE: usize = 16 << 10;

/// The body of an answer.
#[derive(Debug)]
pub struct PageBody(PageBytes);

#[derive(Debug)]
enum PageBytes {
    Own(Bytes),
    Shared {
        copy: Arc<PageCopy>,
        sent: usize,
        length: usize,
    },
}

/// One copy of a page, until it is taken.
#[derive(Debug)]
pub(super) struct PageCopy(Mutex<Option<Bytes>>);

/// The page was taken from its reader, who was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEvicted;

impl std::fmt::Display for PageEvicted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the page was read too slowly, and others needed the room")
    }
}

impl std::error::Error for PageEvicted {}

impl PageCopy {
    pub(super) fn new(page: Bytes) -> Self {
        Self(Mutex::new(Some(page)))
    }

    /// Frees its memory.
    pub(super) fn take(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PageBody {
    /// One reader's view of a copy.
    pub(super) fn of(copy: Arc<PageCopy>) -> Self {
        let length = copy.lock().as_ref().map_or(0, Bytes::len);
        Self(PageBytes::Shared {
            copy,
            sent: 0,
            length,
        })
    }
}

impl<B: Into<Bytes>> From<B> for PageBody {
    fn from(own: B) -> Self {
        Self(PageBytes::Own(own.into()))
    }
}

impl hyper::body::Body for PageBody {
    type Data = Bytes;
    type Error = PageEvicted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PageEvicted>>> {
        let piece = match &mut self.0 {
            PageBytes::Own(own) => Ok(std::mem::take(own)),
            PageBytes::Shared { copy, sent, length } => match &*copy.lock() {
                Some(page) => {
                    let from = *sent;
                    *sent = (*length).min(from + PIECE);
                    Ok(Bytes::copy_from_slice(&page[from..*sent]))
                }
                None if sent == length => Ok(Bytes::new()),
                None => Err(PageEvicted),
            },
        };
        match piece {
            Ok(piece) if piece.is_empty() => Poll::Ready(None),
            piece => Poll::Ready(Some(piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left() as u64)
    }
}

impl PageBody {
    /// Bytes still to be sent.
    fn left(&self) -> usize {
        match &self.0 {
            PageBytes::Own(own) => own.len(),
            PageBytes::Shared { sent, length, .. } => length - sent,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "in tests a failed assumption should end the test"
    )]

    use http_body_util::BodyExt;
    use hyper::body::Body as _;

    use super::*;

    #[tokio::test]
    async fn a_page_goes_out_whole_in_pieces() {
        let page: Bytes = (0..PIECE * 2 + 5).map(|at| at as u8).collect();
        let body = PageBody::of(Arc::new(PageCopy::new(page.clone())));
        assert_eq!(body.size_hint().exact(), Some(page.len() as u64));
        assert_eq!(body.collect().await.unwrap().to_bytes(), page);
        assert_eq!(
            PageBody::from("own").collect().await.unwrap().to_bytes(),
            "own"
        );
        assert!(PageBody::from("").is_end_stream());
    }

    #[tokio::test]
    async fn a_copy_that_is_taken_is_free_at_once_and_its_reader_gets_no_end() {
        let page = Bytes::from(vec![1; PIECE * 2]);
        let copy = Arc::new(PageCopy::new(page.clone()));
        let mut body = PageBody::of(Arc::clone(&copy));
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        copy.take();
        assert!(page.is_unique(), "no piece keeps the page");
        assert_eq!(piece.len(), PIECE);
        assert_eq!(body.frame().await.unwrap().unwrap_err(), PageEvicted);
    }
}
