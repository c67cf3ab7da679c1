//! The events that one worker has before it, as its handler takes and ends them.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings_delivery::retry::{Decision, decide};
use tidings_delivery::session::{Delivery, Verdict};
use tidings_types::event::ID_BYTES;
use tidings_types::id::{TopicId, WorkerId};
use tidings_types::layout::acks::FailureClass;
use tidings_types::layout::command::DeadReason;
use tidings_types::name::TopicName;
use tidings_types::seam::{Clock, SplitMix};

use crate::error::CommandError;
use crate::publish::Publisher;
use crate::reports::Reports;
use crate::seat::Seat;
use crate::service::policy::{GiveUp, PolicyOf};

/// What a worker's work is made of; shared with its supervisor.
#[derive(Clone)]
pub(crate) struct WorkParts {
    pub(crate) worker: WorkerId,
    pub(crate) seat: Arc<Seat>,
    pub(crate) reports: Reports,
    pub(crate) policy: PolicyOf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) publisher: Publisher,
    /// For jitter. A lock, because a crash draws from it outside the worker.
    pub(crate) rng: Arc<Mutex<SplitMix>>,
}

impl WorkParts {
    /// Reports what is to be told by now.
    pub(crate) fn report(&self, now: Duration) {
        if let Some(report) = self.seat.session(|session| session.take_report(now)) {
            self.reports.send(self.worker, report);
        }
    }

    /// What a failed attempt means by the policy of its type: again later, or given up.
    pub(crate) fn judge(
        &self,
        delivery: &Delivery,
        class: FailureClass,
        message: String,
    ) -> Verdict {
        let policy = (self.policy)(delivery.event.kind());
        let mut rng = self.rng.lock().expect("nobody panics while holding the lock");
        match decide(&policy.retry, delivery.attempt, &mut *rng) {
            Decision::Again { after } => Verdict::Again { after, class, message },
            Decision::Dead => match policy.give_up {
                GiveUp::DeadLetter => {
                    Verdict::Dead { reason: DeadReason::AttemptsExhausted, message }
                }
                // It never comes by itself.
                GiveUp::PauseKey => Verdict::Again { after: Duration::MAX, class, message },
            },
        }
    }
}

/// See the module's description.
pub struct Work {
    parts: WorkParts,
}

impl Work {
    pub(crate) const fn new(parts: WorkParts) -> Self {
        Self { parts }
    }

    /// Starts the next event; `None` when there is none.
    ///
    /// Events of a key that failed earlier in the batch are passed over: they come again.
    #[expect(clippy::should_implement_trait, reason = "no iterator: each event must be ended")]
    pub fn next(&mut self) -> Option<Delivery> {
        let now = self.parts.clock.now();
        let next = self.parts.seat.session(|session| session.start_next(now));
        if next.is_none() {
            self.report(now);
        }
        next
    }

    /// The event that [`Work::next`] would start.
    pub fn peek(&self) -> Option<Delivery> {
        self.parts.seat.session(|session| session.peek().cloned())
    }

    /// Ends the event that [`Work::next`] gave.
    pub fn finish(&mut self, verdict: Verdict) {
        let now = self.parts.clock.now();
        self.parts.seat.session(|session| session.finish(verdict, now));
        self.report(now);
    }

    /// Ends the events that were started and not ended yet, in the order of their start.
    ///
    /// # Panics
    /// If there are more or fewer verdicts than such events.
    pub fn finish_all(&mut self, verdicts: Vec<Verdict>) {
        let now = self.parts.clock.now();
        self.parts.seat.session(|session| {
            verdicts.into_iter().for_each(|verdict| session.finish(verdict, now));
            assert!(session.running().is_none(), "each started event must get its verdict");
        });
        self.report(now);
    }

    /// What a failed attempt means by the policy of its type: again later, or given up.
    pub fn failed(&self, delivery: &Delivery, class: FailureClass, message: String) -> Verdict {
        self.parts.judge(delivery, class, message)
    }

    /// The name of a topic.
    pub fn topic_name(&self, topic: TopicId) -> Option<TopicName> {
        self.parts.publisher.topic_name(topic)
    }

    /// The topic of that name, made if there is none.
    ///
    /// # Errors
    /// If the command that makes it fails.
    pub async fn topic(&self, name: &TopicName) -> Result<TopicId, CommandError> {
        self.parts.publisher.topic(name).await
    }

    /// A fresh event id.
    pub fn new_id<'b>(&self, buffer: &'b mut [u8; ID_BYTES]) -> &'b str {
        self.parts.publisher.new_id(buffer)
    }

    /// Wall time in milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        self.parts.clock.wall_ms()
    }

    fn report(&self, now: Duration) {
        self.parts.report(now);
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("worker", &self.parts.worker).finish_non_exhaustive()
    }
}
