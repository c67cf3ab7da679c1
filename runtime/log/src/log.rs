//! The replica's end of the log: what is in memory of it. Does no I/O.
//!
//! ```text
//!   index    1 … purged │ … on the disk only … │ tail: … applied … persisted … last
//! ```
//!
//! Invariants: the tail is the end of the log without a gap. An entry stays in it until it is
//! persisted and applied; what was applied is never replaced. The term of each entry is known.

use std::collections::VecDeque;
use std::sync::Arc;

use tidings_types::bugs::{Bug, is_planted};
use tidings_types::effect::Accepted;
use tidings_types::layout::frame::FrameHeader;
use tidings_types::layout::records::Records;
use tidings_types::offset::{LogIndex, Position, Term};

use crate::block::Block;
use crate::contents::Closed;
use crate::entry::{Entry, HardState};
use crate::job::{Job, Persisted, Reset};
use crate::queue::pop_front_if;
use crate::reader::Reader;
use crate::section::Section;
use crate::shared::Shared;
use crate::terms::Terms;

/// How exactly [`Log::bytes_since_checkpoint`] counts.
const MARK_EVERY_BYTES: u64 = 1 << 20;

/// Where the entries stand from an index on.
struct Replayed {
    first: LogIndex,
    places: Arc<Vec<(Term, Position)>>,
}

struct Slot {
    entry: Entry,
    /// Known once it is persisted.
    position: Option<Position>,
}

/// What a log begins with.
pub(crate) struct LogStart {
    pub(crate) shared: Arc<Shared>,
    pub(crate) terms: Terms,
    /// The entry that the state to begin with is the state of.
    pub(crate) applied: LogIndex,
    /// Where the entries stand that come after it.
    pub(crate) replayed: Arc<Vec<(Term, Position)>>,
    pub(crate) replayed_bytes: u64,
    pub(crate) closed: VecDeque<Closed>,
    /// Indexes of the checkpoints on the disk.
    pub(crate) checkpoints: Vec<LogIndex>,
    pub(crate) tail_bytes_max: usize,
}

/// See the module's description.
pub struct Log {
    shared: Arc<Shared>,
    next_job: u64,
    terms: Terms,
    tail: VecDeque<Slot>,
    tail_bytes: usize,
    tail_bytes_max: usize,
    applied: LogIndex,
    /// Entries of the disk that are being applied at the start.
    replayed: Option<Replayed>,
    /// Closed segments without an index file that are not all applied.
    closed: VecDeque<Closed>,
    /// Bytes appended, and how many that were at some entries.
    appended_bytes: u64,
    checkpoint_bytes: u64,
    marks: VecDeque<(LogIndex, u64)>,
    /// Indexes of the checkpoints that were on the disk at the start.
    checkpoints: Vec<LogIndex>,
}

fn entry_bytes(entry: &Entry) -> usize {
    FrameHeader::frame_bytes(entry.data.len())
}

impl Log {
    pub(crate) fn new(start: LogStart) -> Self {
        let mut log = Self {
            shared: start.shared,
            next_job: 0,
            terms: start.terms,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_bytes_max: start.tail_bytes_max,
            applied: start.applied,
            replayed: Some(Replayed { first: start.applied.next(), places: start.replayed }),
            closed: start.closed,
            appended_bytes: start.replayed_bytes,
            checkpoint_bytes: 0,
            marks: VecDeque::new(),
            checkpoints: start.checkpoints,
        };
        log.file_what_is_applied();
        log
    }

    /// Appends entries, readable at once, and the hard state behind them. An entry with an index
    /// that exists replaces it and all after it.
    ///
    /// # Panics
    /// If the entries leave a gap, or replace one that was applied.
    pub fn append(&mut self, entries: Vec<Entry>, hard_state: Option<HardState>) -> Job {
        if let Some(first) = entries.first() {
            assert!(self.applied < first.index, "entry {} was applied already", first.index);
            self.truncate(first.index);
        }
        for entry in &entries {
            self.push(entry.clone(), None);
            self.appended_bytes += entry_bytes(entry) as u64;
            let marked = self.marks.back().map_or(self.checkpoint_bytes, |&(_, n_bytes)| n_bytes);
            if self.appended_bytes - marked >= MARK_EVERY_BYTES {
                self.marks.push_back((entry.index, self.appended_bytes));
            }
        }
        let mut job = self.next_job();
        job.entries = entries;
        job.hard_state = hard_state;
        job
    }

    fn next_job(&mut self) -> Job {
        let id = self.next_job;
        self.next_job += 1;
        Job { id, reset: None, entries: Vec::new(), hard_state: None, purge: None }
    }

    /// Forgets the entries from an index on.
    fn truncate(&mut self, index: LogIndex) {
        assert!(index <= self.last_index().next(), "entry {index} leaves a gap");
        let n_kept = index.get().checked_sub(self.tail_first().get());
        let n_kept = n_kept.expect("what is not applied was restored into the tail");
        for slot in self.tail.drain(n_kept as usize..) {
            self.tail_bytes -= entry_bytes(&slot.entry);
        }
    }

    fn push(&mut self, entry: Entry, position: Option<Position>) {
        self.terms.put(entry.index, entry.term);
        self.tail_bytes += entry_bytes(&entry);
        self.tail.push_back(Slot { entry, position });
    }

    /// Index of the tail's first entry, or of the next one that will come.
    fn tail_first(&self) -> LogIndex {
        self.tail.front().map_or(self.last_index().next(), |slot| slot.entry.index)
    }

    fn slot(&self, index: LogIndex) -> Option<&Slot> {
        let idx = index.get().checked_sub(self.tail_first().get())?;
        self.tail.get(usize::try_from(idx).ok()?)
    }

    /// An installed snapshot replaces the log: every earlier entry is gone, also one with a higher
    /// index. [`write_installed`](crate::checkpoint::write_installed) comes before and gives the
    /// digest.
    pub fn reset(&mut self, index: LogIndex, term: Term, digest: u64) -> Job {
        self.tail.clear();
        self.tail_bytes = 0;
        self.replayed = None;
        self.closed.clear();
        self.shared.events().tail.evict(LogIndex::new(u64::MAX));
        self.terms = Terms::new((index, term));
        self.applied = index;
        let mut job = self.next_job();
        job.reset = Some(Reset { index, term, digest });
        job
    }

    /// At the start: the entries from the replay that are not to be applied yet. They end the log.
    ///
    /// # Panics
    /// If they are not the log's end.
    pub fn restore(&mut self, entries: Vec<Entry>) {
        let Some(last) = entries.last() else { return };
        assert!(self.tail.is_empty(), "the tail is restored before anything is appended");
        assert_eq!(last.index, self.last_index(), "all entries up to the last are restored");
        for entry in entries {
            let position = self.position(entry.index);
            assert_eq!(self.terms.term(entry.index), Some(entry.term));
            self.tail_bytes += entry_bytes(&entry);
            self.tail.push_back(Slot { entry, position });
        }
    }

    /// Lets entries up to this one go. A durable checkpoint must cover them. Whole segments of them
    /// go once the job is on the disk.
    ///
    /// # Panics
    /// If the entry is not applied.
    pub fn purge(&mut self, index: LogIndex) -> Job {
        assert!(index <= self.applied, "entry {index} is purged before it is applied");
        let mut job = self.next_job();
        if let Some(term) = self.term(index).filter(|_| self.purged().0 < index) {
            while let Some(slot) = pop_front_if(&mut self.tail, |slot| slot.entry.index <= index) {
                self.tail_bytes -= entry_bytes(&slot.entry);
            }
            self.shared.events().tail.evict(index);
            self.terms.purge((index, term));
            job.purge = Some((index, term));
        }
        job
    }

    /// Takes note of what is on the disk. In order.
    pub fn persisted(&mut self, done: &Persisted) {
        let tail_first = self.tail_first();
        for &(index, term, position) in &done.entries {
            let idx = index.get().checked_sub(tail_first.get());
            let slot = idx.and_then(|idx| self.tail.get_mut(usize::try_from(idx).ok()?));
            // Another term: it was replaced since.
            if let Some(slot) = slot.filter(|slot| slot.entry.term == term) {
                slot.position = Some(position);
            }
        }
        self.closed.extend(done.closed.iter().cloned());
        self.closed.retain(|closed| closed.segment.number >= done.first_kept);
        self.evict();
        self.file_what_is_applied();
    }

    /// Entries up to this one are applied, and what they made readable was told.
    pub fn applied(&mut self, index: LogIndex) {
        assert!(index <= self.last_index(), "entry {index} is applied before it is there");
        self.applied = self.applied.max(index);
        let is_done = |replayed: &Replayed| {
            replayed.first.plus(replayed.places.len() as u64) <= self.applied.next()
        };
        if self.replayed.as_ref().is_some_and(is_done) {
            self.replayed = None;
        }
        self.evict();
        self.file_what_is_applied();
    }

    fn evict(&mut self) {
        let mut evicted = None;
        while self.tail_bytes > self.tail_bytes_max {
            let is_free = |slot: &Slot| slot.position.is_some() && slot.entry.index <= self.applied;
            let Some(slot) = pop_front_if(&mut self.tail, is_free) else { break };
            self.tail_bytes -= entry_bytes(&slot.entry);
            evicted = Some(slot.entry.index);
        }
        if let Some(through) = evicted {
            self.shared.events().tail.evict(through);
        }
    }

    fn file_what_is_applied(&mut self) {
        let is_applied =
            |closed: &Closed| closed.contents.last().is_none_or(|last| last <= self.applied);
        while let Some(closed) = pop_front_if(&mut self.closed, is_applied) {
            self.shared.put_to_file(closed);
        }
    }

    fn position(&self, index: LogIndex) -> Option<Position> {
        if let Some(slot) = self.slot(index) {
            return slot.position;
        }
        let replayed = self.replayed.as_ref()?;
        let idx = usize::try_from(index.get().checked_sub(replayed.first.get())?).ok()?;
        replayed.places.get(idx).map(|&(_, position)| position)
    }

    /// Makes events readable by topic and offset. In log order; the entry must be persisted.
    ///
    /// # Panics
    /// If the entry is not persisted.
    pub fn accepted(&mut self, accepted: &Accepted) {
        let position = self.position(accepted.index);
        // The bug applies what has no place on the disk yet; it is readable while it is in memory.
        let has_place = !is_planted(Bug::AckBeforeFsync) || position.is_some();
        let section = Section {
            first: accepted.placed.first,
            position: position
                .or((!has_place).then_some(Position::ZERO))
                .expect("only what is persisted is applied"),
            at: accepted.at,
            len: u32::try_from(accepted.records.len()).expect("a section fits a frame"),
            n_events: accepted.placed.n_events,
            n_skipped: 0,
        };
        let is_in_tail = self.slot(accepted.index).is_some();
        let records = Records::parse(accepted.records.clone());
        let mut events = self.shared.events();
        if has_place {
            events.index.accept(&accepted.placed, section);
        }
        if let (true, Ok(records)) = (is_in_tail, records) {
            events.tail.push(accepted.index, Block { placed: accepted.placed, records });
        }
    }

    /// An entry, if it is in memory.
    pub fn entry(&self, index: LogIndex) -> Option<Entry> {
        self.slot(index).map(|slot| slot.entry.clone())
    }

    /// The term of an entry that is in the log, or of the last purged one.
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        self.terms.term(index)
    }

    /// The first entry that is not purged.
    pub fn first_index(&self) -> LogIndex {
        self.purged().0.next()
    }

    /// The last entry; the last purged one if there is none.
    pub fn last_index(&self) -> LogIndex {
        self.terms.last()
    }

    /// Up to which entry the log is purged, and that one's term.
    pub fn purged(&self) -> (LogIndex, Term) {
        self.terms.base()
    }

    /// Indexes of the checkpoints that were on the disk at the start.
    pub fn checkpoints(&self) -> &[LogIndex] {
        &self.checkpoints
    }

    /// For a checkpoint at the applied entry: the index of the segments that have no file of it.
    pub fn local_part(&self) -> Vec<u8> {
        self.shared.events().index.local_part()
    }

    /// Bytes of entries since the newest checkpoint, to about 1 MiB.
    pub fn bytes_since_checkpoint(&self) -> u64 {
        self.appended_bytes - self.checkpoint_bytes
    }

    /// A checkpoint of the state after this entry is durable.
    pub fn checkpointed(&mut self, index: LogIndex) {
        while let Some((_, n_bytes)) = pop_front_if(&mut self.marks, |(marked, _)| *marked <= index)
        {
            self.checkpoint_bytes = n_bytes;
        }
        if self.last_index() <= index {
            self.checkpoint_bytes = self.appended_bytes;
        }
    }

    /// For whoever reads events.
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }
}
