//! What is added to raft-rs's messages when they leave.
//!
//! - A heartbeat and an append: how much of the log its receiver is known to hold. If it holds less, it
//!   lost its disk's end, and finds that out before it takes anything or votes.
//! - A request for a vote: the same, from when this node led.
//! - A heartbeat and an offer of leadership: when they were sent.
//! - What only a leader says: whether its receiver votes.

use raft::eraftpb::{Message, MessageType};

use crate::port::Output;
use crate::ready::Consensus;
use crate::wire;

impl Consensus {
    pub(super) fn post(&mut self, messages: Vec<Message>, out: &mut Vec<Output>) {
        for mut message in messages {
            let (to, term) = (message.to, message.term);
            match message.get_msg_type() {
                MessageType::MsgSnapshot => self.want_snapshot(&message),
                MessageType::MsgAppend => {
                    wire::put_voter(&mut message, self.is_voter(to));
                    message.reject_hint = self.acked(to);
                }
                MessageType::MsgHeartbeat => {
                    wire::put_stamp(&mut message, self.now);
                    wire::put_voter(&mut message, self.is_voter(to));
                    message.index = self.acked(to);
                }
                MessageType::MsgTimeoutNow => {
                    wire::put_stamp(&mut message, self.now);
                    wire::put_voter(&mut message, self.is_voter(to));
                    self.certainty.offered(term, to, self.now);
                }
                MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                    message.reject_hint = self.committed_acks(to);
                }
                _ => {}
            }
            // A snapshot has no form: its parts travel by themselves.
            if let Some(bytes) = wire::encode(&message) {
                out.push(Output::Send { to: wire::node(to), bytes });
            }
        }
    }

    /// Up to where a follower must hold the log: in this term whatever it acknowledged.
    pub(crate) fn acked(&self, node: u64) -> u64 {
        let progress = self.raft.raft.prs().get(node);
        progress.map_or(0, |progress| progress.matched).max(self.committed_acks(node))
    }

    fn committed_acks(&self, node: u64) -> u64 {
        self.acked.get(&node).copied().unwrap_or_default()
    }

    /// What a follower acknowledged and what was committed never leaves its log again, whoever
    /// leads.
    pub(super) fn remember_acks(&mut self) {
        if !self.is_leader() {
            return;
        }
        let committed = self.raft.raft.raft_log.committed;
        for (&node, progress) in self.raft.raft.prs().iter() {
            let known = self.acked.entry(node).or_default();
            *known = progress.matched.min(committed).max(*known);
        }
    }
}
