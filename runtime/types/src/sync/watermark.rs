//! How far the log is durable: one thread advances the mark, any number of tasks wait for it.
//!
//! While nobody waits, neither side takes a lock. The hard part is the waiter that registers while
//! the mark passes. Each side first writes its own word and then reads the other's:
//!
//! ```text
//!   advance   durable   = p    fence    reads n_waiting
//!   waiter    n_waiting = n    fence    reads durable
//! ```
//!
//! Invariant: at least one of the two sees the other's write, so no waiter sleeps past its
//! position. The fences must be `SeqCst`: with less, each may read the other's old value. The mark
//! itself is `Release` when moved and `Acquire` when read, so that what was written before it moved
//! is visible to whoever sees it. The loom model below fails when either fence is taken out.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::primitives::{AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, fence, lock};
use crate::offset::Position;

/// See the module's description.
#[derive(Debug)]
pub struct Watermark {
    durable: AtomicU64,
    /// Length of the list of waiters, for a look without the lock.
    n_waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    /// One for each waiting future.
    list: Vec<Waiter>,
    next_id: u64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    position: Position,
    waker: Waker,
}

impl Watermark {
    /// A log of which everything below `durable` is on the disk.
    pub fn new(durable: Position) -> Self {
        Self {
            durable: AtomicU64::new(durable.get()),
            n_waiting: AtomicUsize::new(0),
            waiters: Mutex::new(Waiters::default()),
        }
    }

    /// The mark. What was written before it was advanced is visible to whoever reads it.
    pub fn durable(&self) -> Position {
        Position::new(self.durable.load(Ordering::Acquire))
    }

    /// Moves the mark and wakes those who waited for it. Only the thread that syncs calls this.
    ///
    /// # Panics
    /// If the mark would go back: what was reported durable stays so.
    pub fn advance(&self, position: Position) {
        let before = self.durable.swap(position.get(), Ordering::Release);
        assert!(before <= position.get(), "the durable mark goes back");
        fence(Ordering::SeqCst);
        if self.n_waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut waiters = lock(&self.waiters);
        let is_reached = |waiter: &mut Waiter| waiter.position <= position;
        let reached: Vec<_> = waiters.list.extract_if(.., is_reached).collect();
        self.count(&waiters);
        // Woken tasks may come straight back for the lock.
        drop(waiters);
        reached.into_iter().for_each(|waiter| waiter.waker.wake());
    }

    /// Waits until the mark is at `position` or beyond.
    ///
    /// Cancel safe. It has no deadline of its own: the caller of the request has one.
    pub fn reached(&self, position: Position) -> Reached<'_> {
        Reached { watermark: self, position, id: None }
    }

    /// To be called after each change of the list, before its lock is released.
    fn count(&self, waiters: &MutexGuard<'_, Waiters>) {
        self.n_waiting.store(waiters.list.len(), Ordering::Relaxed);
    }
}

impl Waiters {
    /// Adds a waiter, or renews its waker if it is still there.
    fn register(&mut self, id: &mut Option<u64>, position: Position, waker: &Waker) {
        let known = self.list.iter_mut().find(|waiter| Some(waiter.id) == *id);
        if let Some(known) = known {
            known.waker.clone_from(waker);
            return;
        }
        self.list.push(Waiter { id: self.next_id, position, waker: waker.clone() });
        *id = Some(self.next_id);
        self.next_id += 1;
    }
}

/// Resolves when a [`Watermark`] has reached a position.
#[derive(Debug)]
pub struct Reached<'w> {
    watermark: &'w Watermark,
    position: Position,
    id: Option<u64>,
}

impl Future for Reached<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<()> {
        let (watermark, position) = (self.watermark, self.position);
        if position <= watermark.durable() {
            return Poll::Ready(());
        }
        let mut waiters = lock(&watermark.waiters);
        waiters.register(&mut self.id, position, ctx.waker());
        watermark.count(&waiters);
        fence(Ordering::SeqCst);
        if position <= watermark.durable() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Reached<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut waiters = lock(&self.watermark.waiters);
        let waiter = waiters.list.extract_if(.., |waiter| waiter.id == id).next();
        self.watermark.count(&waiters);
        drop(waiters);
        drop(waiter);
    }
}

#[cfg(all(test, not(tidings_loom)))]
mod tests {
    use super::*;

    /// Each waiter must wake at its own position and not before; who gives up must leave the list.
    #[test]
    fn waiters_wake_at_their_own_position() {
        let watermark = Watermark::new(Position::new(0));
        let mut ctx = Context::from_waker(Waker::noop());
        let [mut at_8, mut at_9] = [8, 9].map(|at| watermark.reached(Position::new(at)));
        for position in [0, 7] {
            watermark.advance(Position::new(position));
            assert!(Pin::new(&mut at_8).poll(&mut ctx).is_pending());
            assert!(Pin::new(&mut at_9).poll(&mut ctx).is_pending());
        }
        assert_eq!(watermark.n_waiting.load(Ordering::Relaxed), 2);
        watermark.advance(Position::new(8));
        assert!(Pin::new(&mut at_8).poll(&mut ctx).is_ready());
        assert!(Pin::new(&mut at_9).poll(&mut ctx).is_pending());
        drop(at_9);
        assert_eq!(watermark.n_waiting.load(Ordering::Relaxed), 0);
        assert_eq!(watermark.durable(), Position::new(8));
    }

    #[test]
    #[should_panic(expected = "the durable mark goes back")]
    fn mark_never_goes_back() {
        let watermark = Watermark::new(Position::new(8));
        watermark.advance(Position::new(7));
    }
}

#[cfg(all(test, tidings_loom))]
mod models {
    use std::sync::Arc;

    use loom::future::block_on;
    use loom::thread;

    use super::*;
    use crate::sync::model::explore;

    /// A waiter must always wake, and then see what was written before the mark moved. Loom tries
    /// every order of the two threads; a lost wake-up shows as a deadlock.
    #[test]
    fn watermark_never_loses_a_waiter() {
        explore("durable watermark: a waiter beside the mark", || {
            let watermark = Arc::new(Watermark::new(Position::new(0)));
            let written = Arc::new(AtomicU64::new(0));
            let writer = thread::spawn({
                let (watermark, written) = (Arc::clone(&watermark), Arc::clone(&written));
                move || {
                    written.store(1, Ordering::Relaxed);
                    watermark.advance(Position::new(1));
                }
            });
            block_on(watermark.reached(Position::new(1)));
            assert_eq!(written.load(Ordering::Relaxed), 1);
            writer.join().unwrap();
        });
    }
}
