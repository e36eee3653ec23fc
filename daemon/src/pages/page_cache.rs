//! A page that costs something to make and is the same for all: made once for all who ask at about the same time, and
//! held in memory a few times at most, however many read it and however slowly.
//!
//! Nobody gets an old page because others read slowly: the copy that its readers have had for longest is taken from
//! them when room is needed (`body`), and they are cut off.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::body::{PageBody, PageCopy};

/// Copies of different age that may be on their way to readers.
const MOST: usize = 4;
/// How long readers have a copy for themselves at least.
const READING: Duration = Duration::from_secs(3);
/// A page as young as this is not old to anybody.
const YOUNG: Duration = Duration::from_secs(1);

/// The copies of one page.
#[derive(Clone, Debug)]
pub struct PageCache {
    /// Whoever asks within this time after a page was begun gets the same one.
    fresh: Duration,
    copies: Arc<Mutex<VecDeque<RenderedPage>>>,
}

#[derive(Debug)]
struct RenderedPage {
    made: Instant,
    copy: Arc<PageCopy>,
}

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenderError {
    /// Too many copies that were made just now are on their way; there will be room after so long.
    Busy(Duration),
    /// It could not be made.
    Failed,
}

impl PageCache {
    /// A page that all share who ask within `fresh` after it was begun. With zero everybody gets a new one, unless too
    /// many copies are on their way.
    #[must_use]
    pub fn shared_for(fresh: Duration) -> Self {
        Self {
            fresh,
            copies: Arc::default(),
        }
    }

    /// The page, made by `make` if no copy is young enough; it is never older than a second. One is made at a time;
    /// it is finished even if whoever asked for it has left, so that coming and going costs no more than staying.
    ///
    /// # Errors
    /// `make` panicked or made an empty page, or too many copies were made within the last seconds and are still read.
    pub async fn get<F>(
        &self,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> Result<PageBody, RenderError>
    where
        F: Future<Output = Bytes> + Send,
    {
        let rendering = self.clone();
        let made = tokio::spawn(async move {
            let mut copies = rendering.copies.lock().await;
            if let Some(copy) = rendering.usable(&mut copies)? {
                return Ok(PageBody::of(copy));
            }
            let made = Instant::now();
            let page = make().await;
            if page.is_empty() {
                return Err(RenderError::Failed);
            }
            let copy = Arc::new(PageCopy::new(page));
            copies.push_back(RenderedPage {
                made,
                copy: Arc::clone(&copy),
            });
            drop(copies);
            tokio::spawn(rendering.forget());
            Ok(PageBody::of(copy))
        });
        made.await.unwrap_or(Err(RenderError::Failed))
    }

    /// A copy that will do; without one there is room for another.
    fn usable(
        &self,
        copies: &mut VecDeque<RenderedPage>,
    ) -> Result<Option<Arc<PageCopy>>, RenderError> {
        self.drop_unread(copies);
        let Some(youngest) = copies.back() else {
            return Ok(None);
        };
        let age = youngest.made.elapsed();
        if age < self.fresh || copies.len() >= MOST && age <= YOUNG {
            return Ok(Some(Arc::clone(&youngest.copy)));
        }
        if copies.len() >= MOST
            && let Some(oldest) = copies.pop_front_if(|oldest| oldest.made.elapsed() >= READING)
        {
            oldest.copy.take();
        }
        match copies.front() {
            Some(oldest) if copies.len() >= MOST => {
                Err(RenderError::Busy(READING - oldest.made.elapsed()))
            }
            _ => Ok(None),
        }
    }

    /// Forgets copies that are neither fresh nor being read.
    fn drop_unread(&self, copies: &mut VecDeque<RenderedPage>) {
        copies.retain(|print| {
            print.made.elapsed() < self.fresh || Arc::strong_count(&print.copy) > 1
        });
    }

    /// A page of many releases is large; it does not stay when nobody asks any more.
    async fn forget(self) {
        // It is looked after once it has surely been written to whoever reads.
        tokio::time::sleep(self.fresh.max(YOUNG)).await;
        self.drop_unread(&mut *self.copies.lock().await);
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "in tests a failed assumption should end the test"
    )]

    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use http_body_util::BodyExt;

    use super::*;

    async fn ask(rendering: &PageCache, made: &Arc<AtomicUsize>) -> Result<PageBody, RenderError> {
        let made = Arc::clone(made);
        let make = move || async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Bytes::from(format!("page {}", made.fetch_add(1, SeqCst)))
        };
        rendering.get(make).await
    }

    /// What a reader gets; none where it is cut off.
    async fn read(body: Result<PageBody, RenderError>) -> Option<String> {
        let read = body.unwrap().collect().await.ok()?;
        Some(String::from_utf8(read.to_bytes().to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_within_a_second_share_one_page() {
        let (rendering, made) = (
            PageCache::shared_for(Duration::from_secs(1)),
            Arc::default(),
        );
        let asked: Vec<_> = (0..50)
            .map(|_| {
                let (rendering, made) = (rendering.clone(), Arc::clone(&made));
                tokio::spawn(async move { read(ask(&rendering, &made).await).await })
            })
            .collect();
        for page in asked {
            assert_eq!(page.await.unwrap().unwrap(), "page 0");
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(read(ask(&rendering, &made).await).await.unwrap(), "page 1");
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_read_slowly_whoever_asks_gets_a_page_of_this_second_and_the_oldest_are_cut_off()
     {
        let (rendering, made) = (
            PageCache::shared_for(Duration::from_secs(1)),
            Arc::default(),
        );
        let mut held = Vec::new();
        for n in 0..10 {
            held.push(ask(&rendering, &made).await);
            assert_eq!(made.load(SeqCst), n + 1, "an old page");
            assert!(rendering.copies.lock().await.len() <= MOST);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let mut read_at_last = Vec::new();
        for body in held {
            read_at_last.push(read(body).await);
        }
        let got: Vec<_> = read_at_last.iter().flatten().map(String::as_str).collect();
        assert_eq!(got, ["page 6", "page 7", "page 8", "page 9"]);
    }

    #[tokio::test(start_paused = true)]
    async fn where_everybody_gets_a_page_of_its_own_no_reader_is_cut_off_at_once() {
        let (rendering, made) = (PageCache::shared_for(Duration::ZERO), Arc::default());
        let mut held = Vec::new();
        for _ in 0..MOST {
            held.push(ask(&rendering, &made).await);
        }
        assert_eq!(
            read(ask(&rendering, &made).await).await.unwrap(),
            "page 3",
            "a page of this second"
        );
        tokio::time::advance(Duration::from_millis(1500)).await;
        let busy = ask(&rendering, &made).await.unwrap_err();
        assert!(
            matches!(busy, RenderError::Busy(wait) if wait <= READING),
            "{busy:?}"
        );
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(read(ask(&rendering, &made).await).await.unwrap(), "page 4");
        assert_eq!(read(held.remove(0)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_nobody_reads_is_forgotten() {
        let (rendering, made) = (
            PageCache::shared_for(Duration::from_secs(1)),
            Arc::default(),
        );
        drop(ask(&rendering, &made).await);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(rendering.copies.lock().await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_and_leaves_again_and_again_makes_one_page() {
        let (rendering, made) = (
            PageCache::shared_for(Duration::from_secs(1)),
            Arc::default(),
        );
        for _ in 0..50 {
            let _ = tokio::time::timeout(Duration::from_millis(1), ask(&rendering, &made)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(made.load(SeqCst), 1);
    }

    #[tokio::test]
    async fn a_page_that_cannot_be_made_is_none() {
        let rendering = PageCache::shared_for(Duration::from_secs(1));
        assert_eq!(
            rendering.get(|| async { Bytes::new() }).await.unwrap_err(),
            RenderError::Failed
        );
        assert_eq!(
            rendering
                .get(|| async { panic!("no page") })
                .await
                .unwrap_err(),
            RenderError::Failed
        );
    }
}
