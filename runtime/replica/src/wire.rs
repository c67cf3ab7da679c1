//! Raft messages between replicas, laid out by hand: no protobuf is ever parsed from a peer.
//!
//! ```text
//!    0 version u8   1 kind u8   2 flags u8   3 0 u8   4 from u32   8 to u32   12 shard u32
//!   16 term u64    24 log term u64   32 index u64    40 commit u64   48 commit term u64
//!   56 hint u64    64 n_entries u32  68 0 u32
//!   72 entries, each:
//!        kind u8 · 0 u8 · 0 u16 · len u32 · term u64 · body
//! ```
//!
//! Hint: where a refused follower's log ends; in an append and in a request for a vote, up to where the
//! receiver acknowledged the log; in a heartbeat, its answer and an offer of leadership, the moment when the
//! leader sent it, in microseconds of its own clock. A heartbeat's index is how much of the log its
//! receiver acknowledged.
//!
//! An entry's index is not sent: the first one follows the message's index, the others follow it.
//! What raft-rs would answer with a panic and what can be seen in the message alone is refused
//! here; the rest is held against where the replica stands. Proposals, snapshots, reads and raft-rs's local
//! messages have no number, so no peer can send one.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use tidings_types::id::NodeId;
use tidings_types::layout::entry::Entry as EntryData;
use tidings_types::layout::{Malformed, Take};
use tidings_types::limits::FRAME_BYTES_MAX;

use crate::membership::Change;

pub(crate) const VERSION: u8 = 1;
pub(crate) const SHARD: u32 = 0;
const HEADER_BYTES: usize = 72;
const ENTRY_HEADER_BYTES: usize = 16;
const FLAG_REJECT: u8 = 1;
const FLAG_TRANSFER: u8 = 2;
/// The receiver votes, as the leader sees it.
pub(crate) const FLAG_VOTER: u8 = 4;
/// Terms and indexes beyond this are nobody's; below it, counting up by one never overflows.
pub(crate) const COUNT_MAX: u64 = 1 << 62;

/// The numbers of the kinds of messages. 10 and up are kept for snapshots and reads.
const KINDS: [(u8, MessageType); 9] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgRequestPreVote),
    (6, MessageType::MsgRequestPreVoteResponse),
    (7, MessageType::MsgHeartbeat),
    (8, MessageType::MsgHeartbeatResponse),
    (9, MessageType::MsgTimeoutNow),
];

/// The bytes of a message; `None` for a kind that does not travel.
pub(crate) fn encode(message: &Message) -> Option<Bytes> {
    let (kind, _) = KINDS.into_iter().find(|&(_, kind)| kind == message.get_msg_type())?;
    let entries_bytes = |entry: &Entry| ENTRY_HEADER_BYTES + body(entry).len();
    let n_bytes = HEADER_BYTES + message.entries.iter().map(entries_bytes).sum::<usize>();
    let is_transfer = message.context == raft::CAMPAIGN_TRANSFER;
    let reject = if message.reject { FLAG_REJECT } else { 0 };
    let transfer = if is_transfer { FLAG_TRANSFER } else { 0 };

    let mut bytes = BytesMut::with_capacity(n_bytes);
    let voter =
        if is_leaders(message.get_msg_type()) && message.priority > 0 { FLAG_VOTER } else { 0 };
    let hint = stamp(message).map_or(message.reject_hint, micros);
    bytes.put_slice(&[VERSION, kind, reject | transfer | voter, 0]);
    bytes.put_u32_le(node_number(message.from));
    bytes.put_u32_le(node_number(message.to));
    bytes.put_u32_le(SHARD);
    bytes.put_u64_le(message.term);
    bytes.put_u64_le(message.log_term);
    bytes.put_u64_le(message.index);
    bytes.put_u64_le(message.commit);
    bytes.put_u64_le(message.commit_term);
    bytes.put_u64_le(hint);
    bytes.put_u32_le(u32::try_from(message.entries.len()).expect("a message is below 2 MiB"));
    bytes.put_u32_le(0);
    for entry in &message.entries {
        let body = body(entry);
        bytes.put_u8(kind_number(entry.get_entry_type()));
        bytes.put_bytes(0, 3);
        bytes.put_u32_le(u32::try_from(body.len()).expect("an entry is below 1.5 MiB"));
        bytes.put_u64_le(entry.term);
        bytes.put_slice(body);
    }
    assert!(bytes.len() <= FRAME_BYTES_MAX, "a message exceeds what peers accept");
    Some(bytes.freeze())
}

/// Reads a peer's message. Entries share the message's memory.
pub(crate) fn decode(bytes: Bytes) -> Result<Message, Malformed> {
    let is_too_long = bytes.len() > FRAME_BYTES_MAX;
    let mut take = Take::new("raft message", bytes);
    if is_too_long {
        return Err(take.malformed("longer than a frame"));
    }
    let mut message = Message::default();
    if take.u8()? != VERSION {
        return Err(take.malformed("unknown version"));
    }
    let number = take.u8()?;
    let kind = KINDS.into_iter().find(|&(kind, _)| kind == number);
    let (_, kind) = kind.ok_or(take.malformed("unknown kind"))?;
    message.set_msg_type(kind);
    let flags = take.u8()?;
    message.reject = flags & FLAG_REJECT != 0;
    if flags & FLAG_TRANSFER != 0 && kind == MessageType::MsgRequestVote {
        message.context = Bytes::from_static(raft::CAMPAIGN_TRANSFER);
    }
    take.u8()?;
    message.from = take_node(&mut take)?;
    message.to = take_node(&mut take)?;
    if take.u32()? != SHARD {
        return Err(take.malformed("unknown shard"));
    }
    message.term = take_count(&mut take)?;
    message.log_term = take_count(&mut take)?;
    message.index = take_count(&mut take)?;
    message.commit = take_count(&mut take)?;
    message.commit_term = take_count(&mut take)?;
    let hint = take_count(&mut take)?;
    match kind {
        _ if !is_stamped(kind) => message.reject_hint = hint,
        _ if hint == 0 => {}
        _ => put_stamp(&mut message, Duration::from_micros(hint)),
    }
    if flags & FLAG_VOTER != 0 && is_leaders(kind) {
        put_voter(&mut message, true);
    }
    if message.term == 0 {
        return Err(take.malformed("term 0 is before the first"));
    }
    if kind == MessageType::MsgAppend && (message.index == 0) != (message.log_term == 0) {
        return Err(take.malformed("only the place before the first entry has no term"));
    }
    let n_entries = take.u32()?;
    take.u32()?;
    take_entries(&mut take, &mut message, n_entries)?;
    take.end()?;
    Ok(message)
}

const fn is_stamped(kind: MessageType) -> bool {
    matches!(
        kind,
        MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse | MessageType::MsgTimeoutNow
    )
}

/// Only a leader says that.
const fn is_leaders(kind: MessageType) -> bool {
    matches!(kind, MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgTimeoutNow)
}

fn micros(stamp: Duration) -> u64 {
    u64::try_from(stamp.as_micros()).unwrap_or(COUNT_MAX).min(COUNT_MAX)
}

/// Notes in a message when it was sent; raft-rs hands the context of a heartbeat back in its answer.
pub(crate) fn put_stamp(message: &mut Message, sent: Duration) {
    message.context = Bytes::copy_from_slice(&micros(sent).to_le_bytes());
}

/// When a message was sent, or the heartbeat that it answers.
pub(crate) fn stamp(message: &Message) -> Option<Duration> {
    let stamp = message.context.as_ref().try_into().ok().map(u64::from_le_bytes);
    stamp.filter(|_| is_stamped(message.get_msg_type())).map(Duration::from_micros)
}

/// Notes in a leader's message whether its receiver votes; raft-rs looks at no priority there.
pub(crate) fn put_voter(message: &mut Message, is_voter: bool) {
    message.priority = i64::from(is_voter);
}

/// Whether the leader counts on the receiver's vote.
pub(crate) fn is_to_voter(message: &Message) -> bool {
    is_leaders(message.get_msg_type()) && message.priority > 0
}

fn take_entries(take: &mut Take, message: &mut Message, n: u32) -> Result<(), Malformed> {
    if n > 0 && message.get_msg_type() != MessageType::MsgAppend {
        return Err(take.malformed("only an append has entries"));
    }
    let mut entries = Vec::with_capacity(take.n_left().min(64));
    let mut term = message.log_term.max(1);
    for place in 1..=u64::from(n) {
        let mut entry = take_entry(take)?;
        if entry.term < term || message.term < entry.term {
            return Err(take.malformed("terms of entries out of order"));
        }
        term = entry.term;
        entry.index = message.index + place;
        entries.push(entry);
    }
    message.set_entries(entries.into());
    Ok(())
}

fn take_entry(take: &mut Take) -> Result<Entry, Malformed> {
    let kind = take.u8()?;
    take.bytes(3)?;
    let n_bytes = take.u32()? as usize;
    let term = take_count(take)?;
    let body = take.bytes(n_bytes)?;
    let kind = entry_type(kind).ok_or(take.malformed("unknown kind of entry"))?;
    // What cannot be applied must not be acknowledged.
    match kind {
        EntryType::EntryNormal if body.is_empty() => {}
        EntryType::EntryNormal => drop(EntryData::parse(body.clone())?),
        _ => drop(Change::decode(body.clone())?),
    }
    Ok(entry(kind, term, body))
}

fn take_node(take: &mut Take) -> Result<u64, Malformed> {
    match take.u32()? {
        0 => Err(take.malformed("there is no node 0")),
        node => Ok(u64::from(node)),
    }
}

fn take_count(take: &mut Take) -> Result<u64, Malformed> {
    let count = take.u64()?;
    if count <= COUNT_MAX { Ok(count) } else { Err(take.malformed("counts beyond reason")) }
}

/// What is stored and sent of an entry: its data, or our own copy of a membership change.
pub(crate) fn body(entry: &Entry) -> &Bytes {
    match entry.get_entry_type() {
        EntryType::EntryNormal => &entry.data,
        _ => &entry.context,
    }
}

/// An entry as raft-rs wants it, without its index.
pub(crate) fn entry(kind: EntryType, term: u64, body: Bytes) -> Entry {
    let mut entry = Entry::default();
    entry.set_entry_type(kind);
    entry.term = term;
    match kind {
        EntryType::EntryNormal => entry.data = body,
        _ => entry.context = body,
    }
    entry
}

/// The number of an entry's kind, on disk and on the wire.
pub(crate) const fn kind_number(kind: EntryType) -> u8 {
    match kind {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    }
}

/// The kind of that number. Changes of the first form are never proposed.
pub(crate) const fn entry_type(number: u8) -> Option<EntryType> {
    match number {
        0 => Some(EntryType::EntryNormal),
        2 => Some(EntryType::EntryConfChangeV2),
        _ => None,
    }
}

/// A node of ours, as raft-rs names it.
pub(crate) fn node(id: u64) -> NodeId {
    NodeId::new(node_number(id))
}

fn node_number(id: u64) -> u32 {
    u32::try_from(id).expect("node ids have 32 bits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidings_types::layout::entry::{EntryBuilder, SectionKind};

    use super::*;
    use crate::membership::Step;

    fn data() -> Bytes {
        let mut builder = EntryBuilder::with_capacity(0);
        builder.push(SectionKind::Acks, b"abc");
        builder.finish(NodeId::new(5), 6)
    }

    fn append() -> Message {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        (message.from, message.to, message.term) = (1, 2, 7);
        (message.log_term, message.index, message.commit) = (5, 9, 8);
        let change = Change { steps: vec![(Step::Learner, NodeId::new(4))] };
        let mut entries = vec![
            entry(EntryType::EntryNormal, 6, data()),
            entry(EntryType::EntryConfChangeV2, 7, change.encode().into()),
            entry(EntryType::EntryNormal, 7, Bytes::new()),
        ];
        for (entry, index) in entries.iter_mut().zip(10..) {
            entry.index = index;
        }
        message.set_entries(entries.into());
        message
    }

    #[test]
    fn message_has_its_golden_bytes() {
        let bytes = encode(&append()).unwrap();
        let mut golden = b"\x01\x01\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        for count in [7_u64, 5, 9, 8, 0, 0, 3] {
            golden.extend(count.to_le_bytes());
        }
        golden.extend(b"\0\0\0\0\x1b\0\0\0\x06\0\0\0\0\0\0\0");
        golden.extend(data());
        golden.extend(b"\x02\0\0\0\x0c\0\0\0\x07\0\0\0\0\0\0\0");
        golden.extend(b"\x01\x01\0\0\x02\0\0\0\x04\0\0\0");
        golden.extend(b"\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0");
        assert_eq!(bytes, golden);
        assert_eq!(decode(bytes).unwrap(), append());
    }

    /// A heartbeat carries the moment that it was sent and whether its receiver votes, in the places
    /// that are written down.
    #[test]
    fn heartbeat_has_its_golden_bytes() {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgHeartbeat);
        (message.from, message.to, message.term) = (1, 2, 7);
        (message.index, message.commit) = (9, 8);
        put_stamp(&mut message, Duration::from_micros(0x0102));
        put_voter(&mut message, true);
        let mut golden = b"\x01\x07\x04\0\x01\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        for count in [7_u64, 0, 9, 8, 0, 0x0102, 0] {
            golden.extend(count.to_le_bytes());
        }
        assert_eq!(encode(&message).unwrap(), golden);
        let again = decode(golden.into()).unwrap();
        assert_eq!((stamp(&again), is_to_voter(&again)), (stamp(&message), true));
    }

    #[test]
    fn every_kind_that_travels_comes_back() {
        for (_, kind) in KINDS {
            let mut message = Message::default();
            message.set_msg_type(kind);
            (message.from, message.to, message.term) = (3, 4, 1);
            message.reject = true;
            message.commit_term = 1;
            if is_stamped(kind) {
                put_stamp(&mut message, Duration::from_micros(11));
            } else {
                message.reject_hint = 11;
            }
            put_voter(&mut message, is_leaders(kind));
            if kind == MessageType::MsgRequestVote {
                message.context = Bytes::from_static(raft::CAMPAIGN_TRANSFER);
            }
            assert_eq!(decode(encode(&message).unwrap()).unwrap(), message, "{kind:?}");
        }
    }

    /// What a peer must not send has no form: try to encode each such kind.
    #[test]
    fn proposals_and_local_messages_do_not_travel() {
        for kind in [
            MessageType::MsgPropose,
            MessageType::MsgHup,
            MessageType::MsgBeat,
            MessageType::MsgUnreachable,
            MessageType::MsgSnapStatus,
            MessageType::MsgCheckQuorum,
            MessageType::MsgTransferLeader,
            MessageType::MsgSnapshot,
            MessageType::MsgReadIndex,
        ] {
            let mut message = Message::default();
            message.set_msg_type(kind);
            assert_eq!(encode(&message), None, "{kind:?}");
        }
    }

    /// Each of these would make raft-rs panic, or store what cannot be applied.
    #[test]
    fn impossible_messages_are_refused() {
        let refused = |change: fn(&mut Message)| {
            let mut message = append();
            change(&mut message);
            decode(encode(&message).unwrap()).unwrap_err().why
        };
        assert_eq!(refused(|m| m.term = 0), "term 0 is before the first");
        assert_eq!(refused(|m| m.index = u64::MAX), "counts beyond reason");
        assert_eq!(refused(|m| m.from = 0), "there is no node 0");
        let no_term = "only the place before the first entry has no term";
        assert_eq!(refused(|m| m.log_term = 0), no_term);
        assert_eq!(refused(|m| m.index = 0), no_term);
        assert_eq!(refused(|m| m.mut_entries()[0].term = 4), "terms of entries out of order");
        assert_eq!(refused(|m| m.mut_entries()[2].term = 8), "terms of entries out of order");
        assert_eq!(refused(|m| m.mut_entries()[0].data = vec![9].into()), "unknown version");
        assert_eq!(refused(|m| m.mut_entries()[1].context = vec![9].into()), "unknown version");
        let response = |m: &mut Message| m.set_msg_type(MessageType::MsgAppendResponse);
        assert_eq!(refused(response), "only an append has entries");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), at in 0_usize..200, byte: u8) {
            let _ = decode(bytes.into());
            let mut bytes = encode(&append()).unwrap().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = decode(bytes.into());
        }
    }
}
