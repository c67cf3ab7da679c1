//! The writer: owns the files; one write and one fdatasync for a batch of jobs.
//!
//! ```text
//!   jobs → frames (header made here, body shared) → pwritev → fdatasync → durable → Persisted
//! ```
//!
//! A segment gets no frame before the last fdatasync of its predecessor. After an error nothing more
//! is written: what the disk holds is unknown.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidings_types::bugs::{Bug, is_planted};
use tidings_types::layout::frame::FrameKind;
use tidings_types::limits::SEGMENTS_PREPARED;
use tidings_types::offset::{LogIndex, Position, Term};

use crate::block::Space;
use crate::chore::{Chore, ChoreDone, is_no_space};
use crate::contents::{Closed, Contents};
use crate::disk::File;
use crate::entry::{Entry, HardState};
use crate::error::WriteError;
use crate::head::{Head, encode_vote};
use crate::identity::{Identity, Known, Record};
use crate::job::{Job, Persisted};
use crate::pace::Pace;
use crate::queue::pop_front_if;
use crate::section::Sections;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::stream::{NewFrame, Stream};

/// A segment is at most so much larger than the one before it.
const SEGMENT_GROWTH: u64 = 4;

/// What a writer begins with.
pub(crate) struct WriterStart {
    pub(crate) shared: Arc<Shared>,
    /// It says how far the log reaches in the open segment.
    pub(crate) identity: Identity,
    pub(crate) segment_bytes: u64,
    pub(crate) free_bytes_kept: u64,
    pub(crate) stream: Stream,
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

/// See the module's description.
pub struct Writer {
    shared: Arc<Shared>,
    identity: Identity,
    /// The segment of which the IDENTITY says that it holds frames.
    known_segment: u64,
    segment_bytes: u64,
    free_bytes_kept: u64,
    stream: Stream,
    /// What the next segment's first frame restates.
    head: Head,
    /// Of the open segment.
    contents: Contents,
    /// For the next [`Persisted`].
    entries: Vec<(LogIndex, Term, Position)>,
    closed: Vec<Closed>,
    prepared: VecDeque<(Segment, Arc<dyn File>)>,
    is_preparing: bool,
    /// Space for a segment could not be had, and not all that are wanted were prepared since.
    is_full: bool,
    /// Something that takes space failed; it waits for [`Writer::try_again`].
    has_to_wait: bool,
    kept: VecDeque<Kept>,
    to_remove: Vec<u64>,
}

impl Writer {
    pub(crate) fn new(start: WriterStart) -> Self {
        let mut writer = Self {
            shared: start.shared,
            identity: start.identity,
            known_segment: start.stream.segment().number,
            segment_bytes: start.segment_bytes,
            free_bytes_kept: start.free_bytes_kept,
            stream: start.stream,
            head: start.head,
            contents: start.contents,
            entries: Vec::new(),
            closed: Vec::new(),
            prepared: start.prepared,
            is_preparing: false,
            is_full: false,
            has_to_wait: false,
            kept: start.kept,
            to_remove: Vec::new(),
        };
        writer.drop_purged();
        writer.publish();
        writer
    }

    /// Gives a segment its first frame.
    pub(crate) fn begin(&mut self) -> Result<(), WriteError> {
        let body = match is_planted(Bug::PurgeDropsHardState) {
            true => Head { hard_state: HardState::default(), ..self.head.clone() }.encode(),
            false => self.head.encode(),
        };
        let head = NewFrame::new(FrameKind::Head, self.head.last, body);
        self.stream.put(head)?;
        Ok(())
    }

    /// Makes durable what was put.
    pub(crate) fn flush(&mut self) -> Result<(), WriteError> {
        self.stream.flush()?;
        self.publish();
        Ok(())
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
        let is_vote = jobs.iter().all(Job::is_hard_state);
        for job in jobs {
            self.push_job(job)?;
        }
        if !(is_vote && is_planted(Bug::VoteNotSynced)) {
            self.stream.flush()?;
        }
        if self.known_segment != self.stream.segment().number {
            // Without it, nobody would miss a newest segment that is gone.
            self.note_end()?;
        }
        self.drop_purged();
        self.publish();
        Ok(Persisted {
            job: last,
            durable: self.stream.durable(),
            took: Duration::ZERO,
            entries: std::mem::take(&mut self.entries),
            closed: std::mem::take(&mut self.closed),
            first_kept: self.first_kept(),
        })
    }

    fn push_job(&mut self, job: Job) -> Result<(), WriteError> {
        if let Some(reset) = job.reset {
            let digest = Bytes::copy_from_slice(&reset.digest.to_le_bytes());
            let last = (reset.index, reset.term);
            let at = self.push(NewFrame::new(FrameKind::Reset, last, digest))?;
            self.head.purged = last;
            self.head.last = last;
            self.head.reset_at = at;
            self.contents.note_reset(reset.index, reset.term);
            self.kept.iter_mut().for_each(|kept| kept.max_index = LogIndex::ZERO);
        }
        for Entry { index, term, kind: flags, data } in job.entries {
            let body = data.clone();
            let at = self.push(NewFrame { kind: FrameKind::Entry, flags, term, index, body })?;
            self.contents.note_entry((index, term), at, flags == 0, &data);
            self.head.last = (index, term);
            self.entries.push((index, term, at));
        }
        if let Some(hard_state) = job.hard_state {
            let vote = encode_vote(hard_state.vote);
            let at = (hard_state.commit, hard_state.term);
            self.push(NewFrame::new(FrameKind::HardState, at, vote))?;
            self.head.hard_state = hard_state;
        }
        if let Some(purged) = job.purge {
            self.push(NewFrame::new(FrameKind::Purge, purged, Bytes::new()))?;
            self.head.purged = purged;
        }
        Ok(())
    }

    fn push(&mut self, frame: NewFrame) -> Result<Position, WriteError> {
        if !self.stream.fits(&frame) {
            self.switch()?;
        }
        self.stream.put(frame)
    }

    /// Goes on in the next segment, whose first frame restates what must survive.
    fn switch(&mut self) -> Result<(), WriteError> {
        self.stream.flush()?;
        if self.prepared.is_empty() {
            self.prepare()?;
        }
        let (next, file) = self.prepared.pop_front().ok_or(WriteError::StorageFull)?;
        let segment = *self.stream.segment();
        let contents = std::mem::take(&mut self.contents);
        let (number, size, max_index) = (segment.number, segment.size, contents.max_index);
        self.kept.push_back(Kept { number, size, max_index });
        self.closed.push(Closed { segment, contents });
        self.shared.events().index.add_segment(next, Sections::default());
        self.head.closed_at = self.stream.end();
        self.stream.go_on_in(next, file);
        // The mark of the Head says that the predecessor is durable to its end.
        self.begin()?;
        self.publish();
        Ok(())
    }

    /// Adds a Mark frame without a sync, if something is durable that no mark covers: so a later
    /// start can tell rot in the last batch from a torn write.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn idle_mark(&mut self) -> Result<(), WriteError> {
        self.stream.mark()
    }

    /// Whether [`Writer::idle_mark`] has something to do.
    pub fn wants_mark(&self) -> bool {
        !self.stream.is_marked()
    }

    /// At a clean end: marks, durably, and notes how far the log reaches.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn close(&mut self) -> Result<(), WriteError> {
        self.stream.mark()?;
        self.flush()?;
        self.note_end()
    }

    /// Puts into the IDENTITY how far the log reaches.
    fn note_end(&mut self) -> Result<(), WriteError> {
        let (segment, durable) = (self.stream.segment().number, self.stream.durable());
        let known = Known { segment, durable };
        self.known_segment = segment;
        match (Record { identity: self.identity, known }).write(&*self.shared.disk) {
            // What goes on with prepared segments must not end here; less is known meanwhile.
            Err(error) if is_no_space(&error) => tracing::warn!(%error, "the end is not noted"),
            Err(source) => {
                let what = "writing the identity".to_owned();
                return Err(WriteError::Io { what, source });
            }
            Ok(()) => {}
        }
        Ok(())
    }

    /// Does at once what is done in the background beside a
    /// [`WriterThread`](crate::thread::WriterThread): prepares segments, writes index files, removes
    /// purged segments.
    ///
    /// # Errors
    /// As [`Writer::write`]; a full disk is none, see [`Writer::space`].
    pub fn prepare(&mut self) -> Result<(), WriteError> {
        self.has_to_wait = false;
        let mut goes_on = true;
        while goes_on {
            goes_on = false;
            for chore in self.chores() {
                let done = chore.run(&self.shared, &Pace::AtOnce)?;
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
        // A failed index file is no reason to wait with a segment.
        let may_prepare = !(self.is_full && self.has_to_wait);
        if self.prepared.len() < SEGMENTS_PREPARED && !self.is_preparing && may_prepare {
            self.is_preparing = true;
            let before = self.prepared.back().map_or(self.stream.segment(), |(segment, _)| segment);
            let stamp = self.shared.disk.stamp();
            let segment = Segment {
                number: before.number + 1,
                first: before.end(),
                // From a small first one they grow: the next is there before the last is full.
                size: self.segment_bytes.min(before.size * SEGMENT_GROWTH),
                salt: stamp.salt,
                created_ms: stamp.created_ms,
                cluster: before.cluster,
                node: before.node,
            };
            chores.push(Chore::Prepare { segment, free_bytes_kept: self.free_bytes_kept });
        }
        if !self.has_to_wait {
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
                // One is not enough: it is what was kept for those who may go on on a full disk.
                self.is_full &= self.prepared.len() < SEGMENTS_PREPARED;
            }
            ChoreDone::NoSpace => {
                self.is_preparing = false;
                self.is_full = true;
                self.has_to_wait = true;
            }
            ChoreDone::Later => self.has_to_wait = true,
            ChoreDone::Nothing => {}
        }
        self.publish();
    }

    /// Lets [`Writer::chores`] give out again what failed for want of space. Whether there is some
    /// now, only a prepared segment says.
    pub(crate) fn try_again(&mut self) {
        self.has_to_wait = false;
    }

    /// Whether something waits for [`Writer::try_again`].
    pub(crate) fn has_to_wait(&self) -> bool {
        self.has_to_wait
    }

    /// Whether a batch of so many bytes, half a segment at most, finds its place. If not, a segment
    /// is being prepared. On a full disk it is tried all the same: the error is to be seen.
    pub(crate) fn can_take(&self, n_bytes: usize) -> bool {
        self.stream.has_room(n_bytes as u64) || !self.prepared.is_empty() || !self.is_preparing
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
            self.shared.events().index.drop_before(self.first_kept());
        }
    }

    fn first_kept(&self) -> u64 {
        self.kept.front().map_or(self.stream.segment().number, |kept| kept.number)
    }

    fn publish(&self) {
        self.shared.set_durable(self.stream.durable());
        let kept: u64 = self.kept.iter().map(|kept| kept.size).sum();
        let open = self.stream.segment().at(self.stream.end());
        self.shared.set_log_bytes(kept + open);
        let prepared: u64 = self.prepared.iter().map(|(segment, _)| segment.size).sum();
        self.shared.gauge.set_room(self.stream.room() + prepared);
        let space = match self.prepared.len() {
            _ if !self.is_full => Space::Plenty,
            0 => Space::LastSegment,
            _ => Space::NoPublish,
        };
        self.shared.set_space(space);
        self.shared.gauge.set_urgent(space != Space::Plenty);
    }

    /// How much room the disk has for the log.
    pub fn space(&self) -> Space {
        self.shared.space()
    }

    /// Up to here the log is on the disk.
    pub fn durable(&self) -> Position {
        self.stream.durable()
    }
}
