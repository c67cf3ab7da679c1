//! What frames other than entries say, and the sum of it that each segment's Head restates.
//!
//! ```text
//!   Head       header: term and index of the last entry before this segment
//!              version u8 · 0 ×3 · vote u32 · term u64 · commit u64 · purge index u64
//!              purge term u64 · reset at u64 · closed at u64 · incarnation u64
//!              membership len u32 · 0 u32 · membership
//!   HardState  header: term and commit;  body: vote u32 · 0 u32
//!   Purge      header: term and index;   no body
//!   Reset      header: term and index;   body: digest of the checkpoint u64
//! ```

use bytes::Bytes;
use tidings_types::id::{Incarnation, NodeId};
use tidings_types::layout::{Malformed, Take};
use tidings_types::offset::{LogIndex, Position, Term};

use crate::entry::HardState;

const VERSION: u8 = 1;

/// All that must survive the purge of earlier segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) hard_state: HardState,
    /// Last purged entry.
    pub(crate) purged: (LogIndex, Term),
    /// Last entry, whether it is purged or not.
    pub(crate) last: (LogIndex, Term),
    /// Where the newest Reset stands; 0 if there is none.
    pub(crate) reset_at: Position,
    /// Where the frames of the segment before ended.
    pub(crate) closed_at: Position,
    pub(crate) incarnation: Incarnation,
    /// The voters as of the newest checkpoint, in the replica's form; for people with a hex editor.
    pub(crate) membership: Vec<u8>,
}

fn vote_number(vote: Option<NodeId>) -> u32 {
    vote.map_or(0, NodeId::get)
}

fn vote_of(number: u32) -> Option<NodeId> {
    (number != 0).then(|| NodeId::new(number))
}

/// The body of a HardState frame.
pub(crate) fn encode_vote(vote: Option<NodeId>) -> Bytes {
    Bytes::copy_from_slice(&u64::from(vote_number(vote)).to_le_bytes())
}

/// Reads the body of a HardState frame.
pub(crate) fn parse_vote(body: Bytes) -> Result<Option<NodeId>, Malformed> {
    let mut take = Take::new("hard state frame", body);
    let vote = take.u32()?;
    take.u32()?;
    take.end()?;
    Ok(vote_of(vote))
}

impl Head {
    /// The body of a Head frame.
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(72 + self.membership.len());
        bytes.extend([VERSION, 0, 0, 0]);
        bytes.extend(vote_number(self.hard_state.vote).to_le_bytes());
        let numbers = [
            self.hard_state.term.get(),
            self.hard_state.commit.get(),
            self.purged.0.get(),
            self.purged.1.get(),
            self.reset_at.get(),
            self.closed_at.get(),
            self.incarnation.get(),
        ];
        numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        let n_membership = u32::try_from(self.membership.len()).expect("it came from a frame");
        bytes.extend(u64::from(n_membership).to_le_bytes());
        bytes.extend(&self.membership);
        bytes.into()
    }

    /// Reads the body of a Head frame; `last` is in its header.
    pub(crate) fn parse(last: (LogIndex, Term), body: Bytes) -> Result<Self, Malformed> {
        let mut take = Take::new("head frame", body);
        if take.u8()? != VERSION {
            return Err(take.malformed("unknown version"));
        }
        take.u8()?;
        take.u16()?;
        let vote = vote_of(take.u32()?);
        let term = Term::new(take.u64()?);
        let commit = LogIndex::new(take.u64()?);
        let purged = (LogIndex::new(take.u64()?), Term::new(take.u64()?));
        let reset_at = Position::new(take.u64()?);
        let closed_at = Position::new(take.u64()?);
        let incarnation = Incarnation::new(take.u64()?);
        let n_membership = take.u32()?;
        take.u32()?;
        let membership = take.bytes(n_membership as usize)?.to_vec();
        take.end()?;
        let hard_state = HardState { term, vote, commit };
        Ok(Self { hard_state, purged, last, reset_at, closed_at, incarnation, membership })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn head_has_its_golden_bytes() {
        let number = |n| (LogIndex::new(n), Term::new(n + 1));
        let vote = Some(NodeId::new(2));
        let head = Head {
            hard_state: HardState { term: Term::new(3), vote, commit: LogIndex::new(4) },
            purged: number(5),
            last: number(9),
            reset_at: Position::new(7),
            closed_at: Position::new(8),
            incarnation: Incarnation::new(1),
            membership: b"mm".to_vec(),
        };
        let mut golden = b"\x01\0\0\0\x02\0\0\0".to_vec();
        [3_u64, 4, 5, 6, 7, 8, 1, 2].iter().for_each(|n| golden.extend(n.to_le_bytes()));
        golden.extend(b"mm");
        assert_eq!(head.encode(), golden);
        assert_eq!(Head::parse(number(9), golden.into()), Ok(head));
        assert_eq!(encode_vote(vote), &b"\x02\0\0\0\0\0\0\0"[..]);
        assert_eq!(parse_vote(encode_vote(vote)), Ok(vote));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = Head::parse(Default::default(), bytes.into());
        }
    }
}
