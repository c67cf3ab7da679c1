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

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};
use raft::{INVALID_ID, RawNode, StateRole};
use tidings_log::{Job, Log, Persisted};
use tidings_types::bugs::{Bug, is_planted};
use tidings_types::id::NodeId;
use tidings_types::offset::{LogIndex, Term};

use crate::certainty::Certainty;
use crate::check::{Objection, Standing, check};
use crate::elections::Elections;
use crate::first_election::FirstElection;
use crate::membership::{encode, is_lone_voter};
use crate::options::{Options, Pace};
use crate::port::{Damage, Output};
use crate::ready::writes::{Waiting, Writes};
use crate::storage::Store;
use crate::wire;

mod membership;

mod post;

mod snapshot;

mod writes;

/// What is read at once for a follower that lags behind the tail.
const FETCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// See the module's description.
pub(crate) struct Consensus {
    raft: RawNode<Store>,
    node: NodeId,
    writes: Writes,
    elections: Elections,
    first_election: FirstElection,
    certainty: Certainty,
    pace: Pace,
    /// The moment of this step.
    now: Duration,
    n_ticks: usize,
    /// The newest heartbeat that was heard: whose, in which term, and when it was sent.
    heard: Option<(u64, u64, Duration)>,
    /// Up to which committed entry each follower acknowledged the log to this node.
    acked: BTreeMap<u64, u64>,
    is_fetching: bool,
    /// A follower that raft-rs wants to have a snapshot, and which one.
    wanted_snapshot: Option<(u64, (LogIndex, Term))>,
}

/// What a Ready leaves to be done.
pub(crate) struct Taken {
    /// The log is that of a snapshot from here on.
    pub(crate) restored: Option<(LogIndex, Term)>,
    /// Entries to be applied.
    pub(crate) committed: Vec<Entry>,
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
        Self {
            raft,
            node: options.node,
            writes: Writes::default(),
            elections: Elections::new(options),
            first_election: FirstElection::default(),
            certainty: Certainty::default(),
            pace: options.pace,
            now: Duration::ZERO,
            n_ticks: 0,
            heard: None,
            acked: BTreeMap::new(),
            is_fetching: false,
            wanted_snapshot: None,
        }
    }

    /// A step begins.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.now = now;
    }

    /// Asks for leadership now; a lone voter has it at once.
    pub(crate) fn campaign(&mut self) {
        if !self.has_unwritten() {
            self.raft.campaign().expect("a campaign is no proposal");
        }
    }

    /// A tick's time has passed.
    pub(crate) fn tick(&mut self) {
        self.n_ticks += 1;
        self.remember_acks();
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
        let standing = self.standing();
        match check(&standing, u64::from(from.get()), &message) {
            Err(Objection::Damage(damage)) => return Err(damage),
            Err(Objection::Drop(reason)) => tracing::debug!(%from, reason, "dropped a message"),
            Ok(()) => self.take(message),
        }
        Ok(())
    }

    fn standing(&self) -> Standing {
        let raft = &self.raft.raft;
        Standing {
            node: raft.id,
            term: raft.term,
            last_index: raft.raft_log.last_index(),
            has_unwritten: self.has_unwritten(),
            is_voter: self.is_voter(raft.id),
            has_voted: raft.term > 1 || raft.vote != INVALID_ID,
            is_new: self.n_ticks < self.pace.election_ticks_min(),
            heard: self.heard,
        }
    }

    fn take(&mut self, mut message: Message) {
        let (from, term) = (message.from, message.term);
        let sent = wire::stamp(&message);
        let is_grant = matches!(
            message.get_msg_type(),
            MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse
        ) && !message.reject;
        if is_grant && self.last_index() == LogIndex::ZERO {
            for grant in self.first_election.grant(message, &self.raft.store().conf) {
                self.step(grant);
            }
            return;
        }
        match message.get_msg_type() {
            MessageType::MsgHeartbeat => {
                if let Some(sent) = sent.filter(|_| self.raft.raft.term <= term) {
                    self.heard = Some((from, term, sent));
                }
            }
            MessageType::MsgHeartbeatResponse => {
                message.context = Bytes::new();
                if let Some(sent) = sent.filter(|_| self.is_leader() && self.term().get() == term) {
                    self.certainty.answered(term, from, sent);
                }
            }
            _ => {}
        }
        self.step(message);
    }

    fn step(&mut self, message: Message) {
        if let Err(error) = self.raft.step(message) {
            tracing::debug!(%error, "raft refused a message");
        }
    }

    /// Puts an entry into the leader's log; its place, or `None` if none can be had now.
    pub(crate) fn propose(&mut self, data: Bytes) -> Option<(LogIndex, Term)> {
        self.propose_entry(Entry { data, ..Entry::default() })
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
        self.written(done.job, out);
    }

    fn written(&mut self, job: u64, out: &mut Vec<Output>) {
        while let Some(messages) = self.writes.written(job) {
            self.post(messages, out);
        }
        if let Some(durable) = self.writes.durable() {
            self.raft.on_persist_ready(durable.number);
            if let Some(index) = durable.restored {
                self.raft.advance_apply_to(index.get());
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
        self.writes.push(Waiting {
            job: job.id,
            number: 0,
            entries: None,
            restored: None,
            messages,
        });
        out.push(Output::Write(job));
    }

    /// Takes the next Ready: what it has to be written and sent goes out, what it has committed
    /// comes back to be applied. `None` when there is nothing more.
    pub(crate) fn next_ready(&mut self, out: &mut Vec<Output>) -> Option<Taken> {
        if !self.raft.has_ready() {
            return None;
        }
        let mut ready = self.raft.ready();
        self.post(ready.take_messages(), out);
        let mut messages = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        let (number, must_sync) = (ready.number(), ready.must_sync());
        let entries = ready.take_entries();
        // A snapshot too must be durable before this replica may campaign.
        let restored = self.reset_log(ready.snapshot(), out);
        let ends = entries.first().zip(entries.last());
        let ends =
            ends.map(|(first, last)| (LogIndex::new(first.index), LogIndex::new(last.index)));
        let store = self.raft.mut_store();
        if let Some(hard_state) = ready.hs() {
            store.hard_state = hard_state.clone();
        }
        let job = must_sync.then(|| store.append(entries));
        self.raft.advance_append_async(ready);

        if is_planted(Bug::ResponseBeforePersist) {
            self.post(std::mem::take(&mut messages), out);
        }
        if let Some(job) = job {
            let id = job.id;
            let restored = restored.map(|(index, _)| index);
            self.writes.push(Waiting { job: id, number, entries: ends, restored, messages });
            out.push(Output::Write(job));
            if is_planted(Bug::AckBeforeFsync) {
                self.written(id, out);
            }
        } else if let Some(last) = self.writes.newest() {
            last.number = number;
            last.messages.append(&mut messages);
        } else {
            self.post(messages, out);
            self.raft.on_persist_ready(number);
        }
        Some(Taken { restored, committed })
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
        encode(&self.raft.store().conf)
    }

    pub(crate) fn is_lone_voter(&self) -> bool {
        is_lone_voter(&self.raft.store().conf, self.node)
    }

    /// Whether a node votes, as far as this one has applied.
    pub(crate) fn is_voter(&self, node: u64) -> bool {
        let conf = &self.raft.store().conf;
        conf.voters.contains(&node) || conf.voters_outgoing.contains(&node)
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
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
        self.writes.has_entries()
    }
}
