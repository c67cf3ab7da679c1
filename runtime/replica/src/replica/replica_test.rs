//! Replicas on memory disks in one thread, with a network that loses, doubles and reorders.
//!
//! A seed decides everything; a failure names its seed, and `run` with it repeats it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{EntryType, Message, MessageType};
use tidings_log::{Checkpoint, Disk, Identity, Job, MemoryDisk, TailRead, Writer, checkpoint};
use tidings_types::effect::{Answer, Effect, Placed};
use tidings_types::event::NewEvent;
use tidings_types::id::{ClusterId, Incarnation, NodeId, ProducerId, Sequence, Token, TopicId};
use tidings_types::layout::command::Command;
use tidings_types::layout::entry::SectionKind;
use tidings_types::layout::records::RecordsBuilder;
use tidings_types::name::TopicName;
use tidings_types::offset::{LogIndex, Offset};
use tidings_types::seam::{Rng, SplitMix};

use crate::membership::{Change, Step};
use crate::open::Stored;
use crate::options::Options;
use crate::port::{Damage, Input, Now, Output, Proposal, ProposeRefused};
use crate::replica::Replica;
use crate::snapshot_wire;
use crate::status::Role;
use crate::wire;

mod faults_test;

mod snapshot_test;

const TOPIC: TopicId = TopicId::new(1);
const SEGMENT_BYTES: u64 = 256 * 1024;
const MS: u64 = 1_000;

/// What a running process has; lost in a crash.
struct Running {
    replica: Replica,
    writer: Writer,
    jobs: Vec<Job>,
    is_writing: bool,
}

struct Node {
    id: u32,
    voters: Vec<u32>,
    disk: MemoryDisk,
    running: Option<Running>,
    /// Counts the starts, so that what was meant for an earlier one is told apart.
    start: u32,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Tick(usize, u32),
    Wake(usize, u32),
    Arrives { to: usize, from: u32, bytes: Bytes },
    Written(usize, u32),
    CheckpointWritten(usize, u32, LogIndex),
    CheckpointFailed(usize, u32, LogIndex),
    CheckpointRead(usize, u32, LogIndex, u64, usize),
    Installed(usize, u32, LogIndex, u64),
    InstallFailed(usize, u32, LogIndex),
    Fetched(usize, u32, LogIndex, usize),
    Publish(usize),
    Nonsense(usize),
    Crash(usize),
    Restart(usize),
}

/// Where an install is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturb {
    /// A crash before anything is written.
    BeforeWrite,
    /// It cannot be written.
    WriteFails,
    /// A crash when the file is there and nobody knows.
    BeforeInstalled,
    /// A crash before the Reset is written.
    BeforeReset,
    /// A crash behind the Reset, before the hard state.
    BehindReset,
    /// A crash when all is written and nobody knows.
    BeforePersisted,
    /// One byte of the part that comes next is another.
    BadPart,
}

/// A publisher: one batch after the other, each sent again until it has its answer.
struct Client {
    producer: ProducerId,
    sequence: u64,
    answered: BTreeMap<u64, Placed>,
}

struct World {
    now_us: u64,
    n_events: u64,
    queue: BinaryHeap<Reverse<(u64, u64, Happens)>>,
    rng: SplitMix,
    seed: u64,
    is_calm: bool,
    /// Whether damage may be found; else it fails the test.
    may_halt: bool,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    topic_exists: bool,
    /// What each node said of its proposals.
    outputs: Vec<(usize, String)>,
    answers: BTreeMap<u64, bool>,
    checkpoints: u64,
    /// So many more fail to be written.
    checkpoints_to_fail: u64,
    n_fetched: u64,
    /// The newest checkpoint that any node was told to make.
    newest_checkpoint: LogIndex,
    /// Whether publishers purge, too.
    purges: bool,
    /// Messages from the one to the other are lost.
    cuts: BTreeSet<(u32, u32)>,
    /// Processes that are stopped; what comes for them waits.
    paused: BTreeSet<usize>,
    /// Parts of snapshots that were sent: by whom, to whom.
    parts: Vec<(u32, NodeId, Bytes)>,
    n_sure: u64,
    /// What damage was found, by whom.
    damages: Vec<(usize, Damage)>,
    /// Snapshots that a replica went on from.
    n_restored: u64,
    /// Where an install is to be disturbed, and whose.
    disturb: Option<(usize, Disturb)>,
    n_parts: u64,
    /// Who led in which term.
    leaders: BTreeMap<u64, usize>,
    /// A hash of everything that was sent.
    trace: u64,
}

impl World {
    fn new(seed: u64, n_nodes: u32, voters: &[u32]) -> Self {
        let node = |id| Node {
            id,
            voters: voters.to_vec(),
            disk: MemoryDisk::new(),
            running: None,
            start: 0,
        };
        let client = |id: u8| Client {
            producer: ProducerId::new([id; 16]),
            sequence: 0,
            answered: BTreeMap::new(),
        };
        let mut world = Self {
            now_us: 0,
            n_events: 0,
            queue: BinaryHeap::new(),
            rng: SplitMix::new(seed),
            seed,
            is_calm: true,
            may_halt: false,
            nodes: (1..=n_nodes).map(node).collect(),
            clients: (1..=3).map(client).collect(),
            topic_exists: false,
            outputs: Vec::new(),
            answers: BTreeMap::new(),
            checkpoints: 0,
            checkpoints_to_fail: 0,
            n_fetched: 0,
            newest_checkpoint: LogIndex::ZERO,
            purges: false,
            cuts: BTreeSet::new(),
            paused: BTreeSet::new(),
            parts: Vec::new(),
            n_sure: 0,
            damages: Vec::new(),
            n_restored: 0,
            disturb: None,
            n_parts: 0,
            leaders: BTreeMap::new(),
            trace: 0,
        };
        for idx in 0..world.nodes.len() {
            world.start(idx);
        }
        world
    }

    fn now(&self) -> Now {
        // Each node's wall clock is wrong in its own way elsewhere; here time itself matters.
        Now {
            mono: Duration::from_micros(self.now_us),
            wall_ms: 1_700_000_000_000 + self.now_us / MS,
        }
    }

    fn after(&mut self, delay_us: u64, happens: Happens) {
        self.n_events += 1;
        self.queue.push(Reverse((self.now_us + delay_us, self.n_events, happens)));
    }

    fn below(&mut self, end: u64) -> u64 {
        self.rng.below(end)
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.rng.below(100) < chance
    }

    fn start(&mut self, idx: usize) {
        let now = self.now();
        let seed = self.seed;
        let node = &mut self.nodes[idx];
        if node.running.is_some() {
            return;
        }
        node.start += 1;
        let fresh = Identity {
            cluster: ClusterId::new([7; 16]),
            node: NodeId::new(node.id),
            incarnation: Incarnation::new(0),
        };
        let disk: Arc<dyn Disk> = Arc::new(node.disk.clone());
        let opened = tidings_log::open(disk, tidings_log::Options::small(SEGMENT_BYTES), fresh);
        let opened = opened.unwrap_or_else(|error| panic!("seed {seed}: n{}: {error}", node.id));
        let stored = Stored {
            log: opened.log,
            checkpoint: opened.checkpoint,
            hard_state: opened.hard_state,
            purged: opened.purged,
            replay: opened.replay,
        };
        let voters = node.voters.iter().copied().map(NodeId::new).collect();
        let options = Options::new(NodeId::new(node.id), voters, seed ^ u64::from(node.start));
        let mut out = Vec::new();
        let replica = Replica::open(options, stored, now, &mut out);
        let replica = replica.unwrap_or_else(|error| panic!("seed {seed}: n{}: {error}", node.id));
        node.running =
            Some(Running { replica, writer: opened.writer, jobs: Vec::new(), is_writing: false });
        let start = node.start;
        let phase = self.below(50 * MS);
        self.after(phase, Happens::Tick(idx, start));
        self.take(idx, out);
    }

    /// The power goes. Jobs may have reached the disk without anybody having heard of it.
    fn crash(&mut self, idx: usize) {
        let reaches_disk = self.percent(50);
        let node = &mut self.nodes[idx];
        let Some(mut running) = node.running.take() else { return };
        if reaches_disk && !running.jobs.is_empty() {
            running.writer.write(running.jobs).unwrap();
        }
        drop(running.writer);
        node.disk.crash();
    }

    /// Power goes after the first `n_jobs` of those that wait were written.
    fn crash_behind(&mut self, idx: usize, n_jobs: usize) {
        let node = &mut self.nodes[idx];
        let Some(mut running) = node.running.take() else { return };
        let written: Vec<Job> = running.jobs.drain(..).take(n_jobs).collect();
        if !written.is_empty() {
            running.writer.write(written).unwrap();
        }
        drop(running);
        node.disk.crash();
    }

    /// Whether this is where the install is to be disturbed. Once.
    fn is_disturbed(&mut self, idx: usize, disturb: Disturb) -> bool {
        self.disturb.take_if(|it| *it == (idx, disturb)).is_some()
    }

    fn install(&mut self, idx: usize, written: &Checkpoint) {
        let (start, index) = (self.nodes[idx].start, written.index);
        if self.is_disturbed(idx, Disturb::BeforeWrite) {
            return self.fall(idx, 0);
        }
        if self.is_disturbed(idx, Disturb::WriteFails) {
            return self.after(5 * MS, Happens::InstallFailed(idx, start, index));
        }
        let digest = checkpoint::write_installed(&self.nodes[idx].disk, written).unwrap();
        if self.is_disturbed(idx, Disturb::BeforeInstalled) {
            return self.fall(idx, 0);
        }
        let delay = self.below(20 * MS);
        self.after(delay, Happens::Installed(idx, start, index, digest));
    }

    fn restored(&mut self, idx: usize) {
        self.n_restored += 1;
        if self.is_disturbed(idx, Disturb::BeforeReset) {
            self.fall(idx, 0);
        } else if self.is_disturbed(idx, Disturb::BehindReset) {
            // What waited before comes before it; the Reset is the last but one.
            let n_jobs = self.nodes[idx].running.as_ref().unwrap().jobs.len();
            self.fall(idx, n_jobs - 1);
        } else if self.is_disturbed(idx, Disturb::BeforePersisted) {
            self.fall(idx, usize::MAX);
        }
    }

    fn fall(&mut self, idx: usize, n_jobs: usize) {
        self.crash_behind(idx, n_jobs);
        self.after(300 * MS, Happens::Restart(idx));
    }

    fn step(&mut self, idx: usize, input: Input) {
        let now = self.now();
        let mut out = Vec::new();
        let Some(running) = &mut self.nodes[idx].running else { return };
        running.replica.step(now, input, &mut out);
        self.take(idx, out);
    }

    fn take(&mut self, idx: usize, out: Vec<Output>) {
        let (id, start) = (self.nodes[idx].id, self.nodes[idx].start);
        for output in out {
            match output {
                Output::Write(job) => {
                    let Some(running) = self.nodes[idx].running.as_mut() else { return };
                    running.jobs.push(job);
                    if !std::mem::replace(&mut running.is_writing, true) {
                        let delay = MS + self.below(5 * MS);
                        self.after(delay, Happens::Written(idx, start));
                    }
                }
                Output::Send { to, bytes } => self.send(id, to, bytes),
                Output::Fetch { first, max_bytes } => {
                    self.n_fetched += 1;
                    let delay = self.below(5 * MS);
                    self.after(delay, Happens::Fetched(idx, start, first, max_bytes));
                }
                Output::Applied { effects, .. } => self.applied(&effects),
                Output::Answered { token, answer } => {
                    self.outputs.push((idx, format!("answered {answer:?}")));
                    self.answers.insert(token.get(), answer.is_ok());
                    self.topic_exists |= matches!(answer, Ok(Answer::Topic { .. }));
                }
                Output::Checkpoint { index, .. } if self.checkpoints_to_fail > 0 => {
                    self.checkpoints_to_fail -= 1;
                    self.after(5 * MS, Happens::CheckpointFailed(idx, start, index));
                }
                Output::Checkpoint { index, term, membership, state, local, keep } => {
                    let state = state.encode();
                    let written = Checkpoint { index, term, membership, state, local };
                    let disk = &self.nodes[idx].disk;
                    checkpoint::write_keeping(disk, &written, keep).unwrap();
                    self.newest_checkpoint = self.newest_checkpoint.max(index);
                    self.checkpoints += 1;
                    let delay = self.below(20 * MS);
                    self.after(delay, Happens::CheckpointWritten(idx, start, index));
                }
                Output::ReadCheckpoint { index, at, max_bytes } => {
                    let delay = self.below(2 * MS);
                    let read = Happens::CheckpointRead(idx, start, index, at, max_bytes);
                    self.after(delay, read);
                }
                Output::Install { checkpoint } => self.install(idx, &checkpoint),
                Output::Restored { .. } => self.restored(idx),
                Output::RoleChanged { is_leader, .. } => {
                    self.outputs.push((idx, format!("leads {is_leader}")));
                }
                Output::Taken { token } | Output::Unknown { token } => {
                    self.answers.insert(token.get(), true);
                }
                Output::Refused { token, .. } => drop(self.answers.insert(token.get(), false)),
                Output::Damaged(damage) if self.may_halt => self.damages.push((idx, damage)),
                Output::Damaged(damage) => panic!("seed {}: n{id}: {damage}", self.seed),
            }
        }
        self.look_at(idx);
    }

    /// Who is sure to lead, of those whose processes run.
    fn sure(&self) -> impl Iterator<Item = u32> {
        let now = self.now();
        let nodes = self.nodes.iter().enumerate().filter(|(idx, _)| !self.paused.contains(idx));
        let running = nodes.filter_map(|(_, node)| Some((node.id, node.running.as_ref()?)));
        let sure = running.filter(move |(_, running)| running.replica.leads_surely(now));
        sure.map(|(id, _)| id)
    }

    fn look_at(&mut self, idx: usize) {
        let start = self.nodes[idx].start;
        let Some(running) = &self.nodes[idx].running else { return };
        let status = running.replica.status();
        if status.role == Role::Leader {
            let led = *self.leaders.entry(status.term.get()).or_insert(idx);
            assert_eq!(led, idx, "seed {}: two leaders in term {}", self.seed, status.term);
        }
        let sure: Vec<u32> = self.sure().collect();
        self.n_sure += sure.len() as u64;
        assert!(sure.len() < 2, "seed {}: {sure:?} are both sure that they lead", self.seed);
        if let Some(at) = running.replica.wake_at() {
            let delay = u64::try_from(at.as_micros()).unwrap().saturating_sub(self.now_us);
            self.after(delay, Happens::Wake(idx, start));
        }
    }

    fn send(&mut self, from: u32, to: NodeId, bytes: Bytes) {
        let to = to.get() as usize - 1;
        if to >= self.nodes.len() {
            return;
        }
        let mut bytes = bytes;
        if snapshot_wire::is_one(&bytes) {
            self.n_parts += 1;
            self.parts.push((from, NodeId::new(to as u32 + 1), bytes.clone()));
            if bytes.len() > 100 && self.is_disturbed(to, Disturb::BadPart) {
                let mut bad = bytes.to_vec();
                bad[90] ^= 1;
                bytes = bad.into();
            }
        }
        for byte in &bytes {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let (n_copies, is_slow) = if self.is_calm {
            (1, false)
        } else {
            let n_copies = if self.percent(5) { 0 } else { 1 + u64::from(self.percent(5)) };
            (n_copies, self.percent(5))
        };
        for _ in 0..n_copies {
            let slow = if is_slow { self.below(300 * MS) } else { 0 };
            let delay = 200 + self.below(3 * MS) + slow;
            self.after(delay, Happens::Arrives { to, from, bytes: bytes.clone() });
        }
    }

    fn applied(&mut self, effects: &[Effect]) {
        for effect in effects {
            let Effect::Published(published) = effect else { continue };
            let client = self.clients.iter_mut().find(|it| it.producer == published.producer);
            let (client, sequence) = (client.unwrap(), published.sequence.get());
            let Ok(placed) = published.result else {
                panic!("seed {}: {:?}", self.seed, published.result);
            };
            // Replicas that apply later say it again; it must always be the same.
            let told = *client.answered.entry(sequence).or_insert(placed);
            assert_eq!(told, placed, "seed {}: a batch has two places", self.seed);
            client.sequence = client.sequence.max(sequence + 1);
        }
    }

    fn publish(&mut self, idx: usize) {
        let leads = |&idx: &usize| self.leads(idx) && !self.paused.contains(&idx);
        let leaders: Vec<usize> = (0..self.nodes.len()).filter(leads).collect();
        if let Some(&leader) = leaders.get(self.rng.below(leaders.len().max(1) as u64) as usize) {
            self.n_events += 1;
            let token = Token::new(self.n_events);
            let mut proposals = vec![if self.topic_exists {
                let client = &self.clients[idx];
                batch(token, client.producer, client.sequence)
            } else {
                create_topic(token)
            }];
            if self.percent(5) {
                proposals.push(command(token, Command::Checkpoint));
            }
            if self.purges && self.percent(5) {
                let index = self.newest_checkpoint;
                proposals.push(command(token, Command::Purge { index }));
            }
            if self.percent(20) {
                let kind = SectionKind::Acks;
                proposals.push(Proposal { token, kind, body: Bytes::new(), may_wait: true });
            }
            self.step(leader, Input::Propose(proposals));
        }
        let delay = 5 * MS + self.below(30 * MS);
        self.after(delay, Happens::Publish(idx));
    }

    fn leads(&self, idx: usize) -> bool {
        let running = self.nodes[idx].running.as_ref();
        running.is_some_and(|running| running.replica.status().role == Role::Leader)
    }

    /// The leader of the newest term that has one.
    fn leader(&self) -> Option<usize> {
        let leaders = (0..self.nodes.len()).filter(|&idx| self.leads(idx));
        leaders.max_by_key(|&idx| self.replica(idx).status().term)
    }

    fn replica(&self, idx: usize) -> &Replica {
        &self.nodes[idx].running.as_ref().unwrap().replica
    }

    /// Whether it is still the process that this was meant for.
    fn is_current(&self, idx: usize, start: u32) -> bool {
        self.nodes[idx].start == start && self.nodes[idx].running.is_some()
    }

    fn run_until(&mut self, end_us: u64) {
        while let Some(Reverse((at, ..))) = self.queue.peek() {
            if end_us < *at {
                break;
            }
            let Some(Reverse((at, _, happens))) = self.queue.pop() else { break };
            self.now_us = at;
            self.happens(happens);
        }
        self.now_us = end_us;
    }

    fn run_for(&mut self, span_us: u64) {
        self.run_until(self.now_us + span_us);
    }

    fn is_held(&self, happens: &Happens) -> bool {
        let idx = match *happens {
            Happens::Tick(idx, _)
            | Happens::Wake(idx, _)
            | Happens::Arrives { to: idx, .. }
            | Happens::Written(idx, _)
            | Happens::CheckpointWritten(idx, ..)
            | Happens::CheckpointFailed(idx, ..)
            | Happens::CheckpointRead(idx, ..)
            | Happens::Installed(idx, ..)
            | Happens::InstallFailed(idx, ..)
            | Happens::Fetched(idx, ..) => idx,
            _ => return false,
        };
        self.paused.contains(&idx)
    }

    fn happens(&mut self, happens: Happens) {
        if self.is_held(&happens) {
            return self.after(5 * MS, happens);
        }
        match happens {
            Happens::Tick(idx, start) if self.is_current(idx, start) => {
                self.step(idx, Input::Tick);
                self.after(50 * MS, Happens::Tick(idx, start));
            }
            Happens::Wake(idx, start) if self.is_current(idx, start) => {
                self.step(idx, Input::Wake);
            }
            Happens::Arrives { to, from, .. } if self.cuts.contains(&(from, to as u32 + 1)) => {}
            Happens::Arrives { to, from, bytes } => {
                self.step(to, Input::Message { from: NodeId::new(from), bytes });
            }
            Happens::Written(idx, start) if self.is_current(idx, start) => {
                let running = self.nodes[idx].running.as_mut().unwrap();
                running.is_writing = false;
                let jobs = std::mem::take(&mut running.jobs);
                let done = running.writer.write(jobs).unwrap();
                running.writer.prepare().unwrap();
                self.step(idx, Input::Persisted(done));
            }
            Happens::CheckpointWritten(idx, start, index) if self.is_current(idx, start) => {
                self.step(idx, Input::CheckpointWritten { index });
            }
            Happens::CheckpointFailed(idx, start, index) if self.is_current(idx, start) => {
                self.step(idx, Input::CheckpointFailed { index });
            }
            Happens::CheckpointRead(idx, start, index, at, max) if self.is_current(idx, start) => {
                let part = checkpoint::read_part(&self.nodes[idx].disk, index, at, max).unwrap();
                let total = part.as_ref().map_or(0, |&(_, total)| total);
                let bytes = part.map(|(bytes, _)| bytes.into());
                self.step(idx, Input::CheckpointRead { index, at, bytes, total });
            }
            Happens::Installed(idx, start, index, digest) if self.is_current(idx, start) => {
                self.step(idx, Input::Installed { index, digest });
            }
            Happens::InstallFailed(idx, start, index) if self.is_current(idx, start) => {
                self.step(idx, Input::InstallFailed { index });
            }
            Happens::Fetched(idx, start, first, max_bytes) if self.is_current(idx, start) => {
                let reader = self.replica(idx).reader();
                let entries = reader.read_entries(first, max_bytes.min(20_000)).unwrap();
                self.step(idx, Input::Fetched(entries));
            }
            Happens::Publish(idx) => self.publish(idx),
            Happens::Nonsense(idx) => {
                let len = self.below(200) as usize;
                let bytes: Vec<u8> = (0..len).map(|_| self.rng.next_u64() as u8).collect();
                self.step(idx, Input::Message { from: NodeId::new(9), bytes: bytes.into() });
            }
            Happens::Crash(idx) => {
                self.crash(idx);
                let delay = 50 * MS + self.below(1_500 * MS);
                self.after(delay, Happens::Restart(idx));
            }
            Happens::Restart(idx) => self.start(idx),
            // It was meant for a process that is gone.
            _ => {}
        }
    }
}

fn command(token: Token, command: Command) -> Proposal {
    let kind = SectionKind::Command;
    Proposal { token, kind, body: command.encode().into(), may_wait: false }
}

fn create_topic(token: Token) -> Proposal {
    command(token, Command::CreateTopic { name: TopicName::new("users").unwrap() })
}

fn batch(token: Token, producer: ProducerId, sequence: u64) -> Proposal {
    let mut records = RecordsBuilder::with_capacity(200);
    let id = format!("{producer}-{sequence}");
    for _ in 0..=sequence % 2 {
        let (kind, key, payload) = ("user.signed_up.v1", &b"user-1"[..], &b"{}"[..]);
        records.push(&NewEvent { id: &id, kind, key, time_ms: 1, headers: &[], payload });
    }
    let body = records.finish(TOPIC, producer, Sequence::new(sequence));
    Proposal { token, kind: SectionKind::Records, body, may_wait: false }
}

/// All batches of the topic, as a reader of this replica sees them.
fn stored(replica: &Replica) -> Vec<(ProducerId, u64, Placed)> {
    let reader = replica.reader();
    let start = replica.state().topics().find(|topic| topic.id == TOPIC);
    let (mut from, mut batches) = (start.map_or(0, |topic| topic.start.get()), Vec::new());
    loop {
        let blocks = match reader.read_tail(TOPIC, Offset::new(from), 64 * 1024) {
            TailRead::Hit(blocks) => blocks,
            TailRead::End => return batches,
            TailRead::Miss => reader.read_disk(TOPIC, Offset::new(from), 64 * 1024).unwrap(),
        };
        assert!(!blocks.is_empty(), "there is an event at {from}");
        for block in blocks {
            block.records.check().unwrap();
            assert_eq!(block.placed.first.get(), from, "offsets have no gap");
            from += u64::from(block.placed.n_events);
            let (producer, sequence) = (block.records.producer, block.records.sequence.get());
            batches.push((producer, sequence, block.placed));
        }
    }
}

/// How many seeds a test tries: `TIDINGS_SEEDS` asks for more.
#[expect(clippy::disallowed_methods, reason = "only how long a test takes")]
fn seeds(few: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("TIDINGS_SEEDS").ok().and_then(|it| it.parse().ok());
    0..asked.unwrap_or(few)
}

/// Holds the promise against these nodes: they agree, and what was acknowledged is there, unless
/// everybody agreed to let it go.
fn check(world: &World, nodes: &[usize]) {
    let seed = world.seed;
    let states: Vec<_> = nodes.iter().map(|&idx| world.replica(idx).state()).collect();
    for state in &states {
        assert_eq!(state.applied(), states[0].applied(), "seed {seed}: a replica stays behind");
        assert_eq!(state.digest(), states[0].digest(), "seed {seed}: states differ");
    }
    for &idx in nodes {
        let topic = states[0].topics().find(|topic| topic.id == TOPIC);
        let start = topic.map_or(Offset::ZERO, |topic| topic.start);
        let mut batches = BTreeMap::new();
        for (producer, sequence, placed) in stored(world.replica(idx)) {
            let earlier = batches.insert((producer, sequence), placed);
            assert_eq!(earlier, None, "seed {seed}: a batch is in the log twice");
        }
        for client in &world.clients {
            for (&sequence, placed) in &client.answered {
                let found = batches.get(&(client.producer, sequence));
                let is_purged = placed.first < start;
                assert!(
                    found == Some(placed) || is_purged && found.is_none(),
                    "seed {seed}: an acknowledged batch is lost"
                );
            }
        }
    }
}

/// Nothing comes from a node, nor to it.
fn cut_off(world: &mut World, idx: usize) {
    let id = idx as u32 + 1;
    for other in 1..=world.nodes.len() as u32 {
        world.cuts.extend([(id, other), (other, id)]);
    }
}

fn stop_publishing(world: &mut World) {
    world.queue.retain(|Reverse((_, _, happens))| !matches!(happens, Happens::Publish(_)));
}

fn change(world: &mut World, token: u64, steps: &[(Step, u32)]) -> Option<bool> {
    let steps: Vec<_> = steps.iter().map(|&(step, node)| (step, NodeId::new(node))).collect();
    for _ in 0..20 {
        world.answers.remove(&token);
        if let Some(leader) = world.leader() {
            let change = Change { steps: steps.clone() };
            world.step(leader, Input::Change { token: Token::new(token), change });
        }
        world.run_for(500 * MS);
        if world.answers.get(&token) == Some(&true) {
            return Some(true);
        }
    }
    world.answers.get(&token).copied()
}

/// What a run left to check.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ran {
    trace: u64,
    n_answered: usize,
    n_checkpoints: u64,
    n_fetched: u64,
    n_terms: usize,
    n_restored: u64,
}

/// Runs a world of three with all its faults, heals it, and holds the promise against it.
fn run(seed: u64, seconds: u64) -> Ran {
    let mut world = World::new(seed, 3, &[1, 2, 3]);
    world.is_calm = false;
    world.purges = seed % 2 == 1;
    for idx in 0..world.clients.len() {
        world.after(0, Happens::Publish(idx));
    }
    for _ in 0..seconds {
        let (at, idx) = (world.below(seconds * 1_000 * MS), world.below(3) as usize);
        world.after(at, Happens::Crash(idx));
        let (at, idx) = (world.below(seconds * 1_000 * MS), world.below(3) as usize);
        world.after(at, Happens::Nonsense(idx));
    }
    world.run_until(seconds * 1_000 * MS);

    // Everyone comes back, the network loses nothing, and what is out gets its answer.
    world.is_calm = true;
    world.run_for(4_000 * MS);
    world.queue.retain(|Reverse((_, _, happens))| !matches!(happens, Happens::Publish(_)));
    world.run_for(2_000 * MS);

    check(&world, &[0, 1, 2]);
    Ran {
        trace: world.trace,
        n_answered: world.clients.iter().map(|client| client.answered.len()).sum(),
        n_checkpoints: world.checkpoints,
        n_fetched: world.n_fetched,
        n_terms: world.leaders.len(),
        n_restored: world.n_restored,
    }
}

/// What was acknowledged survives: three replicas crash again and again, lose what was not synced,
/// and talk over a network that loses, doubles and reorders.
#[test]
fn acknowledged_batches_survive_crashes_and_a_bad_network() {
    let mut sum = Ran::default();
    for seed in seeds(10) {
        let ran = run(seed, 12);
        sum.n_answered += ran.n_answered;
        sum.n_checkpoints += ran.n_checkpoints;
        sum.n_fetched += ran.n_fetched;
        sum.n_terms += ran.n_terms;
        sum.n_restored += ran.n_restored;
    }
    // The faults must have left something to check.
    assert!(sum.n_answered > 1_000, "{sum:?}");
    assert!(sum.n_checkpoints > 50, "{sum:?}");
    assert!(sum.n_fetched > 2, "{sum:?}");
    assert!(sum.n_terms > 20, "{sum:?}");
    assert!(sum.n_restored > 0, "{sum:?}");
    println!("{sum:?}");
}

/// A seed repeats a run to the last byte sent; else a failure found could not be found again.
#[test]
fn seed_repeats_a_run() {
    let ran = run(77, 4);
    assert_eq!(ran, run(77, 4));
    assert_ne!(ran.trace, run(78, 4).trace);
}

/// A lone voter leads without a tick, and after a crash everything acknowledged has its offset.
#[test]
fn lone_voter_leads_at_once_and_keeps_its_offsets() {
    let mut world = World::new(1, 1, &[1]);
    let n_batches = 20;
    for round in 0..4 {
        // Less than a tick's time: only the disk may be waited for.
        let ticks = |happens: &Happens| matches!(happens, Happens::Tick(..));
        world.queue.retain(|Reverse((_, _, happens))| !ticks(happens));
        world.run_for(40 * MS);
        assert_eq!(world.leader(), Some(0), "round {round}");
        if round == 0 {
            world.step(0, Input::Propose(vec![create_topic(Token::new(1))]));
            world.run_for(40 * MS);
        }
        for sequence in round * n_batches..(round + 1) * n_batches {
            let producer = world.clients[0].producer;
            let proposal = batch(Token::new(100 + sequence), producer, sequence);
            world.step(0, Input::Propose(vec![proposal]));
        }
        world.run_for(100 * MS);
        assert_eq!(world.clients[0].answered.len() as u64, (round + 1) * n_batches);
        let before = stored(world.replica(0));
        world.crash(0);
        world.start(0);
        world.run_for(20 * MS);
        assert_eq!(stored(world.replica(0)), before);
    }
}

/// A dispatcher that has not heard yet that its leadership ended and another one began proposes what
/// the new one will decide anew: that must not get in. We propose for an earlier term, then for this.
#[test]
fn what_another_leadership_decided_is_refused() {
    let mut world = World::new(1, 1, &[1]);
    world.run_for(40 * MS);
    let before = world.replica(0).status().term;
    world.crash(0);
    world.start(0);
    world.run_for(40 * MS);
    let crate::Status { term, last_index, .. } = world.replica(0).status();
    assert!(before < term && world.leads(0));
    for (number, of) in [(1, before), (2, term)] {
        let proposals = vec![create_topic(Token::new(number))];
        world.step(0, Input::ProposeIn { term: of, proposals });
        world.run_for(40 * MS);
    }
    assert_eq!(world.answers, [(1, false), (2, true)].into());
    assert_eq!(world.replica(0).status().last_index, last_index.next());
}

/// A lone node grows to three without a migration, and shrinks again: newcomers start with an
/// empty log and those who are there, as learners first.
#[test]
fn membership_grows_and_shrinks() {
    let mut world = World::new(5, 3, &[1]);
    world.run_for(100 * MS);
    world.step(0, Input::Propose(vec![create_topic(Token::new(1))]));
    world.after(0, Happens::Publish(0));
    world.run_for(500 * MS);
    assert_eq!(change(&mut world, 901, &[(Step::Learner, 2), (Step::Learner, 3)]), Some(true));
    assert_eq!(world.replica(2).status().leader, Some(NodeId::new(1)));
    assert_eq!(change(&mut world, 902, &[(Step::Voter, 2), (Step::Voter, 3)]), Some(true));
    assert_eq!(change(&mut world, 903, &[(Step::Gone, 1)]), Some(false), "it leads");

    // The first node goes down; the others go on, and all start again with what the log says.
    world.crash(0);
    world.run_for(3_000 * MS);
    let leader = world.leader().expect("two of three lead on");
    assert_ne!(leader, 0);
    assert_eq!(change(&mut world, 904, &[(Step::Gone, 1)]), Some(true));
    for idx in [1, 2] {
        world.crash(idx);
        world.start(idx);
    }
    world.run_for(3_000 * MS);
    assert!(world.leader().is_some());
    world.queue.retain(|Reverse((_, _, happens))| !matches!(happens, Happens::Publish(_)));
    world.run_for(1_000 * MS);
    assert_eq!(world.replica(1).state().digest(), world.replica(2).state().digest());
    assert_eq!(world.clients[0].answered.len(), stored(world.replica(1)).len());
}

/// A checkpoint is proposed by itself when time has passed and something changed, and the replica
/// starts from it.
#[test]
fn checkpoint_comes_by_itself_and_is_started_from() {
    let mut world = World::new(6, 1, &[1]);
    world.run_for(50 * MS);
    world.step(0, Input::Propose(vec![create_topic(Token::new(1))]));
    world.run_for(599_000 * MS);
    assert_eq!(world.checkpoints, 0);
    world.run_for(2_000 * MS);
    assert_eq!(world.checkpoints, 1);
    world.run_for(1_300_000 * MS);
    assert_eq!(world.checkpoints, 1, "nothing changed since");
    let digest = world.replica(0).state().digest();
    world.crash(0);
    world.start(0);
    assert!(world.replica(0).state().ts_ms() > 0);
    world.run_for(50 * MS);
    assert_ne!(world.replica(0).state().digest(), digest, "the new term's entry is applied");
    assert_eq!(world.replica(0).state().topics().count(), 1);
}

/// One checkpoint that cannot be written must not be the last one, and the next one is not tried at
/// once.
#[test]
fn failed_checkpoint_is_made_up_for() {
    let mut world = World::new(6, 1, &[1]);
    world.checkpoints_to_fail = 1;
    world.run_for(50 * MS);
    world.step(0, Input::Propose(vec![create_topic(Token::new(1))]));
    world.run_for(601_000 * MS);
    assert_eq!((world.checkpoints, world.checkpoints_to_fail), (0, 0), "tried, and failed");
    world.run_for(590_000 * MS);
    assert_eq!(world.checkpoints, 0);
    world.run_for(20_000 * MS);
    assert_eq!(world.checkpoints, 1);
}

/// A follower whose disk was wiped must not vote: the leader's first heartbeat proves the loss.
#[test]
fn wiped_disk_is_found_out() {
    let mut world = World::new(8, 3, &[1, 2, 3]);
    world.run_for(2_000 * MS);
    let leader = world.leader().unwrap();
    world.step(leader, Input::Propose(vec![create_topic(Token::new(1))]));
    world.run_for(500 * MS);
    let wiped = (leader + 1) % 3;
    world.crash(wiped);
    world.nodes[wiped].disk = MemoryDisk::new();
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.start(wiped);
        world.run_for(1_000 * MS);
    }));
    let message = *found.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("its directory was wiped"), "{message}");
    let replica = &mut world.nodes[wiped].running.as_mut().unwrap().replica;
    assert_eq!(replica.status().role, Role::Halted);
    let mut out = Vec::new();
    let now = Now { mono: Duration::from_secs(99), wall_ms: 0 };
    replica.step(now, Input::Tick, &mut out);
    assert!(out.is_empty(), "it does nothing any more");
    replica.step(now, Input::Propose(vec![create_topic(Token::new(3))]), &mut out);
    let reason = ProposeRefused::NotLeader;
    assert!(matches!(out.as_slice(), [Output::Refused { reason: r, .. }] if *r == reason));
    let _: fn(&Damage) -> _ = Damage::retry;
}

/// Any message that a peer could form: small numbers, so that they hit what is really there.
fn any_message(rng: &mut SplitMix, last: u64, term: u64) -> Option<Bytes> {
    const KINDS: [MessageType; 9] = [
        MessageType::MsgAppend,
        MessageType::MsgAppendResponse,
        MessageType::MsgRequestVote,
        MessageType::MsgRequestVoteResponse,
        MessageType::MsgRequestPreVote,
        MessageType::MsgRequestPreVoteResponse,
        MessageType::MsgHeartbeat,
        MessageType::MsgHeartbeatResponse,
        MessageType::MsgTimeoutNow,
    ];
    let mut message = Message::default();
    message.set_msg_type(KINDS[rng.below(9) as usize]);
    message.from = 2 + rng.below(3);
    message.to = 1;
    message.term = (term + rng.below(4)).saturating_sub(1);
    message.index = rng.below(last + 3);
    message.log_term = rng.below(term + 2);
    // Rarely too much: that is damage, and ends the run.
    message.commit = rng.below(last + 1) + rng.below(20) / 19;
    message.commit_term = rng.below(term + 2);
    message.reject_hint = match message.get_msg_type() {
        MessageType::MsgAppendResponse => rng.below(last + 3),
        // Rarely too much: that is damage, too.
        _ => rng.below(last + 1) + rng.below(20) / 19,
    };
    message.reject = rng.below(2) == 0;
    if let Some(sent) = [MessageType::MsgTimeoutNow, MessageType::MsgHeartbeat]
        .contains(&message.get_msg_type())
        .then(|| Duration::from_millis(rng.below(9)))
    {
        wire::put_stamp(&mut message, sent);
        wire::put_voter(&mut message, rng.below(2) == 0);
    }
    if message.get_msg_type() == MessageType::MsgAppend {
        let entry = |entry_term: u64, kind: u64| match kind {
            0 => wire::entry(EntryType::EntryConfChangeV2, entry_term, Bytes::new()),
            1 => {
                let steps = vec![(Step::Learner, NodeId::new(4))];
                let change = Change { steps }.encode();
                wire::entry(EntryType::EntryConfChangeV2, entry_term, change.into())
            }
            _ => wire::entry(EntryType::EntryNormal, entry_term, Bytes::new()),
        };
        let (n_entries, mut entries) = (rng.below(4), Vec::new());
        let mut entry_term = message.log_term.max(1);
        for _ in 0..n_entries {
            entry_term += rng.below(2);
            entries.push(entry(entry_term, rng.below(6)));
        }
        message.set_entries(entries.into());
    }
    wire::encode(&message)
}

/// Honest peers grant what the replica asks for, and acknowledge what they get then.
fn elect(world: &mut World) {
    for (kind, from) in [
        (MessageType::MsgRequestPreVoteResponse, 2),
        (MessageType::MsgRequestPreVoteResponse, 3),
        (MessageType::MsgRequestVoteResponse, 2),
        (MessageType::MsgRequestVoteResponse, 3),
        (MessageType::MsgAppendResponse, 2),
    ] {
        let status = world.replica(0).status();
        let mut message = Message::default();
        message.set_msg_type(kind);
        (message.from, message.to, message.term) = (from, 1, status.term.get());
        match kind {
            MessageType::MsgRequestPreVoteResponse => message.term += 1,
            MessageType::MsgAppendResponse => message.index = status.last_index.get(),
            _ => {}
        }
        let bytes = wire::encode(&message).unwrap();
        world.step(0, Input::Message { from: wire::node(from), bytes });
        world.run_for(20 * MS);
    }
}

/// No peer's message makes a step panic: three peers say whatever can be said, each thing that
/// decodes, while the disk answers or not, and the replica votes, leads and follows in between.
#[test]
fn no_message_of_a_peer_makes_it_panic() {
    let (mut n_led, mut n_halted) = (0, 0);
    for seed in 0..80 {
        let mut rng = SplitMix::new(seed);
        let mut world = World::new(seed, 3, &[1, 2, 3]);
        // The peers are not there; the messages come from here.
        (world.nodes[1].running, world.nodes[2].running) = (None, None);
        for _ in 0..400 {
            let status = world.replica(0).status();
            n_led += usize::from(status.role == Role::Leader);
            if status.role == Role::Halted {
                n_halted += 1;
                break;
            }
            let (last, term) = (status.last_index.get(), status.term.get());
            match rng.below(12) {
                0 => world.run_for(60 * MS),
                1 => world.run_for(3 * MS),
                2 => world.run_for(1_000 * MS),
                3 => world.step(0, Input::Propose(vec![create_topic(Token::new(1))])),
                // An honest peer now and then, or it never leads.
                4 => {
                    world.run_for(1_100 * MS);
                    elect(&mut world);
                }
                _ => {
                    let Some(bytes) = any_message(&mut rng, last, term) else { continue };
                    let Ok(from) = wire::decode(bytes.clone()).map(|message| message.from) else {
                        continue;
                    };
                    world.may_halt = true;
                    let from = wire::node(from);
                    world.step(0, Input::Message { from, bytes });
                }
            }
        }
    }
    assert!(n_led > 50, "{n_led} times it led");
    assert!(n_halted > 5, "{n_halted} times it halted");
}
