//! Work that takes time: done off the control thread, which others need, and a few at once, since workers want the
//! cores too. Whoever finds no turn soon is told to come back.

use std::sync::Arc;
use std::time::Duration;

use halftone_daemon::pages::PageResponse;
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::text;

/// How long a request waits for its turn.
const WAIT: Duration = Duration::from_secs(5);

/// How many may be at work.
#[derive(Debug)]
pub(crate) struct WorkLimiter(Arc<Semaphore>);

/// Why the work was not done.
#[derive(Debug)]
pub(crate) enum WorkError {
    /// Too many wait for their turn.
    Busy,
    /// It broke off.
    Failed(String),
}

impl WorkLimiter {
    /// So many at once.
    pub(crate) fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    /// Does it in turn. Once begun it is done to its end, and keeps its turn until then, even if whoever asked for it
    /// leaves: coming and going costs no more than staying.
    ///
    /// # Errors
    /// No turn came, or the work panicked.
    pub(crate) async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let turn = Arc::clone(&self.0).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(WAIT, turn).await else {
            return Err(WorkError::Busy);
        };
        let done = spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await
            .map_err(|error| WorkError::Failed(error.to_string()))
    }
}

impl From<WorkError> for PageResponse {
    fn from(undone: WorkError) -> Self {
        match undone {
            WorkError::Busy => {
                let advice = "too many requests wait for their turn; ask again\n";
                let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, advice);
                answer.headers_mut().insert(RETRY_AFTER, 1.into());
                answer
            }
            WorkError::Failed(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_no_turn_is_told_to_come_back_and_has_cost_nothing() {
        let turns = WorkLimiter::new(1);
        let taken = Arc::clone(&turns.0).acquire_owned().await.unwrap();
        let undone = turns
            .take(|| panic!("no turn"))
            .await
            .map(|()| "done")
            .unwrap_err();
        let answer = PageResponse::from(undone);
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()[RETRY_AFTER]),
            (503, &"1".parse().unwrap())
        );
        drop(taken);
        assert_eq!(turns.take(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn who_asks_and_leaves_again_and_again_brings_no_more_work_about_than_there_are_turns() {
        let turns = WorkLimiter::new(2);
        let (go_on, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        for _ in 0..2 {
            let held = Arc::clone(&held);
            let left = turns.take(move || held.lock().unwrap().recv().unwrap_or_default());
            assert!(
                tokio::time::timeout(Duration::ZERO, left).await.is_err(),
                "at work"
            );
        }
        assert_eq!(turns.0.available_permits(), 0);
        drop(go_on);
        assert_eq!(turns.take(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn work_that_breaks_off_is_told_and_gives_its_turn_back() {
        let turns = WorkLimiter::new(1);
        let undone = turns
            .take(|| panic!("broken"))
            .await
            .map(|()| "done")
            .unwrap_err();
        assert_eq!(PageResponse::from(undone).status().as_u16(), 500);
        assert_eq!(turns.take(|| 7).await.unwrap(), 7);
    }
}
