//! The IDENTITY file: whose directory this is, how often it was opened, and what was surely in it.
//!
//! ```text
//!    0 magic u32      4 crc32c u32 over the rest     8 format u32    12 node u32
//!   16 cluster 16 B  32 incarnation u64             40 segment u64   48 durable position u64
//! ```
//!
//! It is written first, with incarnation 0, and rewritten at each start once the log is judged. So
//! with incarnation 0 a log without a frame is one that never began, and later it is one that was
//! lost.
//!
//! The last two fields are a low watermark: so far the log reached at the newest start, clean end,
//! or first acknowledgement in a segment. A log that ends before has lost its end. The first form
//! of the file has none, and is still read.

use std::io;

use tidings_types::id::{ClusterId, Incarnation, NodeId};
use tidings_types::offset::Position;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::small_file;

/// Name of the file.
pub(crate) const FILE: &str = "IDENTITY";
/// The form of all other files in the directory.
pub(crate) const FORMAT: u32 = 1;
/// The form of this one.
const OWN_FORMAT: u32 = 2;
const MAGIC: u32 = 0x4E44_4954; // "TIDN"
const BYTES: usize = 56;

/// Who a directory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Counts the starts on this directory, this one included.
    pub incarnation: Incarnation,
}

/// How far the log reached for sure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The segment that held its end.
    pub(crate) segment: u64,
    /// Up to here it was durable.
    pub(crate) durable: Position,
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) identity: Identity,
    pub(crate) known: Known,
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let Self { identity, known } = self;
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend(OWN_FORMAT.to_le_bytes());
        bytes.extend(identity.node.get().to_le_bytes());
        bytes.extend(identity.cluster.get());
        bytes.extend(identity.incarnation.get().to_le_bytes());
        bytes.extend(known.segment.to_le_bytes());
        bytes.extend(known.durable.get().to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        let mut whole = MAGIC.to_le_bytes().to_vec();
        whole.extend(crc.to_le_bytes());
        whole.extend(bytes);
        whole
    }

    fn decode(bytes: &[u8]) -> Result<Self, OpenError> {
        let damaged = |why| OpenError::DamagedFile { file: FILE.to_owned(), why };
        let (magic, rest) = bytes.split_first_chunk().ok_or(damaged("too short"))?;
        let (crc, rest) = rest.split_first_chunk().ok_or(damaged("too short"))?;
        if u32::from_le_bytes(*magic) != MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        if crc32c::crc32c(rest) != u32::from_le_bytes(*crc) {
            return Err(damaged("its crc does not match"));
        }
        let (found, rest) = rest.split_first_chunk().ok_or(damaged("too short"))?;
        let found = u32::from_le_bytes(*found);
        let (node, rest) = rest.split_first_chunk().ok_or(damaged("too short"))?;
        let (cluster, rest) = rest.split_first_chunk().ok_or(damaged("too short"))?;
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes);
        let numbers: Result<Vec<u64>, _> = rest.chunks(8).map(number).collect();
        let numbers = numbers.map_err(|_| damaged("wrong length"))?;
        let (incarnation, known) = match (found, numbers.as_slice()) {
            (1, &[incarnation]) => (incarnation, Known::default()),
            (OWN_FORMAT, &[incarnation, segment, durable]) => {
                (incarnation, Known { segment, durable: Position::new(durable) })
            }
            (1 | OWN_FORMAT, _) => return Err(damaged("wrong length")),
            _ => {
                let (file, ours) = (FILE.to_owned(), OWN_FORMAT);
                return Err(OpenError::OtherVersion { file, found, ours });
            }
        };
        let identity = Identity {
            cluster: ClusterId::new(*cluster),
            node: NodeId::new(u32::from_le_bytes(*node)),
            incarnation: Incarnation::new(incarnation),
        };
        Ok(Self { identity, known })
    }

    /// Reads the file; `None` if there is none.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Self>, OpenError> {
        let failed = |source| OpenError::Io { what: format!("reading {FILE}"), source };
        small_file::read(disk, FILE).map_err(failed)?.map(|bytes| Self::decode(&bytes)).transpose()
    }

    /// Replaces the file.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        small_file::replace(disk, "", FILE, &[&self.encode()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    /// The file must read as it was written, and the form without a watermark too: a directory of
    /// an earlier program goes on. Any other byte, length or form is refused.
    #[test]
    fn both_forms_are_read_and_nothing_else() {
        let (cluster, node) = (ClusterId::new([7; 16]), NodeId::new(3));
        let identity = Identity { cluster, node, incarnation: Incarnation::new(5) };
        let known = Known { segment: 2, durable: Position::new(999) };
        let disk = MemoryDisk::new();
        assert_eq!(Record::read(&disk).unwrap(), None);
        let record = Record { identity, known };
        record.write(&disk).unwrap();
        assert_eq!(Record::read(&disk).unwrap(), Some(record));
        let bytes = disk.bytes(FILE).unwrap();
        let mut golden = b"\x02\0\0\0\x03\0\0\0".to_vec();
        golden.extend([7; 16]);
        [5_u64, 2, 999].iter().for_each(|n| golden.extend(n.to_le_bytes()));
        assert_eq!(bytes[8..], golden);

        let with_form = |form: u8, len: usize| {
            let mut rest = bytes[8..len].to_vec();
            rest[0] = form;
            [&MAGIC.to_le_bytes()[..], &crc32c::crc32c(&rest).to_le_bytes(), &rest].concat()
        };
        let first = Record { identity, known: Known::default() };
        assert_eq!(Record::decode(&with_form(1, 40)).unwrap(), first);
        for (form, len) in [(1, 48), (2, 40), (2, 48), (1, 56), (1, 36), (2, 20), (1, 9), (1, 12)] {
            let refused = Record::decode(&with_form(form, len)).unwrap_err();
            assert!(matches!(refused, OpenError::DamagedFile { .. }), "{form} {len}: {refused}");
        }
        let newer = Record::decode(&with_form(3, 56));
        assert!(matches!(newer, Err(OpenError::OtherVersion { found: 3, ours: 2, .. })));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x10;
            assert!(Record::decode(&other).is_err(), "byte {at}");
            assert!(Record::decode(&bytes[..at]).is_err(), "{at} bytes");
        }
    }
}
