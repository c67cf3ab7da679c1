//! What a peer's message is held against before raft-rs sees it: that answers nonsense by a panic.
//!
//! Two kinds of nonsense. What no honest peer sends is dropped. What an honest leader sends only
//! when this replica lost what it had acknowledged is [`Damage`]: then the replica must not vote
//! any more, and stands still.

use raft::eraftpb::{Message, MessageType};
use tidings_types::offset::LogIndex;

use crate::port::Damage;
use crate::wire;

/// Where the replica stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// This node.
    pub(crate) node: u64,
    /// Its term.
    pub(crate) term: u64,
    /// Its last entry, durable or not.
    pub(crate) last_index: u64,
    /// It has entries that are not durable.
    pub(crate) has_unwritten: bool,
}

/// Why a message does not reach raft-rs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// It is dropped.
    Drop(&'static str),
    /// It proves a loss.
    Damage(Damage),
}

/// Holds a decoded message of the peer `from` against where the replica stands.
pub(crate) fn check(standing: &Standing, from: u64, message: &Message) -> Result<(), Objection> {
    if message.from != from || message.to != standing.node || from == standing.node {
        return Err(Objection::Drop("it is not from this peer, or not for this node"));
    }
    let is_current = standing.term <= message.term;
    match message.get_msg_type() {
        MessageType::MsgHeartbeat if is_current && standing.last_index < message.commit => {
            Err(Objection::Damage(Damage::TailLost {
                leader: wire::node(from),
                known: LogIndex::new(message.commit),
                last: LogIndex::new(standing.last_index),
            }))
        }
        MessageType::MsgAppendResponse
            if standing.term == message.term
                && !message.reject
                && standing.last_index < message.index =>
        {
            Err(Objection::Drop("it acknowledges what was never sent"))
        }
        // A vote is asked for only once everything before is durable; raft-rs counts on that.
        MessageType::MsgRequestVoteResponse | MessageType::MsgTimeoutNow
            if standing.has_unwritten =>
        {
            Err(Objection::Drop("entries are not durable yet"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDING: Standing = Standing { node: 2, term: 5, last_index: 9, has_unwritten: true };

    fn message(kind: MessageType) -> Message {
        let mut message = Message::default();
        message.set_msg_type(kind);
        (message.from, message.to, message.term) = (1, 2, 5);
        message
    }

    #[test]
    fn lost_tail_is_told_from_a_late_message() {
        let mut heartbeat = message(MessageType::MsgHeartbeat);
        heartbeat.commit = 9;
        assert_eq!(check(&STANDING, 1, &heartbeat), Ok(()));
        heartbeat.commit = 10;
        let verdict = check(&STANDING, 1, &heartbeat);
        assert!(matches!(verdict, Err(Objection::Damage(Damage::TailLost { .. }))));
        heartbeat.term = 4;
        assert_eq!(check(&STANDING, 1, &heartbeat), Ok(()));
    }

    #[test]
    fn lies_are_dropped() {
        let mut ack = message(MessageType::MsgAppendResponse);
        ack.index = 10;
        assert!(check(&STANDING, 1, &ack).is_err());
        ack.index = 9;
        assert_eq!(check(&STANDING, 1, &ack), Ok(()));
        assert!(check(&STANDING, 3, &ack).is_err(), "it speaks for another");
        ack.to = 3;
        assert!(check(&STANDING, 1, &ack).is_err(), "it is for another");
        let vote = message(MessageType::MsgRequestVoteResponse);
        assert!(check(&STANDING, 1, &vote).is_err());
        assert_eq!(check(&Standing { has_unwritten: false, ..STANDING }, 1, &vote), Ok(()));
    }
}
