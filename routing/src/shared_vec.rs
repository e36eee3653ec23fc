//! A vector that shares what did not change with the one it was cloned from: how one set of routes, and what a proxy
//! keeps beside it, becomes the next at the price of what changed.

use std::sync::Arc;

/// Elements that are copied together when one of them changes.
const CHUNK: usize = 32;

/// Elements by index, with gaps. A clone costs one reference count for [`CHUNK`] elements; a change after that copies
/// the chunk that it is in.
#[derive(Debug)]
pub struct SharedVec<T> {
    /// None where all is gap.
    chunks: Vec<Option<Arc<[Option<T>; CHUNK]>>>,
}

impl<T> Clone for SharedVec<T> {
    fn clone(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
        }
    }
}

impl<T> Default for SharedVec<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> SharedVec<T> {
    /// The element at an index; none in a gap and beyond the end.
    pub fn get(&self, index: usize) -> Option<&T> {
        let chunk = self.chunks.get(index / CHUNK)?.as_ref()?;
        chunk[index % CHUNK].as_ref()
    }

    /// Every element with its index, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let chunks = self.chunks.iter().enumerate();
        let chunks = chunks.filter_map(|(at, chunk)| Some((at * CHUNK, chunk.as_ref()?)));
        chunks.flat_map(|(start, chunk)| {
            let places = (start..).zip(chunk.iter());
            places.filter_map(|(index, element)| Some((index, element.as_ref()?)))
        })
    }
}

impl<T: Clone> SharedVec<T> {
    /// Puts an element at an index, or leaves a gap there. Returns what was there.
    pub fn set(&mut self, index: usize, element: Option<T>) -> Option<T> {
        let at = index / CHUNK;
        if self.chunks.len() <= at {
            self.chunks.resize_with(at + 1, || None);
        }
        let is_gap = element.is_none();
        let chunk = &mut self.chunks[at];
        let places = chunk.get_or_insert_with(|| Arc::new([const { None }; CHUNK]));
        let places = Arc::make_mut(places);
        let before = std::mem::replace(&mut places[index % CHUNK], element);
        if is_gap && places.iter().all(Option::is_none) {
            *chunk = None;
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_the_clone_that_was_changed_alone() {
        let mut first = SharedVec::default();
        for index in [0, 1, 40, 99] {
            assert_eq!(first.set(index, Some(index)), None);
        }
        let mut second = first.clone();
        assert_eq!(second.set(40, Some(7)), Some(40));
        assert_eq!(second.set(1, None), Some(1));
        let all = |vec: &SharedVec<usize>| vec.iter().map(|(at, &e)| (at, e)).collect::<Vec<_>>();
        assert_eq!(all(&first), [(0, 0), (1, 1), (40, 40), (99, 99)]);
        assert_eq!(all(&second), [(0, 0), (40, 7), (99, 99)]);
        assert_eq!(
            (second.get(1), second.get(2), second.get(500)),
            (None, None, None)
        );
    }

    #[test]
    fn what_did_not_change_is_shared() {
        let mut first = SharedVec::default();
        for index in 0..100 {
            first.set(index, Some(index));
        }
        let mut second = first.clone();
        second.set(50, Some(0));
        let chunk = |vec: &SharedVec<_>, at: usize| Arc::clone(vec.chunks[at].as_ref().unwrap());
        let shared = |at| Arc::ptr_eq(&chunk(&first, at), &chunk(&second, at));
        assert_eq!(
            [shared(0), shared(1), shared(2), shared(3)],
            [true, false, true, true]
        );
    }
}
