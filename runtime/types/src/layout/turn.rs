//! A turn section: one event's success and the events that its handling emitted, all or nothing.
//!
//! ```text
//!   group u32 · topic u32 · offset u64 · lane epoch u32 · n u32
//!   len u32 · records section without producer and sequence (both zero)      (n times)
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::records::Records;
use super::take::{Malformed, Take};
use crate::id::{GroupId, TopicId};
use crate::offset::{LaneEpoch, Offset};

/// See the module's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whose mailbox.
    pub group: GroupId,
    /// The topic of the handled event.
    pub topic: TopicId,
    /// The handled event.
    pub offset: Offset,
    /// The epoch in which its lane was worked.
    pub lane_epoch: LaneEpoch,
    /// What was emitted: one records section for each topic.
    pub emitted: Vec<Bytes>,
}

impl Turn {
    /// The section's bytes.
    pub fn encode(&self) -> Bytes {
        let n_emitted: usize = self.emitted.iter().map(|section| 4 + section.len()).sum();
        let mut bytes = BytesMut::with_capacity(24 + n_emitted);
        let length = |n| u32::try_from(n).expect("a turn is bounded by TURN_BYTES_MAX");
        bytes.put_u32_le(self.group.get());
        bytes.put_u32_le(self.topic.get());
        bytes.put_u64_le(self.offset.get());
        bytes.put_u32_le(self.lane_epoch.get());
        bytes.put_u32_le(length(self.emitted.len()));
        for section in &self.emitted {
            bytes.put_u32_le(length(section.len()));
            bytes.put_slice(section);
        }
        bytes.freeze()
    }

    /// Reads a section. What was emitted is checked by [`Records::parse`] and [`Records::check`].
    ///
    /// # Errors
    /// If the bytes are not one.
    pub fn parse(section: Bytes) -> Result<Self, Malformed> {
        let mut take = Take::new("turn section", section);
        let group = GroupId::new(take.u32()?);
        let topic = TopicId::new(take.u32()?);
        let offset = Offset::new(take.u64()?);
        let lane_epoch = LaneEpoch::new(take.u32()?);
        let n_emitted = take.u32()?;
        let mut emitted = Vec::new();
        for _ in 0..n_emitted {
            let len = take.u32()? as usize;
            emitted.push(take.bytes(len)?);
        }
        take.end()?;
        Ok(Self { group, topic, offset, lane_epoch, emitted })
    }

    /// The emitted sections, their headers read.
    ///
    /// # Errors
    /// If one of them is malformed.
    pub fn records(&self) -> Result<Vec<Records>, Malformed> {
        self.emitted.iter().cloned().map(Records::parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn turn_has_its_golden_bytes() {
        let turn = Turn {
            group: GroupId::new(1),
            topic: TopicId::new(2),
            offset: Offset::new(3),
            lane_epoch: LaneEpoch::new(4),
            emitted: vec![Bytes::from_static(b"xy")],
        };
        let golden = b"\x01\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\x01\0\0\0\x02\0\0\0xy";
        assert_eq!(turn.encode(), &golden[..]);
        assert_eq!(Turn::parse(Bytes::from_static(golden)), Ok(turn));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = Turn::parse(bytes.into()).map(|turn| turn.records());
        }
    }
}
