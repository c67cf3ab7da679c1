//! What can go wrong between a caller and its node, beside publishing.

use std::time::Duration;

use thiserror::Error;
use tidings_types::effect::Refused;
use tidings_types::event::BadEvent;
use tidings_types::retry::Retry;

/// Asking the node failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// The node, or the part of it that was asked, has ended.
    #[error("node has stopped")]
    Stopped,
    /// It took the request and gave no answer in time.
    #[error("node gave no answer within {waited_max:?}")]
    NoAnswer {
        /// How long the caller waited.
        waited_max: Duration,
    },
}

impl CallError {
    /// What the caller may do.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Stopped => Retry::AfterRefresh,
            Self::NoAnswer { .. } => Retry::Unknown,
        }
    }
}

/// A command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// The state machine said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It was surely not proposed.
    #[error("there is no leader now, or it is busy or out of space; nothing was done")]
    NotProposed,
    /// Leadership changed while it was out.
    #[error("leadership changed meanwhile; it may or may not have been done")]
    Unknown,
}

impl CommandError {
    /// What the caller may do.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Refused(refused) => refused.retry(),
            Self::Call(call) => call.retry(),
            Self::NotProposed => Retry::SameRequest,
            Self::Unknown => Retry::Unknown,
        }
    }
}

/// Reading events failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// There is no such topic.
    #[error("topic {name} does not exist")]
    NoSuchTopic {
        /// The name.
        name: String,
    },
    /// The events are no longer retained.
    #[error("offset {from} is below {start}, the first that topic {name} retains")]
    BelowStart {
        /// The topic's name.
        name: String,
        /// What was asked for.
        from: u64,
        /// The first that there is.
        start: u64,
    },
    /// The log could not be read.
    #[error("log cannot be read: {reason}")]
    Log {
        /// Why.
        reason: String,
    },
    /// No answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl ReadError {
    /// What the caller may do.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NoSuchTopic { .. } | Self::BelowStart { .. } => Retry::AfterRefresh,
            Self::Log { .. } => Retry::SameRequest,
            Self::Call(call) => call.retry(),
        }
    }
}

/// A dead letter could not be edited.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EditError {
    /// The payload makes an event that nothing stores.
    #[error(transparent)]
    Bad(#[from] BadEvent),
    /// There is no such letter, or the command failed.
    #[error(transparent)]
    Find(#[from] FindError),
}

impl EditError {
    /// What the caller may do.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Bad(_) => Retry::Never,
            Self::Find(find) => find.retry(),
        }
    }
}

/// A group could not be sent elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SeekError {
    /// There is no such place.
    #[error("topic {topic} has offsets {start} to {end}, and {to} is none of them")]
    NoSuchOffset {
        /// The topic.
        topic: String,
        /// What was wanted.
        to: u64,
        /// The earliest event.
        start: u64,
        /// The offset of the next one.
        end: u64,
    },
    /// Handlers go on for too long; the group goes on where it was.
    #[error("group {group} did not come to rest within {waited_max:?}: its handlers still run")]
    NoRest {
        /// The group.
        group: String,
        /// So long.
        waited_max: Duration,
    },
    /// There is no such group or topic, or a command failed.
    #[error(transparent)]
    Find(#[from] FindError),
}

impl SeekError {
    /// What the caller may do.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NoSuchOffset { .. } => Retry::AfterRefresh,
            Self::NoRest { .. } => Retry::SameRequest,
            Self::Find(find) => find.retry(),
        }
    }
}

/// A group or a dead letter was asked for that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FindError {
    /// There is none.
    #[error("{what} does not exist")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// No answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Reading the log failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl FindError {
    /// What the caller may do.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NotFound { .. } => Retry::AfterRefresh,
            Self::Call(call) => call.retry(),
            Self::Read(read) => read.retry(),
            Self::Command(command) => command.retry(),
        }
    }
}
