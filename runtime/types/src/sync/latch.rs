//! A thing that happens once and stays so: a node's shutdown.
//!
//! The flag is set while the lock is held, and a future looks at it and registers while it holds
//! the lock, so none registers after the wake. Beside the lock the flag is an atomic, for a look
//! without it: `Release` when set and `Acquire` when read, so that what was written before
//! [`Latch::set`] is visible to whoever saw it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::primitives::{AtomicBool, Mutex, Ordering, lock};
use super::wakers::{Slot, Wakers};

/// See the module's description. Clones are the same latch.
#[derive(Clone, Debug, Default)]
pub struct Latch {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_set: AtomicBool,
    wakers: Mutex<Wakers>,
}

impl Latch {
    /// Not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it and wakes all who wait. Again changes nothing.
    pub fn set(&self) {
        let mut wakers = lock(&self.shared.wakers);
        self.shared.is_set.store(true, Ordering::Release);
        let woken = wakers.take();
        drop(wakers);
        woken.for_each(|waker| waker.wake());
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.shared.is_set.load(Ordering::Acquire)
    }

    /// Waits until it is set. Cancel safe.
    pub fn wait(&self) -> LatchWait {
        LatchWait { latch: self.clone(), slot: None }
    }
}

/// Resolves when a [`Latch`] is set.
#[derive(Debug)]
pub struct LatchWait {
    latch: Latch,
    slot: Slot,
}

impl Future for LatchWait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<()> {
        let Self { latch, slot } = self.get_mut();
        let mut wakers = lock(&latch.shared.wakers);
        if latch.is_set() {
            // The wakers are gone, and the slot with them.
            *slot = None;
            return Poll::Ready(());
        }
        wakers.register(slot, ctx.waker());
        Poll::Pending
    }
}

impl Drop for LatchWait {
    fn drop(&mut self) {
        if self.slot.is_none() {
            return;
        }
        let mut wakers = lock(&self.latch.shared.wakers);
        if !self.latch.is_set() {
            let waker = wakers.forget(self.slot);
            // A waker's drop may free its task, which may hold another wait for this latch.
            drop(wakers);
            drop(waker);
        }
    }
}

#[cfg(all(test, not(tidings_loom)))]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Once set it must stay set, for those who waited and for those who come later.
    #[test]
    fn set_latch_stays_set() {
        let latch = Latch::new();
        let mut ctx = Context::from_waker(Waker::noop());
        let mut early = latch.wait();
        assert!(Pin::new(&mut early).poll(&mut ctx).is_pending());
        assert!(!latch.is_set());
        let other = latch.clone();
        latch.set();
        other.set();
        assert!(latch.is_set());
        for mut wait in [early, latch.wait()] {
            assert!(Pin::new(&mut wait).poll(&mut ctx).is_ready());
        }
    }

    /// A loop that waits anew in each round must not make the list of waiters grow.
    #[test]
    fn dropped_waits_free_their_slots() {
        let latch = Latch::new();
        let mut ctx = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            assert!(Pin::new(&mut latch.wait()).poll(&mut ctx).is_pending());
        }
        assert_eq!(latch.shared.wakers.lock().unwrap().n_slots(), 1);
    }
}

#[cfg(all(test, tidings_loom))]
mod models {
    use loom::future::block_on;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    use super::*;
    use crate::sync::model::explore;

    /// Who waits must wake and see what was written before; so must who only looks.
    #[test]
    fn no_waiter_is_lost() {
        explore("shutdown latch: waiters beside the set", || {
            let latch = Latch::new();
            let written = Arc::new(AtomicUsize::new(0));
            let setter = thread::spawn({
                let (latch, written) = (latch.clone(), Arc::clone(&written));
                move || {
                    written.store(1, Ordering::Relaxed);
                    latch.set();
                }
            });
            if latch.is_set() {
                assert_eq!(written.load(Ordering::Relaxed), 1);
            }
            block_on(latch.wait());
            assert_eq!(written.load(Ordering::Relaxed), 1);
            setter.join().unwrap();
        });
    }
}
