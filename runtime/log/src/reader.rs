//! Reading events back: the newest from memory, older ones from the disk by their index.

use std::sync::Arc;

use tidings_types::effect::Placed;
use tidings_types::id::TopicId;
use tidings_types::layout::frame::FrameKind;
use tidings_types::layout::records::Records;
use tidings_types::limits::READ_STEP_BYTES;
use tidings_types::offset::{Offset, Position};

use crate::block::{Block, Space, TailRead};
use crate::error::ReadError;
use crate::event_index::Located;
use crate::frames::{Frame, Frames};
use crate::index_file;
use crate::section::{Section, Sections};
use crate::segment::{self, Segment};
use crate::shared::Shared;

/// Reads events; clones read the same log.
#[derive(Clone)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

fn failed(what: &'static str, number: u64) -> impl FnOnce(std::io::Error) -> ReadError {
    move |source| ReadError::Io { what: format!("{what} of segment {number}"), source }
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Reads from memory: never waits for the disk. The first block holds the event at `from`; it
    /// comes even if it is larger than `max_bytes`.
    pub fn read_tail(&self, topic: TopicId, from: Offset, max_bytes: usize) -> TailRead {
        let events = self.shared.events();
        if events.index.end(topic) <= from {
            return TailRead::End;
        }
        match events.tail.read(topic, from, max_bytes) {
            Some(blocks) => TailRead::Hit(blocks),
            None => TailRead::Miss,
        }
    }

    /// Reads from the disk, and waits for it. The first block holds the event at `from`; it comes
    /// even if it is larger than `max_bytes`. Without events at `from` or after it there is none.
    ///
    /// # Errors
    /// If the bytes are damaged or purged, or cannot be read.
    pub fn read_disk(
        &self,
        topic: TopicId,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Block>, ReadError> {
        let located = self.shared.events().index.locate(topic, from);
        let sections = match located {
            Located::Nothing => return Ok(Vec::new()),
            Located::Purged(start) => return Err(ReadError::Purged { offset: from, start }),
            Located::Here(sections) => sections,
            Located::OnDisk(segment) => self.load(&segment)?,
        };
        self.blocks(topic, &sections.from(topic, from, max_bytes))
    }

    fn load(&self, segment: &Segment) -> Result<Arc<Sections>, ReadError> {
        let number = segment.number;
        let disk = &*self.shared.disk;
        let damaged = |why| {
            // Derived: without the file the next start makes it anew.
            tracing::error!(segment = number, why, "the index file is damaged and removed");
            let _ = disk.remove(&format!("{}/{}", segment::DIR, segment::index_name(number)));
            ReadError::DamagedIndex { segment: number, why }
        };
        let head = index_file::read_head(disk, segment);
        let head = head.map_err(failed("reading the index", number))?;
        let head = head.ok_or_else(|| damaged("it is not what was written"))?;
        let rest = head.read_rest(disk, number).map_err(failed("reading the index", number))?;
        let (sections, _) = rest.ok_or_else(|| damaged("its crc does not match"))?;
        let sections = Arc::new(sections);
        self.shared.events().index.loaded(number, sections.clone());
        Ok(sections)
    }

    /// Reads sections, which are in one segment and in ascending order of their frames.
    fn blocks(&self, topic: TopicId, sections: &[Section]) -> Result<Vec<Block>, ReadError> {
        let Some(first) = sections.first() else { return Ok(Vec::new()) };
        let segment = self.shared.events().index.segment_at(first.position);
        let Some(segment) = segment else {
            // Purged since it was located.
            let start = self.shared.events().index.end(topic);
            return Err(ReadError::Purged { offset: first.first, start });
        };
        let file = self.shared.disk.open(&segment::path(segment.number));
        let file = file.map_err(failed("opening the file", segment.number))?;
        let mut frames = Frames::new(segment, file, READ_STEP_BYTES);
        let mut blocks = Vec::with_capacity(sections.len());
        let mut frame: Option<Frame> = None;
        for section in sections {
            let known = frame.take().filter(|frame| frame.position == section.position);
            let known = match known {
                Some(known) => known,
                None => entry_frame(&mut frames, section.position)?,
            };
            blocks.push(block(&segment, topic, section, &known)?);
            frame = Some(known);
        }
        Ok(blocks)
    }

    /// How much room the disk has for the log.
    pub fn space(&self) -> Space {
        self.shared.space()
    }

    /// Bytes of the log that are in use.
    pub fn log_bytes(&self) -> u64 {
        self.shared.log_bytes()
    }

    /// Up to here the log is on the disk.
    pub fn durable(&self) -> Position {
        self.shared.durable()
    }
}

fn entry_frame(frames: &mut Frames, position: Position) -> Result<Frame, ReadError> {
    let segment = frames.segment.number;
    let damaged = |why| ReadError::Damaged { segment, position, why };
    let frame = frames.read(position).map_err(failed("reading the file", segment))?;
    let frame = frame.ok_or(damaged("the frame is not what was written"))?;
    if frame.header.kind != FrameKind::Entry {
        return Err(damaged("the frame is no entry"));
    }
    Ok(frame)
}

fn block(
    segment: &Segment,
    topic: TopicId,
    section: &Section,
    frame: &Frame,
) -> Result<Block, ReadError> {
    let damaged =
        |why| ReadError::Damaged { segment: segment.number, position: section.position, why };
    let (start, len) = (section.at as usize, section.len as usize);
    if frame.body.len() < start.saturating_add(len) {
        return Err(damaged("the section is not within its entry"));
    }
    let records = Records::parse(frame.body.slice(start..start + len));
    let records = records.map_err(|malformed| damaged(malformed.why))?;
    records.check().map_err(|malformed| damaged(malformed.why))?;
    if records.topic != topic {
        return Err(damaged("the section is of another topic"));
    }
    let placed = Placed { topic, first: section.first, n_events: section.n_events };
    Ok(Block { placed, records })
}
