//! The header of a frame in the log. It is this replica's own: nothing in it replicates.
//!
//! ```text
//!    0 magic u32      4 crc32c u32    8 body length u32
//!   12 kind u8       13 flags u8     14 0 u16
//!   16 shard u32     20 0 u32        24 term u64
//!   32 index u64     40 durable mark u64
//! ```
//!
//! The crc is seeded with the salt of the frame's segment, so that bytes of an earlier use of the
//! space never validate, and covers the rest of the header and the whole body. An all-zero header is
//! invalid, because prepared space reads as zeros. A frame starts at a multiple of 8.

use crate::id::ShardId;
use crate::limits::FRAME_BYTES_MAX;
use crate::offset::{LogIndex, Position, Term};

/// Size of the header.
pub const FRAME_HEADER_BYTES: usize = 48;
/// Frames start at multiples of this.
pub const FRAME_ALIGN: usize = 8;
const MAGIC: u32 = 0x4D52_4654; // "TFRM"

/// What a frame holds. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// First frame of a segment: restates what must survive the purge of earlier ones.
    Head = 1,
    /// A Raft entry.
    Entry = 2,
    /// Term, vote and commit.
    HardState = 3,
    /// Entries up to the index are gone.
    Purge = 4,
    /// A snapshot was installed: every earlier entry is gone, also one with a higher index.
    Reset = 5,
    /// Nothing but a durable mark.
    Mark = 6,
}

impl FrameKind {
    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Head),
            2 => Some(Self::Entry),
            3 => Some(Self::HardState),
            4 => Some(Self::Purge),
            5 => Some(Self::Reset),
            6 => Some(Self::Mark),
            _ => None,
        }
    }
}

/// See the module's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the body is.
    pub kind: FrameKind,
    /// Meaning depends on the kind; for an Entry the Raft entry's type.
    pub flags: u8,
    /// Whose entry it is.
    pub shard: ShardId,
    /// The entry's term.
    pub term: Term,
    /// The entry's index.
    pub index: LogIndex,
    /// Up to here this log was known to be durable when the frame was written.
    pub durable: Position,
    /// Length of the body.
    pub body_bytes: u32,
}

impl FrameHeader {
    /// The header's bytes, with the crc over it and the body.
    pub fn encode(&self, salt: u32, body: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
        assert_eq!(self.body_bytes as usize, body.len());
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            for (target, source) in bytes.iter_mut().skip(at).zip(part) {
                *target = *source;
            }
            at += part.len();
        };
        put(&MAGIC.to_le_bytes());
        put(&[0; 4]);
        put(&self.body_bytes.to_le_bytes());
        put(&[self.kind as u8, self.flags, 0, 0]);
        put(&self.shard.get().to_le_bytes());
        put(&[0; 4]);
        put(&self.term.get().to_le_bytes());
        put(&self.index.get().to_le_bytes());
        put(&self.durable.get().to_le_bytes());
        let crc = frame_crc(salt, &bytes, body).to_le_bytes();
        for (target, source) in bytes.iter_mut().skip(4).zip(crc) {
            *target = source;
        }
        bytes
    }

    /// Reads a header without its crc; `None` if these bytes cannot be one.
    pub fn peek(bytes: &[u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        let u32_at = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let u64_at = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let body_bytes = u32_at(8)?;
        let [.., kind, flags, zero_a, zero_b] = *bytes.first_chunk::<16>()?;
        let is_ours = u32_at(0)? == MAGIC && [zero_a, zero_b] == [0; 2] && u32_at(20)? == 0;
        if !is_ours || body_bytes as usize > FRAME_BYTES_MAX {
            return None;
        }
        Some(Self {
            kind: FrameKind::of(kind)?,
            flags,
            shard: ShardId::new(u32_at(16)?),
            term: Term::new(u64_at(24)?),
            index: LogIndex::new(u64_at(32)?),
            durable: Position::new(u64_at(40)?),
            body_bytes,
        })
    }

    /// Whether header and body are what was written under this salt.
    pub fn is_intact(header: &[u8; FRAME_HEADER_BYTES], salt: u32, body: &[u8]) -> bool {
        let stored = header.get(4..8).and_then(|crc| crc.try_into().ok()).map(u32::from_le_bytes);
        stored == Some(frame_crc(salt, header, body))
    }

    /// What the frame takes in the log, with the gap to the next one.
    pub const fn frame_bytes(body_bytes: usize) -> usize {
        (FRAME_HEADER_BYTES + body_bytes).next_multiple_of(FRAME_ALIGN)
    }
}

/// The crc of a frame, as if its own field did not exist.
fn frame_crc(salt: u32, header: &[u8; FRAME_HEADER_BYTES], body: &[u8]) -> u32 {
    let (magic, rest) = header.split_at(4);
    let after_crc = rest.get(4..).unwrap_or_default();
    let crc = crc32c::crc32c_append(salt, magic);
    crc32c::crc32c_append(crc32c::crc32c_append(crc, after_crc), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Entry,
            flags: 1,
            shard: ShardId::new(0),
            term: Term::new(2),
            index: LogIndex::new(3),
            durable: Position::new(0x1_0000),
            body_bytes: 5,
        }
    }

    #[test]
    fn header_has_its_golden_bytes() {
        let bytes = sample().encode(7, b"hello");
        let mut golden = b"TFRM\0\0\0\0\x05\0\0\0\x02\x01\0\0\0\0\0\0\0\0\0\0".to_vec();
        golden.extend(b"\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0");
        golden[4..8].copy_from_slice(&[235, 151, 12, 249]);
        assert_eq!(bytes.to_vec(), golden);
    }

    #[test]
    fn frame_is_bound_to_its_salt_and_body() {
        let bytes = sample().encode(7, b"hello");
        assert_eq!(FrameHeader::peek(&bytes), Some(sample()));
        assert!(FrameHeader::is_intact(&bytes, 7, b"hello"));
        assert!(!FrameHeader::is_intact(&bytes, 8, b"hello"));
        assert!(!FrameHeader::is_intact(&bytes, 7, b"hallo"));
        assert_eq!(FrameHeader::peek(&[0; FRAME_HEADER_BYTES]), None);
    }
}
