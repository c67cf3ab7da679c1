//! What is driven over a disk until that fails, and can start again.

use tidings_log::disk::Disk;
use tidings_log::{Identity, MemoryDisk, OpenError, Opened, Options, ReadError, WriteError};
use tidings_types::id::{ClusterId, Incarnation, NodeId};

/// Small, so that little work goes through many segments.
const SEGMENT_BYTES: u64 = 16 << 10;

/// Why a life ends before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A call of the disk failed.
    Disk(String),
    /// It would not start, or not read, from what it found.
    Refused(String),
    /// Something is not as it must be.
    Wrong(String),
}

impl Stop {
    pub(crate) fn wrong(why: impl Into<String>) -> Self {
        Self::Wrong(why.into())
    }

    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Disk(text) | Self::Refused(text) | Self::Wrong(text) => text,
        }
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error.to_string())
    }
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Self {
        Self::Disk(error.to_string())
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io { .. } => Self::Disk(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl From<OpenError> for Stop {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io { .. } => Self::Disk(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

/// How a life ends that nothing disturbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In order.
    Closed,
    /// Idle, so that a mark covers the last batch, and then it is killed.
    Idle,
}

/// A node, or a part of one. It remembers over its crashes what it acknowledged.
pub(crate) trait Life {
    /// Does all that there is to do, on an empty disk.
    fn live(&mut self, disk: &MemoryDisk, ending: Ending) -> Result<(), Stop>;

    /// Starts after a crash, compares what it finds with what it acknowledged, and does a little
    /// more.
    fn again(&mut self, disk: &MemoryDisk) -> Result<(), Stop>;
}

/// Counts the starts that were told to somebody: none may be told twice.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    last: Option<Incarnation>,
}

impl Starts {
    /// Opens the log of node 1.
    pub(crate) fn open(&mut self, disk: &MemoryDisk) -> Result<Opened, Stop> {
        let (cluster, node) = (ClusterId::new([7; 16]), NodeId::new(1));
        let fresh = Identity { cluster, node, incarnation: Incarnation::default() };
        let disk: std::sync::Arc<dyn Disk> = std::sync::Arc::new(disk.clone());
        let opened = tidings_log::open(disk, Options::small(SEGMENT_BYTES), fresh)?;
        let found = opened.identity.incarnation;
        if self.last.is_some_and(|last| found <= last) {
            return Err(Stop::wrong(format!("{found} comes after {:?}", self.last)));
        }
        self.last = Some(found);
        Ok(opened)
    }
}
