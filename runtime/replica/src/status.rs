//! Where a replica stands, for people and for probes.

use tidings_types::id::NodeId;
use tidings_types::offset::{LogIndex, Term};

/// See the module's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it does.
    pub role: Role,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: Term,
    /// Up to here entries are known to be committed.
    pub commit: LogIndex,
    /// Up to here entries are applied.
    pub applied: LogIndex,
    /// The end of its log.
    pub last_index: LogIndex,
}

/// What a replica does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It follows, or looks for someone to follow.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It leads, and has applied all that was committed before.
    Leader,
    /// It found damage and stands still.
    Halted,
}
