//! A page that costs something to make and is the same for all: made once for all who ask at about the same time, and
//! held in memory a few times at most, however many read it and however slowly.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Copies of different age that may be on their way to readers. While so many are, everybody gets the youngest.
const MOST: usize = 4;
/// A page is looked after once it has surely been written to whoever reads.
const LEAST: Duration = Duration::from_secs(1);

/// The copies of one page.
#[derive(Clone, Debug)]
pub struct Rendering {
    /// Whoever asks within this time after a page was begun gets the same one.
    fresh: Duration,
    copies: Arc<Mutex<VecDeque<Print>>>,
}

#[derive(Clone, Debug)]
struct Print {
    made: Instant,
    page: Bytes,
}

impl Rendering {
    /// A page that all share who ask within `fresh` after it was begun. With zero everybody gets a new one, unless too
    /// many copies are on their way.
    #[must_use]
    pub fn shared_for(fresh: Duration) -> Self {
        Self { fresh, copies: Arc::default() }
    }

    /// The page, made by `make` if no copy is young enough. One is made at a time; it is finished even if whoever
    /// asked for it has left, so that coming and going costs no more than staying. None: `make` panicked.
    pub async fn get<F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Option<Bytes>
    where
        F: Future<Output = Bytes> + Send,
    {
        let rendering = self.clone();
        let made = tokio::spawn(async move {
            let mut copies = rendering.copies.lock().await;
            if let Some(page) = rendering.usable(&mut copies) {
                return page;
            }
            let made = Instant::now();
            let page = make().await;
            copies.push_back(Print { made, page: page.clone() });
            drop(copies);
            tokio::spawn(rendering.forget());
            page
        });
        made.await.ok()
    }

    /// A copy that will do.
    fn usable(&self, copies: &mut VecDeque<Print>) -> Option<Bytes> {
        self.drop_unread(copies);
        let youngest = copies.back()?;
        (youngest.made.elapsed() < self.fresh || copies.len() >= MOST).then(|| youngest.page.clone())
    }

    /// Forgets copies that are neither fresh nor being read.
    fn drop_unread(&self, copies: &mut VecDeque<Print>) {
        copies.retain(|copy| copy.made.elapsed() < self.fresh || !copy.page.is_unique());
    }

    /// A page of many releases is large; it does not stay when nobody asks any more.
    async fn forget(self) {
        tokio::time::sleep(self.fresh.max(LEAST)).await;
        self.drop_unread(&mut *self.copies.lock().await);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in tests a failed assumption should end the test")]

    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    async fn get(rendering: &Rendering, made: &Arc<AtomicUsize>) -> Bytes {
        let made = Arc::clone(made);
        let make = move || async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Bytes::from(format!("page {}", made.fetch_add(1, SeqCst)))
        };
        rendering.get(make).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_within_a_second_share_one_page() {
        let (rendering, made) = (Rendering::shared_for(Duration::from_secs(1)), Arc::default());
        let asked: Vec<_> = (0..50)
            .map(|_| {
                let (rendering, made) = (rendering.clone(), Arc::clone(&made));
                tokio::spawn(async move { get(&rendering, &made).await })
            })
            .collect();
        for page in asked {
            assert_eq!(page.await.unwrap(), "page 0");
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(get(&rendering, &made).await, "page 1");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_readers_hold_a_few_copies_and_the_last_is_given_to_everybody() {
        let (rendering, made) = (Rendering::shared_for(Duration::from_secs(1)), Arc::default());
        let mut held = Vec::new();
        for _ in 0..10 {
            held.push(get(&rendering, &made).await);
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        assert_eq!(made.load(SeqCst), MOST);
        assert_eq!(held[9], "page 3");
        held.remove(0);
        assert_eq!(get(&rendering, &made).await, "page 4");
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_nobody_reads_is_forgotten() {
        let (rendering, made) = (Rendering::shared_for(Duration::from_secs(1)), Arc::default());
        drop(get(&rendering, &made).await);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(rendering.copies.lock().await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_and_leaves_again_and_again_makes_one_page() {
        let (rendering, made) = (Rendering::shared_for(Duration::from_secs(1)), Arc::default());
        for _ in 0..50 {
            let _ = tokio::time::timeout(Duration::from_millis(1), get(&rendering, &made)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(made.load(SeqCst), 1);
    }
}
