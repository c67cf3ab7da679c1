//! The IDENTITY file: whose directory this is, and how often it was opened.
//!
//! ```text
//!    0 magic u32      4 crc32c u32 over the rest     8 format u32    12 node u32
//!   16 cluster 16 B  32 incarnation u64
//! ```
//!
//! It is written first, with incarnation 0, and rewritten at each start once the log is judged. So
//! with incarnation 0 a log without a frame is one that never began, and later it is one that was
//! lost.

use std::io;

use tidings_types::id::{ClusterId, Incarnation, NodeId};

use crate::disk::Disk;
use crate::error::OpenError;
use crate::small_file;

/// Name of the file.
pub(crate) const FILE: &str = "IDENTITY";
/// The form of all files in the directory.
pub(crate) const FORMAT: u32 = 1;
const MAGIC: u32 = 0x4E44_4954; // "TIDN"
const BYTES: usize = 40;

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

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(self.node.get().to_le_bytes());
        bytes.extend(self.cluster.get());
        bytes.extend(self.incarnation.get().to_le_bytes());
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
        if found != FORMAT {
            return Err(OpenError::OtherVersion { file: FILE.to_owned(), found, ours: FORMAT });
        }
        let (node, rest) = rest.split_first_chunk().ok_or(damaged("too short"))?;
        let (cluster, rest) = rest.split_first_chunk().ok_or(damaged("too short"))?;
        let incarnation = rest.try_into().map_err(|_| damaged("wrong length"))?;
        Ok(Self {
            cluster: ClusterId::new(*cluster),
            node: NodeId::new(u32::from_le_bytes(*node)),
            incarnation: Incarnation::new(u64::from_le_bytes(incarnation)),
        })
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
