//! Driving a node's replica: what comes in, and all that it wants done.

use bytes::Bytes;
use tidings_check::history::Seen;
use tidings_delivery::publisher::{self, is_proposal};
use tidings_log::{Checkpoint, checkpoint};
use tidings_replica::{Input, Output, Proposal, ProposeRefused, Role, Status};
use tidings_types::effect::{Accepted, Answer, Effect, Refused};
use tidings_types::id::{NodeId, Token};
use tidings_types::layout::records::Records;
use tidings_types::limits::TICK;
use tidings_types::offset::{LogIndex, Term};

use crate::happen::{Happens, What};
use crate::link::Message;
use crate::mail::Mail;
use crate::node::Aside;
use crate::payload;
use crate::publishing::not_proposed;
use crate::tokens::Asker;
use crate::world::{MS, World};

/// What is read at once for a follower that lags: little, so that it takes several rounds.
const FETCH_BYTES: usize = 32 * 1024;
/// What is read at once of a snapshot: little, so that it takes several parts.
const PART_BYTES: usize = 1_000;

impl World {
    pub(crate) fn tick(&mut self, at: usize) {
        self.to(at, TICK.as_micros() as u64, What::Tick);
        // The writer's thread marks what is durable when it is idle for a while.
        if let Some(store) = self.node_mut(at).store_mut()
            && store.writing.is_empty()
            && store.writer.wants_mark()
            && store.writer.idle_mark().is_err()
        {
            return self.abort(at, "it cannot write a mark");
        }
        self.step_replica(at, Input::Tick);
    }

    pub(crate) fn wake(&mut self, at: usize) {
        if let Some(store) = self.node_mut(at).store_mut() {
            store.wake = None;
            self.step_replica(at, Input::Wake);
        }
    }

    pub(crate) fn message(&mut self, at: usize, from: NodeId, bytes: Bytes) {
        self.trace.note(u64::from(crc32c::crc32c(&bytes)));
        self.step_replica(at, Input::Message { from, bytes });
    }

    pub(crate) fn propose(&mut self, at: usize, proposals: Vec<Proposal>) {
        self.step_replica(at, Input::Propose(proposals));
    }

    /// The same for what only one leadership may propose.
    pub(crate) fn propose_in(&mut self, at: usize, term: Term, proposals: Vec<Proposal>) {
        self.step_replica(at, Input::ProposeIn { term, proposals });
    }

    pub(crate) fn step_replica(&mut self, at: usize, input: Input) {
        let now = self.now(at);
        let mut out = Vec::new();
        let Some(store) = self.node_mut(at).store_mut() else { return };
        store.replica.step(now, input, &mut out);
        store.has_stepped = true;
        self.carry_out(at, out);
    }

    pub(crate) fn carry_out(&mut self, at: usize, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Write(job) => {
                    if let Some(store) = self.node_mut(at).store_mut() {
                        store.queued.push(job);
                    }
                }
                Output::Send { to, bytes } => self.send(at, to, &bytes),
                Output::Fetch { first, max_bytes } => {
                    self.stats.fetches += 1;
                    let delay = self.chance.below(5 * MS);
                    let max_bytes = max_bytes.min(FETCH_BYTES);
                    self.to(at, delay, What::Fetched { first, max_bytes });
                }
                Output::Applied { effects, .. } => self.applied(at, effects),
                Output::Answered { token, answer } => self.answered(at, token, answer),
                Output::Taken { token } => self.taken(at, token),
                Output::Refused { token, reason } => self.refused(at, token, reason),
                Output::Unknown { token } => self.unknown(at, token),
                Output::RoleChanged { is_leader, term, groups, .. } => {
                    self.role_changed(at, is_leader.then_some((term, groups)));
                }
                Output::Checkpoint { index, term, membership, state, local, keep } => {
                    let (node, digest) = (self.id(at), state.digest());
                    let agrees = self.agreement.state(node, index.get(), digest);
                    self.hold(agrees);
                    self.see(Seen::Digest { node: node.get(), index: index.get(), digest });
                    self.checkpoint = self.checkpoint.max(Some(index));
                    let state = state.encode();
                    let made = Checkpoint { index, term, membership, state, local };
                    self.put_aside(at, Aside::Checkpoint(made, keep));
                }
                Output::ReadCheckpoint { index, at: from, max_bytes } => {
                    let delay = self.chance.below(10 * MS);
                    self.to(at, delay, What::ReadCheckpoint { index, from, max_bytes });
                }
                Output::Install { checkpoint } => self.put_aside(at, Aside::Install(checkpoint)),
                Output::Restored { groups, .. } => {
                    self.stats.installs += 1;
                    self.restored(at, &groups);
                }
                Output::Damaged(damage) => self.damaged(at, &damage),
            }
        }
        self.write_on(at);
    }

    /// Gives the disk what waits for it, if it is idle.
    fn write_on(&mut self, at: usize) {
        let Some(store) = self.node_mut(at).store_mut() else { return };
        if store.writing.is_empty() && !store.queued.is_empty() {
            store.writing = std::mem::take(&mut store.queued);
            let delay = self.disk_delay(at);
            self.to(at, delay, What::Written);
        }
    }

    fn disk_delay(&mut self, at: usize) -> u64 {
        let usual = 500 + self.chance.below(4 * MS);
        let hiccup = if !self.is_calm && self.chance.percent(1) { 100 * MS } else { 0 };
        let (until, by) = self.node(at).slow;
        usual + hiccup + if self.now_us < until { by } else { 0 }
    }

    /// The disk's time is over: the bytes are written and synced.
    pub(crate) fn written(&mut self, at: usize) {
        let Some(store) = self.node_mut(at).store_mut() else { return };
        let jobs = std::mem::take(&mut store.writing);
        if jobs.is_empty() {
            return;
        }
        let done = store.writer.write(jobs);
        let prepared = store.writer.prepare();
        self.took_durable(at);
        match (done, prepared) {
            (Ok(done), Ok(())) => self.step_replica(at, Input::Persisted(done)),
            (Err(error), _) | (_, Err(error)) => self.abort(at, &error.to_string()),
        }
    }

    /// Something that is written beside the log.
    fn put_aside(&mut self, at: usize, aside: Aside) {
        if let Some(store) = self.node_mut(at).store_mut() {
            store.aside.push_back(aside);
            let delay = MS + self.disk_delay(at);
            self.to(at, delay, What::Aside);
        }
    }

    /// What is written beside the log is on the disk, or cannot be.
    pub(crate) fn aside(&mut self, at: usize) {
        let Some(disk) = self.node(at).disk.clone() else { return };
        let Some(store) = self.node_mut(at).store_mut() else { return };
        let Some(aside) = store.aside.pop_front() else { return };
        let input = aside.write(&disk);
        self.stats.checkpoints += u64::from(matches!(input, Input::CheckpointWritten { .. }));
        self.step_replica(at, input);
    }

    pub(crate) fn read_checkpoint(
        &mut self,
        at: usize,
        index: LogIndex,
        from: u64,
        max_bytes: usize,
    ) {
        let Some(disk) = self.node(at).disk.clone() else { return };
        let max_bytes = max_bytes.min(PART_BYTES);
        let read = checkpoint::read_part(&disk, index, from, max_bytes).ok().flatten();
        let (bytes, total) =
            read.map_or((None, 0), |(bytes, total)| (Some(Bytes::from(bytes)), total));
        self.step_replica(at, Input::CheckpointRead { index, at: from, bytes, total });
    }

    pub(crate) fn fetched(&mut self, at: usize, first: LogIndex, max_bytes: usize) {
        let Some(store) = self.node(at).store() else { return };
        let entries = store.replica.reader().read_entries(first, max_bytes).unwrap_or_default();
        self.step_replica(at, Input::Fetched(entries));
    }

    fn send(&mut self, at: usize, to: NodeId, bytes: &Bytes) {
        let Some(target) = self.place(to) else { return };
        let from = self.id(at);
        for delay in self.net.copies(at, target, &mut self.chance).into_iter().flatten() {
            let bytes = bytes.clone();
            self.after(delay, Happens::Arrives { node: target, from, bytes });
        }
    }

    fn applied(&mut self, at: usize, effects: Vec<Effect>) {
        for effect in &effects {
            match effect {
                Effect::Published(published) => self.answer_publisher(at, published),
                Effect::Accepted(accepted) => self.accepted(at, accepted),
                _ => {}
            }
        }
        self.serve_effects(at, effects);
    }

    /// Events got their offsets, in the words of this node.
    fn accepted(&mut self, at: usize, accepted: &Accepted) {
        let node = self.id(at);
        let Ok(records) = Records::parse(accepted.records.clone()) else {
            return self.fail(format!("{node} accepted what is no batch"));
        };
        let contents = records.events().flatten().map(|event| payload::decode(event.payload()));
        let events: Vec<u64> = contents.map(|content| content.event).collect();
        let (topic, first) = (accepted.placed.topic.get(), accepted.placed.first.get());
        let place = (accepted.index.get(), u64::from(accepted.at));
        let hash = u64::from(crc32c::crc32c(&accepted.records)) << 32 ^ first ^ u64::from(topic);
        self.trace.note(hash);
        let agrees = self.agreement.applied(node, place, hash);
        self.hold(agrees);
        self.see(Seen::Placed { node: node.get(), topic, first, events });
    }

    fn answered(&mut self, at: usize, token: Token, answer: Result<Answer, Refused>) {
        let Some(asker) = self.asker(at, token) else { return };
        if !self.delivery_answered(at, asker, &answer) && asker == Asker::Operator {
            self.operator_answered(token, answer);
        }
    }

    fn refused(&mut self, at: usize, token: Token, reason: ProposeRefused) {
        if is_proposal(token) {
            let reason = not_proposed(reason);
            let input = publisher::Input::Refused { proposal: token, reason };
            return self.mail(at, Mail::Publisher(input));
        }
        match self.unanswered(at, token) {
            Some(Asker::Link(link, proposal)) => {
                let reason = not_proposed(reason);
                self.say(at, link, Message::Refused { proposal, reason });
            }
            Some(Asker::Operator) => self.operator_lost(token),
            _ => {}
        }
    }

    fn unknown(&mut self, at: usize, token: Token) {
        if is_proposal(token) {
            return self.mail(at, Mail::Publisher(publisher::Input::Unknown { proposal: token }));
        }
        match self.unanswered(at, token) {
            Some(Asker::Link(link, proposal)) => {
                self.say(at, link, Message::Unknown { proposal });
            }
            Some(Asker::Operator) => self.operator_lost(token),
            _ => {}
        }
    }

    /// Who asked, unless it is delivery, which hears of it here.
    fn unanswered(&mut self, at: usize, token: Token) -> Option<Asker> {
        if self.delivery_lost(at, token) {
            return None;
        }
        let asker = self.asker(at, token)?;
        (!self.delivery_unanswered(at, asker)).then_some(asker)
    }

    /// After each step of a replica: when it wants to be woken, and where it stands.
    pub(crate) fn arm(&mut self, at: usize) {
        let (start, id) = (self.node(at).start, self.node(at).id);
        let is_rolled_back = self.node(at).is_rolled_back;
        let Some(store) = self.node_mut(at).store_mut() else { return };
        if !std::mem::take(&mut store.has_stepped) {
            return;
        }
        let is_durable = store.writing.is_empty() && store.queued.is_empty();
        let status = store.replica.status();
        let wake = store.replica.wake_at();
        if let Some(wake) = wake.filter(|wake| store.wake.is_none_or(|known| *wake < known)) {
            store.wake = Some(wake);
            let delay = self.until(at, wake);
            self.to(at, delay, What::Wake);
        }
        if !is_rolled_back {
            let goes_on = self.steps.stands(id, start, &status, is_durable);
            self.hold(goes_on);
        }
        if status.role == Role::Leader {
            let is_alone = self.leaders.leads(id, status.term.get());
            self.hold(is_alone);
        }
    }

    pub(crate) fn status(&self, at: usize) -> Option<Status> {
        self.node(at).store().map(|store| store.replica.status())
    }

    pub(crate) fn see_status(&mut self, at: usize) {
        let Some(store) = self.node(at).store() else { return };
        // A term that is not durable may be forgotten, and nobody has heard of it.
        if !store.writing.is_empty() || !store.queued.is_empty() {
            return;
        }
        let status = store.replica.status();
        self.see(Seen::Status {
            node: self.id(at).get(),
            term: status.term.get(),
            leads: status.role == Role::Leader,
            commit: status.commit.get(),
            applied: status.applied.get(),
            last: status.last_index.get(),
        });
    }
}
