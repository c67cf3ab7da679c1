//! A replica over a disk in memory, driven by hand.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tidings_log::{Checkpoint, MemoryDisk, Options, Writer, checkpoint};
use tidings_replica::{Input, Now, Output, Proposal, Replica, Stored};
use tidings_types::event::NewEvent;
use tidings_types::id::{
    ClusterId, GroupId, Incarnation, NodeId, ProducerId, Sequence, Token, TopicId,
};
use tidings_types::layout::acks::{AckRange, Acks, Failure, FailureClass};
use tidings_types::layout::command::{Command, DeadLetter, DeadReason, GroupStart};
use tidings_types::layout::entry::SectionKind;
use tidings_types::layout::records::RecordsBuilder;
use tidings_types::layout::turn::Turn;
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::{LaneEpoch, Offset};

/// Size of a segment: a few entries.
pub const SEGMENT: u64 = 64 << 10;

/// A replica and its disk.
pub struct Node {
    /// Where it writes.
    pub disk: MemoryDisk,
    /// What it sent, to whom.
    pub sent: Vec<(NodeId, Bytes)>,
    writer: Writer,
    replica: Replica,
    now: Now,
}

/// Opens the log of a directory, as node 1 of a cluster.
pub fn open_log(disk: &MemoryDisk, node: u32) -> Option<tidings_log::Opened> {
    let identity = tidings_log::Identity {
        cluster: ClusterId::new([7; 16]),
        node: NodeId::new(node),
        incarnation: Incarnation::new(0),
    };
    tidings_log::open(Arc::new(disk.clone()), Options::small(SEGMENT), identity).ok()
}

impl Node {
    /// Starts on a directory; `None` if what it holds was refused.
    pub fn open(disk: &MemoryDisk, node: u32, voters: &[u32]) -> Option<Self> {
        let opened = open_log(disk, node)?;
        let stored = Stored {
            log: opened.log,
            checkpoint: opened.checkpoint,
            hard_state: opened.hard_state,
            purged: opened.purged,
            replay: opened.replay,
        };
        let voters = voters.iter().copied().map(NodeId::new).collect();
        let options = tidings_replica::Options::new(NodeId::new(node), voters, u64::from(node));
        let now = Now { mono: Duration::ZERO, wall_ms: 1_000 };
        let mut out = Vec::new();
        let replica = Replica::open(options, stored, now, &mut out).ok()?;
        let (disk, sent, writer) = (disk.clone(), Vec::new(), opened.writer);
        let mut node = Self { disk, sent, writer, replica, now };
        node.drive(out);
        Some(node)
    }

    /// One input and everything that follows from it here.
    pub fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.replica.step(self.now, input, &mut out);
        self.drive(out);
    }

    /// Lets a tick's time pass.
    pub fn tick(&mut self) {
        self.now.mono += Duration::from_millis(50);
        self.now.wall_ms += 50;
        self.step(Input::Tick);
    }

    /// Proposes one section.
    pub fn propose(&mut self, kind: SectionKind, body: impl Into<Bytes>) {
        let (token, body) = (Token::new(1), body.into());
        self.step(Input::Propose(vec![Proposal { token, kind, body, may_wait: false }]));
    }

    /// What is applied here.
    pub fn state(&self) -> &tidings_state::State {
        self.replica.state()
    }

    /// Reads every event there is back; none of it may panic.
    pub fn read_all(&self) {
        let reader = self.replica.reader();
        for topic in 1..4 {
            for from in [0, 1, 5, 1_000, u64::MAX >> 1] {
                let (topic, from) = (TopicId::new(topic), Offset::new(from));
                let _ = reader.read_tail(topic, from, 4_096);
                for block in reader.read_disk(topic, from, 4_096).iter().flatten() {
                    super::entry::records(&block.records);
                }
            }
        }
    }

    /// Tells the disk's part of what is left to do, as a clean end does.
    pub fn close(mut self) -> MemoryDisk {
        self.writer.prepare().expect("a disk without an end");
        self.writer.close().expect("a disk without faults");
        self.disk
    }

    fn drive(&mut self, out: Vec<Output>) {
        let mut todo = VecDeque::from(out);
        while let Some(output) = todo.pop_front() {
            let input = match output {
                Output::Write(job) => {
                    Input::Persisted(self.writer.write(vec![job]).expect("a disk without faults"))
                }
                Output::Fetch { first, max_bytes } => {
                    let entries = self.replica.reader().read_entries(first, max_bytes);
                    Input::Fetched(entries.unwrap_or_default())
                }
                Output::Checkpoint { index, term, membership, state, local, keep } => {
                    let state = state.encode();
                    let whole = Checkpoint { index, term, membership, state, local };
                    let written = checkpoint::write_keeping(&self.disk, &whole, keep);
                    written.expect("a disk without faults");
                    Input::CheckpointWritten { index }
                }
                Output::ReadCheckpoint { index, at, max_bytes } => {
                    let part = checkpoint::read_part(&self.disk, index, at, max_bytes);
                    let part = part.expect("a disk without faults");
                    let (bytes, total) =
                        part.map_or((None, 0), |(bytes, total)| (Some(Bytes::from(bytes)), total));
                    Input::CheckpointRead { index, at, bytes, total }
                }
                Output::Install { checkpoint } => {
                    let index = checkpoint.index;
                    let digest = checkpoint::write_installed(&self.disk, &checkpoint);
                    Input::Installed { index, digest: digest.expect("a disk without faults") }
                }
                Output::Send { to, bytes } => {
                    self.sent.push((to, bytes));
                    continue;
                }
                _ => continue,
            };
            let mut out = Vec::new();
            self.replica.step(self.now, input, &mut out);
            todo.extend(out);
        }
    }
}

/// A records section of one topic.
pub fn batch(topic: u32, sequence: u64, n_events: u32) -> Bytes {
    let mut builder = RecordsBuilder::with_capacity(256);
    for number in 0..n_events {
        let id = format!("e-{topic}-{sequence}-{number}");
        builder.push(&NewEvent {
            id: &id,
            kind: "user.signed_up.v1",
            key: b"user-1",
            time_ms: 9,
            headers: b"\x01\0\x01\0ab",
            payload: br#"{"user":1}"#,
        });
    }
    builder.finish(TopicId::new(topic), ProducerId::new([3; 16]), Sequence::new(sequence))
}

/// What a small cluster has in its log: topics, a group with a member, events, acks.
pub fn sections() -> Vec<(SectionKind, Bytes)> {
    let topics = ["users", "orders"].map(|name| TopicName::new(name).expect("it is good"));
    let group = GroupName::new("mails").expect("it is good");
    let (start, node) = (GroupStart::Earliest, NodeId::new(1));
    let incarnation = Incarnation::new(1);
    let join = Command::Join { group: GroupId::new(1), node, incarnation };
    let create = Command::CreateGroup { name: group, topics: topics.to_vec(), start };
    let mut sections = vec![
        (SectionKind::Command, create.encode().into()),
        (SectionKind::Command, join.encode().into()),
    ];
    for sequence in 0..6 {
        let topic = 1 + u32::try_from(sequence % 2).expect("it is small");
        sections.push((SectionKind::Records, batch(topic, sequence / 2, 3)));
    }
    let (group, topic, lane_epoch) = (GroupId::new(1), TopicId::new(1), LaneEpoch::new(1));
    let ranges = vec![AckRange { start: Offset::new(0), len: 2 }];
    let (class, message) = (FailureClass::Timeout, "too slow".to_owned());
    let failures =
        vec![Failure { offset: Offset::new(3), lane_epoch, class, retry_at_ms: 9_000, message }];
    let acks = Acks { group, topic, ranges, failures };
    let emitted = RecordsBuilder::with_capacity(0);
    let emitted = emitted.finish(TopicId::new(2), ProducerId::NONE, Sequence::new(0));
    let offset = Offset::new(4);
    let turn = Turn { group, topic, offset, lane_epoch, emitted: vec![emitted] };
    let dead = Command::DeadLetter(DeadLetter {
        group,
        topic,
        offset: Offset::new(3),
        lane_epoch,
        reason: DeadReason::AttemptsExhausted,
        message: "too slow".to_owned(),
        attempts: 3,
        records: batch(1, 0, 1).to_vec(),
    });
    let redrive = Command::Redrive { group, letters: vec![(topic, Offset::new(3))] };
    let leave = Command::Leave { group, node, incarnation };
    sections.push((SectionKind::Acks, acks.encode()));
    sections.push((SectionKind::Turn, turn.encode()));
    let commands = [dead, redrive, Command::Checkpoint, leave];
    sections.extend(commands.map(|command| (SectionKind::Command, command.encode().into())));
    sections
}

/// A directory with several segments, index files and a checkpoint in the middle.
pub fn directory() -> MemoryDisk {
    static MADE: OnceLock<MemoryDisk> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let mut node = Node::open(&MemoryDisk::new(), 1, &[1]).expect("a fresh directory opens");
        for (kind, body) in sections() {
            node.propose(kind, body);
        }
        for sequence in 3..60 {
            node.propose(SectionKind::Records, batch(1, sequence, 20));
            if sequence == 40 {
                node.propose(SectionKind::Command, Command::Checkpoint.encode());
            }
        }
        node.close()
    });
    made.durable_copy()
}
