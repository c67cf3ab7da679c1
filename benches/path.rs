//! What an event costs on its way, hop by hop: the pure parts, without threads, disk or network.
//!
//! Each line takes a batch of 64 events through one hop and is told per event. Figures are for
//! people to compare; no test depends on them.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput};
use serde::{Deserialize, Serialize};
use tidings::Event;
use tidings_delivery::dispatcher::{Dispatcher, Input, Output};
use tidings_delivery::message::{Resume, Serving, SessionId, ToLeader, ToMember};
use tidings_delivery::publisher::{self, Publisher};
use tidings_delivery::session::{BatchId, Delivery, Outcome, Report, Session, Verdict};
use tidings_state::State;
use tidings_types::effect::{Accepted, Effect, Placed, Published};
use tidings_types::event::{ID_BYTES, IdMaker, NewEvent};
use tidings_types::id::{
    GroupId, Incarnation, NodeId, ProducerId, Sequence, ShardId, Token, TopicId, WorkerId,
};
use tidings_types::layout::acks::{AckRange, Acks};
use tidings_types::layout::command::{Command, GroupStart};
use tidings_types::layout::entry::{EntryBuilder, SectionKind};
use tidings_types::layout::frame::{FrameHeader, FrameKind};
use tidings_types::layout::records::{Records, RecordsBuilder};
use tidings_types::limits::NODE_ADMITTED_BYTES_MAX;
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::{LaneEpoch, LogIndex, Offset, Position, Term};
use tidings_types::seam::SplitMix;
use tidings_types::sync::{ByteGate, OpenBatch};

/// Events of a batch: what one delivery takes at most.
const N: u32 = 64;
/// Sections that one entry takes here, as when eight topics are busy.
const N_SECTIONS: u32 = 8;
const NODE: NodeId = NodeId::new(1);
const SESSION: SessionId = SessionId { incarnation: Incarnation::new(1), number: 1 };
const TOPIC: TopicId = TopicId::new(1);
const PRODUCER: ProducerId = ProducerId::new([7; 16]);
const NOW: Duration = Duration::from_secs(1);
const NOW_MS: u64 = 1_767_225_600_000;

/// Key and content of each event.
static PAYLOADS: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(payloads);

/// An event of usual size: about 125 bytes of JSON, 240 bytes in the log.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "users", kind = "user.signed_up.v1", key = user_id)]
struct SignedUp {
    user_id: String,
    name: String,
    email: String,
    plan: String,
    seats: u32,
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_000))
        .sample_size(50)
        .configure_from_args();
    let mut group = criterion.benchmark_group("path");
    group.throughput(Throughput::Elements(N.into()));
    publish(&mut group);
    log(&mut group);
    apply(&mut group);
    deliver(&mut group);
    settle(&mut group);
    group.finish();
    criterion.final_summary();
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn publish(group: &mut Group<'_>) {
    let typed: Vec<_> = (0..N).map(signed_up).collect();
    group.bench_function("1 encode json", |bencher| {
        let mut payload = Vec::new();
        bencher.iter(|| {
            for event in &typed {
                payload.clear();
                event.encode(&mut payload).expect("strings are JSON");
                black_box(&payload);
            }
        });
    });
    let events: Vec<_> = PAYLOADS.iter().map(|(key, payload)| event("", key, payload)).collect();
    group.bench_function("1 id, check, admit, push", |bencher| {
        let gate = ByteGate::new(NODE_ADMITTED_BYTES_MAX);
        let open = OpenBatch::<u64>::new();
        let mut ids = IdMaker::new(SplitMix::new(1));
        bencher.iter(|| {
            for event in &events {
                let mut buffer = [0; ID_BYTES];
                let event = NewEvent { id: ids.make(NOW_MS, &mut buffer), ..*event };
                event.check().expect("it is good");
                let permit = gate.try_acquire(event.encoded_bytes()).expect("there is room");
                black_box(open.push(&event, false, permit, NOW));
            }
            open.take()
        });
    });
    group.bench_function("2 seal", |bencher| {
        let seal = |builder: RecordsBuilder| builder.finish(TOPIC, PRODUCER, Sequence::new(0));
        bencher.iter_batched(builder, seal, BatchSize::SmallInput);
    });
    group.bench_function("2 publisher, seal included", |bencher| {
        let mut publisher = Publisher::new(SplitMix::new(1));
        let mut out = Vec::new();
        publisher.step(NOW, publisher::Input::LeaderIs(true), &mut out);
        let round = |builder: RecordsBuilder| publish_one(&mut publisher, builder, &mut out);
        bencher.iter_batched(builder, round, BatchSize::SmallInput);
    });
}

/// A batch departs, is proposed, and gets its answer.
fn publish_one(
    publisher: &mut Publisher<SplitMix>,
    builder: RecordsBuilder,
    out: &mut Vec<publisher::Output>,
) -> usize {
    let depart =
        publisher::Input::Depart { token: Token::new(1), topic: TOPIC, builder, opened: NOW };
    publisher.step(NOW, depart, out);
    let proposed = out.drain(..).find_map(|output| match output {
        publisher::Output::Propose { sequence, .. } => Some(sequence),
        _ => None,
    });
    let sequence = proposed.expect("there is a leader");
    let result = Ok(Placed { topic: TOPIC, first: Offset::ZERO, n_events: N });
    let published = Published { producer: publisher.producer(), sequence, result };
    publisher.step(NOW, publisher::Input::Published(published), out);
    let n_outputs = out.len();
    out.clear();
    n_outputs
}

fn log(group: &mut Group<'_>) {
    let section = section(Sequence::new(0));
    group.throughput(Throughput::Elements(u64::from(N * N_SECTIONS)));
    group.bench_function("3 merge into an entry", |bencher| {
        let n_bytes = N_SECTIONS as usize * (section.len() + 8) + 16;
        bencher.iter(|| {
            let mut entry = EntryBuilder::with_capacity(n_bytes);
            for _ in 0..N_SECTIONS {
                entry.push(SectionKind::Records, black_box(&section));
            }
            entry.finish(NODE, NOW_MS)
        });
    });
    group.throughput(Throughput::Elements(N.into()));
    let body = entry(SectionKind::Records, &section);
    let header = FrameHeader {
        kind: FrameKind::Entry,
        flags: 0,
        shard: ShardId::new(0),
        term: Term::new(1),
        index: LogIndex::new(1),
        durable: Position::new(0),
        body_bytes: u32::try_from(body.len()).expect("it is small"),
    };
    group.bench_function("4 frame header and crc", |bencher| {
        bencher.iter(|| header.encode(7, black_box(&body)));
    });
}

fn apply(group: &mut Group<'_>) {
    group.bench_function("5 apply records", |bencher| {
        let (mut world, mut effects) = (Replicated::new(), Vec::new());
        let sequence = Cell::new(0);
        let make = || {
            entry(
                SectionKind::Records,
                &section(Sequence::new(sequence.replace(sequence.get() + 1))),
            )
        };
        let run = |data: Bytes| {
            effects.clear();
            world.apply(&data, &mut effects);
            assert!(effects.len() == 2, "the batch is answered and accepted");
        };
        bencher.iter_batched(make, run, BatchSize::SmallInput);
    });
}

fn deliver(group: &mut Group<'_>) {
    group.bench_function("6 dispatcher, to worker and back", |bencher| {
        let mut delivered = Delivered::new(4);
        let section = section(Sequence::new(0));
        bencher.iter(|| delivered.round(&section));
    });
    let records = Records::parse(section(Sequence::new(0))).expect("just made");
    let events: Vec<_> = records.events().map(|event| event.expect("just made")).collect();
    let deliveries = || -> Vec<Delivery> { (0..).zip(&events).map(delivery).collect() };
    group.bench_function("7 worker session", |bencher| {
        let mut session = Session::new();
        let run = |deliveries: Vec<Delivery>| {
            session.deliver(BatchId::new(1), deliveries);
            while session.start_next(NOW).is_some() {
                session.finish(Verdict::Done, NOW);
            }
            session.take_report(NOW)
        };
        bencher.iter_batched(deliveries, run, BatchSize::SmallInput);
    });
    group.bench_function("7 decode json", |bencher| {
        bencher.iter(|| {
            for event in &events {
                black_box(SignedUp::decode(event.payload()).expect("it was encoded from one"));
            }
        });
    });
}

fn settle(group: &mut Group<'_>) {
    for (name, n_ranges) in [("8 apply acks, one range", 1), ("8 apply acks, 16 ranges", 16)] {
        group.bench_function(name, |bencher| {
            let world = RefCell::new(Replicated::new());
            let mut effects = Vec::new();
            let make = || world.borrow_mut().acks(n_ranges);
            let run = |[early, late]: [Bytes; 2]| {
                effects.clear();
                let mut world = world.borrow_mut();
                world.apply(&early, &mut effects);
                world.apply(&late, &mut effects);
                assert!(!effects.is_empty(), "events are settled");
            };
            bencher.iter_batched(make, run, BatchSize::SmallInput);
        });
    }
}

fn delivery((n, event): (u64, &tidings_types::layout::records::Event)) -> Delivery {
    let (offset, lane_epoch) = (Offset::new(n), LaneEpoch::new(1));
    Delivery { topic: TOPIC, offset, lane_epoch, attempt: 1, event: event.clone() }
}

fn signed_up(n: u32) -> SignedUp {
    SignedUp {
        user_id: format!("0197f7a0-0000-7000-8000-{n:012}"),
        name: "Ann Example".to_owned(),
        email: format!("ann.{n}@example.org"),
        plan: "team".to_owned(),
        seats: n,
    }
}

fn payloads() -> Vec<(String, Vec<u8>)> {
    let of = |n| {
        let (event, mut payload) = (signed_up(n), Vec::new());
        event.encode(&mut payload).expect("strings are JSON");
        (event.user_id, payload)
    };
    (0..N).map(of).collect()
}

fn event<'a>(id: &'a str, key: &'a str, payload: &'a [u8]) -> NewEvent<'a> {
    NewEvent {
        id,
        kind: SignedUp::KIND,
        key: key.as_bytes(),
        time_ms: NOW_MS,
        headers: b"",
        payload,
    }
}

fn builder() -> RecordsBuilder {
    let mut builder = RecordsBuilder::with_capacity(0);
    let mut ids = IdMaker::new(SplitMix::new(1));
    for (key, payload) in PAYLOADS.iter() {
        let mut buffer = [0; ID_BYTES];
        builder.push(&event(ids.make(NOW_MS, &mut buffer), key, payload));
    }
    builder
}

fn section(sequence: Sequence) -> Bytes {
    builder().finish(TOPIC, PRODUCER, sequence)
}

fn entry(kind: SectionKind, section: &[u8]) -> Bytes {
    let mut entry = EntryBuilder::with_capacity(0);
    entry.push(kind, section);
    entry.finish(NODE, NOW_MS)
}

/// A state machine with one group on one topic.
struct Replicated {
    state: State,
    index: LogIndex,
    group: GroupId,
    /// Offset of the next event that is acked.
    next: u64,
    n_published: u64,
    founding: Vec<Effect>,
}

impl Replicated {
    fn new() -> Self {
        let (state, index, group) = (State::new(), LogIndex::ZERO, GroupId::new(1));
        let mut world = Self { state, index, group, next: 0, n_published: 0, founding: Vec::new() };
        let name = GroupName::new("readers").expect("it is one");
        let topics = vec![TopicName::new(SignedUp::TOPIC).expect("it is one")];
        let create = Command::CreateGroup { name, topics, start: GroupStart::Earliest };
        let mut effects = Vec::new();
        world.apply(&entry(SectionKind::Command, &create.encode()), &mut effects);
        let group = world.state.groups().next().expect("just made").id;
        let join = Command::Join { group, node: NODE, incarnation: Incarnation::new(1) };
        world.apply(&entry(SectionKind::Command, &join.encode()), &mut effects);
        assert!(world.state.topics().all(|topic| topic.id == TOPIC), "the first topic is number 1");
        Self { group, founding: effects, ..world }
    }

    fn apply(&mut self, data: &Bytes, effects: &mut Vec<Effect>) {
        self.index = LogIndex::new(self.index.get() + 1);
        self.state.apply(self.index, data, effects).expect("an entry of ours is well formed");
    }

    /// Publishes a batch and returns two entries that ack it: every second range, then the rest.
    fn acks(&mut self, n_ranges: u32) -> [Bytes; 2] {
        let published = entry(SectionKind::Records, &section(Sequence::new(self.n_published)));
        self.apply(&published, &mut Vec::new());
        self.n_published += 1;
        let first = self.next;
        self.next += u64::from(N);
        let len = N / (2 * n_ranges);
        let range = |n: u32| AckRange { start: Offset::new(first + u64::from(n * len)), len };
        [1, 0].map(|odd| {
            let ranges = (0..n_ranges).map(|n| range(2 * n + odd)).collect();
            let acks = Acks { group: self.group, topic: TOPIC, ranges, failures: Vec::new() };
            entry(SectionKind::Acks, &acks.encode())
        })
    }
}

/// A dispatcher whose workers succeed at once and whose log applies at once.
struct Delivered {
    dispatcher: Dispatcher,
    group: GroupId,
    next: Offset,
    index: LogIndex,
    now: Duration,
    out: Vec<Output>,
}

impl Delivered {
    fn new(n_workers: u32) -> Self {
        let Replicated { group, index, founding, .. } = Replicated::new();
        let dispatcher = Dispatcher::new(Token::new(1));
        let (next, out) = (Offset::ZERO, Vec::new());
        let mut delivered = Self { dispatcher, group, next, index, now: NOW, out };
        delivered.step(Input::Lead(Vec::new()));
        delivered.step(Input::Effects(&founding));
        let workers = (0..n_workers).map(|n| (WorkerId::new(n), 1)).collect();
        let services = vec![Serving { group, is_draining: false, workers }];
        let resume = Resume { services, is_last: true, ..Resume::default() };
        delivered.hear(ToLeader::Resume(resume));
        delivered
    }

    fn step(&mut self, input: Input<'_>) {
        self.dispatcher.step(self.now, input, &mut self.out);
    }

    fn hear(&mut self, message: ToLeader) {
        self.step(Input::Heard { member: NODE, session: SESSION, message });
    }

    /// A batch is accepted, handed out, reported, acked and settled.
    fn round(&mut self, records: &Bytes) {
        self.now += Duration::from_millis(1);
        self.index = LogIndex::new(self.index.get() + 1);
        let placed = Placed { topic: TOPIC, first: self.next, n_events: N };
        let accepted = Accepted { placed, index: self.index, at: 24, records: records.clone() };
        self.next = self.next.plus(N.into());
        self.step(Input::Effects(&[Effect::Accepted(accepted)]));
        let mut n_left = N;
        while 0 < n_left {
            assert!(!self.out.is_empty(), "the dispatcher goes on by itself");
            for output in std::mem::take(&mut self.out) {
                n_left -= self.carry_out(output);
            }
        }
    }

    /// How many events it settled.
    fn carry_out(&mut self, output: Output) -> u32 {
        match output {
            Output::Tell {
                message: ToMember::Deliver { group, worker, batch, deliveries, .. },
                ..
            } => {
                let outcomes = deliveries.iter().map(done).collect();
                let took = Duration::from_micros(50);
                let report = Report { batch, outcomes, is_last: true, took };
                self.hear(ToLeader::Report { group, worker, report });
                0
            }
            Output::Propose { token, body, .. } => {
                let acks = Acks::parse(body).expect("just made");
                let (group, topic) = (self.group, acks.topic);
                let settled =
                    |&range: &AckRange| Effect::Settled { group, topic, range, dead: false };
                let effects: Vec<_> = acks.ranges.iter().map(settled).collect();
                self.step(Input::Effects(&effects));
                self.step(Input::Taken { token });
                acks.ranges.iter().map(|range| range.len).sum()
            }
            Output::Read { .. } => unreachable!("what is accepted comes with its events"),
            Output::Tell { .. } | Output::WakeAt(_) | Output::Told(_) => 0,
            Output::Pinged { .. } | Output::Refused { .. } => unreachable!("nobody pings"),
        }
    }
}

fn done(delivery: &Delivery) -> Outcome {
    let &Delivery { topic, offset, lane_epoch, attempt, .. } = delivery;
    let took = Duration::from_micros(1);
    Outcome { topic, offset, lane_epoch, attempt, verdict: Verdict::Done, took }
}
