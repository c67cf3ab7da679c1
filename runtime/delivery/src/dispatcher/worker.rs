//! One worker as the dispatcher sees it: the batches that it holds, and how much it may hold.
//!
//! The window is adaptive: it begins at one event, doubles while full batches are quick, and halves
//! when one is slow. So a slow handler prefetches little, and little is held up by it.

use std::collections::VecDeque;

use tidings_types::id::WorkerId;
use tidings_types::limits::{BATCH_QUICK, BATCH_SLOW, DELIVERY_EVENTS_MAX, WORKER_WINDOW_EVENTS};

use crate::dispatcher::tracked::TrackId;
use crate::session::{BatchId, Report};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    window: usize,
    n_out: usize,
    /// Oldest first.
    batches: VecDeque<Batch>,
}

#[derive(Debug)]
struct Batch {
    id: BatchId,
    ids: Vec<TrackId>,
    /// So many of them, from the front, have their outcome.
    n_reported: usize,
}

impl Worker {
    pub(super) const fn new(id: WorkerId) -> Self {
        Self { id, window: 1, n_out: 0, batches: VecDeque::new() }
    }

    /// How many events a batch may have now. Does not dribble: unless the worker is idle, it waits
    /// for room that is worth a batch.
    pub(super) fn room(&self) -> usize {
        let room = self.window.saturating_sub(self.n_out);
        let is_worth_it = self.n_out == 0 || self.window / 4 <= room;
        if is_worth_it { room.min(DELIVERY_EVENTS_MAX) } else { 0 }
    }

    pub(super) fn hand_out(&mut self, batch: BatchId, ids: Vec<TrackId>) {
        self.n_out += ids.len();
        assert!(self.n_out <= WORKER_WINDOW_EVENTS, "a batch fits into the window");
        self.batches.push_back(Batch { id: batch, ids, n_reported: 0 });
    }

    /// The events that a report speaks of, in its order; `None` if the batch is not out.
    ///
    /// # Panics
    /// If the report names more events than the batch has left, or fewer although it is the last.
    pub(super) fn take_reported(&mut self, report: &Report) -> Option<Vec<TrackId>> {
        let place = self.batches.iter().position(|batch| batch.id == report.batch)?;
        let batch = self.batches.get_mut(place).expect("just found");
        let end = batch.n_reported + report.outcomes.len();
        let ids = batch.ids.get(batch.n_reported..end);
        let ids = ids.expect("a report names what is out").to_vec();
        batch.n_reported = end;
        self.n_out -= ids.len();
        if report.is_last {
            assert_eq!(end, batch.ids.len(), "the last report leaves nothing out");
            let n_events = batch.ids.len();
            self.batches.remove(place);
            self.adapt(n_events, report);
        }
        Some(ids)
    }

    /// All that it holds, in the order of delivery: it is gone.
    pub(super) fn into_ids(self) -> impl Iterator<Item = TrackId> {
        let rest = |batch: Batch| batch.ids.into_iter().skip(batch.n_reported);
        self.batches.into_iter().flat_map(rest)
    }

    /// A small batch that is quick says nothing about a large one.
    fn adapt(&mut self, n_events: usize, report: &Report) {
        let is_full = self.window.min(DELIVERY_EVENTS_MAX) <= 2 * n_events;
        if report.took < BATCH_QUICK && is_full {
            self.window = (self.window * 2).min(WORKER_WINDOW_EVENTS);
        } else if BATCH_SLOW < report.took {
            self.window = (self.window / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_types::id::TopicId;
    use tidings_types::offset::{LaneEpoch, Offset};

    use super::*;
    use crate::session::{Outcome, Verdict};

    fn run_batch(worker: &mut Worker, batch: u64, took: Duration) -> usize {
        let n_events = worker.room();
        let batch = BatchId::new(batch);
        worker.hand_out(batch, vec![TrackId::default(); n_events]);
        let outcome = Outcome {
            topic: TopicId::new(1),
            offset: Offset::ZERO,
            lane_epoch: LaneEpoch::ZERO,
            attempt: 1,
            verdict: Verdict::Done,
            took,
        };
        let outcomes = vec![outcome; n_events];
        let report = Report { batch, outcomes, is_last: true, took };
        assert_eq!(worker.take_reported(&report).map(|ids| ids.len()), Some(n_events));
        assert_eq!(worker.take_reported(&report), None);
        n_events
    }

    /// The window must open while batches are quick, close when they are slow, and never be 0.
    #[test]
    fn window_follows_the_batches() {
        let mut worker = Worker::new(WorkerId::new(1));
        let quick = Duration::from_millis(1);
        let sizes: Vec<_> = (0..9).map(|n| run_batch(&mut worker, n, quick)).collect();
        assert_eq!(sizes, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        assert_eq!(worker.window, WORKER_WINDOW_EVENTS);
        let slow = Duration::from_millis(200);
        let sizes: Vec<_> = (10..20).map(|n| run_batch(&mut worker, n, slow)).collect();
        assert_eq!(sizes, [64, 64, 64, 32, 16, 8, 4, 2, 1, 1]);
    }
}
