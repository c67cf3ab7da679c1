//! Entries straight from the disk, at a start.

use std::sync::Arc;

use tidings_types::layout::frame::FrameKind;
use tidings_types::offset::{LogIndex, Position, Term};

use crate::disk::Disk;
use crate::entry::Entry;
use crate::error::ReadError;
use crate::frames::{Frames, SCAN_STEP_BYTES};
use crate::segment::{self, Segment};

/// The entries behind the checkpoint in order, those that were replaced left out.
pub struct Replay {
    disk: Arc<dyn Disk>,
    segments: Vec<Segment>,
    entries: Arc<Vec<(Term, Position)>>,
    /// Index of the first of `entries`.
    first: LogIndex,
    n_read: usize,
    frames: Option<Frames>,
}

impl Replay {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        segments: Vec<Segment>,
        entries: Arc<Vec<(Term, Position)>>,
        first: LogIndex,
    ) -> Self {
        Self { disk, segments, entries, first, n_read: 0, frames: None }
    }

    fn read(
        &mut self,
        index: LogIndex,
        term: Term,
        position: Position,
    ) -> Result<Entry, ReadError> {
        let n_upto = self.segments.partition_point(|segment| segment.first <= position);
        let segment = n_upto.checked_sub(1).and_then(|idx| self.segments.get(idx)).copied();
        let segment = segment.expect("entries stand in segments");
        let number = segment.number;
        let failed = |source| ReadError::Io { what: format!("reading segment {number}"), source };
        let frames = match self.frames.take() {
            Some(frames) if frames.segment == segment => frames,
            _ => {
                let file = self.disk.open(&segment::path(number)).map_err(failed)?;
                Frames::new(segment, file, SCAN_STEP_BYTES)
            }
        };
        let frame = self.frames.insert(frames).read(position).map_err(failed)?;
        let is_it = frame.filter(|frame| {
            let header = &frame.header;
            header.kind == FrameKind::Entry && header.index == index && header.term == term
        });
        let why = "the frame is not what was written";
        let frame = is_it.ok_or(ReadError::Damaged { segment: number, position, why })?;
        Ok(Entry { index, term, kind: frame.header.flags, data: frame.body })
    }
}

impl Iterator for Replay {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let &(term, position) = self.entries.get(self.n_read)?;
        let index = self.first.plus(self.n_read as u64);
        let entry = self.read(index, term, position);
        // Nothing behind a damaged entry is given out.
        self.n_read = if entry.is_ok() { self.n_read + 1 } else { usize::MAX };
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n_left = self.entries.len().saturating_sub(self.n_read);
        (0, Some(n_left))
    }
}
