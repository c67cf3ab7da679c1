//! raft-rs behind a few verbs, with writing and sending in the one order that is safe.
//!
//! ```text
//!   Ready ─┬─ messages of a leader ───────────────────────────────▶ leave at once
//!          ├─ entries, hard state ─▶ log (memory) ─▶ job ─▶ disk ─┐
//!          ├─ messages of a follower ─────────────────────────────┴▶ leave after the write
//!          └─ committed entries ─▶ applied; only what is durable here is among them
//! ```
//!
//! Invariants:
//! - The log in memory holds a Ready's entries before raft-rs hears that it was taken.
//! - Readies are reported as durable strictly in their order: one that writes nothing queues behind
//!   one that does.
//! - Who has entries that are not durable does not campaign: raft-rs relies on it when it wins.
//! - Election timeouts come from our own generator, so that a seed repeats a run.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{INVALID_ID, RawNode, StateRole};
use tidings_log::{Job, Log, Persisted};
use tidings_types::id::NodeId;
use tidings_types::offset::{LogIndex, Term};
use tidings_types::seam::{Rng, SplitMix};

use crate::check::{Objection, Standing, check};
use crate::membership::{self, Change};
use crate::options::{Options, Pace};
use crate::port::{Damage, Output};
use crate::storage::{self, Store};
use crate::wire;

/// What is read at once for a follower that lags behind the tail.
const FETCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the disk has not answered yet.
struct Waiting {
    job: u64,
    /// The newest Ready that is durable with it; 0 if none is.
    number: u64,
    has_entries: bool,
    /// What may leave then.
    messages: Vec<Message>,
}

/// See the module's description.
pub(crate) struct Consensus {
    raft: RawNode<Store>,
    node: NodeId,
    waiting: VecDeque<Waiting>,
    elections: Elections,
    is_fetching: bool,
}

impl Consensus {
    /// Starts with everything up to the stored commit applied.
    ///
    /// # Panics
    /// If the store's parts do not fit together; they are checked when they are opened.
    pub(crate) fn new(options: &Options, store: Store) -> Self {
        let config = options.config(store.hard_state.commit);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raft = RawNode::new(&config, store, &logger).expect("the parts were checked");
        let elections = Elections::new(options);
        let (waiting, is_fetching) = (VecDeque::new(), false);
        Self { raft, node: options.node, waiting, elections, is_fetching }
    }

    /// Asks for leadership now; a lone voter has it at once.
    pub(crate) fn campaign(&mut self) {
        if !self.has_unwritten() {
            self.raft.campaign().expect("a campaign is no proposal");
        }
    }

    /// A tick's time has passed.
    pub(crate) fn tick(&mut self) {
        if !self.is_leader() && self.has_unwritten() {
            return;
        }
        let place = (self.raft.raft.term, self.raft.raft.state, self.raft.raft.leader_id);
        let n_ticks = self.elections.timeout(place);
        self.raft.raft.set_randomized_election_timeout(n_ticks);
        if self.raft.tick() && !self.is_leader() {
            self.elections.redraw();
        }
    }

    /// Takes a peer's message, unless it is impossible.
    pub(crate) fn message(&mut self, from: NodeId, bytes: Bytes) -> Result<(), Damage> {
        let message = match wire::decode(bytes) {
            Ok(message) => message,
            Err(malformed) => {
                tracing::warn!(%from, %malformed, "dropped a message");
                return Ok(());
            }
        };
        let standing = Standing {
            node: u64::from(self.node.get()),
            term: self.raft.raft.term,
            last_index: self.raft.raft.raft_log.last_index(),
            has_unwritten: self.has_unwritten(),
        };
        match check(&standing, u64::from(from.get()), &message) {
            Err(Objection::Damage(damage)) => return Err(damage),
            Err(Objection::Drop(reason)) => tracing::debug!(%from, reason, "dropped a message"),
            Ok(()) => {
                if let Err(error) = self.raft.step(message) {
                    tracing::debug!(%from, %error, "raft refused a message");
                }
            }
        }
        Ok(())
    }

    /// Puts an entry into the leader's log; its place, or `None` if none can be had now.
    pub(crate) fn propose(&mut self, data: Bytes) -> Option<(LogIndex, Term)> {
        self.propose_entry(Entry { data, ..Entry::default() })
    }

    /// Puts a change of the membership into the leader's log. raft-rs turns one that it refuses
    /// into an entry without data.
    pub(crate) fn propose_change(&mut self, change: &Change) -> Option<(LogIndex, Term)> {
        let mut entry = Entry::default();
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry.data = storage::protobuf(&change.to_raft());
        entry.context = change.encode().into();
        self.propose_entry(entry)
    }

    fn propose_entry(&mut self, entry: Entry) -> Option<(LogIndex, Term)> {
        // A follower would forward it, and then nobody knows what became of it.
        if !self.is_leader() {
            return None;
        }
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.raft.raft.id;
        message.set_entries(vec![entry].into());
        self.raft.raft.step(message).ok()?;
        let index = LogIndex::new(self.raft.raft.raft_log.last_index());
        Some((index, self.term()))
    }

    /// The writer has written: what waited for it leaves.
    pub(crate) fn persisted(&mut self, done: &Persisted, out: &mut Vec<Output>) {
        self.log_mut().persisted(done);
        while self.waiting.front().is_some_and(|waiting| waiting.job <= done.job) {
            let Some(waiting) = self.waiting.pop_front() else { break };
            send(waiting.messages, out);
            if waiting.number > 0 {
                self.raft.on_persist_ready(waiting.number);
            }
        }
    }

    /// Asks for entries that raft-rs wants and that are on the disk only.
    pub(crate) fn fetch(&mut self, out: &mut Vec<Output>) {
        let Some(first) = self.raft.store().wish().filter(|_| !self.is_fetching) else { return };
        self.is_fetching = true;
        out.push(Output::Fetch { first, max_bytes: FETCH_BYTES_MAX });
    }

    /// They are here.
    pub(crate) fn fetched(&mut self, entries: Vec<tidings_log::Entry>) {
        self.is_fetching = false;
        for context in self.raft.mut_store().fetched(entries) {
            self.raft.on_entries_fetched(context);
        }
    }

    /// A job that the log asks for by itself.
    pub(crate) fn write(&mut self, job: Job, out: &mut Vec<Output>) {
        let messages = Vec::new();
        self.waiting.push_back(Waiting { job: job.id, number: 0, has_entries: false, messages });
        out.push(Output::Write(job));
    }

    /// Takes the next Ready: what it has to be written and sent goes out, what it has committed
    /// comes back to be applied. `None` when there is nothing more.
    pub(crate) fn next_ready(&mut self, out: &mut Vec<Output>) -> Option<Vec<Entry>> {
        if !self.raft.has_ready() {
            return None;
        }
        let mut ready = self.raft.ready();
        assert!(ready.snapshot().is_empty(), "snapshots do not travel");
        send(ready.take_messages(), out);
        let mut messages = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        let (number, must_sync) = (ready.number(), ready.must_sync());
        let entries = ready.take_entries();
        let has_entries = !entries.is_empty();
        let store = self.raft.mut_store();
        if let Some(hard_state) = ready.hs() {
            store.hard_state = hard_state.clone();
        }
        let job = must_sync.then(|| store.append(entries));
        self.raft.advance_append_async(ready);

        if let Some(job) = job {
            self.waiting.push_back(Waiting { job: job.id, number, has_entries, messages });
            out.push(Output::Write(job));
        } else if let Some(last) = self.waiting.back_mut() {
            last.number = number;
            last.messages.append(&mut messages);
        } else {
            send(messages, out);
            self.raft.on_persist_ready(number);
        }
        Some(committed)
    }

    /// Applies a committed change of the membership, if it makes sense.
    pub(crate) fn apply_change(&mut self, change: &Change) -> bool {
        let Ok(conf) = self.raft.apply_conf_change(&change.to_raft()) else {
            return false;
        };
        let id = self.raft.raft.id;
        // raft-rs expects a leader among the members, and panics when the next entry commits.
        let is_member = self.raft.raft.prs().get(id).is_some();
        if self.is_leader() && !is_member {
            let term = self.raft.raft.term;
            self.raft.raft.become_follower(term, INVALID_ID);
        }
        self.raft.mut_store().conf = conf;
        true
    }

    /// Entries up to this one are applied.
    pub(crate) fn applied(&mut self, index: LogIndex) {
        self.raft.advance_apply_to(index.get());
    }

    pub(crate) fn log(&self) -> &Log {
        &self.raft.store().log
    }

    pub(crate) fn log_mut(&mut self) -> &mut Log {
        &mut self.raft.mut_store().log
    }

    /// Who votes, for a checkpoint.
    pub(crate) fn membership(&self) -> Vec<u8> {
        membership::encode(&self.raft.store().conf)
    }

    pub(crate) fn is_lone_voter(&self) -> bool {
        membership::is_lone_voter(&self.raft.store().conf, self.node)
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.role() == StateRole::Leader
    }

    pub(crate) fn role(&self) -> StateRole {
        self.raft.raft.state
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        Some(self.raft.raft.leader_id).filter(|&id| id != INVALID_ID).map(wire::node)
    }

    pub(crate) fn term(&self) -> Term {
        Term::new(self.raft.raft.term)
    }

    pub(crate) fn committed(&self) -> LogIndex {
        LogIndex::new(self.raft.raft.raft_log.committed)
    }

    pub(crate) fn last_index(&self) -> LogIndex {
        LogIndex::new(self.raft.raft.raft_log.last_index())
    }

    fn has_unwritten(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.has_entries)
    }
}

fn send(messages: Vec<Message>, out: &mut Vec<Output>) {
    for message in messages {
        // What has no form is for nobody: it only comes up when a peer is behind the purge.
        if let Some(bytes) = wire::encode(&message) {
            out.push(Output::Send { to: wire::node(message.to), bytes });
        }
    }
}

/// Draws election timeouts, a new one whenever the role, the term or the leader changes.
struct Elections {
    rng: SplitMix,
    pace: Pace,
    place: (u64, StateRole, u64),
    n_ticks: usize,
}

impl Elections {
    fn new(options: &Options) -> Self {
        // Nodes that were given one seed must differ all the same.
        let rng = SplitMix::new(options.seed ^ u64::from(options.node.get()).rotate_left(32));
        let place = (0, StateRole::Follower, INVALID_ID);
        let mut elections = Self { rng, pace: options.pace, place, n_ticks: 0 };
        elections.redraw();
        elections
    }

    fn timeout(&mut self, place: (u64, StateRole, u64)) -> usize {
        if self.place != place {
            self.place = place;
            self.redraw();
        }
        self.n_ticks
    }

    fn redraw(&mut self) {
        let (min, end) = (self.pace.election_ticks_min(), self.pace.election_ticks_end());
        let above = self.rng.below((end - min) as u64);
        self.n_ticks = min + usize::try_from(above).expect("a few dozen ticks");
    }
}
