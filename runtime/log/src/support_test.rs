//! What the tests of this crate share: a small log, and the least state machine that accepts events.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tidings_types::effect::{Accepted, Placed};
use tidings_types::event::NewEvent;
use tidings_types::id::{ClusterId, Incarnation, NodeId, ProducerId, Sequence, TopicId};
use tidings_types::layout::entry::{Entry as EntryData, EntryBuilder, SectionKind};
use tidings_types::layout::records::{Records, RecordsBuilder};
use tidings_types::offset::{LogIndex, Offset, Term};

use crate::checkpoint::{self, Checkpoint};
use crate::disk::MemoryDisk;
use crate::entry::{Entry, HardState};
use crate::error::{OpenError, WriteError};
use crate::identity::Identity;
use crate::log::Log;
use crate::open::{Opened, open};
use crate::options::Options;
use crate::writer::Writer;

/// Size of a segment, unless a test says otherwise.
pub(crate) const SEGMENT: u64 = 64 << 10;

pub(crate) fn identity() -> Identity {
    Identity {
        cluster: ClusterId::new([7; 16]),
        node: NodeId::new(1),
        incarnation: Incarnation::new(0),
    }
}

pub(crate) fn start_with(disk: &MemoryDisk, options: Options) -> Result<Opened, OpenError> {
    open(Arc::new(disk.clone()), options, identity())
}

pub(crate) fn start(disk: &MemoryDisk) -> Result<Opened, OpenError> {
    start_with(disk, Options::small(SEGMENT))
}

pub(crate) fn index(number: u64) -> LogIndex {
    LogIndex::new(number)
}

pub(crate) fn term(number: u64) -> Term {
    Term::new(number)
}

/// An entry that is no event's.
pub(crate) fn plain(number: u64, of_term: u64, n_bytes: usize) -> Entry {
    let data = Bytes::from(vec![number as u8 | 1; n_bytes]);
    Entry { index: index(number), term: term(of_term), kind: 1, data }
}

pub(crate) fn hard_state(of_term: u64, commit: u64) -> HardState {
    HardState { term: term(of_term), vote: Some(NodeId::new(1)), commit: index(commit) }
}

/// Appends, writes, and tells the log.
pub(crate) fn write(
    log: &mut Log,
    writer: &mut Writer,
    entries: Vec<Entry>,
    hard_state: Option<HardState>,
) -> Result<(), WriteError> {
    let job = log.append(entries, hard_state);
    let done = writer.write(vec![job])?;
    log.persisted(&done);
    Ok(())
}

/// What a start finds: index and term of each entry that it replays.
pub(crate) fn replayed(opened: Opened) -> Vec<(u64, u64)> {
    let entries = opened.replay.map(Result::unwrap);
    entries.map(|entry| (entry.index.get(), entry.term.get())).collect()
}

/// An entry with one batch for each topic given.
pub(crate) fn events(number: u64, topics: &[(u32, usize)]) -> Entry {
    let mut builder = EntryBuilder::with_capacity(64);
    for &(topic, n_events) in topics {
        let mut records = RecordsBuilder::with_capacity(64);
        for event in 0..n_events {
            let id = format!("{number}-{topic}-{event}");
            let payload = id.as_bytes();
            let (kind, key, headers) = ("t.v1", &b"k"[..], &b""[..]);
            records.push(&NewEvent { id: &id, kind, key, time_ms: 5, headers, payload });
        }
        let sequence = Sequence::new(number);
        let section = records.finish(TopicId::new(topic), ProducerId::new([1; 16]), sequence);
        builder.push(SectionKind::Records, &section);
    }
    let data = builder.finish(NodeId::new(1), number * 10);
    Entry { index: index(number), term: term(1), kind: 0, data }
}

/// Accepts every event, and can be asked for all of them.
#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) ids: BTreeMap<TopicId, Vec<String>>,
    pub(crate) applied: LogIndex,
}

impl Model {
    pub(crate) fn apply(&mut self, log: &mut Log, entry: &Entry) {
        assert_eq!(entry.index, self.applied.next());
        self.applied = entry.index;
        if entry.kind == 0 {
            for section in EntryData::parse(entry.data.clone()).unwrap().sections {
                let records = Records::parse(section.body.clone()).unwrap();
                let ids = self.ids.entry(records.topic).or_default();
                let placed = Placed {
                    topic: records.topic,
                    first: Offset::new(ids.len() as u64),
                    n_events: records.n_events,
                };
                ids.extend(records.events().map(|event| event.unwrap().id().to_owned()));
                let (at, records) = (section.at, section.body);
                log.accepted(&Accepted { placed, index: entry.index, at, records });
            }
        }
        log.applied(entry.index);
    }

    /// The state as bytes: only what is applied; the ids come back by applying again.
    pub(crate) fn checkpoint(&self, disk: &MemoryDisk, log: &mut Log) -> std::io::Result<()> {
        let ids: Vec<String> = self
            .ids
            .iter()
            .map(|(topic, ids)| format!("{} {}", topic.get(), ids.join(" ")))
            .collect();
        let checkpoint = Checkpoint {
            index: self.applied,
            term: log.term(self.applied).unwrap(),
            membership: vec![1],
            state: ids.join("\n").into_bytes(),
            local: log.local_part(),
        };
        checkpoint::write(disk, &checkpoint)?;
        log.checkpointed(self.applied);
        Ok(())
    }

    pub(crate) fn of(checkpoint: Option<&Checkpoint>) -> Self {
        let Some(checkpoint) = checkpoint else { return Self::default() };
        let state = String::from_utf8(checkpoint.state.clone()).unwrap();
        let mut ids = BTreeMap::new();
        for line in state.lines() {
            let (topic, rest) = line.split_once(' ').unwrap();
            let topic = TopicId::new(topic.parse().unwrap());
            ids.insert(topic, rest.split(' ').map(str::to_owned).collect());
        }
        Self { ids, applied: checkpoint.index }
    }

    /// Starts, and applies all that is replayed.
    pub(crate) fn resume(disk: &MemoryDisk) -> (Self, Log, Writer) {
        let Opened { mut log, writer, checkpoint, replay, .. } = start(disk).unwrap();
        let mut model = Self::of(checkpoint.as_ref());
        for entry in replay {
            model.apply(&mut log, &entry.unwrap());
        }
        (model, log, writer)
    }

    /// Every event must be readable at its offset, from memory or from the disk.
    pub(crate) fn check(&self, log: &Log, from_disk_only: bool) {
        use crate::block::TailRead;
        let reader = log.reader();
        for (&topic, ids) in &self.ids {
            let mut at = 0;
            while at < ids.len() {
                let from = Offset::new(at as u64);
                let blocks = match reader.read_tail(topic, from, 1000) {
                    TailRead::Hit(blocks) if !from_disk_only => blocks,
                    TailRead::End => panic!("{at} of {topic} is not at the end"),
                    _ => reader.read_disk(topic, from, 1000).unwrap(),
                };
                let first = blocks.first().unwrap().placed.first.get() as usize;
                assert!(first <= at, "{first} is behind {at}");
                let read = blocks.iter().flat_map(|block| block.records.events());
                for (offset, event) in (first..).zip(read) {
                    assert_eq!(event.unwrap().id(), ids[offset]);
                    at = at.max(offset + 1);
                }
            }
            let end = Offset::new(ids.len() as u64);
            assert_eq!(reader.read_tail(topic, end, 1000), TailRead::End);
            assert_eq!(reader.read_disk(topic, end, 1000).unwrap(), []);
        }
    }
}
