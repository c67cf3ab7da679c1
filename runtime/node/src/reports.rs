//! A worker's way to the dispatcher.

use ractor::ActorRef;
use tidings_delivery::session::Report;
use tidings_types::id::{GroupId, WorkerId};

use crate::mail::ToDispatcher;

/// See the module's description.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    group: GroupId,
    actor: ActorRef<ToDispatcher>,
}

impl Reports {
    pub(crate) const fn new(group: GroupId, actor: ActorRef<ToDispatcher>) -> Self {
        Self { group, actor }
    }

    /// Sends a report. Without a dispatcher nobody is owed an outcome: its successor starts from
    /// the log.
    pub(crate) fn send(&self, worker: WorkerId, report: Report) {
        let _ = self.actor.cast(ToDispatcher::Report { group: self.group, worker, report });
    }
}
