//! The end of a run: all must come to rest, and then every node's log is read.

use tidings_check::history::Seen;
use tidings_log::{Block, TailRead};
use tidings_state::DeadLetterView;
use tidings_types::id::{GroupId, TopicId};
use tidings_types::layout::command::DeadReason;
use tidings_types::layout::records::Records;
use tidings_types::offset::Offset;

use crate::happen::Happens;
use crate::link::Uplink;
use crate::payload;
use crate::world::{DRAIN_US, MS, World};

/// What one read of a node's log takes.
const READ_BYTES: usize = 64 * 1024;

impl World {
    /// Looks whether all is done; if not, looks again, but not for ever.
    pub(crate) fn look(&mut self) {
        match self.unfinished() {
            None => self.end(),
            Some(why) if self.plan.load_us + DRAIN_US < self.now_us => {
                self.fail(format!("{} s after the last fault, {why}", DRAIN_US / 1_000_000));
            }
            Some(_) => self.after(100 * MS, Happens::Look),
        }
    }

    /// What is not as it must be in the end.
    fn unfinished(&mut self) -> Option<String> {
        let stores = self.stores();
        let leaders: Vec<usize> =
            stores.iter().copied().filter(|at| self.node(*at).leads()).collect();
        let [leader] = *leaders.as_slice() else {
            return Some(format!("{} replicas lead", leaders.len()));
        };
        if !self.admin.is_idle() {
            return Some("a command has no answer".to_owned());
        }
        for at in 0..self.nodes.len() {
            let looks = self
                .node(at)
                .process
                .as_ref()
                .is_none_or(|process| matches!(process.uplink, Uplink::Looking(_)));
            if looks && !self.node(at).is_gone {
                return Some(format!("{} does not reach the leader", self.id(at)));
            }
        }
        if self.stats.acked < self.plan.acknowledged_min {
            // Nobody led, perhaps, and a run in which little happens shows little.
            self.after(0, Happens::Call);
            return Some(format!("{} calls were acknowledged", self.stats.acked));
        }
        if !self.has_tried {
            return self.try_all();
        }
        if self.calls.n_open() > 0 {
            return Some(format!("{} calls have no answer", self.calls.n_open()));
        }
        if let Some(call) = self.tried.iter().copied().find(|call| !self.calls.is_stored(*call)) {
            // A disk that was slow, or had an error in store, may still end a process.
            self.try_all();
            return Some(format!("call {call} was not stored, though all is well"));
        }
        let status = self.status(leader)?;
        for at in stores {
            let Some(other) = self.status(at) else { continue };
            if other.applied != status.last_index || other.term != status.term {
                return Some(format!("{} is not where the leader is: {other:?}", self.id(at)));
            }
        }
        self.undelivered(leader)
    }

    /// Publishes once more at every node; all of it must be stored.
    fn try_all(&mut self) -> Option<String> {
        self.has_tried = true;
        self.tried.clear();
        let topics = self.admin.topics().to_vec();
        for at in 0..self.nodes.len() {
            for topic in &topics {
                if self.node(at).process.is_some() {
                    let call = self.publish(at, *topic, 1);
                    self.has_tried &= call.is_some();
                    self.tried.extend(call);
                }
            }
            self.settle(at);
        }
        Some("the last calls are out".to_owned())
    }

    /// The lag of a group, if it has one.
    fn undelivered(&self, leader: usize) -> Option<String> {
        let store = self.node(leader).store()?;
        if self.plan.is_served() {
            for group in store.replica.state().groups() {
                for mailbox in &group.mailboxes {
                    if mailbox.lag > 0 {
                        return Some(self.lag_in_words(leader, group.id, &format!("{mailbox:?}")));
                    }
                }
                if group.n_redriven > 0 {
                    return Some(format!("{} has redriven events", group.name));
                }
            }
        }
        None
    }

    /// Where the events of a group are that lags.
    fn lag_in_words(&self, leader: usize, group: GroupId, mailbox: &str) -> String {
        let process = self.node(leader).process.as_ref();
        let dispatching = process.and_then(|process| process.dispatching.as_ref());
        let seen = dispatching.and_then(|dispatching| dispatching.dispatcher.observe(group));
        let mut words = format!("{group} lags: {mailbox}, on the leader {seen:?}");
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(process) = &node.process else { continue };
            let serving = &process.serving;
            let may_start = serving.member.may_start(self.mono(at));
            let service = serving.services.get(&group);
            let workers = serving.workers.iter().filter(|(place, _)| place.0 == group);
            let held: Vec<_> = workers
                .map(|(_, worker)| (worker.is_up, worker.is_waiting, worker.session.is_idle()))
                .collect();
            words += &format!("; {:?} may start {may_start}, {service:?}", process.uplink);
            words += &format!(", workers (up, waiting, idle) {held:?}");
        }
        words
    }

    fn end(&mut self) {
        for at in self.stores() {
            self.see_status(at);
            self.see_end(at);
            for topic in self.admin.topics().to_vec() {
                self.read(at, topic);
            }
        }
        self.see(Seen::End);
        self.finish();
    }

    /// Digest and groups of a node.
    fn see_end(&mut self, at: usize) {
        let node = self.id(at).get();
        let Some(store) = self.node(at).store() else { return };
        let state = store.replica.state();
        let is_leader = store.leads;
        let (index, digest) = (state.applied().get(), state.digest());
        let mut seen = vec![Seen::Digest { node, index, digest }];
        for group in state.groups() {
            let id = group.id.get();
            for mailbox in &group.mailboxes {
                let (topic, floor) = (mailbox.topic.get(), mailbox.floor.get());
                seen.push(Seen::Floor { node, group: id, topic, floor });
            }
            if is_leader {
                seen.extend(state.dead_letters(group.id).map(|letter| dead_letter(id, letter)));
            }
        }
        let agrees = self.agreement.state(self.id(at), index, digest);
        self.hold(agrees);
        let is_letter = |seen: &&Seen| matches!(seen, Seen::DeadLetter { .. });
        self.stats.dead_letters += seen.iter().filter(is_letter).count() as u64;
        seen.into_iter().for_each(|seen| self.see(seen));
    }

    /// Reads a topic of a node's log from its start to its end.
    fn read(&mut self, at: usize, topic: TopicId) {
        let node = self.id(at).get();
        let Some(store) = self.node(at).store() else { return };
        let Some(view) = store.replica.state().topic(topic) else { return };
        let reader = store.replica.reader();
        let mut from = view.start;
        while from < view.end {
            let blocks = match reader.read_tail(topic, from, READ_BYTES) {
                TailRead::Hit(blocks) => Ok(blocks),
                TailRead::End => Ok(Vec::new()),
                TailRead::Miss => reader.read_disk(topic, from, READ_BYTES),
            };
            let blocks = match blocks {
                Ok(blocks) if !blocks.is_empty() => blocks,
                Ok(_) => return self.fail(format!("n{node} has no event of {topic} at {from}")),
                Err(error) => return self.fail(format!("n{node} cannot read {topic}: {error}")),
            };
            for block in &blocks {
                self.see_block(node, block, from);
                from = from.max(block.placed.first.plus(block.placed.n_events.into()));
            }
        }
        let (start, end) = (view.start.get(), view.end.get());
        self.see(Seen::ReadThrough { node, topic: topic.get(), start, end });
    }

    fn see_block(&mut self, node: u32, block: &Block, from: Offset) {
        let topic = block.placed.topic.get();
        for (event, offset) in block.records.events().flatten().zip(block.placed.first.get()..) {
            if from.get() <= offset {
                let content = payload::decode(event.payload());
                let (event, is_whole) = (content.event, content.is_whole);
                self.see(Seen::Read { node, topic, offset, event, is_whole });
            }
        }
    }
}

/// A dead letter as it is listed; one that cannot be read is of event 0, which was never sent.
fn dead_letter(group: u32, letter: &DeadLetterView) -> Seen {
    let records = Records::parse(letter.records.clone()).ok();
    let event = records.and_then(|records| records.events().next()?.ok());
    let content = event.map(|event| payload::decode(event.payload()));
    Seen::DeadLetter {
        group,
        topic: letter.topic.get(),
        offset: letter.offset.get(),
        event: content.filter(|content| content.is_whole).map_or(0, |content| content.event),
        attempts: letter.attempts,
        is_fatal: letter.reason == DeadReason::Fatal,
    }
}
