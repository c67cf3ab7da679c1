//! The state as bytes: the replicated part of a checkpoint.
//!
//! Bincode of a versioned enum. The second form adds the Checkpoint entries that a purge may name, the
//! third how often members were taken out of their groups, the fourth what was published of dead letters
//! that were edited, and which groups are paused; older ones are still read, as states that
//! remember none. The form is canonical, equal states give equal bytes, so the bytes' hash is the
//! state's digest. What can be derived is not stored but derived again, and whatever an apply relies
//! on is checked while that is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidings_types::codec;
use tidings_types::id::GroupId;
use tidings_types::limits::{
    CHECKPOINT_BYTES_MAX, CHECKPOINTS_KEPT, DEAD_LETTER_BYTES_MAX, GROUPS_MAX, LANES,
    MAILBOXES_MAX, NAME_BYTES_MAX, PRODUCER_RESULTS_KEPT, PRODUCERS_MAX, TOPICS_MAX,
};
use tidings_types::retry::Retry;
use xxhash_rust::xxh3::xxh3_64;

use crate::dead_letters::Originals;
use crate::group::{Left, changing};
use crate::room::{FAILED_MESSAGE_BYTES_MAX, Room};
use crate::state::State;

/// A lane's owner and epoch.
const LANE_BYTES: usize = 9;
/// An answer: a variant and its fields.
const ANSWER_BYTES: usize = 24;
/// A topic's end behind a Checkpoint entry.
const END_BYTES: usize = 12;
/// Room for a record's numbers and lengths.
const FIELDS_BYTES: usize = 64;

const _: () = assert!(
    DEAD_LETTER_BYTES_MAX
        + FAILED_MESSAGE_BYTES_MAX
        + PRODUCERS_MAX * (FIELDS_BYTES + PRODUCER_RESULTS_KEPT * ANSWER_BYTES)
        + GROUPS_MAX * (FIELDS_BYTES + NAME_BYTES_MAX + LANES * LANE_BYTES)
        + MAILBOXES_MAX * FIELDS_BYTES
        + TOPICS_MAX * (FIELDS_BYTES + NAME_BYTES_MAX + CHECKPOINTS_KEPT * END_BYTES)
        < CHECKPOINT_BYTES_MAX,
    "what is kept for each producer, group, mailbox, topic and dead letter fits into a checkpoint"
);

/// Bytes that are no state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// They do not decode, or are of a version from the future.
    #[error("checkpoint of the state: {0}")]
    Codec(#[from] codec::DecodeError),
    /// They decode, but break a rule that the state lives by.
    #[error("checkpoint of the state has unsound {what}")]
    Unsound {
        /// Where.
        what: &'static str,
    },
}

impl DecodeError {
    /// What the caller may do: take another checkpoint.
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// What stands behind all groups in later forms.
#[derive(Default)]
struct Later {
    left: BTreeMap<GroupId, Left>,
    /// What was published of dead letters that were edited.
    edited: BTreeMap<GroupId, Originals>,
    /// In ascending order.
    paused: Vec<GroupId>,
}

/// All forms. They are written from references and read as values.
#[derive(Serialize, Deserialize)]
enum Form<S, B, L, O, P> {
    /// Read only.
    V1(S),
    /// Read only.
    V2(S, B),
    /// Read only.
    V3(S, B, L),
    V4(S, B, L, O, P),
}

impl State {
    /// The state as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let left = self.groups.iter().filter(|(_, group)| !group.left.is_empty());
        let left: BTreeMap<GroupId, &Left> = left.map(|(&id, group)| (id, &group.left)).collect();
        let edited = self.groups.iter().map(|(&id, group)| (id, group.letters.originals()));
        let edited: BTreeMap<GroupId, &Originals> =
            edited.filter(|(_, originals)| !originals.is_empty()).collect();
        let paused = self.groups.iter().filter(|(_, group)| group.is_paused);
        let paused: Vec<GroupId> = paused.map(|(&id, _)| id).collect();
        codec::encode(&Form::V4(self, &self.boundaries, left, edited, paused))
    }

    /// The state of what [`State::encode`] gave.
    ///
    /// # Errors
    /// If the bytes are not a sound state of a known version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let unsound = |what| DecodeError::Unsound { what };
        let mut later = Later::default();
        let mut state: Self = match codec::decode_checkpoint(bytes)? {
            Form::V1(state) => state,
            Form::V2(state, boundaries) => Self { boundaries, ..state },
            Form::V3(state, boundaries, left) => {
                later.left = left;
                Self { boundaries, ..state }
            }
            Form::V4(state, boundaries, left, edited, paused) => {
                later = Later { left, edited, paused };
                Self { boundaries, ..state }
            }
        };
        let Later { left, edited, paused } = later;
        for (group, left) in left {
            let found = changing(&mut state.groups, group).ok().filter(|_| !left.is_empty());
            found.ok_or(unsound("groups"))?.left = left;
        }
        for (group, originals) in edited {
            let found = changing(&mut state.groups, group).ok().filter(|_| !originals.is_empty());
            found.ok_or(unsound("groups"))?.letters.restore(originals);
        }
        let mut before = None;
        for group in paused {
            let found = changing(&mut state.groups, group).ok().filter(|_| before < Some(group));
            found.ok_or(unsound("groups"))?.is_paused = true;
            before = Some(group);
        }
        if !state.topics.restore() {
            return Err(unsound("topics"));
        }
        if !state.publishers.restore() {
            return Err(unsound("publishers"));
        }
        if !state.boundaries.is_sound(&state.topics, state.applied) {
            return Err(unsound("checkpoints"));
        }
        let mut room = Room::default();
        for (&id, group) in &state.groups {
            if state.last_group < id || !group.is_sound(&state.topics, &mut room) {
                return Err(unsound("groups"));
            }
        }
        let names = state.groups.iter().map(|(&id, group)| (group.name.clone(), id));
        state.group_ids = Arc::new(names.collect());
        if state.group_ids.len() != state.groups.len() {
            return Err(unsound("group names"));
        }
        state.room = room;
        Ok(state)
    }

    /// A number that is equal on replicas whose states are. Encodes the whole state: it is for
    /// checks between replicas, not for every entry.
    pub fn digest(&self) -> u64 {
        xxh3_64(&self.encode())
    }
}

#[cfg(test)]
mod tests {
    use tidings_types::id::{Incarnation, NodeId, ProducerId, Sequence, TopicId};
    use tidings_types::layout::command::{Command, GroupStart};
    use tidings_types::layout::entry::{EntryBuilder, SectionKind};
    use tidings_types::layout::records::RecordsBuilder;
    use tidings_types::name::{GroupName, TopicName};
    use tidings_types::offset::{LogIndex, Offset};

    use super::*;
    use crate::retention::Boundaries;

    fn sample() -> State {
        let create = Command::CreateGroup {
            name: GroupName::new("group").unwrap(),
            topics: vec![TopicName::new("topic").unwrap()],
            start: GroupStart::Earliest,
        };
        let mut builder = EntryBuilder::with_capacity(0);
        builder.push(SectionKind::Command, &Command::Checkpoint.encode());
        builder.push(SectionKind::Command, &create.encode());
        let producer = ProducerId::new([1; 16]);
        for number in 0..9 {
            let records = RecordsBuilder::with_capacity(0);
            let topic = TopicId::new(2);
            let records = records.finish(topic, producer, Sequence::new(number));
            builder.push(SectionKind::Records, &records);
        }
        let mut state = State::new();
        let data = builder.finish(NodeId::new(1), 3);
        state.apply(LogIndex::new(1), &data, &mut Vec::new()).unwrap();
        state
    }

    /// Checkpoints outlive the program that wrote them: these bytes and this number never change
    /// while the version stays.
    #[test]
    fn form_is_frozen() {
        let state = [0; 8 + 8 + 8 + 4 + 8 + 8 + 4 + 8];
        let golden = [b"\x03\0\0\0".as_slice(), &state, &[0; 8], &[0; 8], &[0; 16]].concat();
        assert_eq!(State::new().encode(), golden);
        assert_eq!(sample().digest(), 0xd5466ce94309ec8c);
    }

    /// Who joins again must know how often it was taken out, also after a restart.
    #[test]
    fn removals_are_remembered() {
        let mut state = sample();
        let group = changing(&mut state.groups, GroupId::new(1)).unwrap();
        let (node, incarnation) = (NodeId::new(7), Incarnation::new(3));
        for n_left in 1..=2 {
            assert!(group.join(node, incarnation) && group.leave(node));
            assert_eq!(group.n_left(node, incarnation), n_left);
        }
        let read = State::decode(&state.encode()).unwrap();
        assert_eq!(read, state);
        assert_eq!(read.groups[&GroupId::new(1)].n_left(node, incarnation), 2);
    }

    /// A node must start from the checkpoint that an older program left. From the first form it knows
    /// no entry that may be purged, so it refuses all purges until it has made a checkpoint of its own.
    #[test]
    fn older_forms_are_still_read() {
        let whole = sample();
        let written = codec::encode(&Form::<_, _, (), (), ()>::V2(&whole, &whole.boundaries));
        assert_eq!(xxh3_64(&written), 0x0a5d0a74798e2b88);
        assert_eq!(State::decode(&written), Ok(whole));
        let whole = sample();
        let none = BTreeMap::<GroupId, Left>::new();
        let written = codec::encode(&Form::<_, _, _, (), ()>::V3(&whole, &whole.boundaries, none));
        assert_eq!(xxh3_64(&written), 0x4d51a829135adf7e);
        assert_eq!(State::decode(&written), Ok(whole));
        let mut old = sample();
        old.boundaries = Boundaries::default();
        let written = codec::encode(&Form::<_, Boundaries, (), (), ()>::V1(&old));
        assert_eq!(xxh3_64(&written), 0xf488315763598419);
        assert_eq!(State::decode(&written), Ok(old));
        assert_eq!(State::decode(&written).unwrap().checkpoints().count(), 0);
    }

    /// A checkpoint of which any byte is lost must be refused, and so must one with a byte too many
    /// or of a version from the future.
    #[test]
    fn cut_and_future_checkpoints_are_refused() {
        let mut whole = sample().encode();
        for n_bytes in 0..whole.len() {
            assert!(matches!(State::decode(&whole[..n_bytes]), Err(DecodeError::Codec(_))));
        }
        whole.push(0);
        assert!(matches!(State::decode(&whole), Err(DecodeError::Codec(_))));
        whole.pop();
        whole[0] = 4;
        assert!(matches!(State::decode(&whole), Err(DecodeError::Codec(_))));
    }

    /// What decodes but could make a later apply go wrong must be refused. We break one rule after
    /// the other.
    #[test]
    fn unsound_states_are_refused() {
        type Break = (&'static str, fn(&mut State));
        let breaks: [Break; 8] = [
            ("groups", |state| state.last_group = Default::default()),
            ("groups", |state| {
                state.boundaries = Default::default();
                state.topics = Default::default();
            }),
            ("checkpoints", |state| state.topics = Default::default()),
            ("checkpoints", |state| state.boundaries.note(state.applied.next(), &state.topics)),
            ("checkpoints", |state| {
                let mut later = state.topics.clone();
                later.place(TopicId::new(1), 1);
                state.boundaries.purged(state.applied.next());
                state.boundaries.note(state.applied, &later);
            }),
            // A group would wait for events that are gone.
            ("groups", |state| {
                state.topics.place(TopicId::new(1), 1);
                state.topics.begin_at(TopicId::new(1), Offset::new(1));
            }),
            ("group names", |state| {
                let group = state.groups.values().next().unwrap().clone();
                state.last_group = GroupId::new(9);
                state.groups.insert(state.last_group, group);
            }),
            ("groups", |state| {
                let group = changing(&mut state.groups, GroupId::new(1)).unwrap();
                let mailbox = group.mailboxes.values_mut().next().unwrap();
                let end = Offset::new(1);
                mailbox.settle(Default::default()..end, &mut Room::default());
            }),
        ];
        for (what, break_it) in breaks {
            let mut state = sample();
            break_it(&mut state);
            assert_eq!(State::decode(&state.encode()), Err(DecodeError::Unsound { what }));
        }
        assert_eq!(State::decode(&sample().encode()), Ok(sample()));
    }
}
