//! What the replica stores: entries and its hard state.

use bytes::Bytes;
use tidings_types::id::NodeId;
use tidings_types::offset::{LogIndex, Term};

/// A Raft entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub index: LogIndex,
    /// Whose reign it was proposed in.
    pub term: Term,
    /// The consensus library's type of it; 0 for normal ones.
    pub kind: u8,
    /// What it says.
    pub data: Bytes,
}

/// What a replica must not forget about votes and commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term it has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// Up to here entries are known to be committed.
    pub commit: LogIndex,
}
