//! The dispatcher's words: what it is told and what it answers.

use std::time::Duration;

use bytes::Bytes;
use tidings_types::effect::{Effect, GroupSnapshot, Placed};
use tidings_types::id::{GroupId, NodeId, Token, TopicId, WorkerId};
use tidings_types::layout::entry::SectionKind;
use tidings_types::layout::records::Records;
use tidings_types::offset::Offset;

use crate::message::{BadMessage, SessionId, ToLeader, ToMember};
use crate::session::Outcome;

/// What the dispatcher is told.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// This node leads: from here on outcomes can be proposed. These are all groups there are, with
    /// everything applied that an earlier leader proposed. Comes before anything else of the term.
    Lead(Vec<GroupSnapshot>),
    /// This node leads no more: all is forgotten, members have it. What comes for the former term,
    /// answers included, is passed over.
    Follow,
    /// What was applied, in log order. Must come before the [`Input::Taken`] of the same entry, and
    /// before any word of a member that was said after the command was answered.
    Effects(&'a [Effect]),
    /// A member speaks. Its words must come in the order in which it said them, all of them from the
    /// first word of a session to its end.
    Heard {
        /// Which node it is, as the link proved it.
        member: NodeId,
        /// In which session, as the member says.
        session: SessionId,
        /// What it says.
        message: ToLeader,
    },
    /// The link to a member broke: nothing more will come of this session.
    MemberGone {
        /// Which node.
        member: NodeId,
        /// The session that ended.
        session: SessionId,
    },
    /// The answer to [`Output::Read`]; each read has exactly one.
    ReadDone {
        /// Who reads.
        group: GroupId,
        /// What.
        topic: TopicId,
        /// From where; the answer to another question, perhaps of a former term, is passed over.
        from: Offset,
        /// What was found.
        result: ReadResult,
    },
    /// Nothing more of a group is to be handed out, until it is let go, sent elsewhere, or another
    /// term begins: somebody waits until nothing of it is on its way.
    Hold {
        /// Which group.
        group: GroupId,
        /// Held, or let go.
        is_held: bool,
    },
    /// A proposal was applied.
    Taken {
        /// Which one.
        token: Token,
    },
    /// A proposal was refused or its fate is unknown: it is proposed again.
    Lost {
        /// Which one.
        token: Token,
    },
    /// The moment of an [`Output::WakeAt`] has come.
    Wake,
}

/// What a read found.
#[derive(Clone, Debug)]
pub enum ReadResult {
    /// Consecutive blocks; the first begins at or before the offset that was asked for.
    Blocks(Vec<(Placed, Records)>),
    /// There is nothing at or behind it.
    End,
    /// It failed, with this text.
    Failed(String),
}

/// What the dispatcher wants.
#[derive(Clone, Debug)]
pub enum Output {
    /// Tell a member, in the order of the outputs. If its link is gone, drop it.
    Tell {
        /// Which node.
        member: NodeId,
        /// In which session; goes with the message.
        session: SessionId,
        /// What.
        message: ToMember,
    },
    /// A member that has resumed pinged: tell the [`roster`](crate::roster), which answers. What the
    /// dispatcher told the member before goes out before the answer.
    Pinged {
        /// Which node.
        member: NodeId,
        /// In which session.
        session: SessionId,
        /// When it was sent, by the member's clock.
        sent: Duration,
    },
    /// A member said what none of ours says: end its link. What it holds stays out until it resumes
    /// or is removed.
    Refused {
        /// Which node.
        member: NodeId,
        /// In which session.
        session: SessionId,
        /// What was wrong.
        why: BadMessage,
    },
    /// Read events; the answer is [`Input::ReadDone`].
    Read {
        /// Who reads.
        group: GroupId,
        /// What.
        topic: TopicId,
        /// From here on.
        from: Offset,
        /// About so much.
        max_bytes: usize,
    },
    /// Propose a section; the answer is [`Input::Taken`] or [`Input::Lost`].
    Propose {
        /// Names it in the answer.
        token: Token,
        /// What it is.
        kind: SectionKind,
        /// Its bytes.
        body: Bytes,
        /// It need not have an entry of its own soon.
        may_wait: bool,
    },
    /// Give [`Input::Wake`] at this moment of cluster time.
    WakeAt(Duration),
    /// Something for people to know.
    Told(Story),
}

/// Something for people to know: for an event's story, for the log, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Story {
    /// A worker's report, as it was taken. What turns emitted is left out.
    Outcomes {
        /// Whose.
        group: GroupId,
        /// On which node.
        member: NodeId,
        /// Which worker's.
        worker: WorkerId,
        /// One for each event that the report names.
        outcomes: Vec<Outcome>,
    },
    /// A group has come to a halt, or to a part of one.
    Paused {
        /// Which group.
        group: GroupId,
        /// Why.
        why: Pause,
    },
    /// What paused it is over.
    Resumed {
        /// Which group.
        group: GroupId,
        /// What it was.
        why: Pause,
    },
}

/// Why a group pauses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pause {
    /// So many events wait out a back-off that it reads no more until some are through.
    TooManyHeld,
    /// No dead letter can be added: it hands out redriven events only, until some succeed.
    DeadLettersFull,
    /// Its handler fails as a whole: one event after the other probes, until one succeeds.
    BreakerOpen {
        /// So many events failed at their first attempt within the last minute,
        n_failed: u32,
        /// of so many.
        n_events: u32,
    },
    /// Events cannot be read; it goes on trying.
    ReadFailed {
        /// Of this topic.
        topic: TopicId,
        /// At this offset.
        at: Offset,
        /// What the reader said.
        message: String,
    },
}
