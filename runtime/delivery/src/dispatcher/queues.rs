//! The events that wait, by lane, and the keys that are blocked.
//!
//! ```text
//!   lane:  redriven ─┐
//!          returned ─┴▶ fifo ─▶ handed out      (what returned was handed out before)
//!   blocked key:  front │ held │ held …          (in the order of arrival)
//!                   └ failing, in back-off, due, tried once more alone, or dying
//! ```
//!
//! Invariant: each queue is in the order of arrival. Of one key, all that is out, blocked or returned
//! arrived before all that is in the fifo, but for what was found at a worker when its member resumed:
//! it may have gone out before events in front of it are read. A key is blocked from the failure of an event until that event has succeeded or its dead
//! letter is committed; only the event itself is tried meanwhile. Other keys of the lane go on.
//!
//! Redriven events go before what waits, so behind their key's current event. They may pass one
//! that is dying: it has its outcome, and perhaps waits for the room that they make.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use tidings_types::effect::NEVER_MS;
use tidings_types::layout::records::Event;
use tidings_types::limits::LANES;
use tidings_types::offset::Lane;

use crate::dispatcher::tracked::{Stage, Table, TrackId};

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Empty until something waits: most groups are served elsewhere or are idle.
    lanes: Vec<LaneQueue>,
    /// When a key's back-off ends. Entries that no longer hold are harmless.
    timers: BinaryHeap<Reverse<(u64, u64)>>,
}

#[derive(Debug, Default)]
struct LaneQueue {
    fifo: VecDeque<TrackId>,
    returned: Vec<TrackId>,
    /// In the order in which they were redriven.
    redriven: VecDeque<TrackId>,
    blocked: BTreeMap<u64, VecDeque<TrackId>>,
    /// Keys whose front may be tried again.
    due: VecDeque<u64>,
}

/// What a lane hands out next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front {
    pub(super) id: TrackId,
    from: From,
}

#[derive(Clone, Copy, Debug)]
enum From {
    /// The front of a blocked key that may be tried again.
    Due,
    Redriven {
        idx: usize,
    },
    Fifo,
}

/// What may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// There is no room for dead letters, and only these make some.
    Redriven,
}

impl Queues {
    /// A new event waits behind all others of its lane, or of the redriven ones.
    pub(super) fn push(&mut self, lane: Lane, id: TrackId, is_redriven: bool) {
        let queue = self.lane_mut(lane);
        if is_redriven { queue.redriven.push_back(id) } else { queue.fifo.push_back(id) }
    }

    /// The lane has something that could be handed out.
    pub(super) fn has_work(&self, lane: Lane) -> bool {
        self.lanes.get(lane.idx()).is_some_and(LaneQueue::has_work)
    }

    /// The event of the lane that is handed out next, without taking it.
    ///
    /// Clears away what is in front of it: events that are settled meanwhile, and those that are
    /// held up by their key, which move behind it. Only for a lane of which nothing is out.
    pub(super) fn front(
        &mut self,
        lane: Lane,
        table: &mut Table,
        now_ms: u64,
        which: Which,
    ) -> Option<Front> {
        let due = self.lane_mut(lane).due_front(table, now_ms, which);
        let front = due.or_else(|| self.redriven_front(lane, table, now_ms));
        if front.is_some() || which == Which::Redriven {
            return front;
        }
        self.lane_mut(lane).take_back_returned(table);
        self.fifo_front(lane, table, now_ms)
    }

    fn fifo_front(&mut self, lane: Lane, table: &mut Table, now_ms: u64) -> Option<Front> {
        loop {
            let queue = self.lane_mut(lane);
            let id = *queue.fifo.front()?;
            let tracked = table.get(id);
            let (key_hash, retry_at_ms) = (tracked.key_hash, tracked.retry_at_ms);
            if tracked.is_settled {
                queue.fifo.pop_front();
                table.forget(id);
            } else if let Some(key) = queue.blocked.get_mut(&key_hash) {
                insert(key, id, table);
                queue.fifo.pop_front();
                table.move_to(id, Stage::Held);
            } else if now_ms < retry_at_ms {
                queue.fifo.pop_front();
                self.rest(id, table);
            } else {
                return Some(Front { id, from: From::Fifo });
            }
        }
    }

    fn redriven_front(&mut self, lane: Lane, table: &mut Table, now_ms: u64) -> Option<Front> {
        let mut idx = 0;
        loop {
            let queue = self.lane_mut(lane);
            let id = *queue.redriven.get(idx)?;
            let tracked = table.get(id);
            let blocking = queue.blocked.get(&tracked.key_hash).and_then(VecDeque::front);
            let blocking = blocking.map(|&front| table.get(front).stage());
            if tracked.is_settled {
                queue.redriven.remove(idx);
                table.forget(id);
            } else if blocking.is_some_and(|stage| stage != Stage::Dying) {
                idx += 1;
            } else if now_ms < tracked.retry_at_ms {
                queue.redriven.remove(idx);
                self.rest(id, table);
            } else {
                return Some(Front { id, from: From::Redriven { idx } });
            }
        }
    }

    /// The event blocks its key until its back-off ends.
    fn rest(&mut self, id: TrackId, table: &mut Table) {
        self.block(id, Stage::Held, table);
        let tracked = table.get(id);
        self.ring(tracked.retry_at_ms, tracked.key_hash);
    }

    /// The key is looked at then; a paused one when a person says so.
    fn ring(&mut self, at_ms: u64, key_hash: u64) {
        if at_ms < NEVER_MS {
            self.timers.push(Reverse((at_ms, key_hash)));
        }
    }

    /// Takes what [`front`](Self::front) has just shown.
    pub(super) fn take(&mut self, lane: Lane, front: Front, table: &mut Table) {
        let queue = self.lane_mut(lane);
        match front.from {
            // It stays in front of its key.
            From::Due => drop(queue.due.pop_front()),
            From::Redriven { idx } => drop(queue.redriven.remove(idx)),
            From::Fifo => drop(queue.fifo.pop_front()),
        }
        table.move_to(front.id, Stage::Out);
    }

    /// An event that waits or is held is found at a worker: it leaves its queue, or keeps its place
    /// in front of its key.
    pub(super) fn take_found(&mut self, id: TrackId, table: &mut Table) {
        let tracked = table.get(id);
        if tracked.stage() == Stage::Waiting {
            let queue = self.lane_mut(tracked.lane());
            queue.fifo.retain(|&other| other != id);
            queue.returned.retain(|&other| other != id);
            queue.redriven.retain(|&other| other != id);
        }
        table.move_to(id, Stage::Out);
    }

    /// An event that was found at a worker is read. If it blocks its key, it goes to its place.
    pub(super) fn read(&mut self, id: TrackId, event: Event, table: &mut Table, now_ms: u64) {
        let tracked = table.get(id);
        let (lane, key_hash, stage) = (tracked.lane(), tracked.key_hash, tracked.stage());
        let key = self.lane_mut(lane).blocked.get_mut(&key_hash);
        let place = key.as_ref().and_then(|key| key.iter().position(|&other| other == id));
        if let (Some(key), Some(place)) = (key, place) {
            key.remove(place);
        }
        table.read(id, event);
        if place.is_some() {
            self.block(id, stage, table);
            self.look_at_key(lane, key_hash, table, now_ms);
        }
    }

    /// An event comes back without an attempt.
    pub(super) fn give_back(&mut self, id: TrackId, table: &mut Table, now_ms: u64) {
        let tracked = table.get(id);
        let (lane, key_hash) = (tracked.lane(), tracked.key_hash);
        if self.lane_mut(lane).blocked.contains_key(&key_hash) {
            self.block(id, Stage::Held, table);
            self.look_at_key(lane, key_hash, table, now_ms);
        } else {
            self.lane_mut(lane).wait_again(id, table);
        }
    }

    /// Blocks the event's key with the event in its place, which is the front as a rule.
    pub(super) fn block(&mut self, id: TrackId, stage: Stage, table: &mut Table) {
        table.move_to(id, stage);
        let tracked = table.get(id);
        let (lane, key_hash) = (tracked.lane(), tracked.key_hash);
        insert(self.lane_mut(lane).blocked.entry(key_hash).or_default(), id, table);
    }

    /// The event is through: its key goes on, if the event has blocked it.
    pub(super) fn unblock(&mut self, id: TrackId, table: &mut Table, now_ms: u64) {
        let tracked = table.get(id);
        let (lane, key_hash) = (tracked.lane(), tracked.key_hash);
        let Some(key) = self.lane_mut(lane).blocked.get_mut(&key_hash) else { return };
        let Some(place) = key.iter().position(|&other| other == id) else { return };
        key.remove(place);
        self.look_at_key(lane, key_hash, table, now_ms);
    }

    /// Decides what a blocked key waits for, by its front.
    pub(super) fn look_at_key(
        &mut self,
        lane: Lane,
        key_hash: u64,
        table: &mut Table,
        now_ms: u64,
    ) {
        let queue = self.lane_mut(lane);
        let Some(key) = queue.blocked.get(&key_hash) else { return };
        let Some(&front) = key.front() else {
            queue.blocked.remove(&key_hash);
            return;
        };
        let tracked = table.get(front);
        let retry_at_ms = tracked.retry_at_ms;
        if tracked.stage() != Stage::Held {
            return;
        }
        let is_held = |&id: &TrackId| table.get(id).stage() == Stage::Held;
        if now_ms < retry_at_ms {
            self.ring(retry_at_ms, key_hash);
        } else if 0 < tracked.attempts || !key.iter().all(is_held) {
            queue.due.push_back(key_hash);
        } else {
            let key = queue.blocked.remove(&key_hash).expect("just seen");
            for id in key {
                queue.wait_again(id, table);
            }
        }
    }

    /// Looks at a key whose back-off has ended. Gives its lane; `None` when no more has ended.
    pub(super) fn fire_timer(&mut self, table: &mut Table, now_ms: u64) -> Option<Lane> {
        let &Reverse((at_ms, key_hash)) = self.timers.peek()?;
        if now_ms < at_ms {
            return None;
        }
        self.timers.pop();
        let lane = Lane::of(key_hash);
        self.look_at_key(lane, key_hash, table, now_ms);
        Some(lane)
    }

    /// When the next back-off ends.
    pub(super) fn next_timer_ms(&self) -> Option<u64> {
        self.timers.peek().map(|&Reverse((at_ms, _))| at_ms)
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut LaneQueue {
        if self.lanes.is_empty() {
            self.lanes.resize_with(LANES, LaneQueue::default);
        }
        self.lanes.get_mut(lane.idx()).expect("a lane is a byte and there are 256 queues")
    }
}

impl LaneQueue {
    fn has_work(&self) -> bool {
        let is_idle = self.fifo.is_empty() && self.returned.is_empty();
        !is_idle || !self.redriven.is_empty() || !self.due.is_empty()
    }

    /// The first key whose front may be tried again. Keys of which that is no longer true leave.
    fn due_front(&mut self, table: &Table, now_ms: u64, which: Which) -> Option<Front> {
        let mut n_left = self.due.len();
        while 0 < n_left {
            n_left -= 1;
            let &key_hash = self.due.front()?;
            let front = self.blocked.get(&key_hash).and_then(VecDeque::front);
            let is_due = |id: &TrackId| {
                let tracked = table.get(*id);
                tracked.stage() == Stage::Held && tracked.retry_at_ms <= now_ms
            };
            let Some(&id) = front.filter(|id| is_due(id)) else {
                self.due.pop_front();
                continue;
            };
            if which == Which::All || table.get(id).is_redriven() {
                return Some(Front { id, from: From::Due });
            }
            self.due.rotate_left(1);
        }
        None
    }

    /// An event that was taken waits again.
    fn wait_again(&mut self, id: TrackId, table: &mut Table) {
        table.move_to(id, Stage::Waiting);
        let tracked = table.get(id);
        if tracked.is_redriven() {
            let is_before = |&other: &TrackId| table.get(other).order < tracked.order;
            let idx = self.redriven.partition_point(is_before);
            self.redriven.insert(idx, id);
        } else {
            self.returned.push(id);
        }
    }

    /// What came back goes to its place, which is in front as a rule.
    fn take_back_returned(&mut self, table: &Table) {
        let order = |&id: &TrackId| table.get(id).order;
        self.returned.sort_unstable_by_key(order);
        let Some(last) = self.returned.last().map(order) else { return };
        if self.fifo.front().is_some_and(|front| order(front) < last) {
            self.fifo.extend(self.returned.drain(..));
            self.fifo.make_contiguous().sort_unstable_by_key(order);
            return;
        }
        for id in self.returned.drain(..).rev() {
            self.fifo.push_front(id);
        }
    }
}

/// Puts an event into its place among those of its key.
fn insert(key: &mut VecDeque<TrackId>, id: TrackId, table: &Table) {
    let order = table.get(id).order;
    let place = key.partition_point(|&other| table.get(other).order < order);
    // The event that was tried alone is in its place already.
    if key.get(place) != Some(&id) {
        key.insert(place, id);
    }
}
