//! A driver that plays everything around a dispatcher: log, state, members, workers, readers, leaders.
//!
//! It uses the real state machine, members, roster and worker sessions. At each batch that is handed
//! out and at each event that starts it checks what delivery promises, against what the state says and
//! what workers have told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tidings_state::{Standing, State};
use tidings_types::effect::{Effect, OutcomeRefused, Placed, Refused};
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
use crate::member::{self, Member};
use crate::message::{SessionId, ToLeader, ToMember};
use crate::roster::{self, Roster};
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
    /// On their way to the member.
    reports: VecDeque<Report>,
}

/// A process, with its two ways to and from the leader.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) member: Member,
    pub(super) incarnation: u64,
    pub(super) is_linked: bool,
    pub(super) is_paused: bool,
    pub(super) up: VecDeque<(SessionId, ToLeader)>,
    pub(super) down: VecDeque<(SessionId, ToMember)>,
    session: SessionId,
    wake_at_ms: u64,
    /// It was taken out of these, or has not joined yet.
    pub(super) joins: BTreeMap<GroupId, u32>,
}

/// A handler that has begun and not ended.
#[derive(Clone, Copy, Debug)]
struct Running {
    node: NodeId,
    /// Its member was taken out after its lease had run out.
    is_fenced: bool,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    node: NodeId,
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
    /// Answers take their time, so other words come between what was applied and its answer.
    pub(super) answers_are_slow: bool,
    /// Applied, and not answered yet.
    answers: VecDeque<Token>,
    pub(super) reads: VecDeque<(GroupId, TopicId, Offset)>,
    wake_at_ms: Option<u64>,
    pub(super) processes: BTreeMap<NodeId, Process>,
    pub(super) workers: BTreeMap<(NodeId, GroupId, WorkerId), Simulated>,
    pub(super) roster: Roster,
    roster_wake_ms: u64,
    /// What is said is heard at once.
    pub(super) is_instant: bool,
    running: BTreeMap<Seen, Vec<Running>>,
    /// The batch that reached a worker last.
    arrived: Option<BatchId>,
    n_workers: u32,
    n_leads: u64,
    draining: BTreeSet<GroupId>,
    /// Asked for, and not in the log.
    commands: VecDeque<Command>,
    pub(super) stories: Vec<Story>,
    pub(super) groups: Vec<GroupId>,
    pub(super) topics: Vec<TopicId>,
    /// Topic of what turns emit.
    mails: TopicId,
    /// How often handlers fail, of 100 times.
    pub(super) fail_percent: u64,
    /// Events fail whenever they are tried, and may be tried again at once.
    pub(super) fails_at_once: bool,
    /// Events of this key always fail, and wait for a minute.
    pub(super) poison: Option<u64>,
    /// Every event dies.
    pub(super) deadly_percent: u64,
    /// Every success of the first group emits.
    pub(super) always_emits: bool,
    /// Each event in the order in which they were handed out.
    pub(super) handed: Vec<Seen>,
    /// Each event in the order in which handlers began with them.
    pub(super) began: Vec<Seen>,
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
    pub(super) has_moved: bool,
    pub(super) n_delivered: usize,
    /// How often a group was sent back.
    pub(super) n_sought: usize,
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
            dispatcher: Dispatcher::new(Token::new(1 << 40)),
            is_leading: false,
            proposals: VecDeque::new(),
            late: Vec::new(),
            answers_are_slow: false,
            answers: VecDeque::new(),
            reads: VecDeque::new(),
            wake_at_ms: None,
            processes: BTreeMap::new(),
            workers: BTreeMap::new(),
            roster: Roster::new(1),
            roster_wake_ms: 0,
            is_instant: true,
            running: BTreeMap::new(),
            arrived: None,
            n_workers,
            n_leads: 0,
            draining: BTreeSet::new(),
            commands: VecDeque::new(),
            stories: Vec::new(),
            groups: Vec::new(),
            topics: Vec::new(),
            mails: TopicId::new(0),
            fail_percent: 20,
            fails_at_once: false,
            poison: None,
            deadly_percent: 0,
            always_emits: false,
            handed: Vec::new(),
            began: Vec::new(),
            last_batch: Vec::new(),
            mails_to: TopicId::new(0),
            payload_bytes: 60,
            is_strict: true,
            n_failures_told: 0,
            n_failures_counted: 0,
            n_settled_elsewhere: 0,
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
            n_sought: 0,
        };
        world.create_groups(names);
        world.start(NODE, 1, Member::alone(Incarnation::new(1)));
        for group in world.groups.clone() {
            world.join(group, NODE, 1);
            world.begin(NODE, group);
        }
        world
    }

    fn create_groups(&mut self, names: [TopicName; 3]) {
        for (name, topics) in [("a", &names[..2]), ("b", &names[..])] {
            let name = GroupName::new(name).unwrap();
            let start = GroupStart::Earliest;
            self.command(Command::CreateGroup { name, topics: topics.to_vec(), start });
        }
        let [users, orders, mails] = names.map(|name| self.state.topic_id(&name).unwrap());
        self.topics = vec![users, orders];
        self.mails = mails;
        self.mails_to = mails;
        self.groups = self.state.groups().map(|group| group.id).collect();
    }

    /// The same with several processes, whose words take their time and whose leases run.
    pub(super) fn with_nodes(seed: u64, n_workers: u32, n_nodes: u32) -> Self {
        let mut world = Self::new(seed, n_workers);
        world.is_instant = false;
        for node in (1..=n_nodes).map(NodeId::new) {
            world.start(node, 1, Member::new(Incarnation::new(1), 1));
            for group in world.groups.clone() {
                world.join(group, node, 1);
                world.begin(node, group);
            }
        }
        world.has_moved = false;
        world
    }

    fn start(&mut self, node: NodeId, incarnation: u64, member: Member) {
        self.workers.retain(|place, _| place.0 != node);
        let process = Process {
            member,
            incarnation,
            is_linked: false,
            is_paused: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            session: SessionId::default(),
            wake_at_ms: u64::MAX,
            joins: BTreeMap::new(),
        };
        self.processes.insert(node, process);
    }

    /// The process serves a group that it has joined.
    fn begin(&mut self, node: NodeId, group: GroupId) {
        let n_workers = self.n_workers as usize;
        self.step_member(node, member::Input::ServiceUp { group, n_workers });
        for worker in (0..self.n_workers).map(WorkerId::new) {
            self.workers.entry((node, group, worker)).or_default();
            if !self.workers[&(node, group, worker)].is_up {
                self.worker_up_at(node, group, worker);
            }
        }
    }

    /// The process knows how often it was taken out.
    pub(super) fn join(&mut self, group: GroupId, node: NodeId, incarnation: u64) {
        let snapshots = self.state.group_snapshots();
        let left = snapshots.into_iter().filter(|of| of.group == group).flat_map(|of| of.left);
        let incarnation = Incarnation::new(incarnation);
        let n_left = left.filter(|it| (it.0, it.1) == (node, incarnation)).map(|it| it.2).sum();
        self.command(Command::join(group, node, incarnation, n_left));
    }

    pub(super) fn leave(&mut self, group: GroupId, node: NodeId) {
        let incarnation = self.processes.get(&node).map_or(1, |process| process.incarnation);
        self.has_moved = true;
        let incarnation = Incarnation::new(incarnation);
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

    pub(super) fn worker_up_at(&mut self, node: NodeId, group: GroupId, worker: WorkerId) {
        self.workers.get_mut(&(node, group, worker)).unwrap().is_up = true;
        self.step_member(node, member::Input::WorkerUp { group, worker });
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
                Output::Tell { member, session, message } => self.tell(member, session, message),
                Output::Pinged { member, session, sent } => {
                    let is_sure = true;
                    self.step_roster(roster::Input::Pinged { member, session, sent, is_sure });
                }
                Output::Refused { member, why, .. } => panic!("{member} says: {why}"),
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

    // Between the dispatcher and the members.

    fn tell(&mut self, node: NodeId, session: SessionId, message: ToMember) {
        if let ToMember::Deliver { group, worker, batch, deliveries, .. } = &message {
            self.check_batch((node, *group, *worker), *batch, deliveries);
        }
        let Some(process) = self.processes.get_mut(&node) else { return };
        if process.is_linked {
            process.down.push_back((session, message));
        } else {
            self.fell_to_the_floor(node, &message);
        }
        if self.is_instant {
            self.carry_all();
        }
    }

    pub(super) fn step_roster(&mut self, input: roster::Input<'_>) {
        let mut out = Vec::new();
        self.roster.step(self.now(), input, &mut out);
        for output in out {
            match output {
                roster::Output::Pong { member, session, sent } => {
                    self.tell(member, session, ToMember::Pong { sent });
                }
                roster::Output::Propose(command) => {
                    let Command::Leave { node, .. } = &command else { panic!("{command:?}") };
                    let may_start = self.processes[node].member.may_start(self.now());
                    assert!(!may_start, "{node} is taken out and may still start events");
                    self.has_moved = true;
                    self.commands.push_back(command);
                }
                roster::Output::WakeAt(at) => {
                    self.roster_wake_ms = u64::try_from(at.as_millis()).unwrap();
                }
            }
        }
    }

    pub(super) fn step_member(&mut self, node: NodeId, input: member::Input) {
        let (now, mut out) = (self.now(), Vec::new());
        let process = self.processes.get_mut(&node).unwrap();
        process.member.step(now, input, &mut out);
        for output in out {
            let process = self.processes.get_mut(&node).unwrap();
            match output {
                member::Output::Send { session, message } => {
                    process.session = session;
                    if process.is_linked {
                        process.up.push_back((session, message));
                    }
                }
                member::Output::Deliver { group, worker, batch, deliveries } => {
                    let found = self.workers.get_mut(&(node, group, worker)).unwrap();
                    // To a worker whose end is not noticed yet: it falls to the floor, and comes
                    // back when its end is noticed.
                    if found.is_up {
                        found.session.deliver(batch, deliveries);
                        self.arrived = Some(batch);
                    }
                }
                member::Output::Recall { group, worker, batch } => {
                    let found = self.workers.get_mut(&(node, group, worker)).unwrap();
                    found.session.recall(batch);
                }
                member::Output::Removed { group, n_left } => {
                    process.joins.insert(group, n_left);
                }
                member::Output::WakeAt(at) => {
                    process.wake_at_ms = u64::try_from(at.as_millis()).unwrap();
                }
            }
        }
        if self.is_instant {
            self.carry_all();
        }
    }

    pub(super) fn carry_all(&mut self) {
        for node in self.processes.keys().copied().collect::<Vec<_>>() {
            while self.carry_up(node) | self.carry_down(node) {}
        }
    }

    /// The leader hears the member's next word.
    pub(super) fn carry_up(&mut self, node: NodeId) -> bool {
        let process = self.processes.get_mut(&node).unwrap();
        let Some((session, message)) = process.up.pop_front() else { return false };
        // What is on its way to a life or in a session that is over reaches nobody.
        let is_lost = |(other, told): &(SessionId, ToMember)| match (told, &message) {
            (
                ToMember::Deliver { group, worker, life, .. },
                ToLeader::WorkerDown { group: of, worker: down, life: over },
            ) => (group, worker, life) == (of, down, over),
            (ToMember::Deliver { .. }, ToLeader::Resume(_)) => *other < session,
            _ => false,
        };
        let lost: Vec<_> = process.down.iter().filter(|told| is_lost(told)).cloned().collect();
        lost.iter().for_each(|(_, told)| self.fell_to_the_floor(node, told));
        self.step(Input::Heard { member: node, session, message });
        true
    }

    /// The member hears the leader's next word.
    pub(super) fn carry_down(&mut self, node: NodeId) -> bool {
        let process = self.processes.get_mut(&node).unwrap();
        if process.is_paused {
            return false;
        }
        let Some((session, message)) = process.down.pop_front() else { return false };
        let batch = match &message {
            ToMember::Deliver { batch, .. } => Some(*batch),
            _ => None,
        };
        self.arrived = None;
        self.step_member(node, member::Input::FromLeader { session, message });
        if let Some(batch) = batch.filter(|&batch| self.arrived != Some(batch)) {
            self.out.retain(|_, out| (out.node, out.batch) != (node, batch));
        }
        true
    }

    /// A batch that reaches nobody is at nobody.
    fn fell_to_the_floor(&mut self, node: NodeId, message: &ToMember) {
        if let ToMember::Deliver { batch, .. } = message {
            self.out.retain(|_, out| out.node != node || out.batch != *batch);
        }
    }

    /// The link between the leader and a process breaks; each learns it.
    pub(super) fn break_link(&mut self, node: NodeId) {
        let process = self.processes.get_mut(&node).unwrap();
        if !std::mem::take(&mut process.is_linked) {
            return;
        }
        process.up.clear();
        let session = process.session;
        for (_, message) in std::mem::take(&mut process.down) {
            self.fell_to_the_floor(node, &message);
        }
        self.step_member(node, member::Input::LinkDown);
        if self.is_leading {
            self.step(Input::MemberGone { member: node, session });
        }
    }

    pub(super) fn link(&mut self, node: NodeId) {
        let process = self.processes.get_mut(&node).unwrap();
        if self.is_leading && !process.is_paused && !std::mem::replace(&mut process.is_linked, true)
        {
            self.step_member(node, member::Input::LinkUp);
        }
    }

    /// The process dies with all that it holds, and starts anew.
    pub(super) fn kill(&mut self, node: NodeId) {
        self.break_link(node);
        self.out.retain(|_, out| out.node != node);
        self.running.values_mut().for_each(|all| all.retain(|running| running.node != node));
        self.has_moved = true;
        let incarnation = self.processes[&node].incarnation + 1;
        self.start(node, incarnation, Member::new(Incarnation::new(incarnation), 1));
        self.processes.get_mut(&node).unwrap().joins =
            self.groups.iter().map(|&group| (group, 0)).collect();
        for group in self.groups.clone() {
            for worker in (0..self.n_workers).map(WorkerId::new) {
                self.workers.insert((node, group, worker), Simulated::default());
            }
        }
    }

    /// What is asked for in the open is done: members that were taken out join again.
    pub(super) fn run_commands(&mut self) {
        if !self.is_leading {
            self.commands.clear();
            return;
        }
        while let Some(command) = self.commands.pop_front() {
            self.command(command);
        }
        for node in self.processes.keys().copied().collect::<Vec<_>>() {
            let process = &self.processes[&node];
            if process.is_paused {
                continue;
            }
            let incarnation = process.incarnation;
            for (group, n_left) in process.joins.clone() {
                self.processes.get_mut(&node).unwrap().joins.remove(&group);
                let incarnation = Incarnation::new(incarnation);
                self.command(Command::join(group, node, incarnation, n_left));
                self.begin(node, group);
            }
        }
    }

    /// Time passes for all that do not sleep.
    pub(super) fn pass(&mut self, millis: u64) {
        self.now_ms += millis;
        self.wake();
        if self.is_leading && self.roster_wake_ms <= self.now_ms {
            self.step_roster(roster::Input::Wake);
        }
        for node in self.processes.keys().copied().collect::<Vec<_>>() {
            let process = &self.processes[&node];
            if !process.is_paused && process.wake_at_ms <= self.now_ms {
                self.processes.get_mut(&node).unwrap().wake_at_ms = u64::MAX;
                self.step_member(node, member::Input::Wake);
            }
        }
    }

    fn check_batch(
        &mut self,
        place: (NodeId, GroupId, WorkerId),
        batch: BatchId,
        deliveries: &[Delivery],
    ) {
        let (node, group, worker) = place;
        assert!(self.is_leading, "handed out without leading");
        assert!(!self.draining.contains(&group), "handed out while draining");
        let is_paused = self.state.groups().any(|found| found.id == group && found.is_paused);
        assert!(!is_paused, "handed out while paused");
        assert!((1..=DELIVERY_EVENTS_MAX).contains(&deliveries.len()));
        let sizes = deliveries.iter().map(|delivery| delivery.event.encoded_bytes());
        assert!(deliveries.len() == 1 || sizes.sum::<usize>() <= DELIVERY_BYTES_MAX);
        for delivery in deliveries {
            if !self.is_strict {
                let out = Out { node, worker, batch, key_hash: delivery.event.key_hash };
                self.out.insert((group, delivery.topic, delivery.offset), out);
                continue;
            }
            self.check_delivery(place, batch, delivery);
        }
        self.n_delivered += deliveries.len();
        self.handed.extend(deliveries.iter().map(|d| (group, d.topic, d.offset)));
        self.last_batch = deliveries.iter().map(|delivery| delivery.offset.get()).collect();
    }

    fn check_delivery(
        &mut self,
        (node, group, worker): (NodeId, GroupId, WorkerId),
        batch: BatchId,
        d: &Delivery,
    ) {
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
                let places = ((out.node, out.worker), (node, worker));
                assert_eq!(places.0, places.1, "two workers work one lane");
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
        self.out.insert(seen, Out { node, worker, batch, key_hash });
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
        self.step_roster(roster::Input::Effects(&effects));
        self.answers.extend(taken.iter().map(|proposal| proposal.token));
        if !self.answers_are_slow || (!self.fails_at_once && self.chance(5)) {
            self.answer();
        }
    }

    /// What is applied is answered.
    pub(super) fn answer(&mut self) {
        while let Some(token) = self.answers.pop_front() {
            self.step(Input::Taken { token });
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
            Effect::LanesMoved { group, members, .. } => self.fence(*group, members),
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
                // A join that comes late is refused.
                let is_late = matches!(answer, Err(Refused::LeftSince { .. }));
                assert!(answer.is_ok() || is_late || self.mails_to != self.mails, "{answer:?}");
            }
            _ => {}
        }
    }

    /// What is at those who are no members counts no more.
    fn fence(&mut self, group: GroupId, members: &[(NodeId, Incarnation)]) {
        let is_member = |node: NodeId| members.iter().any(|&(member, _)| member == node);
        self.out.retain(|seen, out| seen.0 != group || is_member(out.node));
        for (seen, running) in &mut self.running {
            let of_group = running.iter_mut().filter(|_| seen.0 == group);
            of_group.for_each(|it| it.is_fenced |= !is_member(it.node));
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
        self.step(Input::ReadDone { group, topic, from, result });
    }

    /// Ends the leadership. What is proposed is applied before the next one, or behind its back, or
    /// never; some of it is told to be lost.
    pub(super) fn follow(&mut self) {
        self.is_leading = false;
        self.step(Input::Follow);
        self.step_roster(roster::Input::Follow);
        self.commands.clear();
        if self.is_instant || self.chance(70) {
            for node in self.processes.keys().copied().collect::<Vec<_>>() {
                self.break_link(node);
            }
        }
        if self.chance(50) {
            self.n_leads += 1;
            self.dispatcher = Dispatcher::new(Token::new(self.n_leads << 20));
        }
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
        self.apply_late();
        self.is_leading = true;
        let snapshots = self.state.group_snapshots();
        self.step_roster(roster::Input::Lead(&snapshots));
        self.step(Input::Lead(snapshots));
        if self.is_instant {
            self.link(NODE);
        }
    }

    // The workers' side.

    /// One small step of one worker.
    pub(super) fn work_at(&mut self, node: NodeId, group: GroupId, worker: WorkerId) {
        let now = self.now();
        let place = (node, group, worker);
        let process = &self.processes[&node];
        let (is_paused, may_start) = (process.is_paused, process.member.may_start(now));
        let Some(found) = self.workers.get_mut(&place) else { return };
        if !found.is_up || is_paused {
            return;
        }
        if let Some(running) = found.session.running() {
            let delivery = running.delivery.clone();
            if self.fail_percent > 0 && self.chance(2) {
                self.crash_at(node, group, worker);
                return;
            }
            let verdict = self.verdict(group, &delivery);
            self.ended(node, (group, delivery.topic, delivery.offset));
            let found = self.workers.get_mut(&place).unwrap();
            found.session.finish(verdict, now);
        } else if may_start && let Some(delivery) = found.session.start_next(now) {
            self.started(node, group, &delivery);
        }
        let found = self.workers.get_mut(&place).unwrap();
        if let Some(report) = found.session.take_report(now) {
            found.reports.push_back(report);
        }
    }

    /// No event may run at two members at once, unless one was taken out with its lease run out.
    fn started(&mut self, node: NodeId, group: GroupId, delivery: &Delivery) {
        let seen = (group, delivery.topic, delivery.offset);
        let running = self.running.entry(seen).or_default();
        assert!(running.iter().all(|it| it.is_fenced), "{seen:?} runs at {running:?} and {node}");
        running.push(Running { node, is_fenced: false });
        self.began.push(seen);
    }

    fn ended(&mut self, node: NodeId, seen: Seen) {
        let running = self.running.entry(seen).or_default();
        let place = running.iter().position(|it| it.node == node).unwrap();
        running.remove(place);
    }

    /// The worker starts and ends what it holds, without telling.
    pub(super) fn work_only(&mut self, group: GroupId, worker: WorkerId) {
        while !self.workers[&(NODE, group, worker)].session.is_idle() {
            self.work_at(NODE, group, worker);
        }
    }

    pub(super) fn work_and_hear(&mut self, group: GroupId, worker: WorkerId) {
        self.work_only(group, worker);
        self.hear_at(NODE, group, worker);
    }

    fn verdict(&mut self, group: GroupId, delivery: &Delivery) -> Verdict {
        let message = "played".to_owned();
        if self.deadly_percent > 0 && self.chance(self.deadly_percent) {
            return Verdict::Dead { reason: DeadReason::Fatal, message };
        }
        if self.poison == Some(delivery.event.key_hash) {
            let after = Duration::from_secs(60);
            return Verdict::Again { after, class: FailureClass::Error, message };
        }
        if self.fails_at_once {
            let after = Duration::ZERO;
            return Verdict::Again { after, class: FailureClass::Error, message };
        }
        if self.chance(self.fail_percent) {
            if 4 < delivery.attempt || self.chance(20) {
                return Verdict::Dead { reason: DeadReason::Fatal, message };
            }
            // Now and then it comes again at once.
            let after = if self.chance(20) { 0 } else { self.rng.below(300) };
            let after = Duration::from_millis(after);
            return Verdict::Again { after, class: FailureClass::Error, message };
        }
        if group == self.groups[0] && (self.always_emits || self.chance(20)) {
            return Verdict::DoneEmitting(vec![self.mail(group, delivery)]);
        }
        if self.chance(10) { Verdict::unasked() } else { Verdict::Done }
    }

    fn mail(&self, group: GroupId, delivery: &Delivery) -> Bytes {
        let seen = (group, delivery.topic, delivery.offset);
        let n_redriven = self.n_redriven.get(&seen).copied().unwrap_or_default();
        let (topic, offset) = (delivery.topic.get(), delivery.offset);
        // Who is sent back handles it anew, and may publish again.
        let id = format!("m-{topic}-{offset}-{n_redriven}-{}", self.n_sought);
        let mut builder = RecordsBuilder::with_capacity(0);
        let key = delivery.event.key();
        let kind = "mail.v1";
        builder.push(&NewEvent { id: &id, kind, key, time_ms: 0, headers: b"", payload: b"" });
        builder.finish(self.mails_to, ProducerId::NONE, Sequence::new(0))
    }

    /// The worker dies in the middle of an event; it has told all before it is noticed.
    pub(super) fn crash_at(&mut self, node: NodeId, group: GroupId, worker: WorkerId) {
        let now = self.now();
        let place = (node, group, worker);
        let found = self.workers.get_mut(&place).unwrap();
        let running = found.session.running().map(|running| running.delivery.clone());
        let blame = |_: &Delivery| Verdict::Again {
            after: Duration::from_millis(100),
            class: FailureClass::Panic,
            message: "played".to_owned(),
        };
        let reports = found.session.crash(blame, now);
        found.is_up = false;
        found.reports.extend(reports);
        if let Some(delivery) = running {
            self.ended(node, (group, delivery.topic, delivery.offset));
        }
        while !self.workers[&place].reports.is_empty() {
            self.hear_at(node, group, worker);
        }
        self.worker_gone(node, group, worker);
    }

    /// The worker is gone without a word.
    pub(super) fn vanish(&mut self, node: NodeId, group: GroupId, worker: WorkerId) {
        let found = self.workers.get_mut(&(node, group, worker)).unwrap();
        let running = found.session.running().map(|running| running.delivery.clone());
        *found = Simulated::default();
        if let Some(delivery) = running {
            self.ended(node, (group, delivery.topic, delivery.offset));
        }
        self.worker_gone(node, group, worker);
    }

    fn worker_gone(&mut self, node: NodeId, group: GroupId, worker: WorkerId) {
        // What is on its way to it reaches nobody.
        self.out.retain(|seen, out| seen.0 != group || (out.node, out.worker) != (node, worker));
        self.step_member(node, member::Input::WorkerDown { group, worker });
    }

    pub(super) fn worker_up_if_down(&mut self, node: NodeId, group: GroupId, worker: WorkerId) {
        let is_up = self.workers.get(&(node, group, worker)).is_none_or(|found| found.is_up);
        let process = &self.processes[&node];
        if !is_up && !process.is_paused && !process.joins.contains_key(&group) {
            self.worker_up_at(node, group, worker);
        }
    }

    pub(super) fn vanish_if_up(&mut self, node: NodeId, group: GroupId, worker: WorkerId) {
        if self.workers.get(&(node, group, worker)).is_some_and(|found| found.is_up) {
            self.vanish(node, group, worker);
        }
    }

    /// The member hears the oldest report of a worker.
    pub(super) fn hear_at(&mut self, node: NodeId, group: GroupId, worker: WorkerId) {
        if self.processes[&node].is_paused {
            return;
        }
        let Some(found) = self.workers.get_mut(&(node, group, worker)) else { return };
        let Some(report) = found.reports.pop_front() else { return };
        for outcome in &report.outcomes {
            let seen = (group, outcome.topic, outcome.offset);
            let is_its = |out: &Out| (out.node, out.batch) == (node, report.batch);
            let Some(_) = self.out.get(&seen).filter(|out| is_its(out)) else {
                assert!(self.has_moved, "{seen:?} was not out");
                continue;
            };
            self.out.remove(&seen);
            self.n_failures_told += usize::from(matches!(outcome.verdict, Verdict::Again { .. }));
            let is_turn = matches!(outcome.verdict, Verdict::DoneEmitting(_));
            if is_turn || matches!(outcome.verdict, Verdict::Done | Verdict::Skipped { .. }) {
                self.n_turns += usize::from(is_turn);
                self.succeeded.insert(seen);
                *self.n_ends.entry(seen).or_default() += 1;
            }
        }
        self.step_member(node, member::Input::Report { group, worker, report });
    }

    pub(super) fn drain(&mut self, group: GroupId) {
        self.draining.insert(group);
        self.step_member(NODE, member::Input::ServiceDraining { group });
    }

    pub(super) fn serve(&mut self, group: GroupId) {
        self.draining.remove(&group);
        self.step_member(NODE, member::Input::ServiceUp { group, n_workers: 1 });
    }

    // The end.

    /// Lets everything heal and finish, and checks that all is settled, each event once.
    pub(super) fn finish(&mut self) {
        self.fail_percent = 0;
        self.fails_at_once = false;
        self.poison = None;
        self.deadly_percent = 0;
        if !self.is_leading {
            self.lead();
        }
        self.apply_late();
        for process in self.processes.values_mut() {
            process.is_paused = false;
        }
        if !self.is_instant {
            self.heal();
        }
        for group in self.groups.clone() {
            self.command(Command::SetPaused { group, is_paused: false });
            self.serve(group);
        }
        let places: Vec<_> = self.workers.keys().copied().collect();
        for (node, group, worker) in places {
            self.worker_up_if_down(node, group, worker);
        }
        self.run(|_| false);
        self.check_end();
    }

    /// Links stand, leases run, whoever was taken out is in again.
    pub(super) fn heal(&mut self) {
        for _ in 0..300 {
            for node in self.processes.keys().copied().collect::<Vec<_>>() {
                self.link(node);
            }
            self.carry_all();
            self.run_commands();
            self.carry_all();
            self.pass(10);
        }
    }

    /// Works on, without faults, until nothing is left to do or `is_enough`.
    pub(super) fn run(&mut self, is_enough: impl Fn(&Self) -> bool) {
        for _ in 0..10_000_000_u64 {
            if is_enough(self) {
                return;
            }
            self.apply_proposals(1_000);
            self.run_commands();
            self.answer();
            if self.work_on() && self.proposals.is_empty() {
                let Some(at_ms) = self.wake_at_ms else { return };
                if self.is_instant {
                    self.now_ms = self.now_ms.max(at_ms);
                    self.wake();
                } else {
                    self.pass(10);
                }
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
        self.carry_all();
        let places: Vec<_> = self.workers.keys().copied().collect();
        for (node, group, worker) in places {
            self.work_at(node, group, worker);
            self.hear_at(node, group, worker);
            let found = &self.workers[&(node, group, worker)];
            is_quiet &= found.session.is_idle() && found.reports.is_empty();
        }
        let all = self.processes.values();
        is_quiet &= all.clone().all(|process| process.up.is_empty() && process.down.is_empty());
        is_quiet && self.reads.is_empty()
    }

    /// At which member an event is.
    pub(super) fn holder(&self, group: GroupId, topic: TopicId, at: Offset) -> Option<NodeId> {
        self.out.get(&(group, topic, at)).map(|out| out.node)
    }

    pub(super) fn is_running(
        &self,
        node: NodeId,
        group: GroupId,
        topic: TopicId,
        at: Offset,
    ) -> bool {
        let running = self.running.get(&(group, topic, at));
        running.is_some_and(|all| all.iter().any(|it| it.node == node))
    }

    pub(super) const fn n_failures_told(&self) -> usize {
        self.n_failures_told
    }

    fn give_up(&self) {
        panic!("it never ends: {:?}", self.groups.iter().map(|&g| self.dispatcher.observe(g)));
    }

    fn check_end(&self) {
        for (node, process) in &self.processes {
            assert!(process.member.is_idle(), "{node} keeps outcomes that are committed");
        }
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
            let n_least = n_most.saturating_sub(self.n_settled_elsewhere);
            let is_exact = (n_least..=n_most).contains(&self.n_failures_counted);
            assert!(is_exact, "attempts are not counted once");
        }
    }
}
