//! What can go wrong with the log: opening it, reading it, writing it.
//!
//! An error of [`OpenError`] is for a person: it says what was found and what to do. A
//! [`WriteError`] ends the process, because after a failed write or fsync the kernel may call pages
//! clean that never reached the disk.
#![expect(missing_docs, reason = "the message of a fact says what its fields are")]

use std::io;

use thiserror::Error;
use tidings_types::id::{ClusterId, NodeId};
use tidings_types::offset::{LogIndex, Offset, Position};
use tidings_types::retry::Retry;

/// The directory cannot be used as it is. Nothing in it was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error(
        "the data directory is in use by process {pid}; stop that process or choose another \
         directory"
    )]
    InUse { pid: String },
    #[error(
        "{file} has format version {found}, this program reads {ours}; use the program that wrote \
         it"
    )]
    OtherVersion { file: String, found: u32, ours: u32 },
    #[error(
        "the data directory belongs to cluster {found}, not to {expected}; choose another directory"
    )]
    OtherCluster { found: ClusterId, expected: ClusterId },
    #[error(
        "segment {segment} was written by {found} of another log; remove what was copied into the \
         directory"
    )]
    Foreign { segment: u64, found: NodeId },
    #[error(
        "segment {segment} is damaged at position {position}: {why}; replace this node, or restore \
         the directory"
    )]
    Damaged { segment: u64, position: Position, why: &'static str },
    #[error(
        "segment {segment} is missing or cut short; restore it from where it went, or replace this \
         node"
    )]
    MissingSegment { segment: u64 },
    #[error(
        "the log ends at position {end} of segment {segment}, but was durable up to {known} of \
         segment {known_segment}; restore what is missing, or replace this node"
    )]
    EndLost { segment: u64, end: Position, known_segment: u64, known: Position },
    #[error("the log ends at index {last}, but {what} names index {index}; replace this node")]
    LogTooShort { last: LogIndex, what: &'static str, index: LogIndex },
    #[error(
        "entries up to index {purged} are purged and no whole checkpoint covers them; replace this \
         node"
    )]
    MissingCheckpoint { purged: LogIndex },
    #[error("{file} is damaged: {why}; restore it, or replace this node")]
    DamagedFile { file: String, why: &'static str },
    #[error("{file} is missing although {beside} is not empty; restore it, or replace this node")]
    MissingFile { file: String, beside: &'static str },
    #[error(
        "this node lost entries that it had acknowledged: {why}; it must not vote again: replace it \
         by a node with a new id and an empty directory"
    )]
    MustBeReplaced { why: String },
    #[error("{free} bytes are free on the disk, {needed} are needed to start; make room")]
    NotEnoughSpace { free: u64, needed: u64 },
    #[error("{what} failed: {source}")]
    Io { what: String, source: io::Error },
}

impl OpenError {
    /// What the caller may do.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::InUse { .. } | Self::NotEnoughSpace { .. } | Self::Io { .. } => {
                Retry::SameRequest
            }
            Self::OtherVersion { .. }
            | Self::OtherCluster { .. }
            | Self::Foreign { .. }
            | Self::Damaged { .. }
            | Self::MissingSegment { .. }
            | Self::EndLost { .. }
            | Self::LogTooShort { .. }
            | Self::MissingCheckpoint { .. }
            | Self::DamagedFile { .. }
            | Self::MissingFile { .. }
            | Self::MustBeReplaced { .. } => Retry::Never,
        }
    }
}

/// Stored bytes could not be given back.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("segment {segment} is damaged at position {position}: {why}")]
    Damaged { segment: u64, position: Position, why: &'static str },
    #[error("the index of segment {segment} is damaged: {why}; it is rebuilt at the next start")]
    DamagedIndex { segment: u64, why: &'static str },
    #[error("offset {offset} is purged; the topic starts at {start}")]
    Purged { offset: Offset, start: Offset },
    #[error("{what} failed: {source}")]
    Io { what: String, source: io::Error },
}

impl ReadError {
    /// What the caller may do.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Damaged { .. } | Self::DamagedIndex { .. } => Retry::Never,
            Self::Purged { .. } => Retry::AfterRefresh,
            Self::Io { .. } => Retry::SameRequest,
        }
    }
}

/// The log cannot go on: whoever drives the writer ends the process.
#[derive(Debug, Error)]
pub enum WriteError {
    #[error("{what} failed: {source}")]
    Io { what: String, source: io::Error },
    #[error("the disk is full and every prepared segment is used up")]
    StorageFull,
}

impl WriteError {
    /// What the caller may do: only a fresh start knows what reached the disk.
    pub const fn retry(&self) -> Retry {
        Retry::Unknown
    }
}
