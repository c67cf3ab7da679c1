//! Index files: where the entries and the accepted sections of one closed segment stand.
//!
//! ```text
//!    0 magic u32       4 crc32c u32 of part a from 8 on        8 format u32   12 salt u32
//!   16 segment u64    24 first index u64     32 max index u64  40 reset index u64 (all ones: none)
//!   48 reset term u64 56 newest time u64     64 n_entries u32  68 n_runs u32
//!   72 n_topics u32   76 n_sections u32      80 crc32c u32 of part b   84 0 u32
//!   88 index u64 · term u64                                    (n_runs times)
//!      topic u32 · n_sections u32 · first offset u64 · end offset u64   (n_topics times)
//!   part b
//!      section 32 B, see `section`                              (n_sections times, by topic)
//!      frame position u64                                       (n_entries times)
//! ```
//!
//! Derived: it is written once all of the segment is applied, and can be made again by applying
//! its entries. A start reads part a of each file; part b is read when somebody looks into it. The
//! segment's salt ties the file to its segment.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use tidings_types::id::TopicId;
use tidings_types::layout::{Malformed, Take};
use tidings_types::offset::{LogIndex, Offset, Position, Term};

use crate::contents::{Closed, Contents};
use crate::disk::Disk;
use crate::identity::FORMAT;
use crate::section::{SECTION_BYTES, Section, Sections};
use crate::segment::{self, Segment};
use crate::small_file;

const MAGIC: u32 = 0x5844_4954; // "TIDX"
const HEADER_BYTES: usize = 88;
const RUN_BYTES: usize = 16;
const TOPIC_BYTES: usize = 24;
/// First read of a file; part a is hardly ever longer.
const READ_BYTES: usize = 16 << 10;

/// Part a of an index file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexHead {
    pub(crate) first: LogIndex,
    pub(crate) max_index: LogIndex,
    pub(crate) reset: Option<(LogIndex, Term)>,
    pub(crate) newest_ms: u64,
    pub(crate) runs: Vec<(LogIndex, Term)>,
    /// Topic, number of sections, first offset, offset behind the last.
    pub(crate) topics: Vec<TopicRange>,
    n_entries: u32,
    n_sections: u32,
    crc_b: u32,
    a_bytes: usize,
    /// The segment's space: what is named stands in it.
    space: Range<Position>,
}

/// What one segment has of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicRange {
    pub(crate) topic: TopicId,
    pub(crate) n_sections: u32,
    pub(crate) first: Offset,
    pub(crate) end: Offset,
}

fn length(n: usize) -> [u8; 4] {
    u32::try_from(n).expect("a segment has far fewer").to_le_bytes()
}

/// Writes the file of a closed segment.
pub(crate) fn write(disk: &dyn Disk, closed: &Closed, sections: &Sections) -> io::Result<()> {
    let Closed { segment, contents } = closed;
    let mut b = Vec::new();
    let mut topics = Vec::new();
    for (topic, sections) in &sections.by_topic {
        let (Some(first), Some(last)) = (sections.first(), sections.last()) else { continue };
        topics.extend(topic.get().to_le_bytes());
        topics.extend(length(sections.len()));
        topics.extend(first.first.get().to_le_bytes());
        topics.extend(last.end().get().to_le_bytes());
        sections.iter().for_each(|section| section.encode(&mut b));
    }
    let n_sections = b.len() / SECTION_BYTES;
    for (_, position) in &contents.entries {
        b.extend(position.get().to_le_bytes());
    }
    let runs = contents.runs();
    let (reset_index, reset_term) = contents.reset.unwrap_or((LogIndex::new(u64::MAX), Term::ZERO));

    let mut a = FORMAT.to_le_bytes().to_vec();
    a.extend(segment.salt.to_le_bytes());
    let numbers = [
        segment.number,
        contents.first.get(),
        contents.max_index.get(),
        reset_index.get(),
        reset_term.get(),
        contents.newest_ms,
    ];
    numbers.iter().for_each(|number| a.extend(number.to_le_bytes()));
    for n in [contents.entries.len(), runs.len(), topics.len() / TOPIC_BYTES, n_sections] {
        a.extend(length(n));
    }
    a.extend(crc32c::crc32c(&b).to_le_bytes());
    a.extend([0; 4]);
    for (index, term) in runs {
        a.extend(index.get().to_le_bytes());
        a.extend(term.get().to_le_bytes());
    }
    a.extend(topics);
    let mut start = MAGIC.to_le_bytes().to_vec();
    start.extend(crc32c::crc32c(&a).to_le_bytes());
    small_file::replace(disk, segment::DIR, &segment::index_name(segment.number), &[&start, &a, &b])
}

fn path(number: u64) -> String {
    format!("{}/{}", segment::DIR, segment::index_name(number))
}

/// Reads part a; `None` if there is no such file or it is not what was written.
pub(crate) fn read_head(disk: &dyn Disk, segment: &Segment) -> io::Result<Option<IndexHead>> {
    let file = match disk.open(&path(segment.number)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let file_bytes = usize::try_from(file.len_bytes()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; READ_BYTES.min(file_bytes)];
    file.read_at(&mut bytes, 0)?;
    let Some(a_bytes) = a_bytes(&bytes).filter(|&a_bytes| a_bytes <= file_bytes) else {
        return Ok(None);
    };
    if a_bytes > bytes.len() {
        bytes.resize(a_bytes, 0);
        file.read_at(&mut bytes, 0)?;
    }
    bytes.truncate(a_bytes);
    let head = parse_head(segment, bytes.into()).ok();
    let is_whole =
        |head: &IndexHead| head.a_bytes + head.b_bytes() == file_bytes && head.is_sound();
    Ok(head.filter(is_whole))
}

fn a_bytes(bytes: &[u8]) -> Option<usize> {
    let u32_at = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let (n_runs, n_topics) = (u32_at(68)? as usize, u32_at(72)? as usize);
    Some(HEADER_BYTES + n_runs * RUN_BYTES + n_topics * TOPIC_BYTES)
}

fn parse_head(segment: &Segment, bytes: Bytes) -> Result<IndexHead, Malformed> {
    let a_bytes = bytes.len();
    let crc = bytes.get(8..).map(crc32c::crc32c);
    let mut take = Take::new("index file", bytes);
    let is_ours = take.u32()? == MAGIC && Some(take.u32()?) == crc;
    let is_of_segment =
        take.u32()? == FORMAT && take.u32()? == segment.salt && take.u64()? == segment.number;
    if !is_ours || !is_of_segment {
        return Err(take.malformed("not the file of this segment"));
    }
    let (first, max_index) = (LogIndex::new(take.u64()?), LogIndex::new(take.u64()?));
    let (reset_index, reset_term) = (take.u64()?, Term::new(take.u64()?));
    let reset = (reset_index != u64::MAX).then_some((LogIndex::new(reset_index), reset_term));
    let newest_ms = take.u64()?;
    let (n_entries, n_runs, n_topics) = (take.u32()?, take.u32()?, take.u32()?);
    let (n_sections, crc_b) = (take.u32()?, take.u32()?);
    take.u32()?;
    let mut runs = Vec::new();
    for _ in 0..n_runs {
        runs.push((LogIndex::new(take.u64()?), Term::new(take.u64()?)));
    }
    let mut topics = Vec::new();
    for _ in 0..n_topics {
        topics.push(TopicRange {
            topic: TopicId::new(take.u32()?),
            n_sections: take.u32()?,
            first: Offset::new(take.u64()?),
            end: Offset::new(take.u64()?),
        });
    }
    take.end()?;
    Ok(IndexHead {
        first,
        max_index,
        reset,
        newest_ms,
        runs,
        topics,
        n_entries,
        n_sections,
        crc_b,
        a_bytes,
        space: segment.first_frame()..segment.end(),
    })
}

impl IndexHead {
    /// Index of the last entry, if there is one.
    pub(crate) fn last(&self) -> Option<LogIndex> {
        let n_after = u64::from(self.n_entries).checked_sub(1)?;
        Some(self.first.plus(n_after))
    }

    /// Whether its entries go on where the log ended before the segment, and end where it ended
    /// behind it.
    pub(crate) fn follows(&self, before: LogIndex, after: LogIndex) -> bool {
        let (goes_on, ended) = match self.reset {
            Some((index, _)) => (true, index),
            None => (self.n_entries == 0 || self.first <= before.next(), before),
        };
        goes_on && self.last().unwrap_or(ended) == after
    }

    /// Whether a segment can have such contents. A whole crc proves who wrote it, not that it was
    /// right; as the file is derived, a wrong one is made anew.
    fn is_sound(&self) -> bool {
        let n_entries = u64::from(self.n_entries);
        let Some(end) = self.first.get().checked_add(n_entries).map(LogIndex::new) else {
            return false;
        };
        let first = self.runs.first().map(|&(first, _)| first);
        let starts = self.runs.iter().map(|&(start, _)| start);
        let n_sections: u64 = self.topics.iter().map(|range| u64::from(range.n_sections)).sum();
        first == (n_entries > 0).then_some(self.first)
            && starts.is_sorted_by(|a, b| a < b)
            && self.runs.last().is_none_or(|&(start, _)| start < end)
            && self.last().is_none_or(|last| last <= self.max_index)
            && self.reset.is_none_or(|(index, _)| index < self.first)
            && self.topics.is_sorted_by(|a, b| a.topic < b.topic)
            && n_sections == u64::from(self.n_sections)
    }

    fn b_bytes(&self) -> usize {
        self.n_sections as usize * SECTION_BYTES + self.n_entries as usize * 8
    }

    /// Reads part b: `None` if it is not what was written.
    pub(crate) fn read_rest(
        &self,
        disk: &dyn Disk,
        number: u64,
    ) -> io::Result<Option<(Sections, Contents)>> {
        let mut bytes = vec![0; self.b_bytes()];
        let n_read = disk.open(&path(number))?.read_at(&mut bytes, self.a_bytes as u64)?;
        if n_read < bytes.len() || crc32c::crc32c(&bytes) != self.crc_b {
            return Ok(None);
        }
        Ok(self.parse_rest(bytes.into()).ok())
    }

    fn parse_rest(&self, bytes: Bytes) -> Result<(Sections, Contents), Malformed> {
        let mut take = Take::new("index file", bytes);
        let mut sections = Sections::default();
        for range in &self.topics {
            let mut of_topic = Vec::with_capacity(range.n_sections as usize);
            let mut end = range.first;
            for _ in 0..range.n_sections {
                let section = Section::take(&mut take)?;
                let next = section.first.get().checked_add(u64::from(section.n_events));
                let next = next.map(Offset::new).ok_or(take.malformed("offset beyond reason"))?;
                if section.first < end || !self.space.contains(&section.position) {
                    return Err(take.malformed("section out of place"));
                }
                end = next;
                of_topic.push(section);
            }
            sections.by_topic.insert(range.topic, of_topic);
        }
        let mut entries = Vec::with_capacity(self.n_entries as usize);
        let mut runs = self.runs.iter().peekable();
        let mut term = Term::ZERO;
        for idx in 0..u64::from(self.n_entries) {
            if let Some(&(_, next)) = runs.next_if(|(index, _)| *index == self.first.plus(idx)) {
                term = next;
            }
            let position = Position::new(take.u64()?);
            if !self.space.contains(&position) {
                return Err(take.malformed("entry out of place"));
            }
            entries.push((term, position));
        }
        take.end()?;
        let contents = Contents {
            first: self.first,
            entries,
            max_index: self.max_index,
            reset: self.reset,
            newest_ms: self.newest_ms,
        };
        Ok((sections, contents))
    }
}

#[cfg(test)]
mod tests {
    use tidings_types::id::{ClusterId, NodeId};

    use super::*;
    use crate::disk::MemoryDisk;

    fn sample() -> (Closed, Sections) {
        let segment = Segment {
            number: 3,
            first: Position::new(0x1_0000),
            size: 0x2_0000,
            salt: 7,
            created_ms: 9,
            cluster: ClusterId::new([5; 16]),
            node: NodeId::new(1),
        };
        let mut contents = Contents { newest_ms: 77, ..Contents::default() };
        for (index, term) in [(10, 1), (11, 1), (12, 4)] {
            let at = (LogIndex::new(index), Term::new(term));
            contents.note_entry(at, Position::new(0x1_1000 + index * 64), false, b"");
        }
        let mut sections = Sections::default();
        for (topic, first) in [(2, 5), (1, 0), (2, 8)] {
            let (first, position) = (Offset::new(first), Position::new(0x1_1280));
            let section = Section { first, position, at: 24, len: 99, n_events: 3, n_skipped: 0 };
            sections.push(TopicId::new(topic), section);
        }
        (Closed { segment, contents }, sections)
    }

    #[test]
    fn file_comes_back_as_it_was_written() {
        let (disk, (closed, sections)) = (MemoryDisk::new(), sample());
        write(&disk, &closed, &sections).unwrap();
        disk.crash();
        let head = read_head(&disk, &closed.segment).unwrap().unwrap();
        assert_eq!(head.runs, closed.contents.runs());
        let range = |topic, n_sections, first, end| TopicRange {
            topic: TopicId::new(topic),
            n_sections,
            first: Offset::new(first),
            end: Offset::new(end),
        };
        assert_eq!(head.topics, [range(1, 1, 0, 3), range(2, 2, 5, 11)]);
        let rest = head.read_rest(&disk, 3).unwrap();
        assert_eq!(rest, Some((sections, closed.contents)));
    }

    #[test]
    fn layout_has_its_golden_bytes() {
        let (disk, (closed, sections)) = (MemoryDisk::new(), sample());
        write(&disk, &closed, &sections).unwrap();
        let bytes = disk.bytes(&path(3)).unwrap();
        assert_eq!(bytes.len(), 88 + 2 * 16 + 2 * 24 + 3 * 32 + 3 * 8);
        assert_eq!(bytes[..4], *b"TIDX");
        assert_eq!(bytes[8..16], *b"\x01\0\0\0\x07\0\0\0");
        assert_eq!(bytes[64..80], *b"\x03\0\0\0\x02\0\0\0\x02\0\0\0\x03\0\0\0");
        let section =
            b"\0\0\0\0\0\0\0\0\x80\x12\x01\0\0\0\0\0\x18\0\0\0\x63\0\0\0\x03\0\0\0\0\0\0\0";
        assert_eq!(bytes[168..200], *section);
    }

    /// No byte of the file may be trusted once it has changed. We flip each one.
    #[test]
    fn any_flipped_byte_is_noticed() {
        let (disk, (closed, sections)) = (MemoryDisk::new(), sample());
        write(&disk, &closed, &sections).unwrap();
        let bytes = disk.bytes(&path(3)).unwrap();
        for (at, &byte) in bytes.iter().enumerate() {
            disk.put(&path(3), at as u64, &[byte ^ 1]);
            let head = read_head(&disk, &closed.segment).unwrap();
            let rest = head.and_then(|head| head.read_rest(&disk, 3).unwrap());
            assert_eq!(rest, None, "byte {at}");
            disk.put(&path(3), at as u64, &[byte]);
        }
        disk.cut(&path(3), bytes.len() as u64 - 1);
        assert_eq!(read_head(&disk, &closed.segment).unwrap(), None);
    }

    /// A file is derived, so nonsense behind whole crcs must cost no more than the file. We write
    /// numbers that no segment has and mend the crcs.
    #[test]
    fn nonsense_behind_whole_crcs_is_refused() {
        let (disk, (closed, sections)) = (MemoryDisk::new(), sample());
        write(&disk, &closed, &sections).unwrap();
        let whole = disk.bytes(&path(3)).unwrap();
        let a_bytes = 88 + 2 * 16 + 2 * 24;
        let (section, entry) = (a_bytes, a_bytes + 3 * 32);
        let nonsense: [(usize, &[u8]); 9] = [
            (24, &[0xff; 8]),        // first index
            (32, &[0; 8]),           // highest index, below the last one
            (88, &[9]),              // the first run begins before the entries
            (104, &[99]),            // a run behind the last entry
            (124, &[0xff; 4]),       // more sections of a topic than there are
            (section, &[0xff; 8]),   // an offset whose end does not fit
            (section + 8, &[0; 8]),  // a frame before the segment
            (section + 34, &[0xff]), // offsets that fall
            (entry + 5, &[0xff]),    // an entry behind the segment
        ];
        for (at, bytes) in nonsense {
            let mut bad = whole.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            let crc_b = crc32c::crc32c(&bad[a_bytes..]).to_le_bytes();
            bad[80..84].copy_from_slice(&crc_b);
            let crc_a = crc32c::crc32c(&bad[8..a_bytes]).to_le_bytes();
            bad[4..8].copy_from_slice(&crc_a);
            disk.put(&path(3), 0, &bad);
            let head = read_head(&disk, &closed.segment).unwrap();
            let rest = head.and_then(|head| head.read_rest(&disk, 3).unwrap());
            assert_eq!(rest, None, "byte {at}");
        }
    }
}
