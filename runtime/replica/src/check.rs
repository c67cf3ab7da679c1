//! What a peer's message is held against before raft-rs sees it: that answers nonsense by a panic.
//!
//! Two kinds of nonsense. What no honest peer sends is dropped. What an honest leader sends only
//! when this replica lost what it had acknowledged is [`Damage`]: then the replica must not vote
//! any more, and stands still.

use std::time::Duration;

use raft::eraftpb::{Message, MessageType};
use tidings_types::id::NodeId;
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
    /// It votes, as far as it has applied, or was told at the start.
    pub(crate) is_voter: bool,
    /// It has voted, ever.
    pub(crate) has_voted: bool,
    /// It started less than an election's shortest time ago.
    pub(crate) is_new: bool,
    /// The newest heartbeat that it heard: whose, in which term, and when it was sent.
    pub(crate) heard: Option<(u64, u64, Duration)>,
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
    if standing.last_index == 0 {
        check_empty(standing, message)?;
    }
    let is_current = standing.term <= message.term;
    let tail_lost = |known: u64| {
        let (leader, known) = (wire::node(from), LogIndex::new(known));
        let last = LogIndex::new(standing.last_index);
        Err(Objection::Damage(Damage::TailLost { leader, known, last }))
    };
    match message.get_msg_type() {
        // What it acknowledged in this term, or what was committed, cannot have left its log.
        MessageType::MsgHeartbeat
            if is_current && standing.last_index < message.commit.max(message.index) =>
        {
            tail_lost(message.commit.max(message.index))
        }
        MessageType::MsgAppend if is_current && standing.last_index < message.reject_hint => {
            tail_lost(message.reject_hint)
        }
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote
            if standing.last_index < message.reject_hint =>
        {
            tail_lost(message.reject_hint)
        }
        // Before it was stopped it may have heard a leader that counts on its patience.
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote if standing.is_new => {
            Err(Objection::Drop("it started just now"))
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
        // An offer that its leader has given up must not make a second leader.
        MessageType::MsgTimeoutNow if !is_offer_fresh(standing, message) => {
            Err(Objection::Drop("the offer is older than what was heard since"))
        }
        _ => Ok(()),
    }
}

/// A part of a snapshot is a leader's message too: of its term, and what it knows of the receiver.
pub(crate) fn check_snapshot(
    standing: &Standing,
    peer: NodeId,
    term: u64,
    known: (bool, u64),
) -> Result<(), Damage> {
    let (is_to_voter, acked) = known;
    check_wiped(standing, peer, is_to_voter)?;
    if standing.term <= term && standing.last_index < acked {
        let (known, last) = (LogIndex::new(acked), LogIndex::new(standing.last_index));
        return Err(Damage::TailLost { leader: peer, known, last });
    }
    Ok(())
}

fn check_wiped(standing: &Standing, peer: NodeId, is_to_voter: bool) -> Result<(), Damage> {
    let is_wiped = if standing.is_voter { !standing.has_voted } else { is_to_voter };
    if standing.last_index == 0 && is_wiped { Err(Damage::Wiped { peer }) } else { Ok(()) }
}

/// A replica that holds nothing of the log. Either its cluster only begins: then nobody leads yet,
/// and whoever is to lead first needs its vote. Or it was added: then it does not vote before it
/// holds something. Whoever takes it for more knew it before its directory was wiped.
fn check_empty(standing: &Standing, message: &Message) -> Result<(), Objection> {
    let peer = wire::node(message.from);
    let kind = message.get_msg_type();
    if matches!(
        kind,
        MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgTimeoutNow
    ) {
        let checked = check_wiped(standing, peer, wire::is_to_voter(message));
        return checked.map_err(Objection::Damage);
    }
    let is_request = matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
    if !standing.is_voter && is_request {
        return Err(Objection::Drop("it holds nothing to judge a candidate by"));
    }
    if !standing.is_voter || standing.has_voted {
        return Ok(());
    }
    if is_request && message.index > 0 {
        return Err(Objection::Damage(Damage::Wiped { peer }));
    }
    let is_pre_vote = kind == MessageType::MsgRequestPreVoteResponse && !message.reject;
    // Its term is the sign that it has voted.
    if !is_request && !is_pre_vote && standing.term < message.term {
        return Err(Objection::Drop("only a vote takes it beyond the first term"));
    }
    Ok(())
}

fn is_offer_fresh(standing: &Standing, message: &Message) -> bool {
    let heard =
        standing.heard.filter(|&(from, term, _)| (from, term) == (message.from, message.term));
    let newest = heard.map(|(_, _, sent)| sent);
    newest.zip(wire::stamp(message)).is_some_and(|(newest, sent)| newest <= sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDING: Standing = Standing {
        node: 2,
        term: 5,
        last_index: 9,
        has_unwritten: true,
        is_voter: true,
        has_voted: true,
        is_new: false,
        heard: None,
    };

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
