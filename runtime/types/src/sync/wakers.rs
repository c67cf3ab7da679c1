//! The wakers of those who wait for one thing, one slot each.
//!
//! A future remembers its slot: polled again for other reasons it replaces its own waker, dropped
//! it frees the slot, so the set is never larger than the number of futures that wait. Looking for
//! an equal waker instead would cost a batch of n futures n² comparisons.

use std::task::Waker;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    slots: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// A future's place among the [`Wakers`]; `None` before it first waits.
pub(super) type Slot = Option<usize>;

impl Wakers {
    /// Sees to it that `waker` is woken.
    pub(super) fn register(&mut self, slot: &mut Slot, waker: &Waker) {
        let idx = *slot.get_or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() - 1
            })
        });
        let place = self.slots.get_mut(idx).expect("slots are only ever added");
        match place {
            Some(known) => known.clone_from(waker),
            None => *place = Some(waker.clone()),
        }
    }

    /// Frees the slot of a future that waits no more.
    pub(super) fn forget(&mut self, slot: Slot) -> Option<Waker> {
        let idx = slot?;
        self.free.push(idx);
        self.slots.get_mut(idx).expect("slots are only ever added").take()
    }

    /// Takes all wakers out, to be woken without the lock. No slot may be used afterwards.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        self.free = Vec::new();
        std::mem::take(&mut self.slots).into_iter().flatten()
    }
}

#[cfg(all(test, not(tidings_loom)))]
impl Wakers {
    pub(super) fn n_slots(&self) -> usize {
        self.slots.len()
    }
}
