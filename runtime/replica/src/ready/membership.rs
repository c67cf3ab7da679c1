//! Who votes and who leads: changes of it, and how sure a leader is.

use std::time::Duration;

use raft::INVALID_ID;
use raft::eraftpb::{Entry, EntryType};
use tidings_types::id::NodeId;
use tidings_types::offset::{LogIndex, Term};

use crate::certainty::CERTAIN_FOR;
use crate::membership::Change;
use crate::ready::Consensus;
use crate::storage;

impl Consensus {
    /// Puts a change of the membership into the leader's log. raft-rs turns one that it refuses
    /// into an entry without data.
    pub(crate) fn propose_change(&mut self, change: &Change) -> Option<(LogIndex, Term)> {
        let mut entry = Entry::default();
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry.data = storage::protobuf(&change.to_raft());
        entry.context = change.encode().into();
        self.propose_entry(entry)
    }

    /// Applies a committed change of the membership, if it makes sense.
    pub(crate) fn apply_change(&mut self, change: &Change) -> bool {
        let Ok(conf) = self.raft.apply_conf_change(&change.to_raft()) else {
            return false;
        };
        let id = self.raft.raft.id;
        // raft-rs expects a leader among the members, and panics when the next entry commits.
        let is_member = self.raft.raft.prs().get(id).is_some();
        if self.is_leader() && !is_member {
            let term = self.raft.raft.term;
            self.raft.raft.become_follower(term, INVALID_ID);
        }
        self.raft.mut_store().conf = conf;
        true
    }

    /// Whether everyone whom a change makes a voter holds some of the log. One that holds none
    /// could not be told from one whose directory was wiped.
    pub(crate) fn may_make_voters(&self, change: &Change) -> bool {
        let progress = self.raft.raft.prs();
        change.new_voters().all(|node| {
            let node = u64::from(node.get());
            self.is_voter(node) || progress.get(node).is_some_and(|progress| progress.matched > 0)
        })
    }

    /// Hands leadership over, if this one leads and that one votes. One that is away must not be
    /// asked: an offer without an answer takes this one's certainty for a while.
    pub(crate) fn transfer(&mut self, to: NodeId) {
        let (to, term) = (u64::from(to.get()), self.raft.raft.term);
        let certain_for = CERTAIN_FOR * self.pace.factor();
        let is_near = self.certainty.is_near(term, to, self.now, certain_for);
        if self.is_leader() && self.is_voter(to) && is_near {
            self.raft.transfer_leader(to);
        }
    }

    /// Whether nobody else can lead by now.
    pub(crate) fn leads_surely(&self, now: Duration) -> bool {
        let raft = &self.raft.raft;
        let conf = &self.raft.store().conf;
        let certain_for = CERTAIN_FOR * self.pace.factor();
        self.is_leader()
            && raft.lead_transferee.is_none()
            && self.certainty.is_sure((raft.id, raft.term), conf, now, certain_for)
    }
}
