//! What applying an entry changed: the words that the state machine says to publishers and delivery.
//!
//! Effects come in log order. Each one concerns the way of events; what only a person asks for is
//! read from the state itself.

use bytes::Bytes;
use thiserror::Error;

use crate::id::{GroupId, Incarnation, NodeId, ProducerId, Sequence, TopicId};
use crate::layout::acks::AckRange;
use crate::limits::{
    CHECKPOINTS_KEPT, DEAD_LETTER_BYTES_MAX, GROUP_DEAD_LETTERS_MAX, GROUPS_MAX, MAILBOXES_MAX,
    SUBSCRIPTIONS_MAX, TOPICS_MAX,
};
use crate::name::{GroupName, TopicName};
use crate::offset::{LaneEpoch, LogIndex, Offset};
use crate::retry::Retry;

/// A moment that does not come: an event that waits for it is paused, and its key with it, until a
/// person says so.
pub const NEVER_MS: u64 = u64::MAX;

/// See the module's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A producer's batch has its answer. The answer consumes the sequence, a refusal too.
    Published(Published),
    /// Events got their offsets. Comes for each accepted records section, a turn's included.
    Accepted(Accepted),
    /// A topic began.
    TopicCreated {
        /// The topic.
        topic: TopicId,
        /// Its name.
        name: TopicName,
    },
    /// A group began, or reads more topics than before.
    GroupChanged(GroupSnapshot),
    /// A group has other members than before, and its lanes other owners.
    LanesMoved {
        /// The group.
        group: GroupId,
        /// All lanes, by their number.
        lanes: Vec<LaneOwner>,
        /// Its members now.
        members: Vec<(NodeId, Incarnation)>,
        /// How often each of these was taken out.
        left: Vec<(NodeId, Incarnation, u32)>,
    },
    /// Events are settled for a group: acked, or given up with `dead`.
    Settled {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicId,
        /// Which events.
        range: AckRange,
        /// They became dead letters.
        dead: bool,
    },
    /// An attempt is counted; the event comes again.
    Failed {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicId,
        /// The event.
        offset: Offset,
        /// Attempts so far.
        attempts: u32,
        /// No attempt begins before, in cluster time; [`NEVER_MS`] if a person must say so.
        retry_at_ms: u64,
    },
    /// An outcome was refused; it changed nothing.
    OutcomeRefused {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicId,
        /// The event.
        offset: Offset,
        /// Why.
        why: OutcomeRefused,
    },
    /// A dead letter goes back into delivery.
    Redriven {
        /// The group.
        group: GroupId,
        /// The event.
        letter: Redriven,
    },
    /// An event need not wait for its next attempt.
    RetryNow {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicId,
        /// The event.
        offset: Offset,
    },
    /// Dead letters went for good: there is room for others.
    Discarded {
        /// The group.
        group: GroupId,
    },
    /// A command has its answer.
    Answered {
        /// Which section of the entry.
        section: u16,
        /// The answer.
        answer: Result<Answer, Refused>,
    },
    /// A person pauses a group, or lets it go on.
    Paused {
        /// The group.
        group: GroupId,
        /// It pauses, or goes on.
        is_paused: bool,
    },
    /// Every replica writes a checkpoint of the state as it is after this entry.
    Checkpoint,
    /// Entries up to this one may go: no group needs an event of theirs, and each topic's earliest
    /// event has moved behind them.
    Purge {
        /// The last one to go.
        index: LogIndex,
    },
}

/// The answer to a producer's batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Whose batch.
    pub producer: ProducerId,
    /// Which batch.
    pub sequence: Sequence,
    /// Where its events stand, or why it was refused.
    pub result: Result<Placed, Refused>,
}

/// Where the events of a batch stand: consecutive offsets of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Placed {
    /// The topic.
    pub topic: TopicId,
    /// The first event's offset.
    pub first: Offset,
    /// How many events.
    pub n_events: u32,
}

/// Events that became readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Where they stand.
    pub placed: Placed,
    /// The entry that they came in.
    pub index: LogIndex,
    /// Where their records section begins in the entry's data.
    pub at: u32,
    /// The records section, sharing the entry's memory.
    pub records: Bytes,
}

/// Who works a lane, and since which move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LaneOwner {
    /// The owner; `None` while the group has no member.
    pub owner: Option<NodeId>,
    /// Which move of which lane it was.
    pub epoch: LaneEpoch,
}

/// All that delivery must know of a group to serve it from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSnapshot {
    /// The group.
    pub group: GroupId,
    /// Its name.
    pub name: GroupName,
    /// Its mailboxes, by topic.
    pub mailboxes: Vec<MailboxSnapshot>,
    /// All lanes, by their number.
    pub lanes: Vec<LaneOwner>,
    /// Its members.
    pub members: Vec<(NodeId, Incarnation)>,
    /// How often each of these was taken out of it.
    pub left: Vec<(NodeId, Incarnation, u32)>,
    /// Redriven events that are not settled yet, oldest first.
    pub redriven: Vec<Redriven>,
    /// A person paused it.
    pub is_paused: bool,
}

/// One mailbox: what its group has not settled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxSnapshot {
    /// The topic.
    pub topic: TopicId,
    /// The first event without an ack.
    pub floor: Offset,
    /// What is acked above the floor, in ascending order.
    pub acked: Vec<AckRange>,
    /// Events with failed attempts.
    pub failed: Vec<FailedEvent>,
    /// The topic's next offset: below it lie the events that exist.
    pub end: Offset,
}

/// An event with failed attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedEvent {
    /// The event.
    pub offset: Offset,
    /// Attempts so far.
    pub attempts: u32,
    /// No attempt begins before, in cluster time.
    pub retry_at_ms: u64,
}

/// An event that is delivered once more after it was a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// The event's topic.
    pub topic: TopicId,
    /// The event's offset.
    pub offset: Offset,
    /// Which redrive of the group this was: an event may die and be redriven again.
    pub number: u64,
    /// Attempts since it was redriven.
    pub attempts: u32,
    /// No attempt begins before, in cluster time.
    pub retry_at_ms: u64,
    /// A records section of this one event.
    pub records: Bytes,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The topic of that name; new or not.
    Topic {
        /// The topic.
        topic: TopicId,
        /// It was made by this command.
        is_new: bool,
    },
    /// The group of that name; new or not.
    Group(GroupId),
    /// So many dead letters went back.
    Redriven(u32),
    /// So many events wait no longer.
    Retried(u32),
    /// So many dead letters went for good.
    Discarded(u32),
    /// It is done.
    Done,
}

/// Why the state machine refused an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OutcomeRefused {
    /// It came a second time.
    #[error("the event is settled already")]
    AlreadySettled,
    /// Its reporter owns the lane no more.
    #[error("the lane has moved since")]
    LaneMoved,
    /// There is no such mailbox or no such event.
    #[error("there is no such event in a mailbox of the group")]
    NoSuchEvent,
    /// The group's dead letters are full; nothing is dropped, so the group pauses.
    #[error(
        "dead letters are full: {GROUP_DEAD_LETTERS_MAX} of a group or {DEAD_LETTER_BYTES_MAX} \
         bytes of all"
    )]
    DeadLettersFull,
}

/// Why the state machine refused a batch or a command. Nothing of it took place.
///
/// Answers to batches are in checkpoints: variants are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Error, serde::Serialize, serde::Deserialize)]
pub enum Refused {
    /// An earlier batch of this producer is missing.
    #[error("batch has {sequence}, but {expected} comes next")]
    SequenceGap {
        /// The batch's.
        sequence: Sequence,
        /// The next one.
        expected: Sequence,
    },
    /// The batch is a repeat so old that its answer is forgotten.
    #[error("the answer to {sequence} is forgotten")]
    AnswerForgotten {
        /// The batch's.
        sequence: Sequence,
    },
    /// The producer was idle for too long, and whether its batch is stored is forgotten with it.
    #[error("the producer is no longer known")]
    ProducerExpired,
    /// The topic does not exist.
    #[error("{topic} does not exist")]
    NoSuchTopic {
        /// The topic.
        topic: TopicId,
    },
    /// The group does not exist.
    #[error("{group} does not exist")]
    NoSuchGroup {
        /// The group.
        group: GroupId,
    },
    /// There may be no more topics.
    #[error("there are {TOPICS_MAX} topics already")]
    TooManyTopics,
    /// There may be no more groups.
    #[error("there are {GROUPS_MAX} groups already")]
    TooManyGroups,
    /// The group may read no more topics.
    #[error("a group reads at most {SUBSCRIPTIONS_MAX} topics, all groups {MAILBOXES_MAX}")]
    TooManySubscriptions,
    /// An older start of the node spoke.
    #[error("a newer incarnation of the node has joined")]
    StaleIncarnation,
    /// The section's bytes are not what they should be.
    #[error("section is malformed")]
    Malformed,
    /// Entries up to this one cannot be named in a purge.
    #[error("entry {index} is none of the last {CHECKPOINTS_KEPT} checkpoints")]
    NotACheckpoint {
        /// The entry.
        index: LogIndex,
    },
    /// A group has not settled all events that would go.
    #[error("{group} still needs the events of {topic} from offset {floor} on")]
    PurgePinned {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicId,
        /// The first event that the group has not settled.
        floor: Offset,
    },
    /// The process was taken out of the group more often than it knows.
    #[error("this start of the node was taken out of the group {n_left} times")]
    LeftSince {
        /// So often.
        n_left: u32,
    },
    /// The event is no dead letter of the group.
    #[error("offset {offset} of {topic} is no dead letter of the group")]
    NoSuchLetter {
        /// The topic.
        topic: TopicId,
        /// The event.
        offset: Offset,
    },
    /// A payload may be another one, the key and the id may not.
    #[error("an edited event keeps its id, type, key and time")]
    OtherEvent,
    /// There is no room for what was published beside what is to be.
    #[error("dead letters are full: {DEAD_LETTER_BYTES_MAX} bytes of all groups")]
    DeadLettersFull,
}

impl Refused {
    /// What the caller may do.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::AnswerForgotten { .. } | Self::ProducerExpired => Retry::Unknown,
            Self::SequenceGap { .. } | Self::PurgePinned { .. } | Self::DeadLettersFull => {
                Retry::SameRequest
            }
            Self::NoSuchTopic { .. }
            | Self::NoSuchGroup { .. }
            | Self::NotACheckpoint { .. }
            | Self::NoSuchLetter { .. }
            | Self::LeftSince { .. } => Retry::AfterRefresh,
            Self::TooManyTopics
            | Self::TooManyGroups
            | Self::TooManySubscriptions
            | Self::StaleIncarnation
            | Self::OtherEvent
            | Self::Malformed => Retry::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    /// Checkpoints hold refusals by their number, which must never become another's.
    #[test]
    fn refusals_keep_their_numbers() {
        let (sequence, topic, group) = (Sequence::new(1), TopicId::new(2), GroupId::new(3));
        let in_order = [
            Refused::SequenceGap { sequence, expected: sequence },
            Refused::AnswerForgotten { sequence },
            Refused::ProducerExpired,
            Refused::NoSuchTopic { topic },
            Refused::NoSuchGroup { group },
            Refused::TooManyTopics,
            Refused::TooManyGroups,
            Refused::TooManySubscriptions,
            Refused::StaleIncarnation,
            Refused::Malformed,
            Refused::NotACheckpoint { index: LogIndex::new(4) },
            Refused::PurgePinned { group, topic, floor: Offset::new(5) },
            Refused::LeftSince { n_left: 6 },
            Refused::NoSuchLetter { topic, offset: Offset::new(7) },
            Refused::OtherEvent,
            Refused::DeadLettersFull,
        ];
        for (number, refused) in (0_u32..).zip(in_order) {
            let mut bytes = codec::encode(&refused);
            assert_eq!(bytes[..4], number.to_le_bytes(), "{refused}");
            assert_eq!(codec::decode(&bytes), Ok(refused));
            bytes.push(0);
            assert!(codec::decode::<Refused>(&bytes).is_err());
        }
    }
}
