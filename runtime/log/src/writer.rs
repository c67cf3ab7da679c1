//! The writer: owns the files; one write and one fdatasync for a batch of jobs.
//!
//! ```text
//!   jobs → frames (header made here, body shared) → pwritev → fdatasync → durable → Persisted
//! ```
//!
//! Invariants: a position is durable only after the fdatasync that follows its write has returned.
//! A frame's durable mark is never ahead of that. A segment gets no frame before the last fdatasync
//! of its predecessor. After an error nothing more is written: what the disk holds is unknown.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use tidings_types::id::ShardId;
use tidings_types::layout::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use tidings_types::limits::{FRAME_BYTES_MAX, SEGMENTS_PREPARED, WRITE_BYTES_MAX};
use tidings_types::offset::{LogIndex, Position, Term};

use crate::block::Space;
use crate::chore::{Chore, ChoreDone};
use crate::contents::{Closed, Contents};
use crate::disk::File;
use crate::error::WriteError;
use crate::head::{Head, encode_vote};
use crate::job::{Job, Persisted};
use crate::queue::pop_front_if;
use crate::section::Sections;
use crate::segment::Segment;
use crate::shared::Shared;

const PADDING: [u8; 8] = [0; 8];

/// What a writer begins with.
pub(crate) struct WriterStart {
    pub(crate) shared: Arc<Shared>,
    pub(crate) segment_bytes: u64,
    pub(crate) segment: Segment,
    pub(crate) file: Arc<dyn File>,
    /// Where the next frame goes; all before is durable.
    pub(crate) end: Position,
    pub(crate) head: Head,
    pub(crate) contents: Contents,
    pub(crate) prepared: VecDeque<(Segment, Arc<dyn File>)>,
    /// Earlier segments: number, size, highest index.
    pub(crate) kept: VecDeque<Kept>,
}

/// An earlier segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) size: u64,
    pub(crate) max_index: LogIndex,
}

/// A frame on its way.
struct Pending {
    header: [u8; FRAME_HEADER_BYTES],
    body: Bytes,
}

/// See the module's description.
pub struct Writer {
    shared: Arc<Shared>,
    segment_bytes: u64,
    segment: Segment,
    file: Arc<dyn File>,
    /// Where the frames that are not written yet begin.
    written: Position,
    /// Where the next frame goes.
    end: Position,
    durable: Position,
    /// Whether all that is durable lies below a durable mark.
    is_marked: bool,
    head: Head,
    contents: Contents,
    pending: Vec<Pending>,
    /// For the next [`Persisted`].
    entries: Vec<(LogIndex, Term, Position)>,
    closed: Vec<Closed>,
    prepared: VecDeque<(Segment, Arc<dyn File>)>,
    is_preparing: bool,
    /// Space could not be had; tried again later.
    is_full: bool,
    kept: VecDeque<Kept>,
    to_remove: Vec<u64>,
}

fn failed(what: &'static str, number: u64) -> impl FnOnce(io::Error) -> WriteError {
    move |source| WriteError::Io { what: format!("{what} segment {number}"), source }
}

impl Writer {
    pub(crate) fn new(start: WriterStart) -> Self {
        let mut writer = Self {
            shared: start.shared,
            segment_bytes: start.segment_bytes,
            segment: start.segment,
            file: start.file,
            written: start.end,
            end: start.end,
            durable: start.end,
            is_marked: false,
            head: start.head,
            contents: start.contents,
            pending: Vec::new(),
            entries: Vec::new(),
            closed: Vec::new(),
            prepared: start.prepared,
            is_preparing: false,
            is_full: false,
            kept: start.kept,
            to_remove: Vec::new(),
        };
        writer.drop_purged();
        writer.publish();
        writer
    }

    /// Writes the first frame of the first segment.
    pub(crate) fn begin(&mut self) -> Result<(), WriteError> {
        let body = self.head.encode();
        self.push(FrameKind::Head, 0, Term::ZERO, LogIndex::ZERO, body)?;
        self.flush()
    }

    /// Writes the jobs, makes them durable, and says so. Nothing is copied but headers.
    ///
    /// # Errors
    /// If a write or fdatasync failed. The writer must not be used again: end the process.
    ///
    /// # Panics
    /// Without a job.
    pub fn write(&mut self, jobs: Vec<Job>) -> Result<Persisted, WriteError> {
        let last = jobs.last().expect("there is something to write").id;
        for job in jobs {
            self.push_job(job)?;
        }
        self.flush()?;
        self.drop_purged();
        self.publish();
        Ok(Persisted {
            job: last,
            durable: self.durable,
            entries: std::mem::take(&mut self.entries),
            closed: std::mem::take(&mut self.closed),
            first_kept: self.kept.front().map_or(self.segment.number, |kept| kept.number),
        })
    }

    fn push_job(&mut self, job: Job) -> Result<(), WriteError> {
        if let Some(reset) = job.reset {
            let digest = Bytes::copy_from_slice(&reset.digest.to_le_bytes());
            let at = self.push(FrameKind::Reset, 0, reset.term, reset.index, digest)?;
            self.head.purged = (reset.index, reset.term);
            self.head.last = (reset.index, reset.term);
            self.head.reset_at = at;
            self.contents.note_reset(reset.index, reset.term);
            self.kept.iter_mut().for_each(|kept| kept.max_index = LogIndex::ZERO);
        }
        for entry in job.entries {
            let (index, term, is_normal) = (entry.index, entry.term, entry.kind == 0);
            let data = entry.data.clone();
            let at = self.push(FrameKind::Entry, entry.kind, term, index, entry.data)?;
            self.contents.note_entry((index, term), at, is_normal, &data);
            self.head.last = (index, term);
            self.entries.push((index, term, at));
        }
        if let Some(hard_state) = job.hard_state {
            let vote = encode_vote(hard_state.vote);
            self.push(FrameKind::HardState, 0, hard_state.term, hard_state.commit, vote)?;
            self.head.hard_state = hard_state;
        }
        if let Some((index, term)) = job.purge {
            self.push(FrameKind::Purge, 0, term, index, Bytes::new())?;
            self.head.purged = (index, term);
        }
        Ok(())
    }

    /// Gives a frame its place and its header.
    fn push(
        &mut self,
        kind: FrameKind,
        flags: u8,
        term: Term,
        index: LogIndex,
        body: Bytes,
    ) -> Result<Position, WriteError> {
        assert!(body.len() <= FRAME_BYTES_MAX, "a frame's body is bounded");
        let n_bytes = FrameHeader::frame_bytes(body.len()) as u64;
        if self.end.plus(n_bytes) > self.segment.end() {
            self.switch()?;
            assert!(self.end.plus(n_bytes) <= self.segment.end(), "a segment holds any frame");
        }
        if self.end.since(self.written) + n_bytes > WRITE_BYTES_MAX as u64 {
            self.flush()?;
        }
        let body_bytes = u32::try_from(body.len()).expect("a frame's body is bounded");
        let durable = self.durable;
        let shard = ShardId::new(0);
        let header = FrameHeader { kind, flags, shard, term, index, durable, body_bytes };
        let header = header.encode(self.segment.salt, &body);
        self.pending.push(Pending { header, body });
        let at = self.end;
        self.end = at.plus(n_bytes);
        Ok(at)
    }

    /// The one place where something becomes durable.
    fn flush(&mut self) -> Result<(), WriteError> {
        self.write_pending()?;
        if self.durable < self.end {
            self.file.sync().map_err(failed("fdatasync of", self.segment.number))?;
            self.durable = self.end;
            self.is_marked = false;
        }
        Ok(())
    }

    fn write_pending(&mut self) -> Result<(), WriteError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut parts = Vec::with_capacity(3 * self.pending.len());
        for Pending { header, body } in &self.pending {
            let n_bytes = FRAME_HEADER_BYTES + body.len();
            let n_padding = FrameHeader::frame_bytes(body.len()) - n_bytes;
            parts.push(IoSlice::new(header));
            parts.push(IoSlice::new(body));
            parts.push(IoSlice::new(PADDING.split_at(n_padding).0));
        }
        parts.retain(|part| !part.is_empty());
        let at = self.segment.at(self.written);
        let written = self.file.write_at(&mut parts, at);
        written.map_err(failed("writing to", self.segment.number))?;
        self.pending.clear();
        self.written = self.end;
        Ok(())
    }

    /// Goes on in the next segment, whose first frame restates what must survive.
    fn switch(&mut self) -> Result<(), WriteError> {
        self.flush()?;
        if self.prepared.is_empty() {
            self.prepare()?;
        }
        let (segment, file) = self.prepared.pop_front().ok_or(WriteError::StorageFull)?;
        assert_eq!(segment.first, self.segment.end(), "segments have no gap between them");
        let kept = Kept {
            number: self.segment.number,
            size: self.segment.size,
            max_index: self.contents.max_index,
        };
        self.kept.push_back(kept);
        let contents = std::mem::take(&mut self.contents);
        self.closed.push(Closed { segment: self.segment, contents });
        self.shared.events().index.add_segment(segment, Sections::default());
        self.head.closed_at = self.end;
        self.segment = segment;
        self.file = file;
        self.written = segment.first_frame();
        self.end = self.written;
        // The mark of the Head says that the predecessor is durable to its end.
        let (index, term) = self.head.last;
        let body = self.head.encode();
        self.push(FrameKind::Head, 0, term, index, body)?;
        self.publish();
        Ok(())
    }

    /// Adds a Mark frame without a sync, if something is durable that no mark covers: so a later
    /// start can tell rot in the last batch from a torn write.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn idle_mark(&mut self) -> Result<(), WriteError> {
        let has_room = self.end.plus(FRAME_HEADER_BYTES as u64) <= self.segment.end();
        if self.is_marked || !has_room {
            return Ok(());
        }
        self.push(FrameKind::Mark, 0, Term::ZERO, LogIndex::ZERO, Bytes::new())?;
        self.write_pending()?;
        self.is_marked = true;
        Ok(())
    }

    /// Whether [`Writer::idle_mark`] has something to do.
    pub fn wants_mark(&self) -> bool {
        !self.is_marked
    }

    /// At a clean end: marks, durably.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn close(&mut self) -> Result<(), WriteError> {
        self.idle_mark()?;
        self.flush()
    }

    /// Does at once what is done in the background beside a
    /// [`WriterThread`](crate::thread::WriterThread): prepares segments, writes index files, removes
    /// purged segments.
    ///
    /// # Errors
    /// As [`Writer::write`]; a full disk is none, see [`Writer::space`].
    pub fn prepare(&mut self) -> Result<(), WriteError> {
        self.is_full = false;
        let mut goes_on = true;
        while goes_on {
            goes_on = false;
            for chore in self.chores() {
                let done = chore.run(&self.shared)?;
                // What has to wait must not be asked for again at once.
                goes_on = !matches!(done, ChoreDone::NoSpace | ChoreDone::Later);
                self.done(done);
            }
        }
        Ok(())
    }

    /// What there is to do beside writing. Each chore is given out once.
    pub(crate) fn chores(&mut self) -> Vec<Chore> {
        let mut chores = Vec::new();
        if self.prepared.len() < SEGMENTS_PREPARED && !self.is_preparing && !self.is_full {
            self.is_preparing = true;
            let before = self.prepared.back().map_or(&self.segment, |(segment, _)| segment);
            let stamp = self.shared.disk.stamp();
            chores.push(Chore::Prepare(Segment {
                number: before.number + 1,
                first: before.end(),
                size: self.segment_bytes,
                salt: stamp.salt,
                created_ms: stamp.created_ms,
                cluster: before.cluster,
                node: before.node,
            }));
        }
        if !self.is_full {
            chores.extend(self.shared.take_to_file().into_iter().map(Chore::File));
        }
        chores.extend(self.to_remove.drain(..).map(Chore::Remove));
        chores
    }

    /// Takes note of a chore's end.
    pub(crate) fn done(&mut self, done: ChoreDone) {
        match done {
            ChoreDone::Prepared(segment, file) => {
                self.is_preparing = false;
                self.prepared.push_back((segment, file));
            }
            ChoreDone::NoSpace => {
                self.is_preparing = false;
                self.is_full = true;
            }
            ChoreDone::Later => self.is_full = true,
            ChoreDone::Nothing => {}
        }
        self.publish();
    }

    /// A full disk: [`Writer::chores`] gives out nothing that takes space until this is called.
    pub(crate) fn try_again(&mut self) {
        self.is_full = false;
    }

    /// Whether something waits for [`Writer::try_again`].
    pub(crate) fn has_to_wait(&self) -> bool {
        self.is_full
    }

    /// Whether a batch of so many bytes, half a segment at most, finds its place. If not, a segment
    /// is being prepared. On a full disk it is tried all the same: the error is to be seen.
    pub(crate) fn can_take(&self, n_bytes: usize) -> bool {
        let has_room = self.end.plus(n_bytes as u64) <= self.segment.end();
        has_room || !self.prepared.is_empty() || !self.is_preparing
    }

    pub(crate) fn segment_bytes(&self) -> usize {
        usize::try_from(self.segment_bytes).unwrap_or(usize::MAX)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Segments of which every entry is purged go, from the oldest on. The Purge is durable.
    fn drop_purged(&mut self) {
        let purged = self.head.purged.0;
        let mut is_changed = false;
        while let Some(kept) = pop_front_if(&mut self.kept, |kept| kept.max_index <= purged) {
            self.to_remove.push(kept.number);
            is_changed = true;
        }
        if is_changed {
            let first = self.kept.front().map_or(self.segment.number, |kept| kept.number);
            self.shared.events().index.drop_before(first);
        }
    }

    fn publish(&self) {
        self.shared.set_durable(self.durable);
        let kept: u64 = self.kept.iter().map(|kept| kept.size).sum();
        self.shared.set_log_bytes(kept + self.segment.at(self.end));
        let space = match self.prepared.len() {
            _ if !self.is_full => Space::Plenty,
            0 => Space::LastSegment,
            n_prepared if n_prepared < SEGMENTS_PREPARED => Space::NoPublish,
            _ => Space::Plenty,
        };
        self.shared.set_space(space);
    }

    /// How much room the disk has for the log.
    pub fn space(&self) -> Space {
        self.shared.space()
    }

    /// Up to here the log is on the disk.
    pub fn durable(&self) -> Position {
        self.durable
    }
}
