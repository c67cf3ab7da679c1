//! Tests of the publisher: plain stories, and a hostile world against which promises are checked.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use tidings_types::effect::Placed;
use tidings_types::event::NewEvent;
use tidings_types::id::TopicId;
use tidings_types::layout::records::{Records, RecordsBuilder};
use tidings_types::limits::PRODUCER_RESULTS_KEPT;
use tidings_types::offset::Offset;
use tidings_types::seam::SplitMix;

use super::*;

const TOPIC: TopicId = TopicId::new(1);
const MISSING_TOPIC: TopicId = TopicId::new(9);
const MS: Duration = Duration::from_millis(1);

type Answer = Result<Placed, Refused>;

/// A proposal on its way, or in the log.
#[derive(Clone, Debug)]
struct Sent {
    token: Token,
    batch: u64,
    producer: ProducerId,
    sequence: Sequence,
    topic: TopicId,
}

/// What becomes of a proposal that is handed to the replica.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Logged,
    Refused(NotProposed),
    /// Nobody hears of it, and it may arrive later.
    Lost,
    /// The same, but the publisher is told so.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
enum Delivery {
    Once,
    Twice,
    Late,
    Lost,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Depart {
        topic: TopicId,
        is_full: bool,
        age: Duration,
    },
    Propose(Fate),
    Arrive,
    Apply,
    Answer(Delivery),
    Leader(bool),
    /// What is in the log and not applied is lost from some place on.
    Truncate {
        n_kept: usize,
        is_told: bool,
    },
    Pass(Duration),
    Expire,
}

/// What the log remembers of a producer.
#[derive(Default)]
struct Known {
    next: u64,
    /// The answers to the numbers right below `next`.
    answers: VecDeque<Answer>,
}

/// One publisher, and around it a naive model of all that its proposals meet.
struct World {
    publisher: Publisher<SplitMix>,
    now: Duration,
    wake_at: Option<Duration>,
    n_batches: u64,
    done: BTreeMap<u64, Result<Placed, PublishError>>,
    /// Proposals of each batch that are or may be anywhere: not refused, by whomever.
    n_left: BTreeMap<u64, usize>,
    wire: VecDeque<Sent>,
    limbo: VecDeque<Sent>,
    log: VecDeque<Sent>,
    answers: VecDeque<Published>,
    known: BTreeMap<ProducerId, Known>,
    stored: Vec<u64>,
}

impl World {
    fn new() -> Self {
        Self {
            publisher: Publisher::new(SplitMix::new(7)),
            now: Duration::from_secs(100),
            wake_at: None,
            n_batches: 0,
            done: BTreeMap::new(),
            n_left: BTreeMap::new(),
            wire: VecDeque::new(),
            limbo: VecDeque::new(),
            log: VecDeque::new(),
            answers: VecDeque::new(),
            known: BTreeMap::new(),
            stored: Vec::new(),
        }
    }

    fn led() -> Self {
        let mut world = Self::new();
        world.step(Input::LeaderIs(true));
        world
    }

    fn step(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.publisher.step(self.now, input, &mut outputs);
        assert!(self.publisher.n_out() <= PRODUCER_BATCHES_OUT_MAX);
        for output in outputs {
            match output {
                Output::Propose { proposal, sequence, section } => {
                    assert!(is_proposal(proposal));
                    let sent = sent(proposal, section);
                    assert_eq!(sent.sequence, sequence);
                    *self.n_left.entry(sent.batch).or_default() += 1;
                    self.wire.push_back(sent);
                }
                Output::Done { token, result } => self.end(token.get(), result),
                Output::WakeAt(at) => self.wake_at = Some(at),
            }
        }
    }

    fn end(&mut self, batch: u64, result: Result<Placed, PublishError>) {
        if let Ok(placed) = result {
            assert_eq!(self.stored[usize::try_from(placed.first.get()).unwrap()], batch);
        }
        let says_never_left =
            matches!(result, Err(PublishError::Unavailable | PublishError::StorageFull));
        if says_never_left {
            assert_eq!(self.n_left.get(&batch).copied().unwrap_or(0), 0, "batch {batch} left");
        }
        let before = self.done.insert(batch, result);
        assert_eq!(before, None, "batch {batch} ended twice");
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Depart { topic, is_full, age } => self.depart(topic, is_full, age),
            Op::Propose(fate) => self.propose(fate),
            Op::Arrive => self.log.extend(self.limbo.pop_front()),
            Op::Apply => self.apply(),
            Op::Answer(delivery) => self.answer(delivery),
            Op::Leader(is_led) => self.step(Input::LeaderIs(is_led)),
            Op::Truncate { n_kept, is_told } => {
                let cut = self.log.split_off(self.log.len().min(n_kept));
                for sent in cut.into_iter().filter(|_| is_told) {
                    self.step(Input::Unknown { proposal: sent.token });
                }
            }
            Op::Pass(time) => self.pass(time),
            Op::Expire => self.expire(),
        }
    }

    fn depart(&mut self, topic: TopicId, is_full: bool, age: Duration) {
        let opened = self.now - age;
        let next = Next { n_bytes: 100, is_full, opened };
        if !self.publisher.may_depart(&next, self.now) {
            return;
        }
        let batch = self.n_batches;
        self.n_batches += 1;
        let mut builder = RecordsBuilder::with_capacity(0);
        let payload = &batch.to_le_bytes();
        let event = NewEvent { id: "e", kind: "t.v1", key: b"", time_ms: 0, headers: b"", payload };
        builder.push(&event);
        self.step(Input::Depart { token: Token::new(batch), topic, builder, opened });
    }

    fn propose(&mut self, fate: Fate) {
        let Some(sent) = self.wire.pop_front() else { return };
        let proposal = sent.token;
        match fate {
            Fate::Logged => self.log.push_back(sent),
            Fate::Refused(reason) => {
                *self.n_left.get_mut(&sent.batch).unwrap() -= 1;
                self.step(Input::Refused { proposal, reason });
            }
            Fate::Lost => self.limbo.push_back(sent),
            Fate::Unknown => {
                self.limbo.push_back(sent);
                self.step(Input::Unknown { proposal });
            }
        }
    }

    /// The log's rule: the next number, or a repeat of a remembered one; else refused.
    fn apply(&mut self) {
        let Some(sent) = self.log.pop_front() else { return };
        let sequence = sent.sequence;
        let next = self.known.get(&sent.producer).map(|known| known.next);
        let result = match next.unwrap_or(0).cmp(&sequence.get()) {
            std::cmp::Ordering::Less if next.is_none() => Err(Refused::ProducerExpired),
            std::cmp::Ordering::Less => {
                let expected = Sequence::new(next.unwrap());
                Err(Refused::SequenceGap { sequence, expected })
            }
            std::cmp::Ordering::Equal => self.take(&sent),
            std::cmp::Ordering::Greater => {
                let known = &self.known[&sent.producer];
                let n_back = usize::try_from(known.next - sequence.get()).unwrap();
                let idx = known.answers.len().checked_sub(n_back);
                if idx.is_none() {
                    self.check_ended(&sent);
                }
                idx.map_or(Err(Refused::AnswerForgotten { sequence }), |idx| {
                    known.answers[idx].clone()
                })
            }
        };
        if let Err(Refused::ProducerExpired | Refused::SequenceGap { .. }) = result {
            *self.n_left.get_mut(&sent.batch).unwrap() -= 1;
        }
        self.answers.push_back(Published { producer: sent.producer, sequence, result });
    }

    fn take(&mut self, sent: &Sent) -> Answer {
        let first = Offset::new(self.stored.len() as u64);
        let answer = if sent.topic == MISSING_TOPIC {
            Err(Refused::NoSuchTopic { topic: sent.topic })
        } else {
            assert!(!self.stored.contains(&sent.batch), "batch {} is stored twice", sent.batch);
            self.stored.push(sent.batch);
            Ok(Placed { topic: sent.topic, first, n_events: 1 })
        };
        let known = self.known.entry(sent.producer).or_default();
        known.next += 1;
        known.answers.push_back(answer.clone());
        if known.answers.len() > PRODUCER_RESULTS_KEPT {
            known.answers.pop_front();
        }
        answer
    }

    /// The log may forget the answer only of a batch that the publisher no longer asks for.
    fn check_ended(&self, sent: &Sent) {
        let is_it = |batch: &Batch| batch.number == Some(sent.sequence);
        let is_out =
            self.publisher.producer == sent.producer && self.publisher.out.iter().any(is_it);
        assert!(!is_out, "the answer to batch {} is forgotten", sent.batch);
    }

    fn answer(&mut self, delivery: Delivery) {
        let Some(published) = self.answers.pop_front() else { return };
        match delivery {
            Delivery::Once => self.step(Input::Published(published)),
            Delivery::Twice => {
                self.answers.push_back(published.clone());
                self.step(Input::Published(published));
            }
            Delivery::Late => self.answers.push_back(published),
            Delivery::Lost => {}
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.wake_at.is_some_and(|at| at <= self.now) {
            self.wake_at = None;
            self.step(Input::Wake);
        }
    }

    /// The log forgets the producer. Not while number 0 is under way: of that one it cannot tell a
    /// repeat from a first time then, which is why it remembers producers for an hour.
    fn expire(&mut self) {
        let producer = self.publisher.producer;
        let is_first = |sent: &Sent| sent.producer == producer && sent.sequence == Sequence::new(0);
        let mut all = self.wire.iter().chain(&self.limbo).chain(&self.log);
        let is_out = self.publisher.out.iter().any(|batch| batch.number == Some(Sequence::new(0)));
        if !all.any(is_first) && !is_out {
            self.known.remove(&producer);
        }
    }

    /// There is a leader again.
    fn heal(&mut self) {
        self.step(Input::LeaderIs(true));
        self.settle();
    }

    /// Everything works: all that departed must end, by the wake-ups that were asked for.
    fn settle(&mut self) {
        for _ in 0..100 {
            let mut n_moves = 0;
            while self.wire.len() + self.limbo.len() + self.log.len() + self.answers.len() > 0 {
                n_moves += 1;
                assert!(n_moves < 1_000, "proposals go round and round");
                self.propose(Fate::Logged);
                self.log.extend(self.limbo.pop_front());
                self.apply();
                self.answer(Delivery::Once);
            }
            if self.publisher.n_out() == 0 {
                return;
            }
            let at = self.wake_at.expect("who waits for something asks to be woken");
            self.pass(at.saturating_sub(self.now));
        }
        panic!("batches are still out: {:?}", self.publisher);
    }

    fn check(&self) {
        assert_eq!(self.done.len() as u64, self.n_batches, "each batch ends");
        let mut last_ok = None;
        for (idx, batch) in self.stored.iter().enumerate() {
            match &self.done[batch] {
                Ok(placed) => {
                    assert_eq!(placed.first.get(), idx as u64);
                    assert!(last_ok < Some(*batch), "batch {batch} is stored out of order");
                    last_ok = Some(*batch);
                }
                Err(error) => assert_eq!(error, &PublishError::Unknown, "batch {batch} is stored"),
            }
        }
        let n_ok = self.done.values().filter(|result| result.is_ok()).count();
        let is_ok = |batch: &&u64| self.done[*batch].is_ok();
        assert_eq!(n_ok, self.stored.iter().filter(is_ok).count());
    }

    fn result(&self, batch: u64) -> Option<&Result<Placed, PublishError>> {
        self.done.get(&batch)
    }

    fn depart_now(&mut self) {
        self.depart(TOPIC, true, Duration::ZERO);
    }

    fn sequences_on_wire(&self) -> Vec<u64> {
        self.wire.iter().map(|sent| sent.sequence.get()).collect()
    }
}

fn sent(token: Token, section: bytes::Bytes) -> Sent {
    let records = Records::parse(section).unwrap();
    assert_eq!(records.check(), Ok(()));
    let event = records.events().next().unwrap().unwrap();
    let batch = u64::from_le_bytes(event.payload().try_into().unwrap());
    let Records { topic, producer, sequence, .. } = records;
    Sent { token, batch, producer, sequence, topic }
}

fn ops() -> impl Strategy<Value = Op> {
    let reason = prop_oneof![
        Just(NotProposed::NotLeader),
        Just(NotProposed::Busy),
        Just(NotProposed::StorageFull),
    ];
    let fate = prop_oneof![
        4 => Just(Fate::Logged),
        3 => reason.prop_map(Fate::Refused),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Unknown),
    ];
    let delivery = prop_oneof![
        5 => Just(Delivery::Once),
        1 => Just(Delivery::Twice),
        1 => Just(Delivery::Late),
        2 => Just(Delivery::Lost),
    ];
    let topic = prop_oneof![9 => Just(TOPIC), 1 => Just(MISSING_TOPIC)];
    let age = prop_oneof![9 => Just(0), 1 => 0..6_000_u32].prop_map(|ms| MS * ms);
    let depart = (topic, any::<bool>(), age).prop_map(|(topic, is_full, age)| Op::Depart {
        topic,
        is_full,
        age,
    });
    let time = prop_oneof![3 => 0..30_u32, 2 => 0..1_500_u32, 1 => 0..9_000_u32];
    prop_oneof![
        12 => depart,
        14 => fate.prop_map(Op::Propose),
        1 => Just(Op::Arrive),
        12 => Just(Op::Apply),
        12 => delivery.prop_map(Op::Answer),
        1 => Just(Op::Leader(false)),
        3 => Just(Op::Leader(true)),
        1 => (0..4_usize, any::<bool>())
            .prop_map(|(n_kept, is_told)| Op::Truncate { n_kept, is_told }),
        6 => time.prop_map(|ms| Op::Pass(MS * ms)),
        1 => Just(Op::Expire),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever is refused, lost, repeated or late: each batch ends once, is stored once at most
    /// and where its callers were told, in the order of departure; an error that denies storage is
    /// right; and once all works again, all ends. We try to break it with a world in which every
    /// message has its own fate.
    #[test]
    fn each_batch_ends_once_and_truly(ops in prop::collection::vec(ops(), 0..150)) {
        let mut world = World::led();
        for op in ops {
            world.run(op);
        }
        if world.publisher.is_led {
            // What was lost must be noticed without a new leader, too.
            world.settle();
        }
        world.heal();
        world.check();
    }
}

/// The plain way: number, proposal, answer.
#[test]
fn batch_is_proposed_and_answered() {
    let mut world = World::led();
    world.depart_now();
    assert_eq!(world.sequences_on_wire(), [0]);
    world.run(Op::Propose(Fate::Logged));
    world.run(Op::Apply);
    world.run(Op::Answer(Delivery::Once));
    let placed = Placed { topic: TOPIC, first: Offset::new(0), n_events: 1 };
    assert_eq!(world.result(0), Some(&Ok(placed)));
    assert_eq!(world.publisher.n_out(), 0);
}

/// While two batches are out the next one must wait and grow, unless it is full; the ninth waits
/// anyway, and for the oldest one's answer, not for just any.
#[test]
fn departures_are_bounded() {
    let mut world = World::new();
    let next = |is_full| Next { n_bytes: 1, is_full, opened: Duration::from_secs(100) };
    assert!(!world.publisher.may_depart(&next(true), world.now), "there is no leader yet");
    world.step(Input::LeaderIs(true));
    for n_out in 0..8 {
        assert_eq!(world.publisher.may_depart(&next(false), world.now), n_out < 2);
        assert!(world.publisher.may_depart(&next(true), world.now));
        world.depart_now();
    }
    assert!(!world.publisher.may_depart(&next(true), world.now));
    for delivery in [Delivery::Lost, Delivery::Once] {
        world.run(Op::Propose(Fate::Logged));
        world.run(Op::Apply);
        world.run(Op::Answer(delivery));
    }
    assert_eq!(world.publisher.n_out(), 7);
    assert!(!world.publisher.may_depart(&next(true), world.now));
}

/// A lost answer must be asked for again while the callers wait, and ever more rarely after that.
#[test]
fn lost_answers_are_asked_for_again() {
    let mut world = World::led();
    world.depart_now();
    let start = world.now;
    let mut asked = Vec::new();
    while asked.len() < 7 {
        if world.wire.pop_front().is_some() {
            asked.push((world.now - start).as_secs());
        }
        let at = world.wake_at.expect("there is a time to ask again");
        world.pass(at.saturating_sub(world.now));
    }
    assert_eq!(asked, [0, 1, 3, 7, 15, 23, 31]);
    assert_eq!(world.result(0), Some(&Err(PublishError::Unknown)));
    world.settle();
    assert_eq!(world.stored, [0]);
}

/// A gap must be closed at once and not by the timer, and each batch be sent again once only: the
/// batches behind the lost one must not circle meanwhile, for each round is a write to the log.
#[test]
fn gap_is_closed_at_once() {
    let mut world = World::led();
    world.depart_now();
    world.settle();
    (0..3).for_each(|_| world.depart_now());
    world.run(Op::Propose(Fate::Lost));
    world.limbo.clear();
    for _ in 0..2 {
        world.run(Op::Propose(Fate::Logged));
        world.run(Op::Apply);
    }
    world.run(Op::Answer(Delivery::Once));
    assert_eq!(world.sequences_on_wire(), [1, 2]);
    world.run(Op::Answer(Delivery::Once));
    assert_eq!(world.sequences_on_wire(), [1, 2, 3]);
    let before = world.now;
    world.settle();
    world.check();
    assert_eq!(world.now, before);
    assert_eq!(world.publisher.n_proposals, 7);
}

/// A new leader must get everything without an answer again, in order and under the same numbers.
#[test]
fn leader_change_sends_all_again() {
    let mut world = World::led();
    (0..3).for_each(|_| world.depart_now());
    (0..3).for_each(|_| world.run(Op::Propose(Fate::Lost)));
    world.step(Input::LeaderIs(false));
    assert_eq!(world.sequences_on_wire(), [0; 0]);
    world.step(Input::LeaderIs(true));
    assert_eq!(world.sequences_on_wire(), [0, 1, 2]);
}

/// With a leader that refuses for the whole time nothing left the process, and the callers must be
/// told so; with a proposal that was lost they must not. The number goes on to the next batch only
/// in the first case.
#[test]
fn deadline_tells_whether_anything_left() {
    let fates = [
        (Fate::Refused(NotProposed::Busy), PublishError::Unavailable, 0),
        (Fate::Lost, PublishError::Unknown, 1),
    ];
    for (fate, error, next) in fates {
        let mut world = World::led();
        world.depart_now();
        let start = world.now;
        while world.result(0).is_none() {
            world.propose(fate);
            let at = world.wake_at.expect("there is a deadline");
            world.pass(at.saturating_sub(world.now));
        }
        assert_eq!(world.now - start, PUBLISH_WAIT_MAX);
        assert_eq!(world.result(0), Some(&Err(error)));
        world.wire.clear();
        world.pass(PUBLISH_REFUSED_PAUSE);
        world.depart_now();
        assert_eq!(world.sequences_on_wire().last(), Some(&next));
        world.heal();
        world.check();
    }
}

/// Without a leader a batch stays open and grows; when its time is over it departs to be told.
#[test]
fn overdue_batch_is_told_at_once() {
    let mut world = World::new();
    world.depart(TOPIC, true, PUBLISH_WAIT_MAX - MS);
    assert_eq!(world.n_batches, 0);
    world.depart(TOPIC, false, PUBLISH_WAIT_MAX);
    assert_eq!(world.result(0), Some(&Err(PublishError::Unavailable)));
    assert_eq!(world.publisher.n_out(), 0);
}

/// A full disk must be told at once, and the batches behind must take over the number.
#[test]
fn full_storage_is_told_at_once() {
    let mut world = World::led();
    (0..2).for_each(|_| world.depart_now());
    (0..2).for_each(|_| world.run(Op::Propose(Fate::Refused(NotProposed::StorageFull))));
    for batch in 0..2 {
        assert_eq!(world.result(batch), Some(&Err(PublishError::StorageFull)));
    }
    world.pass(PUBLISH_REFUSED_PAUSE);
    world.depart_now();
    assert_eq!(world.sequences_on_wire(), [0]);
}

/// A batch that was refused must not lend its number to one behind while that one is in the log.
#[test]
fn refused_batch_keeps_its_number_beside_a_later_one() {
    let mut world = World::led();
    (0..2).for_each(|_| world.depart_now());
    world.run(Op::Propose(Fate::Refused(NotProposed::Busy)));
    world.run(Op::Propose(Fate::Logged));
    world.run(Op::Apply);
    world.pass(PUBLISH_REFUSED_PAUSE);
    assert_eq!(world.sequences_on_wire(), [0], "the second one is not known to be refused");
    world.run(Op::Answer(Delivery::Once));
    assert_eq!(world.sequences_on_wire(), [0, 1]);
    world.heal();
    world.check();
    assert_eq!(world.stored, [0, 1]);
}

/// A process that published nothing for so long that the log forgot it must go on under a fresh
/// id, without its callers noticing.
#[test]
fn idle_publisher_takes_a_fresh_id() {
    let mut world = World::led();
    world.depart_now();
    world.heal();
    let before = world.publisher.producer();
    world.known.clear();
    (0..3).for_each(|_| world.depart_now());
    world.settle();
    world.check();
    assert_ne!(world.publisher.producer(), before);
    assert_eq!(world.stored, [0, 1, 2, 3]);
}

/// A batch that may be stored must not be sent under a fresh id: it is unknown, for good.
#[test]
fn resent_batch_of_a_forgotten_producer_is_unknown() {
    let mut world = World::led();
    world.depart_now();
    world.heal();
    world.depart_now();
    world.run(Op::Propose(Fate::Logged));
    world.run(Op::Apply);
    world.run(Op::Answer(Delivery::Lost));
    world.known.clear();
    world.step(Input::LeaderIs(true));
    world.depart_now();
    world.settle();
    world.check();
    assert_eq!(world.result(1), Some(&Err(PublishError::Unknown)));
    assert_eq!(world.stored, [0, 1, 2]);
}

/// A batch whose answer is lost must not be sent again when the log may have forgotten its number.
#[test]
fn old_batch_is_given_up() {
    let mut world = World::led();
    world.depart_now();
    world.run(Op::Propose(Fate::Logged));
    world.run(Op::Apply);
    world.run(Op::Answer(Delivery::Lost));
    world.step(Input::LeaderIs(false));
    let before = world.publisher.producer();
    world.pass(PRODUCER_IDLE_MAX);
    world.known.clear();
    world.step(Input::LeaderIs(true));
    world.depart_now();
    world.settle();
    world.check();
    assert_eq!(world.result(0), Some(&Err(PublishError::Unknown)));
    assert_ne!(world.publisher.producer(), before);
    assert_eq!(world.stored, [0, 1]);
}

/// At the end of the node everyone must be told, truly.
#[test]
fn stop_tells_everyone() {
    let mut world = World::led();
    (0..2).for_each(|_| world.depart_now());
    world.run(Op::Propose(Fate::Logged));
    world.run(Op::Propose(Fate::Refused(NotProposed::Busy)));
    world.step(Input::Stop);
    assert_eq!(world.result(0), Some(&Err(PublishError::Unknown)));
    assert_eq!(world.result(1), Some(&Err(PublishError::Stopping)));
    assert_eq!(world.publisher.n_out(), 0);
}
