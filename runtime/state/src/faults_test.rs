//! Rows of the fault matrix as the state alone must stand them: repeats, gaps, purges.

use proptest::prelude::*;
use tidings_types::effect::{Answer, Effect, Placed, Published, Refused};
use tidings_types::id::{GroupId, ProducerId, Sequence, TopicId};
use tidings_types::layout::command::Command;
use tidings_types::layout::entry::SectionKind;
use tidings_types::limits::{PRODUCER_BATCHES_OUT_MAX, PRODUCER_RESULTS_KEPT};
use tidings_types::offset::{LogIndex, Offset};

use crate::naive_test::records;
use crate::state::State;
use crate::support_test::{
    GROUP, TOPIC, ack, apply, bury, command, create_group, names, redrive, standing, with_events,
};
use crate::view::Standing;

type Result<T> = std::result::Result<T, Refused>;

const PRODUCER: ProducerId = ProducerId::new([7; 16]);

/// A batch arrives once more, or for the first time. The number of its events is its sequence's, so
/// that no two batches look the same. Tells its answer, and where it was stored by this.
fn send(state: &mut State, sequence: u64) -> (Result<Placed>, Option<Placed>) {
    let n_events = sequence as u32 % 3 + 1;
    let section = records(TOPIC, n_events, PRODUCER, Sequence::new(sequence));
    let (mut answer, mut stored) = (None, None);
    for effect in apply(state, SectionKind::Records, &section) {
        match effect {
            Effect::Published(Published { result, .. }) => answer = Some(result),
            Effect::Accepted(accepted) => stored = Some(accepted.placed),
            other => panic!("a batch does not bring about {other:?}"),
        }
    }
    (answer.expect("each batch is answered"), stored)
}

fn restarted(state: &State) -> State {
    State::decode(&state.encode()).expect("what was written can be read")
}

/// F42: a batch whose answer was lost must get the same offset when it is sent again, however often,
/// and be stored once: at once, behind later batches, after a restart from a checkpoint, and when
/// the producer was silent for nearly as long as it is remembered.
#[test]
fn f42_a_batch_whose_answer_was_lost_gets_the_same_offset_again() {
    let mut state = State::new();
    create_group(&mut state, "group", &names("topic", 1)).unwrap();
    let kept = PRODUCER_RESULTS_KEPT as u64;
    let firsts: Vec<_> = (0..kept).map(|sequence| send(&mut state, sequence)).collect();
    let end = state.topic(TOPIC).unwrap().end;
    let mut offset = Offset::ZERO;
    for (answer, stored) in &firsts {
        assert_eq!(answer.as_ref().ok(), stored.as_ref());
        let placed = stored.expect("it was its turn");
        assert_eq!(placed.first, offset);
        offset = placed.first.plus(placed.n_events.into());
    }

    for _ in 0..3 {
        for (sequence, (answer, _)) in (0..).zip(&firsts) {
            assert_eq!(send(&mut state, sequence), (answer.clone(), None), "sequence {sequence}");
        }
        state = restarted(&state);
    }
    assert_eq!(state.topic(TOPIC).unwrap().end, end);
    // The next one pushes the oldest answer out: that batch is neither stored again nor denied.
    send(&mut state, kept).1.expect("it is the next one");
    let (answer, stored) = send(&mut restarted(&state), 0);
    assert_eq!(stored, None);
    assert_eq!(answer, Err(Refused::AnswerForgotten { sequence: Sequence::new(0) }));
}

/// One batch on its way: how many later ones overtake it, how often it arrives, and whether its
/// producer hears the answer.
type Way = (u64, usize, bool);

fn ways() -> impl Strategy<Value = Vec<Way>> {
    let heard = prop::bool::weighted(0.8);
    let n_arrivals = prop_oneof![1 => Just(0_usize), 4 => Just(1), 1 => Just(2)];
    let late = prop_oneof![3 => Just(0_u64), 1 => 1_u64..12];
    prop::collection::vec((late, n_arrivals, heard), 1..40)
}

/// What arrives while one leader leads, in this order: the batches that are out, over and over. One
/// that never arrives was lost with the leader.
fn arrivals(n_answered: u64, ways: Vec<Way>) -> Vec<(u64, bool)> {
    let out = n_answered..n_answered + PRODUCER_BATCHES_OUT_MAX as u64;
    let departures = (0_u64..).zip(out.cycle().zip(ways));
    let arrive = |(at, (sequence, (late, n, heard)))| vec![(at + late, sequence, heard); n];
    let mut arrivals: Vec<_> = departures.flat_map(arrive).collect();
    arrivals.sort();
    arrivals.into_iter().map(|(_, sequence, heard)| (sequence, heard)).collect()
}

proptest! {
    /// F43: while leaders change, batches of a pipelining producer get lost, are repeated and
    /// overtake each other. No batch may pass over a missing one, none may be called stored that is
    /// not in the log, and none may be stored twice. We let batches arrive in nearly any order over
    /// several leaders, each of which may have started from a checkpoint; the producer sends all
    /// that it has no answer to, again and again, as it does.
    #[test]
    fn f43_pipelined_batches_neither_leave_a_gap_nor_pass_for_stored(
        leaders in prop::collection::vec((ways(), any::<bool>()), 1..6),
    ) {
        let mut state = State::new();
        create_group(&mut state, "group", &names("topic", 1)).unwrap();
        let mut log: Vec<Placed> = Vec::new();
        let mut n_answered = 0_u64;
        for (ways, restarts) in leaders {
            if restarts {
                state = restarted(&state);
            }
            for (sequence, is_heard) in arrivals(n_answered, ways) {
                let next = log.len() as u64;
                let (answer, stored) = send(&mut state, sequence);
                if let Some(placed) = stored {
                    prop_assert_eq!(sequence, next, "stored twice, or over a gap");
                    log.push(placed);
                }
                match answer {
                    Ok(placed) => prop_assert_eq!(log.get(sequence as usize), Some(&placed)),
                    // Sent before its answer was heard, and so long ago that it is forgotten.
                    Err(Refused::AnswerForgotten { .. }) => prop_assert!(sequence < n_answered),
                    Err(Refused::SequenceGap { expected, .. }) => {
                        prop_assert!(next < sequence);
                        prop_assert_eq!(expected.get(), next);
                    }
                    // Of a producer that nothing is known of, only the first batch may be stored.
                    Err(Refused::ProducerExpired) => prop_assert!(next == 0 && 0 < sequence),
                    Err(other) => prop_assert!(false, "{:?}", other),
                }
                let is_stored = sequence < log.len() as u64;
                n_answered += u64::from(is_heard && is_stored && sequence == n_answered);
            }
        }
        let mut offset = Offset::ZERO;
        for placed in &log {
            prop_assert_eq!(placed.first, offset);
            offset = offset.plus(placed.n_events.into());
        }
        prop_assert_eq!(state.topic(TOPIC).unwrap().end, offset);
    }
}

fn checkpoint(state: &mut State) -> LogIndex {
    command(state, Command::Checkpoint).unwrap();
    state.applied()
}

fn purge(state: &mut State, index: LogIndex) -> Result<Answer> {
    command(state, Command::Purge { index })
}

fn start(state: &State) -> u64 {
    state.topic(TOPIC).unwrap().start.get()
}

/// F45: a purge must never take an event that a group has not settled, and must say who needs it;
/// a refused one changes nothing. The group lags first, then settles all but one event, also out of
/// order above it, then that one too. A group that comes later begins at the earliest event.
#[test]
fn f45_a_lagging_group_holds_the_log() {
    let mut state = with_events(10);
    let index = checkpoint(&mut state);
    apply(&mut state, SectionKind::Records, &records(TOPIC, 5, ProducerId::NONE, Sequence::new(0)));
    let pinned = |floor| {
        let floor = Offset::new(floor);
        Err(Refused::PurgePinned { group: GROUP, topic: TOPIC, floor })
    };
    assert_eq!(purge(&mut state, index), pinned(0));
    ack(&mut state, 0, 4);
    ack(&mut state, 5, 10);
    let before = state.clone();
    assert_eq!(purge(&mut state, index), pinned(4));
    state.applied = before.applied;
    assert_eq!(state, before, "what was refused left something behind");
    let refused = purge(&mut state, LogIndex::new(1));
    assert_eq!(refused, Err(Refused::NotACheckpoint { index: LogIndex::new(1) }));

    // What refuses before a restart must refuse behind it, or replicas come to differ.
    let mut state = restarted(&state);
    assert_eq!(purge(&mut state, index), pinned(4));
    ack(&mut state, 4, 1);
    assert_eq!(state.check_purge(index), Ok(()));
    let purge_it = Command::Purge { index }.encode();
    let effects = apply(&mut state, SectionKind::Command, &purge_it);
    let done = Effect::Answered { section: 0, answer: Ok(Answer::Done) };
    assert_eq!(effects, [Effect::Purge { index }, done]);
    assert_eq!((start(&state), state.topic(TOPIC).unwrap().end.get()), (10, 15));
    assert_eq!(state.checkpoints().collect::<Vec<_>>(), [index]);

    create_group(&mut state, "late", &names("topic", 1)).unwrap();
    let late = state.groups().last().unwrap().mailboxes[0];
    assert_eq!((late.floor.get(), late.lag), (10, 5));
    assert_eq!(State::decode(&state.encode()), Ok(state));
}

/// F45: what would go is judged by the whole Checkpoint entry, not by the moment of its command:
/// events that stand behind the command in the same entry go with it. We put some there.
#[test]
fn f45_events_behind_the_command_in_its_entry_hold_the_log_too() {
    let mut state = with_events(2);
    ack(&mut state, 0, 2);
    let mut builder = tidings_types::layout::entry::EntryBuilder::with_capacity(0);
    builder.push(SectionKind::Command, &Command::Checkpoint.encode());
    let section = records(TOPIC, 3, ProducerId::NONE, Sequence::new(0));
    builder.push(SectionKind::Records, &section);
    let (index, mut effects) = (state.applied().next(), Vec::new());
    let data = builder.finish(tidings_types::id::NodeId::new(1), 9);
    state.apply(index, &data, &mut effects).unwrap();
    let floor = Offset::new(2);
    let pinned = Err(Refused::PurgePinned { group: GROUP, topic: TOPIC, floor });
    assert_eq!(purge(&mut state, index), pinned);
    ack(&mut state, 2, 3);
    assert_eq!(purge(&mut state, index), Ok(Answer::Done));
    assert_eq!(start(&state), 5);
}

/// F45: a dead letter must outlive the log, for it carries its payload: it is listed, redriven and
/// buried again as before the purge. Before it is dead, an event with failed attempts holds the log
/// like any other.
#[test]
fn f45_dead_letters_outlive_the_log() {
    let mut state = with_events(4);
    let letter = records(TOPIC, 1, ProducerId::NONE, Sequence::new(0));
    bury(&mut state, 2, &letter);
    ack(&mut state, 3, 1);
    let index = checkpoint(&mut state);
    let floor = Offset::ZERO;
    let pinned = Err(Refused::PurgePinned { group: GROUP, topic: TOPIC, floor });
    assert_eq!(purge(&mut state, index), pinned);
    ack(&mut state, 0, 2);
    assert_eq!(redrive(&mut state, 2), Ok(Answer::Redriven(1)));
    assert_eq!(purge(&mut state, index), Ok(Answer::Done));
    assert_eq!(start(&state), 4);

    let mut state = restarted(&state);
    let redriven = &state.group_snapshots()[0].redriven;
    assert_eq!((redriven[0].offset, &redriven[0].records), (Offset::new(2), &letter));
    assert_eq!(standing(&state, 2), Standing::Redriven);
    assert!(matches!(bury(&mut state, 2, b""), Effect::Answered { answer: Err(_), .. }));
    assert!(matches!(bury(&mut state, 2, &letter), Effect::Settled { dead: true, .. }));
    assert_eq!(state.dead_letters(GROUP).next().unwrap().records, letter);
    assert_eq!(redrive(&mut state, 2), Ok(Answer::Redriven(1)));
    ack(&mut state, 2, 1);
    assert_eq!(standing(&state, 2), Standing::Acked);
}

/// F45: only a Checkpoint entry that is remembered may be named, and each group's every mailbox has
/// its say. We make more checkpoints than are kept, and let one of two groups lag on one of two
/// topics.
#[test]
fn f45_every_mailbox_and_only_known_checkpoints_count() {
    let mut state = State::new();
    create_group(&mut state, "one", &names("topic", 2)).unwrap();
    create_group(&mut state, "two", &names("topic", 2)).unwrap();
    let first = checkpoint(&mut state);
    let section = records(TopicId::new(2), 3, ProducerId::NONE, Sequence::new(0));
    apply(&mut state, SectionKind::Records, &section);
    let later: Vec<_> = (0..4).map(|_| checkpoint(&mut state)).collect();
    assert_eq!(state.checkpoints().collect::<Vec<_>>(), later);
    assert_eq!(purge(&mut state, first), Err(Refused::NotACheckpoint { index: first }));
    let (group, topic, floor) = (GroupId::new(1), TopicId::new(2), Offset::ZERO);
    let pinned = Refused::PurgePinned { group, topic, floor };
    assert_eq!(purge(&mut state, later[1]), Err(pinned.clone()));
    assert_eq!(pinned.to_string(), "group 1 still needs the events of topic 2 from offset 0 on");
}
