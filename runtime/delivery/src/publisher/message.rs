//! What the publisher is told, and what it answers.

use std::time::Duration;

use bytes::Bytes;
use tidings_types::effect::{Placed, Published};
use tidings_types::id::{Sequence, Token, TopicId};
use tidings_types::layout::records::RecordsBuilder;

use crate::error::PublishError;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A batch leaves; see [`Publisher::may_depart`](super::Publisher::may_depart).
    Depart {
        /// Names the batch in [`Output::Done`].
        token: Token,
        /// Its topic.
        topic: TopicId,
        /// Its events, at least one.
        builder: RecordsBuilder,
        /// When its first event came; the deadline counts from there.
        opened: Duration,
    },
    /// The log answered a batch, of whichever producer.
    Published(Published),
    /// A proposal was surely not made.
    Refused {
        /// As [`Output::Propose`] named it.
        proposal: Token,
        /// Why.
        reason: NotProposed,
    },
    /// Nobody will tell what became of a proposal.
    Unknown {
        /// As [`Output::Propose`] named it.
        proposal: Token,
    },
    /// There is a leader to propose to, or none. Each `true` sends everything again.
    LeaderIs(bool),
    /// The time asked for by [`Output::WakeAt`] has come.
    Wake,
    /// The node ends: whoever waits is told now.
    Stop,
}

/// Why a proposal was not made. Nothing of it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProposed {
    /// The replica does not lead.
    NotLeader,
    /// It holds as many uncommitted bytes as it may.
    Busy,
    /// Its disk is full.
    StorageFull,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Propose a records section.
    Propose {
        /// Names the proposal; unlike any token below 2^63, and unlike that of any other proposal.
        proposal: Token,
        /// The number inside the section.
        sequence: Sequence,
        /// The section.
        section: Bytes,
    },
    /// A batch has ended.
    Done {
        /// As [`Input::Depart`] named it.
        token: Token,
        /// Where its events stand, or why its callers get no such answer.
        result: Result<Placed, PublishError>,
    },
    /// [`Input::Wake`] is wanted at this time; replaces an earlier wish.
    WakeAt(Duration),
}
