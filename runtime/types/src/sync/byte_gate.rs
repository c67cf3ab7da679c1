//! Admission by bytes: what callers hand in is bounded before it is queued.
//!
//! Who finds room takes it without a lock. Who does not waits in line, and while anybody waits no
//! newcomer overtakes: small events would otherwise starve a large one for ever. Only the first in
//! line may take; it then wakes the next. The hard part is the waiter that lines up while bytes
//! come back. Each side first writes its own word and then reads the other's:
//!
//! ```text
//!   release   free      += n    fence    reads n_waiting
//!   waiter    n_waiting  = k    fence    reads free
//! ```
//!
//! Invariant: at least one of the two sees the other's write, so no waiter sleeps beside free
//! bytes. The fences must be `SeqCst`: with less, each may read the other's old value. All else is
//! `Relaxed`, because the count guards no memory: bytes are only ever counted.

use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::primitives::{AtomicUsize, Mutex, Ordering, fence, lock};

/// See the module's description. Clones share the same bytes.
#[derive(Clone, Debug)]
pub struct ByteGate {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    capacity: usize,
    free: AtomicUsize,
    /// Length of the line, for a look without the lock.
    n_waiting: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// First come, first served. One for each caller that waits.
    waiters: VecDeque<Waiter>,
    next_id: u64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    waker: Waker,
}

impl ByteGate {
    /// A gate that lets `capacity` bytes in at a time.
    pub fn new(capacity: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                capacity,
                free: AtomicUsize::new(capacity),
                n_waiting: AtomicUsize::new(0),
                line: Mutex::new(Line::default()),
            }),
        }
    }

    /// Takes `n_bytes`, unless they are not free or somebody waits already.
    ///
    /// # Panics
    /// If `n_bytes` is more than the gate ever has.
    pub fn try_acquire(&self, n_bytes: usize) -> Option<Permit> {
        let shared = &self.shared;
        assert!(n_bytes <= shared.capacity, "{n_bytes} bytes exceed the gate's capacity");
        // A waiter that is not seen here lines up at this very moment; either may be the first.
        if shared.n_waiting.load(Ordering::Relaxed) > 0 || !shared.take(n_bytes) {
            return None;
        }
        Some(Permit { gate: self.clone(), n_bytes })
    }

    /// Waits for `n_bytes`. Cancel safe: who gives up leaves the line.
    ///
    /// # Panics
    /// When polled, if `n_bytes` is more than the gate ever has.
    pub fn acquire(&self, n_bytes: usize) -> Acquire {
        Acquire { gate: self.clone(), n_bytes, id: None }
    }

    /// Bytes that are let in and not yet released; only to be shown.
    pub fn n_held(&self) -> usize {
        self.shared.capacity - self.shared.free.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn take(&self, n_bytes: usize) -> bool {
        let taken = |free: usize| free.checked_sub(n_bytes);
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    fn release(&self, n_bytes: usize) {
        self.free.fetch_add(n_bytes, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.n_waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let first = lock(&self.line).first();
        wake(first);
    }

    /// To be called after each change of the line, before its lock is released.
    fn count(&self, line: &Line) {
        self.n_waiting.store(line.waiters.len(), Ordering::Relaxed);
    }
}

impl Line {
    fn first(&self) -> Option<Waker> {
        self.waiters.front().map(|waiter| waiter.waker.clone())
    }

    fn is_first(&self, id: u64) -> bool {
        self.waiters.front().is_some_and(|waiter| waiter.id == id)
    }

    fn enter(&mut self, waker: &Waker) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waiters.push_back(Waiter { id, waker: waker.clone() });
        id
    }

    fn renew(&mut self, id: u64, waker: &Waker) {
        let mut waiters = self.waiters.iter_mut();
        let waiter = waiters.find(|waiter| waiter.id == id).expect("only its future removes it");
        waiter.waker.clone_from(waker);
    }
}

/// Wakes without the lock: the woken task may come straight back for it.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Resolves with a [`Permit`].
#[derive(Debug)]
pub struct Acquire {
    gate: ByteGate,
    n_bytes: usize,
    /// Its place in the line, while it stands there.
    id: Option<u64>,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Permit> {
        if self.id.is_none()
            && let Some(permit) = self.gate.try_acquire(self.n_bytes)
        {
            return Poll::Ready(permit);
        }
        let gate = self.gate.clone();
        let mut line = lock(&gate.shared.line);
        let id = match self.id {
            None => line.enter(ctx.waker()),
            Some(id) => {
                line.renew(id, ctx.waker());
                id
            }
        };
        self.id = Some(id);
        gate.shared.count(&line);
        fence(Ordering::SeqCst);
        if !line.is_first(id) || !gate.shared.take(self.n_bytes) {
            return Poll::Pending;
        }
        self.id = None;
        line.waiters.pop_front();
        gate.shared.count(&line);
        let first = line.first();
        drop(line);
        wake(first);
        Poll::Ready(Permit { gate, n_bytes: self.n_bytes })
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut line = lock(&self.gate.shared.line);
        let was_first = line.is_first(id);
        line.waiters.retain(|waiter| waiter.id != id);
        self.gate.shared.count(&line);
        // It may have been woken for bytes that the next one can use.
        let first = if was_first { line.first() } else { None };
        drop(line);
        wake(first);
    }
}

/// Bytes that were let in. They come back when it is dropped, so it travels with what they hold.
#[derive(Debug)]
pub struct Permit {
    gate: ByteGate,
    n_bytes: usize,
}

impl Permit {
    /// Takes over the bytes of another permit of the same gate.
    ///
    /// # Panics
    /// If it is of another gate.
    pub fn merge(&mut self, mut other: Self) {
        assert!(Arc::ptr_eq(&self.gate.shared, &other.gate.shared), "permits of two gates");
        self.n_bytes += mem::take(&mut other.n_bytes);
    }

    /// How many bytes it holds.
    pub const fn n_bytes(&self) -> usize {
        self.n_bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.n_bytes > 0 {
            self.gate.shared.release(self.n_bytes);
        }
    }
}

#[cfg(all(test, not(tidings_loom)))]
mod tests {
    use super::*;

    fn poll(future: &mut Acquire) -> Poll<Permit> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn ready(future: &mut Acquire) -> Permit {
        match poll(future) {
            Poll::Ready(permit) => permit,
            Poll::Pending => panic!("the bytes are free and nobody waits before"),
        }
    }

    /// A small caller must not overtake a large one that waits, or the large one starves.
    #[test]
    fn callers_are_served_in_line() {
        let gate = ByteGate::new(10);
        let held = gate.try_acquire(8).unwrap();
        let mut large = gate.acquire(10);
        let mut small = gate.acquire(1);
        assert!(poll(&mut large).is_pending());
        assert!(poll(&mut small).is_pending());
        assert!(gate.try_acquire(1).is_none());
        drop(held);
        assert!(poll(&mut small).is_pending());
        let permit = ready(&mut large);
        assert!(poll(&mut small).is_pending());
        drop(permit);
        drop(ready(&mut small));
        assert_eq!(gate.n_held(), 0);
    }

    /// Who gives up must not block those behind, neither first in line nor further back.
    #[test]
    fn cancelled_callers_leave_the_line() {
        let gate = ByteGate::new(10);
        let held = gate.try_acquire(9).unwrap();
        let [mut a, mut b, mut c] = [2, 2, 1].map(|n_bytes| gate.acquire(n_bytes));
        for future in [&mut a, &mut b, &mut c] {
            assert!(poll(future).is_pending());
        }
        drop(b);
        drop(a);
        drop(ready(&mut c));
        drop(held);
        assert_eq!(gate.try_acquire(10).unwrap().n_bytes(), 10);
    }

    /// Bytes must come back once, as many as were taken, whichever permit holds them in the end.
    #[test]
    fn merged_permits_release_all_bytes_once() {
        let gate = ByteGate::new(10);
        let mut all = gate.try_acquire(0).unwrap();
        for n_bytes in [1, 2, 3] {
            all.merge(gate.try_acquire(n_bytes).unwrap());
        }
        assert_eq!((all.n_bytes(), gate.n_held()), (6, 6));
        assert!(gate.try_acquire(5).is_none());
        drop(all);
        assert_eq!(gate.n_held(), 0);
    }
}

#[cfg(all(test, tidings_loom))]
mod models {
    use loom::future::block_on;
    use loom::thread;

    use super::*;
    use crate::sync::model::explore;

    /// A release beside a caller who lines up must wake it; a lost wake-up shows as a deadlock.
    /// Fails when either fence is taken out.
    #[test]
    fn no_waiter_sleeps_beside_free_bytes() {
        explore("credit: a waiter beside a release", || {
            let gate = ByteGate::new(2);
            let held = gate.try_acquire(2).unwrap();
            let releaser = thread::spawn(move || drop(held));
            let permit = block_on(gate.acquire(1));
            assert_eq!(permit.n_bytes(), 1);
            releaser.join().unwrap();
            drop(permit);
            assert_eq!(gate.n_held(), 0);
        });
    }

    /// Two callers take turns at the same bytes: never both at once, and both in the end.
    #[test]
    fn bytes_are_never_held_twice() {
        explore("credit: two callers take turns", || {
            let gate = ByteGate::new(2);
            let use_gate = |gate: ByteGate| {
                let permit = block_on(gate.acquire(2));
                assert_eq!(gate.n_held(), 2);
                drop(permit);
            };
            let other = thread::spawn({
                let gate = gate.clone();
                move || use_gate(gate)
            });
            use_gate(gate.clone());
            other.join().unwrap();
            assert_eq!(gate.n_held(), 0);
        });
    }

    /// One release must serve all who find room: who is woken first wakes the next. Both keep what
    /// they got, so that no further release helps; and the second is looked at before the first, so
    /// that it gets there by that wake alone.
    #[test]
    fn one_release_serves_two() {
        explore("credit: one release serves two", || {
            let gate = ByteGate::new(2);
            let held = gate.try_acquire(2).unwrap();
            let mut line = [gate.acquire(1), gate.acquire(1)];
            let mut ctx = Context::from_waker(Waker::noop());
            assert!(line.iter_mut().all(|wait| Pin::new(wait).poll(&mut ctx).is_pending()));
            let releaser = thread::spawn(move || drop(held));
            let mut permits = [None, None];
            block_on(std::future::poll_fn(|ctx| {
                for (wait, permit) in line.iter_mut().zip(&mut permits).rev() {
                    if permit.is_none()
                        && let Poll::Ready(got) = Pin::new(wait).poll(ctx)
                    {
                        *permit = Some(got);
                    }
                }
                if permits.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
            }));
            releaser.join().unwrap();
            assert_eq!(gate.n_held(), 2);
            drop(permits);
            assert_eq!(gate.n_held(), 0);
        });
    }

    /// A caller who gives up while it is woken must pass the wake-up on to the one behind.
    #[test]
    fn cancelled_waiter_passes_the_wake_on() {
        explore("credit: a waiter gives up", || {
            let gate = ByteGate::new(1);
            let held = gate.try_acquire(1).unwrap();
            let mut gives_up = gate.acquire(1);
            let mut ctx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut gives_up).poll(&mut ctx).is_pending());
            let canceller = thread::spawn(move || {
                drop(held);
                drop(gives_up);
            });
            drop(block_on(gate.acquire(1)));
            canceller.join().unwrap();
            assert_eq!(gate.n_held(), 0);
        });
    }
}
