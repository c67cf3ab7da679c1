//! The data of a log entry: who made it, when, and its sections.
//!
//! ```text
//!   version u8 · 0 u8 · n_sections u16 · leader u32 · ts_ms u64
//!   kind u8 · flags u8 · 0 u16 · len u32 · section                  (n_sections times)
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::take::{Malformed, Take};
use crate::id::NodeId;

/// Size of the data before the first section.
pub const ENTRY_HEADER_BYTES: usize = 16;
/// Size of a section's header.
pub const SECTION_HEADER_BYTES: usize = 8;
const VERSION: u8 = 1;

/// What a section is. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SectionKind {
    /// See [`records`](super::records).
    Records = 1,
    /// See [`acks`](super::acks).
    Acks = 2,
    /// See [`turn`](super::turn).
    Turn = 3,
    /// See [`command`](super::command).
    Command = 4,
}

impl SectionKind {
    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Records),
            2 => Some(Self::Acks),
            3 => Some(Self::Turn),
            4 => Some(Self::Command),
            _ => None,
        }
    }
}

/// Puts sections together into the data of one entry.
#[derive(Debug)]
pub struct EntryBuilder {
    bytes: BytesMut,
    n_sections: u16,
}

impl EntryBuilder {
    /// An entry without sections, with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(capacity.max(ENTRY_HEADER_BYTES));
        bytes.put_bytes(0, ENTRY_HEADER_BYTES);
        Self { bytes, n_sections: 0 }
    }

    /// Appends a section.
    ///
    /// # Panics
    /// At more than 65,535 sections; the replica ends an entry long before.
    pub fn push(&mut self, kind: SectionKind, section: &[u8]) {
        self.bytes.reserve(SECTION_HEADER_BYTES + section.len());
        self.bytes.put_u8(kind as u8);
        self.bytes.put_u8(0);
        self.bytes.put_u16_le(0);
        self.bytes.put_u32_le(u32::try_from(section.len()).expect("a section fits an entry"));
        self.bytes.put_slice(section);
        self.n_sections = self.n_sections.checked_add(1).expect("the replica bounds sections");
    }

    /// Bytes so far.
    pub fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Sections so far.
    pub const fn n_sections(&self) -> u16 {
        self.n_sections
    }

    /// The entry's data.
    pub fn finish(mut self, leader: NodeId, ts_ms: u64) -> Bytes {
        let (mut header, _) = self.bytes.split_at_mut(ENTRY_HEADER_BYTES);
        header.put_u8(VERSION);
        header.put_u8(0);
        header.put_u16_le(self.n_sections);
        header.put_u32_le(leader.get());
        header.put_u64_le(ts_ms);
        self.bytes.freeze()
    }
}

/// An entry's data that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who proposed it.
    pub leader: NodeId,
    /// Cluster time in milliseconds.
    pub ts_ms: u64,
    /// What it holds, in order.
    pub sections: Vec<Section>,
}

/// One section of an entry, sharing the entry's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What the body is.
    pub kind: SectionKind,
    /// Where the body begins in the entry's data.
    pub at: u32,
    /// The body.
    pub body: Bytes,
}

impl Entry {
    /// Reads an entry's data, down to the sections' bodies.
    ///
    /// # Errors
    /// If the bytes are not an entry of a known version.
    pub fn parse(data: Bytes) -> Result<Self, Malformed> {
        let n_bytes = data.len();
        let mut take = Take::new("entry", data);
        if take.u8()? != VERSION {
            return Err(take.malformed("unknown version"));
        }
        take.u8()?;
        let n_sections = take.u16()?;
        let leader = NodeId::new(take.u32()?);
        let ts_ms = take.u64()?;
        let mut sections = Vec::with_capacity(usize::from(n_sections).min(64));
        for _ in 0..n_sections {
            let kind = SectionKind::of(take.u8()?).ok_or(take.malformed("unknown section"))?;
            take.u8()?;
            take.u16()?;
            let len = take.u32()? as usize;
            let at = n_bytes - take.n_left();
            let at = u32::try_from(at).map_err(|_| take.malformed("too long"))?;
            sections.push(Section { kind, at, body: take.bytes(len)? });
        }
        take.end()?;
        Ok(Self { leader, ts_ms, sections })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entry_has_its_golden_bytes() {
        let mut builder = EntryBuilder::with_capacity(0);
        builder.push(SectionKind::Acks, b"abc");
        let data = builder.finish(NodeId::new(5), 6);
        let golden = b"\x01\0\x01\0\x05\0\0\0\x06\0\0\0\0\0\0\0\x02\0\0\0\x03\0\0\0abc";
        assert_eq!(data, &golden[..]);
        let entry = Entry::parse(data).unwrap();
        assert_eq!((entry.leader, entry.ts_ms), (NodeId::new(5), 6));
        let body = Bytes::from_static(b"abc");
        assert_eq!(entry.sections, [Section { kind: SectionKind::Acks, at: 24, body }]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = Entry::parse(bytes.into());
        }
    }
}
