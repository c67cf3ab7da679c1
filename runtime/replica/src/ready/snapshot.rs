//! What raft-rs and the log do about a snapshot.

use bytes::Bytes;
use raft::SnapshotStatus;
use raft::eraftpb::{ConfState, Message, MessageType, Snapshot};
use raft::{INVALID_ID, ProgressState};
use tidings_types::id::NodeId;
use tidings_types::offset::{LogIndex, Term};

use crate::check::check_snapshot;
use crate::membership;
use crate::port::{Damage, Output};
use crate::ready::Consensus;

impl Consensus {
    /// raft-rs has one for a follower: all that it knows of it is the place.
    pub(super) fn want_snapshot(&mut self, message: &Message) {
        let metadata = message.get_snapshot().get_metadata();
        let place = (LogIndex::new(metadata.index), Term::new(metadata.term));
        self.wanted_snapshot = Some((message.to, place));
    }

    /// A follower that raft-rs wants to have a snapshot, and which one. Says so once.
    pub(crate) fn take_wanted_snapshot(&mut self) -> Option<(u64, (LogIndex, Term))> {
        self.wanted_snapshot.take()
    }

    /// Whether raft-rs still waits for a follower to have its snapshot.
    pub(crate) fn awaits_snapshot(&self, to: u64) -> bool {
        let progress = self.raft.raft.prs().get(to);
        self.is_leader() && progress.is_some_and(|it| it.state == ProgressState::Snapshot)
    }

    /// None goes out any more; raft-rs is told whose failed, else it waits for ever.
    pub(crate) fn snapshot_ended(&mut self, failed: Option<u64>) {
        if let Some(to) = failed.filter(|&to| self.awaits_snapshot(to)) {
            self.raft.report_snapshot(to, SnapshotStatus::Failure);
        }
        self.raft.mut_store().sending.set(None);
    }

    /// Whether a part of a snapshot shows that this replica lost some of its disk: the leader's
    /// term, whether it counts on this one's vote, and up to where this one acknowledged the log.
    pub(crate) fn check_snapshot_from(
        &self,
        from: NodeId,
        term: u64,
        known: (bool, u64),
    ) -> Result<(), Damage> {
        check_snapshot(&self.standing(), from, term, known)
    }

    /// Whether the log holds that entry, or held it.
    pub(crate) fn has_entry(&self, (index, term): (LogIndex, Term)) -> bool {
        let log = &self.raft.raft.raft_log;
        index.get() <= log.committed || log.match_term(index.get(), term.get())
    }

    /// A snapshot has nothing new but that its entry is committed: raft-rs tells the leader how far
    /// the log goes. Of the members it looks only for this node, and takes none without it.
    pub(crate) fn restore_nothing(&mut self, leader: (u64, u64), place: (LogIndex, Term)) {
        let conf = membership::with_learner(&ConfState::default(), self.node);
        self.step_snapshot(leader, place, conf, Bytes::new());
    }

    /// A durable snapshot: whether raft-rs takes it. Then the next Ready resets the log.
    pub(crate) fn restore(
        &mut self,
        leader: (u64, u64),
        place: (LogIndex, Term),
        conf: &ConfState,
        digest: u64,
    ) -> bool {
        // raft-rs takes none that does not know its receiver; who was added since is a learner.
        let conf = membership::with_learner(conf, self.node);
        let digest = Bytes::copy_from_slice(&digest.to_le_bytes());
        self.step_snapshot(leader, place, conf, digest);
        self.raft.snap().is_some()
    }

    fn step_snapshot(
        &mut self,
        (from, term): (u64, u64),
        (index, snapshot_term): (LogIndex, Term),
        conf: ConfState,
        digest: Bytes,
    ) {
        let mut snapshot = Snapshot { data: digest, ..Snapshot::default() };
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (index.get(), snapshot_term.get());
        metadata.set_conf_state(conf);
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgSnapshot);
        (message.from, message.to, message.term) = (from, self.raft.raft.id, term);
        message.set_snapshot(snapshot);
        self.step(message);
    }

    /// The log begins anew behind a snapshot that raft-rs has taken.
    pub(super) fn reset_log(
        &mut self,
        snapshot: &Snapshot,
        out: &mut Vec<Output>,
    ) -> Option<(LogIndex, Term)> {
        let metadata = snapshot.get_metadata();
        if metadata.index == INVALID_ID {
            return None;
        }
        let place = (LogIndex::new(metadata.index), Term::new(metadata.term));
        let digest = snapshot.data.as_ref().try_into().expect("what `restore` gave it");
        let store = self.raft.mut_store();
        let job = store.reset(place, metadata.get_conf_state().clone(), u64::from_le_bytes(digest));
        // The Ready that it is part of is durable with the job that follows.
        self.write(job, out);
        Some(place)
    }
}
