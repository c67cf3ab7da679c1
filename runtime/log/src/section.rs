//! Where accepted records sections stand: the index of one segment, by topic and offset.
//!
//! ```text
//!   section   first offset u64 · frame position u64 · at u32 · length u32
//!             events u32 · skipped u32 (by the id window; 0 so far)
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use tidings_types::id::TopicId;
use tidings_types::layout::{Malformed, Take};
use tidings_types::offset::{Offset, Position};

/// Size of a section in a file.
pub(crate) const SECTION_BYTES: usize = 32;

/// One accepted records section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// Its first event's offset.
    pub(crate) first: Offset,
    /// The frame that it stands in.
    pub(crate) position: Position,
    /// Where in the frame's body.
    pub(crate) at: u32,
    pub(crate) len: u32,
    pub(crate) n_events: u32,
    /// Events that were not accepted.
    pub(crate) n_skipped: u32,
}

impl Section {
    /// The offset behind its last event.
    pub(crate) fn end(&self) -> Offset {
        self.first.plus(u64::from(self.n_events))
    }

    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.first.get().to_le_bytes());
        bytes.extend(self.position.get().to_le_bytes());
        for number in [self.at, self.len, self.n_events, self.n_skipped] {
            bytes.extend(number.to_le_bytes());
        }
    }

    pub(crate) fn take(take: &mut Take) -> Result<Self, Malformed> {
        Ok(Self {
            first: Offset::new(take.u64()?),
            position: Position::new(take.u64()?),
            at: take.u32()?,
            len: take.u32()?,
            n_events: take.u32()?,
            n_skipped: take.u32()?,
        })
    }
}

/// All accepted sections of one segment, or those so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sections {
    /// Ascending by offset.
    pub(crate) by_topic: BTreeMap<TopicId, Vec<Section>>,
}

impl Sections {
    pub(crate) fn push(&mut self, topic: TopicId, section: Section) {
        let sections = self.by_topic.entry(topic).or_default();
        if let Some(last) = sections.last() {
            assert!(last.end() <= section.first, "offsets rise in log order");
        }
        sections.push(section);
    }

    /// The section that holds an offset and those behind it, up to a number of bytes.
    pub(crate) fn from(&self, topic: TopicId, from: Offset, max_bytes: usize) -> Vec<Section> {
        let sections = self.by_topic.get(&topic).map(Vec::as_slice).unwrap_or_default();
        let start = sections.partition_point(|section| section.end() <= from);
        let mut n_bytes = 0;
        let within = sections.iter().skip(start).take_while(|section| {
            let is_first = n_bytes == 0;
            n_bytes += section.len as usize;
            is_first || n_bytes <= max_bytes
        });
        within.copied().collect()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let n_sections: usize = self.by_topic.values().map(Vec::len).sum();
        n_sections * SECTION_BYTES + self.by_topic.len() * 64
    }

    /// Appends what [`Sections::take`] reads.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let length = |n: usize| u32::try_from(n).expect("a segment has far fewer sections");
        bytes.extend(length(self.by_topic.len()).to_le_bytes());
        for (topic, sections) in &self.by_topic {
            bytes.extend(topic.get().to_le_bytes());
            bytes.extend(length(sections.len()).to_le_bytes());
            sections.iter().for_each(|section| section.encode(bytes));
        }
    }

    pub(crate) fn take(take: &mut Take) -> Result<Self, Malformed> {
        let mut by_topic = BTreeMap::new();
        for _ in 0..take.u32()? {
            let topic = TopicId::new(take.u32()?);
            let n_sections = take.u32()? as usize;
            let mut sections = Vec::with_capacity(n_sections.min(take.n_left() / SECTION_BYTES));
            for _ in 0..n_sections {
                sections.push(Section::take(take)?);
            }
            by_topic.insert(topic, sections);
        }
        Ok(Self { by_topic })
    }
}

const LOCAL_VERSION: u32 = 1;

/// The local part of a checkpoint: the sections of segments, by segment number.
pub(crate) fn encode_local<'a>(segments: impl Iterator<Item = (u64, &'a Sections)>) -> Vec<u8> {
    let mut bytes = LOCAL_VERSION.to_le_bytes().to_vec();
    for (number, sections) in segments {
        bytes.extend(number.to_le_bytes());
        sections.encode(&mut bytes);
    }
    bytes
}

/// Reads what [`encode_local`] gave.
pub(crate) fn parse_local(bytes: Bytes) -> Result<BTreeMap<u64, Sections>, Malformed> {
    let mut segments = BTreeMap::new();
    let mut take = Take::new("local part of a checkpoint", bytes);
    if take.n_left() == 0 {
        return Ok(segments);
    }
    if take.u32()? != LOCAL_VERSION {
        return Err(take.malformed("unknown version"));
    }
    while take.n_left() > 0 {
        let number = take.u64()?;
        segments.insert(number, Sections::take(&mut take)?);
    }
    Ok(segments)
}
