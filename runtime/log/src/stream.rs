//! Frames on their way into the open segment: laid out, written, made durable.
//!
//! Invariants: a position is durable only after the fdatasync that follows its write has returned,
//! and no frame's durable mark is ahead of that.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use tidings_types::bugs::{Bug, is_planted};
use tidings_types::id::ShardId;
use tidings_types::layout::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use tidings_types::limits::{FRAME_BYTES_MAX, WRITE_BYTES_MAX};
use tidings_types::offset::{LogIndex, Position, Term};

use crate::disk::File;
use crate::error::WriteError;
use crate::segment::Segment;

const PADDING: [u8; FRAME_ALIGN] = [0; FRAME_ALIGN];

/// What a frame says.
pub(crate) struct NewFrame {
    pub(crate) kind: FrameKind,
    pub(crate) flags: u8,
    pub(crate) term: Term,
    pub(crate) index: LogIndex,
    pub(crate) body: Bytes,
}

impl NewFrame {
    /// A frame that says all in its header and body.
    pub(crate) fn new(kind: FrameKind, (index, term): (LogIndex, Term), body: Bytes) -> Self {
        Self { kind, flags: 0, term, index, body }
    }

    fn n_bytes(&self) -> u64 {
        FrameHeader::frame_bytes(self.body.len()) as u64
    }
}

/// A frame that has its place.
struct Placed {
    header: [u8; FRAME_HEADER_BYTES],
    body: Bytes,
}

/// See the module's description.
pub(crate) struct Stream {
    segment: Segment,
    file: Arc<dyn File>,
    pending: Vec<Placed>,
    /// Where the pending frames begin.
    written: Position,
    /// Where the next frame goes.
    end: Position,
    durable: Position,
    /// Whether all that is durable lies below a durable mark, or can get none.
    is_marked: bool,
}

fn failed(what: &'static str, number: u64) -> impl FnOnce(io::Error) -> WriteError {
    move |source| WriteError::Io { what: format!("{what} segment {number}"), source }
}

impl Stream {
    /// Goes on at `end`; all before is durable.
    pub(crate) fn new(segment: Segment, file: Arc<dyn File>, end: Position) -> Self {
        let pending = Vec::new();
        Self { segment, file, pending, written: end, end, durable: end, is_marked: false }
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(crate) fn end(&self) -> Position {
        self.end
    }

    pub(crate) fn durable(&self) -> Position {
        self.durable
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// Bytes that are left in the segment.
    pub(crate) fn room(&self) -> u64 {
        self.segment.end().since(self.end)
    }

    /// Whether so many bytes of frames have room in the segment.
    pub(crate) fn has_room(&self, n_bytes: u64) -> bool {
        self.end.plus(n_bytes) <= self.segment.end()
    }

    pub(crate) fn fits(&self, frame: &NewFrame) -> bool {
        self.has_room(frame.n_bytes())
    }

    /// Gives a frame its place and its header. Too much at once is made durable in between, so that
    /// an unfinished write is never longer than what recovery zeroes.
    pub(crate) fn put(&mut self, frame: NewFrame) -> Result<Position, WriteError> {
        assert!(frame.body.len() <= FRAME_BYTES_MAX, "a frame's body is bounded");
        assert!(self.fits(&frame), "a segment holds any frame");
        let n_bytes = frame.n_bytes();
        if self.end.since(self.written) + n_bytes > WRITE_BYTES_MAX as u64 {
            self.flush()?;
        }
        let NewFrame { kind, flags, term, index, body } = frame;
        let body_bytes = u32::try_from(body.len()).expect("a frame's body is bounded");
        let (shard, durable) = (ShardId::new(0), self.durable);
        let header = FrameHeader { kind, flags, shard, term, index, durable, body_bytes };
        let header = header.encode(self.segment.salt, &body);
        self.pending.push(Placed { header, body });
        let at = self.end;
        self.end = at.plus(n_bytes);
        Ok(at)
    }

    /// The one place where something becomes durable.
    pub(crate) fn flush(&mut self) -> Result<(), WriteError> {
        self.write()?;
        if self.durable < self.end {
            self.sync().map_err(failed("fdatasync of", self.segment.number))?;
            self.durable = self.end;
            self.is_marked = false;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if is_planted(Bug::CallbackBeforeFsync) {
            return Ok(());
        }
        let synced = self.file.sync();
        if synced.is_err() && is_planted(Bug::RetryFsync) { self.file.sync() } else { synced }
    }

    fn write(&mut self) -> Result<(), WriteError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut parts = Vec::with_capacity(3 * self.pending.len());
        for Placed { header, body } in &self.pending {
            let n_bytes = FRAME_HEADER_BYTES + body.len();
            let n_padding = FrameHeader::frame_bytes(body.len()) - n_bytes;
            parts.push(IoSlice::new(header));
            parts.push(IoSlice::new(body));
            parts.push(IoSlice::new(PADDING.split_at(n_padding).0));
        }
        parts.retain(|part| !part.is_empty());
        let written = self.file.write_at(&mut parts, self.segment.at(self.written));
        written.map_err(failed("writing to", self.segment.number))?;
        self.pending.clear();
        self.written = self.end;
        Ok(())
    }

    /// Adds a Mark frame without a sync, if something is durable that no mark covers and there is
    /// room.
    pub(crate) fn mark(&mut self) -> Result<(), WriteError> {
        let mark = NewFrame::new(FrameKind::Mark, Default::default(), Bytes::new());
        if !self.is_marked && self.fits(&mark) {
            self.put(mark)?;
            self.write()?;
        }
        self.is_marked = true;
        Ok(())
    }

    /// Goes on in the next segment; what is in this one is durable.
    pub(crate) fn go_on_in(&mut self, segment: Segment, file: Arc<dyn File>) {
        assert_eq!(self.durable, self.end, "a segment gets no frame before its predecessor's last");
        assert_eq!(segment.first, self.segment.end(), "segments have no gap between them");
        self.segment = segment;
        self.file = file;
        self.written = segment.first_frame();
        self.end = self.written;
    }
}
