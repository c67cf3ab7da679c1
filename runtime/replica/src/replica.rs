//! The replica: inputs in, outputs out, and in between consensus, log and state.
//!
//! ```text
//!   input ──▶ consensus ──▶ readies ──▶ apply ──▶ effects, answers
//!                 ▲                        │
//!                 └── entries ◀── proposals ◀── role: who may propose
//! ```
//!
//! Invariants:
//! - It leads, in its own words, only once an entry of its own term is applied: then all that was
//!   committed before is applied too, and cluster time is not behind it.
//! - A proposal is answered exactly once, records by their effect: applied, refused, or unknown.
//! - Once it found damage it neither votes nor answers: its acknowledgements are worth nothing.

use std::time::Duration;

use bytes::Bytes;
use raft::StateRole;
use raft::eraftpb::{Entry, EntryType};
use tidings_log::Reader;
use tidings_state::State;
use tidings_types::effect::Effect;
use tidings_types::id::{NodeId, Token};
use tidings_types::layout::command::Command;
use tidings_types::limits::TICK;
use tidings_types::offset::{LogIndex, Term};

use crate::answers;
use crate::apply::Machine;
use crate::checkpoints::Checkpoints;
use crate::cluster_clock::ClusterClock;
use crate::membership::Change;
use crate::open::{OpenError, Stored, open};
use crate::options::Options;
use crate::port::{Damage, Input, Now, Output, Proposal, ProposeRefused};
use crate::proposals::Proposals;
use crate::ready::Consensus;
use crate::snapshot_wire;
use crate::snapshots::Snapshots;
use crate::status::{Role, Status};

/// See the module's description.
pub struct Replica {
    node: NodeId,
    consensus: Consensus,
    machine: Machine,
    proposals: Proposals,
    checkpoints: Checkpoints,
    snapshots: Snapshots,
    clock: ClusterClock,
    reader: Reader,
    /// The term in which raft-rs made it leader.
    elected: Option<Term>,
    /// Whether [`Output::RoleChanged`] said that it leads.
    leads: bool,
    change_out: Option<(LogIndex, Term, Token)>,
    ticked_at: Option<Duration>,
    damage: Option<Damage>,
    /// Answers to this step's entries; they follow the effects.
    answers: Vec<Output>,
}

impl Replica {
    /// Replays what the disk holds. A lone voter leads as soon as what comes out is written.
    ///
    /// # Errors
    /// If the disk's contents do not fit together.
    pub fn open(
        options: Options,
        stored: Stored,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<Self, OpenError> {
        let (store, machine) = open(&options, stored)?;
        let reader = store.log.reader();
        let checkpoints = Checkpoints::new(store.log.checkpoints(), now.mono);
        let mut replica = Self {
            node: options.node,
            consensus: Consensus::new(&options, store),
            clock: ClusterClock::new(machine.state().ts_ms(), now),
            machine,
            proposals: Proposals::new(options.uncommitted_bytes_max),
            checkpoints,
            snapshots: Snapshots::default(),
            reader,
            elected: None,
            leads: false,
            change_out: None,
            ticked_at: None,
            damage: None,
            answers: Vec::new(),
        };
        replica.consensus.begin(now.mono);
        if replica.consensus.is_lone_voter() {
            replica.consensus.campaign();
        }
        replica.settle(now, out);
        Ok(replica)
    }

    /// Takes one input; whatever it leads to is appended to `out`, to be done in that order.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        if self.damage.is_some() {
            return self.refuse(input, out);
        }
        self.clock.advance(now);
        self.consensus.begin(now.mono);
        match input {
            Input::Tick => self.tick(now, out),
            Input::Wake => {}
            Input::Message { from, bytes } => {
                if let Err(damage) = self.message(from, bytes, out) {
                    return self.halt(damage, out);
                }
            }
            Input::ProposeIn { term, proposals } if self.elected != Some(term) => {
                refuse(proposals, out);
            }
            Input::Propose(proposals) | Input::ProposeIn { proposals, .. } => {
                for proposal in proposals {
                    self.propose(proposal, now, out);
                }
            }
            Input::Change { token, change } => self.change(token, &change, out),
            Input::Persisted(done) => {
                self.checkpoints.persisted(done.job);
                self.consensus.persisted(&done, out);
            }
            Input::Fetched(entries) => self.consensus.fetched(entries),
            Input::CheckpointWritten { index } => {
                let (purged, _) = self.consensus.log().purged();
                self.checkpoints.written(index, purged);
                self.consensus.log_mut().checkpointed(index);
            }
            Input::CheckpointFailed { index } => self.checkpoints.failed(index, now.mono),
            Input::CheckpointRead { index, at, bytes, total } => {
                self.snapshots.read((index, at), bytes, total, &mut self.consensus, out);
            }
            Input::Installed { index, digest } => {
                self.snapshots.installed(index, digest, &mut self.consensus);
            }
            Input::InstallFailed { index } => self.snapshots.install_failed(index),
            Input::Transfer { to } => self.consensus.transfer(to),
        }
        self.settle(now, out);
    }

    /// The next moment at which [`Input::Wake`] is wanted; acks that wait for company want it.
    pub fn wake_at(&self) -> Option<Duration> {
        self.proposals.departs_at().filter(|_| self.leads)
    }

    /// The state as of the last applied entry.
    pub const fn state(&self) -> &State {
        self.machine.state()
    }

    /// For whoever reads events.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        let role = match self.consensus.role() {
            _ if self.damage.is_some() => Role::Halted,
            _ if self.leads => Role::Leader,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower | StateRole::Leader => Role::Follower,
        };
        Status {
            role,
            leader: self.consensus.leader(),
            term: self.consensus.term(),
            commit: self.consensus.committed(),
            applied: self.machine.applied().0,
            last_index: self.consensus.last_index(),
        }
    }

    /// Cluster time in milliseconds: it drifts towards wall time by at most 10 %.
    pub fn cluster_ms(&self, now: Now) -> u64 {
        self.clock.read_ms(now)
    }

    /// Whether it leads and nobody else can by now: a majority has answered a heartbeat that was
    /// sent less than 250 ms ago (times the pace), and no handing over is under way.
    pub fn leads_surely(&self, now: Now) -> bool {
        self.leads && self.consensus.leads_surely(now.mono)
    }

    fn message(&mut self, from: NodeId, bytes: Bytes, out: &mut Vec<Output>) -> Result<(), Damage> {
        if snapshot_wire::is_one(&bytes) {
            self.snapshots.message(from, bytes, &mut self.consensus, out)
        } else {
            self.consensus.message(from, bytes)
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        // A late driver brings several ticks at once. Counted, they would look like a dead leader.
        let is_early = |at: Duration| now.mono.saturating_sub(at) < TICK / 2;
        if self.ticked_at.is_some_and(is_early) {
            return;
        }
        self.ticked_at = Some(now.mono);
        self.consensus.tick();
        self.snapshots.tick(&mut self.consensus, out);
    }

    fn propose(&mut self, proposal: Proposal, now: Now, out: &mut Vec<Output>) {
        let token = proposal.token;
        let verdict = if self.leads {
            self.proposals.admit(proposal, self.reader.space(), now.mono)
        } else {
            Err(ProposeRefused::NotLeader)
        };
        if let Err(reason) = verdict {
            out.push(Output::Refused { token, reason });
        }
    }

    /// Goes on until there is nothing more to do without the disk or a peer.
    fn settle(&mut self, now: Now, out: &mut Vec<Output>) {
        loop {
            while let Some(taken) = self.consensus.next_ready(out) {
                if let Some((index, term)) = taken.restored {
                    self.restore(index, term, now, out);
                }
                if let Err(damage) = self.apply(taken.committed, now, out) {
                    return self.halt(damage, out);
                }
            }
            self.emit(out);
            self.settle_role(now, out);
            self.snapshots.settle(&mut self.consensus, out);
            self.purge(out);
            self.consensus.fetch(out);
            if !self.depart(now, out) {
                return;
            }
        }
    }

    fn apply(
        &mut self,
        committed: Vec<Entry>,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), Damage> {
        let Some(last) = committed.last().map(|entry| LogIndex::new(entry.index)) else {
            return Ok(());
        };
        for entry in committed {
            let place = (LogIndex::new(entry.index), Term::new(entry.term));
            let bad = Damage::BadEntry { index: place.0 };
            if entry.get_entry_type() == EntryType::EntryNormal {
                let log = self.consensus.log_mut();
                let effects = self.machine.apply(place, &entry.data, log).map_err(|_| bad)?;
                let wants_checkpoint = effects.contains(&Effect::Checkpoint);
                for effect in effects {
                    if let Effect::Purge { index } = effect {
                        self.checkpoints.want_purge(*index);
                    }
                }
                let tickets = self.proposals.applied(place.0, place.1);
                answers::applied(tickets, effects, &mut self.answers);
                self.settle_change(place, false);
                if wants_checkpoint {
                    self.checkpoint(place, now, out);
                }
            } else {
                let change = Change::decode(entry.context).map_err(|_| bad)?;
                let is_done = self.consensus.apply_change(&change);
                let log = self.consensus.log_mut();
                self.machine.apply(place, &Bytes::new(), log).map_err(|_| bad)?;
                self.settle_change(place, is_done);
            }
        }
        self.consensus.applied(last);
        self.clock.observe(self.machine.state().ts_ms(), now);
        Ok(())
    }

    fn checkpoint(&mut self, (index, term): (LogIndex, Term), now: Now, out: &mut Vec<Output>) {
        if !self.checkpoints.begin(index, now.mono) {
            return;
        }
        out.push(Output::Checkpoint {
            index,
            term,
            membership: self.consensus.membership(),
            state: self.machine.state().clone(),
            local: self.consensus.log_mut().local_part(),
            keep: self.consensus.log().purged().0,
        });
    }

    fn emit(&mut self, out: &mut Vec<Output>) {
        let effects = self.machine.take_effects();
        if !effects.is_empty() {
            out.push(Output::Applied { ts_ms: self.machine.state().ts_ms(), effects });
        }
        out.append(&mut self.answers);
    }

    fn purge(&mut self, out: &mut Vec<Output>) {
        // A follower that gets the snapshot of here needs what is behind it next.
        if self.snapshots.is_sending() {
            return;
        }
        let (purged, _) = self.consensus.log().purged();
        if let Some(index) = self.checkpoints.purge(purged) {
            let job = self.consensus.log_mut().purge(index);
            self.checkpoints.purging(job.id);
            self.consensus.write(job, out);
        }
    }

    /// Puts what waits into entries. Whether there was something.
    fn depart(&mut self, now: Now, out: &mut Vec<Output>) -> bool {
        if !self.leads {
            return false;
        }
        let n_bytes = self.consensus.log().bytes_since_checkpoint();
        if self.checkpoints.is_due(self.machine.changed(), n_bytes, now.mono) {
            self.proposals.admit_own(Command::Checkpoint, now.mono);
        }
        let mut has_departed = false;
        while let Some(sealed) = self.proposals.seal(now.mono) {
            let data = sealed.entry.finish(self.node, self.clock.read_ms(now));
            let n_bytes = data.len();
            let Some(place) = self.consensus.propose(data.clone()) else {
                // Leadership is being handed over.
                answers::refused(sealed.tickets, ProposeRefused::Busy, out);
                self.checkpoints.lose();
                break;
            };
            self.machine.appended(place.0, &data);
            self.proposals.departed(place, n_bytes, sealed.tickets);
            has_departed = true;
        }
        has_departed
    }

    fn halt(&mut self, damage: Damage, out: &mut Vec<Output>) {
        tracing::error!(%damage, "this replica stands still; replace the node under a new id");
        self.emit(out);
        self.damage = Some(damage);
        self.lose(out);
        self.elected = None;
        out.push(Output::Damaged(damage));
    }

    fn refuse(&self, input: Input, out: &mut Vec<Output>) {
        let reason = ProposeRefused::NotLeader;
        match input {
            Input::Propose(proposals) | Input::ProposeIn { proposals, .. } => {
                refuse(proposals, out);
            }
            Input::Change { token, .. } => out.push(Output::Refused { token, reason }),
            _ => {}
        }
    }
}

/// This replica does not lead, or no longer in the leadership that was meant.
fn refuse(proposals: Vec<Proposal>, out: &mut Vec<Output>) {
    let reason = ProposeRefused::NotLeader;
    out.extend(proposals.into_iter().map(|it| Output::Refused { token: it.token, reason }));
}

mod changes;

mod roles;

#[cfg(test)]
mod replica_test;
