//! The worker session: what one worker holds, which event runs, and what is to be told of the rest.
//!
//! It lives outside the worker, so it outlives it: after a crash it names the culprit, and what did
//! not start goes back to the dispatcher.
//!
//! ```text
//!   deliver ─▶ batches, oldest first
//!                 └ deliveries:  finished │ running │ not started
//!                                   └ outcomes ─▶ take_report
//! ```
//!
//! Invariant: each delivered event gets exactly one outcome, in the order of delivery.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_types::id::TopicId;
use tidings_types::layout::acks::FailureClass;
use tidings_types::layout::command::DeadReason;
use tidings_types::layout::records::Event;
use tidings_types::limits::{DELIVERY_EVENTS_MAX, REPORT_AFTER};
use tidings_types::offset::{LaneEpoch, Offset};

/// Names a batch that a dispatcher handed to a worker; never given to one member twice while it
/// remembers the first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct BatchId(u64);

impl BatchId {
    /// Wraps the number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// One event on its way to a handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The event's topic.
    pub topic: TopicId,
    /// The event's offset.
    pub offset: Offset,
    /// The epoch in which its lane is worked.
    pub lane_epoch: LaneEpoch,
    /// Which attempt this is; 1 is the first.
    pub attempt: u32,
    /// The event.
    pub event: Event,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It succeeded.
    Done,
    /// It succeeded, and these events are published in one step with its ack.
    ///
    /// Each is a records section without a producer, one for each topic.
    DoneEmitting(Vec<Bytes>),
    /// There was nothing to do: it counts as succeeded.
    Skipped {
        /// Why; empty if nobody handles its type.
        reason: String,
    },
    /// The attempt failed, and another follows.
    Again {
        /// How long to wait before.
        after: Duration,
        /// What happened.
        class: FailureClass,
        /// The error's text.
        message: String,
    },
    /// The attempt failed, and none follows.
    Dead {
        /// Why not.
        reason: DeadReason,
        /// The error's text.
        message: String,
    },
    /// No attempt was made.
    Unstarted,
}

impl Verdict {
    /// Nobody handles the event's type.
    pub const fn unasked() -> Self {
        Self::Skipped { reason: String::new() }
    }

    /// Whether it settles its event without a dead letter.
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Done | Self::DoneEmitting(_) | Self::Skipped { .. })
    }

    const fn is_failure(&self) -> bool {
        matches!(self, Self::Again { .. } | Self::Dead { .. })
    }
}

/// The verdict on one delivered event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The event's topic.
    pub topic: TopicId,
    /// The event's offset.
    pub offset: Offset,
    /// As it was delivered.
    pub lane_epoch: LaneEpoch,
    /// As it was delivered.
    pub attempt: u32,
    /// What became of it.
    pub verdict: Verdict,
    /// How long it ran.
    pub took: Duration,
}

/// Outcomes of one batch, on their way to the dispatcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The batch.
    pub batch: BatchId,
    /// Of its next events, in the order of delivery.
    pub outcomes: Vec<Outcome>,
    /// Every event of the batch has its outcome now.
    pub is_last: bool,
    /// How long the batch has been worked.
    pub took: Duration,
}

/// An event that has started and has no outcome yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The event.
    pub delivery: Delivery,
    /// When it started.
    pub since: Duration,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Session {
    /// Oldest first. The worker is at the first one.
    batches: VecDeque<Batch>,
    /// Oldest first; more than one only if a handler takes several at once.
    running: VecDeque<Running>,
    /// Of the first batch, not reported yet.
    outcomes: Vec<Outcome>,
    /// Hashes of keys that failed in the first batch.
    failed_keys: Vec<u64>,
    /// When the first batch began and when it last reported, if it did begin.
    began: Option<Began>,
    is_closed: bool,
}

#[derive(Debug)]
struct Batch {
    id: BatchId,
    /// What has not started.
    rest: VecDeque<Delivery>,
    /// Nothing more of it starts.
    is_recalled: bool,
}

#[derive(Clone, Copy, Debug)]
struct Began {
    at: Duration,
    reported_at: Duration,
}

impl Session {
    /// A worker that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a batch over. It starts when the batches before it have ended.
    ///
    /// # Panics
    /// If the batch is empty or longer than [`DELIVERY_EVENTS_MAX`]: the dispatcher cuts batches,
    /// so the fault is ours.
    pub fn deliver(&mut self, batch: BatchId, deliveries: Vec<Delivery>) {
        assert!(!deliveries.is_empty(), "a batch has an event");
        assert!(deliveries.len() <= DELIVERY_EVENTS_MAX, "the dispatcher bounds batches");
        let is_recalled = false;
        self.batches.push_back(Batch { id: batch, rest: deliveries.into(), is_recalled });
    }

    /// Starts the next event of the first batch; `None` when none of it is left.
    ///
    /// Later events of a key that failed in this batch are passed over and come back unstarted. A
    /// handler that takes several events at once calls this several times before the first
    /// [`finish`](Self::finish).
    pub fn start_next(&mut self, now: Duration) -> Option<Delivery> {
        let batch = self.batches.front_mut()?;
        self.began.get_or_insert(Began { at: now, reported_at: now });
        // Outcomes keep the order of delivery: nothing is passed over while something runs.
        while let Some(next) = batch.rest.front() {
            let starts = !self.is_closed && !batch.is_recalled;
            if starts && !self.failed_keys.contains(&next.event.key_hash) {
                break;
            }
            if !self.running.is_empty() {
                return None;
            }
            let passed = batch.rest.pop_front().expect("it has a front");
            self.outcomes.push(outcome(&passed, Verdict::Unstarted, Duration::ZERO));
        }
        let delivery = batch.rest.pop_front()?;
        self.running.push_back(Running { delivery: delivery.clone(), since: now });
        Some(delivery)
    }

    /// What [`start_next`](Self::start_next) would start.
    pub fn peek(&self) -> Option<&Delivery> {
        let batch = self.batches.front()?;
        let is_open = !self.is_closed && !batch.is_recalled;
        let starts = |next: &&Delivery| is_open && !self.failed_keys.contains(&next.event.key_hash);
        let rest = &batch.rest;
        if self.running.is_empty() {
            return rest.iter().find(starts);
        }
        rest.front().filter(starts)
    }

    /// The event that has run longest.
    pub fn running(&self) -> Option<&Running> {
        self.running.front()
    }

    /// The event that has run longest has ended.
    ///
    /// If an earlier event of its key failed while both ran, it counts as unstarted whatever it
    /// says, because the earlier one comes again and must not come behind it.
    ///
    /// # Panics
    /// If nothing runs.
    pub fn finish(&mut self, verdict: Verdict, now: Duration) {
        let Running { delivery, since } = self.running.pop_front().expect("something runs");
        let key_hash = delivery.event.key_hash;
        let has_failed_before = self.failed_keys.contains(&key_hash);
        let verdict = if has_failed_before { Verdict::Unstarted } else { verdict };
        if verdict.is_failure() {
            self.failed_keys.push(key_hash);
        }
        self.outcomes.push(outcome(&delivery, verdict, now.saturating_sub(since)));
    }

    /// What is to be told by now: all when the first batch has ended, else what has gathered in
    /// [`REPORT_AFTER`].
    pub fn take_report(&mut self, now: Duration) -> Option<Report> {
        let batch = self.batches.front()?;
        if batch.rest.is_empty() && self.running.is_empty() {
            return Some(self.end_batch(now));
        }
        let began = self.began.as_mut()?;
        if self.outcomes.is_empty() || now.saturating_sub(began.reported_at) < REPORT_AFTER {
            return None;
        }
        began.reported_at = now;
        let took = now.saturating_sub(began.at);
        let outcomes = mem::take(&mut self.outcomes);
        Some(Report { batch: batch.id, outcomes, is_last: false, took })
    }

    /// When [`take_report`](Self::take_report) will have something to tell, even if the running
    /// event goes on.
    pub fn report_at(&self) -> Option<Duration> {
        let began = self.began.filter(|_| !self.outcomes.is_empty())?;
        Some(began.reported_at + REPORT_AFTER)
    }

    /// Starts nothing more: what has not started comes back unstarted, as the worker reaches it.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Starts nothing more of a batch: what of it has not started comes back unstarted, as the
    /// worker reaches it. The worker must be nudged. Nothing happens if the batch is not here.
    pub fn recall(&mut self, batch: BatchId) {
        if let Some(found) = self.batches.iter_mut().find(|found| found.id == batch) {
            found.is_recalled = true;
        }
    }

    /// Events that have no outcome yet.
    pub fn n_held(&self) -> usize {
        let n_waiting: usize = self.batches.iter().map(|batch| batch.rest.len()).sum();
        n_waiting + self.running.len()
    }

    /// It holds nothing.
    pub fn is_idle(&self) -> bool {
        self.batches.is_empty()
    }

    /// Takes everything out of a dead worker's hands. Blames what was running; the rest comes back
    /// unstarted.
    pub fn crash(
        &mut self,
        mut blame: impl FnMut(&Delivery) -> Verdict,
        now: Duration,
    ) -> Vec<Report> {
        while let Some(running) = self.running.front() {
            let verdict = blame(&running.delivery);
            self.finish(verdict, now);
        }
        let n_batches = self.batches.len();
        (0..n_batches).map(|_| self.give_back(now)).collect()
    }

    fn give_back(&mut self, now: Duration) -> Report {
        let batch = self.batches.front_mut().expect("the caller counts batches");
        for delivery in batch.rest.drain(..) {
            self.outcomes.push(outcome(&delivery, Verdict::Unstarted, Duration::ZERO));
        }
        self.end_batch(now)
    }

    fn end_batch(&mut self, now: Duration) -> Report {
        let batch = self.batches.pop_front().expect("the caller has seen it");
        self.failed_keys.clear();
        let took = self.began.take().map_or(Duration::ZERO, |began| now.saturating_sub(began.at));
        let outcomes = mem::take(&mut self.outcomes);
        Report { batch: batch.id, outcomes, is_last: true, took }
    }
}

fn outcome(delivery: &Delivery, verdict: Verdict, took: Duration) -> Outcome {
    let &Delivery { topic, offset, lane_epoch, attempt, .. } = delivery;
    Outcome { topic, offset, lane_epoch, attempt, verdict, took }
}

#[cfg(test)]
mod session_test;
