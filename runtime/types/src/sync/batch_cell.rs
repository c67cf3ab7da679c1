//! The answer to one batch: set once, awaited by the futures of all its events.
//!
//! One lock for the value and the wakers: whoever completes takes both in one critical section, and
//! a future looks for the value and registers in one, so none registers after the wake. The lock
//! orders memory too: what was written before [`BatchCell::complete`] is visible to each future
//! that got the value. Wakers are woken outside the lock, because a woken task may come straight
//! back for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::primitives::{Mutex, lock};
use super::wakers::{Slot, Wakers};

/// See the module's description.
#[derive(Debug)]
pub struct BatchCell<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    wakers: Wakers,
}

impl<T> Default for BatchCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> BatchCell<T> {
    /// A cell without a value.
    pub fn new() -> Self {
        Self { state: Mutex::new(State { value: None, wakers: Wakers::default() }) }
    }

    /// Sets the value and wakes all futures at once.
    ///
    /// # Panics
    /// At the second call: an answer that was given is never replaced.
    pub fn complete(&self, value: T) {
        let mut state = lock(&self.state);
        assert!(state.value.is_none(), "a batch is answered once");
        state.value = Some(value);
        let wakers = state.wakers.take();
        drop(state);
        wakers.for_each(|waker| waker.wake());
    }
}

impl<T: Clone> BatchCell<T> {
    /// The value, if there is one.
    pub fn peek(&self) -> Option<T> {
        lock(&self.state).value.clone()
    }

    /// Waits for the value. Cancel safe; it has no deadline of its own.
    pub fn wait(self: &Arc<Self>) -> Waiting<T> {
        Waiting { cell: Arc::clone(self), slot: None }
    }
}

/// Resolves with the value of a [`BatchCell`].
#[derive(Debug)]
pub struct Waiting<T> {
    cell: Arc<BatchCell<T>>,
    slot: Slot,
}

impl<T: Clone> Future for Waiting<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<T> {
        let Self { cell, slot } = self.get_mut();
        let mut state = lock(&cell.state);
        if let Some(value) = &state.value {
            // The wakers are gone, and the slot with them.
            *slot = None;
            return Poll::Ready(value.clone());
        }
        state.wakers.register(slot, ctx.waker());
        Poll::Pending
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        if self.slot.is_none() {
            return;
        }
        let mut state = lock(&self.cell.state);
        if state.value.is_none() {
            let waker = state.wakers.forget(self.slot);
            // A waker's drop may free its task, which may hold another future of this cell.
            drop(state);
            drop(waker);
        }
    }
}

#[cfg(all(test, not(tidings_loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<F: Future + Unpin>(future: &mut F, count: &Arc<Count>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(count));
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    /// One completion must wake each future once, however often it was polled before, and only
    /// through its last waker; a future that comes later must not wait at all.
    #[test]
    fn completion_wakes_each_future_once() {
        let cell = Arc::new(BatchCell::new());
        let (first, last) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let mut futures: Vec<_> = (0..9).map(|_| cell.wait()).collect();
        for future in &mut futures {
            assert!(poll(future, &first).is_pending());
            assert!(poll(future, &last).is_pending());
        }
        assert_eq!(cell.peek(), None);
        cell.complete(7);
        assert_eq!(first.0.load(Ordering::Relaxed), 0);
        assert_eq!(last.0.load(Ordering::Relaxed), 9);
        for future in futures.iter_mut().chain([&mut cell.wait()]) {
            assert_eq!(poll(future, &last), Poll::Ready(7));
        }
        assert_eq!(cell.peek(), Some(7));
    }

    /// Callers who give up must leave nothing behind, or a batch without an answer grows for ever.
    #[test]
    fn dropped_futures_free_their_slots() {
        let cell = Arc::new(BatchCell::<u8>::new());
        let count = Arc::new(Count::default());
        let mut stays = cell.wait();
        assert!(poll(&mut stays, &count).is_pending());
        for _ in 0..100 {
            assert!(poll(&mut cell.wait(), &count).is_pending());
        }
        assert_eq!(Arc::strong_count(&count), 2);
        cell.complete(7);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mut stays, &count), Poll::Ready(7));
    }
}

#[cfg(all(test, tidings_loom))]
mod models {
    use loom::future::block_on;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    use super::*;
    use crate::sync::model::explore;

    /// Two waiters must wake whatever the order, and see what was written before the completion.
    /// A lost wake-up shows as a deadlock.
    #[test]
    fn no_waiter_is_lost() {
        explore("batch cell: waiters beside the answer", || {
            let cell = Arc::new(BatchCell::new());
            let written = Arc::new(AtomicUsize::new(0));
            let completer = thread::spawn({
                let (cell, written) = (Arc::clone(&cell), Arc::clone(&written));
                move || {
                    written.store(1, Ordering::Relaxed);
                    cell.complete(7);
                }
            });
            let other = thread::spawn({
                let cell = Arc::clone(&cell);
                move || block_on(cell.wait())
            });
            assert_eq!(block_on(cell.wait()), 7);
            assert_eq!(written.load(Ordering::Relaxed), 1);
            assert_eq!(other.join().unwrap(), 7);
            completer.join().unwrap();
        });
    }

    /// A future that is dropped while the batch completes must neither panic nor take another's
    /// wake-up along.
    #[test]
    fn dropping_beside_completion_is_safe() {
        explore("batch cell: dropped beside the answer", || {
            let cell = Arc::new(BatchCell::new());
            let mut dropped = cell.wait();
            let waker = std::task::Waker::noop();
            assert!(Pin::new(&mut dropped).poll(&mut Context::from_waker(waker)).is_pending());
            let completer = thread::spawn({
                let cell = Arc::clone(&cell);
                move || cell.complete(7)
            });
            let dropper = thread::spawn(move || drop(dropped));
            assert_eq!(block_on(cell.wait()), 7);
            completer.join().unwrap();
            dropper.join().unwrap();
        });
    }
}
