//! The place of a worker, which outlives each worker in it.
//!
//! Invariant: a batch is posted to a worker whose end nobody has noticed yet, and is given back at
//! that end; or it is dropped, and the dispatcher takes it back with the news of the worker's end,
//! which is on its way. One lock over both fields makes it hold.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use ractor::ActorRef;
use tidings_delivery::session::{BatchId, Delivery, Report, Session, Verdict};
use tidings_types::layout::acks::FailureClass;

/// All that a worker ever hears: there is work in its seat.
#[derive(Debug)]
pub(crate) struct Nudge;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Seat {
    /// A plain mutex: held for a few moves, never while a handler runs, never over an await.
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    actor: Option<ActorRef<Nudge>>,
    session: Session,
    has_timed_out: bool,
}

impl Seat {
    pub(crate) fn new() -> Self {
        let inner = Inner { actor: None, session: Session::default(), has_timed_out: false };
        Self { inner: Mutex::new(inner) }
    }

    /// Hands a batch over and nudges the worker.
    pub(crate) fn post(&self, batch: BatchId, deliveries: Vec<Delivery>) {
        let mut inner = self.lock();
        let Some(actor) = inner.actor.clone() else { return };
        inner.session.deliver(batch, deliveries);
        drop(inner);
        // It fails if the worker has just died: then the batch is given back like the rest.
        let _ = actor.cast(Nudge);
    }

    /// Lets the worker record what it does.
    pub(crate) fn session<R>(&self, change: impl FnOnce(&mut Session) -> R) -> R {
        change(&mut self.lock().session)
    }

    /// The running event exceeded its deadline; the worker is about to end for it.
    pub(crate) fn time_out(&self) {
        self.lock().has_timed_out = true;
    }

    pub(crate) fn actor(&self) -> Option<ActorRef<Nudge>> {
        self.lock().actor.clone()
    }

    /// A worker begins.
    pub(crate) fn occupy(&self, actor: ActorRef<Nudge>) {
        let mut inner = self.lock();
        inner.actor = Some(actor);
        inner.has_timed_out = false;
    }

    /// The worker has ended: gives back all that it held, and blames the running event only.
    pub(crate) fn vacate(
        &self,
        now: Duration,
        blame: impl Fn(&Delivery, FailureClass) -> Verdict,
    ) -> Vacated {
        let mut inner = self.lock();
        inner.actor = None;
        let class = match inner.has_timed_out {
            true => FailureClass::Timeout,
            false => FailureClass::Panic,
        };
        let mut culprit = None;
        let blame = |delivery: &Delivery| {
            culprit.get_or_insert_with(|| delivery.clone());
            blame(delivery, class)
        };
        let reports = inner.session.crash(blame, now);
        Vacated { culprit, reports }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("an invariant broke under this lock: the service must not go on")
    }
}

/// What a worker left behind.
pub(crate) struct Vacated {
    pub(crate) culprit: Option<Delivery>,
    pub(crate) reports: Vec<Report>,
}
