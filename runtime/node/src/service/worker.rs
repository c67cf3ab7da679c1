//! The worker: runs a service's handler over delivered batches, one event after the other.
//!
//! - Owns: the handler's value, a fresh one in each life.
//! - Hears from: the dispatcher, through its seat, which holds a window for what it posts.
//! - Supervised by: [`supervisor`](super::supervisor).
//! - Loses when it dies: the handler's value and the nudges in its mailbox. The events that they
//!   stood for are in the seat, outside, and the supervisor gives them back.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tidings_types::limits::REPORT_AFTER;

use crate::seat::Nudge;
use crate::service::polled::Polled;
use crate::service::spec::{Handler, NewHandler, ServiceContext};
use crate::service::work::{Work, WorkParts};

pub(crate) struct Worker {
    pub(crate) new_handler: NewHandler,
    pub(crate) context: ServiceContext,
    pub(crate) parts: WorkParts,
}

pub(crate) struct State {
    handler: Box<dyn Handler>,
    work: Work,
}

impl Actor for Worker {
    type Msg = Nudge;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Nudge>, (): ()) -> Result<State, ActorProcessingErr> {
        let handler = (self.new_handler)(&self.context);
        Ok(State { handler, work: Work::new(self.parts.clone()) })
    }

    async fn handle(
        &self,
        _: ActorRef<Nudge>,
        Nudge: Nudge,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let State { handler, work } = state;
        tokio::select! {
            // The handler first: what it finishes just at its deadline counts.
            biased;
            () = Polled::new(handler.run(work), &self.parts.seat, &self.parts.clock) => Ok(()),
            late = deadline(&self.parts) => {
                self.parts.seat.time_out();
                Err(late.into())
            }
        }
    }
}

/// The handler took longer than the plan of its event allows.
#[derive(Debug, thiserror::Error)]
#[error("handler exceeded its deadline of {allowed:?}")]
struct Late {
    allowed: Duration,
}

/// Ends when the running event has exceeded its deadline; reports what has ended behind it.
///
/// One timer for each batch and not for each event: it sleeps to the next moment that matters, and
/// looks again when it wakes.
async fn deadline(parts: &WorkParts) -> Late {
    loop {
        let now = parts.clock.now();
        parts.report(now);
        let (running, report_at) = parts.seat.session(|session| {
            let running = session.running().map(|running| {
                let allowed = (parts.policy)(running.delivery.event.kind()).timeout;
                (running.since + allowed, allowed)
            });
            (running, session.report_at())
        });
        if let Some((_, allowed)) = running.filter(|(late_at, _)| *late_at <= now) {
            return Late { allowed };
        }
        let late_at = running.map_or(now + REPORT_AFTER, |(late_at, _)| late_at);
        let wake_at = report_at.unwrap_or(now + REPORT_AFTER).min(late_at);
        // At least a tick of the runtime's timer, or it would spin.
        let wait = wake_at.saturating_sub(now).max(Duration::from_millis(1));
        tokio::time::sleep(wait).await;
    }
}
