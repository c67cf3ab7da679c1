//! The state machine against a naive model: random entries, compared effect by effect.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tidings_types::effect::{Effect, Published};
use tidings_types::event::NewEvent;
use tidings_types::id::{GroupId, Incarnation, NodeId, ProducerId, Sequence, TopicId};
use tidings_types::layout::acks::{AckRange, Acks, Failure, FailureClass};
use tidings_types::layout::command::{Command, DeadLetter, DeadReason, GroupStart};
use tidings_types::layout::entry::SectionKind;
use tidings_types::layout::entry::{ENTRY_HEADER_BYTES, EntryBuilder, SECTION_HEADER_BYTES};
use tidings_types::layout::records::{Records, RecordsBuilder};
use tidings_types::layout::turn::Turn;
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::{LaneEpoch, LogIndex, Offset};

use crate::dead_letters::DeadLetterView;
use crate::naive_test::{Model, records};
use crate::state::State;

/// One section, before it is known what is next, current or stale.
#[derive(Clone, Debug)]
enum Op {
    /// `behind` 3 is the producer's next batch, less is one further on, more a repeat.
    Records {
        producer: u8,
        behind: u64,
        topic: u32,
        n_events: u32,
    },
    Acks {
        group: u32,
        topic: u32,
        ranges: Vec<(u64, u32)>,
        failures: Vec<(u64, Fence)>,
    },
    Turn {
        group: u32,
        topic: u32,
        offset: u64,
        fence: Fence,
        emitted: Vec<(u32, u32)>,
    },
    DeadLetter {
        group: u32,
        topic: u32,
        offset: u64,
        fence: Fence,
        is_whole: bool,
    },
    Redrive {
        group: u32,
        letters: Vec<(u32, u64)>,
    },
    RetryNow {
        group: u32,
        events: Vec<(u32, u64)>,
    },
    Discard {
        group: u32,
        letters: Vec<(u32, u64)>,
    },
    Edit {
        group: u32,
        topic: u32,
        offset: u64,
        payload: Vec<u8>,
        is_other: bool,
    },
    SetPaused {
        group: u32,
        is_paused: bool,
    },
    Seek {
        group: u32,
        topic: u32,
        to: u64,
    },
    CreateTopic {
        name: u8,
    },
    CreateGroup {
        name: u8,
        topics: Vec<u8>,
        start: GroupStart,
    },
    Join {
        group: u32,
        node: u32,
        incarnation: u64,
        n_left: u32,
    },
    Leave {
        group: u32,
        node: u32,
        incarnation: u64,
    },
    Checkpoint,
    /// Names one of the last checkpoints, or what was none or is none any more.
    Purge {
        n_back: usize,
    },
    /// Acks all that there is but the last events.
    Finish {
        group: u32,
        topic: u32,
        n_left: u64,
    },
    Garbage {
        kind: SectionKind,
        bytes: Vec<u8>,
    },
}

type Entries = Vec<(u64, Vec<Op>, bool)>;

/// Which lane an outcome is from, and how many moves ago.
type Fence = (u8, u32);

/// One of few groups, so that entries meet each other; now and then one that may not exist.
fn group_number() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![9 => 1_u32..3, 1 => 3_u32..5]
}

/// One of few topics; now and then one that may not exist.
fn topic_number() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![9 => 1_u32..3, 1 => 3_u32..6]
}

fn fence() -> impl Strategy<Value = Fence> {
    (any::<u8>(), prop_oneof![6 => Just(0), 1 => 1_u32..3])
}

fn outcome() -> impl Strategy<Value = Op> {
    let offset = 0_u64..10;
    let place = (group_number(), topic_number(), offset.clone());
    let ranges = prop::collection::vec((0_u64..10, 1_u32..4), 0..3);
    let failures = prop::collection::vec((0_u64..10, fence()), 0..3);
    let emitted =
        prop::collection::vec((topic_number(), prop_oneof![1 => Just(0), 9 => 1_u32..3]), 0..3);
    let letters = prop::collection::vec((topic_number(), offset), 0..16);
    let (edited, seek) = (place.clone(), place.clone());
    let payload = prop_oneof![Just(b"p".to_vec()), prop::collection::vec(0_u8..2, 0..2)];
    prop_oneof![
        4 => (group_number(), topic_number(), ranges, failures).prop_map(|(group, topic, ranges, failures)| {
            Op::Acks { group, topic, ranges, failures }
        }),
        3 => (place.clone(), fence(), emitted).prop_map(|((group, topic, offset), fence, emitted)| {
            Op::Turn { group, topic, offset, fence, emitted }
        }),
        3 => (place, fence(), prop::bool::weighted(0.9)).prop_map(
            |((group, topic, offset), fence, is_whole)| {
                Op::DeadLetter { group, topic, offset, fence, is_whole }
            }
        ),
        3 => (group_number(), topic_number(), prop_oneof![3 => Just(0_u64), 2 => 1_u64..4]).prop_map(
            |(group, topic, n_left)| Op::Finish { group, topic, n_left }
        ),
        3 => (group_number(), letters.clone()).prop_map(|(group, letters)| Op::Redrive { group, letters }),
        5 => (group_number(), letters.clone()).prop_map(|(group, events)| Op::RetryNow { group, events }),
        4 => (group_number(), letters).prop_map(|(group, letters)| Op::Discard { group, letters }),
        1 => (group_number(), any::<bool>()).prop_map(|(group, is_paused)| Op::SetPaused { group, is_paused }),
        2 => seek.prop_map(|(group, topic, to)| Op::Seek { group, topic, to }),
        6 => (edited, payload, prop::bool::weighted(0.3)).prop_map(
            |((group, topic, offset), payload, is_other)| {
                Op::Edit { group, topic, offset, payload, is_other }
            }
        ),
    ]
}

fn other() -> impl Strategy<Value = Op> {
    let start = prop_oneof![Just(GroupStart::Earliest), Just(GroupStart::Now)];
    let topics = prop::collection::vec(0_u8..4, 0..4);
    let member = (group_number(), 1_u32..4, 1_u64..4);
    let kinds = [SectionKind::Records, SectionKind::Acks, SectionKind::Turn, SectionKind::Command];
    let garbage = (prop::sample::select(kinds.to_vec()), prop::collection::vec(9_u8.., 0..16));
    prop_oneof![
        1 => (0_u8..4).prop_map(|name| Op::CreateTopic { name }),
        2 => (0_u8..3, topics, start)
            .prop_map(|(name, topics, start)| Op::CreateGroup { name, topics, start }),
        4 => (member.clone(), prop_oneof![2 => Just(0), 2 => Just(1), 1 => 2_u32..4])
            .prop_map(|((group, node, incarnation), n_left)| {
                Op::Join { group, node, incarnation, n_left }
            }),
        2 => member.prop_map(|(group, node, incarnation)| Op::Leave { group, node, incarnation }),
        3 => Just(Op::Checkpoint),
        3 => (0_usize..6).prop_map(|n_back| Op::Purge { n_back }),
        1 => garbage.prop_map(|(kind, bytes)| Op::Garbage { kind, bytes }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let behind = prop_oneof![9 => Just(3_u64), 3 => 0_u64..16];
    let producer = prop_oneof![1 => Just(0_u8), 5 => Just(1), 1 => Just(2)];
    let records = (producer, behind, topic_number(), prop_oneof![1 => Just(0), 9 => 1_u32..4]);
    prop_oneof![
        8 => records.prop_map(|(producer, behind, topic, n_events)| {
            Op::Records { producer, behind, topic, n_events }
        }),
        10 => outcome(),
        5 => other(),
    ]
}

/// An entry: how far time goes (an hour and more at times), its sections, and whether one of the
/// replicas is restarted behind it.
fn entry() -> impl Strategy<Value = (u64, Vec<Op>, bool)> {
    let step = prop_oneof![20 => 0_u64..1_000, 1 => 3_599_000_u64..3_602_000];
    let ops = prop::collection::vec(op(), 0..5);
    (step, prop_oneof![9 => ops, 1 => sweep()], any::<bool>())
}

/// Settles nearly everything and purges up to the last checkpoint, which else seldom comes about.
fn sweep() -> impl Strategy<Value = Vec<Op>> {
    (0_u64..3, 0_usize..3).prop_map(|(n_left, n_back)| {
        let mailboxes = (1..3).flat_map(|group| (1..3).map(move |topic| (group, topic)));
        let finish = |(group, topic)| Op::Finish { group, topic, n_left };
        mailboxes.map(finish).chain([Op::Purge { n_back }, Op::Checkpoint]).collect()
    })
}

/// Entries; behind a first one that makes two groups with members on two topics as a rule, so that
/// what follows finds something.
fn entries() -> impl Strategy<Value = Entries> {
    let group = |name| Op::CreateGroup { name, topics: vec![0, 1], start: GroupStart::Earliest };
    let join = |group| Op::Join { group, node: 1, incarnation: 1, n_left: 0 };
    let setup = (0, vec![group(0), group(1), join(1), join(2)], false);
    let setup = prop_oneof![4 => Just(vec![setup]), 1 => Just(Vec::new())];
    (setup, prop::collection::vec(entry(), 0..60)).prop_map(|(mut entries, more)| {
        entries.extend(more);
        entries
    })
}

fn topic_name(name: u8) -> TopicName {
    TopicName::new(format!("topic-{name}")).unwrap()
}

fn group_name(name: u8) -> GroupName {
    GroupName::new(format!("group-{name}")).unwrap()
}

/// A section as bytes, made with what the model knows at that moment.
fn section(op: &Op, model: &Model) -> (SectionKind, Bytes) {
    match op.clone() {
        Op::Records { producer, behind, topic, n_events } => {
            let producer = ProducerId::new([producer; 16]);
            let sequence = (model.next_sequence(producer) + 3).saturating_sub(behind);
            let bytes = records(TopicId::new(topic), n_events, producer, Sequence::new(sequence));
            (SectionKind::Records, bytes)
        }
        Op::Acks { group, topic, ranges, failures } => {
            let range = |&(start, len): &_| AckRange { start: Offset::new(start), len };
            let failure = |&(offset, fence): &_| Failure {
                offset: Offset::new(offset),
                lane_epoch: epoch(model, group, fence),
                class: FailureClass::Error,
                retry_at_ms: offset * 100,
                message: format!("attempt on {offset} failed"),
            };
            let acks = Acks {
                group: GroupId::new(group),
                topic: TopicId::new(topic),
                ranges: ranges.iter().map(range).collect(),
                failures: failures.iter().map(failure).collect(),
            };
            (SectionKind::Acks, acks.encode())
        }
        Op::Turn { group, topic, offset, fence, emitted } => {
            let emitted = emitted.iter().map(|&(topic, n)| plain_records(topic, n));
            let turn = Turn {
                group: GroupId::new(group),
                topic: TopicId::new(topic),
                offset: Offset::new(offset),
                lane_epoch: epoch(model, group, fence),
                emitted: emitted.collect(),
            };
            (SectionKind::Turn, turn.encode())
        }
        Op::Finish { group, topic, n_left } => {
            let (group, topic) = (GroupId::new(group), TopicId::new(topic));
            let n_settled = model.end(topic).unwrap_or(9).saturating_sub(n_left);
            let range = AckRange { start: Offset::ZERO, len: n_settled as u32 };
            let ranges = if n_settled == 0 { Vec::new() } else { vec![range] };
            let acks = Acks { group, topic, ranges, failures: Vec::new() };
            (SectionKind::Acks, acks.encode())
        }
        Op::Garbage { kind, bytes } => (kind, bytes.into()),
        other => (SectionKind::Command, command(other, model).encode().into()),
    }
}

fn command(op: Op, model: &Model) -> Command {
    match op {
        Op::DeadLetter { group, topic, offset, fence, is_whole } => {
            Command::DeadLetter(DeadLetter {
                group: GroupId::new(group),
                topic: TopicId::new(topic),
                offset: Offset::new(offset),
                lane_epoch: epoch(model, group, fence),
                reason: DeadReason::Fatal,
                message: "gave up".to_owned(),
                attempts: fence.1,
                records: plain_records(topic, is_whole.into()).to_vec(),
            })
        }
        Op::Redrive { group, letters } => {
            Command::Redrive { group: GroupId::new(group), letters: places(&letters) }
        }
        Op::RetryNow { group, events } => {
            Command::RetryNow { group: GroupId::new(group), events: places(&events) }
        }
        Op::Discard { group, letters } => {
            Command::Discard { group: GroupId::new(group), letters: places(&letters) }
        }
        Op::Edit { group, topic, offset, payload, is_other } => {
            // One that is there, as a rule: few are.
            let given = (GroupId::new(group), TopicId::new(topic), Offset::new(offset));
            let dead = model.dead().nth(offset as usize % model.dead().count().max(1));
            let (group, topic, offset) = dead.filter(|_| group != 2).unwrap_or(given);
            let records = edited_records(topic, &payload, is_other).to_vec();
            Command::EditLetter { group, topic, offset, records }
        }
        Op::SetPaused { group, is_paused } => {
            Command::SetPaused { group: GroupId::new(group), is_paused }
        }
        Op::Seek { group, topic, to } => {
            let (group, topic) = (GroupId::new(group), TopicId::new(topic));
            Command::Seek { group, topic, to: Offset::new(to) }
        }
        Op::CreateTopic { name } => Command::CreateTopic { name: topic_name(name) },
        Op::CreateGroup { name, topics, start } => {
            let topics = topics.into_iter().map(topic_name).collect();
            Command::CreateGroup { name: group_name(name), topics, start }
        }
        Op::Join { group, node, incarnation, n_left } => {
            let (group, node) = (GroupId::new(group), NodeId::new(node));
            Command::join(group, node, Incarnation::new(incarnation), n_left)
        }
        Op::Leave { group, node, incarnation } => Command::Leave {
            group: GroupId::new(group),
            node: NodeId::new(node),
            incarnation: Incarnation::new(incarnation),
        },
        Op::Checkpoint => Command::Checkpoint,
        Op::Purge { n_back } => {
            let index = model.checkpoints().get(n_back).copied();
            Command::Purge { index: index.unwrap_or(LogIndex::new(n_back as u64)) }
        }
        other => panic!("{other:?} is no command"),
    }
}

fn places(places: &[(u32, u64)]) -> Vec<(TopicId, Offset)> {
    places.iter().map(|&(topic, offset)| (TopicId::new(topic), Offset::new(offset))).collect()
}

fn epoch(model: &Model, group: u32, (lane, n_ago): Fence) -> LaneEpoch {
    let n_moves = model.n_moves(GroupId::new(group), lane).saturating_sub(n_ago);
    LaneEpoch::new(n_moves << 8 | u32::from(lane))
}

/// Records without a producer, as a turn and a dead letter have them.
fn plain_records(topic: u32, n_events: u32) -> Bytes {
    records(TopicId::new(topic), n_events, ProducerId::NONE, Sequence::new(0))
}

/// The event of `plain_records` with another payload, or another event.
fn edited_records(topic: TopicId, payload: &[u8], is_other: bool) -> Bytes {
    let plain = plain_records(topic.get(), 1);
    let event = Records::parse(plain).unwrap().events().next().unwrap().unwrap();
    let id = if is_other { "another" } else { event.id() };
    let mut builder = RecordsBuilder::with_capacity(0);
    builder.push(&NewEvent { id, payload, ..event.as_new() });
    builder.finish(topic, ProducerId::NONE, Sequence::new(0))
}

/// Where the sections' bodies begin, told apart from the parser.
fn next_at(at: &mut usize, body: &Bytes) -> u32 {
    *at += SECTION_HEADER_BYTES;
    let begin = *at as u32;
    *at += body.len();
    begin
}

/// Applies entries to the model and to two replicas, one of which is restarted from its checkpoint
/// again and again, and compares all three; tells each kind of effect. A checkpoint is a clone, and
/// must stay what it was while its original goes on.
fn compare(entries: Entries, tell: &mut impl FnMut(&Effect)) -> State {
    let (mut model, mut state, mut restarted) = (Model::default(), State::new(), State::new());
    let mut checkpoint = (state.clone(), state.encode());
    for (number, (step_ms, ops, restarts)) in (1..).zip(entries) {
        let index = LogIndex::new(number);
        model.begin(index, step_ms);
        let mut builder = EntryBuilder::with_capacity(0);
        let mut at = ENTRY_HEADER_BYTES;
        for op in &ops {
            let (kind, body) = section(op, &model);
            builder.push(kind, &body);
            model.apply(next_at(&mut at, &body), kind, body);
        }
        model.finish();
        let data = builder.finish(NodeId::new(1), model.ts_ms());

        let mut effects = Vec::new();
        state.apply(index, &data, &mut effects).unwrap();
        assert_eq!(&effects, model.effects());
        assert_eq!(state.group_snapshots(), model.snapshots());
        model.compare_views(&state);
        for effect in &effects {
            if let Effect::Accepted(accepted) = effect {
                let at = accepted.at as usize;
                assert_eq!(data[at..at + accepted.records.len()], accepted.records);
            }
            tell(effect);
        }

        let mut again: Vec<Effect> = Vec::new();
        restarted.apply(index, &data, &mut again).unwrap();
        assert_eq!(again, effects);
        if restarts {
            let (clone, bytes) = &checkpoint;
            assert_eq!(clone.encode(), *bytes, "a clone changed with its original");
            checkpoint = (state.clone(), state.encode());
            restarted = State::decode(&restarted.encode()).unwrap();
            assert_eq!(restarted, state);
            assert_eq!(restarted.encode(), checkpoint.1);
        }
    }
    state
}

/// All kinds of effects, down to why something was refused.
const KINDS: [&str; 38] = [
    "Accepted",
    "Answered Discarded",
    "Answered Done",
    "Answered Group",
    "Answered LeftSince",
    "Answered Malformed",
    "Answered NoSuchGroup",
    "Answered NoSuchLetter",
    "Answered NoSuchOffset",
    "Answered NoSuchTopic",
    "Answered NotACheckpoint",
    "Answered OtherEvent",
    "Answered PurgePinned",
    "Answered Redriven",
    "Answered Retried",
    "Answered StaleIncarnation",
    "Answered Topic",
    "Checkpoint",
    "Discarded",
    "Failed",
    "GroupChanged",
    "LanesMoved",
    "OutcomeRefused AlreadySettled",
    "OutcomeRefused LaneMoved",
    "OutcomeRefused NoSuchEvent",
    "Paused",
    "Published AnswerForgotten",
    "Published Malformed",
    "Published NoSuchTopic",
    "Published Placed",
    "Published ProducerExpired",
    "Published SequenceGap",
    "Purge",
    "Redriven",
    "RetryNow",
    "Settled",
    "Sought",
    "TopicCreated",
];

fn kind(effect: &Effect) -> String {
    let text = match effect {
        Effect::Published(Published { result: Ok(placed), .. }) => format!("Published {placed:?}"),
        Effect::Published(Published { result: Err(why), .. }) => format!("Published {why:?}"),
        Effect::Answered { answer: Ok(answer), .. } => format!("Answered {answer:?}"),
        Effect::Answered { answer: Err(why), .. } => format!("Answered {why:?}"),
        Effect::OutcomeRefused { why, .. } => format!("OutcomeRefused {why:?}"),
        other => format!("{other:?}").replace(['(', ' '], "{"),
    };
    text.split(" {").next().and_then(|text| text.split(['(', '{']).next()).unwrap().to_owned()
}

/// The comparison must meet every answer that there is: one that never comes up is not compared.
/// We count the kinds of effects over runs that are the same each time.
#[test]
fn entries_bring_about_every_kind_of_effect() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let (mut n_begun_later, mut n_edited) = (0, 0);
    for _ in 0..240 {
        let entries = entries().new_tree(&mut runner).unwrap().current();
        let state = compare(entries, &mut |effect| *seen.entry(kind(effect)).or_default() += 1);
        for group in state.groups() {
            let letters = state.dead_letters(group.id);
            let original = |letter: &DeadLetterView| {
                state.original(group.id, letter.topic, letter.offset).is_some()
            };
            n_edited += letters.filter(|letter| original(letter)).count();
        }
        n_begun_later += state.topics().filter(|topic| Offset::ZERO < topic.start).count();
    }
    assert!(20 < n_begun_later, "purges took no events: {n_begun_later}");
    assert!(5 < n_edited, "few letters were edited: {n_edited}");
    let missing: Vec<_> = KINDS.iter().filter(|&&kind| !seen.contains_key(kind)).collect();
    assert!(missing.is_empty(), "never came up: {missing:?}; seen: {seen:#?}");
}

/// A model that finds no mistake proves nothing. We plant each bug of the state, in a process of its
/// own because a bug is planted for a whole one, and the comparison must fail there.
#[cfg(feature = "bugs")]
#[test]
#[expect(clippy::disallowed_methods, reason = "the child must be told which bug")]
fn planted_bugs_are_caught() {
    use std::panic::catch_unwind;

    use tidings_types::bugs::{Bug, plant};

    const PLANT: &str = "TIDINGS_STATE_BUG";
    const RUNS_MAX: usize = 200;
    if let Ok(name) = std::env::var(PLANT) {
        plant(Some(Bug::named(&name).unwrap()));
        let mut runner = TestRunner::deterministic();
        let mut entries = (1..=RUNS_MAX).map(|n| (n, entries().new_tree(&mut runner).unwrap()));
        let caught = entries.find(|(_, tree)| {
            let entries = tree.current();
            catch_unwind(|| drop(compare(entries, &mut |_| {}))).is_err()
        });
        let (n_runs, _) = caught.expect("the model finds it");
        plant(None);
        println!("\n{name}: caught in run {n_runs} of at most 60 entries");
        return;
    }
    for bug in [Bug::HwmDedup, Bug::CursorMaxNotContiguous, Bug::NoLeaseEpoch] {
        let this_test = "model_test::planted_bugs_are_caught";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let child = child.args([this_test, "--exact", "--nocapture"]).env(PLANT, bug.name());
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let caught = text.lines().find(|line| line.contains(": caught in run"));
        assert!(output.status.success(), "{}: {text}", bug.name());
        println!("{}", caught.expect("the child tells"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever comes, the state must say and hold what the naive model does, which keeps plain
    /// sets and whole histories: floors that pass no gap, answers to repeats, fenced outcomes.
    #[test]
    fn state_answers_like_the_model(entries in entries()) {
        drop(compare(entries, &mut |_| {}));
    }

    /// No section, however mangled, may make a replica panic: all of them would, at every start.
    #[test]
    fn no_section_makes_it_panic(sections in prop::collection::vec(
        (0_usize..4, prop::collection::vec(prop_oneof![Just(0_u8), 0_u8..4, any::<u8>()], 0..64)),
        0..9,
    )) {
        let mut builder = EntryBuilder::with_capacity(0);
        let setup = Command::CreateGroup {
            name: group_name(0),
            topics: vec![topic_name(0)],
            start: GroupStart::Now,
        };
        builder.push(SectionKind::Command, &setup.encode());
        let kinds =
            [SectionKind::Records, SectionKind::Acks, SectionKind::Turn, SectionKind::Command];
        for (kind_idx, bytes) in sections {
            builder.push(kinds[kind_idx], &bytes);
        }
        let data = builder.finish(NodeId::new(1), 1);
        let mut state = State::new();
        state.apply(LogIndex::new(1), &data, &mut Vec::new()).unwrap();
        prop_assert_eq!(State::decode(&state.encode()), Ok(state));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Rot in a checkpoint must not make a replica panic, and whatever still decodes must be a state
    /// that can be written and read. We flip bits of states that have seen much.
    #[test]
    fn no_bytes_make_decoding_panic(
        bytes in any::<Vec<u8>>(),
        entries in entries(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 32),
    ) {
        let _ = State::decode(&bytes);
        let whole = compare(entries, &mut |_| {}).encode();
        for (at, flip) in flips {
            let mut flipped = whole.clone();
            flipped[at.index(whole.len())] ^= flip;
            if let Ok(state) = State::decode(&flipped) {
                prop_assert_eq!(State::decode(&state.encode()), Ok(state));
            }
        }
    }
}
