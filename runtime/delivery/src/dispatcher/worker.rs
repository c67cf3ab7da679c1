//! One worker as the dispatcher sees it: the batches that it holds, and how much it may hold.
//!
//! The window is adaptive: it begins at one event, doubles while full batches are quick, and halves
//! when one is slow. So a slow handler prefetches little, and little is held up by it.

use std::collections::VecDeque;
use std::time::Duration;

use tidings_types::id::WorkerId;
use tidings_types::limits::{BATCH_QUICK, BATCH_SLOW, DELIVERY_EVENTS_MAX, WORKER_WINDOW_EVENTS};

use crate::dispatcher::handed::HandedIdx;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    /// A batch is for one life of the worker.
    pub(super) life: u64,
    window: usize,
    n_out: usize,
    /// Batches that it has not ended, oldest first.
    pub(super) batches: VecDeque<HandedIdx>,
}

impl Worker {
    pub(super) const fn new(id: WorkerId, life: u64) -> Self {
        Self { id, life, window: 1, n_out: 0, batches: VecDeque::new() }
    }

    /// How many events a batch may have now. Does not dribble: unless the worker is idle, it waits
    /// for room that is worth a batch.
    pub(super) fn room(&self) -> usize {
        let room = self.window.saturating_sub(self.n_out);
        let is_worth_it = self.n_out == 0 || self.window / 4 <= room;
        if is_worth_it { room.min(DELIVERY_EVENTS_MAX) } else { 0 }
    }

    /// So many events of a batch are at the worker.
    pub(super) fn hand_out(&mut self, batch: HandedIdx, n_events: usize) {
        self.n_out += n_events;
        assert!(self.n_out <= WORKER_WINDOW_EVENTS, "a batch fits into the window");
        self.batches.push_back(batch);
    }

    /// So many events came back.
    pub(super) const fn take_back(&mut self, n_events: usize) {
        self.n_out -= n_events;
    }

    /// A batch of so many events has ended.
    pub(super) fn end(&mut self, batch: HandedIdx, n_events: usize, took: Duration) {
        self.batches.retain(|&other| other != batch);
        self.adapt(n_events, took);
    }

    /// A small batch that is quick says nothing about a large one.
    fn adapt(&mut self, n_events: usize, took: Duration) {
        let is_full = self.window.min(DELIVERY_EVENTS_MAX) <= 2 * n_events;
        if took < BATCH_QUICK && is_full {
            self.window = (self.window * 2).min(WORKER_WINDOW_EVENTS);
        } else if BATCH_SLOW < took {
            self.window = (self.window / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_batch(worker: &mut Worker, batch: HandedIdx, took: Duration) -> usize {
        let n_events = worker.room();
        worker.hand_out(batch, n_events);
        worker.take_back(n_events);
        worker.end(batch, n_events, took);
        assert!(worker.batches.is_empty());
        n_events
    }

    /// The window must open while batches are quick, close when they are slow, and never be 0.
    #[test]
    fn window_follows_the_batches() {
        let mut worker = Worker::new(WorkerId::new(1), 1);
        let quick = Duration::from_millis(1);
        let sizes: Vec<_> = (0..9).map(|n| run_batch(&mut worker, n, quick)).collect();
        assert_eq!(sizes, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        assert_eq!(worker.window, WORKER_WINDOW_EVENTS);
        let slow = Duration::from_millis(200);
        let sizes: Vec<_> = (10..20).map(|n| run_batch(&mut worker, n, slow)).collect();
        assert_eq!(sizes, [64, 64, 64, 32, 16, 8, 4, 2, 1, 1]);
    }
}
