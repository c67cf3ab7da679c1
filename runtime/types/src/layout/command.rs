//! A command section: what changes the cluster's own things, as bincode of a versioned enum.
//!
//! Variants are only ever added at the end: their numbers are on disk.

use serde::{Deserialize, Serialize};

use super::take::Malformed;
use crate::codec;
use crate::id::{GroupId, Incarnation, NodeId, TopicId};
use crate::name::{GroupName, TopicName};
use crate::offset::{LaneEpoch, LogIndex, Offset};

/// All commands, by the version of their form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioned {
    /// The first form.
    V1(Command),
}

/// See the module's description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Makes a topic, if there is none of that name.
    CreateTopic {
        /// Its name.
        name: TopicName,
    },
    /// Makes a group, or adds topics to the one of that name. Missing topics are made.
    CreateGroup {
        /// Its name.
        name: GroupName,
        /// The topics that it reads.
        topics: Vec<TopicName>,
        /// Where it begins on topics that it did not read before.
        start: GroupStart,
    },
    /// A process begins to serve a group; an older incarnation of the node is replaced at once.
    Join {
        /// The group.
        group: GroupId,
        /// The process's node.
        node: NodeId,
        /// Which start of the node.
        incarnation: Incarnation,
    },
    /// A process serves a group no more.
    Leave {
        /// The group.
        group: GroupId,
        /// The process's node.
        node: NodeId,
        /// Which start of the node; an older one changes nothing.
        incarnation: Incarnation,
    },
    /// An event is given up for one group: acked for it and kept, in one step.
    DeadLetter(DeadLetter),
    /// Dead letters go back into delivery, each behind its key's current event.
    Redrive {
        /// The group.
        group: GroupId,
        /// Which dead letters; unknown ones are passed over.
        letters: Vec<(TopicId, Offset)>,
    },
    /// Every replica writes a checkpoint at this entry.
    Checkpoint,
    /// Entries up to this one go, and the events in them with them. Refused if it is none of the
    /// last Checkpoint entries, or if a group has not settled all of those events.
    Purge {
        /// The last one to go.
        index: LogIndex,
    },
    /// [`Command::Join`] of a process that was taken out before.
    ///
    /// Both are refused if they come behind a removal that the process has not heard of, as a copy
    /// may that was long on its way: it would go on with what it holds as if it had been a member all
    /// the time.
    JoinAgain {
        /// The group.
        group: GroupId,
        /// The process's node.
        node: NodeId,
        /// Which start of the node.
        incarnation: Incarnation,
        /// How often the process knows that it was taken out; a plain join knows of none.
        n_left: u32,
    },
    /// Events that wait for another attempt need wait no longer, paused ones too. Each has one more
    /// attempt, whatever it had.
    RetryNow {
        /// The group.
        group: GroupId,
        /// Which events; those that do not wait are passed over.
        events: Vec<(TopicId, Offset)>,
    },
    /// Dead letters go for good, with their payload.
    Discard {
        /// The group.
        group: GroupId,
        /// Which dead letters; unknown ones are passed over.
        letters: Vec<(TopicId, Offset)>,
    },
    /// A dead letter gets another payload, for when it is redriven. What was published is kept beside
    /// it, until it is settled or discarded.
    EditLetter {
        /// The group.
        group: GroupId,
        /// The event's topic.
        topic: TopicId,
        /// The event's offset.
        offset: Offset,
        /// The event as it is to be: a records section of this one event, with the key that it had.
        records: Vec<u8>,
    },
    /// Nothing more of a group is handed out, until it is told to go on. What is out goes on its way.
    SetPaused {
        /// The group.
        group: GroupId,
        /// It pauses, or goes on.
        is_paused: bool,
    },
    /// A group goes on elsewhere on a topic: what is before is settled, what is behind is not,
    /// and comes again if it was. Attempts are forgotten, dead letters from there on too. Whoever asks
    /// for it sees to it that nothing of the group is at a worker.
    Seek {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicId,
        /// The next event.
        to: Offset,
    },
}

/// Where a new group begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupStart {
    /// At the earliest event that is retained.
    Earliest,
    /// Behind the newest event.
    Now,
}

/// Why an event was given up. The order is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadReason {
    /// The handler said that it can never work.
    Fatal,
    /// All attempts failed.
    AttemptsExhausted,
    /// Its type is known, its version or content is not.
    Undecodable,
}

impl DeadReason {
    /// The word that people see.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::Undecodable => "undecodable",
        }
    }
}

/// An event that a group gave up, with all that a person needs to decide about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Who gave it up.
    pub group: GroupId,
    /// The event's topic.
    pub topic: TopicId,
    /// The event's offset.
    pub offset: Offset,
    /// The epoch in which its lane was worked.
    pub lane_epoch: LaneEpoch,
    /// Why.
    pub reason: DeadReason,
    /// The last error's text.
    pub message: String,
    /// Attempts made, the last one included.
    pub attempts: u32,
    /// The event: a records section of this one event.
    pub records: Vec<u8>,
}

impl Command {
    /// Lets a process serve a group that was taken out of it so often.
    pub const fn join(group: GroupId, node: NodeId, incarnation: Incarnation, n_left: u32) -> Self {
        match n_left {
            0 => Self::Join { group, node, incarnation },
            _ => Self::JoinAgain { group, node, incarnation, n_left },
        }
    }

    /// The section's bytes.
    pub fn encode(self) -> Vec<u8> {
        codec::encode(&Versioned::V1(self))
    }

    /// Reads a section.
    ///
    /// # Errors
    /// If the bytes are not a command of a known version.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        match codec::decode(bytes) {
            Ok(Versioned::V1(command)) => Ok(command),
            Err(_) => Err(Malformed { what: "command section", why: "does not decode" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_have_their_golden_bytes() {
        let topic = TopicName::new("users").unwrap();
        let create = Command::CreateTopic { name: topic };
        assert_eq!(create.encode(), b"\0\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0users");
        let purge = Command::Purge { index: LogIndex::new(9) };
        assert_eq!(purge.clone().encode(), b"\0\0\0\0\x07\0\0\0\x09\0\0\0\0\0\0\0");
        assert_eq!(Command::parse(&purge.clone().encode()), Ok(purge));
        let discard = Command::Discard { group: GroupId::new(2), letters: Vec::new() };
        assert_eq!(discard.encode(), b"\0\0\0\0\x0A\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0");
        let (group, topic) = (GroupId::new(2), TopicId::new(3));
        let edit = Command::EditLetter { group, topic, offset: Offset::new(4), records: vec![5] };
        let golden =
            b"\0\0\0\0\x0B\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x05";
        assert_eq!(edit.encode(), golden);
        let pause = Command::SetPaused { group, is_paused: true };
        assert_eq!(pause.encode(), b"\0\0\0\0\x0C\0\0\0\x02\0\0\0\x01");
        let seek = Command::Seek { group, topic, to: Offset::new(4) };
        let golden = b"\0\0\0\0\x0D\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\0\0\0\0";
        assert_eq!(seek.encode(), golden);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = Command::parse(&bytes);
        }
    }
}
