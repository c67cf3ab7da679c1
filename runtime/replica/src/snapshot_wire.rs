//! The messages that carry a snapshot: its parts one way, how much of it has come the other way.
//!
//! ```text
//!    0 version u8   1 kind u8   2 flags u8   3 0 u8   4 from u32   8 to u32   12 shard u32
//!   16 term u64    24 index u64   32 snapshot's term u64   40 at u64
//!   48 a part only: size of the whole u64 · acknowledged u64 · bytes to the end
//! ```
//!
//! A snapshot is a checkpoint's file as the leader has it. Its own digest covers all of it, so the
//! parts have none.

use bytes::{BufMut, Bytes, BytesMut};
use tidings_types::id::NodeId;
use tidings_types::layout::{Malformed, Take};
use tidings_types::limits::CHECKPOINT_BYTES_MAX;
use tidings_types::offset::{LogIndex, Term};

use crate::wire::{COUNT_MAX, FLAG_VOTER, SHARD, VERSION};

/// Bytes of a file in one message; few in tests, so that a small state takes many.
pub(crate) const PART_BYTES_MAX: usize = if cfg!(test) { 1024 } else { 256 * 1024 };
/// Largest file: the state, and room for who votes and the leader's local part.
pub(crate) const SNAPSHOT_BYTES_MAX: u64 = CHECKPOINT_BYTES_MAX as u64 + 32 * 1024 * 1024;

const PART: u8 = 10;
const HAS: u8 = 11;
const REFUSED: u8 = 12;
const HEADER_BYTES: usize = 48;

/// A message about a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotMessage {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// The leader's term.
    pub(crate) term: u64,
    /// The snapshot's entry, and that one's term.
    pub(crate) place: (LogIndex, Term),
    /// Where a part begins; what is wanted next, in an answer.
    pub(crate) at: u64,
    pub(crate) content: Content,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// From the leader: some bytes of the file, or none to ask how far it has come.
    Part {
        total: u64,
        /// Up to where the receiver acknowledged the log.
        acked: u64,
        bytes: Bytes,
        /// The receiver votes, as the leader sees it.
        is_voter: bool,
    },
    /// From the follower: it has everything before `at`.
    Has,
    /// From the follower: this is no snapshot.
    Refused,
}

/// Whether the bytes are a message of this kind, sound or not.
pub(crate) fn is_one(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|&kind| PART <= kind)
}

/// The bytes of a message.
pub(crate) fn encode(message: &SnapshotMessage) -> Bytes {
    let (kind, flags) = match message.content {
        Content::Part { is_voter: true, .. } => (PART, FLAG_VOTER),
        Content::Part { .. } => (PART, 0),
        Content::Has => (HAS, 0),
        Content::Refused => (REFUSED, 0),
    };
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES);
    bytes.put_slice(&[VERSION, kind, flags, 0]);
    bytes.put_u32_le(message.from.get());
    bytes.put_u32_le(message.to.get());
    bytes.put_u32_le(SHARD);
    bytes.put_u64_le(message.term);
    bytes.put_u64_le(message.place.0.get());
    bytes.put_u64_le(message.place.1.get());
    bytes.put_u64_le(message.at);
    if let Content::Part { total, acked, bytes: part, .. } = &message.content {
        bytes.put_u64_le(*total);
        bytes.put_u64_le(*acked);
        bytes.put_slice(part);
    }
    bytes.freeze()
}

/// Reads a peer's message.
pub(crate) fn decode(bytes: Bytes) -> Result<SnapshotMessage, Malformed> {
    let mut take = Take::new("snapshot message", bytes);
    if take.u8()? != VERSION {
        return Err(take.malformed("unknown version"));
    }
    let (kind, flags) = (take.u8()?, take.u8()?);
    take.u8()?;
    let (from, to) = (NodeId::new(take.u32()?), NodeId::new(take.u32()?));
    if take.u32()? != SHARD {
        return Err(take.malformed("unknown shard"));
    }
    let term = take.u64()?;
    let place = (LogIndex::new(take.u64()?), Term::new(take.u64()?));
    let at = take.u64()?;
    let is_counted = |count: u64| (1..=COUNT_MAX).contains(&count);
    if !is_counted(place.1.get()) || !is_counted(place.0.get()) || COUNT_MAX < term {
        return Err(take.malformed("counts beyond reason"));
    }
    if term < place.1.get() {
        return Err(take.malformed("a snapshot from a later term"));
    }
    let content = match kind {
        PART => take_part(&mut take, at, flags & FLAG_VOTER != 0)?,
        HAS => Content::Has,
        REFUSED => Content::Refused,
        _ => return Err(take.malformed("unknown kind")),
    };
    take.end()?;
    if from.get() == 0 || to.get() == 0 {
        return Err(take.malformed("there is no node 0"));
    }
    Ok(SnapshotMessage { from, to, term, place, at, content })
}

fn take_part(take: &mut Take, at: u64, is_voter: bool) -> Result<Content, Malformed> {
    let (total, acked) = (take.u64()?, take.u64()?);
    let n_bytes = take.n_left();
    if !(1..=SNAPSHOT_BYTES_MAX).contains(&total) {
        return Err(take.malformed("a size beyond what is taken"));
    }
    if PART_BYTES_MAX < n_bytes || total < at || total - at < n_bytes as u64 {
        return Err(take.malformed("a part beyond its snapshot"));
    }
    Ok(Content::Part { total, acked, bytes: take.bytes(n_bytes)?, is_voter })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part() -> SnapshotMessage {
        let bytes = Bytes::from_static(b"abc");
        SnapshotMessage {
            from: NodeId::new(1),
            to: NodeId::new(2),
            term: 7,
            place: (LogIndex::new(9), Term::new(5)),
            at: 4,
            content: Content::Part { total: 8, acked: 3, bytes, is_voter: true },
        }
    }

    #[test]
    fn messages_have_their_golden_bytes() {
        let mut golden = b"\x01\x0a\x04\0\x01\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        for count in [7_u64, 9, 5, 4, 8, 3] {
            golden.extend(count.to_le_bytes());
        }
        golden.extend(b"abc");
        assert_eq!(encode(&part()), golden);
        assert_eq!(decode(golden.into()), Ok(part()));
        for (content, kind) in [(Content::Has, 11), (Content::Refused, 12)] {
            let answer = SnapshotMessage { content, ..part() };
            let bytes = encode(&answer);
            assert_eq!((bytes.len(), bytes[1], bytes[2]), (HEADER_BYTES, kind, 0));
            assert!(is_one(&bytes));
            assert_eq!(decode(bytes), Ok(answer));
        }
    }

    /// A peer must not make us keep more than a snapshot may have, nor read past its end.
    #[test]
    fn impossible_parts_are_refused() {
        let refused = |change: fn(&mut SnapshotMessage)| {
            let mut message = part();
            change(&mut message);
            decode(encode(&message)).unwrap_err().why
        };
        let total = |m: &mut SnapshotMessage, total| {
            m.content = Content::Part { total, acked: 0, bytes: Bytes::new(), is_voter: false };
        };
        assert_eq!(refused(|m| m.at = 6), "a part beyond its snapshot");
        assert_eq!(refused(|m| m.at = u64::MAX), "a part beyond its snapshot");
        assert_eq!(refused(|m| m.term = 4), "a snapshot from a later term");
        assert_eq!(refused(|m| m.place.0 = LogIndex::ZERO), "counts beyond reason");
        assert_eq!(refused(|m| m.from = NodeId::new(0)), "there is no node 0");
        let mut message = part();
        total(&mut message, SNAPSHOT_BYTES_MAX + 1);
        assert!(decode(encode(&message)).is_err());
        total(&mut message, 0);
        assert!(decode(encode(&message)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), at in 0_usize..60, byte: u8) {
            let _ = decode(bytes.into());
            let mut bytes = encode(&part()).to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = decode(bytes.into());
        }
    }
}
