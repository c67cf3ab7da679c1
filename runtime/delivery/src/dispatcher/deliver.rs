//! Pulling events into the queues, and handing them out in batches.
//!
//! Bounds: at most [`GROUP_WAITING_EVENTS_MAX`] wait, at most [`GROUP_UNCONFIRMED_EVENTS_MAX`] are
//! handed out and not settled. What waits or is out may yet be held, so it is pulled only if it
//! could be held with all the others within [`GROUP_HELD_EVENTS_MAX`].
//!
//! [`GROUP_UNCONFIRMED_EVENTS_MAX`]: tidings_types::limits::GROUP_UNCONFIRMED_EVENTS_MAX

use tidings_types::bugs::{Bug, is_planted};
use tidings_types::effect::{Accepted, Placed};
use tidings_types::id::{TopicId, WorkerId};
use tidings_types::layout::records::Records;
use tidings_types::limits::{
    DELIVERY_BYTES_MAX, GROUP_HELD_EVENTS_MAX, GROUP_WAITING_EVENTS_MAX, READ_STEP_BYTES,
};
use tidings_types::offset::Offset;

use crate::dispatcher::group::Group;
use crate::dispatcher::handed::InBatch;
use crate::dispatcher::mailbox::{Fresh, Mailbox};
use crate::dispatcher::port::{Output, Pause, ReadResult, Story};
use crate::dispatcher::proposals::Step;
use crate::dispatcher::queues::Which;
use crate::dispatcher::tracked::{Arrival, Table, TrackId, Tracked};
use crate::lanes::{Owner, Place};
use crate::message::ToMember;
use crate::session::{BatchId, Delivery};

/// Events that are pulled from one mailbox before the next one has its turn.
const PULL_STEP: usize = 256;
/// Bytes of one group that were fetched and not looked at, as soon as there are any.
const FETCHED_BYTES_MAX: usize = 8 * READ_STEP_BYTES;
/// Reads of one group that are out.
const READS_OUT_MAX: usize = 8;
/// Rest after a read that found nothing although there is something.
const REST_AFTER_END_MS: u64 = 20;
/// Rest after a read that failed.
const REST_AFTER_FAILURE_MS: u64 = 1_000;

impl Group {
    /// New events of a topic that the group reads.
    pub(super) fn accept(&mut self, accepted: &Accepted) {
        let Some(&idx) = self.mailbox_idxs.get(&accepted.placed.topic) else { return };
        let has_room = self.is_open() && self.reading.fetched_bytes < FETCHED_BYTES_MAX;
        let mailbox = self.mailbox_mut(idx);
        let n_bytes = mailbox.accept(accepted, has_room);
        self.reading.fetched_bytes += n_bytes;
        self.look_again_at(idx);
    }

    /// The mailbox has its turn, if it has anything.
    pub(super) fn look_again_at(&mut self, idx: u32) {
        let mailbox = self.mailbox_mut(idx);
        if !mailbox.is_queued && mailbox.is_hungry() {
            mailbox.is_queued = true;
            self.reading.hungry.push_back(idx);
        }
    }

    /// Mailboxes have rested.
    pub(super) fn wake_mailboxes(&mut self, now_ms: u64) {
        let mailboxes = &self.mailboxes;
        let is_resting = |&idx: &u32| {
            let mailbox = mailboxes.get(idx as usize);
            mailbox.is_some_and(|mailbox| now_ms < mailbox.read_after_ms)
        };
        let (resting, rested) = self.reading.resting.iter().partition(|idx| is_resting(idx));
        let rested: Vec<u32> = rested;
        self.reading.resting = resting;
        for idx in rested {
            self.look_again_at(idx);
        }
    }

    fn room(&self) -> usize {
        // Redriven events are bounded among the dead letters.
        let n_waiting = self.table.n_waiting() - self.table.n_redriven();
        let n_holdable = self.table.n_held() + n_waiting + self.table.n_out();
        let to_wait = GROUP_WAITING_EVENTS_MAX.saturating_sub(n_waiting);
        to_wait.min(GROUP_HELD_EVENTS_MAX.saturating_sub(n_holdable))
    }

    /// Pulls what there is room for. Says whether anything came.
    pub(super) fn pull(&mut self, step: &mut Step<'_>) -> bool {
        let mut n_pulled = 0;
        // Each mailbox that had nothing to give is looked at once.
        let mut n_left = self.reading.hungry.len();
        while 0 < n_left {
            let room = self.room();
            if room == 0 {
                break;
            }
            let Some(idx) = self.reading.hungry.pop_front() else { break };
            let n = self.pull_from(idx, room.min(PULL_STEP), step);
            n_pulled += n;
            let goes_on = self.mailbox_mut(idx).has_fetched() || !self.try_read(idx, step);
            if goes_on {
                self.reading.hungry.push_back(idx);
            } else {
                self.mailbox_mut(idx).is_queued = false;
            }
            if n == 0 || !goes_on {
                n_left -= 1;
            }
        }
        0 < n_pulled
    }

    fn pull_from(&mut self, idx: u32, n_max: usize, step: &mut Step<'_>) -> usize {
        let mailbox = self.mailbox_mut(idx);
        let n_bytes_before = mailbox.fetched_bytes();
        let mut n_pulled = 0;
        while n_pulled < n_max {
            match self.mailbox_mut(idx).next_event() {
                Ok(Some(fresh)) => self.track(idx, fresh, step.now_ms),
                Ok(None) => break,
                Err(malformed) => {
                    self.rest(idx, malformed.to_string(), step);
                    break;
                }
            }
            n_pulled += 1;
        }
        let n_bytes = n_bytes_before - self.mailbox_mut(idx).fetched_bytes();
        self.reading.fetched_bytes -= n_bytes;
        n_pulled
    }

    fn track(&mut self, mailbox_idx: u32, fresh: Fresh, now_ms: u64) {
        let Fresh { offset, event, attempts, retry_at_ms } = fresh;
        let mailbox = self.mailbox_mut(mailbox_idx);
        if mailbox.was_found(offset)
            && let Some(id) = mailbox.window.get(offset)
        {
            return self.read_found(id, event, now_ms);
        }
        let arrival = Arrival {
            key_hash: event.key_hash,
            event: Some(event),
            offset,
            mailbox_idx,
            attempts,
            retry_at_ms,
            redrive: None,
        };
        let id = self.arrive(arrival);
        self.mailbox_mut(mailbox_idx).window.insert(offset, id);
    }

    /// Asks for a read if the mailbox needs one. `false`: it needs one and must wait for its turn.
    fn try_read(&mut self, idx: u32, step: &mut Step<'_>) -> bool {
        let is_budget_left = self.reading.n_reads_out < READS_OUT_MAX;
        let group = self.id;
        let mailbox = self.mailbox_mut(idx);
        mailbox.skip_settled();
        if !mailbox.needs_read(step.now_ms) {
            return true;
        }
        if !is_budget_left {
            return false;
        }
        let (topic, from) = (mailbox.topic, mailbox.begin_read());
        self.reading.n_reads_out += 1;
        step.out.push(Output::Read { group, topic, from, max_bytes: READ_STEP_BYTES });
        true
    }

    /// The answer to a read.
    pub(super) fn end_read(
        &mut self,
        (topic, from): (TopicId, Offset),
        result: ReadResult,
        step: &mut Step<'_>,
    ) {
        let Some(&idx) = self.mailbox_idxs.get(&topic) else { return };
        if !self.mailbox_mut(idx).is_reading_from(from) {
            return;
        }
        self.reading.n_reads_out -= 1;
        match result {
            ReadResult::Blocks(blocks) => self.take_blocks(idx, &blocks, step),
            ReadResult::End => {
                let now_ms = step.now_ms;
                self.mailbox_mut(idx).fail_read(now_ms + REST_AFTER_END_MS);
                self.reading.resting.push(idx);
            }
            ReadResult::Failed(message) => self.rest(idx, message, step),
        }
    }

    fn take_blocks(&mut self, idx: u32, blocks: &[(Placed, Records)], step: &mut Step<'_>) {
        match self.mailbox_mut(idx).end_read(blocks) {
            Ok(n_bytes) => {
                self.reading.fetched_bytes += n_bytes;
                self.look_again_at(idx);
                let (group, mailbox) = (self.id, self.mailbox_mut(idx));
                if std::mem::take(&mut mailbox.is_failing) {
                    let (topic, at) = (mailbox.topic, mailbox.next());
                    let why = Pause::ReadFailed { topic, at, message: String::new() };
                    step.out.push(Output::Told(Story::Resumed { group, why }));
                }
            }
            Err(why) => self.rest(idx, why.to_owned(), step),
        }
    }

    /// Events cannot be read: says so, and tries again later. Nothing is ever passed over.
    fn rest(&mut self, idx: u32, message: String, step: &mut Step<'_>) {
        let group = self.id;
        let mailbox = self.mailbox_mut(idx);
        mailbox.fail_read(step.now_ms + REST_AFTER_FAILURE_MS);
        if !mailbox.is_failing {
            mailbox.is_failing = true;
            let why = Pause::ReadFailed { topic: mailbox.topic, at: mailbox.next(), message };
            step.out.push(Output::Told(Story::Paused { group, why }));
        }
        self.reading.resting.push(idx);
    }

    /// Hands out what can be. Says whether anything went.
    pub(super) fn deliver(&mut self, step: &mut Step<'_>) -> bool {
        let n_crews = self.crews.len();
        let mut n_delivered = 0;
        for _ in 0..n_crews {
            let crew_idx = self.crew_idx % n_crews;
            self.crew_idx = crew_idx + 1;
            n_delivered += self.deliver_to_crew(crew_idx, step);
        }
        0 < n_delivered
    }

    fn deliver_to_crew(&mut self, crew_idx: usize, step: &mut Step<'_>) -> usize {
        let crew = self.crews.get_mut(crew_idx).expect("just taken modulo their number");
        if !crew.is_open() {
            return 0;
        }
        let owner = Owner::try_from(crew_idx).expect("nodes are few");
        let mut n_delivered = 0;
        let mut n_without_room = 0;
        while self.lanes.has_ready(owner) {
            let crew = self.crew_mut(owner);
            if crew.workers.len() <= n_without_room {
                break;
            }
            let worker_idx = crew.worker_idx % crew.workers.len();
            crew.worker_idx = worker_idx + 1;
            let worker = crew.workers.get(worker_idx).expect("just taken modulo their number");
            let room = worker.room().min(self.table.n_confirmable(self.outbox.is_full));
            let room = room.min(self.breaker.room(step.now_ms));
            if room == 0 {
                n_without_room += 1;
                continue;
            }
            n_without_room = 0;
            n_delivered += self.deliver_to((owner, worker_idx), room, step);
        }
        if 0 < n_without_room && is_planted(Bug::DropOnFull) {
            self.drop_one(owner, step.now_ms);
        }
        n_delivered
    }

    fn deliver_to(
        &mut self,
        (owner, worker_idx): (Owner, usize),
        room: usize,
        step: &mut Step<'_>,
    ) -> usize {
        let worker = self.crew(owner).workers.get(worker_idx).expect("the caller has seen it");
        let (worker, life) = (worker.id, worker.life);
        let which = if self.outbox.is_full { Which::Redriven } else { Which::All };
        let idx = self.table.handed.next_idx();
        let mut deliveries = Vec::with_capacity(room.min(self.table.n_waiting().max(1)));
        let mut ids = Vec::with_capacity(deliveries.capacity());
        let mut redriven = Vec::new();
        let mut n_bytes = 0;
        let mut is_full = false;
        while !is_full && ids.len() < room {
            let Some((lane, lane_epoch)) = self.lanes.next_ready(owner) else { break };
            let n_before = ids.len();
            let (table, now_ms) = (&mut self.table, step.now_ms);
            while let Some(front) = self.queues.front(lane, table, now_ms, which) {
                let n_more = size_of(front.id, table);
                is_full =
                    ids.len() == room || (!ids.is_empty() && DELIVERY_BYTES_MAX < n_bytes + n_more);
                if is_full {
                    break;
                }
                n_bytes += n_more;
                self.queues.take(lane, front, table);
                let tracked = table.get_mut(front.id);
                tracked.lane_epoch = lane_epoch;
                let place = ids.len() as u32;
                tracked.in_batch = Some(InBatch::new(idx, place));
                redriven.extend(tracked.redrive.map(|number| (place, number)));
                deliveries.push(delivery(tracked, &self.mailboxes));
                ids.push(Some(front.id));
            }
            if n_before < ids.len() {
                self.lanes.lend(lane, Place { owner, worker }, ids.len() - n_before);
            } else if is_full {
                self.lanes.want(lane);
            }
        }
        let n_delivered = ids.len();
        if let Some(&Some(first)) = ids.first() {
            let handed_as = self.table.get(first).handed_as;
            self.breaker.handed_out(handed_as, step.now_ms);
            let batch = step.batches.next();
            if is_planted(Bug::CursorBeforeEffect) {
                ids.iter().flatten().for_each(|&id| self.ack_early(id));
            }
            self.hand_out((owner, worker), (batch, 0), ids, 0);
            let group = self.id;
            let message = ToMember::Deliver { group, worker, life, batch, deliveries, redriven };
            self.tell(owner, message, step);
        }
        n_delivered
    }

    /// The events of a batch are at a worker, but for those in front that have come back already.
    /// Nobody waits for what becomes of those that are closed.
    pub(super) fn hand_out(
        &mut self,
        (owner, worker): (Owner, WorkerId),
        (batch, closed): (BatchId, u64),
        ids: Vec<Option<TrackId>>,
        n_ended: usize,
    ) {
        let n_out = ids.len() - n_ended;
        let idx = self.table.handed.next_idx();
        self.table.handed.add((batch, owner, worker), closed, ids, n_ended);
        let worker = self.crew_mut(owner).worker_mut(worker);
        if let Some(worker) = worker.filter(|_| 0 < n_out) {
            worker.hand_out(idx, n_out);
        }
    }

    /// Tells a member that is on the line.
    pub(super) fn tell(&self, owner: Owner, message: ToMember, step: &mut Step<'_>) {
        let crew = self.crew(owner);
        if let Some(session) = crew.session {
            step.out.push(Output::Tell { member: crew.node, session, message });
        }
    }

    /// The planted bug of an ack before the work.
    pub(super) fn ack_early(&mut self, id: TrackId) {
        let tracked = self.table.get(id);
        let (offset, mailbox_idx) = (tracked.offset, tracked.mailbox_idx);
        self.mailbox_mut(mailbox_idx).outcomes.done.push(offset);
        self.outbox.mailboxes.insert(mailbox_idx);
    }

    /// The planted bug of an event that finds no room and is forgotten.
    fn drop_one(&mut self, owner: Owner, now_ms: u64) {
        let Some((lane, _)) = self.lanes.next_ready(owner) else { return };
        if let Some(front) = self.queues.front(lane, &mut self.table, now_ms, Which::All) {
            self.queues.take(lane, front, &mut self.table);
            self.queues.unblock(front.id, &mut self.table, now_ms);
            self.untrack(front.id);
        }
        self.want(lane);
    }
}

fn size_of(id: TrackId, table: &Table) -> usize {
    let event = table.get(id).event.as_ref();
    event.expect("what waits has its event").encoded_bytes()
}

fn delivery(tracked: &Tracked, mailboxes: &[Mailbox]) -> Delivery {
    let mailbox = mailboxes.get(tracked.mailbox_idx as usize);
    Delivery {
        topic: mailbox.expect("mailboxes are never taken away").topic,
        offset: tracked.offset,
        lane_epoch: tracked.lane_epoch,
        attempt: tracked.attempts.saturating_add(1),
        event: tracked.event.clone().expect("what waits has its event"),
    }
}
