//! Which segment holds which events, and the sections of those segments that have no file yet.
//!
//! Memory: per segment and topic one run of 16 bytes; the sections of the open segment and of
//! closed ones that are not all applied; and loaded index files up to [`LOADED_BYTES_MAX`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tidings_types::effect::Placed;
use tidings_types::id::TopicId;
use tidings_types::offset::{Offset, Position};

use crate::index_file::TopicRange;
use crate::section::{Section, Sections, encode_local};
use crate::segment::Segment;

/// Sections of index files that are kept after they were read; one file at least.
const LOADED_BYTES_MAX: usize = 8 << 20;

/// See the module's description.
#[derive(Default)]
pub(crate) struct EventIndex {
    /// All segments that hold frames, by their first position.
    segments: BTreeMap<Position, Segment>,
    /// Segments without a file.
    open: BTreeMap<u64, Arc<Sections>>,
    /// For each topic its first offset in each segment that has any, ascending.
    runs: BTreeMap<TopicId, Vec<Run>>,
    ends: BTreeMap<TopicId, Offset>,
    loaded: VecDeque<(u64, Arc<Sections>)>,
}

#[derive(Clone, Copy)]
struct Run {
    number: u64,
    first: Offset,
}

/// Where an event is.
pub(crate) enum Located {
    /// It was purged; the topic starts here.
    Purged(Offset),
    /// There is nothing at the offset or after it.
    Nothing,
    /// The segment's sections are in memory.
    Here(Arc<Sections>),
    /// The segment's index file must be read.
    OnDisk(Segment),
}

impl EventIndex {
    /// A segment begins to hold frames.
    pub(crate) fn add_segment(&mut self, segment: Segment, sections: Sections) {
        for (&topic, sections) in &sections.by_topic {
            if let (Some(first), Some(last)) = (sections.first(), sections.last()) {
                self.add_run(topic, segment.number, first.first, last.end());
            }
        }
        self.segments.insert(segment.first, segment);
        self.open.insert(segment.number, Arc::new(sections));
    }

    /// A segment that has an index file.
    pub(crate) fn add_filed(&mut self, segment: Segment, topics: &[TopicRange]) {
        self.segments.insert(segment.first, segment);
        for range in topics {
            self.add_run(range.topic, segment.number, range.first, range.end);
        }
    }

    fn add_run(&mut self, topic: TopicId, number: u64, first: Offset, end: Offset) {
        let runs = self.runs.entry(topic).or_default();
        if let Err(idx) = runs.binary_search_by_key(&number, |run| run.number) {
            runs.insert(idx, Run { number, first });
        }
        let known = self.ends.entry(topic).or_default();
        *known = end.max(*known);
    }

    /// Events became readable. Those of a segment that has its file are known already.
    pub(crate) fn accept(&mut self, placed: &Placed, section: Section) {
        let segment = self.segment_at(section.position).expect("it was written before");
        if let Some(sections) = self.open.get_mut(&segment.number) {
            Arc::make_mut(sections).push(placed.topic, section);
            self.add_run(placed.topic, segment.number, section.first, section.end());
        }
    }

    /// The segment that covers a position.
    pub(crate) fn segment_at(&self, position: Position) -> Option<Segment> {
        let (_, segment) = self.segments.range(..=position).next_back()?;
        (position < segment.end()).then_some(*segment)
    }

    /// All segments that hold frames, in order.
    pub(crate) fn segments(&self) -> impl DoubleEndedIterator<Item = Segment> {
        self.segments.values().copied()
    }

    /// The offset behind a topic's last event.
    pub(crate) fn end(&self, topic: TopicId) -> Offset {
        self.ends.get(&topic).copied().unwrap_or_default()
    }

    pub(crate) fn locate(&self, topic: TopicId, from: Offset) -> Located {
        if self.end(topic) <= from {
            return Located::Nothing;
        }
        let runs = self.runs.get(&topic).map(Vec::as_slice).unwrap_or_default();
        let n_upto = runs.partition_point(|run| run.first <= from);
        let Some(run) = n_upto.checked_sub(1).and_then(|idx| runs.get(idx)) else {
            let start = runs.first().map_or(self.end(topic), |run| run.first);
            return Located::Purged(start);
        };
        let in_memory = || self.loaded.iter().find(|(number, _)| *number == run.number);
        let sections = self.open.get(&run.number).or_else(|| Some(&in_memory()?.1));
        match sections {
            Some(sections) => Located::Here(sections.clone()),
            None => {
                let mut segments = self.segments.values().rev();
                let segment = segments.find(|segment| segment.number == run.number);
                Located::OnDisk(*segment.expect("a run's segment is kept"))
            }
        }
    }

    /// The sections of a segment that has no file.
    pub(crate) fn open_sections(&self, number: u64) -> Option<Arc<Sections>> {
        self.open.get(&number).cloned()
    }

    /// A segment has its file now.
    pub(crate) fn filed(&mut self, number: u64) {
        if let Some(sections) = self.open.remove(&number) {
            self.loaded(number, sections);
        }
    }

    /// A file was read: keeps what it said for a while.
    pub(crate) fn loaded(&mut self, number: u64, sections: Arc<Sections>) {
        self.loaded.retain(|(loaded, _)| *loaded != number);
        self.loaded.push_back((number, sections));
        let mut n_bytes: usize =
            self.loaded.iter().map(|(_, sections)| sections.memory_bytes()).sum();
        while n_bytes > LOADED_BYTES_MAX && self.loaded.len() > 1 {
            n_bytes -= self.loaded.pop_front().map_or(0, |(_, old)| old.memory_bytes());
        }
    }

    /// Segments below this one are gone.
    pub(crate) fn drop_before(&mut self, number: u64) {
        self.segments.retain(|_, segment| segment.number >= number);
        self.open.retain(|&open, _| open >= number);
        self.loaded.retain(|(loaded, _)| *loaded >= number);
        for runs in self.runs.values_mut() {
            runs.retain(|run| run.number >= number);
        }
        self.runs.retain(|_, runs| !runs.is_empty());
    }

    /// For a checkpoint: the sections of all segments without a file.
    pub(crate) fn local_part(&self) -> Vec<u8> {
        encode_local(self.open.iter().map(|(&number, sections)| (number, &**sections)))
    }
}
