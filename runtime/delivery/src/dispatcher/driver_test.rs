//! A driver that plays everything around a dispatcher: log, state, workers, readers, leaders.
//!
//! It uses the real state machine and the real worker session. At each batch that is handed out it
//! checks what the dispatcher promises, against what the state says and what workers have told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tidings_state::{Standing, State};
use tidings_types::effect::{Effect, OutcomeRefused, Placed};
use tidings_types::event::NewEvent;
use tidings_types::id::WorkerId;
use tidings_types::id::{GroupId, Incarnation, NodeId, ProducerId, Sequence, Token, TopicId};
use tidings_types::layout::acks::{AckRange, Acks, FailureClass};
use tidings_types::layout::command::{Command, DeadReason, GroupStart};
use tidings_types::layout::entry::{EntryBuilder, SectionKind};
use tidings_types::layout::records::{Records, RecordsBuilder};
use tidings_types::limits::{DELIVERY_BYTES_MAX, DELIVERY_EVENTS_MAX};
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::{Lane, LogIndex, Offset};
use tidings_types::seam::{Rng, SplitMix};

use crate::dispatcher::{Dispatcher, Input, Output, ReadResult, Story};
use crate::session::{BatchId, Delivery, Report, Session, Verdict};

pub(super) const NODE: NodeId = NodeId::new(1);

/// An event as one group sees it.
type Seen = (GroupId, TopicId, Offset);

#[derive(Clone, Debug)]
pub(super) struct Proposal {
    token: Token,
    kind: SectionKind,
    body: Bytes,
}

#[derive(Debug, Default)]
pub(super) struct Simulated {
    pub(super) session: Session,
    is_up: bool,
    /// On their way to the dispatcher.
    reports: VecDeque<Report>,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    worker: WorkerId,
    batch: BatchId,
    key_hash: u64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: SplitMix,
    pub(super) now_ms: u64,
    pub(super) state: State,
    index: u64,
    log: BTreeMap<TopicId, Vec<(Placed, Records)>>,
    pub(super) dispatcher: Dispatcher,
    pub(super) is_leading: bool,
    pub(super) proposals: VecDeque<Proposal>,
    /// Of an earlier term: they are applied yet, and nobody is told.
    pub(super) late: Vec<Proposal>,
    pub(super) reads: VecDeque<(GroupId, TopicId, Offset)>,
    wake_at_ms: Option<u64>,
    pub(super) workers: BTreeMap<(GroupId, WorkerId), Simulated>,
    draining: BTreeSet<GroupId>,
    pub(super) stories: Vec<Story>,
    pub(super) groups: Vec<GroupId>,
    pub(super) topics: Vec<TopicId>,
    /// Topic of what turns emit.
    mails: TopicId,
    /// How often handlers fail, of 100 times.
    pub(super) fail_percent: u64,
    /// Events of this key always fail, and wait for a minute.
    pub(super) poison: Option<u64>,
    /// Every event dies.
    pub(super) is_deadly: bool,
    /// Every success of the first group emits.
    pub(super) always_emits: bool,
    /// Offsets of the batch that was handed out last.
    pub(super) last_batch: Vec<u64>,
    /// Where turns emit to.
    pub(super) mails_to: TopicId,
    /// Bytes of an event's content, about.
    pub(super) payload_bytes: u64,
    /// Checks each batch in full, which takes long for many events.
    pub(super) is_strict: bool,
    n_failures_told: usize,
    n_failures_counted: usize,
    n_settled_elsewhere: usize,
    /// A replica that leads before it has applied all of earlier terms: ours does not.
    pub(super) leads_early: bool,
    n_published: u64,
    out: BTreeMap<Seen, Out>,
    keys: BTreeMap<(TopicId, u64), Vec<Offset>>,
    succeeded: BTreeSet<Seen>,
    /// How often an event was settled by a success that a worker told, or by a dead letter.
    n_ends: BTreeMap<Seen, usize>,
    n_redriven: BTreeMap<Seen, usize>,
    n_turns: usize,
    mail_ids: BTreeSet<String>,
    /// Lanes left and came back, so work may have been repeated.
    has_moved: bool,
    pub(super) n_delivered: usize,
}

impl World {
    /// Two topics, two groups that read both, the second one also what the first one's turns emit.
    pub(super) fn new(seed: u64, n_workers: u32) -> Self {
        let names = ["users", "orders", "mails"].map(|name| TopicName::new(name).unwrap());
        let mut world = Self {
            rng: SplitMix::new(seed),
            now_ms: 1_700_000_000_000,
            state: State::new(),
            index: 0,
            log: BTreeMap::new(),
            dispatcher: Dispatcher::new(NODE, Token::new(1 << 62)),
            is_leading: false,
            proposals: VecDeque::new(),
            late: Vec::new(),
            reads: VecDeque::new(),
            wake_at_ms: None,
            workers: BTreeMap::new(),
            draining: BTreeSet::new(),
            stories: Vec::new(),
            groups: Vec::new(),
            topics: Vec::new(),
            mails: TopicId::new(0),
            fail_percent: 20,
            poison: None,
            is_deadly: false,
            always_emits: false,
            last_batch: Vec::new(),
            mails_to: TopicId::new(0),
            payload_bytes: 60,
            is_strict: true,
            n_failures_told: 0,
            n_failures_counted: 0,
            n_settled_elsewhere: 0,
            leads_early: false,
            n_published: 0,
            out: BTreeMap::new(),
            keys: BTreeMap::new(),
            succeeded: BTreeSet::new(),
            n_ends: BTreeMap::new(),
            n_redriven: BTreeMap::new(),
            n_turns: 0,
            mail_ids: BTreeSet::new(),
            has_moved: false,
            n_delivered: 0,
        };
        for (name, topics) in [("a", &names[..2]), ("b", &names[..])] {
            let name = GroupName::new(name).unwrap();
            let start = GroupStart::Earliest;
            world.command(Command::CreateGroup { name, topics: topics.to_vec(), start });
        }
        let [users, orders, mails] = names.map(|name| world.state.topic_id(&name).unwrap());
        world.topics = vec![users, orders];
        world.mails = mails;
        world.mails_to = mails;
        world.groups = world.state.groups().map(|group| group.id).collect();
        for group in world.groups.clone() {
            world.join(group, NODE, 1);
            let n_workers_given = n_workers as usize;
            world.step(Input::ServiceUp { group, n_workers: n_workers_given });
            for worker in (0..n_workers).map(WorkerId::new) {
                world.workers.insert((group, worker), Simulated::default());
                world.worker_up(group, worker);
            }
        }
        world
    }

    pub(super) fn join(&mut self, group: GroupId, node: NodeId, incarnation: u64) {
        let incarnation = Incarnation::new(incarnation);
        self.command(Command::Join { group, node, incarnation });
    }

    pub(super) fn leave(&mut self, group: GroupId, node: NodeId) {
        let incarnation = Incarnation::new(1);
        self.has_moved = true;
        self.command(Command::Leave { group, node, incarnation });
    }

    /// All lanes go to another node and come back: the only member leaves, another joins, and back.
    pub(super) fn move_away_and_back(&mut self, group: GroupId) {
        let other = NodeId::new(2);
        self.leave(group, NODE);
        self.join(group, other, 1);
        self.leave(group, other);
        self.join(group, NODE, 1);
    }

    pub(super) fn worker_up(&mut self, group: GroupId, worker: WorkerId) {
        self.workers.get_mut(&(group, worker)).unwrap().is_up = true;
        self.step(Input::WorkerUp { group, worker });
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    pub(super) const fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms)
    }

    // The dispatcher's side.

    pub(super) fn step(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.dispatcher.step(self.now(), input, &mut out);
        for output in out {
            match output {
                Output::Deliver { group, worker, batch, deliveries } => {
                    self.check_batch(group, worker, batch, &deliveries);
                    let found = self.workers.get_mut(&(group, worker)).unwrap();
                    // To a worker whose end is not noticed yet: it falls to the floor, and comes
                    // back when its end is noticed.
                    if found.is_up {
                        found.session.deliver(batch, deliveries);
                    }
                }
                Output::Read { group, topic, from, max_bytes } => {
                    assert!(0 < max_bytes);
                    self.reads.push_back((group, topic, from));
                }
                Output::Propose { token, kind, body, may_wait } => {
                    assert!(self.is_leading, "proposed without leading");
                    assert_eq!(may_wait, kind == SectionKind::Acks);
                    self.proposals.push_back(Proposal { token, kind, body });
                }
                Output::WakeAt(at) => {
                    let at_ms = u64::try_from(at.as_millis()).unwrap();
                    assert!(self.now_ms < at_ms, "a wake in the past");
                    self.wake_at_ms = Some(self.wake_at_ms.map_or(at_ms, |other| other.min(at_ms)));
                }
                Output::Told(story) => self.stories.push(story),
            }
        }
    }

    fn check_batch(
        &mut self,
        group: GroupId,
        worker: WorkerId,
        batch: BatchId,
        deliveries: &[Delivery],
    ) {
        assert!(self.is_leading, "handed out without leading");
        assert!(!self.draining.contains(&group), "handed out while draining");
        assert!((1..=DELIVERY_EVENTS_MAX).contains(&deliveries.len()));
        let sizes = deliveries.iter().map(|delivery| delivery.event.encoded_bytes());
        assert!(deliveries.len() == 1 || sizes.sum::<usize>() <= DELIVERY_BYTES_MAX);
        for delivery in deliveries {
            if !self.is_strict {
                let out = Out { worker, batch, key_hash: delivery.event.key_hash };
                self.out.insert((group, delivery.topic, delivery.offset), out);
                continue;
            }
            self.check_delivery(group, worker, batch, delivery);
        }
        self.n_delivered += deliveries.len();
        self.last_batch = deliveries.iter().map(|delivery| delivery.offset.get()).collect();
    }

    fn check_delivery(&mut self, group: GroupId, worker: WorkerId, batch: BatchId, d: &Delivery) {
        let (seen, key_hash) = ((group, d.topic, d.offset), d.event.key_hash);
        let mut is_redriven = false;
        match self.state.standing(group, d.topic, d.offset) {
            Standing::Waiting { attempts, retry_at_ms, .. } => {
                assert_eq!(d.attempt, attempts + 1, "{seen:?}");
                assert!(retry_at_ms <= self.now_ms, "{seen:?} began before its time");
            }
            Standing::Redriven => is_redriven = true,
            other => panic!("{seen:?} is handed out although it is {other:?}"),
        }
        assert!(!self.out.contains_key(&seen), "{seen:?} is out twice");
        for (other, out) in &self.out {
            let is_same_lane = Lane::of(out.key_hash) == Lane::of(key_hash);
            if other.0 == group && is_same_lane {
                assert_eq!(out.worker, worker, "two workers work one lane");
                assert_eq!(out.batch, batch, "a lane is out in two batches");
            }
        }
        let earlier = &self.keys[&(d.topic, key_hash)];
        for &offset in earlier.iter().filter(|&&offset| offset < d.offset && !is_redriven) {
            let other = (group, d.topic, offset);
            let is_here = self.out.get(&other).is_some_and(|out| out.batch == batch);
            let standing = self.state.standing(group, d.topic, offset);
            let is_through = !matches!(standing, Standing::Waiting { .. });
            assert!(
                is_here || is_through || self.succeeded.contains(&other),
                "{seen:?} is handed out before {other:?} has its outcome"
            );
        }
        self.out.insert(seen, Out { worker, batch, key_hash });
    }

    pub(super) fn wake(&mut self) {
        if self.wake_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms) {
            self.wake_at_ms = None;
            self.step(Input::Wake);
        }
    }

    /// A wake comes too early. Says when the next one is asked for.
    pub(super) fn wake_early(&mut self) -> Option<u64> {
        self.wake_at_ms = None;
        self.step(Input::Wake);
        self.wake_at_ms
    }

    // The log's side.

    pub(super) fn command(&mut self, command: Command) {
        let mut entry = EntryBuilder::with_capacity(0);
        entry.push(SectionKind::Command, &command.encode());
        self.apply(entry, &[]);
    }

    /// Publishes a batch of events of few keys.
    pub(super) fn publish(&mut self, topic: TopicId, n_events: u64, n_keys: u64) {
        let keys = (0..n_events).map(|_| match self.rng.below(n_keys + 1) {
            0 => String::new(),
            n => format!("k-{n}"),
        });
        let keys: Vec<_> = keys.collect();
        self.publish_keyed(topic, &keys);
    }

    pub(super) fn publish_keyed<K: AsRef<str>>(&mut self, topic: TopicId, keys: &[K]) {
        let mut builder = RecordsBuilder::with_capacity(0);
        for key in keys {
            self.n_published += 1;
            let id = format!("e-{}", self.n_published);
            let key = key.as_ref();
            let payload = vec![b'p'; self.rng.below(self.payload_bytes) as usize];
            builder.push(&NewEvent {
                id: &id,
                kind: "t.v1",
                key: key.as_bytes(),
                time_ms: 0,
                headers: b"",
                payload: &payload,
            });
        }
        let mut entry = EntryBuilder::with_capacity(0);
        let section = builder.finish(topic, ProducerId::NONE, Sequence::new(0));
        entry.push(SectionKind::Records, &section);
        self.apply(entry, &[]);
    }

    /// Applies some of what is proposed, oldest first, in one entry.
    pub(super) fn apply_proposals(&mut self, n: usize) {
        let mut entry = EntryBuilder::with_capacity(0);
        let n = n.min(self.proposals.len());
        let taken: Vec<_> = self.proposals.drain(..n).collect();
        for proposal in &taken {
            entry.push(proposal.kind, &proposal.body);
        }
        self.apply(entry, &taken);
    }

    pub(super) fn apply_late(&mut self) {
        let late = std::mem::take(&mut self.late);
        if late.is_empty() {
            return;
        }
        let mut entry = EntryBuilder::with_capacity(0);
        for proposal in late {
            entry.push(proposal.kind, &proposal.body);
        }
        self.apply(entry, &[]);
    }

    fn apply(&mut self, entry: EntryBuilder, taken: &[Proposal]) {
        // Entries of an earlier term come before those of a later one.
        self.apply_late();
        if entry.n_sections() == 0 {
            return;
        }
        self.index += 1;
        let data = entry.finish(NODE, self.now_ms);
        let mut effects = Vec::new();
        self.state.apply(LogIndex::new(self.index), &data, &mut effects).unwrap();
        for effect in &effects {
            self.note(effect);
        }
        self.step(Input::Effects(&effects));
        for proposal in taken {
            self.step(Input::Taken { token: proposal.token });
        }
    }

    fn note(&mut self, effect: &Effect) {
        match effect {
            Effect::Accepted(accepted) => {
                let Placed { topic, first, .. } = accepted.placed;
                let records = Records::parse(accepted.records.clone()).unwrap();
                for (event, n) in records.events().zip(0..) {
                    let event = event.unwrap();
                    self.keys.entry((topic, event.key_hash)).or_default().push(first.plus(n));
                    if topic == self.mails {
                        let is_new = self.mail_ids.insert(event.id().to_owned());
                        assert!(is_new, "a turn was published twice");
                    }
                }
                self.log.entry(topic).or_default().push((accepted.placed, records));
            }
            Effect::Failed { .. } => self.n_failures_counted += 1,
            &Effect::Settled { group, topic, range, dead: true } => {
                *self.n_ends.entry((group, topic, range.start)).or_default() += 1;
            }
            Effect::Redriven { group, letter } => {
                let seen = (*group, letter.topic, letter.offset);
                self.succeeded.remove(&seen);
                *self.n_redriven.entry(seen).or_default() += 1;
            }
            &Effect::OutcomeRefused { group, topic, offset, why: OutcomeRefused::LaneMoved } => {
                self.succeeded.remove(&(group, topic, offset));
            }
            Effect::Answered { answer, .. } => {
                assert!(answer.is_ok() || self.mails_to != self.mails, "{answer:?}");
            }
            _ => {}
        }
    }

    pub(super) fn lose(&mut self, at: usize) {
        if let Some(proposal) = self.proposals.remove(at) {
            self.step(Input::Lost { token: proposal.token });
        }
    }

    /// Answers a read, now and then badly.
    pub(super) fn answer_read(&mut self, may_fail: bool) {
        let Some((group, topic, from)) = self.reads.pop_front() else { return };
        let fails = may_fail && self.chance(10);
        let is_after =
            |(placed, _): &&(Placed, Records)| from < placed.first.plus(placed.n_events.into());
        let n_blocks = 1 + self.rng.below(4) as usize;
        let blocks = self.log.get(&topic).map_or(&[][..], Vec::as_slice);
        let blocks: Vec<_> = blocks.iter().filter(is_after).take(n_blocks).cloned().collect();
        let result = if fails && self.chance(50) {
            ReadResult::Failed("played".to_owned())
        } else if fails || blocks.is_empty() {
            ReadResult::End
        } else {
            ReadResult::Blocks(blocks)
        };
        self.step(Input::ReadDone { group, topic, result });
    }

    /// Ends the leadership. What is proposed is applied before the next one, or behind its back, or
    /// never; some of it is told to be lost.
    pub(super) fn follow(&mut self) {
        self.is_leading = false;
        self.step(Input::Follow);
        // The log takes a front part of what is proposed, some of it at once, and the rest is gone.
        let n_applied = self.rng.below(4) as usize;
        let n_late = self.rng.below(4) as usize;
        for (proposal, n) in std::mem::take(&mut self.proposals).into_iter().zip(0..) {
            if self.chance(50) {
                self.step(Input::Lost { token: proposal.token });
            }
            if n < n_applied {
                let mut entry = EntryBuilder::with_capacity(0);
                entry.push(proposal.kind, &proposal.body);
                self.apply(entry, &[]);
            } else if n < n_applied + n_late {
                self.late.push(proposal);
            }
        }
    }

    /// Another leader has a worker of its own handle an event.
    pub(super) fn settle_elsewhere(&mut self, group: GroupId, topic: TopicId) {
        assert!(!self.is_leading);
        self.apply_late();
        let end = self.state.topic(topic).unwrap().end.get();
        let offset = Offset::new(self.rng.below(end.max(1)));
        let seen = (group, topic, offset);
        let is_open = matches!(self.state.standing(group, topic, offset), Standing::Waiting { .. });
        // Lanes that did not move keep everybody else off what is out here.
        let is_out = self.out.contains_key(&seen) && !self.has_moved;
        if !is_open || is_out || self.succeeded.contains(&seen) {
            return;
        }
        let ranges = vec![AckRange { start: offset, len: 1 }];
        let body = Acks { group, topic, ranges, failures: Vec::new() }.encode();
        let mut entry = EntryBuilder::with_capacity(0);
        entry.push(SectionKind::Acks, &body);
        self.apply(entry, &[]);
        *self.n_ends.entry(seen).or_default() += 1;
        self.n_settled_elsewhere += 1;
    }

    pub(super) fn lead(&mut self) {
        // A replica leads once it has applied all of earlier terms.
        if !self.leads_early {
            self.apply_late();
        }
        self.is_leading = true;
        self.step(Input::Lead(self.state.group_snapshots()));
    }

    // The workers' side.

    /// One small step of one worker.
    pub(super) fn work(&mut self, group: GroupId, worker: WorkerId) {
        let now = self.now();
        let found = self.workers.get_mut(&(group, worker)).unwrap();
        if !found.is_up {
            return;
        }
        if let Some(running) = found.session.running() {
            let delivery = running.delivery.clone();
            if self.fail_percent > 0 && self.chance(2) {
                self.crash(group, worker);
                return;
            }
            let verdict = self.verdict(group, &delivery);
            let found = self.workers.get_mut(&(group, worker)).unwrap();
            found.session.finish(verdict, now);
        } else {
            found.session.start_next(now);
        }
        let found = self.workers.get_mut(&(group, worker)).unwrap();
        if let Some(report) = found.session.take_report(now) {
            found.reports.push_back(report);
        }
    }

    /// The worker starts and ends what it holds, without telling.
    pub(super) fn work_only(&mut self, group: GroupId, worker: WorkerId) {
        while !self.workers[&(group, worker)].session.is_idle() {
            self.work(group, worker);
        }
    }

    pub(super) fn work_and_hear(&mut self, group: GroupId, worker: WorkerId) {
        self.work_only(group, worker);
        self.hear(group, worker);
    }

    fn verdict(&mut self, group: GroupId, delivery: &Delivery) -> Verdict {
        let message = "played".to_owned();
        if self.is_deadly {
            return Verdict::Dead { reason: DeadReason::Fatal, message };
        }
        if self.poison == Some(delivery.event.key_hash) {
            let after = Duration::from_secs(60);
            return Verdict::Again { after, class: FailureClass::Error, message };
        }
        if self.chance(self.fail_percent) {
            if 4 < delivery.attempt || self.chance(20) {
                return Verdict::Dead { reason: DeadReason::Fatal, message };
            }
            let after = Duration::from_millis(self.rng.below(300));
            return Verdict::Again { after, class: FailureClass::Error, message };
        }
        if group == self.groups[0] && (self.always_emits || self.chance(20)) {
            return Verdict::DoneEmitting(vec![self.mail(group, delivery)]);
        }
        if self.chance(10) { Verdict::Skipped } else { Verdict::Done }
    }

    fn mail(&self, group: GroupId, delivery: &Delivery) -> Bytes {
        let seen = (group, delivery.topic, delivery.offset);
        let n_redriven = self.n_redriven.get(&seen).copied().unwrap_or_default();
        let (topic, offset) = (delivery.topic.get(), delivery.offset);
        let id = format!("m-{topic}-{offset}-{n_redriven}");
        let mut builder = RecordsBuilder::with_capacity(0);
        let key = delivery.event.key();
        let kind = "mail.v1";
        builder.push(&NewEvent { id: &id, kind, key, time_ms: 0, headers: b"", payload: b"" });
        builder.finish(self.mails_to, ProducerId::NONE, Sequence::new(0))
    }

    /// The worker dies in the middle of an event; it has told all before it is noticed.
    pub(super) fn crash(&mut self, group: GroupId, worker: WorkerId) {
        let now = self.now();
        let found = self.workers.get_mut(&(group, worker)).unwrap();
        let blame = |_: &Delivery| Verdict::Again {
            after: Duration::from_millis(100),
            class: FailureClass::Panic,
            message: "played".to_owned(),
        };
        let reports = found.session.crash(blame, now);
        found.is_up = false;
        found.reports.extend(reports);
        while !self.workers[&(group, worker)].reports.is_empty() {
            self.hear(group, worker);
        }
        self.out.retain(|seen, out| seen.0 != group || out.worker != worker);
        self.step(Input::WorkerDown { group, worker });
    }

    /// The worker is gone without a word.
    pub(super) fn vanish(&mut self, group: GroupId, worker: WorkerId) {
        let found = self.workers.get_mut(&(group, worker)).unwrap();
        *found = Simulated::default();
        self.out.retain(|seen, out| seen.0 != group || out.worker != worker);
        self.step(Input::WorkerDown { group, worker });
    }

    pub(super) fn worker_up_if_down(&mut self, group: GroupId, worker: WorkerId) {
        if !self.workers[&(group, worker)].is_up {
            self.worker_up(group, worker);
        }
    }

    pub(super) fn vanish_if_up(&mut self, group: GroupId, worker: WorkerId) {
        if self.workers[&(group, worker)].is_up {
            self.vanish(group, worker);
        }
    }

    /// The dispatcher hears the oldest report of a worker.
    pub(super) fn hear(&mut self, group: GroupId, worker: WorkerId) {
        let found = self.workers.get_mut(&(group, worker)).unwrap();
        let Some(report) = found.reports.pop_front() else { return };
        for outcome in &report.outcomes {
            let seen = (group, outcome.topic, outcome.offset);
            let out = self.out.remove(&seen);
            assert!(out.is_some_and(|out| out.batch == report.batch), "{seen:?} was not out");
            self.n_failures_told += usize::from(matches!(outcome.verdict, Verdict::Again { .. }));
            let is_turn = matches!(outcome.verdict, Verdict::DoneEmitting(_));
            if is_turn || matches!(outcome.verdict, Verdict::Done | Verdict::Skipped) {
                self.n_turns += usize::from(is_turn);
                self.succeeded.insert(seen);
                *self.n_ends.entry(seen).or_default() += 1;
            }
        }
        self.step(Input::Report { group, worker, report });
    }

    pub(super) fn drain(&mut self, group: GroupId) {
        self.draining.insert(group);
        self.step(Input::ServiceDraining { group });
    }

    pub(super) fn serve(&mut self, group: GroupId) {
        self.draining.remove(&group);
        self.step(Input::ServiceUp { group, n_workers: 1 });
    }

    // The end.

    /// Lets everything heal and finish, and checks that all is settled, each event once.
    pub(super) fn finish(&mut self) {
        self.fail_percent = 0;
        self.poison = None;
        self.is_deadly = false;
        if !self.is_leading {
            self.lead();
        }
        self.apply_late();
        for group in self.groups.clone() {
            self.serve(group);
        }
        let places: Vec<_> = self.workers.keys().copied().collect();
        for (group, worker) in places {
            self.worker_up_if_down(group, worker);
        }
        self.run(|_| false);
        self.check_end();
    }

    /// Works on, without faults, until nothing is left to do or `is_enough`.
    pub(super) fn run(&mut self, is_enough: impl Fn(&Self) -> bool) {
        for _ in 0..10_000_000_u64 {
            if is_enough(self) {
                return;
            }
            self.apply_proposals(1_000);
            if self.work_on() && self.proposals.is_empty() {
                let Some(at_ms) = self.wake_at_ms else { return };
                self.now_ms = self.now_ms.max(at_ms);
                self.wake();
            }
        }
        self.give_up();
    }

    /// Works on while no time passes and nothing is applied, until nothing is left to do.
    pub(super) fn run_without_log(&mut self) {
        for _ in 0..10_000_000_u64 {
            if self.work_on() {
                return;
            }
        }
        self.give_up();
    }

    /// One step of everybody but the log. Says whether all were idle.
    fn work_on(&mut self) -> bool {
        let mut is_quiet = true;
        self.answer_read(false);
        let places: Vec<_> = self.workers.keys().copied().collect();
        for (group, worker) in places {
            self.work(group, worker);
            self.hear(group, worker);
            let found = &self.workers[&(group, worker)];
            is_quiet &= found.session.is_idle() && found.reports.is_empty();
        }
        is_quiet && self.reads.is_empty()
    }

    fn give_up(&self) {
        panic!("it never ends: {:?}", self.groups.iter().map(|&g| self.dispatcher.observe(g)));
    }

    fn check_end(&self) {
        for group in self.state.groups() {
            let observed = self.dispatcher.observe(group.id).unwrap();
            for mailbox in &group.mailboxes {
                assert_eq!(mailbox.lag, 0, "{mailbox:?} {observed:?}");
                for offset in (0..mailbox.end.get()).map(Offset::new) {
                    let seen = (group.id, mailbox.topic, offset);
                    let n_ends = self.n_ends.get(&seen).copied().unwrap_or_default();
                    let n_redriven = self.n_redriven.get(&seen).copied().unwrap_or_default();
                    assert!(n_redriven < n_ends, "{seen:?} was settled by nobody");
                    if !self.has_moved {
                        assert_eq!(n_ends, 1 + n_redriven, "{seen:?} was not settled once");
                    }
                }
            }
            assert_eq!(group.n_redriven, 0);
            assert_eq!(observed, Default::default(), "something is still on its way");
        }
        if !self.has_moved {
            assert_eq!(self.mail_ids.len(), self.n_turns);
            // What another node has settled meanwhile counts no more.
            let n_most = self.n_failures_told;
            let n_least = n_most - self.n_settled_elsewhere;
            let is_exact = (n_least..=n_most).contains(&self.n_failures_counted);
            assert!(is_exact, "attempts are not counted once");
        }
    }
}
