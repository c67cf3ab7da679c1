//! Small steps of a state for tests: one section, one entry.

use tidings_types::effect::{Answer, Effect, Refused};
use tidings_types::id::{GroupId, NodeId, ProducerId, Sequence, TopicId};
use tidings_types::layout::acks::{AckRange, Acks};
use tidings_types::layout::command::{Command, DeadLetter, DeadReason, GroupStart};
use tidings_types::layout::entry::{EntryBuilder, SectionKind};
use tidings_types::limits::MESSAGE_BYTES_MAX;
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::{LaneEpoch, Offset};

use crate::naive_test::records;
use crate::state::State;
use crate::view::Standing;

pub(super) const GROUP: GroupId = GroupId::new(1);
pub(super) const TOPIC: TopicId = TopicId::new(1);

/// Applies one section as an entry of its own.
pub(super) fn apply(state: &mut State, kind: SectionKind, body: &[u8]) -> Vec<Effect> {
    let mut builder = EntryBuilder::with_capacity(body.len() + 64);
    builder.push(kind, body);
    let data = builder.finish(NodeId::new(1), 7);
    let mut effects = Vec::new();
    state.apply(state.applied().next(), &data, &mut effects).unwrap();
    effects
}

pub(super) fn command(state: &mut State, command: Command) -> Result<Answer, Refused> {
    match apply(state, SectionKind::Command, &command.encode()).pop() {
        Some(Effect::Answered { answer, .. }) => answer,
        other => panic!("the last effect of a command is its answer, not {other:?}"),
    }
}

pub(super) fn create_group(
    state: &mut State,
    name: &str,
    topics: &[String],
) -> Result<Answer, Refused> {
    let name = GroupName::new(name).unwrap();
    let topics = topics.iter().map(|topic| TopicName::new(topic).unwrap()).collect();
    command(state, Command::CreateGroup { name, topics, start: GroupStart::Earliest })
}

pub(super) fn names(prefix: &str, n_names: usize) -> Vec<String> {
    (0..n_names).map(|number| format!("{prefix}-{number}")).collect()
}

/// A state with one group on one topic with many events.
pub(super) fn with_events(n_events: u32) -> State {
    let mut state = State::new();
    create_group(&mut state, "group", &names("topic", 1)).unwrap();
    let section = records(TOPIC, n_events, ProducerId::NONE, Sequence::new(0));
    apply(&mut state, SectionKind::Records, &section);
    state
}

pub(super) fn bury(state: &mut State, offset: u64, records: &[u8]) -> Effect {
    let letter = Command::DeadLetter(DeadLetter {
        group: GROUP,
        topic: TOPIC,
        offset: Offset::new(offset),
        lane_epoch: LaneEpoch::ZERO,
        reason: DeadReason::Fatal,
        message: "x".repeat(2 * MESSAGE_BYTES_MAX),
        attempts: 1,
        records: records.to_vec(),
    });
    apply(state, SectionKind::Command, &letter.encode()).swap_remove(0)
}

pub(super) fn redrive(state: &mut State, offset: u64) -> Result<Answer, Refused> {
    let letters = vec![(TOPIC, Offset::new(offset))];
    command(state, Command::Redrive { group: GROUP, letters })
}

pub(super) fn ack(state: &mut State, start: u64, len: u32) {
    let ranges = vec![AckRange { start: Offset::new(start), len }];
    let acks = Acks { group: GROUP, topic: TOPIC, ranges, failures: Vec::new() };
    apply(state, SectionKind::Acks, &acks.encode());
}

pub(super) fn standing(state: &State, offset: u64) -> Standing {
    state.standing(GROUP, TOPIC, Offset::new(offset))
}
