//! What workers tell: each event's verdict becomes an outcome to propose, or brings it back.

use std::mem;

use bytes::Bytes;
use tidings_types::bugs::{Bug, is_planted};
use tidings_types::id::{ProducerId, Sequence, TopicId, WorkerId};
use tidings_types::layout::acks::{Failure, cut_message};
use tidings_types::layout::command::{DeadLetter, DeadReason};
use tidings_types::layout::records::{Event, RecordsBuilder};
use tidings_types::layout::turn::Turn;

use crate::dispatcher::breaker::Attempt;
use crate::dispatcher::group::Group;
use crate::dispatcher::handed::{HandedIdx, InBatch};
use crate::dispatcher::port::{Output, Story};
use crate::dispatcher::proposals::{KeptFailure, KeptLetter, KeptTurn, Step};
use crate::dispatcher::tracked::{Stage, TrackId};
use crate::dispatcher::worker::Worker;
use crate::lanes::{Owner, Place};
use crate::message::BadMessage;
use crate::session::{Outcome, Report, Verdict};

impl Group {
    /// A worker begins, or begins anew.
    pub(super) fn worker_up(&mut self, crew: Owner, worker: WorkerId, life: u64, now_ms: u64) {
        self.worker_down(crew, worker, now_ms);
        self.crew_mut(crew).workers.push(Worker::new(worker, life));
    }

    /// A worker is gone: what it held comes back without an attempt.
    pub(super) fn worker_down(&mut self, crew: Owner, worker: WorkerId, now_ms: u64) {
        let workers = &mut self.crew_mut(crew).workers;
        let Some(place) = workers.iter().position(|other| other.id == worker) else { return };
        let gone = workers.remove(place);
        for idx in gone.batches {
            let batch = self.table.handed.get_mut(idx);
            let rest = batch.places.get_mut(batch.n_reported..).unwrap_or_default();
            let rest: Vec<_> = rest.iter_mut().filter_map(Option::take).collect();
            self.table.handed.end(idx);
            for id in rest {
                let from = Place { owner: crew, worker };
                self.come_back(id, from, now_ms, |group| group.come_unstarted(id, now_ms));
            }
        }
    }

    /// Nothing that is at the crew's workers counts any more: it comes back without an attempt. What
    /// they have told already goes on its way.
    pub(super) fn retract(&mut self, crew: Owner, now_ms: u64) {
        for idx in self.table.handed.of_crew(crew) {
            let batch = self.table.handed.remove(idx);
            let from = Place { owner: crew, worker: batch.worker };
            for (place, id) in (0..).zip(batch.places) {
                let Some(id) = id else { continue };
                self.table.detach(id, InBatch::new(idx, place));
                if batch.n_reported <= place as usize {
                    self.come_back(id, from, now_ms, |group| group.come_unstarted(id, now_ms));
                }
            }
        }
        for worker in &mut self.crew_mut(crew).workers {
            *worker = Worker::new(worker.id, worker.life);
        }
    }

    /// A worker tells what became of events. Reports of batches that are not out are passed over:
    /// their events came back when their worker went down or their member was taken out.
    ///
    /// # Errors
    /// If it does not speak of the next events of its batch; then nothing is taken of it.
    pub(super) fn report(
        &mut self,
        crew: Owner,
        worker: WorkerId,
        mut report: Report,
        step: &mut Step<'_>,
    ) -> Result<(), BadMessage> {
        let now_ms = step.now_ms;
        let Some((idx, ids)) = self.take_reported(crew, worker, &report)? else { return Ok(()) };
        let first = self.table.handed.get(idx).n_reported - ids.len();
        let from = Place { owner: crew, worker };
        for ((id, outcome), place) in ids.into_iter().zip(&mut report.outcomes).zip(first..) {
            match id {
                Some(id) => self.come_back(id, from, now_ms, |group| {
                    group.judge(id, outcome, now_ms);
                }),
                None => {
                    let place = u32::try_from(place).expect("a batch is short");
                    self.table.handed.let_go(InBatch::new(idx, place));
                }
            }
        }
        let Report { outcomes, .. } = report;
        if !outcomes.is_empty() {
            let (group, member) = (self.id, self.crew(crew).node);
            step.out.push(Output::Told(Story::Outcomes { group, member, worker, outcomes }));
        }
        Ok(())
    }

    /// The events that a report speaks of, in its order; `None` if the batch is not out.
    fn take_reported(
        &mut self,
        crew: Owner,
        worker: WorkerId,
        report: &Report,
    ) -> Result<Option<Reported>, BadMessage> {
        let Self { crews, table, .. } = self;
        let crew = crews.get_mut(crew as usize).expect("crews are never taken away");
        let Some(worker) = crew.worker_mut(worker) else { return Ok(None) };
        let is_it = |&&idx: &&HandedIdx| table.handed.get(idx).id == report.batch;
        let Some(&idx) = worker.batches.iter().find(is_it) else { return Ok(None) };
        let batch = table.handed.get(idx);
        let end = batch.n_reported + report.outcomes.len();
        let ids = batch.places.get(batch.n_reported..end);
        let (Some(ids), false) = (ids, report.is_last && end < batch.places.len()) else {
            return Err(BadMessage::OtherBatch { batch: report.batch });
        };
        for (id, outcome) in ids.iter().zip(&report.outcomes) {
            // Of what it says beside the verdict, nothing else is believed.
            if id.is_some_and(|id| table.get(id).offset != outcome.offset) {
                return Err(BadMessage::OtherBatch { batch: report.batch });
            }
        }
        let (ids, n_events) = (ids.to_vec(), batch.places.len());
        table.handed.get_mut(idx).n_reported = end;
        worker.take_back(ids.len());
        if report.is_last {
            worker.end(idx, n_events, report.took);
            table.handed.end(idx);
        }
        Ok(Some((idx, ids)))
    }

    /// The lane of an event has one event less out, and goes on if it was the last.
    fn come_back(&mut self, id: TrackId, from: Place, now_ms: u64, then: impl FnOnce(&mut Self)) {
        let tracked = self.table.get(id);
        let (lane, handed_as, is_settled) = (tracked.lane(), tracked.handed_as, tracked.is_settled);
        let is_free = self.lanes.give_back(lane, from);
        if is_settled {
            // Settled while it was out: whatever the worker says comes too late.
            self.breaker.ended(handed_as, false, Attempt::Unstarted, now_ms);
            self.queues.unblock(id, &mut self.table, now_ms);
            self.table.forget(id);
        } else {
            then(self);
        }
        if is_free {
            self.want(lane);
        }
    }

    /// The event comes back without a word of it.
    fn come_unstarted(&mut self, id: TrackId, now_ms: u64) {
        let handed_as = self.table.get(id).handed_as;
        self.breaker.ended(handed_as, false, Attempt::Unstarted, now_ms);
        self.give_back(id, now_ms);
    }

    /// The event waits again, as if it had never been handed out.
    pub(super) fn give_back(&mut self, id: TrackId, now_ms: u64) {
        let tracked = self.table.get(id);
        let lane = tracked.lane();
        if tracked.is_unread() {
            // It comes when it is read.
            self.queues.unblock(id, &mut self.table, now_ms);
            self.untrack(id);
        } else {
            self.queues.give_back(id, &mut self.table, now_ms);
        }
        self.want(lane);
    }

    /// Decides by the verdict on an event that is out, and is out nowhere else.
    pub(super) fn judge(&mut self, id: TrackId, outcome: &mut Outcome, now_ms: u64) {
        let is_ours = self.is_current(id);
        let tracked = self.table.get(id);
        let (handed_as, is_first) = (tracked.handed_as, tracked.attempts == 0);
        self.breaker.ended(handed_as, is_first, attempt_of(&outcome.verdict), now_ms);
        match &mut outcome.verdict {
            // The work is done, whoever owns the lane now.
            Verdict::Done | Verdict::Skipped { .. } => self.succeed(id, now_ms),
            Verdict::DoneEmitting(emitted) if emitted.is_empty() => self.succeed(id, now_ms),
            Verdict::DoneEmitting(emitted) if is_ours => {
                let emitted = mem::take(emitted);
                self.succeed_emitting(id, emitted, now_ms);
            }
            Verdict::Again { after, class, message } if is_ours => {
                let failure = Failure {
                    offset: outcome.offset,
                    lane_epoch: self.table.get(id).lane_epoch,
                    class: *class,
                    retry_at_ms: now_ms.saturating_add(millis(*after)),
                    message: cut_message(message).to_owned(),
                };
                self.fail(id, failure);
            }
            Verdict::Dead { reason, message } if is_ours => {
                let attempts = self.table.get(id).attempts.saturating_add(1);
                self.bury(id, *reason, message, attempts);
            }
            _ => self.give_back(id, now_ms),
        }
    }

    fn succeed(&mut self, id: TrackId, now_ms: u64) {
        self.table.move_to(id, Stage::Done);
        let tracked = self.table.get_mut(id);
        // Nothing asks for it again: its memory is the log's alone.
        tracked.event = None;
        tracked.keeps_event = false;
        let (offset, mailbox_idx) = (tracked.offset, tracked.mailbox_idx);
        let outcomes = &mut self.mailbox_mut(mailbox_idx).outcomes;
        let is_first = outcomes.is_empty() && !outcomes.is_proposed;
        outcomes.done.push(offset);
        if is_first {
            self.outbox.mailboxes.insert(mailbox_idx);
        }
        self.queues.unblock(id, &mut self.table, now_ms);
    }

    fn succeed_emitting(&mut self, id: TrackId, emitted: Vec<Bytes>, now_ms: u64) {
        self.table.move_to(id, Stage::Done);
        let tracked = self.table.get(id);
        let (offset, lane_epoch, handed_as) =
            (tracked.offset, tracked.lane_epoch, tracked.handed_as);
        let topic = self.topic_of(id);
        let n_bytes = emitted.iter().map(Bytes::len).sum();
        let turn = Turn { group: self.id, topic, offset, lane_epoch, emitted };
        let number = self.outbox.n_turns_made;
        self.outbox.n_turns_made += 1;
        self.outbox.turns.push_back(KeptTurn { handed_as, number, n_bytes, turn });
        self.queues.unblock(id, &mut self.table, now_ms);
    }

    fn fail(&mut self, id: TrackId, failure: Failure) {
        self.queues.block(id, Stage::Failing, &mut self.table);
        let tracked = self.table.get(id);
        let (mailbox_idx, handed_as) = (tracked.mailbox_idx, tracked.handed_as);
        let outcomes = &mut self.mailbox_mut(mailbox_idx).outcomes;
        let is_first = outcomes.is_empty() && !outcomes.is_proposed;
        outcomes.failures.push(KeptFailure { handed_as, failure });
        if is_first {
            self.outbox.mailboxes.insert(mailbox_idx);
        }
    }

    /// The event is given up. Its key stays blocked until the dead letter is committed.
    pub(super) fn bury(&mut self, id: TrackId, reason: DeadReason, message: &str, attempts: u32) {
        self.queues.block(id, Stage::Dying, &mut self.table);
        let topic = self.topic_of(id);
        let tracked = self.table.get(id);
        let handed_as = tracked.handed_as;
        let mut letter = DeadLetter {
            group: self.id,
            topic,
            offset: tracked.offset,
            lane_epoch: tracked.lane_epoch,
            reason,
            message: cut_message(message).to_owned(),
            attempts,
            records: Vec::new(),
        };
        match &tracked.event {
            Some(event) => {
                letter.records = records_of(event, topic);
                self.outbox.letters.push_back(KeptLetter { handed_as, letter });
            }
            None => self.outbox.unread_letters.push(KeptLetter { handed_as, letter }),
        }
        if is_planted(Bug::DlqAfterCursor) {
            self.ack_early(id);
        }
    }

    /// An event that was found at a worker before it was read is read now.
    #[cold]
    pub(super) fn read_found(&mut self, id: TrackId, event: Event, now_ms: u64) {
        let topic = self.topic_of(id);
        let tracked = self.table.get(id);
        if !tracked.is_unread() {
            return;
        }
        if tracked.stage() == Stage::Dying {
            let letters = &mut self.outbox.unread_letters;
            let handed_as = tracked.handed_as;
            if let Some(place) = letters.iter().position(|kept| kept.handed_as == handed_as) {
                let mut kept = letters.swap_remove(place);
                kept.letter.records = records_of(&event, topic);
                self.outbox.letters.push_back(kept);
            }
        }
        let lane = tracked.lane();
        self.queues.read(id, event, &mut self.table, now_ms);
        self.want(lane);
    }
}

const fn attempt_of(verdict: &Verdict) -> Attempt {
    match verdict {
        Verdict::Again { .. } | Verdict::Dead { .. } => Attempt::Failed,
        Verdict::Unstarted => Attempt::Unstarted,
        Verdict::Done | Verdict::DoneEmitting(_) | Verdict::Skipped { .. } => Attempt::Succeeded,
    }
}

/// A records section of this one event.
fn records_of(event: &Event, topic: TopicId) -> Vec<u8> {
    let mut builder = RecordsBuilder::with_capacity(64 + event.encoded_bytes());
    builder.push(&event.as_new());
    builder.finish(topic, ProducerId::NONE, Sequence::new(0)).to_vec()
}

/// A batch, and the events of it that a report speaks of.
type Reported = (HandedIdx, Vec<Option<TrackId>>);

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
