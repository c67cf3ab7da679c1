//! One timer of one actor: rings once at the earliest moment that was asked for.
//!
//! A ring is a message to the actor itself, so a busy actor is never sent two.

use std::time::Duration;

use ractor::{ActorRef, Message};

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    rings_at: Option<Duration>,
}

impl Timer {
    /// Sees to it that the actor hears `msg` at `at` or a little later.
    pub(crate) fn ring_at<M: Message>(
        &mut self,
        at: Duration,
        now: Duration,
        myself: &ActorRef<M>,
        msg: impl FnOnce() -> M + Send + 'static,
    ) {
        // A later ring that is under way stays: hearing twice costs less than stopping a timer. One
        // that is due does not count: its message may stand behind the one that asks now, and who
        // hears it then has asked already.
        if self.rings_at.is_some_and(|rings_at| now < rings_at && rings_at <= at) {
            return;
        }
        self.rings_at = Some(at);
        myself.send_after(at.saturating_sub(now), msg);
    }

    /// The message has come.
    pub(crate) fn rang(&mut self) {
        self.rings_at = None;
    }
}
