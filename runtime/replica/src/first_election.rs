//! The first election of a cluster: every voter must have a hand in it.
//!
//! A replica with an empty log is no witness: whatever was committed, it would elect anyone. In a new
//! cluster all are so. Whoever leads first therefore needs the vote of every one of them, and from
//! then on each true voter has a vote on its disk. One that has none was wiped.

use std::collections::BTreeMap;

use raft::eraftpb::{ConfState, Message, MessageType};

/// Grants of one round, kept from raft-rs until all are there.
#[derive(Default)]
pub(crate) struct FirstElection {
    round: Option<(u64, MessageType)>,
    grants: BTreeMap<u64, Message>,
}

impl FirstElection {
    /// Takes a vote or pre-vote for this replica, whose log is empty; gives back all once no voter
    /// is missing.
    pub(crate) fn grant(&mut self, grant: Message, conf: &ConfState) -> Vec<Message> {
        let round = Some((grant.term, grant.get_msg_type()));
        if self.round != round {
            self.round = round;
            self.grants.clear();
        }
        let node = grant.to;
        self.grants.insert(grant.from, grant);
        let mut others = conf.voters.iter().chain(&conf.voters_outgoing).filter(|&&it| it != node);
        if others.all(|voter| self.grants.contains_key(voter)) {
            std::mem::take(&mut self.grants).into_values().collect()
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One voter that is missing, or whose vote was for another round, must hold up the election.
    #[test]
    fn all_voters_must_grant_in_one_round() {
        let conf = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
        let grant = |from, term| {
            let mut message = Message::default();
            message.set_msg_type(MessageType::MsgRequestVoteResponse);
            (message.from, message.to, message.term) = (from, 1, term);
            message
        };
        let mut first = FirstElection::default();
        assert!(first.grant(grant(2, 5), &conf).is_empty());
        assert!(first.grant(grant(2, 5), &conf).is_empty(), "twice the same");
        assert!(first.grant(grant(3, 6), &conf).is_empty());
        assert_eq!(first.grant(grant(2, 6), &conf).len(), 2);
    }
}
