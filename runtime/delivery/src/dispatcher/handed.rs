//! The batches that were handed out, until every outcome in them is in the log or cannot count.
//!
//! A member keeps each outcome until it is told that nobody will ask for it again. So a batch stays
//! here until all its places are let go, and each place that was let go is told once.

use std::num::NonZeroU32;

use tidings_types::id::WorkerId;
use tidings_types::limits::{DELIVERY_EVENTS_MAX, RESUME_BATCHES_MAX};

use crate::dispatcher::track_id::TrackId;
use crate::session::BatchId;

/// The place of a batch in the table.
pub(super) type HandedIdx = u32;

/// Where an event that was handed out stands in its batch. One number, because each event on its way
/// carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InBatch(NonZeroU32);

impl InBatch {
    pub(super) fn new(batch: HandedIdx, place: u32) -> Self {
        let number = (batch + 1) * PLACES + place;
        Self(NonZeroU32::new(number).expect("it counts from 1"))
    }

    const fn batch(self) -> HandedIdx {
        self.0.get() / PLACES - 1
    }

    const fn bit(self) -> u64 {
        1 << (self.0.get() % PLACES)
    }
}

/// Places in a batch.
const PLACES: u32 = u64::BITS;
const _: () = assert!(DELIVERY_EVENTS_MAX <= PLACES as usize, "each place has a bit");
const _: () = assert!(
    RESUME_BATCHES_MAX * 1_000 < (u32::MAX / PLACES) as usize,
    "the batches of a thousand members have numbers that fit"
);

/// A batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: BatchId,
    /// Whose crew.
    pub(super) crew: u32,
    pub(super) worker: WorkerId,
    /// By place; nothing where the event is none of ours to follow.
    pub(super) places: Vec<Option<TrackId>>,
    /// So many of them, from the front, have their outcome.
    pub(super) n_reported: usize,
    /// Nothing more will be reported of it.
    pub(super) is_ended: bool,
    /// Places that are not let go.
    open: u64,
    /// Places that were let go and not told.
    untold: u64,
    is_dirty: bool,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Handed {
    batches: Vec<Option<Batch>>,
    free: Vec<HandedIdx>,
    /// Batches to look at at the end of the step.
    dirty: Vec<HandedIdx>,
}

impl Handed {
    /// Where the next batch will be.
    pub(super) fn next_idx(&self) -> HandedIdx {
        let behind = || HandedIdx::try_from(self.batches.len());
        let idx = self.free.last().copied().map_or_else(behind, Ok);
        idx.expect("a group's events are bounded")
    }

    /// A batch is out. So many places in front have their outcome already, and those that are closed
    /// are let go already.
    pub(super) fn add(
        &mut self,
        (id, crew, worker): (BatchId, u32, WorkerId),
        closed: u64,
        places: Vec<Option<TrackId>>,
        n_reported: usize,
    ) {
        let open = (u64::MAX >> (64 - places.len())) & !closed;
        let is_ended = n_reported == places.len();
        let (untold, is_dirty) = (0, false);
        let batch =
            Batch { id, crew, worker, places, n_reported, is_ended, open, untold, is_dirty };
        match self.free.pop() {
            Some(idx) => {
                *self.batches.get_mut(idx as usize).expect("a free row is a row") = Some(batch);
            }
            None => self.batches.push(Some(batch)),
        }
    }

    pub(super) fn get(&self, idx: HandedIdx) -> &Batch {
        let batch = self.batches.get(idx as usize).and_then(Option::as_ref);
        batch.expect("whoever holds an index keeps its batch in the table")
    }

    pub(super) fn get_mut(&mut self, idx: HandedIdx) -> &mut Batch {
        let batch = self.batches.get_mut(idx as usize).and_then(Option::as_mut);
        batch.expect("whoever holds an index keeps its batch in the table")
    }

    /// The outcome at this place is in the log, or can never count.
    pub(super) fn let_go(&mut self, at: InBatch) {
        let idx = at.batch();
        let batch = self.get_mut(idx);
        batch.open &= !at.bit();
        batch.untold |= at.bit();
        if !std::mem::replace(&mut batch.is_dirty, true) {
            self.dirty.push(idx);
        }
    }

    /// Nothing more will be reported of the batch.
    pub(super) fn end(&mut self, idx: HandedIdx) {
        let batch = self.get_mut(idx);
        batch.is_ended = true;
        if !std::mem::replace(&mut batch.is_dirty, true) {
            self.dirty.push(idx);
        }
    }

    /// What is to be told: whose crew, which batch, which places. Batches that are through leave.
    pub(super) fn tell(&mut self, mut each: impl FnMut(u32, BatchId, u64)) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for idx in dirty.drain(..) {
            // One that was taken out is still in the list.
            let Some(batch) = self.batches.get_mut(idx as usize).and_then(Option::as_mut) else {
                continue;
            };
            if !std::mem::take(&mut batch.is_dirty) {
                continue;
            }
            let untold = std::mem::take(&mut batch.untold);
            if untold != 0 {
                each(batch.crew, batch.id, untold);
            }
            if batch.open == 0 && batch.is_ended {
                self.remove(idx);
            }
        }
        self.dirty = dirty;
    }

    /// The batches of a crew.
    pub(super) fn of_crew(&self, crew: u32) -> Vec<HandedIdx> {
        let is_its = |batch: &Option<Batch>| batch.as_ref().is_some_and(|it| it.crew == crew);
        let batches = (0..).zip(&self.batches);
        batches.filter(|(_, batch)| is_its(batch)).map(|(idx, _)| idx).collect()
    }

    /// The batch is out of the way, untold.
    pub(super) fn remove(&mut self, idx: HandedIdx) -> Batch {
        let batch = self.batches.get_mut(idx as usize).and_then(Option::take);
        self.free.push(idx);
        batch.expect("a batch is taken out once")
    }
}
