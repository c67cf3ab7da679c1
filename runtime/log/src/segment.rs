//! Segment files: their names, their header, and how one is prepared.
//!
//! ```text
//!    0 magic u32      4 crc32c u32 over the rest of the 4 KiB     8 format u32   12 salt u32
//!   16 number u64    24 first position u64     32 size u64        40 created u64 (ms since 1970)
//!   48 cluster 16 B  64 node u32               68 zeros up to 4 KiB, then frames
//! ```
//!
//! A segment covers the positions `first .. first + size`, its header included, so a frame's place
//! in the file is its position less `first`. A file gets its name only when it is whole: zero-filled,
//! its header written, both durable. So a short or headless segment never is a crash's doing.

use std::io::{self, IoSlice};
use std::sync::Arc;

use tidings_types::id::{ClusterId, NodeId};
use tidings_types::limits::SEGMENT_HEADER_BYTES;
use tidings_types::offset::Position;

use crate::disk::{Disk, File};
use crate::identity::FORMAT;
use crate::pace::{GENTLE_STEP_BYTES, Go, Pace};

/// The folder of segments and index files.
pub(crate) const DIR: &str = "log";
const MAGIC: u32 = 0x4745_5354; // "TSEG"
const HEADER_BYTES: usize = SEGMENT_HEADER_BYTES as usize;
const FILL_BYTES: usize = 1 << 20;
/// A long fill is made durable in steps, so that the log's own syncs never wait for all of it.
const FILL_SYNC_BYTES: u64 = 8 << 20;

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) first: Position,
    pub(crate) size: u64,
    pub(crate) salt: u32,
    pub(crate) created_ms: u64,
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
}

/// What a header's bytes turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderRead {
    Intact(Segment),
    OtherVersion(u32),
    Damaged,
}

/// The path of a segment.
pub(crate) fn path(number: u64) -> String {
    format!("{DIR}/{number:016x}.seg")
}

/// The path of a segment's index file, within [`DIR`].
pub(crate) fn index_name(number: u64) -> String {
    format!("{number:016x}.idx")
}

/// The number in a segment's file name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16)
}

impl Segment {
    /// Where its first frame stands.
    pub(crate) fn first_frame(&self) -> Position {
        self.first.plus(SEGMENT_HEADER_BYTES)
    }

    /// Where its space ends.
    pub(crate) fn end(&self) -> Position {
        self.first.plus(self.size)
    }

    /// A position's place in the file.
    pub(crate) fn at(&self, position: Position) -> u64 {
        position.since(self.first)
    }

    fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(HEADER_BYTES);
        rest.extend(FORMAT.to_le_bytes());
        rest.extend(self.salt.to_le_bytes());
        rest.extend(self.number.to_le_bytes());
        rest.extend(self.first.get().to_le_bytes());
        rest.extend(self.size.to_le_bytes());
        rest.extend(self.created_ms.to_le_bytes());
        rest.extend(self.cluster.get());
        rest.extend(self.node.get().to_le_bytes());
        rest.resize(HEADER_BYTES - 8, 0);
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.extend(crc32c::crc32c(&rest).to_le_bytes());
        bytes.extend(rest);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<HeaderRead> {
        let u32_at = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let u64_at = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        if u32_at(0)? != MAGIC || u32_at(4)? != crc32c::crc32c(bytes.get(8..)?) {
            return None;
        }
        let format = u32_at(8)?;
        if format != FORMAT {
            return Some(HeaderRead::OtherVersion(format));
        }
        Some(HeaderRead::Intact(Self {
            salt: u32_at(12)?,
            number: u64_at(16)?,
            first: Position::new(u64_at(24)?),
            size: u64_at(32)?,
            created_ms: u64_at(40)?,
            cluster: ClusterId::new(bytes.get(48..64)?.try_into().ok()?),
            node: NodeId::new(u32_at(64)?),
        }))
    }

    /// Reads the header of a file.
    pub(crate) fn read(file: &dyn File) -> io::Result<HeaderRead> {
        let mut bytes = vec![0; HEADER_BYTES];
        let n_read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(n_read);
        Ok(Self::decode(&bytes).unwrap_or(HeaderRead::Damaged))
    }

    /// Makes the file: durable, zero-filled, under its name. What an earlier try left is replaced.
    pub(crate) fn prepare(&self, disk: &dyn Disk, pace: &Pace<'_>) -> io::Result<Arc<dyn File>> {
        let path = path(self.number);
        let fresh = format!("{path}.tmp");
        let made = self.fill(disk, &fresh, pace);
        if made.is_err() {
            // The space may be what others wait for.
            let _ = disk.remove(&fresh);
        }
        let file = made?;
        disk.rename(&fresh, &path)?;
        disk.sync_dir(DIR)?;
        Ok(file)
    }

    fn fill(&self, disk: &dyn Disk, path: &str, pace: &Pace<'_>) -> io::Result<Arc<dyn File>> {
        let file = disk.create(path)?;
        let mut done = 0;
        while done < self.size {
            let go = pace.go(done, self.size)?;
            let step = if go == Go::On { FILL_SYNC_BYTES } else { GENTLE_STEP_BYTES };
            let end = self.size.min(done + step);
            zero(&*file, done, end)?;
            done = end;
            if done < self.size {
                file.sync()?;
            }
            if go == Go::Gently {
                Pace::rest();
            }
        }
        file.write_at(&mut [IoSlice::new(&self.encode())], 0)?;
        file.sync()?;
        Ok(file)
    }
}

/// Writes zeros over a range of a file. The caller syncs them.
pub(crate) fn zero(file: &dyn File, mut at: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(end - at).unwrap_or(FILL_BYTES).min(FILL_BYTES)];
    while at < end {
        let n_bytes = usize::try_from(end - at).unwrap_or(FILL_BYTES).min(FILL_BYTES);
        file.write_at(&mut [IoSlice::new(zeros.split_at(n_bytes).0)], at)?;
        at += n_bytes as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    fn sample() -> Segment {
        Segment {
            number: 3,
            first: Position::new(0x1_0000),
            size: 0x2_0000,
            salt: 7,
            created_ms: 9,
            cluster: ClusterId::new([5; 16]),
            node: NodeId::new(1),
        }
    }

    #[test]
    fn header_has_its_golden_bytes() {
        let bytes = sample().encode();
        let mut golden = b"TSEG".to_vec();
        golden.extend(crc32c::crc32c(&bytes[8..]).to_le_bytes());
        golden.extend(b"\x01\0\0\0\x07\0\0\0\x03\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0");
        golden.extend(b"\0\0\x02\0\0\0\0\0\x09\0\0\0\0\0\0\0");
        golden.extend([5; 16]);
        golden.extend(b"\x01\0\0\0");
        golden.resize(HEADER_BYTES, 0);
        assert_eq!(bytes, golden);
        assert_eq!(Segment::decode(&bytes), Some(HeaderRead::Intact(sample())));
    }

    /// A segment has its name only when it is whole. We crash before and after the end.
    #[test]
    fn prepared_segment_survives_a_crash_or_never_was() {
        let disk = MemoryDisk::new();
        sample().prepare(&disk, &Pace::AtOnce).unwrap();
        disk.crash();
        let file = disk.open(&path(3)).unwrap();
        assert_eq!(Segment::read(&*file).unwrap(), HeaderRead::Intact(sample()));
        assert_eq!(file.len_bytes().unwrap(), 0x2_0000);

        let disk = MemoryDisk::new();
        disk.fail_next_sync();
        assert!(sample().prepare(&disk, &Pace::AtOnce).is_err());
        assert_eq!(disk.list(DIR).unwrap(), Vec::<String>::new());
    }
}
