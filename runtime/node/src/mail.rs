//! What the core's three actors hear. They know each other in a circle; their messages do not.
//!
//! Mailboxes have no bound, so each sender holds something: publishers admitted bytes, workers the
//! window that the dispatcher gave them, the dispatcher and the PubSub actor what their cores let
//! out, and each timer and disk one message at a time.

use std::fmt;
use std::sync::Arc;

use ractor::RpcReplyPort;
use tidings_delivery::dispatcher::ReadResult;
use tidings_delivery::session::Report;
use tidings_log::Persisted;
use tidings_replica::{Proposal, ProposeRefused, Replica};
use tidings_types::effect::{Answer, Effect, GroupSnapshot, Published, Refused};
use tidings_types::id::{GroupId, Token, TopicId, WorkerId};
use tidings_types::layout::command::Command;
use tidings_types::name::TopicName;
use tidings_types::offset::{LogIndex, Offset, Term};

use crate::error::CommandError;
use crate::seat::Seat;

/// The answer to a command.
pub(crate) type CommandResult = Result<Answer, CommandError>;

/// To the PubSub actor.
#[derive(Debug)]
pub(crate) enum ToPubSub {
    /// A topic's open batch is no longer empty, or one more has filled up.
    Kick(TopicId),
    Command {
        command: Command,
        reply: RpcReplyPort<CommandResult>,
    },
    /// Answers to batches of this process, in log order, and topics that began.
    Applied {
        published: Vec<Published>,
        topics: Vec<(TopicName, TopicId)>,
    },
    Answered {
        token: Token,
        answer: Result<Answer, Refused>,
    },
    Refused {
        token: Token,
        reason: ProposeRefused,
    },
    Unknown {
        token: Token,
    },
    RoleChanged {
        is_leader: bool,
    },
    /// The node ends: whoever waits is told now.
    Stop,
    Wake,
}

/// Looks at the core from outside; must be quick.
pub(crate) type Inspection = Box<dyn FnOnce(&Replica) + Send>;

/// To the replica actor.
pub(crate) enum ToReplica {
    /// All is wired: what opening the core brought forth goes out.
    Begin,
    Propose(Vec<Proposal>),
    ProposeIn {
        term: Term,
        proposals: Vec<Proposal>,
    },
    Persisted(Persisted),
    Tick,
    Wake,
    CheckpointWritten {
        index: LogIndex,
    },
    CheckpointFailed {
        index: LogIndex,
    },
    Inspect(Inspection),
}

impl fmt::Debug for ToReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Begin => "Begin",
            Self::Propose(_) => "Propose",
            Self::ProposeIn { .. } => "ProposeIn",
            Self::Persisted(_) => "Persisted",
            Self::Tick => "Tick",
            Self::Wake => "Wake",
            Self::CheckpointWritten { .. } => "CheckpointWritten",
            Self::CheckpointFailed { .. } => "CheckpointFailed",
            Self::Inspect(_) => "Inspect",
        };
        f.write_str(name)
    }
}

/// To the dispatcher.
pub(crate) enum ToDispatcher {
    /// Which leadership this node has and all groups, or nothing when it no longer leads.
    RoleChanged {
        leads: Option<(Term, Vec<GroupSnapshot>)>,
    },
    Effects(Vec<Effect>),
    ServiceUp {
        group: GroupId,
        n_workers: usize,
    },
    WorkerUp {
        group: GroupId,
        worker: WorkerId,
        seat: Arc<Seat>,
    },
    WorkerDown {
        group: GroupId,
        worker: WorkerId,
    },
    ServiceDraining {
        group: GroupId,
    },
    Report {
        group: GroupId,
        worker: WorkerId,
        report: Report,
    },
    ReadDone {
        group: GroupId,
        topic: TopicId,
        from: Offset,
        result: ReadResult,
    },
    Taken {
        token: Token,
    },
    Lost {
        token: Token,
    },
    /// Hands nothing new out; answers when nothing is out and every outcome is in the log.
    Drain(RpcReplyPort<()>),
    /// Whether nothing of a group is at a worker, and every outcome is in the log.
    IsQuiet(GroupId, RpcReplyPort<bool>),
    Hold {
        group: GroupId,
        is_held: bool,
    },
    Wake,
}

impl fmt::Debug for ToDispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ToDispatcher")
    }
}
