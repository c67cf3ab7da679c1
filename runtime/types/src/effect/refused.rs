//! Why the state machine says no.

use thiserror::Error;

use crate::id::{GroupId, Sequence, TopicId};
use crate::limits::{
    CHECKPOINTS_KEPT, DEAD_LETTER_BYTES_MAX, GROUP_DEAD_LETTERS_MAX, GROUPS_MAX, MAILBOXES_MAX,
    SUBSCRIPTIONS_MAX, TOPICS_MAX,
};
use crate::offset::{LogIndex, Offset};
use crate::retry::Retry;

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
    /// There is no such event, nor will it be the next one.
    #[error("{topic} has offsets {start} to {end}, and {to} is none of them")]
    NoSuchOffset {
        /// The topic.
        topic: TopicId,
        /// What was wanted.
        to: Offset,
        /// The earliest event.
        start: Offset,
        /// The offset of the next one.
        end: Offset,
    },
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
            | Self::NoSuchOffset { .. }
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
            Refused::NoSuchOffset {
                topic,
                to: Offset::new(1),
                start: Offset::new(2),
                end: Offset::new(3),
            },
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
