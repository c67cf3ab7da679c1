//! What a replica is told once: who it is, who votes at the start, how fast time runs.

use tidings_types::id::NodeId;
use tidings_types::limits::SHARD_UNCOMMITTED_BYTES_MAX;

/// Largest Raft message, unless one entry alone is larger.
const MESSAGE_BYTES_MAX: u64 = 256 * 1024;
/// Messages with entries that are out to one follower. Times their size: the credit of a link.
const MESSAGES_IN_FLIGHT_MAX: usize = 4;
/// Entries that one round of applying takes, so that a step stays short.
const APPLY_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node.
    pub node: NodeId,
    /// Who votes while the log is empty; later the log knows. With itself among them only when a
    /// cluster begins, all of whose voters must then be there once. A node that is to be added starts
    /// with those who are there, without itself, or with none.
    pub voters: Vec<NodeId>,
    /// Decides over election timeouts; nodes must have different ones.
    pub seed: u64,
    /// How patient elections are.
    pub pace: Pace,
    /// Bytes of proposals that a leader holds uncommitted before it refuses events; at least one
    /// section. [`SHARD_UNCOMMITTED_BYTES_MAX`], but for logs of small segments: one entry may take
    /// all of it.
    pub uncommitted_bytes_max: usize,
}

/// How patient elections are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// A heartbeat each 100 ms, an election after 500 to 1,000 ms.
    #[default]
    Normal,
    /// Three times as patient, for starved machines.
    Relaxed,
}

impl Pace {
    pub(crate) const fn factor(self) -> u32 {
        match self {
            Self::Normal => 1,
            Self::Relaxed => 3,
        }
    }

    /// Ticks from heartbeat to heartbeat.
    pub(crate) const fn heartbeat_ticks(self) -> usize {
        2 * self.factor() as usize
    }

    /// Ticks without a leader before an election, at least.
    pub(crate) const fn election_ticks_min(self) -> usize {
        10 * self.factor() as usize
    }

    /// Ticks without a leader before an election, less than this.
    pub(crate) const fn election_ticks_end(self) -> usize {
        20 * self.factor() as usize
    }
}

impl Options {
    /// A node at the normal pace with the usual bounds.
    pub const fn new(node: NodeId, voters: Vec<NodeId>, seed: u64) -> Self {
        let (pace, uncommitted_bytes_max) = (Pace::Normal, SHARD_UNCOMMITTED_BYTES_MAX);
        Self { node, voters, seed, pace, uncommitted_bytes_max }
    }

    /// raft-rs's own settings. Its defaults are one entry a message, no bound, no pre-vote.
    pub(crate) fn config(&self, applied: u64) -> raft::Config {
        raft::Config {
            id: u64::from(self.node.get()),
            applied,
            heartbeat_tick: self.pace.heartbeat_ticks(),
            election_tick: self.pace.election_ticks_min(),
            min_election_tick: self.pace.election_ticks_min(),
            max_election_tick: self.pace.election_ticks_end(),
            pre_vote: true,
            check_quorum: true,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: MESSAGES_IN_FLIGHT_MAX,
            max_uncommitted_size: SHARD_UNCOMMITTED_BYTES_MAX as u64,
            max_committed_size_per_ready: APPLY_BYTES_MAX,
            ..raft::Config::default()
        }
    }
}
