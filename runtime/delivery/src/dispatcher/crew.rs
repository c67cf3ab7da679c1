//! The workers of one member of a group.

use tidings_types::id::{Incarnation, NodeId, WorkerId};

use crate::dispatcher::worker::Worker;
use crate::message::SessionId;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) node: NodeId,
    /// Which start of the node is a member of the group, if any is.
    pub(super) listed: Option<Incarnation>,
    /// Its session, once it has resumed and while the link stands.
    pub(super) session: Option<SessionId>,
    /// Its service is up and does not drain.
    pub(super) is_served: bool,
    pub(super) workers: Vec<Worker>,
    /// The worker that is next to get a batch.
    pub(super) worker_idx: usize,
}

impl Crew {
    pub(super) const fn new(node: NodeId, session: Option<SessionId>) -> Self {
        Self { node, listed: None, session, is_served: false, workers: Vec::new(), worker_idx: 0 }
    }

    /// Events may be handed to its workers.
    pub(super) fn is_open(&self) -> bool {
        self.is_served && self.is_member()
    }

    /// The process that is on the line is the one that is a member.
    pub(super) fn is_member(&self) -> bool {
        self.session.is_some_and(|session| self.listed == Some(session.incarnation))
    }

    pub(super) fn worker_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.id == id)
    }
}
