//! The dispatcher's words: what it is told and what it answers.

use std::time::Duration;

use bytes::Bytes;
use tidings_types::effect::{Effect, GroupSnapshot, Placed};
use tidings_types::id::{GroupId, Token, TopicId, WorkerId};
use tidings_types::layout::entry::SectionKind;
use tidings_types::layout::records::Records;
use tidings_types::offset::Offset;

use crate::session::{BatchId, Delivery, Outcome, Report};

/// What the dispatcher is told.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// This node leads: from here on outcomes can be proposed. These are all groups there are.
    Lead(Vec<GroupSnapshot>),
    /// This node leads no more: nothing new is handed out, outcomes are kept.
    Follow,
    /// What was applied, in log order. Must come before the [`Input::Taken`] of the same entry.
    Effects(&'a [Effect]),
    /// A service of this process begins, or begins again after it drained.
    ServiceUp {
        /// Its group.
        group: GroupId,
        /// How many workers it will have.
        n_workers: usize,
    },
    /// A worker takes batches. A worker that restarted comes as new.
    WorkerUp {
        /// Its group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
    },
    /// A worker is gone. Its last reports must come before; what they do not name was not started.
    WorkerDown {
        /// Its group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
    },
    /// A service ends: nothing more is handed to its workers, their reports are still taken.
    ServiceDraining {
        /// Its group.
        group: GroupId,
    },
    /// A worker tells what became of what it was handed.
    Report {
        /// Its group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
        /// What it tells.
        report: Report,
    },
    /// The answer to [`Output::Read`]; each read has exactly one.
    ReadDone {
        /// Who reads.
        group: GroupId,
        /// What.
        topic: TopicId,
        /// What was found.
        result: ReadResult,
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
    /// Hand these to a worker.
    Deliver {
        /// Its group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
        /// Names the batch in reports.
        batch: BatchId,
        /// At least one event.
        deliveries: Vec<Delivery>,
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
