//! raft-rs's view of the log: what is in memory of it, and the membership.
//!
//! It never reads the disk, because raft-rs asks within a step. Entries that are not applied are
//! always in memory; older ones are asked for only on behalf of a follower that lags behind the
//! tail. Then the answer is "not now", the wish is noted, and somebody else reads the disk:
//!
//! ```text
//!   entries ──"not now"──▶ wish ──▶ Output::Fetch ──▶ disk ──▶ Input::Fetched ──▶ asked again
//! ```
//!
//! A follower behind the purge gets the snapshot of the checkpoint up to which the log is purged: so
//! it holds the same events as everyone. raft-rs gets no more of it than its place, and for one
//! follower at a time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};
use tidings_log::{Job, Log};
use tidings_types::id::NodeId;
use tidings_types::offset::{LogIndex, Term};

use crate::wire;

/// What an entry counts beside its data.
const ENTRY_OVERHEAD_BYTES: u64 = 32;

/// Wishes that wait for one read of the disk.
const WISHES_MAX: usize = 32;

/// See the module's description.
pub(crate) struct Store {
    pub(crate) log: Log,
    pub(crate) conf: ConfState,
    /// What raft-rs wants remembered. A new commit alone is not worth a write: it goes along with
    /// the next one.
    pub(crate) hard_state: HardState,
    /// What raft-rs asked for in vain: the first entry, and on whose behalf. raft-rs asks through
    /// a shared reference.
    wishes: RefCell<Vec<(LogIndex, GetEntriesContext)>>,
    /// What came from the disk, consecutive entries; replaced by the next wish.
    fetched: VecDeque<tidings_log::Entry>,
    /// The follower that a snapshot goes to.
    pub(crate) sending: Cell<Option<u64>>,
}

impl Store {
    pub(crate) fn new(log: Log, conf: ConfState, hard_state: HardState) -> Self {
        let (wishes, fetched) = (RefCell::default(), VecDeque::new());
        Self { log, conf, hard_state, wishes, fetched, sending: Cell::default() }
    }

    /// An installed snapshot takes the place of everything.
    pub(crate) fn reset(
        &mut self,
        (index, term): (LogIndex, Term),
        conf: ConfState,
        digest: u64,
    ) -> Job {
        self.conf = conf;
        self.fetched.clear();
        self.wishes.take();
        self.log.reset(index, term, digest)
    }

    /// The first entry of the oldest wish.
    pub(crate) fn wish(&self) -> Option<LogIndex> {
        self.wishes.borrow().first().map(|&(first, _)| first)
    }

    /// Takes what was read, as far as it still is what the log holds; gives back who asked.
    pub(crate) fn fetched(&mut self, entries: Vec<tidings_log::Entry>) -> Vec<GetEntriesContext> {
        let is_current = |it: &tidings_log::Entry| self.log.term(it.index) == Some(it.term);
        self.fetched = entries.into_iter().take_while(is_current).collect();
        let wishes = self.wishes.take();
        // Without an answer they would be asked for at once and for ever; a heartbeat asks again.
        if self.fetched.is_empty() {
            return Vec::new();
        }
        wishes.into_iter().map(|(_, context)| context).collect()
    }

    /// Entries and hard state go into the log, readable at once.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) -> Job {
        let to_log = |entry: Entry| tidings_log::Entry {
            index: LogIndex::new(entry.index),
            term: Term::new(entry.term),
            kind: wire::kind_number(entry.get_entry_type()),
            data: wire::body(&entry).clone(),
        };
        let entries = entries.into_iter().map(to_log).collect();
        let hard_state = tidings_log::HardState {
            term: Term::new(self.hard_state.term),
            vote: (self.hard_state.vote != 0).then(|| wire::node(self.hard_state.vote)),
            commit: LogIndex::new(self.hard_state.commit),
        };
        self.log.append(entries, Some(hard_state))
    }

    fn entry(&self, index: u64) -> Option<Entry> {
        let index = LogIndex::new(index);
        self.log.entry(index).or_else(|| self.fetched_entry(index)).map(of_log)
    }

    fn fetched_entry(&self, index: LogIndex) -> Option<tidings_log::Entry> {
        let first = self.fetched.front()?.index;
        let idx = usize::try_from(index.get().checked_sub(first.get())?).ok()?;
        self.fetched.get(idx).cloned()
    }
}

/// An entry as raft-rs wants it.
fn of_log(entry: tidings_log::Entry) -> Entry {
    let kind = wire::entry_type(entry.kind).expect("only known kinds are appended");
    let mut of_raft = wire::entry(kind, entry.term.get(), entry.data);
    of_raft.index = entry.index.get();
    of_raft
}

/// The hard state as raft-rs wants it.
pub(crate) fn hard_state(term: Term, vote: Option<NodeId>, commit: LogIndex) -> HardState {
    HardState {
        term: term.get(),
        vote: vote.map_or(0, |node| u64::from(node.get())),
        commit: commit.get(),
        ..HardState::default()
    }
}

impl Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.log.first_index().get() {
            return Err(Error::Store(StorageError::Compacted));
        }
        let n_bytes_max = max_size.into().unwrap_or(u64::MAX);
        let (mut entries, mut n_bytes) = (Vec::new(), 0_u64);
        for index in low..high {
            let Some(entry) = self.entry(index) else {
                if entries.is_empty() {
                    assert!(context.can_async(), "entries are in memory until they are applied");
                    let mut wishes = self.wishes.borrow_mut();
                    // Whoever is left out asks again with the next heartbeat.
                    if wishes.len() < WISHES_MAX {
                        wishes.push((LogIndex::new(low), context));
                    }
                    return Err(Error::Store(StorageError::LogTemporarilyUnavailable));
                }
                break;
            };
            n_bytes += ENTRY_OVERHEAD_BYTES + wire::body(&entry).len() as u64;
            if !entries.is_empty() && n_bytes_max < n_bytes {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if let Some(term) = self.log.term(LogIndex::new(index)) {
            return Ok(term.get());
        }
        let (purged, term) = self.log.purged();
        if index == purged.get() {
            return Ok(term.get());
        }
        let is_purged = index < purged.get();
        let error = if is_purged { StorageError::Compacted } else { StorageError::Unavailable };
        Err(Error::Store(error))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.log.first_index().get())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.log.last_index().get())
    }

    fn snapshot(&self, _request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let (index, term) = self.log.purged();
        let is_taken = self.sending.get().is_some_and(|other| other != to);
        if is_taken || index == LogIndex::ZERO {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        self.sending.set(Some(to));
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (index.get(), term.get());
        Ok(snapshot)
    }
}

/// The bytes of a change that is proposed: raft-rs reads its own form of it, once, here.
pub(crate) fn protobuf(change: &raft::eraftpb::ConfChangeV2) -> Bytes {
    let bytes = protobuf::Message::write_to_bytes(change);
    Bytes::from(bytes.expect("a change has no required field that is missing"))
}
