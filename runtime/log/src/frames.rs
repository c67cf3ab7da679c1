//! Reading frames of one segment, and looking for frames where there should be none.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tidings_types::layout::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader};
use tidings_types::limits::FRAME_BYTES_MAX;
use tidings_types::offset::Position;

use crate::disk::File;
use crate::segment::Segment;

/// How every frame begins; [`FrameHeader::peek`] is the judge, this is the quick look.
const MAGIC: [u8; 4] = *b"TFRM";
/// Size of one read when a segment is read from end to end.
pub(crate) const SCAN_STEP_BYTES: usize = 1 << 20;

/// A frame that was read.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) position: Position,
    /// Shares the memory of one read.
    pub(crate) body: Bytes,
}

impl Frame {
    /// Where the next frame stands.
    pub(crate) fn end(&self) -> Position {
        self.position.plus(FrameHeader::frame_bytes(self.body.len()) as u64)
    }
}

/// Reads a segment's file through a window.
pub(crate) struct Frames {
    pub(crate) segment: Segment,
    file: Arc<dyn File>,
    step_bytes: usize,
    window: Bytes,
    window_at: u64,
}

impl Frames {
    pub(crate) fn new(segment: Segment, file: Arc<dyn File>, step_bytes: usize) -> Self {
        Self { segment, file, step_bytes, window: Bytes::new(), window_at: 0 }
    }

    /// The bytes from `at` on: as many as asked for, or fewer where the segment ends.
    fn bytes(&mut self, at: u64, n_bytes: usize) -> io::Result<Bytes> {
        if let Some(bytes) = self.windowed(at, n_bytes) {
            return Ok(bytes);
        }
        let n_left = usize::try_from(self.segment.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut window = BytesMut::zeroed(self.step_bytes.max(n_bytes).min(n_left));
        let n_read = self.file.read_at(&mut window, at)?;
        window.truncate(n_read);
        self.window = window.freeze();
        self.window_at = at;
        Ok(self.window.slice(..n_bytes.min(n_read)))
    }

    fn windowed(&self, at: u64, n_bytes: usize) -> Option<Bytes> {
        let start = usize::try_from(at.checked_sub(self.window_at)?).ok()?;
        let end = start.checked_add(n_bytes)?;
        (end <= self.window.len()).then(|| self.window.slice(start..end))
    }

    fn header(&mut self, position: Position) -> io::Result<Option<(Bytes, FrameHeader)>> {
        if position < self.segment.first_frame() || self.segment.end() <= position {
            return Ok(None);
        }
        let bytes = self.bytes(self.segment.at(position), FRAME_HEADER_BYTES)?;
        let header = bytes.first_chunk().and_then(FrameHeader::peek);
        // A body that reaches beyond the segment was never written.
        let ends_within = |header: &FrameHeader| {
            let n_bytes = FrameHeader::frame_bytes(header.body_bytes as usize);
            position.plus(n_bytes as u64) <= self.segment.end()
        };
        Ok(header.filter(ends_within).map(|header| (bytes, header)))
    }

    /// The frame at a position; `None` if what is there is none, or not what was written.
    pub(crate) fn read(&mut self, position: Position) -> io::Result<Option<Frame>> {
        let Some((header_bytes, header)) = self.header(position)? else { return Ok(None) };
        let n_bytes = FRAME_HEADER_BYTES + header.body_bytes as usize;
        let bytes = self.bytes(self.segment.at(position), n_bytes)?;
        if bytes.len() < n_bytes {
            return Ok(None);
        }
        let body = bytes.slice(FRAME_HEADER_BYTES..);
        let header_bytes = header_bytes.first_chunk().expect("it has a header's length");
        let is_intact = FrameHeader::is_intact(header_bytes, self.segment.salt, &body);
        Ok(is_intact.then_some(Frame { header, position, body }))
    }

    /// Looks for an intact frame in `from .. end` that `is_wanted` takes, wherever it begins.
    pub(crate) fn find(
        &mut self,
        from: Position,
        mut is_wanted: impl FnMut(&Frame) -> bool,
    ) -> io::Result<Option<Frame>> {
        let mut reader = Self::new(self.segment, self.file.clone(), FRAME_BYTES_MAX);
        let mut at = self.segment.at(from).next_multiple_of(FRAME_ALIGN as u64);
        while at < self.segment.size {
            let bytes = self.bytes(at, SCAN_STEP_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            for (idx, word) in bytes.chunks_exact(FRAME_ALIGN).enumerate() {
                if word.starts_with(&MAGIC) {
                    let position = self.segment.first.plus(at + (idx * FRAME_ALIGN) as u64);
                    if let Some(frame) = reader.read(position)?
                        && is_wanted(&frame)
                    {
                        return Ok(Some(frame));
                    }
                }
            }
            at += bytes.len().next_multiple_of(FRAME_ALIGN) as u64;
        }
        Ok(None)
    }

    /// Whether there is nothing but zeros from a position on.
    pub(crate) fn is_zero_from(&mut self, from: Position) -> io::Result<bool> {
        let mut at = self.segment.at(from);
        while at < self.segment.size {
            let bytes = self.bytes(at, SCAN_STEP_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            if bytes.chunks(4096).any(|chunk| chunk.iter().fold(0, |or, byte| or | byte) != 0) {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }

    /// Plain bytes of a range, to be rewritten where they stand.
    pub(crate) fn raw(&mut self, from: Position, end: Position) -> io::Result<Bytes> {
        let n_bytes = usize::try_from(end.since(from)).map_err(io::Error::other)?;
        self.bytes(self.segment.at(from), n_bytes)
    }

    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }
}
