//! What goes into a replica and what comes out of it.
//!
//! Nothing here belongs to raft-rs, so that a successor of it costs one crate.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tidings_log::{Checkpoint, Entry, Job, Persisted};
use tidings_state::State;
use tidings_types::effect::{Answer, Effect, GroupSnapshot, Refused};
use tidings_types::id::{NodeId, Token, TopicId};
use tidings_types::layout::entry::SectionKind;
use tidings_types::limits::{ENTRY_BYTES_MAX, SHARD_UNCOMMITTED_BYTES_MAX};
use tidings_types::name::TopicName;
use tidings_types::offset::{LogIndex, Term};
use tidings_types::retry::Retry;

use crate::membership::Change;

/// The moment of a step, read by whoever drives the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time since some fixed moment of this process.
    pub mono: Duration,
    /// Wall time in milliseconds since 1970; cluster time is slewed towards it.
    pub wall_ms: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A tick's time has passed. Ticks that come in a bunch count as one.
    Tick,
    /// The moment that `Replica::wake_at` named has come.
    Wake,
    /// A peer's message, as its [`Output::Send`] gave it.
    Message {
        /// The peer, as the link knows it.
        from: NodeId,
        /// The message.
        bytes: Bytes,
    },
    /// Sections for the log, in this order.
    Propose(Vec<Proposal>),
    /// The same, but only in the leadership that [`Output::RoleChanged`] named: what was decided by
    /// what one leadership knew is refused in the next one, which may know better.
    ProposeIn {
        /// The leadership.
        term: Term,
        /// The sections.
        proposals: Vec<Proposal>,
    },
    /// Nodes come or go. One change at a time.
    Change {
        /// Returns in [`Output::Answered`], [`Output::Refused`] or [`Output::Unknown`].
        token: Token,
        /// The change.
        change: Change,
    },
    /// The log's writer has written.
    Persisted(Persisted),
    /// What [`Output::Fetch`] asked for; nothing if it cannot be read.
    Fetched(Vec<Entry>),
    /// The checkpoint of [`Output::Checkpoint`] is durable.
    CheckpointWritten {
        /// Its index.
        index: LogIndex,
    },
    /// The checkpoint of [`Output::Checkpoint`] could not be written. Another one comes in time.
    CheckpointFailed {
        /// Its index.
        index: LogIndex,
    },
    /// What [`Output::ReadCheckpoint`] asked for.
    CheckpointRead {
        /// The checkpoint's index.
        index: LogIndex,
        /// Where the part begins in its file.
        at: u64,
        /// The part; nothing if it cannot be read.
        bytes: Option<Bytes>,
        /// The file's size.
        total: u64,
    },
    /// The snapshot of [`Output::Install`] is durable.
    Installed {
        /// Its index.
        index: LogIndex,
        /// What [`tidings_log::checkpoint::write_installed`] gave.
        digest: u64,
    },
    /// The snapshot of [`Output::Install`] could not be written. The leader sends another one.
    InstallFailed {
        /// Its index.
        index: LogIndex,
    },
    /// Leadership is to go to this voter, before this node ends. Nothing is proposed meanwhile;
    /// [`Output::RoleChanged`] tells that it worked. After an election's time it is given up.
    Transfer {
        /// Who is to lead.
        to: NodeId,
    },
}

/// One section that wants into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Returns in the answer.
    pub token: Token,
    /// What the body is.
    pub kind: SectionKind,
    /// The section.
    pub body: Bytes,
    /// It may wait for company, at most `OUTCOMES_WAIT_MAX`.
    pub may_wait: bool,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Output {
    /// Give it to the log's writer; its end comes back as [`Input::Persisted`].
    Write(Job),
    /// Read entries from the disk with `Reader::read_entries`, elsewhere, for a follower that lags;
    /// they come back as [`Input::Fetched`]. One at a time.
    Fetch {
        /// The first one.
        first: LogIndex,
        /// How much at most.
        max_bytes: usize,
    },
    /// Send it to a peer. It may be lost.
    Send {
        /// The peer.
        to: NodeId,
        /// The message.
        bytes: Bytes,
    },
    /// Entries were applied.
    Applied {
        /// Cluster time of the newest one.
        ts_ms: u64,
        /// All their effects, in log order.
        effects: Vec<Effect>,
    },
    /// A command of this node was applied; dead letters are told by [`Output::Taken`].
    Answered {
        /// The proposal's.
        token: Token,
        /// What it did.
        answer: Result<Answer, Refused>,
    },
    /// Acks, a turn or a dead letter of this node was applied; its effects came before.
    Taken {
        /// The proposal's.
        token: Token,
    },
    /// The proposal is surely not in the log.
    Refused {
        /// The proposal's.
        token: Token,
        /// Why.
        reason: ProposeRefused,
    },
    /// Leadership ended while the proposal was out: it may be in the log or not.
    Unknown {
        /// The proposal's.
        token: Token,
    },
    /// The replica begins or ceases to lead.
    RoleChanged {
        /// It leads from here on, and everything committed before is applied.
        is_leader: bool,
        /// Which leadership begins or ends.
        term: Term,
        /// All groups, when leading.
        groups: Vec<GroupSnapshot>,
        /// All topics, when leading.
        topics: Vec<(TopicName, TopicId)>,
    },
    /// Encode and write this checkpoint elsewhere; answer with [`Input::CheckpointWritten`] or
    /// [`Input::CheckpointFailed`]: without an answer there is never another one.
    Checkpoint {
        /// The last entry in it.
        index: LogIndex,
        /// That entry's term.
        term: Term,
        /// Who votes, as of that entry.
        membership: Vec<u8>,
        /// The state after that entry.
        state: State,
        /// The log's own part.
        local: Vec<u8>,
        /// An older checkpoint that must stay, for newcomers: hand it to
        /// [`tidings_log::checkpoint::write_keeping`].
        keep: LogIndex,
    },
    /// Read a part of a checkpoint's file with [`tidings_log::checkpoint::read_part`], elsewhere; it
    /// comes back as [`Input::CheckpointRead`]. One at a time.
    ReadCheckpoint {
        /// The checkpoint's index.
        index: LogIndex,
        /// Where the part begins.
        at: u64,
        /// How much at most.
        max_bytes: usize,
    },
    /// Write this snapshot with [`tidings_log::checkpoint::write_installed`], elsewhere; answer with
    /// [`Input::Installed`] or [`Input::InstallFailed`]. One at a time.
    Install {
        /// The snapshot.
        checkpoint: Checkpoint,
    },
    /// The state jumped to that of a snapshot: whoever followed effects begins anew from here. The
    /// snapshot's log entry is on its way to the disk.
    Restored {
        /// All groups.
        groups: Vec<GroupSnapshot>,
        /// All topics.
        topics: Vec<(TopicName, TopicId)>,
        /// Cluster time of the snapshot's entry.
        ts_ms: u64,
    },
    /// The replica's log is not what it was: it does and answers nothing from here on.
    Damaged(Damage),
}

/// Why a proposal was refused before it reached the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProposeRefused {
    /// Another replica leads, or none.
    #[error("this replica does not lead")]
    NotLeader,
    /// Too much is out already.
    #[error("more than {SHARD_UNCOMMITTED_BYTES_MAX} bytes wait for their commit")]
    Busy,
    /// Segments for more cannot be had.
    #[error("the disk has no room for more")]
    StorageFull,
    /// The section fits into no entry.
    #[error("section of {n_bytes} bytes exceeds an entry of {ENTRY_BYTES_MAX}")]
    TooLarge {
        /// The section's size.
        n_bytes: usize,
    },
    /// Another change of the membership is under way, or this one makes no sense now.
    #[error("the membership cannot change so now")]
    ChangeNotNow,
}

impl ProposeRefused {
    /// What the caller may do.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NotLeader => Retry::AfterRefresh,
            Self::Busy | Self::StorageFull | Self::ChangeNotNow => Retry::SameRequest,
            Self::TooLarge { .. } => Retry::Never,
        }
    }
}

/// Evidence that this replica lost something it had acknowledged. It must not vote any more:
/// replace the node under a new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// The leader saw more of this replica's log than there is.
    #[error(
        "{leader} knows entry {known} to be in this replica's log, which ends at {last}: \
         acknowledged entries are lost"
    )]
    TailLost {
        /// Who knows.
        leader: NodeId,
        /// The entry that it knows of.
        known: LogIndex,
        /// The last entry here.
        last: LogIndex,
    },
    /// A peer counts on this replica as a voter, but its directory is a new one.
    #[error(
        "{peer} counts on this replica as one that votes, but it knows of no vote and no entry: \
         its directory was wiped"
    )]
    Wiped {
        /// Who counts on it.
        peer: NodeId,
    },
    /// A committed entry does not parse.
    #[error("committed entry {index} does not parse")]
    BadEntry {
        /// The entry.
        index: LogIndex,
    },
}

impl Damage {
    /// Whether what it had acknowledged is gone. Else another program may make sense of the log.
    pub const fn is_loss(&self) -> bool {
        matches!(self, Self::TailLost { .. } | Self::Wiped { .. })
    }

    /// What the caller may do.
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}
