//! The events of one group that are on their way, in one table that is used again and again.
//!
//! ```text
//!   Waiting ──▶ Out ──▶ Done ──▶ (settled)
//!      ▲         ├────▶ Dying ─▶ (settled)
//!      │         └────▶ Failing ─▶ Held ─▶ Out …
//!      └── Held ◀─ (its key is blocked)
//! ```
//!
//! Invariant: the counts per stage are those of the table, so that bounds can be asked for free.
//! Whatever waits for a hand-out has its event.

use tidings_types::layout::records::Event;
use tidings_types::limits::GROUP_UNCONFIRMED_EVENTS_MAX;
use tidings_types::offset::{Lane, LaneEpoch, Offset};

use crate::dispatcher::handed::{Handed, InBatch};
pub(super) use crate::dispatcher::track_id::TrackId;

/// Where an event is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// In its lane's queue.
    Waiting,
    /// Behind a key that is blocked, or in back-off.
    Held,
    /// At a worker.
    Out,
    /// Succeeded; this is not committed yet.
    Done,
    /// To be a dead letter; this is not committed yet.
    Dying,
    /// An attempt failed; this is not committed yet.
    Failing,
}

const N_STAGES: usize = 6;

/// One event on its way.
#[derive(Debug)]
pub(super) struct Tracked {
    /// Dropped once it succeeded. Not there yet if it was found at a worker before it was read.
    pub(super) event: Option<Event>,
    /// The event is there, or will be once it is read.
    pub(super) keeps_event: bool,
    pub(super) key_hash: u64,
    /// Counts up in the order of arrival: the order per key. Redriven events come before all others
    /// that wait.
    pub(super) order: u64,
    /// By which redrive of the group it came, if it was a dead letter before.
    pub(super) redrive: Option<u64>,
    pub(super) offset: Offset,
    /// Which mailbox of the group.
    pub(super) mailbox_idx: u32,
    /// Failed attempts that are committed.
    pub(super) attempts: u32,
    /// No attempt begins before.
    pub(super) retry_at_ms: u64,
    /// The epoch in which it was handed out last.
    pub(super) lane_epoch: LaneEpoch,
    /// Which hand-out of the group that was. An outcome is of one hand-out: the event may be out
    /// again, or have failed again, before the answer to its proposal is heard.
    pub(super) handed_as: u64,
    /// It was settled while it was elsewhere; whoever holds it lets go of it.
    pub(super) is_settled: bool,
    /// The batch in which it was handed out, until its outcome is in the log or cannot count.
    pub(super) in_batch: Option<InBatch>,
    stage: Stage,
}

impl Tracked {
    pub(super) const fn lane(&self) -> Lane {
        Lane::of(self.key_hash)
    }

    pub(super) const fn is_redriven(&self) -> bool {
        self.redrive.is_some()
    }

    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    /// It was found at a worker before it was read.
    pub(super) const fn is_unread(&self) -> bool {
        self.keeps_event && self.event.is_none()
    }
}

/// An event that comes into the table.
#[derive(Debug)]
pub(super) struct Arrival {
    /// Nothing if it is found at a worker before it is read.
    pub(super) event: Option<Event>,
    pub(super) key_hash: u64,
    pub(super) offset: Offset,
    pub(super) mailbox_idx: u32,
    pub(super) attempts: u32,
    pub(super) retry_at_ms: u64,
    pub(super) redrive: Option<u64>,
}

/// Orders from here on are of events that are not redriven.
const FIRST_ORDER: u64 = 1 << 63;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Option<Tracked>>,
    free: Vec<TrackId>,
    n_arrived: u64,
    n_handed: u64,
    /// Of those that wait.
    n_redriven: usize,
    counts: [usize; N_STAGES],
    /// The batches in which they were handed out.
    pub(super) handed: Handed,
}

impl Table {
    /// A new event waits.
    pub(super) fn arrive(&mut self, arrival: Arrival) -> TrackId {
        let Arrival { event, key_hash, offset, mailbox_idx, attempts, retry_at_ms, redrive } =
            arrival;
        let is_redriven = redrive.is_some();
        let first_order = if is_redriven { 0 } else { FIRST_ORDER };
        let tracked = Tracked {
            event,
            keeps_event: true,
            key_hash,
            order: first_order + self.n_arrived,
            redrive,
            offset,
            mailbox_idx,
            attempts,
            retry_at_ms,
            lane_epoch: LaneEpoch::ZERO,
            handed_as: 0,
            is_settled: false,
            in_batch: None,
            stage: Stage::Waiting,
        };
        self.n_arrived += 1;
        self.n_redriven += usize::from(is_redriven);
        *self.count_mut(Stage::Waiting) += 1;
        if let Some(id) = self.free.pop() {
            let row = self.rows.get_mut(id.0 as usize).expect("a free row is a row");
            *row = Some(tracked);
            return id;
        }
        let id = TrackId(u32::try_from(self.rows.len()).expect("a group's events are bounded"));
        self.rows.push(Some(tracked));
        id
    }

    /// An event that was found at a worker is read: only now has it its place in the order, behind
    /// all that stand before it in its topic.
    pub(super) fn read(&mut self, id: TrackId, event: Event) {
        let order = FIRST_ORDER + self.n_arrived;
        self.n_arrived += 1;
        let tracked = self.get_mut(id);
        assert!(tracked.is_unread(), "an event is read once");
        tracked.order = order;
        tracked.event = Some(event);
    }

    /// The event is out of the way.
    pub(super) fn forget(&mut self, id: TrackId) {
        let row = self.rows.get_mut(id.0 as usize).expect("an id is of this table");
        let tracked = row.take().expect("an id is forgotten once");
        *self.count_mut(tracked.stage) -= 1;
        let was_waiting = tracked.is_redriven() && tracked.stage == Stage::Waiting;
        self.n_redriven -= usize::from(was_waiting);
        self.free.push(id);
        if let Some(place) = tracked.in_batch {
            self.handed.let_go(place);
        }
    }

    pub(super) fn get(&self, id: TrackId) -> &Tracked {
        let row = self.rows.get(id.0 as usize).and_then(Option::as_ref);
        row.expect("whoever holds an id keeps its event in the table")
    }

    pub(super) fn get_mut(&mut self, id: TrackId) -> &mut Tracked {
        let row = self.rows.get_mut(id.0 as usize).and_then(Option::as_mut);
        row.expect("whoever holds an id keeps its event in the table")
    }

    /// The event is no longer of this batch, if it was.
    pub(super) fn detach(&mut self, id: TrackId, place: InBatch) {
        if let Some(Some(tracked)) = self.rows.get_mut(id.0 as usize) {
            tracked.in_batch.take_if(|other| *other == place);
        }
    }

    /// An event that waits again is in no batch: its outcome is in the log or cannot count.
    pub(super) fn move_to(&mut self, id: TrackId, stage: Stage) {
        let is_back = matches!(stage, Stage::Waiting | Stage::Held);
        self.n_handed += u64::from(stage == Stage::Out);
        let n_handed = self.n_handed;
        let tracked = self.get_mut(id);
        if stage == Stage::Out {
            tracked.handed_as = n_handed;
        }
        let before = std::mem::replace(&mut tracked.stage, stage);
        let let_go = tracked.in_batch.take_if(|_| is_back);
        if tracked.is_redriven() {
            self.n_redriven += usize::from(stage == Stage::Waiting);
            self.n_redriven -= usize::from(before == Stage::Waiting);
        }
        *self.count_mut(before) -= 1;
        *self.count_mut(stage) += 1;
        if let Some(place) = let_go {
            self.handed.let_go(place);
        }
    }

    pub(super) const fn n_waiting(&self) -> usize {
        self.count(Stage::Waiting)
    }

    pub(super) const fn n_out(&self) -> usize {
        self.count(Stage::Out)
    }

    /// Held up by a back-off, their own or their key's.
    pub(super) const fn n_held(&self) -> usize {
        self.count(Stage::Held) + self.count(Stage::Failing)
    }

    /// Handed to a worker and not settled, without those that are held.
    pub(super) const fn n_unconfirmed(&self) -> usize {
        self.count(Stage::Out) + self.count(Stage::Done) + self.count(Stage::Dying)
    }

    /// Attempted, with an outcome that is not committed; without those that wait for room, where
    /// there is none.
    pub(super) const fn n_uncommitted(&self, has_no_room: bool) -> usize {
        let n_dying = if has_no_room { 0 } else { self.count(Stage::Dying) };
        self.count(Stage::Done) + n_dying + self.count(Stage::Failing)
    }

    /// Redriven events that wait.
    pub(super) const fn n_redriven(&self) -> usize {
        self.n_redriven
    }

    /// How many more may be handed out. Dead letters that there is no room for do not count: what
    /// makes room must go out.
    pub(super) const fn n_confirmable(&self, has_no_room: bool) -> usize {
        let n_stuck = if has_no_room { self.count(Stage::Dying) } else { 0 };
        GROUP_UNCONFIRMED_EVENTS_MAX.saturating_sub(self.n_unconfirmed() - n_stuck)
    }

    const fn count(&self, stage: Stage) -> usize {
        let [waiting, held, out, done, dying, failing] = self.counts;
        match stage {
            Stage::Waiting => waiting,
            Stage::Held => held,
            Stage::Out => out,
            Stage::Done => done,
            Stage::Dying => dying,
            Stage::Failing => failing,
        }
    }

    const fn count_mut(&mut self, stage: Stage) -> &mut usize {
        let [waiting, held, out, done, dying, failing] = &mut self.counts;
        match stage {
            Stage::Waiting => waiting,
            Stage::Held => held,
            Stage::Out => out,
            Stage::Done => done,
            Stage::Dying => dying,
            Stage::Failing => failing,
        }
    }
}
