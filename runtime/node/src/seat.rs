//! The place of one worker's life, which outlives the worker in it.
//!
//! Invariant: a batch is posted to a worker whose end nobody has noticed yet, and is given back at
//! that end; or it is dropped, and the dispatcher takes it back with the news of the worker's end,
//! which is on its way. The shared part, one lock over all of it, is [`sync::Seat`] with its model.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::ActorRef;
use tidings_delivery::session::{BatchId, Delivery, Report, Session, Verdict};
use tidings_types::layout::acks::FailureClass;
use tidings_types::sync;

/// All that a worker ever hears: there is work in its seat.
#[derive(Debug)]
pub(crate) struct Nudge;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Seat {
    shared: sync::Seat<ActorRef<Nudge>, Session>,
    /// Since when the handler is being polled, in microseconds and one more; 0 while it is not.
    polled_since_us: AtomicU64,
}

impl Seat {
    pub(crate) fn new() -> Self {
        let shared = sync::Seat::new(Session::default());
        Self { shared, polled_since_us: AtomicU64::new(0) }
    }

    /// Hands a batch over and nudges the worker.
    pub(crate) fn post(&self, batch: BatchId, deliveries: Vec<Delivery>) {
        let actor = self.shared.post(|session| session.deliver(batch, deliveries));
        // It fails if the worker has just died: then the batch is given back like the rest.
        let _ = actor.map(|actor| actor.cast(Nudge));
    }

    /// Lets the worker start nothing more of a batch; what has not started comes back.
    pub(crate) fn recall(&self, batch: BatchId) {
        let actor = self.shared.post(|session| session.recall(batch));
        // As in `post`.
        let _ = actor.map(|actor| actor.cast(Nudge));
    }

    /// Lets the worker start nothing more; what has not started comes back.
    pub(crate) fn close(&self) {
        let actor = self.shared.post(Session::close);
        // As in `post`.
        let _ = actor.map(|actor| actor.cast(Nudge));
    }

    /// Lets the worker record what it does.
    pub(crate) fn session<R>(&self, change: impl FnOnce(&mut Session) -> R) -> R {
        self.shared.record(change)
    }

    /// The running event exceeded its deadline; the worker is about to end for it.
    pub(crate) fn time_out(&self) {
        self.shared.time_out();
    }

    /// The handler gets a thread. Relaxed, as nothing else goes by it: it is for people.
    pub(crate) fn poll_begins(&self, now: Duration) {
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        self.polled_since_us.store(now_us.saturating_add(1), Ordering::Relaxed);
    }

    /// The handler gave its thread back.
    pub(crate) fn poll_ends(&self) {
        self.polled_since_us.store(0, Ordering::Relaxed);
    }

    /// For how long the handler has held its thread, if it does.
    pub(crate) fn blocked(&self, now: Duration) -> Option<Duration> {
        let since_us = self.polled_since_us.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_micros(since_us)))
    }

    /// The worker begins.
    pub(crate) fn occupy(&self, actor: ActorRef<Nudge>) {
        self.shared.occupy(actor);
    }

    /// The worker has ended: gives back all that it held, and blames the running event only.
    pub(crate) fn vacate(
        &self,
        now: Duration,
        blame: impl Fn(&Delivery, FailureClass) -> Verdict,
    ) -> Vacated {
        let mut culprit = None;
        let reports = self.shared.vacate(|session, has_timed_out| {
            let class = match has_timed_out {
                true => FailureClass::Timeout,
                false => FailureClass::Panic,
            };
            let blame = |delivery: &Delivery| {
                culprit.get_or_insert_with(|| delivery.clone());
                blame(delivery, class)
            };
            session.crash(blame, now)
        });
        Vacated { culprit, reports }
    }
}

/// What a worker left behind.
pub(crate) struct Vacated {
    pub(crate) culprit: Option<Delivery>,
    pub(crate) reports: Vec<Report>,
}

#[cfg(test)]
mod tests {
    use tidings_types::id::{ProducerId, Sequence, TopicId};
    use tidings_types::layout::records::{Records, RecordsBuilder};
    use tidings_types::offset::{LaneEpoch, Offset};

    use super::*;

    fn delivery() -> Delivery {
        let mut builder = RecordsBuilder::with_capacity(0);
        builder.push(&tidings_types::event::NewEvent {
            id: "e",
            kind: "t.v1",
            key: b"",
            time_ms: 0,
            headers: b"",
            payload: b"",
        });
        let records = builder.finish(TopicId::new(1), ProducerId::NONE, Sequence::new(0));
        let event = Records::parse(records).unwrap().events().next().unwrap().unwrap();
        let (topic, offset) = (TopicId::new(1), Offset::new(0));
        Delivery { topic, offset, lane_epoch: LaneEpoch::new(1), attempt: 1, event }
    }

    /// What is posted after a worker's end was noticed must reach nobody: the dispatcher takes it
    /// back, and a successor that got it as well would handle it twice. We post to the seat of a
    /// dead worker and look whether anything is left in it.
    #[test]
    fn vacated_seat_takes_nothing() {
        let seat = Seat::new();
        let blame = |_: &Delivery, _| Verdict::Unstarted;
        assert!(seat.vacate(Duration::ZERO, blame).reports.is_empty());
        seat.post(BatchId::new(1), vec![delivery()]);
        assert!(seat.session(|session| session.is_idle()));
    }
}
