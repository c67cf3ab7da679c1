//! What the standard library's queue has only since Rust 1.93.

use std::collections::VecDeque;

/// Takes the first element if the test likes it.
pub(crate) fn pop_front_if<T>(queue: &mut VecDeque<T>, test: impl FnOnce(&T) -> bool) -> Option<T> {
    if test(queue.front()?) { queue.pop_front() } else { None }
}
