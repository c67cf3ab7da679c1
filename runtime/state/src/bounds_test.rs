//! Each bound of the state, reached: nothing is dropped, and what is refused changes nothing.

use bytes::Bytes;
use tidings_types::effect::{Answer, Effect, OutcomeRefused, Placed, Refused};
use tidings_types::id::{ProducerId, Sequence};
use tidings_types::layout::acks::{Acks, Failure, FailureClass};
use tidings_types::layout::command::Command;
use tidings_types::layout::entry::SectionKind;
use tidings_types::layout::records::{RECORDS_HEADER_BYTES, Records};
use tidings_types::limits::{
    DEAD_LETTER_BYTES_MAX, GROUP_DEAD_LETTERS_MAX, GROUPS_MAX, MAILBOXES_MAX, MESSAGE_BYTES_MAX,
    PRODUCERS_MAX, SUBSCRIPTIONS_MAX, TOPICS_MAX,
};
use tidings_types::name::TopicName;
use tidings_types::offset::{LaneEpoch, LogIndex, Offset};

use crate::naive_test::records;
use crate::publishers::{Publishers, Verdict};
use crate::room::{FAILED_MESSAGE_BYTES_MAX, LETTER_OVERHEAD_BYTES};
use crate::state::State;
use crate::support_test::{
    GROUP, TOPIC, ack, apply, bury, command, create_group, names, redrive, standing, with_events,
};
use crate::view::Standing;

fn is_full(effect: &Effect) -> bool {
    matches!(effect, Effect::OutcomeRefused { why: OutcomeRefused::DeadLettersFull, .. })
}

/// A full house of dead letters must refuse the next one and keep its event waiting, and a redriven
/// event must find its place again. `n_fit` letters fit.
fn fill_and_redrive(mut state: State, n_fit: u64, section: &[u8]) {
    for offset in 0..n_fit {
        assert!(matches!(bury(&mut state, offset, section), Effect::Settled { dead: true, .. }));
    }
    assert!(is_full(&bury(&mut state, n_fit, section)));
    assert!(matches!(standing(&state, n_fit), Standing::Waiting { .. }));

    // Redriving one makes no room: it may die again, and does, whatever else wants its place.
    assert_eq!(redrive(&mut state, 3), Ok(Answer::Redriven(1)));
    assert!(is_full(&bury(&mut state, n_fit, section)));
    assert_eq!(State::decode(&state.encode()).as_ref(), Ok(&state));
    // It keeps its payload, so that a longer one cannot ask for room that is not there.
    let longer = [section, &[0; 9]].concat();
    assert!(matches!(bury(&mut state, 3, &longer), Effect::Settled { dead: true, .. }));
    assert_eq!(standing(&state, 3), Standing::Dead);
    assert!(state.dead_letters(GROUP).all(|letter| letter.records == section));

    // Once it is handled, there is room for exactly one more.
    redrive(&mut state, 3).unwrap();
    ack(&mut state, 3, 1);
    assert!(matches!(bury(&mut state, n_fit, section), Effect::Settled { dead: true, .. }));
    assert!(is_full(&bury(&mut state, n_fit + 1, section)));
    let letter = state.dead_letters(GROUP).last().unwrap();
    assert_eq!(letter.message.len(), MESSAGE_BYTES_MAX);
}

#[test]
fn dead_letters_are_bounded_by_their_number() {
    let n_fit = GROUP_DEAD_LETTERS_MAX as u64;
    let section = records(TOPIC, 1, ProducerId::NONE, Sequence::new(0));
    fill_and_redrive(with_events(n_fit as u32 + 9), n_fit, &section);
}

#[test]
fn dead_letters_are_bounded_by_their_bytes() {
    let small = records(TOPIC, 1, ProducerId::NONE, Sequence::new(0));
    let mut section = small.to_vec();
    section.resize(1 << 20, 0);
    assert_eq!(Records::parse(Bytes::from(section.clone())).unwrap().n_events, 1);
    let n_fit = DEAD_LETTER_BYTES_MAX / (section.len() + LETTER_OVERHEAD_BYTES);
    assert!(n_fit < GROUP_DEAD_LETTERS_MAX && RECORDS_HEADER_BYTES < section.len());
    fill_and_redrive(with_events(100), n_fit as u64, &section);
}

/// A failure without room for its message must count all the same, and messages of what is settled
/// must make room again.
#[test]
fn messages_of_failures_are_bounded() {
    let n_fit = (FAILED_MESSAGE_BYTES_MAX / MESSAGE_BYTES_MAX) as u64;
    let mut state = with_events(n_fit as u32 + 1);
    let fail = |state: &mut State, offsets: std::ops::Range<u64>| {
        let failure = |offset| Failure {
            offset: Offset::new(offset),
            lane_epoch: LaneEpoch::ZERO,
            class: FailureClass::Panic,
            retry_at_ms: 9,
            message: "x".repeat(MESSAGE_BYTES_MAX),
        };
        let failures = offsets.map(failure).collect();
        let acks = Acks { group: GROUP, topic: TOPIC, ranges: Vec::new(), failures };
        apply(state, SectionKind::Acks, &acks.encode());
    };
    let waiting = |n_bytes, attempts| {
        let message = "x".repeat(n_bytes);
        Standing::Waiting { attempts, retry_at_ms: 9, message }
    };
    (0..n_fit).step_by(1_024).for_each(|start| fail(&mut state, start..start + 1_024));
    assert_eq!(standing(&state, n_fit - 1), waiting(MESSAGE_BYTES_MAX, 1));
    fail(&mut state, n_fit..n_fit + 1);
    assert_eq!(standing(&state, n_fit), waiting(0, 1));
    assert_eq!(State::decode(&state.encode()).as_ref(), Ok(&state));

    ack(&mut state, 0, 1);
    fail(&mut state, n_fit..n_fit + 1);
    assert_eq!(standing(&state, n_fit), waiting(MESSAGE_BYTES_MAX, 2));
}

/// One publisher too many must push out the one that was silent longest and no other, and whoever
/// is pushed out must not have a batch stored twice.
#[test]
fn publishers_are_bounded() {
    let producer = |number: usize| ProducerId::new((number as u128 + 1).to_le_bytes());
    let placed = Placed { topic: TOPIC, first: Offset::ZERO, n_events: 1 };
    let (first, second) = (Sequence::new(0), Sequence::new(1));
    let mut publishers = Publishers::default();
    for number in 0..PRODUCERS_MAX {
        assert_eq!(publishers.judge(producer(number), first, 1), Verdict::Next);
        publishers.answer((producer(number), first), Ok(placed), 1);
    }
    // The one that would be the first to go speaks up.
    assert_eq!(publishers.judge(producer(0), first, 2), Verdict::Known(Ok(placed)));
    assert_eq!(publishers.judge(producer(PRODUCERS_MAX), first, 3), Verdict::Next);
    publishers.answer((producer(PRODUCERS_MAX), first), Ok(placed), 3);
    let numbers = 0..=PRODUCERS_MAX;
    let verdicts = numbers.map(|number| publishers.judge(producer(number), second, 3));
    let mut gone = verdicts.zip(0..).filter(|(verdict, _)| *verdict != Verdict::Next);
    let (verdict, number) = gone.next().unwrap();
    assert_eq!(verdict, Verdict::Known(Err(Refused::ProducerExpired)));
    assert_ne!(number, 0);
    assert_eq!(gone.next(), None);
}

#[test]
fn an_idle_publisher_is_forgotten_after_an_hour() {
    let producer = ProducerId::new([1; 16]);
    let placed = Placed { topic: TOPIC, first: Offset::ZERO, n_events: 1 };
    let mut publishers = Publishers::default();
    let (first, second) = (Sequence::new(0), Sequence::new(1));
    publishers.answer((producer, first), Ok(placed), 5);
    publishers.expire(5 + 3_600_000);
    let known = publishers.clone().judge(producer, first, 5 + 3_600_000);
    assert_eq!(known, Verdict::Known(Ok(placed)));
    publishers.expire(6 + 3_600_000);
    let expired = publishers.judge(producer, second, 6 + 3_600_000);
    assert_eq!(expired, Verdict::Known(Err(Refused::ProducerExpired)));
    assert_eq!(publishers, Publishers::default());
}

/// A group that would need a topic too many must not be made, nor any of its topics.
#[test]
fn topics_are_bounded() {
    let mut state = State::new();
    for name in names("topic", TOPICS_MAX - 1) {
        let name = TopicName::new(name).unwrap();
        command(&mut state, Command::CreateTopic { name }).unwrap();
    }
    let refused = create_group(&mut state, "group", &names("new", 2));
    assert_eq!(refused, Err(Refused::TooManyTopics));
    assert_eq!((state.topics().count(), state.groups().count()), (TOPICS_MAX - 1, 0));
    // The same topic twice is one.
    let twice = ["new".to_owned(), "new".to_owned(), "topic-7".to_owned()];
    assert_eq!(create_group(&mut state, "group", &twice), Ok(Answer::Group(GROUP)));
    let name = TopicName::new("one-more").unwrap();
    let refused = command(&mut state, Command::CreateTopic { name });
    assert_eq!(refused, Err(Refused::TooManyTopics));
    assert_eq!(create_group(&mut state, "group", &twice), Ok(Answer::Group(GROUP)));
}

#[test]
fn subscriptions_are_bounded() {
    let mut state = State::new();
    let topics = names("topic", SUBSCRIPTIONS_MAX + 1);
    let refused = create_group(&mut state, "group", &topics);
    assert_eq!((refused, state.topics().count()), (Err(Refused::TooManySubscriptions), 0));
    let n_full = MAILBOXES_MAX / SUBSCRIPTIONS_MAX;
    for name in names("group", n_full) {
        create_group(&mut state, &name, &topics[1..]).unwrap();
        let refused = create_group(&mut state, &name, &topics);
        assert_eq!(refused, Err(Refused::TooManySubscriptions));
        create_group(&mut state, &name, &topics[1..]).unwrap();
    }
    let refused = create_group(&mut state, "group", &topics[..1]);
    assert_eq!(refused, Err(Refused::TooManySubscriptions));
}

#[test]
fn groups_are_bounded() {
    let mut state = State::new();
    for name in names("group", GROUPS_MAX) {
        create_group(&mut state, &name, &[]).unwrap();
    }
    let refused = create_group(&mut state, "group", &names("topic", 1));
    assert_eq!((refused, state.topics().count()), (Err(Refused::TooManyGroups), 0));
    assert!(create_group(&mut state, "group-3", &names("topic", 1)).is_ok());
}

/// An entry that is malformed as a whole must change nothing, so that the replica can stop at it;
/// one without data must pass.
#[test]
fn entries_without_data_pass_and_malformed_ones_do_not() {
    let mut state = State::new();
    let mut effects = Vec::new();
    assert_eq!(state.apply(LogIndex::new(1), &Bytes::new(), &mut effects), Ok(()));
    let before = state.clone();
    assert!(state.apply(LogIndex::new(2), &Bytes::from_static(b"\x09"), &mut effects).is_err());
    assert_eq!((state, effects), (before, Vec::new()));
}
