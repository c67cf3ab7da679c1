//! What the log asks the writer for, and what the writer answers.

use std::time::Duration;

use tidings_types::layout::frame::FrameHeader;
use tidings_types::offset::{LogIndex, Position, Term};

use crate::contents::Closed;
use crate::entry::{Entry, HardState};

/// What is to be written, in the order of its fields. Ids count up by one.
#[derive(Debug, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: u64,
    pub(crate) reset: Option<Reset>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) purge: Option<(LogIndex, Term)>,
}

/// A snapshot was installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reset {
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    pub(crate) digest: u64,
}

impl Job {
    /// Whether it carries nothing but term, vote and commit.
    pub(crate) fn is_hard_state(&self) -> bool {
        self.reset.is_none() && self.entries.is_empty() && self.purge.is_none()
    }

    /// What it takes in the log, about.
    pub fn n_bytes(&self) -> usize {
        let entries = self.entries.iter().map(|entry| FrameHeader::frame_bytes(entry.data.len()));
        entries.sum::<usize>() + FrameHeader::frame_bytes(8)
    }
}

/// Everything up to a job is on the disk.
#[derive(Debug, PartialEq, Eq)]
pub struct Persisted {
    /// The job.
    pub job: u64,
    /// Up to here the log is on the disk.
    pub durable: Position,
    /// How long the write and its fdatasync took. Zero without a thread, since only that one has a
    /// clock.
    pub took: Duration,
    pub(crate) entries: Vec<(LogIndex, Term, Position)>,
    /// Segments that got their last frame.
    pub(crate) closed: Vec<Closed>,
    /// Segments below this one are gone.
    pub(crate) first_kept: u64,
}
