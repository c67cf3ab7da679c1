//! What applying an entry changed: the words that the state machine says to publishers and delivery.
//!
//! Effects come in log order. Each one concerns the way of events; what only a person asks for is
//! read from the state itself.

mod refused;

use bytes::Bytes;

pub use crate::effect::refused::{OutcomeRefused, Refused};
use crate::id::{GroupId, Incarnation, NodeId, ProducerId, Sequence, TopicId};
use crate::layout::acks::AckRange;
use crate::name::{GroupName, TopicName};
use crate::offset::{LaneEpoch, LogIndex, Offset};

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
    /// A person sent a group elsewhere: this is all of it, and what was handed out before counts no
    /// more.
    Sought(GroupSnapshot),
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
