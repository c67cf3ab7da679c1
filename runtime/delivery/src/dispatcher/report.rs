//! What workers tell: each event's verdict becomes an outcome to propose, or brings it back.

use std::mem;

use bytes::Bytes;
use tidings_types::id::{ProducerId, Sequence, WorkerId};
use tidings_types::layout::acks::{Failure, cut_message};
use tidings_types::layout::command::{DeadLetter, DeadReason};
use tidings_types::layout::records::RecordsBuilder;
use tidings_types::layout::turn::Turn;

use crate::dispatcher::group::Group;
use crate::dispatcher::port::{Output, Story};
use crate::dispatcher::proposals::{KeptTurn, Step};
use crate::dispatcher::tracked::{Stage, TrackId};
use crate::dispatcher::worker::Worker;
use crate::session::{Outcome, Report, Verdict};

impl Group {
    /// A worker begins, or begins anew.
    pub(super) fn worker_up(&mut self, worker: WorkerId, now_ms: u64) {
        self.worker_down(worker, now_ms);
        self.workers.push(Worker::new(worker));
    }

    /// A worker is gone: what it held comes back without an attempt.
    pub(super) fn worker_down(&mut self, worker: WorkerId, now_ms: u64) {
        let Some(place) = self.workers.iter().position(|other| other.id == worker) else { return };
        let gone = self.workers.remove(place);
        for id in gone.into_ids() {
            self.come_back(id, worker, now_ms, |group| group.give_back(id, now_ms));
        }
    }

    /// A worker tells what became of events. Reports of batches that are not out are passed over:
    /// their events came back when their worker went down.
    pub(super) fn report(&mut self, worker: WorkerId, mut report: Report, step: &mut Step<'_>) {
        let now_ms = step.now_ms;
        let found = self.workers.iter_mut().find(|other| other.id == worker);
        let Some(ids) = found.and_then(|found| found.take_reported(&report)) else { return };
        for (id, outcome) in ids.into_iter().zip(&mut report.outcomes) {
            assert_eq!(self.table.get(id).offset, outcome.offset, "a report keeps the order");
            self.come_back(id, worker, now_ms, |group| group.judge(id, outcome, now_ms));
        }
        let Report { outcomes, .. } = report;
        if !outcomes.is_empty() {
            let group = self.id;
            step.out.push(Output::Told(Story::Outcomes { group, worker, outcomes }));
        }
    }

    /// The lane of an event has one event less out, and goes on if it was the last.
    fn come_back(
        &mut self,
        id: TrackId,
        worker: WorkerId,
        now_ms: u64,
        then: impl FnOnce(&mut Self),
    ) {
        let tracked = self.table.get(id);
        let lane = tracked.lane();
        let is_settled = tracked.is_settled;
        let is_free = self.lanes.give_back(lane, worker);
        if is_settled {
            // Settled while it was out: whatever the worker says comes too late.
            self.queues.unblock(id, &mut self.table, now_ms);
            self.table.forget(id);
        } else {
            then(self);
        }
        if is_free {
            self.want(lane);
        }
    }

    /// The event waits again, as if it had never been handed out.
    pub(super) fn give_back(&mut self, id: TrackId, now_ms: u64) {
        self.queues.give_back(id, &mut self.table, now_ms);
        let lane = self.table.get(id).lane();
        self.want(lane);
    }

    fn judge(&mut self, id: TrackId, outcome: &mut Outcome, now_ms: u64) {
        let tracked = self.table.get(id);
        let is_ours = self.lanes.epoch_for(tracked.lane(), outcome.lane_epoch).is_some();
        match &mut outcome.verdict {
            // The work is done, whoever owns the lane now.
            Verdict::Done | Verdict::Skipped => self.succeed(id, now_ms),
            Verdict::DoneEmitting(emitted) if emitted.is_empty() => self.succeed(id, now_ms),
            Verdict::DoneEmitting(emitted) if is_ours => {
                let emitted = mem::take(emitted);
                self.succeed_emitting(id, emitted, now_ms);
            }
            Verdict::Again { after, class, message } if is_ours => {
                let failure = Failure {
                    offset: outcome.offset,
                    lane_epoch: outcome.lane_epoch,
                    class: *class,
                    retry_at_ms: now_ms.saturating_add(millis(*after)),
                    message: cut_message(message).to_owned(),
                };
                self.fail(id, failure);
            }
            Verdict::Dead { reason, message } if is_ours => {
                self.bury(id, *reason, message, outcome.attempt);
            }
            _ => self.give_back(id, now_ms),
        }
    }

    fn succeed(&mut self, id: TrackId, now_ms: u64) {
        self.table.move_to(id, Stage::Done);
        let tracked = self.table.get_mut(id);
        // Nothing asks for it again: its memory is the log's alone.
        tracked.event = None;
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
        let (offset, lane_epoch) = (tracked.offset, tracked.lane_epoch);
        let topic = self.topic_of(id);
        let n_bytes = emitted.iter().map(Bytes::len).sum();
        let turn = Turn { group: self.id, topic, offset, lane_epoch, emitted };
        let number = self.outbox.n_turns_made;
        self.outbox.n_turns_made += 1;
        self.outbox.turns.push_back(KeptTurn { number, n_bytes, turn });
        self.queues.unblock(id, &mut self.table, now_ms);
    }

    fn fail(&mut self, id: TrackId, failure: Failure) {
        self.queues.block(id, Stage::Failing, &mut self.table);
        let mailbox_idx = self.table.get(id).mailbox_idx;
        let outcomes = &mut self.mailbox_mut(mailbox_idx).outcomes;
        let is_first = outcomes.is_empty() && !outcomes.is_proposed;
        outcomes.failures.push(failure);
        if is_first {
            self.outbox.mailboxes.insert(mailbox_idx);
        }
    }

    /// The event is given up. Its key stays blocked until the dead letter is committed.
    pub(super) fn bury(&mut self, id: TrackId, reason: DeadReason, message: &str, attempts: u32) {
        self.queues.block(id, Stage::Dying, &mut self.table);
        let topic = self.topic_of(id);
        let tracked = self.table.get(id);
        let event = tracked.event.as_ref().expect("an event without success is kept");
        let mut builder = RecordsBuilder::with_capacity(64 + event.encoded_bytes());
        builder.push(&event.as_new());
        let records = builder.finish(topic, ProducerId::NONE, Sequence::new(0));
        self.outbox.letters.push_back(DeadLetter {
            group: self.id,
            topic,
            offset: tracked.offset,
            lane_epoch: tracked.lane_epoch,
            reason,
            message: cut_message(message).to_owned(),
            attempts,
            records: records.to_vec(),
        });
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
