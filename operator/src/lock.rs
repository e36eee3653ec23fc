//! Locks that a panic elsewhere does not poison.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock, whatever became of who held it last.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left behind is whole: each change is made under the lock at once.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
