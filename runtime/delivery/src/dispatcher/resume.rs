//! A member resumes: what it holds is out again, and its outcomes go on their way.
//!
//! Whatever was out at the member by our own account comes back first, so that a member which resumes
//! with the same leader and one which resumes with the next are treated alike. Then each event that
//! it names is looked at:
//!
//! - It is held, open, and nobody else has its lane: it is out at that worker, even if the lane has
//!   moved on meanwhile. The new owner gets the lane when all of it has come back.
//! - It has an outcome, and is open and out nowhere else: the outcome is judged like a report.
//! - We have the outcome already: it is told once it is in the log.
//! - Else the event was settled, or counted, or went elsewhere: an outcome is told to be of no use,
//!   and what is held is recalled.
//!
//! An event that this leader has not read yet is on its way without its content, and is filled in
//! when it is read. If it comes back before that, it is on its way no more: it will be read.

use std::collections::BTreeMap;
use std::time::Duration;

use tidings_types::id::WorkerId;
use tidings_types::limits::{
    GROUP_WORKERS_MAX, RESUME_BATCHES_MAX, RESUME_EVENTS_MAX, WORKER_WINDOW_EVENTS,
};
use tidings_types::offset::Lane;

use crate::dispatcher::group::Group;
use crate::dispatcher::handed::InBatch;
use crate::dispatcher::port::{Output, Story};
use crate::dispatcher::proposals::Step;
use crate::dispatcher::tracked::{Arrival, Stage, TrackId};
use crate::dispatcher::worker::Worker;
use crate::lanes::{Owner, Place};
use crate::message::{BadMessage, KeptBatch, KeptEvent, Serving, SessionId, ToMember};
use crate::session::Outcome;

/// What a member says of one group when it resumes.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    pub(super) serving: Option<Serving>,
    pub(super) batches: Vec<KeptBatch>,
}

/// What becomes of an event that a member names.
enum Found {
    /// It is at the worker, or was until its outcome.
    Open(TrackId),
    /// We have its outcome.
    Known(TrackId),
    /// Nothing.
    Stale,
}

impl Group {
    /// Whether the words can be taken.
    ///
    /// # Errors
    /// The first thing in them that cannot be.
    pub(super) fn check(&self, resumed: &Resumed) -> Result<(), BadMessage> {
        let workers = resumed.serving.as_ref().map_or(&[][..], |serving| &serving.workers);
        if GROUP_WORKERS_MAX < workers.len() {
            return Err(BadMessage::TooManyWorkers { n_workers: workers.len() });
        }
        let mut n_held: BTreeMap<WorkerId, usize> = BTreeMap::new();
        let mut n_events = 0;
        let mut ids = Vec::with_capacity(resumed.batches.len());
        for batch in &resumed.batches {
            batch.check()?;
            ids.push(batch.batch);
            n_events += batch.events.len();
            let worker = batch.worker;
            let held = n_held.entry(worker).or_default();
            *held += batch.n_held();
            if WORKER_WINDOW_EVENTS < *held {
                return Err(BadMessage::TooMuch);
            }
            if 0 < *held && !workers.iter().any(|&(other, _)| other == worker) {
                return Err(BadMessage::NoSuchWorker { group: self.id, worker });
            }
            batch.events.iter().try_for_each(|event| self.check_event(event))?;
        }
        if RESUME_EVENTS_MAX < n_events || RESUME_BATCHES_MAX < resumed.batches.len() {
            return Err(BadMessage::TooMuch);
        }
        ids.sort_unstable();
        let twice = ids.iter().zip(ids.iter().skip(1)).find(|(one, other)| one == other);
        twice.map_or(Ok(()), |(&batch, _)| {
            Err(BadMessage::BadBatch { batch, why: "it is named twice" })
        })
    }

    fn check_event(&self, event: &KeptEvent) -> Result<(), BadMessage> {
        let &KeptEvent { topic, offset, .. } = event;
        let idx = self.mailbox_idxs.get(&topic);
        let mailbox = idx.and_then(|&idx| self.mailboxes.get(idx as usize));
        if mailbox.is_some_and(|mailbox| mailbox.has(offset)) {
            return Ok(());
        }
        Err(BadMessage::NoSuchEvent { group: self.id, topic, offset })
    }

    /// A member is on the line, with what was [checked](Self::check).
    pub(super) fn resume(
        &mut self,
        crew_idx: Owner,
        session: SessionId,
        resumed: Resumed,
        step: &mut Step<'_>,
    ) {
        self.retract(crew_idx, step.now_ms);
        let Resumed { serving, mut batches } = resumed;
        let crew = self.crew_mut(crew_idx);
        let node = crew.node;
        crew.session = Some(session);
        crew.is_served = serving.as_ref().is_some_and(|serving| !serving.is_draining);
        let workers = serving.as_ref().map_or(&[][..], |serving| &serving.workers);
        crew.workers = workers.iter().map(|&(worker, life)| Worker::new(worker, life)).collect();
        let is_member = crew.is_member();
        // A later start of the node holds nothing of what an earlier one was handed.
        if self.awaited.get(&node).is_some_and(|&listed| listed <= session.incarnation) {
            self.awaited.remove(&node);
        }
        if !is_member {
            if serving.is_some() || !batches.is_empty() {
                let message = self.removed(node, session.incarnation);
                self.tell(crew_idx, message, step);
            }
            return;
        }
        // A worker ends its batches in this order, and a key's events are read in theirs.
        batches.sort_unstable_by_key(|batch| batch.batch);
        for batch in batches {
            self.resume_batch(crew_idx, batch, step);
        }
        for idx in (0..).take(self.mailboxes.len()) {
            self.look_again_at(idx);
        }
    }

    fn resume_batch(&mut self, crew: Owner, kept: KeptBatch, step: &mut Step<'_>) {
        let at = Place { owner: crew, worker: kept.worker };
        let n_events = kept.n_events as usize;
        let mut places = vec![None; n_events];
        let mut verdicts = Vec::new();
        let mut is_recalled = false;
        // Confirmed before: nobody asks for them.
        let mut useless = u64::MAX >> (64 - n_events);
        for event in kept.events {
            let bit = 1 << event.place;
            let is_held = event.verdict.is_none();
            let found = self.find_kept(&event, at);
            if let Found::Open(id) | Found::Known(id) = found {
                let place = places.get_mut(event.place as usize);
                *place.expect("places were checked") = Some(id);
                useless &= !bit;
            } else if is_held {
                is_recalled = true;
                useless &= !bit;
            }
            if let (Found::Open(id), Some(verdict)) = (found, event.verdict) {
                let KeptEvent { topic, offset, lane_epoch, attempt, .. } = event;
                let took = Duration::ZERO;
                verdicts.push((id, Outcome { topic, offset, lane_epoch, attempt, verdict, took }));
            }
        }
        let (group, batch) = (self.id, kept.batch);
        if useless.count_ones() < kept.n_events {
            let worker = kept.worker;
            let idx = self.table.handed.next_idx();
            for (place, id) in (0..).zip(&places) {
                if let &Some(id) = id {
                    self.table.get_mut(id).in_batch = Some(InBatch::new(idx, place));
                }
            }
            self.hand_out((crew, worker), (batch, useless), places, kept.n_ended as usize);
        }
        if is_recalled {
            self.tell(crew, ToMember::Recall { group, batch }, step);
        }
        if useless != 0 {
            self.tell(crew, ToMember::Confirmed { group, batches: vec![(batch, useless)] }, step);
        }
        self.judge_kept(at, verdicts, step);
    }

    fn judge_kept(&mut self, at: Place, verdicts: Vec<(TrackId, Outcome)>, step: &mut Step<'_>) {
        let mut outcomes = Vec::with_capacity(verdicts.len());
        for (id, mut outcome) in verdicts {
            self.judge(id, &mut outcome, step.now_ms);
            outcomes.push(outcome);
        }
        if !outcomes.is_empty() {
            let (group, member, worker) = (self.id, self.crew(at.owner).node, at.worker);
            step.out.push(Output::Told(Story::Outcomes { group, member, worker, outcomes }));
        }
    }

    /// What becomes of an event that is named. One that is held has its lane lent afterwards, and one
    /// with an outcome is out, in no lane.
    fn find_kept(&mut self, event: &KeptEvent, at: Place) -> Found {
        let lane = Lane::of(event.key_hash);
        let is_held = event.verdict.is_none();
        if is_held && !self.lanes.can_be_at(lane, at) {
            return Found::Stale;
        }
        let id = match self.find_tracked(event) {
            Some(id) => {
                let tracked = self.table.get(id);
                let is_it = tracked.attempts.saturating_add(1) == event.attempt
                    && tracked.key_hash == event.key_hash
                    && !tracked.is_settled
                    && tracked.in_batch.is_none();
                let is_same = is_it && tracked.lane_epoch == event.lane_epoch;
                match tracked.stage() {
                    Stage::Waiting | Stage::Held if is_it => id,
                    Stage::Done | Stage::Dying | Stage::Failing if is_same && !is_held => {
                        return Found::Known(id);
                    }
                    _ => return Found::Stale,
                }
            }
            None => match self.arrive_unread(event) {
                Some(id) => id,
                None => return Found::Stale,
            },
        };
        self.queues.take_found(id, &mut self.table);
        self.table.get_mut(id).lane_epoch = event.lane_epoch;
        if is_held {
            self.lanes.found_at(lane, at);
        }
        Found::Open(id)
    }

    fn find_tracked(&self, event: &KeptEvent) -> Option<TrackId> {
        if event.redrive.is_some() {
            let id = self.redriven.get(&(event.topic, event.offset)).copied();
            // It may have died since, and been redriven again.
            return id.filter(|&id| self.table.get(id).redrive == event.redrive);
        }
        let idx = *self.mailbox_idxs.get(&event.topic)?;
        self.mailboxes.get(idx as usize)?.window.get(event.offset)
    }

    /// An event that was not read yet is on its way, if it is open and this is its next attempt.
    fn arrive_unread(&mut self, event: &KeptEvent) -> Option<TrackId> {
        let &KeptEvent { topic, offset, key_hash, attempt, redrive, .. } = event;
        let mailbox_idx = *self.mailbox_idxs.get(&topic)?;
        let mailbox = self.mailbox_mut(mailbox_idx);
        let (attempts, retry_at_ms) = mailbox.failed_ahead(offset);
        // Redriven events are all known, and settled in their mailbox.
        if redrive.is_some() || mailbox.is_settled(offset) || attempts.saturating_add(1) != attempt
        {
            return None;
        }
        mailbox.find_ahead(offset);
        let event = None;
        let arrival =
            Arrival { event, key_hash, offset, mailbox_idx, attempts, retry_at_ms, redrive };
        let id = self.arrive(arrival);
        self.mailbox_mut(mailbox_idx).window.insert(offset, id);
        Some(id)
    }
}
